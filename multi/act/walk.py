"""The walk of one node: take its lock, look, decide, do the steps, give the lock back."""

from __future__ import annotations

import errno
from functools import cache

from multi import decide, observe
from multi.act import lock
from multi.act.journal import Journal, adopt, put_on_record
from multi.act.loop import drive
from multi.act.start import Start
from multi.act.stop import AT_ONCE, Stop, clear, end_left, ended, resume, send
from multi.act.waits import Wait, process_table
from multi.decide.turns import begins, held_up, ordered, out_of_order, overruled
from multi.errors import EXIT_FAILED, EXIT_PERMISSION
from multi.machine import MachineError
from multi.model import record as records
from multi.model import step as steps
from multi.model.event import Failed, Forgotten, Gone, Refused, RolledBack, Skipped, Updated
from multi.model.process import ProcessTable
from multi.model.request import Turn
from multi.model.state import HELD, runs
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from multi.act.needs import Decided
    from multi.act.waits import Answer, Walk, Want
    from multi.machine import Machine
    from multi.model.event import Event
    from multi.model.node import Node
    from multi.model.process import Proc
    from multi.model.record import Record
    from multi.model.request import Request, RunOptions, Task
    from multi.model.schedule import Schedule
    from multi.model.step import Step, Steps
    from multi.observe import Observation

_FIRST_LOOK, _MOST_LOOK = 0.05, 0.5  # seconds between two looks at files that another command will write


def walk(tasks: Sequence[Task], options: RunOptions, machine: Machine) -> Generator[Event, None, None]:
    """Walk all nodes to the end, in their order; one stream of events. Closing the iterator ends the run cleanly."""
    if not any(task.after for task in tasks):
        tasks = ordered(tasks)
    asker = cache(lambda: machine.caller().text)  # it is the same for all nodes, and takes a while to find out
    following: dict[int, list[Task]] = {}
    for task in tasks:
        for index in task.after:
            if tasks[index].request.traits.ends and task.request.traits.spawns:
                following.setdefault(index, []).append(task)
    walkers = (_Walker(task, following.get(index, ()), options, machine, asker) for index, task in enumerate(tasks))
    return drive(zip(tasks, (walker.walk for walker in walkers), strict=True), options, machine)


def walk_of(task: Task, options: RunOptions, machine: Machine, asker: Callable[[], str]) -> Walk:
    """The walk of one task, for a walk that it is a part of."""
    return _Walker(task, (), options, machine, asker).walk(Turn())


