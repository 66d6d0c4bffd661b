"""A log that others write: followed through rotation and truncation."""

from __future__ import annotations

import errno
import os
import stat
from functools import cached_property

from multi.machine import MachineError
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.machine import LogFile
    from multi.system.log_files import LogFiles


class Logs:
    """The logs that are followed, one for each key, and those that are searched."""

    def __init__(self) -> None:
        self._logs: dict[str, Log] = {}

    @cached_property
    def _searched(self) -> LogFiles:
        from multi.system.log_files import LogFiles

        return LogFiles()

    def files(self, key: str, path: str, *, rotated: bool = False) -> Sequence[LogFile]:
        """See `Machine.log_files`."""
        return self._searched.find(key, path, rotated=rotated)

    @staticmethod
    def within(seconds: float, call: Callable[[], object]) -> object:
        """See `Machine.within`."""
        from multi.system import alarm

        return alarm.within(seconds, call)

    def begin(self, key: str, path: str, limit: int, offset: int = 0) -> bytes:
        """See `Machine.log_begin`."""
        self.release(key)
        log = self._logs[key] = Log(path)
        return log.begin(limit, offset)

    def more(self, key: str, limit: int) -> bytes:
        return self._logs[key].more(limit) if key in self._logs else b""

    def release(self, key: str) -> None:
        log = self._logs.pop(key, None)
        if log is not None:
            log.close()
        if "_searched" in vars(self):
            self._searched.release(key)

    def close(self) -> None:
        for key in list(self._logs):
            self.release(key)
        if "_searched" in vars(self):
            self._searched.close()


class Log:
    """An open log and how far it was read. A log that is not there yet is empty."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self.at = 0
        self._cut = False  # what was read last is a line without its end

    @property
    def opened(self) -> bool:
        return self._fd >= 0

    @property
    def behind(self) -> int:
        """Bytes that were not read yet of the file that is open."""
        return os.fstat(self._fd).st_size - self.at if self._fd >= 0 else 0

    def skip(self, keep: int) -> int:
        """Go on where so many bytes are left to read, or behind the end of the line there; how many are passed over."""
        began, self.at = self.at, self.at + self.behind - keep
        self.at += self._read(keep).find(b"\n") + 1 - keep
        return self.at - began

    def begin(self, limit: int, offset: int) -> bytes:
        try:
            if not self._open():
                return b""
            size = os.fstat(self._fd).st_size
            # One that is shorter by now was truncated or replaced, so all of it is new.
            self.at = max(offset if offset <= size else 0, size - limit)
            return self._read(size - self.at)
        except OSError as error:
            why = "it is a socket" if error.errno == errno.ENXIO else error.strerror or str(error)
            raise MachineError(
                f"cannot read the log {self._path}", why, "check --logfile and who may read it", error.errno or 0
            ) from error

    def more(self, limit: int) -> bytes:
        """What was added. The file that we have open is read to its end before the one that took its name.

        A worker that is not told of the rotation goes on writing to the old file; one that is told makes the new one
        grow. So the new one is taken when there is something in it.
        """
        try:
            if self._fd < 0 and not self._open():
                return b""
            here = os.fstat(self._fd)
            # Shorter than before: truncated, as by logrotate's copytruncate.
            if here.st_size < self.at or (here.st_size == self.at and self._replaced(here) and self._open()):
                self.at = 0
                end = b"\n" if self._cut else b""
                self._cut = False
                return end + self._read(limit - len(end))
            return self._read(limit)
        except OSError:
            return b""  # it may not be read just now; a later look tells

    def _read(self, limit: int) -> bytes:
        data = os.pread(self._fd, limit, self.at)
        self.at += len(data)
        self._cut = not data.endswith(b"\n") if data else self._cut
        return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _replaced(self, here: os.stat_result) -> bool:
        """Whether another file, with something in it, has the name by now."""
        try:
            there = os.stat(self._path)
        except OSError:
            return False  # moved away, and its successor is not made yet
        return there.st_size > 0 and not os.path.samestat(here, there)

    def _open(self) -> bool:
        """Open the file that has the name now; False when there is none. Raises `OSError`."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "it is no regular file")
        self.close()
        self._fd, self.at = fd, 0
        return True
