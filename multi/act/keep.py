"""The life of one node in `run`, after its first start: stay with its process, start it again, leave it to others.

It follows the record, not its memory: what another command stops, starts, restarts or changes is respected. `Keeping`
is what the nodes of one `run` have in common. Between two happenings nothing wakes anybody.
"""

from __future__ import annotations

from functools import cache

from multi import codec, observe
from multi.act.needs import begin_late
from multi.act.start import with_last_lines
from multi.act.waits import Wait, process_table
from multi.act.walk import walk_of
from multi.decide import restart
from multi.decide.stay import NOT_OURS, stay
from multi.decide.turns import OVERRULED
from multi.machine import MachineError
from multi.model import record as records
from multi.model.event import (
    Adopted,
    Awaits,
    Cleared,
    Exited,
    Failed,
    GaveUp,
    Gone,
    Readied,
    Recycling,
    Refused,
    Retrying,
    Signalled,
    Skipped,
    Spawned,
)
from multi.model.happening import Changed, Edited, Ended, Interruption, Locked
from multi.model.request import Request, RunOptions, Task, Turn
from multi.model.schedule import end_text, signal_name
from multi.model.step import AwaitDown, PutOff, Refuse, Skip, Spawn
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from multi.act.edits import Edits
    from multi.act.liveness import Care, Limits
    from multi.act.output import Shown
    from multi.act.waits import Answer, Walk, Want
    from multi.machine import Machine
    from multi.model.event import Event
    from multi.model.node import Node
    from multi.model.process import Proc
    from multi.model.request import Due
    from multi.observe import Observation
    from multi.typed import TypeVar

    Doing = Generator[Want, Answer, None]
    E = TypeVar("E", Failed, Retrying, GaveUp)

_LONGEST_REFUSAL = 300.0  # seconds between two tries of what this machine refuses to start
_LOOK_AGAIN = 0.5  # seconds between two looks at a node whose lock cannot be waited for


@dataclass(slots=True)
class Keeping:
    """What the nodes of one `run` share. A bundle of state, not a value.

    `held` are the nodes that are to be stopped in the end; `over` when that is now. `offsets` are the lengths of the
    logs before each start, `failed` the first starts that failed and are tried again, `late` the nodes that have not
    begun, because what they come after or need is tried again.
    """

    options: RunOptions
    machine: Machine
    single: bool
    held: dict[str, Node]
    offsets: dict[str, int] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)
    over: bool = False
    watched: bool = False  # whether any node proves its liveness, or has a limit
    limits: Limits | None = None
    shown: Shown | None = None
    edits: Edits | None = None

    def forget(self, name: str) -> None:
        """The process of that node has ended, or is about to."""
        if self.limits is not None:
            self.limits.end(name)

    def renew(self, node: Node) -> None:
        """What is known of that node has changed."""
        if node.name in self.held:
            self.held[node.name] = node
        if self.shown is not None:
            self.shown.follow(node)

    def code(self, status: int | None) -> int:
        """The exit code of `run` after a node ended by itself: of a single one its own."""
        return restart.exit_code(status) if self.single and status is not None else 1

    def gave_up(self) -> None:
        """A node of this `run` was given up."""
        self.over = self.over or self.options.one_ends_all


