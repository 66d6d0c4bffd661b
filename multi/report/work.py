"""What a worker has in hand, and what its heartbeat says, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.model.schedule import signal_name
from multi.model.work import len_id, task_text
from multi.text import duration, plural, printable

if TYPE_CHECKING:
    from multi.model.work import ActiveTask, Pulse, Work

_SHOWN = 3  # tasks on a line; --json has all that are known


def work_text(work: Work, signum: int | None = None, left: float | None = None, *, most: int = _SHOWN) -> str:
    """``2 tasks: orders.export 3f2a 41s (limit 300s), mail.send 9c01 2s; 3 reserved; QUIT in 49s``.

    `signum` is the signal that comes next, in `left` seconds.
    """
    shown = work.active[:most]
    tasks = [task_text(task, len_id(work.active)) for task in shown]
    more = work.count - len(shown)
    text = plural(work.count, "task") if work.count else "no task"
    if tasks:
        text += f": {', '.join(tasks)}" + (f" and {more} more" if more > 0 else "")
    parts = [text]
    parts += [f"{number} {what}" for number, what in ((work.reserved, "reserved"), (work.eta, "ETA")) if number]
    if left is not None:
        parts.append(f"{'giving up' if signum is None else signal_name(signum)} in {max(0, round(left))}s")
    return "; ".join(parts)


def pulse_text(pulse: Pulse) -> str:
    """``waits for broker since 40s``; empty where there is nothing to tell."""
    since = "" if pulse.since is None else f" since {duration(pulse.since)}"
    why = f": {printable(pulse.why)}" if pulse.why else ""
    match pulse.word:
        case "waits":
            return f"waits for broker{since}{why}"
        case "busy":
            return f"busy{since}{why}"
        case "wedged":
            return f"wedged{since}{why}"
        case _:
            return ""


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
