"""Logs of a made-up machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from multi.model.happening import Printed
from multi.testing.world.bodies import Body
from multi.testing.world.files import Entry, Files
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.testing.world.world import World


class MadeUpLog:
    """A file of a log."""

    packed = False

    def __init__(self, path: str, entry: Entry) -> None:
        self.path, self._data = path, entry.data
        self.size = self.length = len(entry.data)
        self.written, self.identity = entry.mtime, str(entry.inode)

    @staticmethod
    def position(offset: int) -> int:
        return offset

    def read(self, at: int, limit: int) -> bytes:
        return self._data[at : at + limit]


class Logs(Files):
    """Logs, read and followed."""

    def __init__(self, world: World, uid: int, body: Body) -> None:
        super().__init__(world, uid, body)
        self._read: dict[str, tuple[str, int]] = {}  # key -> log, and bytes that were read of it
        self._followed: dict[str, tuple[str, int]] = {}  # path and how far it was told, by key

    def log_begin(self, key: str, path: str, limit: int, offset: int = 0) -> bytes:
        size = self.size(path)
        self._read[key] = path, size
        begin = max(offset if offset <= size else 0, size - limit)
        return self.world.files[path].data[begin:] if size else b""

    def log_more(self, key: str, limit: int) -> bytes:
        if key not in self._read:
            return b""
        path, at = self._read[key]
        entry = self.world.files.get(path, Entry())
        at = at if at <= len(entry.data) else 0
        data = entry.data[at : at + limit]
        self._read[key] = path, at + len(data)
        return data

    def watch_sources(self, roots: Mapping[str, Sequence[str]]) -> None:
        self._call("watch_sources", *roots)

    def follow(self, key: str, path: str, offset: int, *, bounded: bool) -> None:  # noqa: ARG002 -- of the disk
        self._call("follow", path)
        self._followed.setdefault(key, (path, offset))

    def printed(self, key: str) -> tuple[str, ...]:
        self._call("printed", key)
        return tuple(self._lines(key, "").splitlines())

    def _lines(self, key: str, end: str) -> str:
        """What was added up to the last such end."""
        path, at = self._followed[key]
        data = self.world.files.get(path, Entry()).data[at:].decode()
        text = data[: data.rindex(end) + len(end)] if end in data else ""
        self._followed[key] = path, at + len(text.encode())
        return text

    def grown(self, path: str) -> None:
        """From the world: somebody has printed."""
        for key in [key for key, (followed, _) in self._followed.items() if followed == path]:
            lines = tuple(self._lines(key, "\n").splitlines())
            if lines:
                self.heard.append(Printed(key, lines))

    def log_files(self, key: str, path: str, *, rotated: bool = False) -> list[MadeUpLog]:  # noqa: ARG002 -- nothing is open
        names = [name for name in self.world.files if name.startswith(f"{path}.")] if rotated else [path]
        found = [MadeUpLog(name, self.world.files[name]) for name in names if name in self.world.files]
        return sorted(found, key=lambda file: -file.written)

    @staticmethod
    def within(seconds: float, call: Callable[[], object]) -> object:  # noqa: ARG004 -- nothing takes time here
        return call()
