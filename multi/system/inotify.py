"""inotify(7): the kernel tells of changes to directories and files."""

from __future__ import annotations

import os
import struct

from multi.system.poll import LINUX
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from multi.system.poll import Poller

MODIFY, MOVED_TO, CREATED, DELETED, DELETED_SELF, MOVED_SELF = 0x2, 0x80, 0x100, 0x200, 0x400, 0x800
ONLY_DIRECTORIES, IGNORED = 0x01000000, 0x8000
_EVENT = struct.Struct("iIII")


class Inotify:
    """One descriptor of inotify, opened with the first watch; `tell` is called when it has something to say."""

    def __init__(self, poller: Poller, tell: Callable[[], None]) -> None:
        self._poller = poller
        self._tell = tell
        self._fd = -1

    def add(self, path: str, mask: int) -> int:
        """The number of the watch, the same for each path of one file; -1 where the kernel cannot watch it."""
        if not LINUX:
            return -1
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if self._fd < 0:
            self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd < 0:
                return -1
            self._poller.add(self._fd, self._tell)
        return int(libc.inotify_add_watch(self._fd, os.fsencode(path), mask))

    def read(self) -> Iterator[tuple[int, int, str]]:
        """Watch, mask and name of each event; watch -1 when more has happened than the kernel could keep."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        while data:
            number, mask, _, length = _EVENT.unpack_from(data)
            name = os.fsdecode(data[_EVENT.size : _EVENT.size + length].rstrip(b"\0"))
            data = data[_EVENT.size + length :]
            yield number, mask, name

    def close(self) -> None:
        if self._fd >= 0:
            self._poller.drop(self._fd)
            os.close(self._fd)
            self._fd = -1