class Keeper:
    """One node of `run`."""

    def __init__(self, node: Node, shared: Keeping) -> None:
        """Know nothing of its process yet."""
        self.node, self._name = node, node.name
        self._shared = shared
        self._machine = shared.machine
        self._failed = shared.failed.get(node.name)  # a start that is not told of yet
        self._ended: tuple[Proc, int | None, str] | None = None  # the same of an end, and how it ended
        self._refusals = 0  # starts in a row that this machine refused
        self._armed = False  # whether changes of the record are told
        self._offset = 0  # of its log, before the start under way

    def life(self, _turn: Turn) -> Walk:
        """As long as `run` stays."""
        while True:
            try:
                yield from self._turn()
            except (MachineError, OSError) as error:  # noqa: PERF203 -- a turn is long
                yield from self._refused_by_machine(str(error))

    def _turn(self) -> Doing:
        if self._name in self._shared.late:
            shared = self._shared
            return (yield from begin_late(self.node, shared.held, shared.late, self._first_start, self._machine))
        processes = yield from process_table()
        observed = observe.look_at(self.node, processes, self._machine)
        self._follow()
        match stay(observed.state, observed.record, self._shared.options.runner):
            case AwaitDown(proc):
                yield from self._came_back(proc)
                yield from self._stay(proc, observed)
            case Spawn():
                yield from self._failure_told(0.0)
                yield from self._revive(None)
            case PutOff(after):
                yield from self._put_off(after)
            case Skip(why):
                yield from self._leave(why)
            case Refuse(why):
                yield from self._refuse(why)

    def _first_start(self) -> Generator[Want, Answer, str]:
        well = yield from self._revive(None, command="run")
        return "" if well or self._failed is None else self._failed.why

    def _follow(self) -> None:
        """The node is what is on record of it, as far as that is to be believed."""
        record = observe.recall(self.node, self._machine)
        if record is not None and record.node != self.node and record.node.name == self._name:
            self.node = record.node
            self._shared.renew(self.node)

    # -- while it runs ---------------------------------------------------------------------------

    def _stay(self, proc: Proc, observed: Observation) -> Doing:
        """Until the process ends, or is due to be restarted."""
        self._machine.watch(self._name, proc)
        care = _care(self.node, observed, self._shared)
        edited: Due | None = None
        while (due := edited or (None if care is None else care.due)) is None:
            until = None if care is None else care.next()
            happening = yield Wait(until, "stay", proc.pid, self._machine.now(), hears=True)
            match happening:
                case Ended(_, ended, status) if ended == proc:
                    self._shared.forget(self._name)
                    return (yield from self._after(proc, status))
                case Interruption():
                    yield _reload(self.node, proc, self._machine)
                case Edited() if self._shared.edits is not None:
                    edited = yield from self._shared.edits.due(self.node, proc, happening)
                case _ if care is not None:
                    yield from care.hear(happening)
        self._shared.forget(self._name)
        if due.planned:
            yield Recycling(self._name, proc.pid, due.why)
        yield from self._revive(None, due)

    def _after(self, proc: Proc, status: int | None) -> Doing:
        """The process has ended: whether anybody asked for that, and what the rule says if not."""
        record = observe.recall(self.node, self._machine)
        self._release()
        if record is None or record.desired == records.WANTED_STOPPED:
            self._shared.held.pop(self._name, None)
            yield Gone(self._name, proc.pid, 0.0)
        elif record.desired == records.WANTED_UP and record.proc == proc:
            how = end_text(status, observe.cause(record, self._machine))
            self._ended = proc, status, how
            match restart.verdict(record, status, self._machine.wall(), "run"):
                case restart.Leave(well) if self.node.restart == "no":
                    yield from self._end_all(proc, status, how, well=well)
                case _:
                    yield from self._revive(status)
        else:
            yield from _lock(self.node, self._machine)

    def _end_all(self, proc: Proc, status: int | None, how: str, *, well: bool) -> Doing:
        """Without a policy the end of one node is the end of all, unless its files are watched."""
        if self._shared.edits is not None:
            return (yield from self._edited(how))
        self._shared.over = True
        if well and self._shared.single:
            yield Exited(self._name, proc.pid, status or 0)
            return
        failed = Failed(self._name, proc.pid, how, status, exit_code=self._shared.code(status))
        yield _with_tail(self.node, self._shared, failed)

    # -- while it does not -----------------------------------------------------------------------

    def _put_off(self, after: float) -> Doing:
        """Wait for its turn, or until somebody changes its record."""
        yield from self._failure_told(after)
        if self._arm() and (yield from _change(self._machine.now() + after, self._machine)):
            yield from self._revive(None, command="run")

    def _edited(self, why: str) -> Doing:
        """It does not run, and is started again when its files are edited."""
        assert self._shared.edits is not None  # noqa: S101 -- who asks for it has them
        self._failed = self._ended = None
        self._arm()
        if (yield from self._shared.edits.awaited(self.node, why)):
            yield from self._revive(None, command="run")

    def _failure_told(self, after: float) -> Doing:
        """A start that failed is tried again `after` so many seconds."""
        if self._failed is not None:
            one, self._failed = self._failed, None
            yield Retrying(self._name, one.pid, one.why, after, one.exit_status, one.log_tail, one.logfile)

    def _leave(self, why: str) -> Doing:
        """It is somebody else's, or stopped, or given up: wait until somebody starts it."""
        if self._name in self._shared.held:
            del self._shared.held[self._name]
            yield Skipped(self._name, None, why)
        if self._arm():
            yield from _change(None, self._machine)

    def _arm(self) -> bool:
        """Whether changes are told already. If not, they are from now on, and it has to be looked at once more."""
        armed, self._armed = self._armed, True
        if not armed:
            self._machine.watch_file(self._name, self.node.recordfile)
        return armed

    def _came_back(self, proc: Proc) -> Doing:
        """Another command has started it, while we had left it alone."""
        self._failed = self._ended = None
        if self._armed:
            self._release()
        if self._name not in self._shared.held:
            self._refusals = 0
            self._shared.held[self._name] = self.node
            yield Adopted(self._name, proc.pid, NOT_OURS)

    def _release(self) -> None:
        self._machine.release(self._name)
        self._armed = False

    def _refuse(self, why: str) -> Doing:
        """What runs, if anything does, cannot be told, or the record says that its start has failed."""
        if self.node.restart == "no":
            if self._shared.edits is not None:
                return (yield from self._edited(why))
            self._shared.over = True
            yield _with_tail(self.node, self._shared, Failed(self._name, None, why))
        elif self._name in self._shared.held:
            del self._shared.held[self._name]
            self._shared.gave_up()
            yield GaveUp(self._name, None, why)
        if self._arm():
            yield from _change(None, self._machine)

    # -- start it again --------------------------------------------------------------------------

    def _revive(self, status: int | None, due: Due | None = None, command: str = "revive") -> Walk:
        """Under its lock: put its end on record, and start it again if the rule says that it is time."""
        self._release()
        shared, machine = self._shared, self._machine
        before = observe.recall(self.node, machine)
        self._offset = machine.size(self.node.logfile)
        task = Task(self.node, Request(command, recorded=self.node, status=status, due=due))
        well = yield from _told(
            walk_of(task, shared.options, machine, cache(lambda: machine.caller().text)), self._news
        )
        self._release()
        codec.forget()
        self._follow()
        now = observe.recall(self.node, machine)
        if well or before is None or now is None or now.ends != before.ends or now.failed != before.failed:
            self._refusals = 0
        elif self._failed is not None:  # it could not even be put on record
            why, self._failed = self._failed.why, None
            yield from self._refused_by_machine(why)
        return well

    def _refused_by_machine(self, why: str) -> Doing:
        self._refusals += 1
        now, after = self._machine.now(), min(_LONGEST_REFUSAL, 2.0 ** min(self._refusals - 1, 16))
        yield Retrying(self._name, None, why, after)
        yield Wait(now + after, "change", 0, now)

    def _news(self, want: Want) -> tuple[Want, ...]:  # noqa: PLR0911 -- one return a case
        match want:
            case Failed():
                self._failed = want
                return self._end_told()
            case Refused(name, why):
                self._failed = Failed(name, None, why)
                return ()
            case Skipped(name, pid, why, False) if not why.startswith(OVERRULED):  # which the next look finds stopped
                self._failed = Failed(name, pid, why)
                return ()
            case Skipped() | Cleared() | Awaits():
                return ()
            case Spawned():
                told = self._end_told()
                self._shared.offsets[self._name] = self._offset  # from here on its log is that of this start
                return *told, want
            case Readied():
                self._shared.failed.pop(self._name, None)
            case Retrying():
                self._ended = None
                return (_with_tail(self.node, self._shared, want),)
            case GaveUp(_, _, _, status):
                self._given_up()
                return (_with_tail(self.node, self._shared, replace(want, exit_code=self._shared.code(status))),)
            case Exited():
                self._given_up(well=True)
        return (want,)

    def _end_told(self) -> tuple[Event, ...]:
        """What is said of an end where the next start begins at once."""
        if self._ended is None:
            return ()
        (proc, status, how), self._ended = self._ended, None
        return (_with_tail(self.node, self._shared, Retrying(self._name, proc.pid, how, 0.0, status)),)

    def _given_up(self, *, well: bool = False) -> None:
        self._failed = self._ended = None
        self._shared.held.pop(self._name, None)
        self._shared.failed.pop(self._name, None)
        if not well:
            self._shared.gave_up()


