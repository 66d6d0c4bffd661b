"""``status --format=openmetrics`` and ``--format=nagios``: the nodes for programs that watch machines."""

from __future__ import annotations

from multi import api
from multi.cli import glance
from multi.cli.order import CRITICAL, FORMAT, OUTPUT_FILE, WARNING, no_nodes, split
from multi.errors import MultiError
from multi.machine import MachineError
from multi.report import STATUS_UNKNOWN
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from multi.cli.order import Order
    from multi.cli.screen import Screen

_DIFFERS = {"restart": True, "update": True, "hold": True, "stop": True}  # of `diff`; what starts, runs with nothing


def openmetrics(order: Order, selection: api.Selection) -> int:
    """The metrics on stdout or in a file; the states are in them, so the exit code is 0."""
    from multi.report.openmetrics import openmetrics as text_of

    text = text_of(glance.look(order, selection), _differences(order, selection))
    path = order.given.get(OUTPUT_FILE.name)
    if path is None:
        order.screen.say(text.removesuffix("\n"))
    else:
        api.publish(path, text)
    return 0


def nagios(order: Order, select: Callable[[], api.Selection]) -> int:
    """The line and the code of a plugin."""
    from multi.report.nagios import nagios as check
    from multi.report.nagios import parse_range, unknown

    warning, critical = (
        parse_range(option.name, order.given[option.name] or "") if order.has(option) else None
        for option in (WARNING, CRITICAL)
    )
    selection = select()
    views = glance.asked(order, glance.look(order, selection))
    found = check(views, warning, critical) if views else unknown(str(no_nodes(order, selection)))
    order.screen.say(found.line)
    return found.code


def unable(words: Sequence[str], why: str, screen: Screen) -> int:
    """Say why the nodes could not be looked at; the exit code is that of what is unknown, in the format's terms."""
    given = " ".join(split(words, lambda word: word == "status")[2])
    if f"{FORMAT.name}=nagios" in given or f"{FORMAT.name} nagios" in given:
        from multi.report.nagios import unknown

        found = unknown(why)
        screen.say(found.line)
        return found.code
    screen.remark(why)
    return STATUS_UNKNOWN


def _differences(order: Order, selection: api.Selection) -> Mapping[str, bool]:
    """Whether the nodes that run do so as their configuration says, by full name; where there is one that can be read.

    What it costs is what `diff` costs: no probe, and no look at another machine.
    """
    if selection.config is None:
        return {}
    try:
        wanted = api.select("diff", (*order.leading, *order.words), machine=order.machine)
        found = {each.node: each for each in api.diff(wanted, machine=order.machine)}
    except (MultiError, MachineError, OSError):
        return {}  # broken, or for other eyes: `diff` says so
    differs = {node.name: False for node in wanted.nodes if node.name not in found}
    return differs | {name: _DIFFERS[each.verb] for name, each in found.items() if each.verb in _DIFFERS}
