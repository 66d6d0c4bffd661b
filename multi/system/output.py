"""What nodes print, told in whole lines as it comes: their logs are followed, woken by inotify(7).

A log, unlike a pipe, takes what a node prints also when nobody reads: a node neither waits for us nor dies of SIGPIPE
when we are killed.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial

from multi.model.happening import Printed
from multi.system import trusted_path
from multi.system.inotify import CREATED, IGNORED, MODIFY, MOVED_TO, ONLY_DIRECTORIES, Inotify
from multi.system.logs import Log
from multi.system.poll import Poller
from multi.text import size

_CHUNK = 1 << 13  # bytes of one log at one look, so that one that grows without end keeps no stop waiting
_BEHIND = 1 << 20  # bytes that are shown of what was printed before we came, and that a terminal may lag behind
_SHOWN = 1 << 14  # bytes that it shows when it lags further behind
_LONGEST = 1 << 16  # bytes; a longer line is told in pieces
_PARTIAL = 0.5  # seconds that a line without its end waits for it
_KEPT = 1 << 20  # bytes that a bounded log keeps of what was read
_PUNCH, _KEEP_SIZE = 0x02, 0x01  # fallocate(2)


class _Source:
    """One log: how far it was read, and the line that has no end yet. A bundle of state, not a value."""

    def __init__(self, key: str, path: str, *, bounded: bool) -> None:
        self.key = key
        self.path = path
        self.real = os.path.realpath(path)  # the name in its directory, where another file may take its place
        self.log = Log(path)
        self.bounded = bounded
        self.watched = False  # by the kernel
        self.freed = 0
        self.rest = b""
        self.cut = False  # a line was told without its end

    def lines(self, data: bytes) -> list[bytes]:
        """The lines that `data` ends, and pieces of one that is too long."""
        *done, self.rest = (self.rest + data).split(b"\n")
        if done:
            done = done[1:] if self.cut and not done[0] else done  # no more than the end of what was told
            self.cut = False
        while len(self.rest) > _LONGEST:
            end = _whole(self.rest[:_LONGEST])
            done.append(self.rest[:end])
            self.rest, self.cut = self.rest[end:], True
        return [piece for line in done for piece in _pieces(line)]

    def unfinished(self) -> list[bytes]:
        """What waits for its end, told without it; but for the beginning of a character."""
        end = _whole(self.rest)
        line, self.rest = self.rest[:end], self.rest[end:]
        self.cut = self.cut or bool(line)
        return [line] if line else []


class Output:
    """The logs that are told of, by key. One that the kernel cannot watch is looked at now and then."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._sources: dict[str, _Source] = {}
        self._files: dict[int, set[str]] = {}  # watch -> keys
        self._directories: dict[int, tuple[str, set[str]]] = {}
        self._inotify = Inotify(poller, self._read)
        self._terminal = os.isatty(1)

    def follow(self, key: str, path: str, offset: int, *, bounded: bool) -> None:
        """See `Machine.follow`."""
        before = self._sources.get(key)
        if before is not None:
            if before.path == path:
                if not before.watched:  # its directory was not there
                    self._poller.forget((key, "output"))
                    self._watch(before)
                    self._look(before)
                return
            self._tell(before, [*self._drained(before), *before.unfinished()])
            self._drop(before)
        source = self._sources[key] = _Source(key, path, bounded=bounded)
        self._watch(source)  # first, so that nothing is missed
        self._tell(source, source.lines(source.log.begin(_BEHIND, offset)))

    def rest(self, key: str) -> tuple[str, ...]:
        """See `Machine.printed`."""
        source = self._sources.get(key)
        if source is None:
            return ()
        self._catch_up(source, _SHOWN)
        waiting = [one for one in self._poller.queue if isinstance(one, Printed) and one.key == key]
        for one in waiting:
            self._poller.queue.remove(one)
        told = tuple(line for one in waiting for line in one.lines)
        return (*told, *_texts([*self._drained(source), *source.unfinished()]))

    def _drained(self, source: _Source) -> list[bytes]:
        lines: list[bytes] = []
        for _ in range(_BEHIND // _CHUNK):
            data = source.log.more(_CHUNK)
            lines += source.lines(data)
            if len(data) < _CHUNK:
                break
        return lines

    def _watch(self, source: _Source) -> None:
        directory = os.path.dirname(source.real)
        number = self._inotify.add(directory, CREATED | MOVED_TO | ONLY_DIRECTORIES)
        if number < 0:
            self._poller.look((source.key, "output"), partial(self._look, source))
            return
        source.watched = True
        self._directories.setdefault(number, (directory, set()))[1].add(source.key)
        self._watch_file(source)

    def _watch_file(self, source: _Source) -> None:
        number = self._inotify.add(source.real, MODIFY)
        if number >= 0:
            self._files.setdefault(number, set()).add(source.key)
        elif os.path.exists(source.real):  # the kernel has no watch left for this user
            self._poller.look((source.key, "output"), partial(self._look, source))

    def _read(self) -> None:
        grown: dict[str, None] = {}
        for number, mask, name in self._inotify.read():
            if number < 0:  # more has happened than the kernel could keep
                grown |= dict.fromkeys(self._sources)
            grown |= dict.fromkeys(self._files.get(number, ()))
            directory, keys = self._directories.get(number, ("", ()))
            for key in keys:
                source = self._sources.get(key)
                if source is not None and source.real == f"{directory.rstrip('/')}/{name}":
                    self._watch_file(source)  # the one that has the name now
                    grown[key] = None
            if mask & IGNORED:
                self._files.pop(number, None)
                self._directories.pop(number, None)
        for key in grown:
            if key in self._sources:
                self._look(self._sources[key])

    def _look(self, source: _Source) -> None:
        if self._sources.get(source.key) is not source:
            return
        self._catch_up(source, _BEHIND)
        data = source.log.more(_CHUNK)
        if data:
            self._tell(source, source.lines(data))
        if len(data) == _CHUNK:
            self._poller.at((source.key, "more"), time.monotonic(), partial(self._look, source))

    def _catch_up(self, source: _Source, most: int) -> None:
        """A terminal that is slower than its nodes, or was held by Ctrl-S, is to show what they print now."""
        skipped = source.log.skip(_SHOWN) if self._terminal and source.log.behind > most else 0
        if skipped:
            source.rest, source.cut = b"", False
            self._tell(source, [b"[... %s not shown ...]" % size(skipped).encode()])

    def _tell(self, source: _Source, lines: list[bytes]) -> None:
        if lines:
            self._poller.queue.append(Printed(source.key, _texts(lines)))
        if source.rest:
            self._poller.at((source.key, "rest"), time.monotonic() + _PARTIAL, partial(self._end_waits, source))
        else:
            self._poller.forget((source.key, "rest"))
        if source.bounded and source.log.at - source.freed > 2 * _KEPT:
            source.freed = source.log.at - _KEPT
            _free(source.path, source.freed)

    def _end_waits(self, source: _Source) -> None:
        lines = source.unfinished()
        if lines:
            self._poller.queue.append(Printed(source.key, _texts(lines)))

    def _drop(self, source: _Source) -> None:
        source.log.close()
        for what in ("output", "more", "rest"):
            self._poller.forget((source.key, what))
        for keys in (*self._files.values(), *(keys for _, keys in self._directories.values())):
            keys.discard(source.key)

    def release(self, key: str) -> None:
        """A walk that releases its node has no say: its output is told until the end."""

    def close(self) -> None:
        for source in self._sources.values():
            self._drop(source)
        self._sources.clear()
        self._inotify.close()


def _texts(lines: list[bytes]) -> tuple[str, ...]:
    return tuple(line.decode("utf-8", "surrogateescape") for line in lines)


def _pieces(line: bytes) -> list[bytes]:
    found = []
    while len(line) > _LONGEST:
        end = _whole(line[:_LONGEST])
        found.append(line[:end])
        line = line[end:]
    return [*found, line]


def _whole(data: bytes) -> int:
    """The length of `data` without the beginning of a character of UTF-8 at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:  # noqa: PLR2004 -- no byte that goes on
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1  # noqa: PLR2004 -- RFC 3629
            return len(data) - back if back < length and len(data) > back else len(data)
    return len(data)


def _free(path: str, length: int) -> None:
    """Give back the room of the first `length` bytes of a file, whose size stays. Fine where the disk cannot."""
    import ctypes

    with suppress(OSError, AttributeError), trusted_path.open_directory(os.path.dirname(path)) as at:
        libc = ctypes.CDLL(None, use_errno=True)
        fallocate = getattr(libc, "fallocate64", None) or libc.fallocate  # musl has but one
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(at.name(os.path.basename(path)), flags, dir_fd=at.fd)
        try:
            if os.fstat(fd).st_nlink == 1:  # else another user may have linked it here
                fallocate(fd, _PUNCH | _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(length))
        finally:
            os.close(fd)
