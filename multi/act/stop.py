"""The half that ends: signals to a process and to its tree, until the tree is gone."""

from __future__ import annotations

import signal
from contextlib import suppress

from multi import observe
from multi.act.waits import Wait, process_table
from multi.errors import EXIT_PERMISSION
from multi.machine import MachineError, Question
from multi.model import record as records
from multi.model.event import Cleared, CutOff, Failed, Gone, Refused, Signalled, Survived
from multi.model.happening import Answered, Emptied, Ended, Notified
from multi.model.schedule import FOREVER, Schedule, Stage, signal_name
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from multi.act.journal import Journal
    from multi.act.waits import Answer, Walk, Want
    from multi.machine import Machine
    from multi.model.process import Proc, ProcessTable
    from multi.model.record import Cgroup
    from multi.model.work import Work
    from multi.observe import Leftover, Observation

_KILL, _STOP, _CONT = int(signal.SIGKILL), int(signal.SIGSTOP), int(signal.SIGCONT)
_SUSPEND_SECONDS, _SUSPEND_LOOKS = 1.0, 10  # for a tree; one that still grows after both is killed while it grows
_ASK_SECONDS = 0.2  # that a signal may come late
KILL_GRACE = 5.0  # seconds for the kernel to end what was sent KILL
AT_ONCE = Schedule((Stage(_KILL, KILL_GRACE),))
_MOST_DOUBTS = 10  # looks in a row that find no process while others end all the time, until the tree counts as gone


