"""Locks of files, flock(2): taken now, or waited for in a thread."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from contextlib import suppress
from functools import partial

from multi.machine import Asked, File, Holder, MachineError
from multi.model.happening import Happening, Locked
from multi.system import files, linux, trusted_path
from multi.system.limits import HINTS
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from multi.system.poll import Poller
    from multi.system.processes import Processes
    from multi.system.trusted_path import Owner
    from multi.system.users import Users

# A lock file has two lines: who holds the lock, always as long as this, and who has asked for a stop at last.
_HOLDER_BYTES, _STOP_BYTES = 200, 300
_CLOCK_SLACK = 1.0  # seconds that the wall clock may be off by between two looks at it


@dataclass(slots=True)
class _Lock:
    path: str
    fd: int
    owners: tuple[Owner, ...]
    take: Callable[..., bool]
    ends: str = ""
    held: bool = False
    give_up: Callable[[], None] | None = None


class Locks:
    """The locks that are held or waited for, one for each key."""

    def __init__(self, poller: Poller, queue: list[Happening], users: Users, processes: Processes) -> None:
        self._poller = poller
        self._queue = queue
        self._users = users
        self._processes = processes
        self._locks: dict[str, _Lock] = {}
        self._stops: dict[str, bytes] = {}  # our own second lines

    def lock(self, key: str, path: str, user: str | None, group: str | None, ends: str = "") -> Holder | None:
        """Take the lock, or wait for it in the background.

        It is the whole-file flock(2) that the package filelock takes too, so the two exclude each other. The package
        itself stays outside: what it imports registers work to do in each forked child, which doubled the cost of one.
        """
        owner = self._users.owner(user, group)
        return self._lock(key, path, () if owner is None else (owner,), _flock, ends)

    def lock_directory(self, key: str, path: str, owners: Iterable[tuple[str | None, str | None]]) -> Holder | None:
        """The same by the package filelock, for the lock of a run directory, which few commands take."""
        from filelock import lock_descriptor

        whose: dict[Owner | None, None] = {}
        for user, group in owners:
            try:
                whose[self._users.owner(user, group)] = None
            except MachineError:
                continue  # the start of that node says that there is no such user
        return self._lock(key, path, tuple(owner for owner in whose if owner is not None), lock_descriptor)

    def _lock(
        self, key: str, path: str, owners: tuple[Owner, ...], take: Callable[..., bool], ends: str = ""
    ) -> Holder | None:
        while True:
            fd = _open(path, owners)
            if ends:
                _write(fd, _HOLDER_BYTES + 1, self._stops.setdefault(ends, _stop_line(ends)))
            try:
                won = take(fd, blocking=False)
            except OSError as error:  # the file system has no locks
                os.close(fd)
                raise files.cannot("lock", path, error) from error
            if not won or _is_current(fd, path):
                break
            os.close(fd)  # the file was replaced between open and lock: that lock excludes nobody
        lock = self._locks[key] = _Lock(path, fd, owners, take, ends, held=won)
        if won:
            _sign(lock)
            return None
        self._wait_for(key, lock)
        return self.holder(key)

    def holder(self, key: str) -> Holder:
        """What the lock file says of its holder, as long as that is true: flock(1) writes nothing."""
        lock = self._locks.get(key)
        if lock is None:
            return Holder()
        text = os.pread(lock.fd, _HOLDER_BYTES, 0).partition(b"\n")[0].decode("utf-8", "replace").strip()
        pid = text.removeprefix("pid ").partition(":")[0]
        if not (pid.isascii() and pid.isdecimal()) or not self._processes.exists(int(pid)):
            return Holder()
        info = self._processes.look(int(pid))  # none where others may not see it
        born_later = info is not None and time.time() - info.age > os.fstat(lock.fd).st_mtime + _CLOCK_SLACK
        return Holder() if born_later else Holder(text)

    def asked(self, key: str, path: str) -> Asked | None:
        lock = self._locks.get(key)
        if lock is not None:
            line = os.pread(lock.fd, _STOP_BYTES, _HOLDER_BYTES + 1)
        else:
            there = files.read(path, _HOLDER_BYTES + 1 + _STOP_BYTES)
            line = there.data[_HOLDER_BYTES + 1 :] if isinstance(there, File) else b""
        return _asked(line) if line and line not in self._stops.values() else None

    def _wait_for(self, key: str, lock: _Lock) -> None:
        """Let the kernel wake us: a thread sleeps in flock(2), or in the function of filelock, which looks again.

        Its descriptor is its own, of the same open file. So it gives the lock back if nobody waits for it any more.
        """
        from multi.system import background

        fd = -1

        def sleep_in_flock() -> None:
            try:
                lock.take(fd, blocking=True)
            finally:
                os.close(fd)

        name = f"multi waits for {lock.path}"
        try:
            fd = os.dup(lock.fd)
            lock.give_up = background.begin(self._poller, name, sleep_in_flock, partial(self._arrived, key, lock))
        except (OSError, RuntimeError) as error:
            if fd >= 0:
                os.close(fd)
            self.release(key)
            why = "another multi has it, and no thread can be started to wait for it"
            raise MachineError(f"cannot lock {lock.path}", why, HINTS[errno.EAGAIN], errno.EAGAIN) from error

    def _arrived(self, key: str, lock: _Lock, error: OSError | None) -> None:
        if error is not None:
            return  # the caller's time-out tells
        if _is_current(lock.fd, lock.path):
            lock.held = True
            _sign(lock)
            self._queue.append(Locked(key))
            return
        self.release(key)  # the file was replaced while we slept, so begin again with the new one
        try:
            if self._lock(key, lock.path, lock.owners, lock.take, lock.ends) is None:
                self._queue.append(Locked(key))
        except MachineError:
            return  # its directory is gone; the caller's time-out tells

    def holds(self, key: str) -> bool:
        """Whether the lock is ours and its file still the one at its path."""
        lock = self._locks.get(key)
        return lock is not None and lock.held and _is_current(lock.fd, lock.path)

    def release(self, key: str) -> None:
        """Give the lock back, or the wait for it up."""
        lock = self._locks.pop(key, None)
        if lock is not None:
            if lock.give_up is not None:
                lock.give_up()
            os.close(lock.fd)  # closing the last descriptor of an open file gives its lock back, flock(2)

    def close(self) -> None:
        for key in list(self._locks):
            self.release(key)


def _flock(fd: int, *, blocking: bool) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(lock: _Lock) -> None:
    """Say in the file who holds it, for the message of whoever waits. The lock itself is the kernel's."""
    _write(lock.fd, 0, _line(_typed(), _HOLDER_BYTES))


