"""The order of the nodes of one command, of what each comes `after`. Pure.

As in systemd.unit(5), `after` orders what is asked for by one command, and asks for nothing itself: a node that is not
asked for is neither started nor stopped. A start waits for those before it until they are ready, a stop for those that
come after it until they are gone. A restart goes the way of a start: the others run on meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.model.order import without_cycles
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.model.request import Task

_STOPPED_IN_ORDER = frozenset({"stopwait", "remove"})  # the others do not wait for the end, or are in a hurry


def in_order(tasks: Sequence[Task]) -> Sequence[Task]:
    """The tasks, each `after` those that its node, or the nodes before it, want over first.

    What is on record may say a circle that no configuration could: then one of its nodes goes first.
    """
    starts, stops = _by_name(tasks, "start"), _by_name(tasks, "stop")
    after = {index: list(task.after) for index, task in enumerate(tasks)}
    for index, task in enumerate(tasks):
        others = [name for name in task.node.after if name != task.node.name]
        if index in starts.get(task.node.name, ()):
            after[index] += [one for name in others for one in starts.get(name, ())]
        elif index in stops.get(task.node.name, ()):
            for one in (one for name in others for one in stops.get(name, ())):
                after[one].append(index)
    ordered = without_cycles(after)
    return [
        task if len(ordered[index]) == len(task.after) else replace(task, after=tuple(dict.fromkeys(ordered[index])))
        for index, task in enumerate(tasks)
    ]


def _by_name(tasks: Sequence[Task], what: str) -> dict[str, list[int]]:
    """The tasks that start, or that stop and wait for the end, by the names of their nodes."""
    found: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        starts, stops = task.request.traits.spawns, task.request.command in _STOPPED_IN_ORDER
        if starts if what == "start" else stops:
            found.setdefault(task.node.name, []).append(index)
    return found
