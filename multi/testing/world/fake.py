"""One `multi` on a made-up machine."""

from __future__ import annotations

from collections.abc import Sequence

from multi.machine import Machine
from multi.model.happening import Happening
from multi.model.process import Proc
from multi.testing.world.bodies import Body
from multi.testing.world.cgroups import FakeCgroups
from multi.testing.world.launches import Launches
from multi.testing.world.local import KilledError
from multi.testing.world.locks import Locks
from multi.testing.world.logs import Logs
from multi.testing.world.looks import Looks
from multi.testing.world.proofs import Proofs
from multi.typed import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from multi.testing.world.world import World


class Fake(Launches, Locks, Logs, Looks, Proofs):
    """One `multi` on a made-up machine: keeps the contract of `multi.machine.Machine`."""

    def __init__(self, world: World, uid: int, body: Body) -> None:
        super().__init__(world, uid, body)
        self.cgroups = FakeCgroups(self)

    def ended(self, proc: Proc, status: int) -> None:
        """From the world: a process has ended."""
        self.cgroups.ended()
        super().ended(proc, status)

    def die(self) -> NoReturn:
        """Be hit by KILL, here and now."""
        self.bury()
        self._told = True
        raise KilledError

    def bury(self) -> None:
        """What the kernel does when `multi` is gone: locks are free, gates are shut, the nodes go to init.

        The Python that runs it here is not gone: its ``finally`` blocks act on a world of their own from now on.
        """
        self.dead = True
        self.heard.clear()
        self._leave()
        self.world = type(self.world)()

    def __enter__(self) -> Fake:  # noqa: PYI034 -- typing.Self is Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The command is over. The nodes live on; the launcher does not."""
        if not self.dead:
            self.cgroups.tidy()
            self._leave()

    def _leave(self) -> None:
        for launched in list(self._launched):
            self._forget(launched)
        self._launched.clear()
        for inode in list(self.world.flocks):
            self._give_back(inode, None)
        self._watched.clear()
        self._ears.clear()
        self._probes.clear()
        if self._launcher is not None:
            self.world.end(self._launcher, 0)
            self._launcher = None
        self.world.end(self.body, 0)
        if self in self.world.fakes:
            self.world.fakes.remove(self)

    def make_room(self, nodes: int) -> int:
        return min(nodes, self.world.capacity)

    def release(self, key: str) -> None:
        self._call("release", key)
        for launched in [one for one in self._launched if one.key == key]:
            self._forget(launched)
        for inode in list(self.world.flocks):
            self._give_back(inode, key)
        for watched in [one for one in self._watched if one[0] == key]:
            del self._watched[watched]
        if key not in self._kept_ears:
            self._ears.pop(key, None)
        self._probes.pop(key, None)
        self._read.pop(key, None)
        self._files.pop(key, None)
        self.cgroups.watched.pop(key, None)

    def wait(self, until: float | None) -> Sequence[Happening]:
        self._call("wait")
        world = self.world
        if world.crowd is not None:
            world.crowd.sleep(self, until)
            if self.dead:
                self._told = True
                raise KilledError
        while not self.heard:
            if world.due is not None and (until is None or world.due <= until):
                world.happen()
                continue
            if until is None:
                raise AssertionError(f"it hangs: nothing will ever happen; the last it did was {self.calls[-12:]}")
            world.time = max(world.time, until)
            break
        heard, self.heard = self.heard, []
        return heard


def keeps_the_contract(fake: Fake) -> Machine:
    """For the type checker: a `Fake` is a `Machine`."""
    return fake
