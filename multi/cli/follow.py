"""Print the events of a command as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from multi import report
from multi.cli.order import JSON, QUIET, VERBOSE, Order
from multi.model.event import Skipped, Waiting

if TYPE_CHECKING:
    from multi.cli.screen import Screen
    from multi.model.event import Event


_KEPT = 100  # events that a command which runs for months keeps in mind


def follow(order: Order, events: Iterator[Event]) -> int:
    """Print the events as they come; the exit code that they make."""
    screen = order.screen
    codes, progress = set[int](), report.Progress()
    told: deque[Event] = deque(maxlen=_KEPT if order.command.traits.stays else None)
    style, error_style = report.Style(screen.colour), report.Style(screen.error_colour)
    verbose = order.has(VERBOSE)
    for event in events:
        codes.add(report.event_code(event))
        if not isinstance(event, Waiting):
            told.append(event)
        if order.has(JSON):
            from multi.report.json import to_json

            screen.say(to_json(event))
            continue
        if order.command.traits.unattended and isinstance(event, Skipped):
            continue
        progress = progress.after(event)
        if not progress.waits:
            screen.wipe()
        if report.is_failure(event):
            lines = report.event_lines(event, error_style, verbose=verbose, earlier=told, typed=order.typed)
            screen.complain(*lines)
        elif not order.has(QUIET):
            screen.say(*report.event_lines(event, style, verbose=verbose))
        if isinstance(event, Waiting) and not order.has(QUIET):
            progress = _show(progress, screen, style)
    screen.wipe()
    _sum_up(order, told)
    return report.worst_code(codes)


def _show(progress: report.Progress, screen: Screen, style: report.Style) -> report.Progress:
    """The redrawn line, or a line now and then in a log."""
    if screen.wants_redraw():
        # A full line would wrap on some terminals.
        screen.redraw(style.paint("cyan", progress.line(max(1, screen.width - 1))))
    elif not screen.redraws and progress.due:
        screen.say(progress.line())
        return progress.told()
    return progress


def _sum_up(order: Order, told: Sequence[Event]) -> None:
    if order.has(JSON) and order.command.traits.reconciles:
        from multi.report.json import summary_json, to_json

        order.screen.say(to_json(summary_json(told)))
