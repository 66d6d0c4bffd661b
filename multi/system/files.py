"""Files: read with suspicion, replaced atomically."""

from __future__ import annotations

import _thread
import errno
import os
import stat
import time
from contextlib import suppress
from functools import partial

from multi.machine import File, FileWrite, MachineError, Unreadable
from multi.system import trusted_path
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.system.trusted_path import Owner

    OwnerOf = Callable[[str | None, str | None], Owner | None]

_TOGETHER = 64  # files that are flushed together; each holds a descriptor meanwhile
_FLUSHERS = 8  # threads that wait for the disk besides our own
_NO_WAIT = 0.0001  # seconds: two threads take as long to begin
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
CHANGE = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE = 0o644  # every tool may read a pidfile, only its owner may write it
_DEVICE = Unreadable("it is a device", "choose another --pidfile")  # root made it; /dev/null must not be removed
_REFUSED = {
    stat.S_IFDIR: Unreadable("it is a directory"),
    stat.S_IFIFO: Unreadable("it is a FIFO"),
    stat.S_IFSOCK: Unreadable("it is a socket"),
    stat.S_IFCHR: _DEVICE,
    stat.S_IFBLK: _DEVICE,
}


def read(path: str, limit: int) -> File | Unreadable | None:
    """A regular file's content, no link followed, at most `limit` bytes; never blocks."""
    return _read(partial(_open, path, READ), limit)


def _read(opened: Callable[[], int], limit: int) -> File | Unreadable | None:
    try:
        fd = opened()
        try:
            return _content(fd, limit)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            return Unreadable("it is a symbolic link")
        if error.errno == errno.ENXIO:
            return Unreadable("it is a socket")
        # What cannot be read just now may well be sound: nobody must be told to remove it.
        hint = error.hint if isinstance(error, trusted_path.UnsafeError) else ""
        if error.errno in {errno.EACCES, errno.EPERM}:
            hint = hint or "run multi as its owner, or as root"
        return Unreadable(error.strerror or str(error), hint or _HINTS.get(error.errno or 0) or "check that disk")


def _open(path: str, flags: int) -> int:
    directory, base = os.path.split(path)
    with trusted_path.open_directory(directory) as at:
        return _open_in(at, base, flags)


def _open_in(at: trusted_path.Directory, base: str, flags: int) -> int:
    return os.open(at.name(base), flags, dir_fd=at.fd)


def _content(fd: int, limit: int) -> File | Unreadable:
    found = os.fstat(fd)
    refused = _REFUSED.get(stat.S_IFMT(found.st_mode))
    if refused is not None:
        return refused
    if found.st_nlink > 1:
        return Unreadable("it has a second name, so another user may have linked it here")
    if found.st_size > limit:
        return Unreadable(f"it is {found.st_size} bytes long, {limit} at most make sense")
    # A buffer as large as the limit would stay a mapping of its own for each file, and a fork copies each mapping.
    data = os.read(fd, found.st_size + 1)
    if len(data) > found.st_size:  # it grows
        data += os.read(fd, limit + 1 - len(data))
    if len(data) > limit:
        return Unreadable(f"it is longer than {limit} bytes")
    return File(data, found.st_uid, stat.S_IMODE(found.st_mode), found.st_mtime)


def write(writes: Sequence[FileWrite], owner_of: OwnerOf) -> list[MachineError | None]:
    """Replace each path: temporary file, fsync, rename, read back. An error leaves the old file; None is success.

    A flush costs the same for one file as for many that are flushed together, so they take each step together.
    """
    answers: list[MachineError | None] = []
    for start in range(0, len(writes), _TOGETHER):
        answers += _Round(writes[start : start + _TOGETHER], owner_of).run()
    return answers


