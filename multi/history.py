"""The history of a node: a fold over the events of a command, and back. A JSON line an event, beside the record.

No step knows of it, and nothing that goes wrong with it is told: it delays no command, and fails none.
"""

from __future__ import annotations

from contextlib import suppress

from multi.machine import File, MachineError, Unreadable
from multi.model.caller import Caller
from multi.model.event import (
    Adopted,
    Cleared,
    CutOff,
    Drained,
    Event,
    Exited,
    Failed,
    Forgotten,
    GaveUp,
    Gone,
    Halted,
    Interrupted,
    Readied,
    Recovered,
    Recycling,
    Refused,
    Resumed,
    Retrying,
    RolledBack,
    Signalled,
    Spawned,
    Survived,
    Unhealthy,
)
from multi.model.past import Past
from multi.model.schedule import end_text, signal_name
from multi.text import plural, printable
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from multi.machine import Machine
    from multi.model.node import Node

LIMIT = 1 << 18  # bytes of one history: some thousand events
_READ = 4 * LIMIT  # what is longer was not written by us
_TAIL_LINES = 3
_MOST_LETTERS = 400  # of a reason, and of a line of the log
_BEGINS, _ENDS = (
    {"spawned", "signalled"},
    {
        *("ready", "gone", "failed", "survived", "refused", "interrupted"),
        *("rolled_back", "retrying", "gave_up", "exited"),
    },
)


def kept(events: Generator[Event, None, None], nodes: Iterable[Node], machine: Machine) -> Generator[Event, None, None]:
    """Hand the events on, and put each that is worth it into the history of its node.

    Of two `nodes` of one name, whose files have moved, the later one begins when the earlier one is forgotten.
    """
    writer = _Writer(nodes, machine)
    try:
        for event in events:
            writer.note(event)
            yield event
    finally:
        events.close()


class _Writer:
    """Writes the histories of the nodes of one command."""

    def __init__(self, nodes: Iterable[Node], machine: Machine) -> None:
        self._nodes: dict[str, Node] = {}
        self._moved: dict[str, Node] = {}
        for node in nodes:
            (self._moved if node.name in self._nodes else self._nodes)[node.name] = node
        self._machine = machine
        self._caller: Caller | None = None
        self._begun: dict[str, int | None] = {}  # name -> pid, of nodes that something was begun with

    def note(self, event: Event) -> None:
        if isinstance(event, Interrupted):
            for name, pid in self._begun.items():
                why = f"{signal_name(event.signum)} ended the command before its end"
                self.write(name, Past(at=self._machine.wall(), what="interrupted", pid=pid, why=why))
            return
        if isinstance(event, (Halted, Forgotten)):
            if isinstance(event, Forgotten):
                self._forget(event.node)
            return
        past, name = _past(event, self._machine.wall()), event.node
        if past is None or name not in self._nodes:
            return
        if past.what in _BEGINS:
            self._begun[name] = past.pid
        elif past.what in _ENDS:
            self._begun.pop(name, None)
        if isinstance(event, Cleared):
            from multi.logs import last_lines

            past = replace(past, tail=last_lines(self._nodes[name], _TAIL_LINES, self._machine))
        self.write(name, past)

    def _forget(self, name: str) -> None:
        """Its files are removed by now, but what was told of the steps before that has made this one again."""
        node = self._nodes.get(name)
        if node is None:
            return
        with suppress(MachineError, OSError):
            self._machine.remove(node.historyfile)
        self._nodes[name] = self._moved.pop(name, node)

    def write(self, name: str, past: Past) -> None:
        node = self._nodes[name]
        try:
            if self._caller is None and past.by is None:
                self._caller = self._machine.caller()
            tail = tuple(map(_short, past.tail))
            past = replace(past, by=past.by or self._caller, why=_short(past.why), tail=tail)
            if past.pid is None and self._said_before(node, past):
                return
            self._machine.append(node.historyfile, encode(past), LIMIT, node.uid, node.gid)
        except (MachineError, OSError):
            return

    def _said_before(self, node: Node, past: Past) -> bool:
        """Whether the last line says the same: what cron is refused each minute would push all else out."""
        known = read(node, self._machine)
        return bool(known) and _reasons(known[-1]) == _reasons(past)


def note_hook(node: Node, event: str, machine: Machine) -> Callable[[str, tuple[str, ...]], None]:
    """What notes that a hook of the node is over, from whichever process: who asked is found out now."""
    writer = _Writer((node,), machine)
    by = machine.caller()

    def note(why: str, tail: tuple[str, ...]) -> None:
        text = f"{event}: {why}" if why else event
        writer.write(node.name, Past(at=machine.wall(), what="hooked", why=text, tail=tail, by=by))

    return note


def _reasons(past: Past) -> tuple[object, ...]:
    who = None if past.by is None else (past.by.user, past.by.where, past.by.command)
    return past.what, past.pid, past.why, past.status, who


