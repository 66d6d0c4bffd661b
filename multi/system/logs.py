"""A log that others write: followed through rotation and truncation."""

from __future__ import annotations

import os
import stat


class Log:
    """An open log and how far it was read. A log that is not there yet is empty."""

    def __init__(self, path: str) -> None:
        """Open nothing yet."""
        self._path = path
        self._fd = -1
        self._at = 0

    def begin(self, limit: int) -> bytes:
        """The last `limit` bytes at most; `more` goes on from there."""
        if not self._open():
            return b""
        size = os.fstat(self._fd).st_size
        begin = max(0, size - limit)
        data = os.pread(self._fd, size - begin, begin)
        self._at = begin + len(data)
        return data

    def more(self, limit: int) -> bytes:
        """What was added. The file that we have open is read to its end before the one that took its name."""
        if self._fd < 0 and not self._open():
            return b""
        if os.fstat(self._fd).st_size < self._at:
            self._at = 0  # truncated, as by logrotate's copytruncate
        data = os.pread(self._fd, limit, self._at)
        if not data and self._renamed() and self._open():
            data = os.pread(self._fd, limit, 0)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _renamed(self) -> bool:
        try:
            there = os.stat(self._path)
        except OSError:
            return False  # moved away, and its successor is not made yet
        here = os.fstat(self._fd)
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def _open(self) -> bool:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError:
            return False
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return False
        self.close()
        self._fd, self._at = fd, 0
        return True
