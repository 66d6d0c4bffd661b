"""The order of a command's tasks, and how far it is: which begins next, who is watched, what has become of each node.

It is told what happened, and touches nothing. `--canary` and `--rolling` are choices made here: the first nodes that
are started are the canaries, and the others begin when all of those have passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.model.event import Cleared, Failed, Gone, Halted, Readied, RolledBack, Signalled, Spawned, Survived
from multi.model.request import Turn
from multi.model.step import Spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from multi.model.event import Event
    from multi.model.request import RunOptions, Task
    from multi.model.step import Route


class Rollout:
    """How far one command is with its tasks."""

    def __init__(self, tasks: Sequence[Task], options: RunOptions) -> None:
        """Nothing has begun."""
        self._tasks = tasks
        self._options = options
        self._pending = dict.fromkeys(range(len(tasks)))
        self._active: dict[int, None] = {}
        self._well: dict[int, bool] = {}  # of the tasks that are over, whether they went well
        self._ready: dict[str, None] = {}  # the nodes that were started and got ready
        self._failed: dict[str, None] = {}
        self._back: dict[str, None] = {}
        self._down: dict[str, bool] = {}  # by node, as far as anything was done to it
        self._passed = 0  # canaries that were watched to the end

    def begin(self) -> tuple[int, Turn] | None:
        """The index of the next task, which begins now, and what its turn is; None while none may begin."""
        left = self._options.canaries - self._passed
        if left > 0 and len(self._active) >= left:
            return None
        index = self._next()
        if index is None:
            return None
        del self._pending[index]
        self._active[index] = None
        watched = left > 0 or not self._options.canaries
        return index, Turn(self._options.settle if watched else 0.0, left > 0)

    def note(self, event: Event) -> None:
        """Something has happened."""
        match event:
            case RolledBack(node):
                self._back[node] = None
            case Readied(node):
                self._ready[node] = None
                self._down[node] = False
            case Spawned(node) | Signalled(node) | Survived(node):
                self._down[node] = False
            case Gone(node) | Cleared(node) | Failed(node, exit_status=int()):
                self._down[node] = True
            case _:
                pass

    def ended(self, index: int, *, well: bool) -> None:
        """The walk of a task is over."""
        self._active.pop(index, None)
        self._well[index] = well
        name = self._tasks[index].node.name
        if not well:
            self._failed[name] = None
        elif name in self._ready:
            self._passed += 1

    @property
    def failed(self) -> bool:
        """Whether any task went badly."""
        return bool(self._failed)

    def skipped(self) -> Iterator[tuple[str, str]]:
        """The nodes of the tasks that never began, and why."""
        why: dict[str, str] = {}
        for task in (self._tasks[index] for index in self._pending):
            blocked = (self._tasks[index].node for index in task.after if self._well.get(index) is False)
            still = next((f"{node.name} still runs with {node.pidfile}" for node in blocked), "an earlier node failed")
            why[task.node.name] = f"skipped: {still}"
        yield from why.items()

    def summary(self) -> Halted | None:
        """What has become of each node of a rolling command that ends here; None where all are treated alike."""
        if self._options.width is None:
            return None
        begun = dict.fromkeys(self._tasks[index].node.name for index in (*self._active, *self._well))
        left = dict.fromkeys(self._tasks[index].node.name for index in (*self._active, *self._pending))
        unfinished = tuple(name for name in left if name in begun and name not in self._failed)
        return Halted(
            tuple(name for name in self._ready if name not in self._failed and name not in unfinished),
            tuple(self._failed),
            unfinished,
            tuple(name for name in left if name not in begun),
            tuple(self._back),
            tuple(name for name in (*self._failed, *unfinished) if self._down.get(name)),
        )

    def _next(self) -> int | None:
        """The first task that may begin; those that it comes after begin right before it."""
        for index in self._pending:
            for one in (*self._tasks[index].after, index):
                if one in self._pending and self._may_begin(self._tasks[one]):
                    return one
        return None

    def _may_begin(self, task: Task) -> bool:
        """Whether those before it went well. A failure ends a rolling command, but starts what was stopped for it."""
        halted = self._options.width is not None and self.failed and not task.after
        return not halted and all(self._well.get(index) for index in task.after)


def turns(tasks: Sequence[Task], routes: Sequence[Route], options: RunOptions) -> Mapping[int, Turn]:
    """The turn of each task by its index, in their order, if nothing fails; those that start nothing have no number."""
    rollout = Rollout(tasks, options)
    found: dict[int, Turn] = {}
    number = 0
    while (begun := rollout.begin()) is not None:
        index, turn = begun
        starts = any(isinstance(step, Spawn) for step in routes[index].steps)
        if starts:
            number += 1
            rollout.note(Readied(tasks[index].node.name, 0, 0.0, ""))
        found[index] = Turn(turn.settle, turn.canary, number) if starts else Turn()
        rollout.ended(index, well=True)
    return found
