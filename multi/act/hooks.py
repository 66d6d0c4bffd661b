"""Tells the hooks of the nodes what happened: a fold over the events. No step knows of it, and none waits for a hook.

A hook runs as the node's user, with the node's directory and variables, and gets the event as JSON on its standard
input. The machine bounds its time. A command that comes to its end waits a moment for hooks that still run, so that it
can tell what came of them; those that take longer go on without it.
"""

from __future__ import annotations

from contextlib import suppress

from multi import observe
from multi.act.surroundings import setting
from multi.errors import EXIT_FAILED
from multi.machine import Hook, MachineError
from multi.model.event import Cleared, Failed, GaveUp, Hooked, Interrupted, Readied, Recovered, Retrying, Unhealthy
from multi.model.happening import HookDone, Interruption
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from multi.machine import Machine
    from multi.model.event import Event
    from multi.model.node import Node
    from multi.model.request import Traits

    # Of a node and an event, what notes in its history that the hook is over: why it failed, what it printed last.
    Note = Callable[[Node, str], Callable[[str, tuple[str, ...]], None]]

SECONDS = 30.0  # that a hook may take
LINGER = 5.0  # seconds that a command waits for its hooks when all else is done


def hooked(
    events: Generator[Event, None, None], nodes: Iterable[Node], traits: Traits, note: Note, machine: Machine
) -> Generator[Event, None, None]:
    """Hand the events on, and tell the hooks of their nodes."""
    teller = _Teller({node.name: node for node in nodes if node.hooks}, traits, note, machine)
    try:
        for event in events:
            yield event
            teller.hear(event)
            if isinstance(event, Interrupted):
                return  # somebody wants to have it over; the hooks go on
    finally:
        events.close()
    yield from teller.linger()


@dataclass(frozen=True, slots=True)
class _Told:
    """What a hook is told: the event of the settings, and its facts."""

    event: str
    why: str
    pid: int | None = None
    exit_status: int | None = None
    log_tail: tuple[str, ...] = ()


class _Teller:
    """Begins the hooks of one command, and knows which of them still run."""

    def __init__(self, nodes: dict[str, Node], traits: Traits, note: Note, machine: Machine) -> None:
        self._nodes = nodes
        self._traits = traits
        self._note = note
        self._machine = machine
        self._running: set[tuple[str, str]] = set()
        self._down: set[str] = set()  # nodes that ended although nobody asked for it

    def hear(self, event: Event) -> None:
        if isinstance(event, Hooked):
            self._running.discard((event.node, event.hook))
        node = self._nodes.get(getattr(event, "node", ""))
        told = None if node is None else self._told(event, node)
        if node is not None and told is not None:
            with suppress(MachineError, OSError):  # no event is worth less because nobody could be told
                self._tell(node, told)

    def _told(self, event: Event, node: Node) -> _Told | None:  # noqa: PLR0911 -- one return a case is the table
        match event:
            case Failed(name, pid, why, status, tail, exit_code=code) if code == EXIT_FAILED or self._traits.stays:
                self._down.add(name)
                return _Told("failed", why, pid, status, tail)
            case Retrying(name, pid, why, _, status, tail):
                self._down.add(name)
                return _Told("failed", why, pid, status, tail)
            case GaveUp(name, pid, why, status, tail):
                if self._traits.stays and pid is not None:  # others have told of its end before
                    self._tell(node, _Told("failed", why, pid, status, tail))
                self._down.add(name)
                return _Told("gave_up", why, pid, status, tail)
            case Cleared(name, why) if why:
                self._down.add(name)
                return _Told("failed", why) if self._traits.unattended and self._is_news(node) else None
            case Unhealthy(_, pid, why):
                self._down.add(event.node)
                return _Told("unhealthy", why, pid)
            case Recovered(name, pid, why):
                self._down.discard(name)
                return _Told("recovered", why, pid)
            case Readied(name, pid) if name in self._down:
                self._down.discard(name)
                return _Told("recovered", "it was started again", pid)
            case _:
                return None

    def _is_news(self, node: Node) -> bool:
        """Whether it died since the last command looked. A start that failed was told by the command that tried."""
        try:
            record = observe.recall(node, self._machine)
        except MachineError:
            return False
        return record is None or record.proc is not None

    def _tell(self, node: Node, told: _Told) -> None:
        command = dict(node.hooks).get(told.event)
        if command is None:
            return
        if (node.name, told.event) in self._running:
            self._note(node, told.event)("not run: it still ran for the event before", ())
            return
        hook = Hook(
            event=told.event,
            command=command,
            data=_encoded(node, told, self._machine.wall()),
            launch=setting(node, self._machine),
            seconds=SECONDS,
            note=self._note(node, told.event),
        )
        self._running.add((node.name, told.event))
        self._machine.hook(node.name, hook)

    def linger(self) -> Iterator[Event]:
        """Wait for the hooks that still run, but not for long."""
        until = self._machine.now() + LINGER
        while self._running and self._machine.now() < until:
            for happening in self._machine.wait(until):
                if isinstance(happening, Interruption):
                    return
                if isinstance(happening, HookDone):
                    self._running.discard((happening.node, happening.event))
                    yield Hooked(happening.node, happening.event, happening.why, happening.tail)
        for name, event in sorted(self._running):
            yield Hooked(name, event, f"still runs; it is killed when it has taken {SECONDS:g}s")


def _encoded(node: Node, told: _Told, at: float) -> bytes:
    """The event as JSON, one line; what is not known is null."""
    import json

    facts = {
        "event": told.event,
        "node": node.name,
        "name": node.short,
        "at": round(at, 3),
        "pid": told.pid,
        "why": told.why,
        "exit_status": told.exit_status,
        "log_tail": list(told.log_tail),
        "logfile": node.logfile,
    }
    return json.dumps(facts).encode("ascii") + b"\n"
