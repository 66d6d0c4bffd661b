"""Files: read with suspicion, replaced atomically, locked."""

from __future__ import annotations

import _thread
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from multi.machine import File, MachineError, Unreadable
from multi.system import trusted_path as way

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multi.system.trusted_path import Owner

_TOGETHER = 64  # files that are flushed together; each holds a descriptor meanwhile
_FLUSHERS = 8  # threads that wait for the disk besides our own
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_CHANGE = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE = 0o644  # every tool may read a pidfile, only its owner may write it
_DEVICE = Unreadable("it is a device", "choose another --pidfile")  # root made it; /dev/null must not be removed
_KINDS = (
    (stat.S_ISDIR, Unreadable("it is a directory")),
    (stat.S_ISFIFO, Unreadable("it is a FIFO")),
    (stat.S_ISSOCK, Unreadable("it is a socket")),
    (stat.S_ISCHR, _DEVICE),
    (stat.S_ISBLK, _DEVICE),
)


class Page(NamedTuple):
    """What shall stand at `path`, and for whom; see `multi.machine.FileWrite`."""

    path: str
    data: bytes
    owner: Owner | None
    private: bool
    ours: bool


def read(path: str, limit: int) -> File | Unreadable | None:
    """A regular file's content, no link followed, at most `limit` bytes; never blocks."""
    directory, base = _split(path)
    try:
        with way.to(directory) as at:
            fd = os.open(at.name(base), _READ, dir_fd=at.fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            return Unreadable("it is a symbolic link")
        if error.errno == errno.ENXIO:
            return Unreadable("it is a socket")
        return _unreadable(error)
    try:
        return _content(fd, limit)
    except OSError as error:
        return _unreadable(error)
    finally:
        os.close(fd)


def _unreadable(error: OSError) -> Unreadable:
    """What cannot be read just now may well be sound: nobody must be told to remove it."""
    hint = error.hint if isinstance(error, way.UnsafeError) else ""
    if error.errno in {errno.EACCES, errno.EPERM}:
        hint = hint or "run multi as its owner, or as root"
    return Unreadable(error.strerror or str(error), hint or _HINTS.get(error.errno or 0) or "check that disk")


def _content(fd: int, limit: int) -> File | Unreadable:
    found = os.fstat(fd)
    for is_kind, refused in _KINDS:
        if is_kind(found.st_mode):
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


def write(pages: Sequence[Page]) -> list[MachineError | None]:
    """Replace each path: temporary file, fsync, rename, read back. An error leaves the old file; None is success.

    A flush costs the same for one file as for many that are flushed together, so they take each step together.
    """
    answers: list[MachineError | None] = []
    for start in range(0, len(pages), _TOGETHER):
        answers += _Round(pages[start : start + _TOGETHER]).run()
    return answers


class _Round:
    """Files that are written together, a step at a time. State of one round."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = pages
        self._errors: dict[int, MachineError | None] = {}
        self._ways: dict[str, way.Way] = {}
        self._unflushed: dict[int, int] = {}

    def run(self) -> list[MachineError | None]:
        try:
            for number, page in enumerate(self._pages):
                self._begin(number, page)
            failed = _flush(tuple(self._unflushed.values()))
            placed: dict[str, list[int]] = {}
            for number, fd in self._unflushed.items():
                os.close(fd)
                if self._place(number, failed.get(fd)):
                    placed.setdefault(_split(self._pages[number].path)[0], []).append(number)
            for directory, numbers in placed.items():
                self._sync(directory, numbers)
            for number, page in enumerate(self._pages):
                self._finish(number, page)
        finally:
            for at in self._ways.values():
                at.close()
        return [self._errors[number] for number in range(len(self._pages))]

    def _begin(self, number: int, page: Page) -> None:
        directory, base = _split(page.path)
        try:
            if directory not in self._ways:
                self._ways[directory] = way.to(directory)
            self._unflushed[number] = _write_temporary(self._ways[directory], base, page)
        except OSError as error:
            self._errors[number] = _cannot("write", page.path, error)

    def _place(self, number: int, refusal: OSError | None) -> bool:
        path = self._pages[number].path
        directory, base = _split(path)
        at = self._ways[directory]
        try:
            if refusal is not None:
                raise refusal
            os.rename(at.name(_temporary(base)), at.name(base), src_dir_fd=at.fd, dst_dir_fd=at.fd)
        except OSError as error:
            self._errors[number] = _cannot("write", path, error)
            return False
        return True

    def _sync(self, directory: str, numbers: Iterable[int]) -> None:
        try:
            _sync_directory(self._ways[directory])
        except OSError as error:
            self._errors.update((number, _cannot("write", self._pages[number].path, error)) for number in numbers)

    def _finish(self, number: int, page: Page) -> None:
        """Read back what is in its place; leave nothing of what is not."""
        directory, base = _split(page.path)
        if number not in self._errors:
            self._errors[number] = _read_back(page)
        elif directory in self._ways:
            at = self._ways[directory]
            try:
                os.unlink(at.name(_temporary(base)), dir_fd=at.fd)
            except OSError:
                return  # it was never made, or the disk that refused it also refuses this


def _split(path: str) -> tuple[str, str]:
    directory, _, base = path.rpartition("/")
    return directory or "/", base


def _temporary(base: str) -> str:
    """One name per file: the caller holds the node's lock, and what a killed command leaves is overwritten."""
    return f".{base}.new"


def _read_back(page: Page) -> MachineError | None:
    back = read(page.path, max(len(page.data), 1))
    if isinstance(back, File) and back.data == page.data:
        return None
    if isinstance(back, Unreadable):
        return MachineError(f"cannot read {page.path} back", back.why, "make room, or check the disk, and try again")
    return MachineError(f"cannot write {page.path}", "it does not read back as it was written", "check the disk")


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


def _write_temporary(at: way.Way, base: str, page: Page) -> int:
    """Make the file and return it open, not yet flushed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    name = at.name(_temporary(base))
    try:
        fd = os.open(name, flags, 0o600, dir_fd=at.fd)
    except FileExistsError:
        os.unlink(name, dir_fd=at.fd)
        fd = os.open(name, flags, 0o600, dir_fd=at.fd)
    try:
        view = memoryview(page.data)
        while view:
            view = view[os.write(fd, view) :]
        if page.owner is not None:
            os.fchown(fd, -1 if page.ours else page.owner.uid, page.owner.gid)
        shared = page.ours and page.owner is not None
        os.fchmod(fd, _FILE_MODE if not page.private else 0o640 if shared else 0o600)
    except OSError:
        os.close(fd)
        raise
    return fd


def _sync_directory(at: way.Way) -> None:
    # One that was opened to pass through cannot be flushed, so it is opened again, by itself.
    fd = os.open(at.name("."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at.fd)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some file systems cannot, fsync(2)
            raise
    finally:
        os.close(fd)


def amend(path: str, old: bytes, new: bytes) -> None:
    """Change one byte where it stands, which is all or nothing without any flush; fine when `old` is not there."""
    directory, base = _split(path)
    try:
        with way.to(directory) as at:
            fd = os.open(at.name(base), _CHANGE, dir_fd=at.fd)
        try:
            found = os.fstat(fd)
            position = os.pread(fd, found.st_size, 0).find(old) if found.st_nlink == 1 else -1
            if position >= 0:
                os.pwrite(fd, new, position)
        finally:
            os.close(fd)
    except OSError as error:
        raise _cannot("write", path, error) from error


def remove(path: str) -> None:
    """Remove `path`; fine when it is not there."""
    directory, base = _split(path)
    try:
        with way.to(directory) as at:
            os.unlink(at.name(base), dir_fd=at.fd)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _cannot("remove", path, error) from error


def make_directory(path: str, owner: Owner | None) -> None:
    """Make `path` and what is missing above it. What is made belongs to `owner` and keeps others from writing."""
    try:
        way.make(path, owner)
    except OSError as error:
        if error.errno == errno.ENOENT:  # it was not there, and above it is nothing that directories can be made in
            error = OSError(errno.ENOENT, "nothing can be made there")
        raise _cannot(
            "use" if isinstance(error, way.UnsafeError) else "make", f"the directory {path}", error
        ) from error


def open_lock(path: str, owner: Owner | None) -> int:
    """Open or make a lock file. Raises `MachineError`.

    Only its owner may read it: whoever can open a file can lock it, and so keep everybody else waiting.
    """
    directory, base = _split(path)
    users, groups = ((), ()) if owner is None else ((owner.uid,), (owner.gid,))
    try:
        with way.to(directory, users, groups) as at:
            fd = _open_or_make(at, base, owner)
    except OSError as error:
        raise _cannot("lock", path, error) from error
    found = os.fstat(fd)
    why, hint = _cannot_be_ours(found), "look at it, and remove it"
    if not why and found.st_uid not in {0, os.geteuid(), *users}:
        # Not to be removed: that user's multi may hold it just now.
        why = f"it belongs to uid {found.st_uid}"
        whose = way.user_name(found.st_uid)
        hint = f"run multi as {whose}, or as root" if os.geteuid() else f"give --uid {whose} if it is that user's node"
    if why:
        os.close(fd)
        raise MachineError(f"cannot lock {path}", why, hint, errno.EPERM)
    return fd


def _open_or_make(at: way.Way, base: str, owner: Owner | None) -> int:
    name = at.name(base)
    while True:
        try:
            return os.open(name, _CHANGE, dir_fd=at.fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            # A disk that became read-only must keep nobody from ending a node; a lock needs no writing, flock(2).
            return os.open(name, _READ, dir_fd=at.fd)
        try:
            # Alone, or not at all: what somebody put there meanwhile must not be given to anybody.
            fd = os.open(name, _CHANGE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=at.fd)
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


def _cannot_be_ours(found: os.stat_result) -> str:
    """Why a lock file is one that somebody planted: a link to a file that we would write into, or a trap to wait in."""
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if found.st_nlink > 1:
        return "it has a second name, so another user may have linked it here"
    return ""


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


def _cannot(verb: str, path: str, error: OSError) -> MachineError:
    code = error.errno or 0
    why = error.strerror or str(error)
    hint = error.hint if isinstance(error, way.UnsafeError) else _HINTS.get(code, "")
    if code in {errno.ELOOP, errno.EMLINK}:
        why, hint, code = "it is a symbolic link", hint or "look at it, and remove it", errno.EPERM
    if verb == "make" and code == errno.ENOENT:
        hint = "choose a path elsewhere"
    return MachineError(f"cannot {verb} {path}", why, hint, code)
