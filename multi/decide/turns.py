"""Which task may begin: those that come after others wait until these are over. Pure."""

from __future__ import annotations

import heapq
from types import MappingProxyType

from multi.model.event import Skipped
from multi.model.step import Skip, Spawn
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.model.node import Node
    from multi.model.request import Task
    from multi.model.step import Step, Steps


def ordered(tasks: Sequence[Task], beside: Mapping[str, Node] = MappingProxyType({})) -> Sequence[Task]:
    """See `multi.decide.order.in_order`; where nothing is said of an order, that costs nothing."""
    if not any(task.node.after for task in tasks):
        return tasks
    from multi.decide.order import in_order

    return in_order(tasks, beside)


class Turns:
    """The tasks of one command by index. `done` says of each that is over whether it went well."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        """No task has begun."""
        self._tasks = tasks
        self.done: dict[int, bool] = {}
        self.left = dict.fromkeys(range(len(tasks)))  # they have not begun
        self._following: dict[int, list[int]] = {}
        self._open: dict[int, int] = {}  # how many tasks before it are not over yet
        for index, task in enumerate(tasks):
            if task.after:
                self._open[index] = len(task.after)
                for one in task.after:
                    self._following.setdefault(one, []).append(index)
        order = self._depth_first() if self._open else self.left
        self._rank = {index: rank for rank, index in enumerate(order)}
        self._free = [(self._rank[index], index) for index in order if index not in self._open]  # sorted, so a heap

    def _depth_first(self) -> list[int]:
        """Those that a task comes after stand right before it."""
        order: dict[int, None] = {}
        for first in range(len(self._tasks)):
            path = [(first, iter(self._tasks[first].after))]
            while path:
                index, others = path[-1]
                following = next((one for one in others if one not in order), None)
                if following is None:
                    order[index] = None
                    path.pop()
                else:
                    path.append((following, iter(self._tasks[following].after)))
        return list(order)

    def take(self, *, halted: bool) -> int | None:
        """The next task that may begin. Once `halted` only those begin for which something was stopped."""
        if halted:
            self._free = [each for each in self._free if self._is_half_done(each[1])]
            heapq.heapify(self._free)
        if not self._free:
            return None
        index = heapq.heappop(self._free)[1]
        del self.left[index]
        return index

    def _is_half_done(self, index: int) -> bool:
        return any(self._tasks[one].request.traits.ends for one in self._tasks[index].after)

    def over(self, index: int, *, well: bool) -> None:
        """A task has come to its end."""
        self.done[index] = well
        for one in self._following.get(index, ()):
            self._open[one] -= 1
            if not self._open[one]:
                heapq.heappush(self._free, (self._rank[one], one))

    def failed_before(self, index: int) -> tuple[Task, ...]:
        """The tasks before this one that did not go well."""
        return tuple(self._tasks[one] for one in self._tasks[index].after if not self.done[one])


def held_up(task: Task, failed: Sequence[Task]) -> str:
    """Why a node is not touched at all: what was to be stopped for it still runs."""
    mine = {task.node.name, task.node.pidfile}
    for other in failed:
        if other.request.traits.ends and not mine.isdisjoint((other.node.name, other.node.pidfile)):
            return f"skipped: {other.node.name} still runs with {other.node.pidfile}"
    return ""


OVERRULED = "cancelled: a later command stops it"


def overruled(name: str, by: str) -> Skipped:
    """Why a node is not started, or waited for any more: the command that was typed last decides, `by` whom it was."""
    return Skipped(name, None, f"{OVERRULED} ({by})", met=False)


def begins(route: Sequence[Step]) -> bool:
    """Whether the node is started."""
    return any(isinstance(step, Spawn) for step in route)


def out_of_order(failed: Sequence[Task], steps: Steps) -> Steps:
    """Where a node that it comes after is not ready, a node is not started now, and left as it is."""
    for other in failed:
        if other.request.traits.spawns:
            return (Skip(f"skipped: {other.node.name} is not ready", met=False),)
    return steps