def _typed() -> str:
    return f"pid {os.getpid()}: {' '.join(['multi', *sys.argv[1:4]])}"


def _line(text: str, length: int) -> bytes:
    return text.partition("\n")[0].encode("utf-8", "replace")[:length].ljust(length) + b"\n"


def _write(fd: int, at: int, line: bytes) -> None:
    """Overwrite one of the two lines where it stands, which needs no room on a full disk."""
    with suppress(OSError):  # the text is a courtesy: without it a stop still ends what runs
        os.pwrite(fd, line, at)


def _stop_line(ends: str) -> bytes:
    return _line(f"{ends} {linux.boot_id()} {time.monotonic()!r} {_typed()}", _STOP_BYTES - 1)


def _asked(line: bytes) -> Asked | None:
    """The bytes of `_stop_line` -> who asked; None where it is of another boot, of the future, or of no `multi`."""
    ends, _, rest = line.decode("utf-8", "replace").partition(" ")
    boot, _, rest = rest.partition(" ")
    at, _, who = rest.strip().partition(" ")
    try:
        true = boot == linux.boot_id() and float(at) <= time.monotonic()  # which nan is not, either
        return Asked(who, float(at), ends == "kill") if true else None
    except ValueError:
        return None


def _open(path: str, owners: tuple[Owner, ...]) -> int:
    """Open or make a lock file, which any of the `owners` may have made. Raises `MachineError`."""
    directory, base = os.path.split(path)
    users, groups = [owner.uid for owner in owners], [owner.gid for owner in owners]
    try:
        with trusted_path.open_directory(directory, users, groups) as at:
            return files.open_own(at, base, owners[0] if len(owners) == 1 else None, users=users)
    except OSError as error:
        raise files.cannot("lock", path, error) from error


def _is_current(fd: int, path: str) -> bool:
    """Whether `path` still names the file that `fd` has open."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
