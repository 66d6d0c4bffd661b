"""Lines that are added to a file which stays small. Nothing is flushed: what they tell is not worth a wait."""

from __future__ import annotations

import errno
import fcntl
import os

from multi.machine import FileWrite
from multi.system import files, trusted_path
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.system.trusted_path import Directory, Owner

_TRIES = 3  # another multi may put a shorter file in its place meanwhile
_HARD = 2  # times the limit: what somebody who keeps the file locked for ever can make of it


def append(path: str, lines: bytes, limit: int, owner: Owner | None) -> None:
    """Add whole lines by one write(2); of a file that would exceed `limit` bytes the older half goes.

    Who adds shares a lock of the file, who shortens it has the lock alone; neither waits for it. Raises `MachineError`.
    """
    directory, base = os.path.split(path)
    users, groups = ((), ()) if owner is None else ((owner.uid,), (owner.gid,))
    try:
        with trusted_path.open_directory(directory, users, groups) as at:
            for tries in range(_TRIES):
                fd = files.open_own(at, base, owner, os.O_APPEND)
                try:
                    size = os.fstat(fd).st_size
                    too_long = size + len(lines) > limit
                    locked = _lock(fd, alone=too_long)
                    if not (locked and _is_current(fd, at, base)) and tries < _TRIES - 1:
                        continue
                    if too_long and locked:
                        kept = os.pread(fd, limit // 2, size - limit // 2).partition(b"\n")[2]
                        _replace(at, FileWrite(path, kept + lines, None, None, private=True), owner)
                    elif size > _HARD * limit:
                        raise OSError(errno.EFBIG, "it is too long, and somebody keeps it locked")
                    else:
                        os.write(fd, lines)
                    return
                finally:
                    os.close(fd)
    except OSError as error:
        raise files.cannot("write", path, error) from error


def _replace(at: Directory, write: FileWrite, owner: Owner | None) -> None:
    base = os.path.basename(write.path)
    os.close(files.write_temporary(at, base, write, owner))
    os.rename(at.name(files.temporary(base)), at.name(base), src_dir_fd=at.fd, dst_dir_fd=at.fd)


def _lock(fd: int, *, alone: bool) -> bool:
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False  # somebody has it, or the file system has none
    return True


def _is_current(fd: int, at: Directory, base: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(at.name(base), dir_fd=at.fd, follow_symlinks=False))
    except OSError:
        return False
