"""What is put on record of a node, and taken back."""

from __future__ import annotations

from contextlib import suppress

from multi import decide, observe
from multi.act.waits import WriteWait
from multi.codec import encode
from multi.decide import restart
from multi.machine import File, FileWrite, MachineError
from multi.model import record as records
from multi.model.event import Adopted, Exited, GaveUp, Retrying, Skipped
from multi.model.node import Known
from multi.model.process import Proc
from multi.model.record import Record
from multi.model.schedule import FOREVER
from multi.model.step import Finish, GiveUp, PutOff, Take
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from multi.act.waits import Answer, Wait, Walk
    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.process import ProcessTable
    from multi.model.record import Cgroup
    from multi.model.request import Request
    from multi.model.state import State
    from multi.model.step import Adopt

    Writing = Generator[WriteWait, Answer, None]

# What lies beside the pidfile and goes with the record. The lock is not among it, and a log lies elsewhere.
_FORGOTTEN = (".notify", ".heartbeat", ".health", ".sock", ".history", ".output")
_NOTE_EVERY = 1.0  # seconds between two statuses of a stopping node that are put on record


class Journal:
    """The files of one node. `found` is the record at the last look, `record` the one that is on disk now."""

    def __init__(self, node: Node, machine: Machine, asker: Callable[[], str] = str) -> None:
        """Know no record yet. `asker` says who asks for all this, where anything will be done."""
        self.node = node
        self.found: Record | None = None
        self.record: Record | None = None
        self.runner: Proc | None = None  # the `multi run` that holds the node, if it lives
        self._machine = machine
        self._asker = asker
        self.typed = machine.now()  # when our command was, see `overruled`
        self.killed = False  # whether the process was KILLed before the lock was ours
        self._unasked: Record | None = None  # what was on record before a request of which the node knows nothing yet
        self._noted = float("-inf")  # when a status was put on record last

    def overruled(self, *, kills: bool = False) -> str:
        """Who has asked for a stop, or with `kills` for a kill, since our command was typed: nobody is empty."""
        asked = self._machine.asked(self.node.name, self.node.lockfile)
        return "" if asked is None or asked.at <= self.typed or kills > asked.kills else asked.who

    def save(self, record: Record, pid: int | None = None) -> Writing:
        """Write the record, and the pidfile where there is a `pid` for it. Raises `MachineError`."""
        yield WriteWait((_write_of(record), *(() if pid is None else (_pidfile_of(self.node, pid),))))
        self.record = record

    def save_at_once(self, record: Record) -> None:
        """The same for a walk that is over and cannot wait any more."""
        (error,) = self._machine.write([_write_of(record)])
        if error is not None:
            raise error
        self.record = record

    def request(self, proc: Proc, desired: str) -> Writing:
        """Put on record what is asked of the node before it is done, so that a command that is cut off can be resumed.

        From now on the record of an earlier process is about this one: another tool has started the node since. A full
        disk must not prevent a stop. It prevents the stop of a restart: the start would fail, and the node stay down.
        """
        record = self.record
        if record is None or (record.proc == proc and record.desired == desired):
            return
        try:
            by = self._asker() if desired == records.WANTED_STOPPED else ""
            yield from self.save(record.requested(desired, proc, self._machine.wall(), by))
        except MachineError:
            if desired != records.WANTED_STOPPED:
                raise
        else:
            self._unasked = record

    def take_back(self) -> Writing:
        """The request on record did not reach the node: the node goes on as before, and so does its record."""
        if self._unasked is None:
            return
        try:
            yield from self.save(self._unasked)
        except MachineError:
            return  # the failure to report is the one that led here
        self._unasked = None

    def gone(self) -> None:
        """The process ended before its signal was sent: what is on record stays."""
        self._unasked = None

    def signalled(self) -> None:
        """The signal of the request is sent. The next command need not send it again."""
        self._unasked = None
        record = self.record
        if record is None or record.desired == records.WANTED_UP or record.signalled:
            return
        try:
            self._machine.amend(record.node.recordfile, records.UNSIGNALLED, records.SIGNALLED)
        except MachineError:
            return  # then it may be sent twice
        self.record = replace(record, signalled=True)

    def ready(self, record: Record, note: str, *, settled: bool) -> Writing:
        """The start of this record has succeeded. Once it is `settled`, too, there is no way back."""
        former, seconds = (None, 0.0) if settled else (record.former, record.settle)
        extra = {**_began(record), **_status(note)}
        yield from self.save(replace(record, phase=records.UP, extra=extra, former=former, settle=seconds))

    def settled(self) -> Writing:
        """The node was well for as long as it was to be watched, so it never goes back to what it was before."""
        if self.record is not None and self.record.former is not None:
            yield from self.save(replace(self.record, former=None, settle=0.0))

    def settled_meanwhile(self, state: State) -> Writing:
        """The same of one that nobody has watched, because the command that started it was cut off."""
        record = self.record
        if record is None or record.former is None:
            return
        from multi.decide.rejected import has_settled

        if has_settled(record, state, self._machine.wall()):
            with suppress(MachineError):  # then the next command does it
                yield from self.settled()

    def note(self, proc: Proc, wait: Wait) -> Writing:
        """Put on record what a stopping node says of itself and what comes next, so that `status` shows it."""
        now, record = self._machine.now(), self.record
        if record is None or record.proc != proc or now < self._noted + _NOTE_EVERY:
            return
        self._noted = now
        try:
            yield from self.save(
                replace(record, extra={**_began(record), **_status(wait.note), **self._work(wait, now)})
            )
        except MachineError:
            return  # the status is an extra; the stop goes on

    def _work(self, wait: Wait, now: float) -> Mapping[str, str]:
        """What a stopping node has in hand, and which signal comes next: texts for the record, by the wall clock."""
        found = {}
        if wait.work is not None:
            from multi.model.work import encode_work

            found = {"tasks": encode_work(wait.work.aged(now - wait.work_at)), "tasks_at": repr(self._machine.wall())}
        if wait.next_signum is not None and wait.next_at is not None and wait.next_at != FOREVER:
            found["next"] = f"{wait.next_signum} {self._machine.wall() + wait.next_at - now!r}"
        return found

    def note_unready(self, said: str) -> Writing:
        """The node runs on: put on record what it said last."""
        if self.record is not None and said:
            extra = {**self.record.extra, **_status(said)}  # the next wait for it needs the rest
            yield from self.save(replace(self.record, extra=extra))

    def failed(self, why: str, status: int | None) -> Writing:
        """Put a start that failed, or an end that nobody asked for, on record, and remove the pidfile."""
        ended = self.record
        if ended is not None:
            yield from self.save(restart.counted(ended, self._machine.wall(), why, status))
        self.clear(ended)

    def reject(self, former: Node, why: str) -> Writing:
        """Put on record that the node is to be as it was, `former`, and that its settings of now are rejected.

        From here on every command that is asked to start it, or to go on with its restart, does so.
        """
        from multi.decide.rejected import digest

        there = self.record or self.found
        if there is None or (there.node, there.desired, there.failure) == (former, records.RESTARTING, why):
            return
        rejected = None if self.node == former else records.Rejected(digest(self.node), self._machine.wall(), why)
        yield from self.save(there.given_up(former, why, rejected))

    def finished(self, how: str) -> Writing:
        """Put on record that the node has ended by itself, as it may."""
        if self.record is not None:
            yield from self.save(self.record.ended(self._machine.wall(), how))

    def given_up(self, why: str) -> Writing:
        """Put on record that the node is not started again; its end is there already."""
        if self.record is not None:
            yield from self.save(replace(self.record, gave_up=why))

    def undo(self, why: str, history: Record | None, *, counts: bool = True, another: bool = False) -> None:
        """Nothing was executed. The record from before stays, so that `restart` can try again.

        `history` is the record that this start would have had, None for one that did not fail but was given up. With
        `counts` it is an end like others. A node that was stopped stays so if its start was given up, or was to be with
        `another` command. Raises `MachineError`.
        """
        if self.taken_over():
            return
        self._machine.remove(self.node.pidfile)
        if self.found is None:
            self._machine.remove(self.node.recordfile)
            return
        found = replace(self.found, proc=None, desired=records.WANTED_UP, failure=why, stopped_at=0.0, stopped_by="")
        if self.found.stopped and (another or history is None):
            found = self.found
        elif history is not None and counts:  # as for one that dies at once, so that `ensure` does not try it for ever
            before = replace(found, failures=history.failures, ends=history.ends, phase=records.STARTING)
            found = restart.counted(before, self._machine.wall(), why)
        self.save_at_once(found)

    def clear(self, ended: Record | None = None) -> bool:
        """Remove all files but the record; False if they are about another process by now.

        The cgroup goes, too: that of the record, or of one that has `ended` and says so no more.
        """
        if self.taken_over():
            return False
        cgroup = observe.cgroup_of(ended or self.record, self._machine)
        if cgroup is not None:
            self._machine.cgroups.remove(cgroup.path, cgroup)
        self._machine.remove(self.node.pidfile)
        self._machine.remove(self.node.notifyfile)
        self.remove_words()
        return True

    def remove_words(self) -> None:
        """Remove the heartbeat and the socket of a process that is gone; only one that speaks has them."""
        if self.node.ready.sign == "word":
            self._machine.remove(self.node.heartbeatfile)
            self._machine.remove(self.node.socketfile)

    def stopped(self, by: str = "") -> Writing:
        """Remove the files, and put on record that the node is stopped. The pidfile goes first: it names no process.

        What cannot be written, as on a full disk, must not start the node again: then a record that says that it is to
        run goes too.
        """
        if not self.clear():
            return
        record = self.record or observe.recall(self.node, self._machine)
        if record is None:
            self._machine.remove(self.node.recordfile)
            return
        try:
            yield from self.save(record.ended(self._machine.wall(), by or self._asker()))
        except MachineError:
            if record.desired != records.WANTED_STOPPED:
                self._machine.remove(self.node.recordfile)

    def forget(self) -> None:
        """Remove all that is kept of the node."""
        for suffix in _FORGOTTEN:
            self._machine.remove(self.node.stem + suffix)
        self._machine.remove(self.node.recordfile)  # the last, so that what is cut off is done again
        self.found = self.record = None

    def token_of(self, proc: Proc, processes: ProcessTable) -> str:
        """What the processes of its tree carry, as far as is known."""
        if self.record is not None and self.record.proc == proc:
            return self.record.token
        return observe.adopted_token(proc, processes)

    def record_of(self, main: Proc, token: str) -> Record | None:
        """The record, if it is about this main process; one that is gone has no start id here."""
        record = self.record
        same = record is not None and record.proc is not None and record.proc.pid == main.pid and record.token == token
        return record if same and record is not None and main in {record.proc, Proc(main.pid, "")} else None

    def taken_over(self) -> bool:
        """Whether the files are about another process by now.

        That needs the loss of our lock: a user who removes the lock file takes it from us, and we are not told.
        """
        if self._machine.holds(self.node.name):
            return False
        there = observe.recall(self.node, self._machine)
        ours = self.record.proc if self.record is not None else None
        return there is not None and there.proc is not None and there.proc != ours


