"""Drives walks: one loop in which all of them wait.

A walk is a generator. It yields events, which go to the caller, and what it waits for (see `waits`). A slow or failed
walk holds up only those of tasks that come after its own.

Walks that ask for the process table at the same time get the same one, read after the last of them asked. Files are
shared likewise: what several walks need on disk is flushed together.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from multi.act.waits import TableWait, Wait, WriteWait
from multi.machine import Interruption
from multi.model.event import Halted, Interrupted, Readied, Skipped
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from multi.act.waits import Answer, Walk
    from multi.machine import Happening, Machine, MachineError
    from multi.model.event import Event
    from multi.model.process import ProcessTable
    from multi.model.request import RunOptions, Task

_LOOK_LATEST = 0.2  # seconds that a stream of other happenings may delay a look
_DOUBLE_SWEEP = 0.002  # seconds in which more processes may end before the process table is read for all of them
_SOME_WRITES = 0.001  # seconds in which more writes may arrive before they are flushed together


def drive(walks: Iterable[tuple[Task, Walk]], options: RunOptions, machine: Machine) -> Generator[Event, None, None]:
    """Drive the walks of the tasks to their ends. Closing the iterator ends them cleanly."""
    loop = _Loop(walks, options, machine)
    try:
        yield from loop.run()
    finally:
        loop.end()


@dataclass(slots=True)
class _Active:
    """One walk under way. `want` is what it waits for; `inbox` what happened while it waited for something else."""

    name: str
    index: int  # of its task
    walk: Walk
    inbox: deque[Happening]
    want: Wait | TableWait | WriteWait | None = None


@dataclass(slots=True)
class _Batch:
    """What several walks ask for is done once for all of them. `cost` bounds how often: seconds that it took last."""

    cost: float
    asked: float | None = None  # when the first of them asked


class _Loop:
    """State of one command; nothing outlives it."""

    def __init__(self, walks: Iterable[tuple[Task, Walk]], options: RunOptions, machine: Machine) -> None:
        self._pending = dict(enumerate(walks))
        self._tasks = [task for task, _ in self._pending.values()]
        self._done: dict[int, bool] = {}  # by the index of the task: whether it went well
        # If the machine cannot hold all at once, a node begins when another has come to its end.
        self._at_once = machine.make_room(min(len(self._pending), options.width or len(self._pending)))
        self._options = options
        self._machine = machine
        self._active: dict[str, _Active] = {}
        self._timers: list[tuple[float, int, str, Wait]] = []
        self._timed = 0
        self._looks = _Batch(_DOUBLE_SWEEP)
        self._writes = _Batch(_SOME_WRITES)
        self._readied: list[str] = []
        self._failed: list[str] = []
        self._events: deque[Event] = deque()
        self._next_progress = machine.now() + options.progress if options.progress is not None else None

    def run(self) -> Iterator[Event]:
        while True:
            self._admit()
            yield from self._drain()
            if not self._active:
                break
            happenings = self._machine.wait(self._next_deadline())
            for happening in happenings:
                if isinstance(happening, Interruption):
                    if happening.signum in self._options.deaf_to:
                        continue
                    yield from self._drain()
                    yield from self._sum_up()
                    yield Interrupted(happening.signum)
                    return
                self._tell(happening.key, happening)
            self._fire_timers()
            self._share(quiet=not happenings)
            yield from self._drain()
            yield from self._progress()
        for name, why in {task.node.name: self._why_skipped(task) for task, _ in self._pending.values()}.items():
            yield Skipped(name, None, why, met=False)
        if self._failed:
            yield from self._sum_up()

    def _why_skipped(self, task: Task) -> str:
        for node in (self._tasks[index].node for index in task.after if self._done.get(index) is False):
            return f"skipped: {node.name} still runs with {node.pidfile}"
        return "skipped: an earlier node failed"

    def end(self) -> None:
        """Leave nothing half done, also when we were interrupted."""
        for active in self._active.values():
            active.walk.close()
            self._machine.release(active.name)
        self._active.clear()

    def _sum_up(self) -> Iterator[Event]:
        """Say what has become of each node, where it is not the same for all."""
        if self._options.width is not None:
            begun = {*self._active, *(self._tasks[index].node.name for index in self._done)}
            left = dict.fromkeys((*self._active, *(task.node.name for task, _ in self._pending.values())))
            unfinished = tuple(name for name in left if name in begun and name not in self._failed)
            untouched = tuple(name for name in left if name not in begun)
            yield Halted(tuple(self._readied), tuple(self._failed), unfinished, untouched)

    def _admit(self) -> None:
        while len(self._active) < self._at_once and (index := self._next()) is not None:
            task, walk = self._pending.pop(index)
            active = self._active[task.node.name] = _Active(task.node.name, index, walk, deque())
            self._advance(active, None)

    def _next(self) -> int | None:
        """The first task that may begin; those that it comes after begin right before it."""
        for index, (task, _) in self._pending.items():
            for one in (*task.after, index):
                if one in self._pending and self._may_begin(self._tasks[one]):
                    return one
        return None

    def _may_begin(self, task: Task) -> bool:
        """Whether those before it went well. A failure ends a rolling command, but starts what was stopped for it."""
        halted = self._options.width is not None and bool(self._failed) and not task.after
        return not halted and all(self._done.get(index) for index in task.after)

    def _tell(self, name: str, happening: Happening) -> None:
        """Let the walk that it is about go on, at once or when it has come to wait."""
        active = self._active.get(name)
        if active is not None:
            active.inbox.append(happening)
            if isinstance(active.want, Wait):
                self._advance(active, active.inbox.popleft())

    def _advance(self, active: _Active, sent: Answer, refusal: MachineError | OSError | None = None) -> None:
        """Let a walk go on until it waits again or ends."""
        active.want = None
        while True:
            try:
                want = active.walk.send(sent) if refusal is None else active.walk.throw(refusal)
            except StopIteration as stop:
                self._done[active.index] = stop.value
                if not stop.value:
                    self._failed.append(active.name)
                del self._active[active.name]
                self._machine.release(active.name)
                return
            sent = refusal = None
            match want:
                case Wait() if active.inbox:
                    sent = active.inbox.popleft()
                case Wait() | TableWait() | WriteWait():
                    active.want = want
                    self._register(active.name, want)
                    return
                case _:
                    if isinstance(want, Readied):
                        self._readied.append(want.node)
                    self._events.append(want)

    def _register(self, name: str, want: Wait | TableWait | WriteWait) -> None:
        if not isinstance(want, Wait):
            batch = self._looks if isinstance(want, TableWait) else self._writes
            batch.asked = self._machine.now() if batch.asked is None else batch.asked
        elif want.until is not None:
            self._timed += 1
            heapq.heappush(self._timers, (want.until, self._timed, name, want))

    def _timed_out(self) -> _Active | None:
        """The walk whose timer is the next; timers of waits that are over are dropped."""
        while self._timers:
            _, _, name, want = self._timers[0]
            active = self._active.get(name)
            if active is not None and active.want is want:
                return active
            heapq.heappop(self._timers)
        return None

    def _fire_timers(self) -> None:
        now = self._machine.now()
        while (active := self._timed_out()) is not None and self._timers[0][0] <= now:
            self._advance(active, None)

    def _share(self, *, quiet: bool) -> None:
        """Do once for all what several walks asked for; `quiet` when nothing else happens just now."""
        asked = self._writes.asked
        if asked is not None and (quiet or self._machine.now() >= asked + self._writes.cost):
            self._write_for_all()
        asked = self._looks.asked
        if asked is not None and (quiet or self._machine.now() >= asked + _LOOK_LATEST):
            self._look_for_all()

    def _look_for_all(self) -> None:
        began = self._machine.now()
        processes: ProcessTable | None = None
        refusal: OSError | None = None
        try:
            processes = self._machine.processes()
        except OSError as error:
            refusal = error
        self._looks = _Batch(max(_DOUBLE_SWEEP, self._machine.now() - began))
        for active in [active for active in self._active.values() if isinstance(active.want, TableWait)]:
            self._advance(active, processes, refusal)

    def _write_for_all(self) -> None:
        began = self._machine.now()
        asking = [
            (active, active.want.writes) for active in self._active.values() if isinstance(active.want, WriteWait)
        ]
        answers = iter(self._machine.write([write for _, writes in asking for write in writes]))
        self._writes = _Batch(max(_SOME_WRITES, self._machine.now() - began))
        for active, writes in asking:
            errors = [next(answers) for _ in writes]
            self._advance(active, None, next((error for error in errors if error is not None), None))

    def _next_deadline(self) -> float | None:
        moments = [] if self._timed_out() is None else [self._timers[0][0]]
        busy = any(isinstance(active.want, Wait) for active in self._active.values())
        moments.extend(
            batch.asked + batch.cost if busy else batch.asked
            for batch in (self._looks, self._writes)
            if batch.asked is not None
        )
        if self._next_progress is not None:
            moments.append(self._next_progress)
        return min(moments, default=None)

    def _drain(self) -> Iterator[Event]:
        while self._events:
            yield self._events.popleft()

    def _progress(self) -> Iterator[Event]:
        now = self._machine.now()
        if self._next_progress is None or now < self._next_progress:
            return
        self._next_progress = now + (self._options.progress or 1.0)
        for active in self._active.values():
            want = active.want
            if isinstance(want, Wait):
                yield want.progress(active.name, now)
