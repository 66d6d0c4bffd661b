"""Locks of a made-up machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from multi.machine import Asked, Holder
from multi.model.happening import Locked
from multi.testing.world.files import Entry, Files


@dataclass(slots=True)
class Flock:
    """A lock on a file, by its inode: at which path it was taken, who has it, and who waits for it, in order."""

    path: str
    holder: tuple[Locks, str]
    queue: list[tuple[Locks, str]] = field(default_factory=list)


class Locks(Files):
    """Locks of files, each with a line of those that wait."""

    def lock(self, key: str, path: str, user: str | None, group: str | None, ends: str = "") -> Holder | None:  # noqa: ARG002 -- groups make no difference here
        self._call("lock", path)
        self._enter(path, "lock")
        won = self._take(key, path, self._owner(user)) is None
        if ends:
            asked = Asked(f"pid {self.body.pid}: multi", self.world.time, ends == "kill")
            self.world.asked[self.world.files[path].inode] = asked
        return None if won else self.holder(key)

    def asked(self, key: str, path: str) -> Asked | None:  # noqa: ARG002 -- the path alone says it here
        self._call("asked", path)
        entry = self.world.files.get(path)
        found = None if entry is None else self.world.asked.get(entry.inode)
        return None if found is None or found.who == f"pid {self.body.pid}: multi" else found

    def lock_directory(self, key: str, path: str, owners: Iterable[tuple[str | None, str | None]]) -> Holder | None:
        user, group = next(iter(owners))
        return self.lock(key, path, user, group)

    def holder(self, key: str) -> Holder:
        flock = next((one for one in self.world.flocks.values() if (self, key) in one.queue), None)
        return Holder() if flock is None else Holder(f"pid {flock.holder[0].body.pid}: multi")

    def _take(self, key: str, path: str, owner: int) -> Locks | None:
        """Have the lock (None), or stand in line behind somebody."""
        entry = self.world.files.setdefault(path, Entry(uid=owner, mtime=self.world.wall))
        flock = self.world.flocks.get(entry.inode)
        if flock is None:
            self.world.flocks[entry.inode] = Flock(path, (self, key))
            return None
        flock.queue.append((self, key))
        return flock.holder[0]

    def holds(self, key: str) -> bool:
        return any(
            flock.holder == (self, key)
            and flock.path in self.world.files
            and self.world.files[flock.path].inode == inode
            for inode, flock in self.world.flocks.items()
        )

    def unlock(self, key: str) -> None:
        self._call("unlock", key)
        for inode in list(self.world.flocks):
            self._give_back(inode, key)

    def _give_back(self, inode: int, key: str | None) -> None:
        """`key` None is every key of this `multi`."""
        flock = self.world.flocks[inode]
        flock.queue = [one for one in flock.queue if not (one[0] is self and key in {None, one[1]})]
        if flock.holder[0] is not self or key not in {None, flock.holder[1]}:
            return
        del self.world.flocks[inode]
        entry = self.world.files.get(flock.path)
        for fake, waiting in flock.queue:
            if entry is not None and entry.inode == inode and inode not in self.world.flocks:
                self.world.flocks[inode] = Flock(flock.path, (fake, waiting))
                fake.heard.append(Locked(waiting))
            elif fake._take(waiting, flock.path, fake.uid) is None:  # noqa: SLF001 -- it is one of us
                fake.heard.append(Locked(waiting))  # the file was replaced while it slept: it begins again
