"""Files: read with suspicion, replaced atomically, locked."""

from __future__ import annotations

import _thread
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from multi.machine import File, MachineError, Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOGETHER = 64  # files that are flushed together; each holds a descriptor meanwhile
_FLUSHERS = 8  # threads that wait for the disk besides our own
_FILE_MODE = 0o644  # every tool may read a pidfile, only its owner may write it
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Owner(NamedTuple):
    """Who shall own what is made; None leaves it to whoever we are."""

    uid: int
    gid: int


def read(path: str, limit: int) -> File | Unreadable | None:  # noqa: PLR0911 -- one return a kind of file
    """A regular file's content, no link followed, at most `limit` bytes; never blocks."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            return Unreadable("it is a symbolic link")
        if error.errno == errno.ENXIO:
            return Unreadable("it is a socket")
        return Unreadable(error.strerror or str(error))
    try:
        found = os.fstat(fd)
        for is_kind, name in _KINDS:
            if is_kind(found.st_mode):
                return Unreadable(f"it is {name}")
        if found.st_size > limit:
            return Unreadable(f"it is {found.st_size} bytes long, {limit} at most make sense")
        data = os.read(fd, limit + 1)
        if len(data) > limit:
            return Unreadable(f"it is longer than {limit} bytes")
        return File(data, found.st_uid, stat.S_IMODE(found.st_mode), found.st_mtime)
    except OSError as error:
        return Unreadable(error.strerror or str(error))
    finally:
        os.close(fd)


def write(drafts: Sequence[tuple[str, bytes, Owner | None]]) -> list[MachineError | None]:
    """Replace each path: temporary file, fsync, rename, read back. An error leaves the old file; None is success.

    A flush costs the same for one file as for many that are flushed together, so they take each step together.
    """
    answers: list[MachineError | None] = []
    for start in range(0, len(drafts), _TOGETHER):
        answers += _write_together(drafts[start : start + _TOGETHER])
    return answers


def _write_together(drafts: Sequence[tuple[str, bytes, Owner | None]]) -> list[MachineError | None]:
    errors: dict[int, MachineError | None] = {}
    unflushed: dict[int, int] = {}
    for number, (path, data, owner) in enumerate(drafts):
        try:
            unflushed[number] = _write_temporary(_temporary(path), data, owner)
        except OSError as error:
            errors[number] = _cannot("write", path, error)
    failed = _flush(tuple(unflushed.values()))
    for number, fd in unflushed.items():
        path = drafts[number][0]
        os.close(fd)
        try:
            if fd in failed:
                raise failed[fd]
            os.rename(_temporary(path), path)
        except OSError as error:
            errors[number] = _cannot("write", path, error)
    placed = {number: drafts[number][0] for number in unflushed if number not in errors}
    for directory in dict.fromkeys(path.rpartition("/")[0] for path in placed.values()):
        try:
            _sync_directory(directory or "/")
        except OSError as error:
            here = [number for number, path in placed.items() if path.rpartition("/")[0] == directory]
            errors.update((number, _cannot("write", placed[number], error)) for number in here)
    for number, (path, data, _) in enumerate(drafts):
        if number in errors:
            _discard(_temporary(path))
        else:
            errors[number] = _read_back(path, data)
    return [errors[number] for number in range(len(drafts))]


def _temporary(path: str) -> str:
    """One name per file: the caller holds the node's lock, and what a killed command leaves is overwritten."""
    directory, _, base = path.rpartition("/")
    return f"{directory}/.{base}.new"


def _discard(temporary: str) -> None:
    try:
        os.unlink(temporary)
    except OSError:
        return  # it was never made, or the disk that refused it also refuses this


def _read_back(path: str, data: bytes) -> MachineError | None:
    back = read(path, max(len(data), 1))
    if isinstance(back, File) and back.data == data:
        return None
    return MachineError(f"cannot write {path}", "it does not read back as it was written", "check the disk")


