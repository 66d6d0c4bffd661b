"""Files whose changes are told: by inotify(7) where there is one, else by looking now and then."""

from __future__ import annotations

import os
from functools import partial

from multi.model.happening import Changed
from multi.system.files import fingerprint
from multi.system.inotify import DELETED, DELETED_SELF, IGNORED, MOVED_SELF, MOVED_TO, ONLY_DIRECTORIES, Inotify
from multi.system.poll import Poller

# Not written to, which a log in it may be all the time.
_MASK = MOVED_TO | DELETED | DELETED_SELF | MOVED_SELF | ONLY_DIRECTORIES
_LOOK_EVERY = 0.5  # seconds, where the kernel cannot tell


class Changes:
    """The paths that somebody waits for, by key; their directories are what the kernel watches."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._paths: dict[str, str] = {}
        self._directories: dict[int, str] = {}  # by watch descriptor
        self._inotify = Inotify(poller, self._read)

    def watch(self, key: str, path: str) -> None:
        """Report `Changed` whenever another file takes this path, or the one that is there is removed."""
        self._paths[key] = path
        directory = os.path.dirname(path) or "/"
        if directory not in self._directories.values() and not self._add(directory):
            self._poller.look((key, "changes"), partial(self._look, key, [fingerprint(path)]), _LOOK_EVERY)

    def _add(self, directory: str) -> bool:
        number = self._inotify.add(directory, _MASK)
        if number >= 0:
            self._directories[number] = directory
        return number >= 0

    def _look(self, key: str, last: list[str]) -> None:
        seen = fingerprint(self._paths[key])
        if seen != last[0]:
            last[0] = seen
            self._poller.queue.append(Changed(key))

    def _read(self) -> None:
        changed: set[str] = set()
        for number, mask, name in self._inotify.read():
            directory = self._directories.get(number, "")
            whole = not name or not directory  # it is gone, or more has happened than the kernel could keep
            changed |= {key for key, path in self._paths.items() if whole or path == f"{directory.rstrip('/')}/{name}"}
            if mask & IGNORED:  # nothing more will be told of it
                self._directories.pop(number, None)
        self._poller.queue.extend(map(Changed, sorted(changed)))

    def release(self, key: str) -> None:
        self._paths.pop(key, None)
        self._poller.forget((key, "changes"))
        if not self._paths:
            self.close()

    def close(self) -> None:
        self._inotify.close()
        self._directories.clear()
