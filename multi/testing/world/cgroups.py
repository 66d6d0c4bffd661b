"""Cgroups of a made-up machine."""

from __future__ import annotations

from multi.model.cgroup import Counted, Folder
from multi.model.happening import Emptied
from multi.model.process import Proc
from multi.model.record import Cgroup
from multi.testing.world.bodies import KILL, Body
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.testing.world.fake import Fake


class FakeCgroups:
    """What one `multi` does with cgroups."""

    def __init__(self, fake: Fake) -> None:
        self.home: str | None = None
        self.watched: dict[str, Cgroup] = {}
        self._left: set[str] = set()
        self._fake = fake

    def _inside(self, path: str) -> list[Body]:
        return [body for body in self._fake.world.bodies.values() if body.cgroup == path and not body.gone]

    def here(self) -> tuple[Folder | None, Folder | None]:
        return self._fake.world.folder, None

    def folder(self, path: str) -> Folder | None:
        own = self._fake.world.folder
        return own if own is not None and own.path == path else self._fake.world.folders.get(path)

    def take(self, home: str, *, divide: bool) -> None:  # noqa: ARG002 -- there are no controllers
        self.home = home
        if home:
            self._fake._call("cgroup_take", home)  # noqa: SLF001 -- a part of it
            for path in [path for path in self._fake.world.cgroups if not self._inside(path)]:
                del self._fake.world.cgroups[path]

    def of(self, proc: Proc) -> Cgroup | None:
        body = self._fake.world.bodies.get(proc.pid)
        return Cgroup(body.cgroup, self._fake.world.cgroups[body.cgroup]) if body is not None and body.cgroup else None

    def owner(self, cgroup: Cgroup) -> int | None:
        return self._fake.world.cgroup_uid if self._fake.world.cgroups.get(cgroup.path) == cgroup.inode else None

    def pids(self, cgroup: Cgroup) -> frozenset[int] | None:
        there = self.owner(cgroup) is not None
        return frozenset(body.pid for body in self._inside(cgroup.path)) if there else None

    def counted(self, cgroup: Cgroup) -> Counted:
        there = self.owner(cgroup) is not None
        return self._fake.world.counted.get(cgroup.path, Counted()) if there else Counted()

    def kill(self, cgroup: Cgroup) -> None:
        self._fake._call("cgroup_kill", cgroup.path)  # noqa: SLF001 -- a part of it
        for body in self._inside(cgroup.path) if self.owner(cgroup) is not None else ():
            self._fake.world.signal(body, KILL)

    def watch(self, key: str, cgroup: Cgroup) -> bool:
        if not self.pids(cgroup):
            return False
        self.watched[key] = cgroup
        return True

    def ended(self) -> None:
        """From the world: a process has ended."""
        for key in [key for key, cgroup in self.watched.items() if not self.pids(cgroup)]:
            del self.watched[key]
            self._fake.heard.append(Emptied(key))

    def remove(self, path: str, cgroup: Cgroup | None = None) -> None:
        self._fake._call("cgroup_remove", path)  # noqa: SLF001 -- a part of it
        if cgroup is None or self.owner(cgroup) is not None:
            self._left.add(path)
        self.tidy()

    def tidy(self) -> None:
        for path in [path for path in self._left if not self._inside(path)]:
            self._left.discard(path)
            self._fake.world.cgroups.pop(path, None)
