"""Drives walks: one loop in which all of them wait.

A walk is a generator. It yields events, which go to the caller, and what it waits for (see `waits`). A slow or failed
walk holds up only those of tasks that come after its own.

Walks that ask for the process table at the same time get the same one, read after the last of them asked. Files are
shared likewise: what several walks need on disk is flushed together.
"""

from __future__ import annotations

import heapq
from collections import deque
from contextlib import suppress

from multi.act.waits import InterruptedWalk, TableWait, Wait, WriteWait
from multi.decide.rollout import Rollout
from multi.model.event import Hooked, Interrupted, Output, Overheard, Skipped
from multi.model.happening import Edited, HookDone, Interruption, Printed
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from multi.act.waits import Answer, Walk
    from multi.machine import Machine, MachineError
    from multi.model.event import Event
    from multi.model.happening import Happening
    from multi.model.process import ProcessTable
    from multi.model.request import RunOptions, Task, Turn
    from multi.typed import TypeAlias

    Walks: TypeAlias = Iterable[tuple[Task, Callable[[Turn], Walk]]]

_LOOK_LATEST = 0.2  # seconds that a stream of other happenings may delay a look
_DOUBLE_SWEEP = 0.002  # seconds in which more processes may end before the process table is read for all of them
_SOME_WRITES = 0.001  # seconds in which more writes may arrive before they are flushed together


