"""Files whose changes are told: by inotify(7) where there is one, else by looking now and then."""

from __future__ import annotations

import os
import struct
from functools import partial

from multi.machine import Changed
from multi.system.files import fingerprint
from multi.system.poll import LINUX, Poller

# Moved there, deleted, and the same of the directory itself. Not written to, which a log in it may be all the time.
_MASK = 0x80 | 0x200 | 0x400 | 0x800
_ONLY_DIRECTORIES = 0x01000000
_EVENT = struct.Struct("iIII")
_LOOK_EVERY = 0.5  # seconds, where the kernel cannot tell


class Changes:
    """The paths that somebody waits for, by key; their directories are what the kernel watches."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._paths: dict[str, str] = {}
        self._directories: dict[int, str] = {}  # by watch descriptor
        self._fd: int | None = None

    def watch(self, key: str, path: str) -> None:
        """Report `Changed` whenever another file takes this path, or the one that is there is removed."""
        self._paths[key] = path
        directory = os.path.dirname(path) or "/"
        if directory not in self._directories.values() and not self._add(directory):
            self._poller.look((key, "changes"), partial(self._look, key, [fingerprint(path)]), _LOOK_EVERY)

    def _add(self, directory: str) -> bool:
        if not LINUX:
            return False
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if self._fd is None:
            fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if fd < 0:
                return False
            self._fd = fd
            self._poller.add(fd, self._read)
        number = libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK | _ONLY_DIRECTORIES)
        if number >= 0:
            self._directories[number] = directory
        return bool(number >= 0)

    def _look(self, key: str, last: list[str]) -> None:
        seen = fingerprint(self._paths[key])
        if seen != last[0]:
            last[0] = seen
            self._poller.queue.append(Changed(key))

    def _read(self) -> None:
        assert self._fd is not None  # noqa: S101 -- it is what has become readable
        changed: set[str] = set()
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        while data:
            number, mask, _, length = _EVENT.unpack_from(data)
            name = os.fsdecode(data[_EVENT.size : _EVENT.size + length].rstrip(b"\0"))
            data = data[_EVENT.size + length :]
            directory = self._directories.get(number, "")
            whole = not name or not directory  # it is gone, or more has happened than the kernel could keep
            changed |= {key for key, path in self._paths.items() if whole or path == f"{directory.rstrip('/')}/{name}"}
            if mask & 0x8000:  # IN_IGNORED: nothing more will be told of it
                self._directories.pop(number, None)
        self._poller.queue.extend(map(Changed, sorted(changed)))

    def release(self, key: str) -> None:
        self._paths.pop(key, None)
        self._poller.forget((key, "changes"))
        if not self._paths:
            self.close()

    def close(self) -> None:
        if self._fd is not None:
            self._poller.drop(self._fd)
            os.close(self._fd)
            self._fd = None
        self._directories.clear()
