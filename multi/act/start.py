"""The half that starts: bring a process to the gate, put it on record, let it run, wait for its proof of readiness."""

from __future__ import annotations

import errno
from contextlib import suppress

from multi import observe
from multi.act import cgroups, ready
from multi.act.stop import Stop, listen
from multi.act.waits import Wait, process_table
from multi.decide import restart
from multi.decide import table as decide
from multi.errors import EXIT_FAILED, EXIT_PERMISSION, MultiError
from multi.machine import INSTANCE, INSTANCE_NODE, INSTANCE_PIDFILE, INSTANCE_PROBE, FileWrite, Launch, MachineError
from multi.model import record as records
from multi.model.event import KILLED_BY, Failed, Readied, Settled, Skipped, Spawned
from multi.model.happening import LaunchFailed, Prepared, Probed
from multi.model.node import Known
from multi.model.process import ProcessTable
from multi.model.record import Record
from multi.text import printable
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from multi.act.journal import Journal
    from multi.act.waits import Answer, Walk, Want
    from multi.check import Obstacle
    from multi.machine import Machine
    from multi.model.event import GaveUp, Retrying
    from multi.model.happening import Happening
    from multi.model.node import Node
    from multi.model.process import Proc
    from multi.model.request import Request, RunOptions
    from multi.typed import TypeVar

    E = TypeVar("E", Failed, Retrying, GaveUp)

_GIVEN_UP = "its last start was given up"  # by the user; nothing is wrong with the node
_ASK_SECONDS = 60.0  # for a machine that does not answer; it gives up a Python itself, before that
_TAIL_BYTES = 16384
_TAIL_LINES = 10
_UNBUFFERED = (("PYTHONUNBUFFERED", "1"),)  # a log is no terminal: Python would keep lines back
_MOST_OUTPUT = 1 << 20  # bytes of what earlier processes have printed on a terminal