def _flush(fds: Sequence[int]) -> dict[int, OSError]:
    """Flush all; the errors, by descriptor. Each fsync(2) waits for the disk, and waits in threads run side by side."""
    failed: dict[int, OSError] = {}
    pending = list(fds)

    def flush() -> None:
        while pending:
            try:
                fd = pending.pop()
            except IndexError:
                return  # another thread was faster
            try:
                os.fsync(fd)
            except OSError as error:
                failed[fd] = error

    def work(done: _thread.LockType) -> None:
        try:
            flush()
        finally:
            done.release()

    # The module threading would do as well, but costs each child a hook after fork(2).
    ends: list[_thread.LockType] = []
    for _ in range(min(_FLUSHERS, len(fds) // 2)):
        end = _thread.allocate_lock()
        end.acquire()
        try:
            _thread.start_new_thread(work, (end,))
        except RuntimeError:
            break  # the limit of processes is reached, so those that run do it
        ends.append(end)
    flush()
    for end in ends:
        end.acquire()
    return failed


def _write_temporary(path: str, data: bytes, owner: Owner | None) -> int:
    """Make the file and return it open, not yet flushed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except FileExistsError:
        os.unlink(path)
        fd = os.open(path, flags, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if owner is not None:
            os.fchown(fd, owner.uid, owner.gid)
        os.fchmod(fd, _FILE_MODE)
    except OSError:
        os.close(fd)
        raise
    return fd


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some file systems cannot, fsync(2)
            raise
    finally:
        os.close(fd)


def amend(path: str, old: bytes, new: bytes) -> None:
    """Change one byte where it stands, which is all or nothing without any flush; fine when `old` is not there."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            at = os.pread(fd, os.fstat(fd).st_size, 0).find(old)
            if at >= 0:
                os.pwrite(fd, new, at)
        finally:
            os.close(fd)
    except OSError as error:
        raise _cannot("write", path, error) from error


def remove(path: str) -> None:
    """Remove `path`; fine when it is not there."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _cannot("remove", path, error) from error


def make_directory(path: str, owner: Owner | None) -> None:
    """Make `path` and what is missing above it. What is made belongs to `owner` and keeps others from writing."""
    missing: list[str] = []
    at = path
    while at != "/":
        try:
            found = os.stat(at)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(at)
            at = os.path.dirname(at)
            continue
        except OSError as error:
            raise _cannot("make the directory", path, error) from error
        if not stat.S_ISDIR(found.st_mode):
            raise MachineError(f"cannot make the directory {path}", f"{at} is not a directory", "choose another path")
        break
    mode = 0o755 if os.geteuid() == 0 else 0o700
    for directory in reversed(missing):
        try:
            os.mkdir(directory, mode)
            if owner is not None:
                os.chown(directory, owner.uid, owner.gid, follow_symlinks=False)
            os.chmod(directory, mode)
        except FileExistsError:
            continue  # another multi was faster
        except OSError as error:
            raise _cannot("make the directory", directory, error) from error


def open_lock(path: str, owner: Owner | None) -> int:
    """Open or make a lock file. Raises `MachineError`."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            fd = os.open(path, flags | os.O_CREAT, _FILE_MODE)
            if owner is not None:
                os.fchown(fd, owner.uid, owner.gid)
    except OSError as error:
        raise _cannot("lock", path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise MachineError(f"cannot lock {path}", "it is not a regular file", "remove it", errno.EINVAL)
    return fd


def take_lock(fd: int) -> bool:
    """Take the lock of an open file if nobody holds it. Raises `OSError` where the file system has no locks.

    It is the whole-file flock(2) that the package filelock takes too, so the two exclude each other. The package
    itself stays outside: what it imports registers work to do in each forked child, which doubled the cost of one.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_current(fd: int, path: str) -> bool:
    """Whether `path` still names the file that `fd` has open."""
    try:
        here, there = os.fstat(fd), os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def mark(path: str) -> str:
    """A word for what lies at `path`, empty when nothing does; another one once it is made anew, written or touched."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}:{found.st_ctime_ns}"


def size(path: str) -> int:
    """Bytes of a regular file, else 0."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def tail(path: str, offset: int, limit: int) -> bytes:
    """The last `limit` bytes after `offset`; from the start when the file is shorter than `offset`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return b""
        begin = offset if offset <= found.st_size else 0  # it was truncated meanwhile
        begin = max(begin, found.st_size - limit)
        return os.pread(fd, limit, begin)
    except OSError:
        return b""
    finally:
        os.close(fd)


_HINTS = {
    errno.EACCES: "make it writable for this user, or give --pidfile and --logfile elsewhere",
    errno.EPERM: "make it writable for this user, or give --pidfile and --logfile elsewhere",
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some space within the quota",
    errno.EROFS: "choose a path on a file system that can be written",
    errno.ENOENT: "its directory has vanished; start again",
    errno.EMFILE: "raise 'ulimit -n', or name fewer nodes at once",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def _cannot(verb: str, path: str, error: OSError) -> MachineError:
    code = error.errno or 0
    why = error.strerror or str(error)
    if code in {errno.ELOOP, errno.EMLINK}:
        why = "it is a symbolic link"
    return MachineError(f"cannot {verb} {path}", why, _HINTS.get(code, ""), code)
