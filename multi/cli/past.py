"""``history`` and ``why``: what happened to the nodes."""

from __future__ import annotations

from multi import api, report
from multi.cli.options import moment, number
from multi.cli.order import LINES, SINCE
from multi.errors import EXIT_FAILED
from multi.report.past import past_json, past_lines, why_json, why_lines
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.cli.order import Order


def history(order: Order, selection: api.Selection) -> int:
    """Every event, or the last --lines of all; exit 1 when no node has a history."""
    lines = int(number(order, LINES, "lines")) if order.has(LINES) else None
    given = order.given.get(SINCE.name)
    since, age = (0.0, None) if given is None else moment(given)
    found = api.history(selection, since=since, age=age, machine=order.machine)
    events = sorted(((name, one) for name, past in found.items() for one in past), key=lambda each: each[1].at)
    shown = events if lines is None else events[max(0, len(events) - lines) :]
    screen = order.screen
    if given is None:
        without = [node for node in selection.nodes if not found[node.name]]
        screen.remark(*(f"{node.name}: has no history in {node.historyfile}" for node in without))
    texts = (line for name, one in shown for line in past_lines(name, one, report.Style(screen.colour)))
    order.say((past_json(name, one) for name, one in shown), texts)
    return 0 if events or given is not None else EXIT_FAILED


def why(order: Order, selection: api.Selection) -> int:
    """The last stretch of each node in sentences, and what it is now."""
    found = api.history(selection, machine=order.machine)
    for view in api.look(selection, machine=order.machine):
        past = found[view.node.name]
        order.say([why_json(view, past)], why_lines(view, past, report.Style(order.screen.colour)))
    return 0