class Start:
    """One start of one node. `_tried` is the node as it is started: it may prove less than what is asked of it.

    `former` is what the node goes back to if this start fails, `failure` why it did.
    """

    def __init__(
        self, request: Request, options: RunOptions, journal: Journal, machine: Machine, former: Node | None = None
    ) -> None:
        """Start nothing yet."""
        node, self._former, self.failure = journal.node, former, ""
        self._name = node.name
        self._request, self._options = request, options
        self._journal = journal
        self._machine = machine
        self._fallback = fallback = options.fallbacks.get(node.name)
        self._tried = node if fallback is None or fallback.asks else fallback.instead(node)

    def check(self) -> None:
        """Raise `MachineError` if we may not start it. Root's record may ask for more than we can grant."""
        self._machine.may_launch(_launch_of(self._journal, (), self._options))

    def obstacles(self) -> tuple[Obstacle, ...]:
        """What it would fail of for certain, asked before anything is stopped for it."""
        from multi.check import Obstacle, obstacles

        node = self._journal.node
        try:
            _, node = _with_env_files(node, node, self._load_env_file)
            return tuple(obstacles(node, self._machine))
        except MachineError as error:
            return (Obstacle(node.name, error.what, error.why, error.hint, error.errno),)

    def settle(self) -> Generator[Want, Answer, None]:
        """Find out whether the node's Python can tell when it is ready, if nothing else says so."""
        node, machine, fallback = self._journal.node, self._machine, self._fallback
        if fallback is None or not fallback.asks or not isinstance(node.command, Known):
            return
        try:
            able = machine.notifies(node.name, node.command.words[0], node.uid, node.gid)
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
            self._fallback = None
        else:
            self._tried = fallback.instead(node)

    def run(self, source: str = "") -> Walk:
        """Bring a process to the gate, put it on record, open the gate, and wait until the node is ready.

        `source` says who says its command, see `Spawn`.

        If that is cut off before the gate is open, the process never executes.
        """
        self._read_env_files()
        node, machine = self._journal.node, self._machine
        began = machine.now()
        token = machine.token()
        _make_directories(node, machine)
        env = _environment(self._journal, self._tried, token, self._options, machine)
        launch = _launch_of(
            self._journal, env, self._options, cgroups.path_for(self._journal, token, self._options, machine)
        )
        machine.launch(node.name, launch)
        outcome: Answer = None
        opened = False
        try:
            while not isinstance(outcome, Prepared):
                outcome = yield Wait(began + node.ready_timeout, "ready", 0, began)
                # An `Ended` is of an earlier start: this one ends as `LaunchFailed` until it is prepared.
                if outcome is None or isinstance(outcome, LaunchFailed):
                    failed = _unprepared(node, outcome)
                    self.failure = failed.why
                    yield failed
                    return False
            there = ready.baseline(self._tried, machine)
            phase = records.UP if self._tried.ready.sign == "life" and not self._tried.startsecs else records.STARTING
            record = replace(self._history(), proc=outcome.proc, token=token, phase=phase, extra=there.encoded())
            record = cgroups.entered(record, launch.cgroup, machine)
            yield from self._journal.save(record, outcome.proc.pid)
            self._journal.remove_words()  # of an earlier start, which nobody has cleared
            if not machine.holds(node.name):
                why = "somebody removed or replaced it, so another multi may be at work on this node"
                raise MachineError(f"lost the lock {node.lockfile}", why, "start it again")
            opened = True
        finally:
            if not opened:
                self._send_away(outcome, launch.cgroup)
        machine.open_gate(node.name)
        yield Spawned(node.name, outcome.proc.pid, node.words, source)
        return (yield from self._await_proof(outcome.proc, token, began, there, executed=False))

    def resume(self, proc: Proc, token: str) -> Walk:
        """Another command started it and was cut off: continue that start."""
        machine = self._machine
        with suppress(MachineError):  # it runs already; only a probe that is a command may miss them
            self._read_env_files()
        node, record = self._tried, self._journal.record
        if node.ready.sign == "word":
            listen(node.name, record.token if record is not None else "", machine)
        there = ready.recalled(node, record.extra if record is not None else {}, machine)
        machine.watch(node.name, proc)
        began = machine.now()
        if node.ready.sign == "word" and record is not None:
            # From here on it is heard; what it said before may lie in its file.
            there = replace(there, word=observe.word(node, record, machine))
        return (yield from self._await_proof(proc, token, began, there, executed=True))

    def _send_away(self, outcome: Answer, cgroup: str) -> None:
        """The start was given up before it was on record, so the process at the gate must not execute."""
        self._machine.shut_gate(self._name)
        if cgroup:
            self._machine.cgroups.remove(cgroup)
        try:
            if isinstance(outcome, LaunchFailed):
                self._undo(outcome.why, self._history())
            else:
                self._undo(_GIVEN_UP, None)
        except MachineError:
            return  # what cannot be removed names a process that is gone: the next look sees that

    def _undo(self, why: str, history: Record | None) -> None:
        self._journal.undo(why, history, another=self._request.recorded is None)

    def _read_env_files(self) -> None:
        """Their values go to the process and its probes. The node, which goes on record, knows digests of them."""
        journal = self._journal
        journal.node, self._tried = _with_env_files(journal.node, self._tried, self._load_env_file)

    def _load_env_file(self, path: str) -> bytes:
        """A file that a user's record names is one for that user to open."""
        owner, recorded = self._authority(), self._request.recorded
        if owner and recorded is not None and path in recorded.env_files:
            return self._machine.load_as(path, owner)
        return self._machine.load(path)

    def _authority(self) -> int | None:
        """The user whose record says how the node is to run; None where we say it."""
        taken = self._request.traits.repeats and self._request.recorded is not None
        return self._journal.found.owner if taken and self._journal.found is not None else None

    def _history(self) -> Record:
        """A record of this start, with what is known from the starts before it."""
        found, wall = self._journal.found, self._machine.wall()
        unasked = self._request.traits.unattended  # nobody typed this start
        record = Record(
            node=self._journal.node,
            proc=None,
            started=wall,
            restarts=0 if found is None or found.stopped else found.restarts + unasked,
            owner=self._authority(),
            # The next `run` takes what one that was killed has left, also where it was restarted meanwhile.
            runner=self._options.runner or (self._journal.runner if found is None or found.stopped else found.runner),
            rejected=None if found is None else found.rejected_beside(self._journal.node),
            former=self._former,
            settle=0.0 if self._former is None else self._options.settle,
        )
        if found is None or not unasked:
            return record
        due = self._request.due  # one that reached a limit of its own has not failed
        new = found.proc is not None and found.desired != records.RESTARTING and not (due is not None and due.planned)
        counted = restart.counted(found, wall, "", self._request.status) if new else found
        return replace(record, failures=counted.failures, failed=counted.failed, ends=counted.ends)

    def _await_proof(self, proc: Proc, token: str, began: float, there: ready.Baseline, *, executed: bool) -> Walk:
        """Wait until it is ready, and put on record what came of it."""
        machine = self._machine
        proof = proved(self._tried, proc, machine, token=token, began=began, there=there, executed=executed)
        verdict = yield from proof
        if isinstance(verdict, ready.Disproof):
            return (yield from self._unready(proc, token, verdict, there.offset))
        note = verdict.note if self._fallback is None else self._fallback.note
        record = self._journal.record
        seconds = self._options.settle
        if record is not None and (executed or record.phase != records.UP):
            yield from self._journal.ready(record, note, settled=not seconds)
        yield Readied(self._name, proc.pid, machine.now() - began, verdict.how, note)
        if seconds:
            from multi.act import settle

            trouble = yield from settle.watch(self._journal.record, proc, seconds, machine)
            if trouble is not None:
                return (yield from self._unready(proc, token, trouble, there.offset))
            yield from self._journal.settled()
            yield Settled(self._name, proc.pid, seconds)
        return True

    def _unready(self, proc: Proc, token: str, verdict: ready.Disproof, offset: int) -> Walk:
        """The start failed: stop what is left of it, keep on record why, show what it printed."""
        node, machine, journal = self._journal.node, self._machine, self._journal
        verdict = replace(verdict, why=cgroups.explained(verdict.why, journal.record, machine, ended=verdict.ended))
        if verdict.ended and (by := journal.overruled(kills=True)):
            verdict = replace(verdict, why=f"{verdict.why}; {KILLED_BY} ({by})")
        self.failure = verdict.why
        failed = Failed(node.name, proc.pid, _joined(verdict.why, verdict.hint), verdict.status)
        if verdict.launched:  # what never ran has said nothing
            failed = with_last_lines(failed, node, machine, offset)
        if verdict.waits and not verdict.ended and self._request.traits.unattended:
            yield from journal.note_unready(verdict.said)
            yield Skipped(node.name, proc.pid, decide.waits_for(verdict.waits))
            return True
        if not verdict.ended and self._options.keep_unready:
            yield replace(failed, why=failed.why + "; left running, as --keep-unready says")
            yield from journal.note_unready(verdict.said)
            return False
        yield failed
        if not verdict.launched:
            self._undo(verdict.why, self._history())
            return False
        if self._former is not None:  # whoever finds the node from now on, goes on with it as it was
            yield from journal.reject(self._former, verdict.why)
        stop = Stop(proc, token, journal, machine)
        if verdict.ended:
            yield from stop.sweep(machine.now())
        elif not (yield from stop.by(node.stop, first_sent=False)):
            return False  # it survived its own stop: its files must go on naming it
        if self._former is None:
            yield from journal.failed(verdict.why, verdict.status)
        return False


