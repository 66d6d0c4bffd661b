"""Probes of readiness, one at a time for each key, and asking another Python for our plug-in.

A kind of probe is a module here, with its name, whose class `Probe` is made of the one below.
"""

from __future__ import annotations

import os
import time
from functools import partial
from importlib import import_module

from multi.machine import Launch
from multi.model.happening import Happening, Probed
from multi.typed import TYPE_CHECKING, TypeAlias
from multi.value import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from multi.system.poll import Poller
    from multi.system.users import Users

    # Hears why a probe has failed, empty when it has not, and the address that accepted.
    Say: TypeAlias = Callable[[str, tuple[str, int] | None], None]


class Probe:
    """One probe under way: it asks `what` and calls `say` once."""

    pid: int | None = None  # of a child of ours

    def __init__(self, probes: Probes, what: str, launch: Launch, say: Say) -> None:
        self.poller = probes.poller
        self.users = probes.users
        self.pidfd = probes.pidfd
        self.what = what
        self.launch = launch
        self.say = say

    def begin(self) -> None:
        """Ask. It may call `say` at once."""

    def last_line(self) -> str:
        """The last line that it has printed so far."""
        return ""

    def end(self) -> None:
        """Give up what is held for it."""


@dataclass(slots=True)
class _Question:
    """A Python that is asked whether it has our plug-in, and the keys that want to know."""

    waiting: set[str] = field(default_factory=set)
    answer: bool | None = None


class Probes:
    """The probes under way, and what other Pythons have answered."""

    def __init__(self, poller: Poller, queue: list[Happening], users: Users, *, pidfd: bool) -> None:
        self.poller = poller
        self.users = users
        self.pidfd = pidfd
        self._queue = queue
        self._running: dict[str, Probe] = {}
        self._questions: dict[str, _Question] = {}  # by the key of the probe that asks

    def pids(self) -> set[int]:
        """Our own children among them."""
        return {probe.pid for probe in self._running.values() if probe.pid is not None}

    def begin(self, key: str, kind: str, what: str, launch: Launch) -> None:
        """Begin one probe; its end is `Probed`."""
        self.end(key)
        probe = import_module(f"multi.system.probes.{kind}").Probe(self, what, launch, partial(self._say, key))
        self._running[key] = probe
        probe.begin()

    def last_line(self, key: str) -> str:
        return self._running[key].last_line() if key in self._running else ""

    def end(self, key: str) -> None:
        probe = self._running.pop(key, None)
        if probe is not None:
            probe.end()

    def _say(self, key: str, why: str, at: tuple[str, int] | None = None) -> None:
        """Report what a probe has answered, to all who want to know it."""
        self.end(key)
        question = self._questions.get(key)
        if question is None:
            self._queue.append(Probed(key, ok=not why, why=why, at=at))
            return
        self.poller.forget(key)
        question.answer = not why
        self._queue += [Probed(each, ok=not why, why=why) for each in question.waiting]
        question.waiting.clear()

    def notifies(self, key: str, program: str, user: str | None, group: str | None) -> bool | None:
        """See `plugin.answer`. A Python that is asked may be the node's user's own, so root does not run it itself."""
        import shlex

        from multi.system import plugin

        answer = plugin.answer(program)
        if isinstance(answer, bool):
            return answer
        if os.geteuid() != 0:
            user = group = None
        self.users.identity(user, group)  # raises for an unknown user
        name = f"{answer} as {user}:{group}"
        if name not in self._questions:
            self._questions[name] = _Question()
            late = partial(self._say, name, f"{name}: it did not answer in time")
            self.poller.at(name, time.monotonic() + plugin.TIMEOUT, late)
            setting = Launch(argv=(answer,), env=(), logfile="", workdir="/", uid=user, gid=group)
            self.begin(name, "exec", shlex.join((answer, "-c", plugin.QUESTION)), setting)
        question = self._questions[name]
        if question.answer is None:
            question.waiting.add(key)
        return question.answer

    def release(self, key: str) -> None:
        for question in self._questions.values():
            question.waiting.discard(key)
        self.end(key)

    def close(self) -> None:
        for key in list(self._running):
            self.end(key)
