"""``logs`` and ``wait --log``: what the nodes print, as it comes."""

from __future__ import annotations

from multi import api, report
from multi.cli import options
from multi.cli.order import DOWN, FOLLOW, GREP, JSON, LINES, LOG, QUIET, SINCE, SINCE_START, TIMEOUT, TIMESTAMPS, UP
from multi.errors import UsageError
from multi.logs import LogLine, Query, Unseen
from multi.report.logs import log_line, moment_text
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from multi.cli.order import Order

_LAST_LINES = 10


def logs(order: Order, select: Callable[[], api.Selection]) -> int:
    """Print the lines that are asked for; the exit code."""
    screen, timed = order.screen, order.has(TIMESTAMPS)
    if order.has(SINCE) and order.has(SINCE_START):
        raise UsageError(f"{SINCE.name} {SINCE_START.name}", "say two beginnings", "give one of them")
    lines = None if order.has(SINCE) or order.has(SINCE_START) else _LAST_LINES
    lines = int(options.number(order, LINES, "lines")) if order.has(LINES) else lines
    pattern = options.pattern(order, GREP)
    since, age = options.moment(order.given[SINCE.name] or "") if order.has(SINCE) else (None, None)
    query = Query(
        lines=lines,
        follow=order.has(FOLLOW),
        age=age,
        since=since,
        since_start=order.has(SINCE_START),
        pattern=pattern,
        timed=timed,
    )
    selection = select()
    unseen = api.unreadable_logs(selection, machine=order.machine)
    codes = [_tell(order, each) for each in unseen]
    told = {each.node.name for each in unseen}
    style, colours = report.Style(screen.colour), dict[str, int]()
    for line in api.logs(selection, query, machine=order.machine):
        if isinstance(line, Unseen):
            if line.node.name not in told:
                codes.append(_tell(order, line))
            continue
        colour = colours.setdefault(line.names, len(colours))
        if order.has(JSON):
            order.say_json(_json(line, timed=timed))
        else:
            shown = log_line(line, colour, style, pattern)
            screen.say(f"{moment_text(line.at)} {shown}" if timed else shown)
        if screen.deaf:
            break
    return report.worst_code(codes)


def wait(order: Order, select: Callable[[], api.Selection]) -> int:
    """Wait for a line of each node; exit 1 when --timeout seconds have passed, 130 when it is interrupted."""
    for option in (UP, DOWN):
        if order.has(option):
            raise UsageError(f"{LOG.name} {option.name}", "are two things to wait for", "give one of them")
    if not order.has(LOG):
        raise UsageError(SINCE_START.name, "says since when a line counts", f"add {LOG.name}=RE")
    pattern = options.pattern(order, LOG)
    assert pattern is not None  # noqa: S101 -- it was given
    timeout = options.number(order, TIMEOUT, "seconds", fraction=True) if order.has(TIMEOUT) else None
    selection, style = select(), report.Style(order.screen.colour)
    silent = [node for node in selection.nodes if not node.logs_to_file]
    if silent:
        raise UsageError(silent[0].name, f"logs to {silent[0].logfile}, which cannot be read again", "leave it out")
    codes = []
    since_start = order.has(SINCE_START)
    lines = api.await_line(selection, pattern, timeout=timeout, since_start=since_start, machine=order.machine)
    for number, line in enumerate(lines):
        if isinstance(line, Unseen):
            codes.append(_tell(order, line))
        else:
            order.say([_json(line)], [log_line(line, number, style, pattern)], quiet=order.has(QUIET))
    return report.worst_code(codes)


def _tell(order: Order, unseen: Unseen) -> int:
    order.screen.remark(f"{unseen.node.name}: {unseen.why}")
    return unseen.exit_code


def _json(line: LogLine, *, timed: bool = False) -> dict[str, object]:
    time = {"time": None if line.at is None else moment_text(line.at)} if timed else {}
    return {"nodes": line.names.split(","), "text": line.text, **time}