def _environment(
    journal: Journal, tried: Node, token: str, options: RunOptions, machine: Machine
) -> tuple[tuple[str, str | None], ...]:
    name, watchdog = journal.node.name, _watchdog(tried)
    keep = watchdog is not None and options.runner is not None  # it is to be heard as long as we stay
    # A NOTIFY_SOCKET of our own caller is not the node's: its READY would be taken for ours.
    speaks = watchdog is not None or tried.ready.sign == "word"
    notify = machine.notify_address(name, token, keep=keep) if speaks else None
    return (
        ("WATCHDOG_USEC", watchdog),  # our caller's is for us to answer
        ("WATCHDOG_PID", None),
        *tried.env,  # before the rest, so that nothing of it can stand for what says which node this is
        (INSTANCE, token),
        (INSTANCE_NODE, name),
        (INSTANCE_PIDFILE, journal.node.pidfile),
        (INSTANCE_PROBE, None),
        ("NOTIFY_SOCKET", notify),
    )


def _make_directories(node: Node, machine: Machine) -> None:
    machine.make_directory(node.rundir, node.uid, node.gid)
    logs = node.logfile.rpartition("/")[0] or "/"
    # One that is there may be reached through links of the node's user, who opens the log as well.
    if node.logs_to_file and machine.kind(logs) != "directory":
        machine.make_directory(logs, node.uid, node.gid)
    if node.logfile == node.outputfile:
        _renew(node, machine)


def _renew(node: Node, machine: Machine) -> None:
    """Make the log that `run` shows: whoever makes it owns it, and one that has grown begins anew."""
    if not machine.kind(node.outputfile) or machine.size(node.outputfile) > _MOST_OUTPUT:
        for error in machine.write([FileWrite(node.outputfile, b"", node.uid, node.gid, private=True)]):
            if error is not None:
                raise error


