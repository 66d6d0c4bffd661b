"""A glance at a node as text, as JSON, and as a verdict for the probe of a container."""

from __future__ import annotations

from multi.model.state import Lost, Stopping, Up
from multi.model.work import len_id, seconds_so_far
from multi.report.status import PLAIN, Style, line_of, reason, state_word
from multi.report.work import counts, pulse_json, pulse_text, work_json
from multi.text import duration, printable, seconds_text
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.model.work import Work
    from multi.tasks import Glance


def tasks_lines(one: Glance, style: Style = PLAIN) -> tuple[str, ...]:
    """A line for the node, and one for each of its tasks below it."""
    if one.work is None:
        busy = f"busy since {_moment(one.beat_at)}: {one.why}" if one.beat_at is not None else one.why
        return (line_of(one.node.name, printable(busy), style, "yellow" if one.pid else "dim"),)
    parts = (*counts(one.work), "draining" if one.draining else "", pulse_text(one.pulse))
    return line_of(one.node.name, "; ".join(filter(None, parts)), style), *_rows(one.work)


def _rows(work: Work) -> tuple[str, ...]:
    letters = len_id(work.active)
    cells = [(printable(task.name), printable(task.id[:letters]), seconds_so_far(task.seconds)) for task in work.active]
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(3)]
    rows: list[str] = []
    for (name, ident, seconds), task in zip(cells, work.active, strict=True):
        limit = "" if task.limit is None else f"  limit {seconds_text(task.limit)}s"
        rows.append(f"    {name:<{widths[0]}}  {ident:<{widths[1]}}  {seconds:>{widths[2]}}{limit}")
    more = work.count - len(work.active)
    return (*rows, f"    and {more} more") if more > 0 else tuple(rows)


def _moment(at: float) -> str:
    """The time of day; with the date if that is another day."""
    from datetime import datetime  # the probe of a container does not pay for it

    then, today = datetime.fromtimestamp(at), datetime.now().date()  # noqa: DTZ005, DTZ006 -- people read the clock on their wall
    return f"{then:%H:%M}" if then.date() == today else f"{then:%Y-%m-%d %H:%M}"


def tasks_json(one: Glance) -> dict[str, object]:
    """One element of the array of ``tasks --json``; what is not known is null."""
    return {
        "node": one.node.name,
        "name": one.node.short,
        "state": state_word(one.state),
        "pid": one.pid,
        "draining": one.draining,
        "tasks": None if one.work is None else work_json(one.work),
        "heartbeat": pulse_json(one.pulse),
        "why": one.why or None,
    }


def is_healthy(one: Glance) -> bool:
    """Whether a probe has nothing against the node.

    One that was told to stop finishes its tasks, one whose broker is down waits, and a task may keep a loop: to start
    any of them again would only make it worse. One that is not ready yet is not healthy yet.
    """
    match one.state:
        case Up(suspended=True) | Lost(suspended=True):
            return False
        case Up(ready=False, waits=waits):
            return bool(waits)
        case Up() | Lost():
            return one.pulse.healthy and not one.unhealthy
        case Stopping():
            return True
        case _:
            return False


def health_line(one: Glance, style: Style = PLAIN) -> str:
    """``w1@host: healthy: running, consumes, last beat 2.1s ago``."""
    verdict = style.paint("green", "healthy") if is_healthy(one) else style.paint("red", "unhealthy")
    parts = [state_word(one.state), *(["draining"] if one.draining else [])]
    parts += [text for text in (reason(one.state), one.unhealthy, pulse_text(one.pulse)) if text]
    if one.pulse.age is not None:
        parts.append(f"last beat {duration(one.pulse.age)} ago")
    return f"{printable(one.node.name)}: {verdict}: {printable(', '.join(parts))}"


def health_json(one: Glance) -> dict[str, object]:
    """One element of the array of ``status --health --json``."""
    return {
        "node": one.node.name,
        "name": one.node.short,
        "healthy": is_healthy(one),
        "state": state_word(one.state),
        "why": reason(one.state) or one.unhealthy or None,
        "pid": one.pid,
        "draining": one.draining,
        "heartbeat": pulse_json(one.pulse),
    }
