"""The order of a command's tasks, and how far it is: which begins next, who is watched, what has become of each node.

It is told what happened, and touches nothing. `--canary` and `--rolling` are choices made here: the first nodes that
are started are the canaries, and the others begin when all of those have passed.
"""

from __future__ import annotations

from multi.decide.turns import Turns
from multi.model.event import Cleared, Failed, Gone, Halted, Readied, RolledBack, Signalled, Spawned, Survived
from multi.model.request import Turn
from multi.model.step import Spawn
from multi.typed import TYPE_CHECKING

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
        self._turns = Turns(tasks)
        self._active: dict[int, None] = {}
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
        # A failure ends a rolling command, but starts what was stopped for it.
        index = self._turns.take(halted=self._options.width is not None and self.failed)
        if index is None:
            return None
        self._active[index] = None
        watched = left > 0 or not self._options.canaries
        failed = self._turns.failed_before(index)
        return index, Turn(self._options.settle if watched else 0.0, left > 0, failed=failed)

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
        self._turns.over(index, well=well)
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
        names = dict.fromkeys(self._tasks[index].node.name for index in self._turns.left)
        yield from ((name, "skipped: an earlier node failed") for name in names)

    def summary(self) -> Halted | None:
        """What has become of each node of a rolling command that ends here; None where all are treated alike."""
        if self._options.width is None:
            return None
        begun = dict.fromkeys(self._tasks[index].node.name for index in (*self._active, *self._turns.done))
        left = dict.fromkeys(self._tasks[index].node.name for index in (*self._active, *self._turns.left))
        unfinished = tuple(name for name in left if name in begun and name not in self._failed)
        return Halted(
            tuple(name for name in self._ready if name not in self._failed and name not in unfinished),
            tuple(self._failed),
            unfinished,
            (*(name for name in left if name not in begun), *(name for name in self._failed if name not in self._down)),
            tuple(self._back),
            tuple(name for name in (*self._failed, *unfinished) if self._down.get(name)),
        )


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