def put_on_record(step: PutOff | GiveUp | Finish | Take, journal: Journal, runner: Proc | None) -> Walk:
    """Put on record what becomes of a node that has ended by itself, or that `runner` holds from now on."""
    name = journal.node.name
    if isinstance(step, Take):
        if journal.record is not None:
            yield from journal.save(replace(journal.record, runner=runner))
        yield Adopted(name, step.proc.pid, "its 'multi run' is gone")
        return True
    pid, status = step.pid, step.status
    match step:
        case Finish():
            yield from journal.finished(f"itself, with exit status {restart.exit_code(step.status)}")
            yield Exited(name, pid, step.status)
        case PutOff(after, ended=ended):
            yield from journal.failed(ended, status)
            yield Retrying(name, pid, ended, after, status)
        case GiveUp(why, ended=ended):
            if pid is not None:
                yield from journal.failed(ended, status)
            yield from journal.given_up(why)
            yield GaveUp(name, pid, why, status)
            return False
    return True


def adopt(step: Adopt, request: Request, processes: ProcessTable, journal: Journal, machine: Machine) -> Walk:
    """Give the process its files again. If it is to be ended, a file that cannot be written does not prevent that."""
    proc, node, old = step.proc, journal.node, journal.record
    runs = decide.resolve_lost(request, node, observe.command_of(proc.pid, machine)) if old is None else old.node
    known = isinstance(runs.command, Known)
    pidfile = _pidfile_of(node, proc.pid)
    there = machine.read(node.pidfile, records.PIDFILE_LIMIT)
    if not known and isinstance(there, File) and there.data == pidfile.data:
        if request.traits.spawns:
            yield Skipped(node.name, proc.pid, decide.ALREADY_RUNNING)
        return True
    record = Record(
        node=runs,
        proc=proc,
        token=observe.adopted_token(proc, processes) or journal.token_of(proc, processes),
        started=processes.wall - processes.by_pid[proc.pid].age,
        restarts=0 if old is None else old.restarts,
        owner=None if old is None else old.owner,
        runner=None if old is None else old.runner,
        cgroup=_cgroup(proc, observe.adopted_token(proc, processes), node.name, machine),
        rejected=None if old is None else old.rejected,
    )
    try:
        if known:
            yield from journal.save(record, proc.pid)
        else:  # a record would have to make up a command, and a start would run that
            yield WriteWait((pidfile,))
    except MachineError:
        if not request.traits.ends:
            raise
        return True
    yield Adopted(node.name, proc.pid, step.why)
    return True


