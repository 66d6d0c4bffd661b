"""What a worker has in hand, and what its heartbeat says, as text and as JSON."""

from __future__ import annotations

from math import isfinite

from multi.model.event import CutOff, Drained, Resumed
from multi.model.schedule import signal_name
from multi.model.work import cut_text, len_id, task_text
from multi.text import duration, plural, printable
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multi.model.event import Waiting
    from multi.model.work import ActiveTask, Pulse, Work

_SHOWN = 3  # tasks on a line; --json has all that are known


def work_text(work: Work, signum: int | None = None, left: float | None = None) -> str:
    """``2 tasks: orders.export 3f2a 41s (limit 300s), mail.send 9c01 2s; 3 reserved; QUIT in 49s``.

    `signum` is the signal that comes next, in `left` seconds.
    """
    shown = work.active[:_SHOWN]
    tasks = [task_text(task, len_id(work.active)) for task in shown]
    more = work.count - len(shown)
    count, *others = counts(work)
    if tasks:
        count += f": {', '.join(tasks)}" + (f" and {more} more" if more > 0 else "")
    parts = [count, *others]
    if left is not None:
        parts.append(next_text(signum, left))
    return "; ".join(parts)


def counts(work: Work) -> list[str]:
    """``2 tasks``, and ``3 reserved`` and ``1 ETA`` where there are any."""
    others = [f"{number} {what}" for number, what in ((work.reserved, "reserved"), (work.eta, "ETA")) if number]
    return [plural(work.count, "task") if work.count else "no task", *others]


def next_text(signum: int | None, left: float) -> str:
    """``QUIT in 49s``."""
    return f"{'giving up' if signum is None else signal_name(signum)} in {max(0, round(left))}s"


def work_texts(waits: Iterable[Waiting]) -> list[str]:
    """What each node that is waited for has in hand, those with the longest task first; a text a node."""
    working = [(wait, wait.work) for wait in waits if wait.work is not None]
    working.sort(key=lambda each: -max((task.seconds for task in each[1].active), default=0.0))
    found: list[str] = []
    for wait, work in working:
        left = None if wait.next_in is None or not isfinite(wait.next_in) else wait.next_in
        found.append(f"{printable(wait.node.partition('@')[0])}: {work_text(work, wait.next_signum, left)}")
    return found


def told(event: CutOff | Drained | Resumed) -> tuple[str, str]:
    """What a worker has lost, or takes from now on, and the colour that is right for it."""
    if isinstance(event, CutOff):
        return cut_text(event.signum, event.count, event.tasks), "red"
    text = f"takes no new task, pid {event.pid}" if isinstance(event, Drained) else f"consumes again, pid {event.pid}"
    if isinstance(event, Drained) and event.work is not None:
        text += "; idle" if event.work.idle and not event.work.eta else f"; {work_text(event.work)}"
    return "; ".join(filter(None, (text, printable(event.note)))), "cyan"


def pulse_text(pulse: Pulse) -> str:
    """``waits for broker since 40s``; empty where there is nothing to tell."""
    since = "" if pulse.since is None else f" since {duration(pulse.since)}"
    why = f": {printable(pulse.why)}" if pulse.why else ""
    words = {"waits": "waits for broker", "busy": "busy", "wedged": "wedged"}
    return f"{words[pulse.word]}{since}{why}" if pulse.word in words else ""


def work_json(work: Work) -> dict[str, object]:
    """The keys are those of the plug-in."""
    active = [task_json(task) for task in work.active]
    return {"count": work.count, "active": active, "reserved": work.reserved, "eta": work.eta}


def task_json(task: ActiveTask) -> dict[str, object]:
    """The same of one task."""
    found = {name: getattr(task, name) for name in type(task).__match_args__}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


def pulse_json(pulse: Pulse) -> dict[str, object] | None:
    """``verdict``, ``age``, ``since`` and ``why``; null without a heartbeat."""
    if pulse.word == "none":
        return None
    found = {"verdict": pulse.word, "age": pulse.age, "since": pulse.since, "why": pulse.why or None}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}