class _Walker:
    """The walk of one node. A look replaces `_observed` and `_processes`, which it was seen in.

    `following` are the tasks that start where this node ends, `asker` says who asks for all this.
    """

    def __init__(
        self,
        task: Task,
        following: Sequence[Task],
        options: RunOptions,
        machine: Machine,
        asker: Callable[[], str],
    ) -> None:
        self._key = task.node.name
        self._task = task
        self._failed: tuple[Task, ...] = ()  # those before it that did not go well
        self._following = following
        self._request = task.request
        self._options = options
        self._machine = machine
        self._journal = Journal(task.node, machine, asker)
        self._observed: Observation
        self._processes: ProcessTable
        self._start: Start
        self._former: Node | None = None

    def walk(self, turn: Turn) -> Walk:
        """Lock, look, decide, do, and watch what was started. True when what was asked for is true of the node."""
        self._options, self._failed = replace(self._options, settle=turn.settle), turn.failed
        try:
            if (yield from _in_run(self._request, self._options, self._journal.node, self._machine)):
                return True
            route = yield from self._decided()
            if route is not None and begins(route) and (self._journal.node.needs or self._request.beside):
                route = yield from _met(route, self._decided, self._journal, self._request, self._machine)
            if route is None:
                return False
            yield from _end_probes(self._request, self._observed, self._journal, self._machine)
            if any(isinstance(step, (steps.Spawn, steps.AwaitReady)) for step in route):
                yield from self._start.settle()
            for step in route:
                if not (yield from self._do(step)):
                    return False
        except (MachineError, OSError) as error:
            yield from self._journal.take_back()  # unless a signal was sent
            yield _failure(self._key, error)
            return False
        finally:
            self._machine.unlock(self._key)
        return True

    def _decided(self) -> Decided:
        """Lock, look, decide; None where that ended it."""
        if self._failed and (why := held_up(self._task, self._failed)):
            yield Skipped(self._key, None, why, met=False)
            return None
        if not (yield from self._survey()):
            return None
        request = yield from _catch_up(self._request, self._observed, self._journal, self._machine)
        if request is None:
            return None
        self._request = request
        if runs(self._observed.state):  # a stop from before was answered by a start, or comes after us
            self._journal.typed = self._machine.now()
        yield from self._journal.settled_meanwhile(self._observed.state)
        route = self._route()
        self._begin()
        options, machine = self._options, self._machine
        following = [Start(task.request, options, Journal(task.node, machine), machine) for task in self._following]
        return route if (yield from _foresee(self._key, route, self._start, following)) else None

    def _survey(self) -> Walk:
        """Lock, then look; False when another process keeps the lock."""
        if not (yield from lock.take(self._request, self._journal, self._machine)):
            return False
        yield from self._look()
        unlocked = not self._request.traits.without_lock and not self._machine.holds(self._key)
        if (
            unlocked
            and decide.proc_of(self._observed.state) is not None
            and _made_rundir(self._request, self._journal.node, self._machine)
        ):
            # The run directory was removed under it; now that it is there again there is a lock to take.
            if not (yield from lock.take(self._request, self._journal, self._machine)):
                return False
            yield from self._look()
        return True

    def _look(self) -> Generator[Want, Answer, None]:
        processes = yield from process_table()
        self._observed = observe.look_at(self._journal.node, processes, self._machine)
        self._processes = self._observed.processes
        self._journal.found = self._journal.record = self._observed.record
        self._journal.runner = self._observed.runner

    def _route(self) -> Steps:
        route = decide.route(self._request, self._observed.state, self._journal.node).steps
        return out_of_order(self._failed, route) if self._failed and begins(route) else route

    # -- the steps -------------------------------------------------------------------------------

    def _do(self, step: Step) -> Walk:  # noqa: C901, PLR0911, PLR0912 -- the table: one case a step
        journal, machine = self._journal, self._machine
        match step:
            case steps.Skip() if journal.killed:
                return True
            case steps.Skip(why, met):
                held = self._request.held is not None
                yield Skipped(self._key, None if held and met else self._pid, why, met)
                return met or held
            case steps.Rewrite():
                if journal.record is not None:
                    yield from journal.save(replace(journal.record, node=journal.node, owner=None))  # our own, now
                yield Updated(self._key, self._pid)
                return True
            case steps.Refuse(why):
                yield Refused(self._key, why)
                return False
            case steps.Clear(why, more):
                return (yield from clear("" if journal.killed else why, self._observed, journal, machine, keep=more))
            case steps.Forget():
                if not journal.taken_over():
                    journal.forget()
                    yield Forgotten(self._key)
                return True
            case steps.Adopt():
                return (yield from adopt(step, self._request, self._processes, journal, machine))
            case steps.PutOff() | steps.GiveUp() | steps.Finish() | steps.Take():
                return (yield from put_on_record(step, journal, self._options.runner))
            case steps.Spawn() if by := journal.overruled():
                return (yield from _cancelled(by, journal))
            case steps.Spawn(source) if machine.holds(self._key):
                self._drop_table()
                return (yield from self._or_back(self._start.run(source)))
            case steps.Spawn():
                return (yield from self._lock_again())
            case steps.AwaitReady(found):
                return (yield from self._or_back(self._start.resume(found, self._token_of(found))))
            case steps.AwaitUp():
                return (yield from self._await_up())
            case steps.AwaitDown(found):
                return (yield from _await_down(found, self._options.timeout, journal, machine))
            case steps.Resume(found):
                return (yield from resume(found, self._token_of(found), self._processes, journal, machine))
            case steps.Drain() | steps.Consume():
                from multi.act import drain

                return (yield from drain.carry_out(step, journal, machine, keep=self._options.keep_drained))
            case steps.Signal(found, signum, stop):
                return (yield from send(found, signum, journal, machine, stop=stop))
            case steps.Stop(found, schedule, again):
                yield from journal.request(found, records.RESTARTING if again else records.WANTED_STOPPED)
                return (yield from self._end(found, schedule, first_sent=False))
            case steps.AwaitEnd(found, schedule):
                return (yield from self._end(found, schedule, first_sent=True))
            case steps.Kill(found):
                yield from journal.request(found, records.WANTED_STOPPED)
                return (yield from self._end(found, AT_ONCE, first_sent=False, whole=True))

    def _lock_again(self) -> Walk:
        """Our lock file was removed while we waited: lock and look again before the start."""
        self._machine.unlock(self._key)
        if not (yield from self._survey()):
            return False
        step = decide.spawn_again(self._observed.state)
        again = self._or_back(self._start.run(self._request.source))
        return (yield from again if isinstance(step, steps.Spawn) else self._do(step))

    def _or_back(self, starting: Walk) -> Walk:
        """Start the node. One that fails goes back to what it was before, where that is known and asked for."""
        former, start, tried = self._former, self._start, self._journal.node
        if former is None:
            return (yield from starting)
        from multi.decide import rejected

        try:
            if (yield from starting):
                return True
        except (MachineError, OSError) as error:
            failed = _failure(self._key, error)
            start.failure = failed.why
            yield failed
        yield from self._journal.reject(former, start.failure)
        yield from self._look()
        self._begin(former)
        yield from self._start.settle()
        hindrance = "; ".join(each.text for each in self._start.obstacles())
        for step in rejected.back(self._observed.state, tried, former, hindrance):
            if not (yield from self._do(step)):
                return False
        if (record := self._journal.record) is not None and record.proc is not None:
            note = rejected.rollback_note(former, self._journal.node, tried)
            yield RolledBack(self._key, record.proc.pid, start.failure, note)
        return False

    def _begin(self, back: Node | None = None) -> None:
        """Know how the node will be started, and what it goes `back` to if that fails."""
        journal, options, record = self._journal, self._options, self._observed.record
        self._former = None
        if back is not None:
            fallbacks = options.fallbacks if back.preset == journal.node.preset else {}
            options = replace(options, keep_unready=False, fallbacks=fallbacks)
            journal.node = back
        elif options.rollback or (record is not None and record.former is not None):
            from multi.decide import rejected

            known = _ours(record, journal.node, self._machine)
            self._former = rejected.former(self._request, options, journal.node, known, self._observed.state)
            if self._former is not None and record is not None:
                options = replace(options, settle=max(options.settle, record.settle))
        self._start = Start(self._request, options, journal, self._machine, self._former)

    def _end(self, proc: Proc, schedule: Schedule, *, first_sent: bool, whole: bool = False) -> Walk:
        stop = Stop(proc, self._token_of(proc), self._journal, self._machine)
        self._drop_table()
        return stop.by(schedule, first_sent=first_sent, whole=whole)

    def _drop_table(self) -> None:
        """What waits long needs no process table: with thousands of nodes each may have another."""
        self._processes = ProcessTable(self._processes.at, self._processes.wall, {})
        self._observed = replace(self._observed, processes=self._processes)

    @property
    def _pid(self) -> int | None:
        proc = decide.proc_of(self._observed.state)
        return None if proc is None else proc.pid

    def _token_of(self, proc: Proc) -> str:
        return self._journal.token_of(proc, self._processes)

    def _await_up(self) -> Walk:
        """Look again and again: not every kernel reports that a pidfile appears."""
        timeout, began = self._options.timeout, self._machine.now()
        interval, doubt = _FIRST_LOOK, ""
        while True:
            now = self._machine.now()
            if timeout is not None and now - began >= timeout:
                yield Failed(self._key, None, f"not up after {timeout:g}s; 'multi status' says what it is")
                return False
            yield Wait(now + interval if timeout is None else min(now + interval, began + timeout), "ready", 0, began)
            interval = min(interval * 1.5, _MOST_LOOK)
            yield from self._look()
            match self._route():
                case (steps.AwaitUp(),):
                    continue
                case (steps.Refuse(why),) if why != doubt:
                    doubt = why  # seen once, it can be of files that another command was just changing
                case (step, *_):
                    return (yield from self._do(step))