def _cgroup(proc: Proc, token: str, name: str, machine: Machine) -> Cgroup | None:
    """The cgroup that was made for this very start, found by where the process is."""
    from multi.model.cgroup import name_of

    cgroup = machine.cgroups.of(proc) if token else None
    return cgroup if cgroup is not None and cgroup.path.endswith(f"/{name_of(name, token)}") else None


def _began(record: Record) -> dict[str, str]:
    """Where its log began, for as long as it runs."""
    began = record.extra.get(records.LOG_BEGAN)
    return {} if began is None else {records.LOG_BEGAN: began}


def _status(text: str) -> dict[str, str]:
    return {"status": text.replace("\0", "?")} if text else {}  # a datagram may hold a NUL, a record may not


def _pidfile_of(node: Node, pid: int) -> FileWrite:
    return FileWrite(node.pidfile, records.encode_pid(pid), node.uid, node.gid)


def _write_of(record: Record) -> FileWrite:
    """The file of a record. It holds the configured environment, so only its owner may read it.

    The owner of a record is its authority: root's may ask for what only root can grant. A record that the node's user
    wrote stays that user's, whoever writes it again. One that is root's stays root's, for the user's own group to read;
    the group that the node runs with may not be the user's.
    """
    node = record.node
    data = encode(record)
    if len(data) > records.RECORD_LIMIT:  # no command would believe it, so none could stop the node
        why = (
            f"its command and environment take {len(data)} bytes there, and {records.RECORD_LIMIT} at most can be read"
        )
        raise MachineError(
            f"cannot put {node.name} on record", why, "let the worker read some of it from a file itself"
        )
    if record.owner:
        return FileWrite(node.recordfile, data, str(record.owner), None, private=True)
    return FileWrite(node.recordfile, data, node.uid, None, private=True, ours=True)