def drive(
    walks: Walks, options: RunOptions, machine: Machine, *, resident: bool = False
) -> Generator[Event, None, None]:
    """Drive the walks of the tasks to their ends. Closing the iterator ends them cleanly.

    `decide` says in which order, and for how many seconds each is to watch its node. With `resident` no walk has an end
    of its own, so all begin at once, and a terminal that is gone is a signal, too.
    """
    loop = _Loop(walks, options, machine, resident=resident)
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

    def __init__(self, walks: Walks, options: RunOptions, machine: Machine, *, resident: bool) -> None:
        self._tasks = list(walks)
        self._rollout = Rollout([task for task, _ in self._tasks], options)
        wanted = [task.request.traits for task, _ in self._tasks]
        if any(each.spawns and not each.unattended for each in wanted):  # those mostly find that all run
            machine.expect_launches()
        # If the machine cannot hold all at once, a node begins when another has come to its end.
        room = machine.make_room(min(len(self._tasks), options.width or len(self._tasks)))
        self._at_once = len(self._tasks) if resident else room
        self._resident = resident
        self._options = options
        self._machine = machine
        self._active: dict[str, _Active] = {}
        self._timers: list[tuple[float, int, str, Wait]] = []
        self._timed = 0
        self._looks = _Batch(_DOUBLE_SWEEP)
        self._writes = _Batch(_SOME_WRITES)
        self._events: deque[Event] = deque()
        self._edited: dict[str, Edited] = {}
        self._next_progress = machine.now() + options.progress if options.progress is not None else None

    def run(self) -> Iterator[Event]:
        while True:
            self._admit()
            yield from self._drain()
            if not self._active:
                break
            happenings = self._outputs(self._machine.wait(self._next_deadline()))
            for happening in happenings:
                if isinstance(happening, Interruption):
                    if self._overhears(happening):
                        continue
                    yield from self._drain()
                    yield from self._last_words()
                    yield from self._sum_up()
                    yield Interrupted(happening.signum)
                    yield from self._more(happenings, happening)
                    return
                if isinstance(happening, Edited):
                    self._edits(happening)
                    continue
                if isinstance(happening, HookDone):
                    self._events.append(Hooked(happening.node, happening.event, happening.why, happening.tail))
                else:
                    self._tell(happening.key, happening)
            self._fire_timers()
            self._share(quiet=not happenings)
            yield from self._drain()
            yield from self._progress()
        for name, why in self._rollout.skipped():
            yield Skipped(name, None, why, met=False)
        if self._rollout.failed:
            yield from self._sum_up()

    def _outputs(self, happenings: Sequence[Happening]) -> Sequence[Happening]:
        """Tell what nodes have printed, which comes before what else has happened; the rest is returned."""
        rest = [one for one in happenings if not isinstance(one, Printed)]
        if len(rest) < len(happenings):
            at = self._machine.wall()
            self._events.extend(Output(one.key, one.lines, at) for one in happenings if isinstance(one, Printed))
        return rest

    def _edits(self, told: Edited) -> None:
        """Keep it for a walk that has no time for it: one that starts or stops its node."""
        before = self._edited.get(told.key)
        paths = told.paths if before is None else tuple(dict.fromkeys((*before.paths, *told.paths)))
        self._edited[told.key] = Edited(told.key, paths, told.why)
        active = self._active.get(told.key)
        if active is not None and isinstance(active.want, Wait) and active.want.hears:
            self._advance(active, self._edited.pop(told.key))

    def _last_words(self) -> Iterator[Event]:
        """Let each walk say what it takes back; it may wait for nothing any more."""
        for active in self._active.values():
            with suppress(StopIteration, InterruptedWalk):
                want = active.walk.throw(InterruptedWalk())
                while not isinstance(want, (Wait, TableWait, WriteWait)):
                    yield want
                    want = next(active.walk)

    def _overhears(self, interruption: Interruption) -> bool:
        """Whether it is no reason to end; walks that wait for nothing in particular hear of it."""
        if interruption.signum not in self._options.deaf_to or (self._resident and self._machine.terminal_gone()):
            return False
        for active in list(self._active.values()):
            if isinstance(active.want, Wait) and active.want.hears:
                self._advance(active, interruption)
        if self._resident:
            self._events.append(Overheard(interruption.signum))
        return True

    def _more(self, happenings: Sequence[Happening], first: Interruption) -> Iterator[Event]:
        """Signals that came together with the first."""
        if self._resident:
            more = (one for one in happenings if isinstance(one, Interruption) and one is not first)
            yield from (Interrupted(one.signum) for one in more if one.signum not in self._options.deaf_to)

    def end(self) -> None:
        """Leave nothing half done, also when we were interrupted."""
        for active in self._active.values():
            active.walk.close()
            self._machine.release(active.name)
        self._active.clear()

    def _sum_up(self) -> Iterator[Event]:
        """Say what has become of each node, where it is not the same for all."""
        halted = self._rollout.summary()
        if halted is not None:
            yield halted

    def _admit(self) -> None:
        while len(self._active) < self._at_once and (begun := self._rollout.begin()) is not None:
            index, turn = begun
            task, walk = self._tasks[index]
            active = self._active[task.node.name] = _Active(task.node.name, index, walk(turn), deque())
            self._advance(active, None)

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
                self._rollout.ended(active.index, well=stop.value)
                del self._active[active.name]
                self._machine.release(active.name)
                return
            sent = refusal = None
            match want:
                case Wait() if active.inbox:
                    sent = active.inbox.popleft()
                case Wait(hears=True) if active.name in self._edited:
                    sent = self._edited.pop(active.name)
                case Wait() | TableWait() | WriteWait():
                    active.want = want
                    self._register(active.name, want)
                    return
                case _:
                    self._rollout.note(want)
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
        if self._is_due(self._writes):
            self._write_for_all()
        looks = self._looks  # with thousands of nodes one takes longer than the latest
        if self._is_due(looks) and (quiet or self._machine.now() >= (looks.asked or 0) + _LOOK_LATEST):
            self._look_for_all()

    def _is_due(self, batch: _Batch) -> bool:
        due = self._due(batch)
        return due is not None and self._machine.now() >= due

    def _due(self, batch: _Batch) -> float | None:
        """When it is done: at once if nobody waits for anything else, since then nobody else can come to ask for it."""
        if batch.asked is None or not any(isinstance(active.want, Wait) for active in self._active.values()):
            return batch.asked
        return batch.asked + batch.cost

    def _look_for_all(self) -> None:
        began = self._machine.now()
        processes: ProcessTable | None = None
        refusal: OSError | None = None
        try:
            processes = self._machine.sketch()
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
        moments.extend(due for due in map(self._due, (self._looks, self._writes)) if due is not None)
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