@dataclass(slots=True)
class Stop:
    """One stop of the tree of `main`, the main process; with `probes` of the tree of the node's probes alone.

    `known` are all that were ever seen in it. It is `settled` when none can have been missing from the last look.
    `work` is what the node said at `work_at` that it has in hand. `cgroup` is the tree's cgroup where the last look
    found nobody else in it.
    """

    main: Proc
    token: str
    journal: Journal
    machine: Machine
    known: set[Proc] = field(default_factory=set)
    probes: bool = False
    settled: bool = True
    work: Work | None = None
    work_at: float = 0.0
    cgroup: Cgroup | None = None

    def by(self, schedule: Schedule, *, first_sent: bool, whole: bool = False) -> Walk:
        """Walk the schedule until the tree is gone. `whole` sends every signal to the whole tree."""
        node, machine, proc = self.journal.node, self.machine, self.main
        machine.watch(node.name, proc)
        if node.ready.sign == "word" and self.token:
            listen(node.name, self.token, machine)  # for STOPPING=1 and what else it says of its end
        yield from self._look()
        began = machine.now()
        for number, moment in enumerate(schedule.timeline):
            graceful = number == 0 and moment.signum == node.stop.first
            yield from self._ask(graceful=graceful)
            sent_at = machine.now()
            if number > 0 or not first_sent:
                suspended: tuple[Proc, ...] = ()
                if moment.signum == _KILL and (whole or node.kill_mode == "mixed"):
                    suspended = (*(yield from self._suspend(with_main=True)), proc)
                answer, hit = self._send(moment.signum, suspended)
                match answer:
                    case "denied":
                        return (yield from denied(proc, moment.signum, self.journal))
                    case "sent":
                        self.journal.signalled()
                        yield Signalled(node.name, proc.pid, moment.signum, machine.now() - began, hit)
            if (yield from self._ended(_wait(proc, schedule, number, began))):
                yield from self._cut_off(moment.signum, sent_at, graceful=graceful)
                break
        else:
            killed = schedule.stages[-1].signum == _KILL
            yield Survived(node.name, proc.pid, machine.now() - began, (proc.pid,), killed=killed)
            return False
        if node.kill_mode == "mixed" or whole:
            last = schedule.stages[-1]
            left = yield from self.sweep(began, max(KILL_GRACE, last.seconds if last.signum == _KILL else 0))
            if left:
                yield Survived(node.name, proc.pid, machine.now() - began, left, killed=True)
                return False
        yield Gone(node.name, proc.pid, machine.now() - began, by=self.journal.overruled(kills=True))
        return True

    def _ended(self, wait: Wait) -> Walk:
        """Wait for the end of the main process, and hear what it says; False when the end did not come in time."""
        name, machine = self.journal.node.name, self.machine
        while True:
            wait = replace(wait, work=self.work, work_at=self.work_at)
            happening = yield wait
            if happening is None:
                return False
            if isinstance(happening, Ended) and happening.proc == self.main:
                return True
            if not isinstance(happening, Notified):
                continue
            said, note = happening.fields.get(records.NOTIFY_TASKS), happening.fields.get("STATUS", wait.note)
            work = None
            if said is not None:
                from multi.model.work import decode_work

                work = decode_work(said)
            if work is not None:
                self.work, self.work_at = work, machine.now()
                wait = replace(wait, work=work, work_at=self.work_at)
                yield wait.progress(name, self.work_at)
            if work is not None or note != wait.note:
                wait = replace(wait, note=note)
                yield from self.journal.note(self.main, wait)

    def _ask(self, *, graceful: bool) -> Generator[Want, Answer, None]:
        """What a signal will cut off that comes next: ask the worker, for a moment, since its last word may be old."""
        node, machine = self.journal.node, self.machine
        if graceful or node.ready.sign != "word":
            return
        with suppress(MachineError):
            uid = observe.uid_of(node, machine)
            machine.ask(node.name, Question(node.socketfile, "tasks", self.main, uid, _ASK_SECONDS))
        began = machine.now()
        while machine.now() < began + _ASK_SECONDS:
            match (yield Wait(began + _ASK_SECONDS, "end", self.main.pid, began, work=self.work, work_at=self.work_at)):
                case Answered(_, text):
                    from multi.model.work import decode_work

                    work = decode_work(text)
                    if work is not None:
                        self.work, self.work_at = work, machine.now()
                    return
                case Ended(name, proc) if proc == self.main:
                    machine.watch(name, proc)  # it is told of again, where it is waited for
                    return

    def _cut_off(self, signum: int, sent_at: float, *, graceful: bool) -> Generator[Want, Answer, None]:
        """Say which tasks were under way when the last signal ended the main process; a graceful one cuts off none."""
        if not graceful and self.work is not None and self.work.count:
            work = self.work.aged(sent_at - self.work_at)
            yield CutOff(self.journal.node.name, self.main.pid, signum, work.count, work.active)

    def sweep(self, began: float, grace: float = KILL_GRACE) -> Generator[Want, Answer, tuple[int, ...]]:
        """The main process is gone: KILL what is left of its tree until none is left. Returns the pids of survivors.

        systemd.kill(5) calls this `mixed`: the graceful signal is for the main process, KILL is for the rest.
        """
        machine, name = self.machine, self.journal.node.name
        deadline: float | None = None
        killed: set[Proc] = set()
        doubts = 0
        while True:
            left = yield from self._suspend()
            doubts = 0 if left or self.settled else doubts + 1
            if not left and doubts in {0, _MOST_DOUBTS}:
                return (yield from self._emptied(began, machine.now() + grace if deadline is None else deadline))
            if not left:
                continue
            now = machine.now()
            deadline = now + grace if deadline is None else deadline
            if now >= deadline:
                return tuple(sorted(one.pid for one in left))
            hit = {one for one in left if machine.signal(one, _KILL) == "sent"} - killed
            killed |= hit
            self._kill_cgroup()
            if hit:
                yield Signalled(name, min(one.pid for one in hit), _KILL, now - began, len(hit) - 1)
            for one in left:
                machine.watch(name, one)
            pending = set(left)
            while pending:
                happening = yield Wait(deadline, "end", self.main.pid, began)
                if happening is None:
                    break
                if isinstance(happening, Ended):
                    pending.discard(happening.proc)

    def _kill_cgroup(self) -> None:
        """After each of them was sent KILL, in an order that resumes none: what was born meanwhile, or is hidden."""
        if self.cgroup is not None:
            self.machine.cgroups.kill(self.cgroup)

    def _emptied(self, began: float, deadline: float) -> Generator[Want, Answer, tuple[int, ...]]:
        """No process of the tree can be seen. Wait until the kernel says of its cgroup, too, that nobody is in it."""
        machine, name, cgroup = self.machine, self.journal.node.name, self.cgroup
        if cgroup is None or not machine.cgroups.watch(name, cgroup):
            return ()
        self._kill_cgroup()
        while True:
            match (yield Wait(deadline, "end", self.main.pid, began)):
                case Emptied():
                    return ()
                case None:
                    return tuple(sorted(machine.cgroups.pids(cgroup) or ())) or (self.main.pid,)

    def _send(self, signum: int, suspended: tuple[Proc, ...]) -> tuple[str, int]:
        """Signal the main process, and before it the suspended others; how many of those it reached.

        They are resumed where it cannot be done. The user of a suspended process does not change, so `multi` knows
        whether it may signal the main process before it kills any other.
        """
        machine, main, others = self.machine, self.main, suspended[:-1]
        answer, hit = "denied", 0
        try:
            found = machine.signal(main, _STOP) if others else "sent"
            if found == "sent":
                hit = sum([machine.signal(one, signum) == "sent" for one in others])
                found = machine.signal(main, signum)
                if suspended and found == "sent":
                    self._kill_cgroup()
            answer = found
        finally:
            if answer == "denied":
                _resume_all(suspended, machine)
        if answer == "gone":
            self.journal.gone()
        return answer, hit

    def _look(self) -> Generator[Want, Answer, tuple[Proc, ...]]:
        """Look who is in the tree now, the main process excluded, and remember them; in the order of their KILL."""
        processes = yield from process_table()
        record = None if self.probes else self.journal.record_of(self.main, self.token)
        inside, self.cgroup = observe.members(record, processes, self.machine)
        known = {*self.known, *(info.proc for info in inside)}
        infos = observe.tree(self.main, self.token, processes, self.machine.me(), known, probes=self.probes)
        there = observe.kill_order(infos, processes)
        self.known.update(there)
        self.settled = processes.settled
        return there

    def _suspend(self, *, with_main: bool = False) -> Generator[Want, Answer, tuple[Proc, ...]]:
        """Suspend the whole tree before KILL (no process can ignore SIGSTOP); return all of it but the main process.

        They come in the order in which they are to be killed (see `observe.kill_order`).

        A suspended process cannot fork and keeps its children, so children without our environment and in a session of
        their own are still found by parent. The tree is complete when a look shows no new process. If this walk ends
        before that, all are resumed. If `multi` is killed, the next command sees that the main process is suspended;
        so that one is suspended first and resumed last.
        """
        machine = self.machine
        deadline = machine.now() + _SUSPEND_SECONDS
        suspended: dict[Proc, None] = {}
        looks, done = 0, False
        try:
            if with_main:
                machine.signal(self.main, _STOP)
            while True:
                there = yield from self._look()
                looks += 1
                new = [one for one in there if one not in suspended]
                for one in new:
                    suspended[one] = None
                    machine.signal(one, _STOP)
                done = not new or (looks >= _SUSPEND_LOOKS and machine.now() >= deadline)
                if done:
                    return there
        finally:
            if not done:
                _resume_all((*suspended, *([self.main] if with_main else [])), machine)


