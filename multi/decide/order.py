"""The order of the nodes of one command, of what each comes `after`. Pure.

As in systemd.unit(5), `after` orders what is asked for by one command, and asks for nothing itself: a node that is not
asked for is neither started nor stopped. A start waits for those before it until they are ready, a stop for those that
come after it until they are gone. A restart goes the way of a start: the others run on meanwhile.
"""

from __future__ import annotations

from multi.model.order import without_cycles
from multi.model.state import Lost, State, Stopping, Up
from multi.model.step import Spawn, Stop
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.model.node import Node
    from multi.model.request import Task
    from multi.model.step import Route

_STOPPED_IN_ORDER = frozenset({"stopwait", "remove"})  # the others do not wait for the end, or are in a hurry


def in_order(tasks: Sequence[Task], beside: Mapping[str, Node]) -> Sequence[Task]:
    """The tasks, each `after` those that its node, or the nodes before it, want over first.

    `beside` are nodes that nobody asked for, by full name: a request is told those that its node comes after. What is
    on record may say a circle that no configuration could: then one of its nodes goes first.
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
    return [_told(task, tuple(dict.fromkeys(ordered[index])), beside) for index, task in enumerate(tasks)]


def _told(task: Task, after: tuple[int, ...], beside: Mapping[str, Node]) -> Task:
    others = tuple(beside[name] for name in task.node.after if name in beside)
    if others:
        return replace(task, after=after, request=replace(task.request, beside=others))
    return replace(task, after=after) if after != task.after else task


def _by_name(tasks: Sequence[Task], what: str) -> dict[str, list[int]]:
    """The tasks that start, or that stop and wait for the end, by the names of their nodes."""
    found: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        starts, stops = task.request.traits.spawns, task.request.command in _STOPPED_IN_ORDER
        if starts if what == "start" else stops:
            found.setdefault(task.node.name, []).append(index)
    return found


def waits(route: Route, task: Task, tasks: Sequence[Task]) -> tuple[str, ...]:
    """What a node will wait for, in words: others, and what it needs."""
    kinds = {type(step) for step in route.steps}
    before = [tasks[index] for index in task.after]
    if Spawn in kinds:
        names = [other.node.name for other in before if other.request.traits.spawns]
        return (*names, *map(str, task.node.needs))
    if Stop in kinds:
        return tuple(f"the end of {other.node.name}" for other in before if other.node.name != task.node.name)
    return ()


def is_starting(state: State) -> bool:
    """Whether a node that nobody asked for is being started, or restarted, by somebody else."""
    match state:
        case Up(ready=ready):
            return not ready
        case Stopping(again=again):
            return again
        case _:
            return False


def ready(state: State) -> bool:
    """Whether it runs, and somebody has seen it ready."""
    return isinstance(state, Lost) or (isinstance(state, Up) and state.ready)