def _ours(record: Record | None, node: Node, machine: Machine) -> Record | None:
    """The record, but not one of another user that names env files which nobody else has named."""
    theirs = record is not None and record.owner not in {None, 0, machine.me().uid}
    return None if theirs and record is not None and not set(record.node.env_files) <= set(node.env_files) else record


def _foresee(name: str, route: Sequence[Step], start: Start, following: Sequence[Start]) -> Walk:
    """Find out what a start would fail of before anything is stopped for it; False where it is not stopped."""
    starts = [start] if begins(route) else []
    if not any(isinstance(step, steps.Stop) for step in route):
        for one in starts:
            one.check()  # what else it fails of is on record afterwards
        return True
    found = [obstacle for one in (*starts, *following) for obstacle in one.obstacles()]
    if found:
        from multi.check import exit_code, refusal

        yield Refused(name, refusal(found), exit_code(found))
    return not found


def _await_down(proc: Proc, timeout: float | None, journal: Journal, machine: Machine) -> Walk:
    name = journal.node.name
    machine.watch(name, proc)
    began = machine.now()
    wait = Wait(None if timeout is None else began + timeout, "end", proc.pid, began)
    if (yield from ended(proc, wait)):
        yield Gone(name, proc.pid, machine.now() - began)
        return True
    yield Failed(name, proc.pid, f"still running after {timeout:g}s")
    return False


