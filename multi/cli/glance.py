"""``status``, ``status --health`` and ``tasks``: what can be seen of the nodes, and what their workers tell.

The formats of ``status`` for the programs that watch machines are `multi.cli.monitor`'s.
"""

from __future__ import annotations

from multi import api
from multi.cli.order import ALL, CRITICAL, FORMAT, JSON, OUTPUT_FILE, QUIET, SORT, WARNING, WATCH, WIDE, no_nodes
from multi.errors import EXIT_FAILED, UsageError
from multi.text import nearest
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.cli.order import Order

_FORMATS = ("text", "json", "openmetrics", "nagios")
_ONLY = {OUTPUT_FILE.name: "openmetrics", WARNING.name: "nagios", CRITICAL.name: "nagios"}  # option -> its format
_NO_PLUGIN = "cannot tell, because no plug-in of multi runs in the worker; 'multi help tasks' says where there is one"


def status(order: Order, select: Callable[[], api.Selection]) -> int:
    """The nodes in the format that is asked for, and its exit code."""
    form = format_of(order)
    if order.has(SORT):
        raise UsageError(SORT.name, f"belongs to {WATCH.name}", f"add {WATCH.name}, or leave it out")
    if form in {"openmetrics", "nagios"}:
        from multi.cli import monitor

        return monitor.nagios(order, select) if form == "nagios" else monitor.openmetrics(order, select())
    return table(order, select(), as_json=form == "json")


def format_of(order: Order) -> str:
    """How the nodes are shown. Raises `UsageError`."""
    form = order.given.get(FORMAT.name, "json" if order.has(JSON) else "text") or ""
    if form not in _FORMATS:
        raise UsageError(f"{FORMAT.name}={form}", "is no format of status", nearest(form, _FORMATS))
    if order.has(JSON) and form != "json":
        raise UsageError(f"{JSON.name} {FORMAT.name}={form}", "contradict each other", "give one of them")
    for option, takes in _ONLY.items():
        if option in order.given and form != takes:
            raise UsageError(option, f"belongs to {FORMAT.name}={takes}", f"add {FORMAT.name}={takes}, or leave it out")
    return form


def refuse_names(order: Order, selection: api.Selection) -> None:
    """Raise `UsageError` for names beside --all."""
    if order.has(ALL) and selection.spec.names:
        why = "shows all nodes, whatever they are called"
        raise UsageError(f"--all {' '.join(selection.spec.names)}", why, "leave out --all, or the names")


def look(order: Order, selection: api.Selection) -> Sequence[api.View]:
    """The nodes that are asked about, then those that are found beside them."""
    refuse_names(order, selection)
    everywhere = order.has(ALL)
    others = selection.rundirs is not None and not order.has(QUIET)
    if not (selection.nodes or others or everywhere):
        return ()
    return api.look(selection, others=others, everywhere=everywhere, machine=order.machine)


def asked(order: Order, views: Sequence[api.View]) -> Sequence[api.View]:
    """Those that the exit code is about."""
    return [view for view in views if order.has(ALL) or not view.found]


def table(order: Order, selection: api.Selection, *, as_json: bool) -> int:
    """A line a node, or one array; those asked about make the exit code."""
    from multi import report
    from multi.report.table import others_lines, status_table

    screen = order.screen
    views = look(order, selection)
    counting = asked(order, views)
    if as_json:
        order.say_json(views)
    else:
        if not counting:
            screen.remark(str(no_nodes(order, selection)))
        shown = [view for view in counting if not order.has(QUIET) or report.status_code(view.state)]
        # A full line would wrap on some terminals.
        width = screen.width - 1 if screen.out_is_terminal and not order.has(WIDE) else None
        screen.say(*(status_table(shown, report.Style(screen.colour), width, selection.groups) if shown else ()))
        screen.say(*others_lines([view for view in views if view.found and not order.has(ALL)], width))
    return report.status_exit_code(counting)


def tasks(order: Order, selection: api.Selection) -> int:
    """What each node works on; exit 1 when one that is named, or runs a plug-in, cannot tell."""
    from multi.report import Style
    from multi.report.glance import tasks_json, tasks_lines

    found = api.tasks(selection, machine=order.machine)
    unable = [each.node.short for each in found if not each.able]
    lines = (line for each in found if each.able for line in tasks_lines(each, Style(order.screen.colour)))
    order.say([[tasks_json(each) for each in found]], lines, quiet=order.has(QUIET))
    if unable:
        order.screen.remark(f"{' '.join(unable)}: {_NO_PLUGIN}")
    named = bool(selection.spec.names)
    untold = [each for each in found if each.work is None and (named or (each.pid is not None and each.able))]
    return EXIT_FAILED if untold else 0


def health(order: Order, selection: api.Selection) -> int:
    """A line a node; exit 0 when all are healthy."""
    from multi.report import Style
    from multi.report.glance import health_json, health_line, is_healthy

    form = format_of(order)
    if form in {"openmetrics", "nagios"}:
        raise UsageError(f"--health {FORMAT.name}={form}", "contradict each other", "give one of them")
    found = api.glance(selection, machine=order.machine)
    if form == "json":
        order.say_json([health_json(each) for each in found])
    elif not order.has(QUIET):
        order.screen.say(*(health_line(each, Style(order.screen.colour)) for each in found))
    return 0 if all(map(is_healthy, found)) else EXIT_FAILED
