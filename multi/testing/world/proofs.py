"""How a node of a made-up machine tells that it is ready or lives, and who asks it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

from multi.machine import NO_SOCKET, Hook, Launch, Question
from multi.model.happening import Answered, HookDone, Notified, Probed
from multi.model.process import Proc
from multi.testing.world.bodies import Body
from multi.testing.world.local import Local
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.testing.world.world import World


class Proofs(Local):
    """Notifications, probes, hooks and questions."""

    def __init__(self, world: World, uid: int, body: Body) -> None:
        super().__init__(world, uid, body)
        self._ears: dict[str, str] = {}  # key -> address
        self._kept_ears: set[str] = set()
        self._probes: dict[str, tuple[object, str]] = {}  # by key: which one it is, and what it asks for

    def notify_address(self, key: str, token: str, *, keep: bool = False) -> str:
        self._call("notify_address", key)
        address = f"@multi-{token}"
        if key not in self._kept_ears or self._ears[key] != address:
            self._ears[key] = address
            (self._kept_ears.add if keep else self._kept_ears.discard)(key)
        return self._ears[key]

    def hear(self, address: str, fields: Mapping[str, str]) -> None:
        """From the world: somebody said something to an address."""
        for key, ear in self._ears.items():
            if ear == address:
                self.heard.append(Notified(key, dict(fields)))

    def probe(self, key: str, kind: str, what: str, launch: Launch) -> None:  # noqa: ARG002 -- no program runs here
        self._call("probe", kind, what)
        ticket = object()
        self._probes[key] = ticket, what
        if what in self.world.hangs:
            return
        self.world.after(self.world.probe_takes, partial(self._answer, key, kind, what, ticket))

    def end_probe(self, key: str) -> None:
        self._probes.pop(key, None)

    def probe_says(self, key: str) -> str:
        return self.world.probe_prints.get(self._probes[key][1], "") if key in self._probes else ""

    def hook(self, node: str, hook: Hook) -> None:
        self._call("hook", node, hook.event)
        self.world.hooked.append((node, hook.event, json.loads(hook.data)))
        takes = self.world.hook_takes.get(hook.command, 0.01)
        why = f"still ran after {hook.seconds:g}s, and was killed" if takes > hook.seconds else ""
        self.world.after(min(takes, hook.seconds), lambda: self.heard.append(HookDone(node, hook.event, why)))

    def listens(self, procs: Sequence[Proc], at: tuple[str, int]) -> str:  # noqa: ARG002 -- one port is as good as another
        return self.world.listener

    def taken(self, what: str) -> bool:  # noqa: ARG002 -- one port is as good as another
        return self.world.taken

    def _answer(self, key: str, kind: str, what: str, ticket: object) -> None:
        if key in self._probes and self._probes[key][0] is ticket:
            said = self.probe_says(key)
            del self._probes[key]
            now, never = self.world.time, float("inf")
            ok = self.world.answers.get(what, never) <= now < self.world.fails.get(what, never)
            why = f"{what}: Connection refused" + (f": {said}" if said else "")
            at = ("10.0.0.1", 80) if ok and kind == "tcp" else None
            self.heard.append(Probed(key, ok=ok, why="" if ok else why, at=at))

    def ask(self, key: str, question: Question) -> None:
        self._call("ask", question.path, question.word)
        body, seconds = self.world.bodies.get(question.proc.pid), question.seconds
        ask = None if body is None or body.gone or body.proc != question.proc else body.nature.answers
        if ask is None:
            self.heard.append(Answered(key, "", NO_SOCKET))
            return
        text = "" if body is None or body.suspended else ask(question.word)
        answered = Answered(key, text, "" if text else f"it does not answer within {seconds:g}s")
        self.world.after(0.001 if text else seconds, lambda: self.heard.append(answered))

    def notifies(self, key: str, program: str, user: str | None, group: str | None) -> bool:  # noqa: ARG002 -- for any user
        return bool(program) and self.world.plugin_notifies