class _Round:
    """Files that are written together, a step at a time. State of one round."""

    def __init__(self, writes: Sequence[FileWrite], owner_of: OwnerOf) -> None:
        self._writes = writes
        self._owner_of = owner_of
        self._errors: dict[int, MachineError] = {}
        self._directories: dict[str, trusted_path.Directory] = {}
        self._synced: dict[str, OSError | None] = {}
        self._fds: dict[int, int] = {}
        self._unflushed: dict[int, OSError] = {}

    def run(self) -> list[MachineError | None]:
        try:
            self._each(self._begin)
            self._unflushed = _flush(tuple(self._fds.values()))
            for step in (self._install, self._sync, self._read_back):
                self._each(step)
            for number in self._errors:
                self._clean_up(self._writes[number])
        finally:
            for at in self._directories.values():
                at.close()
        return [self._errors.get(number) for number in range(len(self._writes))]

    def _each(self, step: Callable[[int, FileWrite], None]) -> None:
        """Do the step for each file that nothing has failed of."""
        for number, write in enumerate(self._writes):
            if number not in self._errors:
                try:
                    step(number, write)
                except MachineError as error:
                    self._errors[number] = error
                except OSError as error:
                    self._errors[number] = cannot("write", write.path, error)

    def _begin(self, number: int, write: FileWrite) -> None:
        directory, base = os.path.split(write.path)
        if directory not in self._directories:
            self._directories[directory] = trusted_path.open_directory(directory)
        owner = self._owner_of(write.user, write.group)
        self._fds[number] = write_temporary(self._directories[directory], base, write, owner)

    def _install(self, number: int, write: FileWrite) -> None:
        fd = self._fds[number]
        os.close(fd)
        if fd in self._unflushed:
            raise self._unflushed[fd]
        directory, base = os.path.split(write.path)
        at = self._directories[directory]
        os.rename(at.name(temporary(base)), at.name(base), src_dir_fd=at.fd, dst_dir_fd=at.fd)

    def _sync(self, _: int, write: FileWrite) -> None:
        directory = os.path.dirname(write.path)
        if directory not in self._synced:
            self._synced[directory] = _sync_directory(self._directories[directory])
        error = self._synced[directory]
        if error is not None:
            raise error

    def _read_back(self, _: int, write: FileWrite) -> None:
        directory, base = os.path.split(write.path)
        back = _read(partial(_open_in, self._directories[directory], base, READ), max(len(write.data), 1))
        if isinstance(back, Unreadable):
            hint = "make room, or check the disk, and try again"
            raise MachineError(f"cannot read {write.path} back", back.why, hint)
        if back is None or back.data != write.data:
            raise MachineError(
                f"cannot write {write.path}", "it does not read back as it was written", "check the disk"
            )

    def _clean_up(self, write: FileWrite) -> None:
        directory, base = os.path.split(write.path)
        at = self._directories.get(directory)
        if at is not None:
            with suppress(OSError):  # it was never made, or the disk that refused it also refuses this
                os.unlink(at.name(temporary(base)), dir_fd=at.fd)


def temporary(base: str) -> str:
    """One name per file: the caller holds the node's lock, and what a killed command leaves is overwritten."""
    return f".{base}.new"


