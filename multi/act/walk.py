"""The walk of one node: take its lock, look, decide, do the steps, give the lock back."""

from __future__ import annotations

import errno
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from multi import observe
from multi.act import ready
from multi.act.journal import Journal
from multi.act.loop import drive
from multi.act.options import ALIVE, RunOptions
from multi.act.waits import Wait, WriteWait, process_table
from multi.decide import table as decide
from multi.errors import EXIT_BUSY, EXIT_FAILED, EXIT_PERMISSION, MultiError
from multi.machine import (
    INSTANCE,
    INSTANCE_NODE,
    INSTANCE_PIDFILE,
    INSTANCE_PROBE,
    Ended,
    File,
    Happening,
    Launch,
    LaunchFailed,
    Locked,
    MachineError,
    Notified,
    Prepared,
    Probed,
)
from multi.model import record as records
from multi.model.event import (
    Adopted,
    Cleared,
    Event,
    Failed,
    Gone,
    Readied,
    Refused,
    Signalled,
    Skipped,
    Spawned,
    Survived,
)
from multi.model.node import Known, Unknown
from multi.model.process import ProcessTable
from multi.model.record import Record
from multi.model.request import Request
from multi.model.schedule import FOREVER, Schedule, Stage, signal_name
from multi.model.state import Lost, Unsure, Up
from multi.model.step import (
    Adopt,
    AwaitDown,
    AwaitEnd,
    AwaitReady,
    AwaitUp,
    Clear,
    Kill,
    Refuse,
    Resume,
    Rewrite,
    Signal,
    Skip,
    Spawn,
    Step,
    Stop,
)
from multi.text import printable
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from multi.act.waits import Answer, Walk, Want
    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.process import Proc
    from multi.observe import Leftover, Observation

STILL_THERE = "not started with its new pidfile, because it still runs with the old one"
_KILL, _STOP, _CONT = int(signal.SIGKILL), int(signal.SIGSTOP), int(signal.SIGCONT)
_GIVEN_UP = "its last start was given up"  # by whoever asked for it; nothing is wrong with the node
_FREEZE_SECONDS = 1.0  # for all of a tree to stand still; one that still grows after that is killed while it grows
_KILL_GRACE = 5.0  # seconds for the kernel to end what was sent KILL
_MOST_DOUBTS = 10  # looks in a row that find nobody while others end all the time, until nobody is believed to be there
_ASK_SECONDS = 60.0  # for a machine that does not answer; it gives up a Python itself, before that
_TAIL_BYTES = 16384
_TAIL_LINES = 10
_EPERM, _EACCES, _EROFS = 1, 13, 30
_FIRST_LOOK, _MOST_LOOK = 0.05, 0.5  # seconds between two looks at files that somebody else will write


def walk(tasks: Sequence[tuple[Node, Request]], options: RunOptions, machine: Machine) -> Iterator[Event]:
    """Walk all nodes to the end; one stream of events. Closing the iterator ends the run cleanly."""
    return drive([(node.name, _way(node, request, options, machine)) for node, request in tasks], options, machine)


def _way(node: Node, request: Request, options: RunOptions, machine: Machine) -> Walk:
    """The walk of a node; but first it is stopped with the pidfiles that it is to have no more: it is never two."""
    for old in request.moved:
        if not (yield from _Walker(old, Request("stopwait"), options, machine).walk()):
            if request.command == "apply":
                yield Skipped(node.name, None, STILL_THERE, met=False)
            return False
        machine.release(node.name)
    return (yield from _Walker(node, request, options, machine).walk())


@dataclass(slots=True)
class _Tree:
    """The tree of a main process, and everybody who was ever seen in it. State of one stop."""

    main: Proc
    token: str
    known: set[Proc]
    settled: bool = True  # whether nobody can have been missing from the last look
    probes: bool = False  # whether it is the tree of the node's probes alone