def _told(walk: Walk, news: Callable[[Want], tuple[Want, ...]]) -> Walk:
    """The walk with what it says, as far as it is news."""
    sent: Answer = None
    try:
        want = next(walk)
        while True:
            try:
                sent = None
                for one in news(want):
                    sent = yield one
            except (MachineError, OSError) as error:  # noqa: PERF203 -- the walk goes on with it
                want = walk.throw(error)
            else:
                want = walk.send(sent)
    except StopIteration as stop:
        return bool(stop.value)
    finally:
        walk.close()


def _care(node: Node, observed: Observation, shared: Keeping) -> Care | None:
    """What is to be asked of the process, where anything is asked of any node."""
    if not (shared.watched or node.watched):
        return None
    from multi.act.liveness import Limits, care_of

    if shared.limits is None:
        shared.limits = Limits(shared.held, shared.options.groups, shared.machine)
    return care_of(node, observed, shared.limits, shared.machine, stays=True)


def _change(until: float | None, machine: Machine) -> Generator[Want, Answer, bool]:
    """Wait until somebody changes its record, or its files: whether it was those."""
    while True:
        match (yield Wait(until, "change", 0, machine.now(), hears=True)):
            case Changed() | None:
                return False
            case Edited():
                return True


def _with_tail(node: Node, shared: Keeping, event: E) -> E:
    """The event with the last lines of its log, unless they are part of our own output."""
    if not node.logs_to_file:
        return replace(event, logfile=node.logfile)
    return with_last_lines(event, node, shared.machine, shared.offsets.get(node.name, 0))


def _reload(node: Node, proc: Proc, machine: Machine) -> Event:
    signum = node.reload_signal
    if signum is None:
        return Skipped(node.name, proc.pid, f"its preset {node.preset!r} has no reload signal")
    if machine.signal(proc, signum) == "sent":
        return Signalled(node.name, proc.pid, signum, 0.0)
    return Skipped(node.name, proc.pid, f"could not be sent {signal_name(signum)}")


def _lock(node: Node, machine: Machine) -> Doing:
    """Another command is restarting the node. When we get its lock, that command is done or gone."""
    try:
        free = machine.lock(node.name, node.lockfile, node.uid, node.gid) is None
    except MachineError:
        yield Wait(machine.now() + _LOOK_AGAIN, "lock", 0, machine.now())
        return
    while not free:
        free = isinstance((yield Wait(None, "lock", 0, machine.now())), Locked)
    machine.unlock(node.name)