def _wait(proc: Proc, schedule: Schedule, number: int, began: float) -> Wait:
    """For the end, until the next signal. It counts from the first one, so a slow look does not delay the next."""
    following = schedule.timeline[number + 1 : number + 2]
    until = began + (following[0].at if following else schedule.total)
    signum = following[0].signum if following else None
    return Wait(None if until == FOREVER else until, "end", proc.pid, began, signum, until)


def ended(proc: Proc, wait: Wait) -> Walk:
    """Wait for the end of the process; False when it did not come in time."""
    while True:
        happening = yield wait
        if happening is None:
            return False
        if isinstance(happening, Ended) and happening.proc == proc:
            return True


def end_left(left: Leftover, journal: Journal, machine: Machine, *, probes: bool = False) -> Walk:
    """KILL what still runs of a tree whose main process is gone."""
    began = machine.now()
    known = {info.proc for info in left.processes}
    survivors = yield from Stop(left.main, left.token, journal, machine, known, probes).sweep(began)
    if survivors and not probes:
        yield Survived(journal.node.name, left.main.pid, machine.now() - began, survivors, killed=True)
    return not survivors


def clear(why: str, observed: Observation, journal: Journal, machine: Machine, *, keep: bool) -> Walk:
    """Remove the files, and before them what a main process that is gone has left running."""
    for left in observed.leftovers:
        if not (yield from end_left(left, journal, machine)):
            return False
    if keep:
        journal.clear()
    else:
        yield from journal.stopped()
    yield Cleared(journal.node.name, why)
    return True


def send(proc: Proc, signum: int, journal: Journal, machine: Machine, *, stop: bool) -> Walk:
    """Send one signal to the main process; `stop` when it asks the node to end."""
    name = journal.node.name
    if stop:
        yield from journal.request(proc, records.WANTED_STOPPED)
    match machine.signal(proc, signum):
        case "sent":
            journal.signalled()
            yield Signalled(name, proc.pid, signum, 0.0)
            return True
        case "gone":
            journal.gone()
            yield Gone(name, proc.pid, 0.0) if stop else Refused(name, "it has just ended")
            return stop
        case _:
            return (yield from denied(proc, signum, journal))


def resume(proc: Proc, token: str, processes: ProcessTable, journal: Journal, machine: Machine) -> Walk:
    """Resume the main process and its tree. One that has ended meanwhile is for the next step to find."""
    others: set[Proc] = set()
    if journal.node.kill_mode == "mixed":  # in the other mode `multi` neither stops nor resumes children
        inside, _ = observe.members(journal.record_of(proc, token), processes, machine)
        infos = observe.tree(proc, token, processes, machine.me(), [info.proc for info in inside])
        others = {info.proc for info in infos if info.suspended}
    resumed = _resume_all(others, machine)
    match machine.signal(proc, _CONT):
        case "denied":
            return (yield from denied(proc, _CONT, journal))
        case "sent":
            yield Signalled(journal.node.name, proc.pid, _CONT, 0.0, resumed)
    return True


def _resume_all(them: Iterable[Proc], machine: Machine) -> int:
    """How many got it. The main process must come after them: while it is suspended, a look shows that."""
    resumed = 0
    for one in them:
        with suppress(MachineError):  # one that cannot be held must not keep the others suspended
            resumed += machine.signal(one, _CONT) == "sent"
    return resumed


def denied(proc: Proc, signum: int, journal: Journal) -> Walk:
    """The kernel did not let us signal the process."""
    yield from journal.take_back()
    why = f"may not send {signal_name(signum)} to pid {proc.pid}; run multi as the user of that process, or as root"
    yield Failed(journal.node.name, proc.pid, why, exit_code=EXIT_PERMISSION)
    return False


def listen(name: str, token: str, machine: Machine) -> None:
    """Open the node's notification address again; its status is worth having, and no more than that."""
    with suppress(MachineError):
        machine.notify_address(name, token)
