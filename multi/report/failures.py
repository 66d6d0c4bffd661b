"""The lines of a failure: why, what the node printed last, what to try; and where a rolling command was left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from multi.model.event import (
    Awaits,
    Event,
    Exited,
    Failed,
    GaveUp,
    Halted,
    Hooked,
    Recovered,
    Recycling,
    Retrying,
    Unhealthy,
)
from multi.model.schedule import KILL, end_text
from multi.report.lines import printed_lines
from multi.report.status import Style, line_of
from multi.text import duration, plural, printable

_SHORT = 2  # lines; as many are as quickly read as the sentence in their place
_MOST_EARLIER = 10  # failures that one is compared with
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[ T])?\d\d:\d\d:\d\d([.,]\d+)?")
_NO_MODULE = re.compile(r"No module named '?([\w.]+)|The module ([\w.]+) was not found")


def failed_lines(event: Failed, style: Style, earlier: Sequence[Event] = ()) -> tuple[str, ...]:
    """`earlier` is what was shown before: the same last lines are shown once."""
    text = f"failed: {printable(event.why)}" + ("" if event.pid is None else f" (pid {event.pid})")
    same = _same(event, earlier)
    last = [f"its last {plural(len(event.log_tail), 'line')} are those of {same}"] if same else event.log_tail
    lines = [line_of(event.node, text, style, "red"), *printed_lines(last, style)]
    if event.logfile:
        lines.append(f"    log: {printable(event.logfile)}")
    hint = "" if same else _hint(event)
    return (*lines, f"    hint: {hint}") if hint else tuple(lines)


def ended_lines(event: Retrying | GaveUp | Exited, style: Style) -> tuple[str, ...]:
    """An end by itself, and what becomes of the node."""
    pid = "" if event.pid is None else f" (pid {event.pid})"
    if isinstance(event, Exited):
        return (line_of(event.node, f"{end_text(event.exit_status)}{pid}; it is not started again", style),)
    if isinstance(event, Retrying):
        text, colour = f"{printable(event.why)}{pid}; starting it again in {duration(event.after)}", "yellow"
    else:
        text = f"given up: {printable(event.why)}{pid}; 'multi start {event.node.partition('@')[0]}' starts it again"
        colour = "red"
    log = [f"    log: {printable(event.logfile)}"] if event.logfile and event.log_tail else []
    return (line_of(event.node, text, style, colour), *printed_lines(event.log_tail, style), *log)


def _same(event: Failed, earlier: Sequence[Event]) -> str:
    """The first node that printed the same, but for times, names and pids."""
    if len(event.log_tail) <= _SHORT:
        return ""
    plain = _plain(event)
    failures = (one for one in earlier if isinstance(one, Failed) and one.node != event.node)
    return next((one.node for one in islice(failures, _MOST_EARLIER) if _plain(one) == plain), "")


def _plain(event: Failed) -> str:
    text = _TIME.sub("", "\n".join(event.log_tail)).replace(event.node, "")
    own = (event.node.partition("@")[0], str(event.pid))
    return re.sub("|".join(rf"\b{re.escape(each)}\b" for each in own), "", text)


def _hint(event: Failed) -> str:
    if event.exit_status == -KILL:
        return "a KILL that nobody sent is often the kernel short of memory: see dmesg"
    if event.logfile and not event.log_tail and not event.logfile.startswith(("/dev/", "/proc/")):
        return "it has printed nothing since its start; try what 'multi show' prints, with the same options"
    found = [match[1] or match[2] for line in event.log_tail if (match := _NO_MODULE.search(line))]
    if found:
        where = 'check the name, --workdir, and --executable, as in --executable="$VIRTUAL_ENV/bin/python"'
        return f"its Python does not find {printable(found[-1])}; {where}"
    return ""


def halted_lines(event: Halted, style: Style, typed: str = "") -> tuple[str, ...]:
    """Which nodes run the old and which the new: ``stopped at the first failure; new: w1; as before: w3 w4``.

    `typed` is what to type again.
    """
    apart = {*event.rolled_back, *event.down, *event.untouched}
    groups = (
        ("new", event.new),
        ("rolled back", event.rolled_back),
        ("failed", tuple(name for name in event.failed if name not in apart)),
        ("down", event.down),
        ("under way", tuple(name for name in event.unfinished if name not in apart)),
        ("as before", event.untouched),
    )
    parts = ["stopped at the first failure" if event.failed else "stopped before the end"]
    parts += [f"{what}: {' '.join(map(printable, names))}" for what, names in groups if names]
    line = style.paint("red", f"multi: {'; '.join(parts)}")
    hint = f"    hint: put right why it failed, then type: {printable(typed)}"
    return (line, hint) if event.failed and typed else (line,)


def upkeep_lines(
    event: Awaits | Unhealthy | Recovered | Recycling | Hooked, style: Style, *, verbose: bool
) -> tuple[str, ...]:
    """What is said of a node that runs, or of what it waits for before it does."""
    match event:
        case Awaits(node, what, why, waited):
            text = f"{'waits' if waited else 'does not wait'} for {printable(what)}{why and f' ({printable(why)})'}"
            return (line_of(node, text, style, "yellow" if waited else "dim"),)
        case Unhealthy(node, pid, why):
            return (line_of(node, f"unhealthy, pid {pid}: {printable(why)}", style, "red"),)
        case Recovered(node, pid, why):
            return (line_of(node, f"healthy again, pid {pid}: {printable(why)}", style, "green"),)
        case Recycling(node, pid, why):
            return (line_of(node, f"recycled, pid {pid}: {printable(why)}", style, "yellow"),)
        case Hooked(node, hook, why, tail):
            if not why and not verbose:
                return ()
            text = f"the hook '{hook}' failed: {printable(why)}" if why else f"the hook '{hook}' is over"
            return (line_of(node, text, style, "yellow" if why else "dim"), *printed_lines(tail, style))
