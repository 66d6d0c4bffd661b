"""Several commands at once on the made-up machine, in an order that a seed decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Semaphore, Thread

from multi.testing.world import Fake, KilledError, World


@dataclass(slots=True, eq=False)
class _Player:
    """One command of a crowd, in a thread that runs only while it has the baton."""

    fake: Fake
    command: Callable[[Fake], None]
    baton: Semaphore = field(default_factory=lambda: Semaphore(0))
    sleeping: bool = False
    until: float | None = None
    over: bool = False
    failure: BaseException | None = None

    def may_run(self, now: float) -> bool:
        """Whether it has anything to do now."""
        if self.over:
            return False
        woken = self.fake.dead or self.fake.heard or (self.until is not None and self.until <= now)
        return bool(not self.sleeping or woken)


class Crowd:
    """Several commands at once, in an order that `seed` decides; only one thread ever runs.

    `check` is called after every turn, between any two calls of any two commands: what must always be true of the
    world is asserted there. With `kills`, that many commands are hit by KILL at moments that the seed decides.
    """

    def __init__(self, world: World, seed: int, check: Callable[[], None], *, kills: int = 0) -> None:
        """Nothing runs yet."""
        self._world = world
        self._dice = random.Random(seed)
        self._check = check
        self._kills = kills
        self._conductor = Semaphore(0)
        self._players: list[_Player] = []
        self.killed: list[Fake] = []

    def run(self, commands: Sequence[tuple[Fake, Callable[[Fake], None]]]) -> None:
        """Run them all to the end. Raises what the first of them raised, `KilledError` excepted."""
        self._players = [_Player(fake, command) for fake, command in commands]
        threads = [Thread(target=self._play, args=(player,), daemon=True) for player in self._players]
        self._world.crowd = self
        try:
            for thread in threads:
                thread.start()
            while not all(player.over for player in self._players):
                self._turn()
                self._check()
        finally:
            self._world.crowd = None
            for player in self._players:
                if not player.over:  # a check has failed: whoever still waits for its turn is let go
                    player.fake.dead = True
                    player.baton.release()
            for thread in threads:
                thread.join(10)
        for player in self._players:
            if player.failure is not None:
                raise player.failure

    def _turn(self) -> None:
        ready = [player for player in self._players if player.may_run(self._world.time)]
        if ready and self._kills and self._dice.random() < 0.02:
            self._kills -= 1
            victim = self._dice.choice(ready)
            victim.fake.bury()
            self.killed.append(victim.fake)
        # Now and then the world goes on although somebody has something to do: a slow machine.
        if ready and not (self._world.due is not None and self._dice.random() < 0.1):
            player = self._dice.choice(ready)
            player.baton.release()
            self._conductor.acquire()
            return
        ends = [player.until for player in self._players if player.sleeping and player.until is not None]
        next_end = min(ends, default=None)
        if self._world.due is not None and (next_end is None or self._world.due <= next_end):
            self._world.happen()
        else:
            assert next_end is not None, "they hang: all wait, and nothing will ever happen"
            self._world.time = max(self._world.time, next_end)

    def _play(self, player: _Player) -> None:
        player.baton.acquire()
        try:
            player.command(player.fake)
        except KilledError:
            pass
        except BaseException as error:  # noqa: BLE001 -- raised again by `run`, in the main thread
            player.failure = error
        player.over = True
        self._conductor.release()

    def change_over(self, fake: object) -> None:
        """From a `Fake`, before every call: let somebody else have the baton."""
        player = self._of(fake)
        if player is not None:
            self._conductor.release()
            player.baton.acquire()

    def sleep(self, fake: object, until: float | None) -> None:
        """From a `Fake` that waits: be passed over until there is something to do."""
        player = self._of(fake)
        if player is None:
            return
        player.sleeping, player.until = True, until
        while not player.may_run(self._world.time):
            self._conductor.release()
            player.baton.acquire()
            if self._world.crowd is None:
                raise KilledError
        player.sleeping = False

    def _of(self, fake: object) -> _Player | None:
        return next((player for player in self._players if player.fake is fake), None)
