"""Print the events of a command as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from multi import report
from multi.cli.order import JSON, NO_PREFIX, QUIET, TIMESTAMPS, VERBOSE, Order
from multi.cli.screen import INFO
from multi.model.event import Failed, GaveUp, Halted, Output, Retrying, Skipped, Waiting
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from multi.cli.screen import Screen
    from multi.model.event import Event
    from multi.model.node import Node
    from multi.report.output import Frame


_KEPT = 100  # events that a command which runs for months keeps in mind


def follow(order: Order, events: Iterator[Event], nodes: Sequence[Node] = ()) -> int:
    """Print the events as they come, and what `nodes` print; the exit code that they make."""
    screen = order.screen
    codes, progress = set[int](), report.Progress()
    told: deque[Event] = deque(maxlen=_KEPT if order.command.traits.stays else None)
    style, error_style = report.Style(screen.colour), report.Style(screen.error_colour)
    verbose = order.has(VERBOSE)
    printed = _Printed(order, nodes)
    for happened in events:
        if isinstance(happened, Output):
            printed.show(happened)
            continue
        event = printed.without_tail(happened)
        codes.add(report.event_code(event))
        if not isinstance(event, Waiting):
            told.append(event)
        if order.has(JSON):
            order.say_json(event)
            continue
        if order.command.traits.unattended and isinstance(event, Skipped):
            continue
        progress = progress.after(event)
        if not progress.waits:
            screen.wipe()
        if report.is_failure(event):
            typed = order.typed if isinstance(event, Halted) else ""
            lines = report.event_lines(event, error_style, verbose=verbose, earlier=told, typed=typed)
            screen.complain(*lines)
        elif not order.has(QUIET):
            screen.say(*report.event_lines(event, style, verbose=verbose))
        if isinstance(event, Waiting) and not order.has(QUIET):
            progress = _show(progress, screen, style)
    screen.wipe()
    _sum_up(order, told)
    return report.worst_code(codes)


class _Printed:
    """What the nodes of `run` print."""

    def __init__(self, order: Order, nodes: Sequence[Node]) -> None:
        """Nothing was printed yet."""
        self._order = order
        self._nodes = nodes
        self._frame: Frame | None = None
        self._shown: set[str] = set()

    def show(self, event: Output) -> None:
        if self._order.has(JSON):
            from multi.report.output import output_json

            self._order.say_json(*output_json(event))
            return
        if self._frame is None:
            from multi.report.output import frame

            prefix, timestamps = not self._order.has(NO_PREFIX), self._order.has(TIMESTAMPS)
            self._frame = frame(self._nodes, prefix=prefix, colour=self._order.screen.colour, timestamps=timestamps)
        self._shown.update(event.node.split(","))
        self._order.screen.say(*self._frame.lines(event))

    def without_tail(self, event: Event) -> Event:
        """What was shown as it came is not shown again with the end."""
        if isinstance(event, (Failed, Retrying, GaveUp)) and event.node in self._shown:
            return replace(event, log_tail=(), logfile="")
        return event


def _show(progress: report.Progress, screen: Screen, style: report.Style) -> report.Progress:
    """The redrawn line, or a line now and then in a log."""
    if screen.wants_redraw():
        # A full line would wrap on some terminals.
        screen.redraw(style.paint("cyan", progress.line(max(1, screen.width - 1))))
    elif not screen.redraws and progress.due:
        screen.complain(progress.line(), priority=INFO)  # no result, and stdout may be what a program reads
        return progress.told()
    return progress


def _sum_up(order: Order, told: Sequence[Event]) -> None:
    if order.has(JSON) and order.command.traits.reconciles:
        from multi.report.json import summary_json

        order.say_json(summary_json(told))