def _past(event: Event, at: float) -> Past | None:  # noqa: C901, PLR0911, PLR0912 -- one return a case is the table
    """The event as history keeps it; None for what changed nothing."""
    match event:
        case Spawned(_, pid):
            return Past(at=at, what="spawned", pid=pid)
        case Readied(_, pid, after, how, note):
            return Past(at=at, what="ready", pid=pid, after=after, why=note or how)
        case Signalled(_, pid, signum, after, others):
            more = f"and {plural(others, 'other process')} of its tree" if others else ""
            return Past(at=at, what="signalled", pid=pid, after=after, signal=signal_name(signum), why=more)
        case CutOff(_, pid, signum, count, tasks):
            from multi.model.work import cut_text

            return Past(at=at, what="cut_off", pid=pid, signal=signal_name(signum), why=cut_text(signum, count, tasks))
        case Gone(_, pid, after):
            return Past(at=at, what="gone", pid=pid, after=after)
        case Survived(_, pid, after, pids):
            shown = ", ".join(map(str, pids[:_TAIL_LINES]))
            return Past(at=at, what="survived", pid=pid, after=after, why=f"{shown} still there")
        case RolledBack(_, pid, why, note):
            return Past(at=at, what="rolled_back", pid=pid, why=f"{why}; {note}" if note else why)
        case Cleared(_, why) if why:
            return Past(at=at, what="cleared", why=why)
        case Drained(_, pid, _, note) | Resumed(_, pid, note):
            return Past(at=at, what="drained" if isinstance(event, Drained) else "resumed", pid=pid, why=note)
        case Adopted(_, pid, why):
            return Past(at=at, what="adopted", pid=pid, why=why)
        case Failed(_, pid, why, status, tail):
            return Past(at=at, what="failed", pid=pid, why=why, status=status, tail=tail[-_TAIL_LINES:])
        case Unhealthy(_, pid, why) | Recovered(_, pid, why) | Recycling(_, pid, why):
            return Past(at=at, what=type(event).__name__.lower(), pid=pid, why=why)
        case Retrying(_, pid, why, after, status, tail):
            return Past(at=at, what="retrying", pid=pid, why=why, status=status, after=after, tail=tail[-_TAIL_LINES:])
        case GaveUp(_, pid, why, status, tail):
            return Past(at=at, what="gave_up", pid=pid, why=why, status=status, tail=tail[-_TAIL_LINES:])
        case Exited(_, pid, status):
            return Past(at=at, what="exited", pid=pid, why=end_text(status), status=status)
        case Refused(_, why):
            return Past(at=at, what="refused", why=why)
        case _:
            return None


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 3] + "..."


# --- lines ----------------------------------------------------------------------------------------------

_KINDS: Mapping[str, tuple[type, ...]] = {
    "at": (int, float),
    "event": (str,),
    "pid": (int,),
    "after": (int, float),
    "signal": (str,),
    "why": (str,),
    "status": (int,),
    "tail": (list,),
}
_CALLER: Mapping[str, type] = {"user": str, "where": str, "command": str, "pid": int}


def encode(past: Past) -> bytes:
    """Past -> a line; what is not known is left out."""
    import json

    line: dict[str, object] = {"at": round(past.at, 3), "event": past.what}
    for name in ("pid", "signal", "why", "status", "tail"):
        value = getattr(past, name)
        if value not in ("", (), None):
            line[name] = value
    if past.after is not None:
        line["after"] = round(past.after, 3)
    if past.by is not None:
        line["by"] = {name: getattr(past.by, name) for name in _CALLER}
    return json.dumps(line).encode("ascii") + b"\n"


def decode(line: bytes) -> Past | None:
    """A line -> Past; None for what is cut off, or was not written by `multi`."""
    import json

    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or not {"at", "event"} <= raw.keys():
        return None
    if not all(type(raw[name]) in kinds for name, kinds in _KINDS.items() if name in raw):
        return None
    tail, by = raw.get("tail", []), raw.get("by")
    if not all(isinstance(each, str) for each in tail) or not 0 <= raw["at"] < _LAST_SECOND:
        return None
    caller = None
    if isinstance(by, dict) and all(type(by.get(name)) is kind for name, kind in _CALLER.items()):
        caller = Caller(by["user"], by["where"], by["command"], by["pid"])
    return Past(
        at=float(raw["at"]),
        what=raw["event"],
        by=caller,
        pid=raw.get("pid"),
        after=raw.get("after"),
        signal=raw.get("signal", ""),
        why=raw.get("why", ""),
        status=raw.get("status"),
        tail=tuple(tail),
    )


_LAST_SECOND = 4e9  # a date that every calendar has


def read(node: Node, machine: Machine) -> Sequence[Past]:
    """The history of a node, the oldest event first. Raises `MachineError` for one that may not be read."""
    file = machine.read(node.historyfile, _READ)
    match file:
        case None:
            return ()
        case Unreadable(why, hint):
            raise MachineError(f"cannot read {node.historyfile}", why, hint)
        case File(data):
            return tuple(past for past in map(decode, data.splitlines()) if past is not None)