class _Walker:
    """The way of one node."""

    def __init__(self, node: Node, request: Request, options: RunOptions, machine: Machine) -> None:
        self._options = options
        self._journal = Journal(node, machine)
        self._be(node)
        self._key = node.name
        self._request = request
        self._machine = machine
        self._token = ""
        self._processes: ProcessTable | None = None
        self._leftovers: tuple[Leftover, ...] = ()
        self._undo = False
        self._given_up = _GIVEN_UP

    def walk(self) -> Walk:
        """Lock, look, decide, do. True when what was asked for is true of the node."""
        try:
            seen = yield from self._survey()
            if seen is None or not (yield from self._catch_up()):
                return False
            steps = decide.route(self._request, seen.state, self._journal.node).steps
            if any(isinstance(step, Spawn) for step in steps):
                # What root has put on record may be more than we can start: then what runs must go on.
                self._machine.may_launch(self._launch_of(self._journal.node.env))
            yield from self._end_probes(seen)
            if any(isinstance(step, (Spawn, AwaitReady)) for step in steps):
                yield from self._settle_proof()  # before anything is stopped for it
            for step in steps:
                if not (yield from self._do(step, decide.proc_of(seen.state))):
                    return False
        except (MachineError, OSError) as error:
            yield from self._journal.take_back()  # as long as nothing was sent, nothing was asked of the node
            yield self._failed_by(error)
            return False
        finally:
            if self._undo:
                self._send_away()
            self._machine.unlock(self._key)
        return True

    def _survey(self) -> Generator[Want, Answer, Observation | None]:
        """Lock, then look; None when somebody else keeps the lock."""
        if not (yield from self._lock()):
            return None
        seen = yield from self._look()
        unlocked = self._request.command not in _WITHOUT_LOCK and not self._machine.holds(self._key)
        if isinstance(seen.state, Lost) and unlocked and self._made_rundir():
            # The run directory was removed under it; now that it is there again there is a lock to take.
            return (yield from self._look()) if (yield from self._lock()) else None
        return seen

    def _catch_up(self) -> Walk:
        """What was on record when the node was chosen may have been replaced while we waited for the lock.

        Then the new record counts: who restarts a node as it was does not bring back what another has just replaced.
        """
        before = self._request.recorded
        record = observe.recall(self._journal.node, self._machine) if before is not None else None
        if record is None or record.node == before:
            return True
        if self._request.command == "apply":
            self._request = replace(self._request, recorded=record.node)
        elif self._journal.node == before and (record.node.name, record.node.preset) == (
            self._key,
            self._journal.node.preset,
        ):
            self._be(record.node)
        else:
            yield Refused(self._key, "another multi has changed how it runs meanwhile; look at it, and say it again")
            return False
        return True

    def _end_probes(self, seen: Observation) -> Generator[Want, Answer, None]:
        """End the probes that nobody waits for: who began them was killed, and the lock is ours now."""
        if self._request.command == "signal" or not self._machine.holds(self._key):
            return
        for left in seen.probes:
            tree = _Tree(left.main, left.token, {info.proc for info in left.processes}, probes=True)
            yield from self._sweep(tree, self._machine.now(), _KILL_GRACE)

    def _be(self, node: Node) -> None:
        self._journal.node = node
        self._weaker = weaker = self._options.fallbacks.get(node.name)
        # How it proves that it is ready, unless `_settle_proof` finds that it cannot.
        self._tried = node if weaker is None or weaker.asks else weaker.instead(node)

    def _settle_proof(self) -> Generator[Want, Answer, None]:
        """Find out whether the node's Python can tell when it is ready, if nothing else says so."""
        node, machine, weaker = self._journal.node, self._machine, self._weaker
        if weaker is None or not weaker.asks or not isinstance(node.command, Known):
            return
        try:
            able = machine.notifies(self._key, node.command.words[0], node.uid, node.gid)
        except MachineError:
            able = True  # no such user: the start of this node says so
        began = machine.now()
        while able is None:
            match (yield Wait(began + _ASK_SECONDS, "ready", 0, began)):
                case Probed(_, ok):
                    able = ok
                case None:
                    able = False
        if able:
            self._weaker = None
        else:
            self._tried = weaker.instead(node)

    def _made_rundir(self) -> bool:
        node = self._journal.node
        try:
            self._machine.make_directory(node.rundir, node.uid, node.gid)
        except MachineError:
            if self._request.command not in _ENDING:
                raise
            return False
        return True

    def _look(self) -> Generator[Want, Answer, Observation]:
        processes = yield from process_table()
        self._processes = processes
        seen = observe.look_at(self._journal.node, processes, self._machine)
        self._journal.open(seen.record)
        self._leftovers = seen.leftovers
        return seen

    def _failed_by(self, error: MachineError | OSError, pid: int | None = None) -> Failed:
        code = EXIT_PERMISSION if error.errno in {_EPERM, _EACCES, _EROFS} else EXIT_FAILED
        return Failed(self._key, pid, str(_as_refusal(error)), exit_code=code)

    # -- the lock --------------------------------------------------------------------------------

    def _lock(self) -> Generator[Want, Answer, bool]:
        node, machine = self._journal.node, self._machine
        if self._request.command in _WITHOUT_LOCK:
            return True  # waiting for what somebody else does must not keep that somebody out
        if self._request.command in _MAKES_DIRECTORIES:
            machine.make_directory(node.rundir, node.uid, node.gid)
        elif machine.read(node.rundir, 0) is None:
            return True  # no directory, so no lock and no files; the census still tells whether it runs
        if machine.lock(self._key, node.lockfile, node.uid, node.gid) is None:
            return True
        began = machine.now()
        until = began + node.lock_timeout
        while True:
            happening = yield Wait(until, "lock", 0, began)
            if isinstance(happening, Locked):
                return True
            if happening is None:
                who = machine.holder(self._key).text
                what = f"another multi ({who}) is at work on this node, and still was"
                hint = "wait for it"
                if not who:  # as flock(1), which writes nothing, or from within a container
                    what = f"another process holds the lock {node.lockfile}, and still did"
                    hint = f"see 'fuser -v {node.lockfile}'"
                why = f"{what} after {node.lock_timeout:g}s; {hint}, or give a longer --lock-timeout"
                yield Failed(self._key, None, why, exit_code=EXIT_BUSY)
                return False

    # -- the steps -------------------------------------------------------------------------------

    def _do(self, step: Step, proc: Proc | None) -> Walk:  # noqa: C901, PLR0911, PLR0912 -- one case a step is the table
        match step:
            case Skip(why, met):
                yield Skipped(self._key, proc.pid if proc is not None else None, why, met)
                return met
            case Rewrite():
                if self._journal.record is not None:
                    yield from self._journal.save(
                        replace(self._journal.record, node=self._journal.node, owner=None)
                    )  # as configured, by us
                yield Skipped(
                    self._key, proc.pid if proc is not None else None, "runs on, with its new settings on record"
                )
                return True
            case Refuse(why):
                yield Refused(self._key, why)
                return False
            case Clear(why, keep):
                return (yield from self._clear(why, keep=keep))
            case Adopt(found, why):
                return (yield from self._adopt(found, why))
            case Spawn():
                return (yield from self._spawn())
            case AwaitReady(found):
                return (yield from self._await_ready_of(found))
            case AwaitUp():
                return (yield from self._await_up())
            case AwaitDown(found):
                return (yield from self._await_down(found))
            case Resume(found):
                return (yield from self._resume(found))
            case Signal(found, signum, stop):
                return (yield from self._signal(found, signum, stop=stop))
            case Stop(found, schedule, again):
                desired = records.RESTARTING if again else records.WANTED_STOPPED
                yield from self._journal.request(found, desired)
                return (yield from self._end(found, schedule, first_sent=False))
            case AwaitEnd(found, schedule):
                return (yield from self._end(found, schedule, first_sent=True))
            case Kill(found):
                yield from self._journal.request(found, records.WANTED_STOPPED)
                return (
                    yield from self._end(found, Schedule((Stage(_KILL, _KILL_GRACE),)), first_sent=False, whole=True)
                )

    def _clear(self, why: str, *, keep: bool) -> Walk:
        """Remove the files, and before them what a main process that is gone has left running."""
        machine = self._machine
        for leftover in self._leftovers:
            tree = _Tree(leftover.main, leftover.token, {info.proc for info in leftover.processes})
            began = machine.now()
            left = yield from self._sweep(tree, began, _KILL_GRACE)
            if left:
                yield Survived(self._key, leftover.main.pid, machine.now() - began, left, killed=True)
                return False
        self._journal.clear(keep=keep)
        yield Cleared(self._key, why)
        return True

    def _adopt(self, proc: Proc, why: str) -> Walk:
        """Give the process its files again. One that is to be ended needs none."""
        assert self._processes is not None  # noqa: S101 -- walk() looked before it decided
        info = self._processes.by_pid[proc.pid]
        old = self._journal.record
        known = old.token if old is not None and old.proc == proc else ""
        self._token = observe.adopted_token(proc, self._processes) or known
        node = self._as_it_runs(proc) if old is None else old.node
        if isinstance(node.command, Unknown):
            return (yield from self._adopt_unknown(proc, why))
        record = Record(
            node=node,
            proc=proc,
            token=self._token,
            started=self._processes.wall - info.age,
            restarts=0 if old is None else old.restarts,
            owner=None if old is None else old.owner,
            runner=None if old is None else old.runner,
        )
        try:
            yield from self._journal.save(record, proc.pid)
        except MachineError:
            if self._request.command not in _ENDING:
                raise
            return True
        yield Adopted(self._key, proc.pid, why)
        return True

    def _adopt_unknown(self, proc: Proc, why: str) -> Walk:
        """Give the process its pidfile again. A record would have to make up a command, and a start would run that."""
        node, data = self._journal.node, records.encode_pid(proc.pid)
        there = self._machine.read(node.pidfile, records.PIDFILE_LIMIT)
        if isinstance(there, File) and there.data == data:
            if self._request.command in _RUNNING:
                yield Skipped(self._key, proc.pid, decide.ALREADY_RUNNING)
            return True
        try:
            yield WriteWait((self._journal.pidfile_of(proc.pid),))
        except MachineError:
            if self._request.command not in _ENDING:
                raise
            return True
        yield Adopted(self._key, proc.pid, why)
        return True

    def _as_it_runs(self, proc: Proc) -> Node:
        """The node of a process that lost its record: its words are the kernel's to tell, its preset nobody's.

        A bare command is ready when it lives. What says how the node shall run from now on goes before the kernel where
        it is all that such a command does, and else where the process shows a title.
        """
        said = self._request.says and self._request.command in _RUNNING
        if said and self._request.command in _SAYING:
            return self._journal.node
        command = observe.command_of(proc.pid, self._machine)
        match command:
            case Known():
                return replace(self._journal.node, command=command, preset="exec", ready=ALIVE)
            case Unknown():
                return self._journal.node if said else replace(self._journal.node, command=command)

    def _signal(self, proc: Proc, signum: int, *, stop: bool) -> Walk:
        if stop:
            yield from self._journal.request(proc, records.WANTED_STOPPED)
        match self._machine.signal(proc, signum):
            case "sent":
                self._journal.signalled()
                yield Signalled(self._key, proc.pid, signum, 0.0)
                return True
            case "gone":
                self._journal.gone()
                yield Gone(self._key, proc.pid, 0.0) if stop else Refused(self._key, "it has just ended")
                return stop
            case _:
                return (yield from self._denied(proc, signum))

    def _resume(self, proc: Proc) -> Walk:
        """Let the main process and its tree go on. One that has ended meanwhile is for the next step to find."""
        assert self._processes is not None  # noqa: S101 -- walk() looked before it decided
        others: set[Proc] = set()
        if self._journal.node.kill_mode == "mixed":  # else children are none of ours, to stop or to wake
            infos = observe.tree(proc, self._token_of(proc), self._processes, self._machine.me())
            others = {info.proc for info in infos if info.suspended}
        woken = self._resume_all(others)
        match self._machine.signal(proc, _CONT):
            case "denied":
                return (yield from self._denied(proc, _CONT))
            case "sent":
                yield Signalled(self._key, proc.pid, _CONT, 0.0, woken)
        return True

    def _resume_all(self, them: Iterable[Proc]) -> int:
        """How many got it. The main process must come after them: as long as it stands still, that shows in a look."""
        return sum(map(self._resume_one, them))

    def _resume_one(self, one: Proc) -> bool:
        try:
            return self._machine.signal(one, _CONT) == "sent"
        except MachineError:
            return False  # one that cannot be held must not keep the others from going on

    def _token_of(self, proc: Proc) -> str:
        """What the processes of the tree carry, as far as is known."""
        if self._token:
            return self._token
        if self._journal.record is not None and self._journal.record.proc == proc:
            return self._journal.record.token
        return observe.adopted_token(proc, self._processes) if self._processes is not None else ""

    def _denied(self, proc: Proc, signum: int) -> Walk:
        yield from self._journal.take_back()
        why = f"may not send {signal_name(signum)} to pid {proc.pid}; run multi as the user of that process, or as root"
        yield Failed(self._key, proc.pid, why, exit_code=EXIT_PERMISSION)
        return False

    # -- starting --------------------------------------------------------------------------------

    def _spawn(self) -> Walk:
        node, machine = self._journal.node, self._machine
        if not machine.holds(self._key):
            running = yield from self._lock_again()
            if running is not None:
                return running
        node = self._read_env_files()
        began = machine.now()
        token = machine.token()
        proc = yield from self._prepare(token, began)
        if proc is None:
            return False
        there = ready.before(self._tried, machine)
        tried = self._tried
        at_once = tried.ready.kind == "alive" and tried.startsecs == 0
        phase = records.UP if at_once else records.STARTING
        record = replace(self._history(), proc=proc, token=token, phase=phase, extra=there.encoded())
        yield from self._journal.save(record, proc.pid)
        if not machine.holds(self._key):
            why = "somebody removed or replaced it, so another multi may be at work on this node"
            raise MachineError(f"lost the lock {node.lockfile}", why, "start it again")
        self._undo = False
        self._token = token
        machine.open_gate(self._key)
        yield Spawned(self._key, proc.pid, node.words)
        verdict = yield from self._prove(proc, began, there, executed=False)
        match verdict:
            case ready.Proof(how, note):
                if not at_once:
                    yield from self._journal.ready(record, note)
                yield Readied(self._key, proc.pid, machine.now() - began, how, note)
                return True
            case ready.Disproof():
                return (yield from self._unready(proc, verdict, there.offset))

    def _read_env_files(self) -> Node:
        """What they hold goes to the process and its probes. The node, which goes on record, knows digests of it."""
        files = self._journal.node.env_files
        if files:
            from multi.settings import envfile

            try:
                values = envfile.read_env_files(files, self._load_env_file)
            except MultiError as error:
                errno = _EPERM if error.exit_code == EXIT_PERMISSION else 0
                raise MachineError(error.word, error.why, error.hint, errno) from error
            self._be(envfile.with_digests(self._journal.node, values))
            self._tried = envfile.with_values(self._tried, values)
        return self._journal.node

    def _lock_again(self) -> Generator[Want, Answer, bool | None]:
        """Somebody removed our lock file while we waited. What it kept out may have come in; None when it has not."""
        self._machine.unlock(self._key)
        seen = yield from self._survey()
        if seen is None:
            return False
        running = decide.proc_of(seen.state)
        if running is not None:
            yield Skipped(self._key, running.pid, "running: another multi was faster, after the lock file was removed")
            return True
        if isinstance(seen.state, Unsure):
            yield Refused(self._key, seen.state.why)
            return False
        return None

    def _load_env_file(self, path: str) -> bytes:
        """A file that a user's record names is one for that user to open."""
        owner, recorded = self._authority(), self._request.recorded
        if owner and recorded is not None and path in recorded.env_files:
            return self._machine.load_as(path, owner)
        return self._machine.load(path)

    def _authority(self) -> int | None:
        """The user whose record says how the node is to run; None where we say it."""
        taken = self._request.command in _AGAIN and self._request.recorded is not None
        return self._journal.found.owner if taken and self._journal.found is not None else None

    def _prepare(self, token: str, began: float) -> Generator[Want, Answer, Proc | None]:
        """Bring a process to the gate. While it stands there, whatever ends this walk sends it away."""
        node, machine = self._journal.node, self._machine
        machine.make_directory(node.rundir, node.uid, node.gid)
        logs = node.logfile.rpartition("/")[0] or "/"
        # One that is there may be reached through links of the node's user, who opens the log as well.
        if node.logs_to_file and machine.kind(logs) != "directory":
            machine.make_directory(logs, node.uid, node.gid)
        machine.launch(self._key, self._launch(token))
        self._undo = True
        while True:
            match (yield Wait(began + node.ready_timeout, "ready", 0, began)):
                case Prepared(_, proc):
                    return proc
                case LaunchFailed(_, why, hint, number):
                    code = EXIT_PERMISSION if number in {_EPERM, _EACCES} else EXIT_FAILED
                    self._given_up = why
                    yield Failed(self._key, None, _joined(why, hint), exit_code=code)
                    return None
                case Ended(_, proc, status):
                    yield Failed(self._key, proc.pid, ready.end_text(status) + " before it ran", status)
                    return None
                case None:
                    why = f"could not be set up within {node.ready_timeout:g}s"
                    yield Failed(
                        self._key,
                        None,
                        _joined(why, "see whether its --workdir or log lies on a file system that hangs"),
                    )
                    return None

    def _history(self) -> Record:
        """A record of this start, with what is known from the starts before it."""
        before, wall = self._journal.found, self._machine.wall()
        record = Record(
            node=self._journal.node,
            proc=None,
            started=wall,
            restarts=0 if before is None else before.restarts + 1,
            owner=self._authority(),
            runner=self._options.runner or (None if before is None else before.runner),
        )
        if before is None or self._request.command != "ensure":
            return record
        counted = before if before.proc is None else before.after_failure(wall, "it died")
        return replace(record, failures=counted.failures, failed=counted.failed)

    def _prove(
        self, proc: Proc, began: float, there: ready.Before, *, executed: bool
    ) -> Generator[Want, Answer, ready.Verdict]:
        token = self._token_of(proc)
        proof = ready.prove(self._tried, proc, self._machine, token=token, began=began, there=there, executed=executed)
        sent: Happening | None = None
        while True:
            try:
                pause = proof.send(sent)
            except StopIteration as stop:
                self._machine.end_probe(self._key)  # before the tree is stopped, of which it is a part
                verdict: ready.Verdict = stop.value
                weaker = self._weaker
                return replace(verdict, note=weaker.note) if weaker and isinstance(verdict, ready.Proof) else verdict
            answer = yield pause
            if isinstance(answer, Probed) and answer.ok and answer.at is not None:
                answer = yield from self._own(answer, answer.at, proc, there)
            assert not isinstance(answer, ProcessTable)  # noqa: S101 -- a Pause is never answered with a Census
            sent = answer

    def _own(
        self, probed: Probed, at: tuple[str, int], proc: Proc, there: ready.Before
    ) -> Generator[Want, Answer, Probed]:
        """A port that accepts proves something only when it is the node's own."""
        processes = yield from process_table()
        infos = observe.tree(proc, self._token_of(proc), processes, self._machine.me())
        procs = (proc, *(info.proc for info in infos if not observe.is_probe(info)))
        match self._machine.listens(procs, at):
            case "yes":
                return probed
            case "away":
                return replace(probed, why=f"{at[0]} is no address of this machine, so whoever listens there counts")
            case "unknown" if not there.taken:
                return probed
            case "unknown":
                why = "somebody listened there before it started, and who does now cannot be told"
            case _:
                why = "somebody else listens there ('ss -ltnp' says who), not this node"
        return replace(probed, ok=False, why=f"{self._tried.ready.what}: {why}")

    def _launch(self, token: str) -> Launch:
        node = self._journal.node
        # A NOTIFY_SOCKET of our own caller is not the node's: its READY would be taken for ours.
        notify = self._machine.notify_address(self._key, token) if self._tried.ready.kind == "notify" else None
        env = (
            ("WATCHDOG_USEC", None),  # our caller's, too: it is for us to answer
            ("WATCHDOG_PID", None),
            *self._tried.env,  # before the rest, so that nothing of it can stand for what says which node this is
            (INSTANCE, token),
            (INSTANCE_NODE, node.name),
            (INSTANCE_PIDFILE, node.pidfile),
            (INSTANCE_PROBE, None),
            ("NOTIFY_SOCKET", notify),
        )
        return self._launch_of(env)

    def _launch_of(self, env: tuple[tuple[str, str | None], ...]) -> Launch:
        node = self._journal.node
        return Launch(
            argv=node.words,
            env=env,
            logfile=node.logfile,
            workdir=node.workdir,
            uid=node.uid,
            gid=node.gid,
            umask=node.umask,
            nice=node.nice,
            rlimits=node.rlimits,
            output=None if self._options.runner or self._journal.found is None else self._journal.found.runner,
        )

    def _send_away(self) -> None:
        """A process that stands at the gate must not execute: the start was given up before it was on record."""
        self._machine.shut_gate(self._key)
        try:
            failures = None if self._given_up == _GIVEN_UP else self._history().failures + 1
            self._journal.undo(self._given_up, failures)
        except MachineError:
            return  # what cannot be removed names a process that is gone: the next look sees that

    def _unready(self, proc: Proc, verdict: ready.Disproof, offset: int) -> Walk:
        """The start failed: stop what is left of it, keep on record why, show what it printed."""
        node, machine = self._journal.node, self._machine
        tail = _last_lines(machine.tail(node.logfile, offset, _TAIL_BYTES))
        log = node.logfile if verdict.launched else ""  # what never ran has said nothing there
        failed = Failed(self._key, proc.pid, _joined(verdict.why, verdict.hint), verdict.status, tail, log)
        if verdict.waits and not verdict.ended and self._request.command == "ensure":
            yield from self._journal.note_unready(verdict.said)
            yield Skipped(self._key, proc.pid, decide.waits_for(verdict.waits))
            return True
        if not verdict.ended and self._options.keep_unready:
            yield replace(failed, why=failed.why + "; left running, as --keep-unready says")
            yield from self._journal.note_unready(verdict.said)
            return False
        yield failed
        if not verdict.launched:
            self._journal.undo(verdict.why, self._history().failures + 1)
            return False
        if verdict.ended:
            yield from self._sweep(_Tree(proc, self._token_of(proc), {proc}), machine.now(), _KILL_GRACE)
        elif not (yield from self._end(proc, node.stop, first_sent=False)):
            return False  # it survived its own stop: its files must go on naming it
        yield from self._journal.failed(verdict.why)
        return False

    def _await_ready_of(self, proc: Proc) -> Walk:
        """Another command started it and was cut off: go on where that one was."""
        machine = self._machine
        with suppress(MachineError):  # it runs already; only a probe that is a command may miss them
            self._read_env_files()
        node = self._tried
        if node.ready.kind == "notify":
            self._listen(self._journal.record.token if self._journal.record is not None else "")
        there = ready.recalled(node, self._journal.record.extra if self._journal.record is not None else {}, machine)
        machine.watch(self._key, proc)
        began = machine.now()
        if node.ready.kind == "notify" and self._journal.record is not None:
            # From here on it is heard; what it said before it may have left.
            there = replace(there, word=observe.word(node, self._journal.record, machine))
        verdict = yield from self._prove(proc, began, there, executed=True)
        match verdict:
            case ready.Proof(how, note):
                if self._journal.record is not None:
                    yield from self._journal.ready(self._journal.record, note)
                yield Readied(self._key, proc.pid, machine.now() - began, how, note)
                return True
            case ready.Disproof():
                return (yield from self._unready(proc, verdict, there.offset))

    def _listen(self, token: str) -> None:
        """Open the node's notification address again; its status is worth having, and no more than that."""
        try:
            self._machine.notify_address(self._key, token)
        except MachineError:
            return

    # -- stopping --------------------------------------------------------------------------------

    def _end(self, proc: Proc, schedule: Schedule, *, first_sent: bool, whole: bool = False) -> Walk:
        """Walk the schedule until the tree is gone. `whole` sends every signal to the whole tree."""
        node, machine = self._journal.node, self._machine
        token = self._token_of(proc)
        tree = _Tree(proc, token, {proc})
        machine.watch(self._key, proc)
        if node.ready.kind == "notify" and token:
            self._listen(token)  # for STOPPING=1 and what else it says of its end
        yield from self._see(tree)
        began = machine.now()
        timeline = schedule.timeline
        for number, moment in enumerate(timeline):
            following = timeline[number + 1] if number + 1 < len(timeline) else None
            if number > 0 or not first_sent:
                frozen: tuple[Proc, ...] = ()
                if moment.signum == _KILL and (whole or node.kill_mode == "mixed"):
                    frozen = (*(yield from self._freeze(tree, with_main=True)), proc)
                answer, hit = self._send(proc, moment.signum, frozen)
                match answer:
                    case "denied":
                        return (yield from self._denied(proc, moment.signum))
                    case "sent":
                        self._journal.signalled()
                        yield Signalled(node.name, proc.pid, moment.signum, machine.now() - began, hit)
            # The schedule counts from the first signal, so a slow look does not put off the next one.
            until = began + (following.at if following is not None else schedule.total)
            pause = Wait(
                None if until == FOREVER else until,
                "end",
                proc.pid,
                began,
                following.signum if following is not None else None,
                until,
            )
            if (yield from self._ended(proc, pause)):
                break
        else:
            killed = schedule.stages[-1].signum == _KILL
            yield Survived(node.name, proc.pid, machine.now() - began, (proc.pid,), killed=killed)
            return False
        if node.kill_mode == "mixed" or whole:
            last = schedule.stages[-1]
            left = yield from self._sweep(tree, began, max(_KILL_GRACE, last.seconds if last.signum == _KILL else 0))
            if left:
                yield Survived(node.name, proc.pid, machine.now() - began, left, killed=True)
                return False
        yield Gone(node.name, proc.pid, machine.now() - began)
        return True

    def _send(self, proc: Proc, signum: int, frozen: tuple[Proc, ...]) -> tuple[str, int]:
        """Signal the main process, and before it all others who were stopped for that; how many of those it reached.

        They go on again where it cannot be done. One that stands still becomes no other user's: whether the main
        process may be signalled is known before anybody is killed.
        """
        machine, others = self._machine, frozen[:-1]
        answer, hit = "denied", 0
        try:
            found = machine.signal(proc, _STOP) if others else "sent"
            if found == "sent":
                hit = self._reach(others, signum)
                found = machine.signal(proc, signum)
            answer = found
        finally:
            if answer == "denied":
                self._resume_all(frozen)
        if answer == "gone":
            self._journal.gone()
        return answer, hit

    def _reach(self, them: Iterable[Proc], signum: int) -> int:
        """Signal them in this order; how many it reached."""
        return sum([self._machine.signal(one, signum) == "sent" for one in them])

    def _see(self, tree: _Tree) -> Generator[Want, Answer, tuple[Proc, ...]]:
        """Look who is in the tree now, the main process excluded, and remember them; in the order of their KILL."""
        processes = yield from process_table()
        infos = observe.tree(tree.main, tree.token, processes, self._machine.me(), tree.known, probes=tree.probes)
        there = observe.kill_order(infos, processes)
        tree.known.update(there)
        tree.settled = processes.settled
        return there

    def _freeze(self, tree: _Tree, *, with_main: bool = False) -> Generator[Want, Answer, tuple[Proc, ...]]:
        """Stop (SIGSTOP, which nobody can ignore) the whole tree before KILL; return all of it but the main process.

        They come in the order in which they are to be killed (see `observe.kill_order`), and the main process after
        them.

        Who stands still makes no further children, and is still the mother of those that were made before, so they are
        found even with an empty environment and a session of their own. It is done when a look shows nobody new.
        What ends this walk before that lets them all go on again. If it is we who are killed, the next command sees
        that the main process stands still; so that one is stopped first, and let go on last.
        """
        machine = self._machine
        deadline = machine.now() + _FREEZE_SECONDS
        there: tuple[Proc, ...] = ()
        frozen: set[Proc] = set()
        done = False
        try:
            if with_main:
                machine.signal(tree.main, _STOP)
            while not done:
                there = yield from self._see(tree)
                new = [one for one in there if one not in frozen]
                done = not new or machine.now() >= deadline
                if not done:
                    frozen.update(new)
                    self._reach(new, _STOP)
        finally:
            if not done:
                self._resume_all(frozen)
                self._resume_all((tree.main,) if with_main else ())
        return there

    def _ended(self, proc: Proc, pause: Wait) -> Walk:
        while True:
            happening = yield pause
            if happening is None:
                return False
            if isinstance(happening, Ended) and happening.proc == proc:
                return True
            if isinstance(happening, Notified) and happening.fields.get("STATUS", pause.note) != pause.note:
                pause = replace(pause, note=happening.fields["STATUS"])
                yield from self._journal.note_status(proc, pause.note)

    def _sweep(self, tree: _Tree, began: float, grace: float) -> Generator[Want, Answer, tuple[int, ...]]:
        """The main process is gone: KILL what is left of its tree until none is left. Returns the pids of survivors.

        systemd.kill(5) calls this `mixed`: the graceful signal is for the main process, KILL is for the rest.
        """
        machine = self._machine
        deadline: float | None = None
        killed: set[Proc] = set()
        doubts = 0
        while True:
            left = yield from self._freeze(tree)
            doubts = 0 if left or tree.settled else doubts + 1
            if not left and doubts in {0, _MOST_DOUBTS}:
                return ()
            if not left:
                continue
            now = machine.now()
            deadline = now + grace if deadline is None else deadline
            if now >= deadline:
                return tuple(sorted(one.pid for one in left))
            hit = {one for one in left if machine.signal(one, _KILL) == "sent"} - killed
            killed |= hit
            if hit:
                yield Signalled(self._key, min(one.pid for one in hit), _KILL, now - began, len(hit) - 1)
            for one in left:
                machine.watch(self._key, one)
            pending = set(left)
            while pending:
                happening = yield Wait(deadline, "end", tree.main.pid, began)
                if happening is None:
                    break
                if isinstance(happening, Ended):
                    pending.discard(happening.proc)

    def _await_up(self) -> Walk:
        """Look again and again: that a pidfile appears is nothing that a kernel tells everywhere."""
        machine, began = self._machine, self._machine.now()
        timeout = self._options.timeout
        pause, doubt = _FIRST_LOOK, ""
        while True:
            now = machine.now()
            if timeout is not None and now - began >= timeout:
                yield Failed(self._key, None, f"not up after {timeout:g}s; 'multi status' says what it is")
                return False
            until = now + pause if timeout is None else min(now + pause, began + timeout)
            yield Wait(until, "ready", 0, began)
            pause = min(pause * 1.5, _MOST_LOOK)
            processes = yield from process_table()
            match observe.look_at(self._journal.node, processes, machine).state:
                case Up(proc, True) | Lost(proc):
                    yield Skipped(self._key, proc.pid, "running")
                    return True
                case Unsure(why):
                    if why == doubt:  # seen twice; once can be of files that somebody was just changing
                        yield Refused(self._key, why)
                        return False
                    doubt = why

    def _await_down(self, proc: Proc) -> Walk:
        machine = self._machine
        machine.watch(self._key, proc)
        began = machine.now()
        timeout = self._options.timeout
        pause = Wait(None if timeout is None else began + timeout, "end", proc.pid, began)
        if (yield from self._ended(proc, pause)):
            yield Gone(self._key, proc.pid, machine.now() - began)
            return True
        yield Failed(self._key, proc.pid, f"still running after {timeout:g}s")
        return False