def _flush(fds: Sequence[int]) -> dict[int, OSError]:
    """Flush all; the errors, by descriptor. Each fsync(2) waits for the disk, and waits in threads run side by side.

    One that is over sooner than a thread begins, as in memory (tmpfs), says that there is no disk to wait for.
    """
    failed: dict[int, OSError] = {}

    def flush(share: Sequence[int], done: _thread.LockType | None = None) -> None:
        for fd in share:
            try:
                os.fsync(fd)
            except OSError as error:
                failed[fd] = error
        if done is not None:
            done.release()

    # The module threading would do as well, but costs each child a hook after fork(2).
    began = time.monotonic()
    flush(fds[:1])
    fds = fds[1:]
    others = min(_FLUSHERS, len(fds) // 2) if time.monotonic() - began > _NO_WAIT else 0
    ends: list[_thread.LockType] = []
    for number in range(others):
        share, end = fds[number :: others + 1], _thread.allocate_lock()
        end.acquire()
        try:
            _thread.start_new_thread(flush, (share, end))
        except RuntimeError:
            flush(share)  # the limit of processes is reached
        else:
            ends.append(end)
    flush(fds[others :: others + 1])
    for end in ends:
        end.acquire()
    return failed


def write_temporary(at: trusted_path.Directory, base: str, write: FileWrite, owner: Owner | None) -> int:
    """Make the file and return it open, not yet flushed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    name = at.name(temporary(base))
    try:
        fd = os.open(name, flags, 0o600, dir_fd=at.fd)
    except FileExistsError:
        os.unlink(name, dir_fd=at.fd)
        fd = os.open(name, flags, 0o600, dir_fd=at.fd)
    try:
        view = memoryview(write.data)
        while view:
            view = view[os.write(fd, view) :]
        if owner is not None:
            os.fchown(fd, -1 if write.ours else owner.uid, owner.gid)
        shared = write.ours and owner is not None
        mode = _FILE_MODE if not write.private else 0o640 if shared else 0o600
        os.fchmod(fd, mode if write.mode is None else write.mode)
    except OSError:
        os.close(fd)
        raise
    return fd


def open_own(
    at: trusted_path.Directory, base: str, owner: Owner | None, flags: int = 0, users: Sequence[int] = ()
) -> int:
    """Open or make a file that only its owner may read; one of the `users` may have made it, too. Raises `OSError`.

    Whoever can open a file can lock it, and so keep everybody else waiting. A file that somebody planted is a link to
    one that we would write into, or a trap to wait in.
    """
    fd = _open_or_make(at, base, owner, CHANGE | flags)
    found = os.fstat(fd)
    hint = "look at it, and remove it"
    if not stat.S_ISREG(found.st_mode):
        why = "it is not a regular file"
    elif found.st_nlink > 1:
        why = "it has a second name, so another user may have linked it here"
    elif found.st_uid not in {0, os.geteuid(), *users} and (owner is None or found.st_uid != owner.uid):
        # Not to be removed: that user's multi may hold it just now.
        why = f"it belongs to uid {found.st_uid}"
        whose = trusted_path.user_name(found.st_uid)
        hint = f"run multi as {whose}, or as root" if os.geteuid() else f"give --uid {whose} if it is that user's node"
    else:
        return fd
    os.close(fd)
    raise trusted_path.UnsafeError(why, hint)


def _open_or_make(at: trusted_path.Directory, base: str, owner: Owner | None, flags: int) -> int:
    name = at.name(base)
    while True:
        try:
            return os.open(name, flags, dir_fd=at.fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            # A disk that became read-only must keep nobody from ending a node; a lock needs no writing, flock(2).
            return os.open(name, READ, dir_fd=at.fd)
        try:
            # Alone, or not at all: what somebody put there meanwhile must not be given to anybody.
            fd = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=at.fd)
        except FileExistsError:
            continue
        try:
            os.fchmod(fd, 0o600)
            if owner is not None:
                os.fchown(fd, owner.uid, owner.gid)
        except OSError:
            os.close(fd)
            raise
        return fd


def _sync_directory(at: trusted_path.Directory) -> OSError | None:
    try:
        # One that was opened to pass through cannot be flushed, so it is opened again, by itself.
        fd = os.open(at.name("."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at.fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        return None if error.errno in {errno.EINVAL, errno.ENOTSUP} else error  # some file systems cannot, fsync(2)
    return None


def amend(path: str, old: bytes, new: bytes) -> None:
    """Change one byte where it stands, which is all or nothing without any flush; fine when `old` is not there."""
    try:
        fd = _open(path, CHANGE)
        try:
            found = os.fstat(fd)
            position = os.pread(fd, found.st_size, 0).find(old) if found.st_nlink == 1 else -1
            if position >= 0:
                os.pwrite(fd, new, position)
        finally:
            os.close(fd)
    except OSError as error:
        raise cannot("write", path, error) from error


def remove(path: str) -> None:
    """Remove `path`; fine when it is not there."""
    directory, base = os.path.split(path)
    try:
        with trusted_path.open_directory(directory) as at:
            os.unlink(at.name(base), dir_fd=at.fd)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise cannot("remove", path, error) from error


def make_directory(path: str, owner: Owner | None) -> None:
    """Make `path` and what is missing above it. What is made belongs to `owner` and keeps others from writing."""
    try:
        trusted_path.make_directory(path, owner)
    except OSError as error:
        if error.errno == errno.ENOENT:  # it was not there, and above it is nothing that directories can be made in
            error = OSError(errno.ENOENT, "nothing can be made there")
        raise cannot(
            "use" if isinstance(error, trusted_path.UnsafeError) else "make", f"the directory {path}", error
        ) from error


def fingerprint(path: str) -> str:
    """A word for what lies at `path`, empty when nothing does; another one once it is made anew, written or touched."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}:{found.st_ctime_ns}"


def listing(directory: str, suffix: str) -> tuple[str, ...]:
    """Paths in a directory that end in `suffix`, sorted."""
    try:
        names = os.listdir(directory)
    except OSError:
        return ()
    return tuple(sorted(f"{directory}/{name}" for name in names if name.endswith(suffix) and name[0] != "."))


def size(path: str) -> int:
    """Bytes of a regular file, else 0."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


_DENIED = (
    "make it writable for this user, run multi as the one whose node it is, or give --pidfile and --logfile elsewhere"
)
_HINTS = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some space within the quota",
    errno.EROFS: "choose a path on a file system that can be written",
    errno.ENOENT: "its directory has vanished; start again",
    errno.EMFILE: "raise 'ulimit -n', or name fewer nodes at once",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENOTDIR: "choose another path",
    errno.EISDIR: "look at it, and remove it",
    errno.EFBIG: "raise 'ulimit -f'",
}


def cannot(verb: str, path: str, error: OSError) -> MachineError:
    """What the kernel refused, with what to try."""
    code = error.errno or 0
    why = error.strerror or str(error)
    hint = error.hint if isinstance(error, trusted_path.UnsafeError) else _HINTS.get(code, "")
    if code in {errno.ELOOP, errno.EMLINK}:
        why, hint, code = "it is a symbolic link", hint or "look at it, and remove it", errno.EPERM
    if verb == "make" and code == errno.ENOENT:
        hint = "choose a path elsewhere"
    return MachineError(f"cannot {verb} {path}", why, hint, code)
