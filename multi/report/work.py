"""What a worker has in hand, and what its heartbeat says, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.model.schedule import signal_name
from multi.text import duration, plural, printable, seconds_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.model.work import ActiveTask, Pulse, Work

_SHORT_ID = 4  # letters, where that tells the tasks of a node apart
_SHOWN = 3  # tasks on a line; --json has all that are known
_MINUTES = 600  # seconds; below, a person wants them


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
    if signum is not None and left is not None:
        parts.append(f"{signal_name(signum)} in {max(0, round(left))}s")
    return "; ".join(parts)


def task_text(task: ActiveTask, letters: int = _SHORT_ID) -> str:
    """``orders.export 3f2a 41s (limit 300s)``."""
    limit = "" if task.limit is None else f" (limit {seconds_text(task.limit)}s)"
    return f"{printable(task.name)} {printable(task.id[:letters])} {_seconds(task.seconds)}{limit}"


def len_id(tasks: Sequence[ActiveTask]) -> int:
    """How many letters of their ids tell the tasks apart."""
    longest = max((len(task.id) for task in tasks), default=_SHORT_ID)
    lengths = range(_SHORT_ID, longest)
    return next((length for length in lengths if len({task.id[:length] for task in tasks}) == len(tasks)), longest)


def _seconds(seconds: float) -> str:
    return f"{int(seconds)}s" if seconds < _MINUTES else duration(seconds)


def fate(task: ActiveTask) -> str:
    """What becomes of a task that was cut off."""
    return "redelivered" if task.acks_late else "lost"


def cut_text(signum: int, count: int, tasks: Sequence[ActiveTask]) -> str:
    """``QUIT cut off 2 tasks: orders.export 3f2a 90s (lost), mail.send 9c01 51s (redelivered)``."""
    letters = len_id(tasks)
    named = [
        f"{printable(task.name)} {printable(task.id[:letters])} {_seconds(task.seconds)} ({fate(task)})"
        for task in tasks
    ]
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return f"{signal_name(signum)} cut off {plural(count, 'task')}: {', '.join(named)}{more}"


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
    active = [{name: getattr(task, name) for name in type(task).__match_args__} for task in work.active]
    return {"count": work.count, "active": active, "reserved": work.reserved, "eta": work.eta}


def pulse_json(pulse: Pulse) -> dict[str, object] | None:
    """``verdict``, ``age``, ``since`` and ``why``; null without a heartbeat."""
    if pulse.word == "none":
        return None
    found = {"verdict": pulse.word, "age": pulse.age, "since": pulse.since, "why": pulse.why or None}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}