_MAKES_DIRECTORIES = frozenset({"start", "restart", "apply"})
_WITHOUT_LOCK = frozenset({"up", "down"})
_RUNNING = frozenset({"start", "apply", "restart", "ensure"})  # a node shall run, whether it did or not
_SAYING = frozenset({"start", "apply"})
_AGAIN = frozenset({"restart", "ensure"})  # they start what is on record, where it was taken from there
_ENDING = frozenset({"stop", "stopwait", "kill"})  # no file that cannot be written keeps a node running


def _as_refusal(error: MachineError | OSError) -> MachineError:
    """What to tell of a system call that failed where none is expected to, as under a sandbox."""
    if isinstance(error, MachineError):
        return error
    what = f"cannot go on at {error.filename}" if error.filename else "cannot go on"
    hint = "see whether a sandbox, as of a container or a systemd unit, forbids a system call"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        hint = "raise 'ulimit -n', or name fewer nodes at once"
    return MachineError(what, error.strerror or str(error), hint, error.errno or 0)


def _joined(why: str, hint: str) -> str:
    return f"{why}; {hint}" if hint else why


def _last_lines(data: bytes) -> tuple[str, ...]:
    text = data.decode("utf-8", "replace")
    return tuple(printable(line) for line in text.splitlines()[-_TAIL_LINES:])
