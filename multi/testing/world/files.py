"""Files of a made-up machine."""

from __future__ import annotations

import errno
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from multi.machine import File, FileWrite, MachineError, Unreadable
from multi.model.happening import Changed
from multi.testing.world.bodies import Body
from multi.testing.world.local import Local
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.testing.world.world import World


@dataclass(slots=True)
class Entry:
    """What lies at a path. `kind` is as `Unreadable` words it: ``file``, ``directory``, ``symbolic link``, ``FIFO``."""

    data: bytes = b""
    uid: int = 0
    mode: int = 0o644
    mtime: float = 0.0
    kind: str = "file"
    inode: int = field(default_factory=count(2).__next__)


class Files(Local):
    """Files, read and written."""

    def __init__(self, world: World, uid: int, body: Body) -> None:
        super().__init__(world, uid, body)
        self._files: dict[str, str] = {}  # key -> path whose changes it hears of

    def load(self, path: str) -> bytes:
        entry = self.world.files.get(path)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return entry.data

    def load_as(self, path: str, uid: int) -> bytes:
        entry = self.world.files.get(path)
        if entry is not None and uid not in {0, entry.uid} and not entry.mode & 0o004:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return self.load(path)

    def peek(self, path: str) -> bytes:
        return self.load(path)

    def find(self, pattern: str) -> Iterable[str]:
        return fnmatch.filter(self.world.files, pattern)

    def kind(self, path: str, user: str | None = None, group: str | None = None) -> str:  # noqa: ARG002 -- all may enter
        """What lies at a path; every program is there."""
        entry = self.world.files.get(path)
        if entry is None:
            return "program" if path.startswith("/usr/bin/") else ""
        return entry.kind if entry.kind in {"file", "directory"} else "other"

    def cannot_create(self, path: str) -> tuple[str, int]:
        at = path
        while at not in self.world.files:
            at = at.rpartition("/")[0] or "/"
        entry = self.world.files[at]
        wanted = "file" if at == path else "directory"
        return ("", 0) if entry.kind == wanted else (f"{at} is not a {wanted}", errno.ENOTDIR)

    def cannot_have(self, path: str, user: str | None, group: str | None, *, ours: bool) -> tuple[str, int]:  # noqa: ARG002 -- all may write
        return self.cannot_create(path)

    def read(self, path: str, limit: int) -> File | Unreadable | None:
        self._call("read", path)
        entry = self.world.files.get(path)
        if entry is None:
            return None
        if entry.kind != "file":
            return Unreadable(f"it is a {entry.kind}")
        if self.uid not in {0, entry.uid} and not entry.mode & 0o004:
            return Unreadable("Permission denied")
        if len(entry.data) > limit:
            return Unreadable(f"it is {len(entry.data)} bytes long, {limit} at most make sense")
        return File(entry.data, entry.uid, entry.mode, entry.mtime)

    def listing(self, directory: str, suffix: str) -> tuple[str, ...]:
        return tuple(
            sorted(
                path
                for path in self.world.files
                if path.rpartition("/")[0] == directory and path.endswith(suffix) and "/." not in path[len(directory) :]
            )
        )

    def size(self, path: str) -> int:
        entry = self.world.files.get(path)
        return len(entry.data) if entry is not None and entry.kind == "file" else 0

    def fingerprint(self, path: str) -> str:
        entry = self.world.files.get(path)
        return "" if entry is None else f"{entry.inode}:{entry.mtime}"

    def make_directory(self, path: str, user: str | None, group: str | None) -> None:  # noqa: ARG002 -- groups make no difference here
        self._call("make_directory", path)
        at = path
        while at not in self.world.files:
            self.world.files[at] = Entry(kind="directory", uid=self._owner(user), mode=0o755, mtime=self.world.wall)
            at = at.rpartition("/")[0] or "/"
        if self.world.files[at].kind != "directory":
            del self.world.files[path]
            raise MachineError(f"cannot make the directory {path}", f"{at} is not a directory", "choose another path")

    def write(self, writes: Sequence[FileWrite]) -> list[MachineError | None]:
        return [self._write(write) for write in writes]

    def _write(self, write: FileWrite) -> MachineError | None:
        try:
            self._call("write", write.path)
            self._enter(write.path, "write")
        except MachineError as error:
            return error
        owner = self.uid if write.ours else self._owner(write.user)
        shared = write.ours and write.user is not None  # here a user's group is the user alone
        mode = write.mode or (0o600 if write.private and not shared else 0o644)
        self.world.files[write.path] = Entry(write.data, owner, mode, self.world.wall)
        self.world.changed(write.path)
        return None

    def watch_file(self, key: str, path: str) -> None:
        self._call("watch_file", path)
        self._files[key] = path

    def changed(self, path: str) -> None:
        """From the world: a file is another one now."""
        self.heard.extend(Changed(key) for key, watched in self._files.items() if watched == path)

    def amend(self, path: str, old: bytes, new: bytes) -> None:
        self._call("amend", path)
        entry = self.world.files.get(path)
        if entry is None:
            raise MachineError(f"cannot write {path}", "No such file or directory", "", errno.ENOENT)
        entry.data = entry.data.replace(old, new)
        self.world.changed(path)

    def append(self, path: str, lines: bytes, limit: int, user: str | None, group: str | None) -> None:  # noqa: ARG002 -- groups make no difference here
        """Add lines; of a file that would become too long the older half goes."""
        self._call("append", path)
        self._enter(path, "write")
        entry = self.world.files.setdefault(path, Entry(uid=self._owner(user), mode=0o600))
        kept = entry.data
        if len(kept) + len(lines) > limit:
            kept = kept[len(kept) - limit // 2 :].partition(b"\n")[2]
        entry.data = kept + lines

    def remove(self, path: str) -> None:
        self._call("remove", path)
        entry = self.world.files.get(path)
        if entry is not None and entry.kind == "directory":
            raise MachineError(f"cannot remove {path}", "Is a directory", "", errno.EISDIR)
        self.world.files.pop(path, None)
        self.world.changed(path)

    def _enter(self, path: str, verb: str) -> None:
        directory = self.world.files.get(path.rpartition("/")[0] or "/")
        if directory is None or directory.kind != "directory":
            raise MachineError(f"cannot {verb} {path}", "No such file or directory", "start again", errno.ENOENT)
        entry = self.world.files.get(path)
        if entry is not None and entry.kind == "directory":
            raise MachineError(f"cannot {verb} {path}", "Is a directory", "", errno.EISDIR)