def _cancelled(by: str, journal: Journal) -> Walk:
    """Leave the node stopped, as was asked for while it was stopped for its start, or while that waited."""
    yield from journal.stopped(by)
    yield overruled(journal.node.name, by)
    return False


def _made_rundir(request: Request, node: Node, machine: Machine) -> bool:
    try:
        machine.make_directory(node.rundir, node.uid, node.gid)
    except MachineError:
        if not request.traits.ends:
            raise
        return False
    return True


def _catch_up(
    request: Request, observed: Observation, journal: Journal, machine: Machine
) -> Generator[Want, Answer, Request | None]:
    """What was on record when the node was chosen may have been replaced while we waited for the lock."""
    known = request.recorded
    record = None if known is None else observe.recall(journal.node, machine)
    if record is None or record.node == known:
        return request
    node = decide.resolve_again(request, journal.node, record.node)
    if node is None and decide.proc_of(observed.state) is not None and not request.traits.restarts:
        node = record.node  # it runs, so nothing is started
    if node is None:
        why = "another multi has changed its settings meanwhile; check them and repeat the command"
        yield Refused(journal.node.name, why)
        return None
    journal.node = node
    return replace(request, recorded=record.node)


def _met(route: Steps, decided: Callable[[], Decided], journal: Journal, request: Request, machine: Machine) -> Decided:
    from multi.act.needs import held

    return held(route, decided, journal, request, machine)


def _end_probes(
    request: Request, observed: Observation, journal: Journal, machine: Machine
) -> Generator[Want, Answer, None]:
    """End the probes of a `multi` that was killed: no other waits for them, because the lock is ours now."""
    if not request.traits.leaves_probes and machine.holds(journal.node.name):
        for left in observed.probes:
            yield from end_left(left, journal, machine, probes=True)


def _in_run(request: Request, options: RunOptions, node: Node, machine: Machine) -> Walk:
    """Whether another `multi run` holds the node, which is said; asked without the lock, which that one may have."""
    record = observe.recall(node, machine) if request.traits.unattended else None
    if record is None or record.runner in {None, options.runner}:
        return False
    processes = yield from process_table()
    if observe.look_at(node, processes, machine).runner is None:
        return False
    yield Skipped(node.name, None, HELD)
    return True


def _failure(name: str, error: MachineError | OSError) -> Failed:
    code = EXIT_PERMISSION if error.errno in {errno.EPERM, errno.EACCES, errno.EROFS} else EXIT_FAILED
    return Failed(name, None, str(_as_refusal(error)), exit_code=code)


def _as_refusal(error: MachineError | OSError) -> MachineError:
    """What to tell of a system call that failed where none is expected to, as under a sandbox."""
    if isinstance(error, MachineError):
        return error
    what = f"cannot go on at {error.filename}" if error.filename else "cannot go on"
    hint = "see whether a sandbox, as of a container or a systemd unit, forbids a system call"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        hint = "raise 'ulimit -n', or name fewer nodes at once"
    return MachineError(what, error.strerror or str(error), hint, error.errno or 0)