def _launch_of(
    journal: Journal, env: tuple[tuple[str, str | None], ...], options: RunOptions, cgroup: str = ""
) -> Launch:
    node = journal.node
    shown = options.shown or node.logfile == node.outputfile
    return Launch(
        argv=node.words,
        env=(*_UNBUFFERED, *env) if shown else env,
        logfile=node.logfile,
        workdir=node.workdir,
        uid=node.uid,
        gid=node.gid,
        umask=node.umask,
        nice=node.nice,
        rlimits=node.rlimits,
        output=None if options.runner else journal.runner,
        cgroup=cgroup,
    )


def _with_env_files(node: Node, tried: Node, load: Callable[[str], bytes]) -> tuple[Node, Node]:
    """The node as it goes on record, and as it is tried, with what its env files hold. Raises `MachineError`."""
    if not node.env_files:
        return node, tried
    from multi.settings import envfile

    try:
        values = envfile.read_env_files(node.env_files, load)
    except MultiError as error:
        number = errno.EPERM if error.exit_code == EXIT_PERMISSION else 0
        raise MachineError(error.word, error.why, error.hint, number) from error
    return envfile.with_digests(node, values), envfile.with_values(tried, values)


def with_last_lines(failed: E, node: Node, machine: Machine, offset: int) -> E:
    """The failure with what the node has printed last, since its log had `offset` bytes."""
    try:
        printed = machine.log_begin(node.name, node.logfile, _TAIL_BYTES, offset)
    except MachineError as error:
        unread = _joined(failed.why, str(error))
        return replace(failed, why=unread) if node.logs_to_file else replace(failed, logfile=node.logfile)
    lines = printed.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    return replace(failed, log_tail=tuple(map(printable, lines)), logfile=node.logfile)


def _watchdog(node: Node) -> str | None:
    """What belongs in WATCHDOG_USEC, sd_notify(3)."""
    alive = node.alive
    return str(round(float(alive.what) * 1e6)) if alive is not None and alive.sign == "watchdog" else None


def _unprepared(node: Node, outcome: LaunchFailed | None) -> Failed:
    """Why no process of the node stands at the gate."""
    match outcome:
        case LaunchFailed(_, why, hint, number):
            code = EXIT_PERMISSION if number in {errno.EPERM, errno.EACCES} else EXIT_FAILED
            return Failed(node.name, None, _joined(why, hint), exit_code=code)
        case None:
            why = f"could not be set up within {node.ready_timeout:g}s"
            hint = "see whether its --workdir or log lies on a file system that hangs"
            return Failed(node.name, None, _joined(why, hint))


def proved(  # noqa: PLR0913 -- as `ready.prove`
    node: Node, proc: Proc, machine: Machine, *, token: str, began: float, there: ready.Baseline, executed: bool
) -> Generator[Want, Answer, ready.Verdict]:
    """The verdict of `ready.prove`, for whose ports the node's own processes are looked for."""
    proof = ready.prove(node, proc, machine, token=token, began=began, there=there, executed=executed)
    sent: Happening | None = None
    while True:
        try:
            wait = proof.send(sent)
        except StopIteration as stop:
            machine.end_probe(node.name)  # before the tree is stopped, of which it is a part
            verdict: ready.Verdict = stop.value
            return verdict
        answer = yield wait
        if isinstance(answer, Probed) and answer.ok and answer.at is not None:
            processes = yield from process_table()
            answer = own_answer(
                answer, node.ready.what, proc, token=token, processes=processes, machine=machine, taken=there.taken
            )
        assert not isinstance(answer, ProcessTable)  # noqa: S101 -- the loop answers a Wait with a happening
        sent = answer


def own_answer(  # noqa: PLR0913 -- what it depends on, each by its name
    probed: Probed,
    what: str,
    proc: Proc,
    *,
    token: str,
    processes: ProcessTable,
    machine: Machine,
    taken: bool = False,
) -> Probed:
    """A port that accepts proves something only when it is the node's own."""
    if not probed.ok or probed.at is None:
        return probed
    infos = observe.tree(proc, token, processes, machine.me())
    procs = (proc, *(info.proc for info in infos if not observe.is_probe(info)))
    address, listens = probed.at[0], machine.listens(procs, probed.at)
    match listens:
        case "yes":
            return probed
        case "away":
            return replace(probed, why=f"{address} is no address of this machine, so whoever listens there counts")
        case "unknown" if not taken:
            return probed
        case "unknown":
            why = "somebody listened there before it started, and who does now cannot be told"
        case _:
            why = "somebody else listens there ('ss -ltnp' says who), not this node"
    return replace(probed, ok=False, why=f"{what}: {why}")


def _joined(why: str, hint: str) -> str:
    return f"{why}; {hint}" if hint else why
