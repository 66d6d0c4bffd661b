"""A log as a whole, and what logrotate has moved away from it: to be read at any place. Holes are left out."""

from __future__ import annotations

import errno
import os
import re
import stat

from multi.machine import LogFile, MachineError
from multi.typed import cast

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_ROTATED = re.compile(
    r"(?:\.\d{1,4}|-\d{8}(?:-?\d{2,10})?)(?P<packed>\.gz)?"
)  # logrotate's words, with and without dateext
_MOST_EXTENTS = 10_000
_MOST_FILES = 1000


class LogFiles:
    """The logs that are open, for each key."""

    def __init__(self) -> None:
        self._open: dict[str, list[_Plain | _Packed]] = {}

    def find(self, key: str, path: str, *, rotated: bool = False) -> list[LogFile]:
        """See `Machine.log_files`."""
        opened = self._open.setdefault(key, [])
        paths = _rotated(path) if rotated else [path]
        found = [each for each in map(_opened, paths) if each is not None]
        opened += found
        found.sort(key=lambda file: -file.written)
        return cast("list[LogFile]", found)

    def release(self, key: str) -> None:
        for file in self._open.pop(key, []):
            file.close()

    def close(self) -> None:
        for key in list(self._open):
            self.release(key)


def _rotated(path: str) -> list[str]:
    directory, base = os.path.split(path)
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = [name for name in names if name.startswith(base) and _ROTATED.fullmatch(name[len(base) :])]
    return [f"{directory}/{name}" for name in sorted(found)[:_MOST_FILES]]


def _opened(path: str) -> _Plain | _Packed | None:
    try:
        fd = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _cannot(path, error) from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise _cannot(path, OSError(errno.EINVAL, "it is no regular file"))
    return (_Packed if path.endswith(".gz") and _ROTATED.search(path) else _Plain)(path, fd, found)


def _cannot(path: str, error: OSError) -> MachineError:
    why = error.strerror or str(error)
    return MachineError(f"cannot read the log {path}", why, "check who may read it", error.errno or 0)


class _Plain:
    packed = False

    def __init__(self, path: str, fd: int, found: os.stat_result) -> None:
        self.path = path
        self.written = found.st_mtime
        self.identity = f"{found.st_dev}:{found.st_ino}"
        self._fd = fd
        self._extents = _extents(fd, found.st_size)
        self.size = sum(end - start for start, end in self._extents)
        self.length = found.st_size

    def position(self, offset: int) -> int:
        """Where a byte of the file is when its holes are left out."""
        return sum(min(end, offset) - start for start, end in self._extents if start < offset)

    def read(self, at: int, limit: int) -> bytes:
        parts: list[bytes] = []
        for start, end in self._extents:
            length = end - start
            if at < length and limit > 0:
                try:
                    data = os.pread(self._fd, min(limit, length - at), start + at)
                except OSError as error:
                    raise _cannot(self.path, error) from error
                parts.append(data)
                limit -= len(data)
                at += len(data)
                if not data:
                    break  # it was truncated meanwhile
            at = max(0, at - length)
        return b"".join(parts)

    def close(self) -> None:
        os.close(self._fd)


def _extents(fd: int, size: int) -> list[tuple[int, int]]:
    """Where data are: a file that was truncated under a writer begins with a hole as large as it was."""
    found: list[tuple[int, int]] = []
    at = 0
    try:
        while at < size and len(found) < _MOST_EXTENTS:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, min(at, size)))
    except OSError as error:
        if error.errno != errno.ENXIO:  # ENXIO: nothing but a hole follows; another: this file system tells of none
            return [(0, size)]
    else:
        if at < size:
            found.append((at, size))
    return found


class _Packed:
    """What gzip has packed; it is read from its beginning to its end."""

    packed = True

    def __init__(self, path: str, fd: int, found: os.stat_result) -> None:
        import gzip

        self.path = path
        self.written = found.st_mtime
        self.identity = f"{found.st_dev}:{found.st_ino}"
        self.size = self.length = found.st_size  # packed
        self._raw = open(fd, "rb")  # noqa: SIM115 -- closed with its key
        self._file = gzip.GzipFile(fileobj=self._raw)

    def position(self, offset: int) -> int:
        return offset

    def read(self, at: int, limit: int) -> bytes:
        try:
            self._file.seek(at)
            return self._file.read(limit)
        except (OSError, EOFError) as error:
            why = error if isinstance(error, OSError) else OSError(errno.EIO, "it is cut off")
            raise _cannot(self.path, why) from error
        except Exception as error:  # zlib.error, which is no OSError, where the content is damaged
            if type(error).__module__ != "zlib":
                raise
            raise _cannot(self.path, OSError(errno.EIO, "it is damaged")) from error

    def close(self) -> None:
        self._file.close()
        self._raw.close()
