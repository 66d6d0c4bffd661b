"""``status``, ``status --health`` and ``tasks``: what can be seen of the nodes, and what their workers tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi import api
from multi.cli.order import ALL, JSON, QUIET, WIDE, no_nodes
from multi.errors import EXIT_FAILED, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.cli.order import Order

_NO_PLUGIN = "cannot tell, because no plug-in of multi runs in the worker; 'multi help tasks' says where there is one"


def status(order: Order, selection: api.Selection) -> int:
    """A line a node: those asked about, whose states make the exit code, then those that were found beside them."""
    from multi import report
    from multi.machine import MachineError
    from multi.report.table import status_table

    screen, everywhere = order.screen, order.has(ALL)
    if everywhere and selection.spec.names:
        why = "shows all nodes, whatever they are called"
        raise UsageError(f"--all {' '.join(selection.spec.names)}", why, "leave out --all, or the names")
    others = selection.rundirs is not None and not order.has(QUIET)
    views: Sequence[api.View] = ()
    try:
        if selection.nodes or others or everywhere:
            views = api.look(selection, others=others, everywhere=everywhere, machine=order.machine)
    except MachineError as error:
        screen.remark(str(error))
        return report.STATUS_UNKNOWN
    asked = [view for view in views if everywhere or not view.found]
    if order.has(JSON):
        from multi.report.json import to_json

        screen.say(to_json(views))
    else:
        if not asked:
            screen.remark(str(no_nodes(order, selection)))
        shown = [view for view in views if not order.has(QUIET) or report.status_code(view.state)]
        # A full line would wrap on some terminals.
        width = screen.width - 1 if screen.out_is_terminal and not order.has(WIDE) else None
        screen.say(*(status_table(shown, report.Style(screen.colour), width, selection.groups) if shown else ()))
    return report.status_exit_code(asked)


def tasks(order: Order, selection: api.Selection) -> int:
    """What each node works on; exit 1 when one that is named, or runs a plug-in, cannot tell."""
    from multi.report import Style
    from multi.report.glance import tasks_json, tasks_lines

    found = api.tasks(selection, machine=order.machine)
    screen = order.screen
    unable = [each.node.short for each in found if not each.able]
    if order.has(JSON):
        from multi.report.json import to_json

        screen.say(to_json([tasks_json(each) for each in found]))
    elif not order.has(QUIET):
        style = Style(screen.colour)
        screen.say(*(line for each in found if each.able for line in tasks_lines(each, style)))
    if unable:
        screen.remark(f"{' '.join(unable)}: {_NO_PLUGIN}")
    named = bool(selection.spec.names)
    untold = [each for each in found if each.work is None and (named or (each.pid is not None and each.able))]
    return EXIT_FAILED if untold else 0


def health(order: Order, selection: api.Selection) -> int:
    """A line a node; exit 0 when all are healthy."""
    from multi.report import Style
    from multi.report.glance import health_json, health_line, is_healthy

    found = api.glance(selection, machine=order.machine)
    if order.has(JSON):
        from multi.report.json import to_json

        order.screen.say(to_json([health_json(each) for each in found]))
    elif not order.has(QUIET):
        order.screen.say(*(health_line(each, Style(order.screen.colour)) for each in found))
    return 0 if all(map(is_healthy, found)) else EXIT_FAILED
