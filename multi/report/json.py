"""Values as JSON, by their field names. The keys are a contract with other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from math import isfinite

from multi.api import Difference, Selection, View
from multi.check import Obstacle
from multi.model.event import (
    Adopted,
    Cleared,
    CutOff,
    Event,
    GaveUp,
    Gone,
    Halted,
    Interrupted,
    Readied,
    RolledBack,
    Signalled,
    Spawned,
    Survived,
    Updated,
    Waiting,
)
from multi.model.node import Known
from multi.model.request import Turn
from multi.model.schedule import Schedule, signal_name
from multi.model.step import Clear, Route, Signal, Spawn, Step, Stop
from multi.model.work import Work, fate
from multi.report.codes import event_code
from multi.report.lines import settings_of, shown_changes
from multi.report.status import reason, shown_pid, state_word
from multi.report.work import pulse_json, task_json, work_json
from multi.typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from multi.model.cgroup import Counted
    from multi.model.record import Record

_NAMES: dict[type, str] = {Readied: "ready", RolledBack: "rolled_back", CutOff: "cut_off", GaveUp: "gave_up"}
_FATES = ("new", "untouched", "rolled_back", "down")
_HIDDEN = frozenset({(Survived, "killed"), (Gone, "exit_code"), (Signal, "stop"), (Stop, "again"), (Clear, "keep")})


def to_json(value: object) -> str:
    """`value` as JSON on one line, in ASCII: a reader in any locale gets the same bytes.

    Events, routes, views and differences may stand anywhere in it.
    """
    return json.dumps(value, allow_nan=False, default=_object)


def _object(value: object) -> object:
    match value:
        case View():
            return view_json(value)
        case Difference(node, verb, why):
            changes = shown_changes(value)
            order = _order_json(value.waits, value.turn)
            return {"node": node, "verb": verb, "why": why or None, "changes": changes, **order}
        case Route():
            return route_json(value)
        case _:
            return event_json(cast("Event", value))


def event_json(event: Event) -> dict[str, object] | None:
    """`event` as the object that ``--json`` prints; None for a `Waiting` that tells no tasks, as progress and no fact.

    Every object has ``event``, ``node`` and ``pid`` (null where there is none), then the event's own fields.
    """
    if isinstance(event, Waiting):
        return None if event.work is None else _waiting_json(event, event.work)
    name = _NAMES.get(type(event)) or type(event).__name__.lower()
    return {"event": name, "node": None, "pid": None, **_fields(event)}


def _waiting_json(event: Waiting, work: Work) -> dict[str, object]:
    """What a stop waits for: the tasks that the node has in hand, and which signal comes next, in so many seconds."""
    signum, left = event.next_signum, event.next_in
    return {
        "event": "waiting",
        "node": event.node,
        "pid": event.pid,
        "for": event.what,
        "after": _number(round(event.since, 3)),
        "next_signal": None if signum is None else signal_name(signum),
        "next_in": None if left is None else round(left, 3),
        "tasks": work_json(work),
    }


def summary_json(events: Iterable[Event]) -> dict[str, object]:
    """The last object of ``apply --json``: the nodes that something was done to, and those that failed.

    A node can be in both, as one that was stopped and did not start again. Of a rolling command that ended early it
    says what has become of each, too.
    """
    changed: dict[str, None] = {}
    failed: dict[str, None] = {}
    fates: dict[str, object] = {}
    for event in events:
        match event:
            case Halted():
                fates = {name: list(getattr(event, name)) for name in _FATES}
                continue
            case Interrupted():
                continue
            case Spawned() | Signalled() | Gone() | Survived() | Cleared() | Adopted() | Updated():
                changed[event.node] = None
            case _:
                pass
        if event_code(event):
            failed[event.node] = None
    return {"event": "summary", "node": None, "pid": None, "changed": list(changed), "failed": list(failed), **fates}


def _order_json(waits: Sequence[str], turn: Turn) -> dict[str, object]:
    """What it waits for and when it is its turn, where there is anything to wait for and where nodes take turns."""
    found: dict[str, object] = {"waits_for": list(waits)} if waits else {}
    return {**found, "turn": turn.number, "canary": turn.canary, "settle": turn.settle} if turn.number else found


def route_json(route: Route) -> dict[str, object]:
    """`route` as the object that ``--dry-run --json`` prints: ``node`` and its ``steps``."""
    steps = [_step_json(step, route) for step in route.steps]
    return {"node": route.node.name, "steps": steps, **_order_json(route.waits, route.turn)}


def _step_json(step: Step, route: Route) -> dict[str, object]:
    name = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(step).__name__).removeprefix("-")
    command = {"command": list(route.node.words)} if isinstance(step, Spawn) else {}
    return {"step": name, **_fields(step), **command}


def _fields(value: Event | Step) -> dict[str, object]:  # noqa: C901 -- a case a kind of field is the table
    """Field -> its value as JSON has it: an empty text is null, and so is a number that JSON cannot hold."""
    found: dict[str, object] = {}
    for name in type(value).__match_args__:
        one = getattr(value, name)
        match name, one:
            case _ if (type(value), name) in _HIDDEN:
                pass
            case "tasks", tuple():
                found["tasks"] = [{**task_json(task), "fate": fate(task)} for task in one]
            case "work", _:
                found["tasks"] = None if one is None else work_json(one)
            case "signum", int():
                found["signal"] = signal_name(one)
            case "argv", _:
                found["command"] = list(one)
            case "proc", _:
                found["pid"] = one.pid
            case _, tuple():
                found[name] = list(one)
            case _, Schedule():
                found[name] = str(one)
            case _, float():
                found[name] = _number(one)
            case _:
                found[name] = None if one == "" else one
    return found


def _number(value: float | None) -> float | None:
    """JSON has neither infinity nor NaN."""
    return value if value is not None and isfinite(value) else None


def view_json(view: View) -> dict[str, object]:
    """One element of the array that ``status --json`` prints; what is not known is null."""
    node, state = view.node, view.state
    return {
        "node": node.name,
        "name": node.short,
        "state": state_word(state),
        "why": reason(state),
        "pid": shown_pid(state),
        "uptime": _number(view.uptime),
        "cpu_percent": _number(view.cpu_percent),
        "memory": view.memory,
        "children": view.children,
        "restarts": view.restarts,
        "unhealthy": view.unhealthy or None,
        "liveness": _liveness_json(view),
        "status_text": view.status_text or None,
        "tasks": None if view.work is None else work_json(view.work),
        "next_signal": None if view.next_signum is None else signal_name(view.next_signum),
        "next_in": None if view.next_in is None else round(view.next_in, 3),
        "draining": view.draining is not None,
        "heartbeat": None if view.pulse is None else pulse_json(view.pulse),
        "log_tail": list(view.last_lines) or None,
        "pidfile": node.pidfile,
        "logfile": node.logfile or None,
        "command": list(node.words) if isinstance(node.command, Known) else None,
        "found": view.found or None,
        "cgroup": None if view.cgroup is None else _cgroup_json(view.cgroup, view.record),
    }


def _cgroup_json(counted: Counted, record: Record | None) -> dict[str, object]:
    return {
        "path": None if record is None or record.cgroup is None else record.cgroup.path,
        "memory": counted.memory,
        "memory_peak": counted.peak,
        "cpu_seconds": counted.cpu,
        "oom_kills": counted.oom_kills,
    }


def _liveness_json(view: View) -> dict[str, object] | None:
    """The last verdict, and how many seconds old it is; null where nobody has asked."""
    health, node = view.health, view.node
    if health is None or view.asked_ago is None:
        return None
    return {
        "probe": str(node.alive),
        "ok": not health.failures,
        "failures": health.failures,
        "why": health.why or None,
        "age": _number(round(view.asked_ago, 3)),
        "since": _number(round(view.asked_ago + health.asked - health.since, 3)) if health.failures else None,
    }


def check_json(selection: Selection, obstacles: Sequence[Obstacle]) -> dict[str, object]:
    """The same as one object: ``config``, ``nodes`` with ``settings`` as ``{name: [value, source]}``, ``obstacles``."""
    return {
        "config": selection.config,
        "nodes": [
            {
                "node": node.name,
                "command": list(node.words),
                "settings": {name: [text, source or None] for name, text, source in settings_of(selection, node)},
            }
            for node in selection.nodes
        ],
        "obstacles": [{"node": each.node, "what": each.what, "why": each.why, "hint": each.hint} for each in obstacles],
    }
