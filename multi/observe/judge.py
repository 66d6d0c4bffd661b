"""From the evidence to the state of a node. Pure.

The rule is to fail closed: what cannot be proved to be the node is `Unsure`, and nothing may be done to it.
"""

from __future__ import annotations

from multi.machine import File, Me, Unreadable
from multi.model import record as records
from multi.model.node import Known, Node
from multi.model.process import Proc, ProcessInfo, ProcessTable
from multi.model.record import Record
from multi.model.schedule import end_text
from multi.model.state import Dead, Down, End, Lost, State, Stopping, Unsure, Up
from multi.observe.evidence import Evidence, believed_word, distrust, pid_in
from multi.observe.tree import Leftover, leftovers, token_holders
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from multi.model.work import Heartbeat

_OLDER = 0.02  # seconds: two ticks of the slowest clock that file times are taken from (CONFIG_HZ=100)
_HALF_A_TICK = 0.005  # seconds; starts are counted in hundredths, so less is no difference
_UNSEEN = "which runs but may not be looked at by this user; run multi as root"
_REMOVE = "remove the file if that process is another one"


@dataclass(frozen=True, slots=True)
class Observation:
    """The state, the record behind it where there is a sound one, and what a dead node has left running.

    `runner` is the `multi run` that holds the node, if that lives.
    `probes` are commands that asked for the node's health; no `multi` waits for them unless it is at work on the node.
    `processes` is the table that it was judged against.
    """

    state: State
    record: Record | None
    leftovers: tuple[Leftover, ...] = ()
    probes: tuple[Leftover, ...] = ()
    runner: Proc | None = None
    processes: ProcessTable = field(default_factory=lambda: ProcessTable(0.0, 0.0, {}), repr=False, compare=False)


def judge(node: Node, evidence: Evidence, processes: ProcessTable, me: Me) -> Observation:
    """What is true of the node, given the evidence."""
    for path, file in ((node.pidfile, evidence.pidfile), (node.recordfile, evidence.record.file)):
        doubt = distrust(path, file, evidence.uid, me, evidence.users)
        if doubt:
            return Observation(Unsure(doubt), None)
    record = evidence.record.record
    if record is not None:
        record = _asked_to_end(_heard(record, evidence, processes.at, me), evidence.heartbeat, processes)
    case = _Case(node, evidence, record, processes, me)
    info = case.running(record)
    state = case.unrecorded() if record is None or info is None else case.recorded(record, info)
    left: tuple[Leftover, ...] = ()
    if isinstance(state, (Dead, Down)) and (
        left := leftovers(node, record, processes, evidence.uid, me, pids=evidence.cgroup)
    ):
        dead = state if isinstance(state, Dead) else Dead("its main process is gone", state.on_record)
        number = sum(len(leftover.processes) for leftover in left)
        running = "process of its tree still runs" if number == 1 else "processes of its tree still run"
        state = replace(dead, why=f"{dead.why}; {number} {running}", by="")
    # A record of another node in these files is cleared with them, but is no history of this one.
    if record is None or record.node.name != node.name:
        return Observation(state, None, left)
    return Observation(state, record, left, runner=case.runner())


def _heard(record: Record, evidence: Evidence, now: float, me: Me) -> Record:
    """The record with what the process has said while no `multi` listened."""
    said = believed_word(record, evidence.notify, evidence.uid, me)
    if said is None:
        return record
    extra = {name: value for name, value in record.extra.items() if name not in {"status", "waits"}}
    extra |= {name: text for name, text in (("status", said.status), ("waits", said.waits)) if text}
    settled_at = said.settled_at(record.node)
    ready = settled_at is not None and settled_at <= now
    return replace(record, extra=extra, phase=records.UP if ready else record.phase)


def _asked_to_end(record: Record, beat: Heartbeat | None, processes: ProcessTable) -> Record:
    """The record with a stop that was asked of the process itself, as by remote control: it is meant, as any other."""
    if beat is None or not beat.stopped_by or record.desired != records.WANTED_UP:
        return record
    at = processes.wall - max(0.0, processes.at - beat.written)
    stopped = replace(record, desired=records.WANTED_STOPPED, signalled=True)
    return replace(stopped, stopped_at=at, stopped_by=beat.stopped_by)


@dataclass(frozen=True, slots=True)
class _Case:
    """One node, and all that its judgement stands on; its files are trusted by now."""

    node: Node
    evidence: Evidence
    record: Record | None
    processes: ProcessTable
    me: Me

    def running(self, record: Record | None) -> ProcessInfo | None:
        """The very process that a record is about, if it runs."""
        proc = None if record is None else record.proc
        info = None if proc is None else self.processes.by_pid.get(proc.pid)
        return None if info is None or info.gone or info.proc != proc else info

    def runner(self) -> Proc | None:
        """The `multi run` that holds the node, if it lives."""
        return self.record.runner if self.record is not None and self._lives(self.record.runner) else None

    def _orphan(self) -> bool:
        return self.record is not None and self.record.runner is not None and self.runner() is None

    def _lives(self, proc: Proc | None) -> bool:
        if proc is None or not self.processes.may_run(proc):
            return False
        boots = (info.proc.start_id.partition(":")[0] for info in self.processes.by_pid.values())
        return next(boots, "") in {"", proc.start_id.partition(":")[0]}  # an older process is known by its ticks alone

    def recorded(self, record: Record, info: ProcessInfo) -> State:
        """The recorded process runs: whose record it is, and whether the pidfile agrees."""
        if record.node.name != self.node.name:
            return _another_node(self.node, record.node.name, info.proc.pid)
        doubt = _wrong_owner(self.node.recordfile, self.evidence.record.file, info, self.me)
        return Unsure(doubt) if doubt else self._by_pidfile(record, info)

    def _by_pidfile(self, record: Record, info: ProcessInfo) -> State:
        node, proc, suspended = self.node, info.proc, info.suspended
        pid = pid_in(self.evidence.pidfile)
        other = self.processes.find(pid) if isinstance(pid, int) and pid != proc.pid else None
        if other is not None and not other.gone and _looks_like(node, self.evidence.cmdline):
            return Unsure(
                f"{node.pidfile} names pid {pid}, {node.recordfile} names pid {proc.pid}, and both run; "
                "end one of them by hand"
            )
        if record.desired != records.WANTED_UP:
            return Stopping(proc, record.signalled, suspended, record.desired == records.RESTARTING)
        if pid == proc.pid:
            ready, waits = record.phase == records.UP, record.extra.get("waits", "")
            return Up(proc, ready, suspended, waits, orphan=self._orphan())
        wrong = "is gone" if pid is None else f"is damaged: {pid}"
        if isinstance(pid, int):
            wrong = f"names pid {pid} instead"
        return Lost(proc, f"its pidfile {node.pidfile} {wrong}", suspended, self._orphan())

    def unrecorded(self) -> State:
        """No recorded process runs. The node may have lost its record, or another tool may have started it.

        Look for it by token, then by pidfile, then by what is recorded of its end.
        """
        state = self._by_token()
        if state is not None:
            return state
        record, damage, file = self.record, self.evidence.record.damage, self.evidence.pidfile
        pid = pid_in(file)
        recorded_pid = record.proc.pid if record is not None and record.proc is not None else None
        if isinstance(file, File) and isinstance(pid, int) and pid != recorded_pid:
            return self._foreign(pid, file)
        if record is not None and record.desired == records.WANTED_STOPPED and file is None:
            unseen = self._hidden()
            return Unsure(unseen) if unseen else self._stopped(record)
        if record is not None:
            fate = "its last start failed" if recorded_pid is None else self._fate(recorded_pid)
            if record.stopped:
                fate = f"its pidfile names no process: {pid}"
            return self._dead(record.failure or fate, record)
        if isinstance(pid, str):
            return Unsure(
                f"{self.node.pidfile} names no process: {pid}; look at it, and remove it if the node does not run"
            )
        return self._dead(f"the record {self.node.recordfile} is damaged: {damage}") if damage else self._down()

    def _by_token(self) -> State | None:
        """What the environments of processes say that came of this node; None when no main process says so."""
        node = self.node
        mains: list[tuple[ProcessInfo, str]] = []
        for info, instance in token_holders(node, self.processes, self.me, self.evidence.uid):
            if instance.elsewhere:  # pidfile and record are shared with a container, and mean nothing here
                return Unsure(
                    f"pid {info.proc.pid} says that it is {instance.node}, in another PID namespace, as of a container;"
                    " run multi there, or give this node another --pidfile"
                )
            if instance.pid == info.proc.pid:
                mains.append((info, instance.node))
        if not mains:
            return None
        if len(mains) > 1:
            pids = ", ".join(str(info.proc.pid) for info, _ in mains)
            return Unsure(f"pids {pids} all say that they are {node.name}; stop all but one of them by hand")
        ((info, name),) = mains
        if name != node.name:
            return _another_node(node, name, info.proc.pid)
        damage = self.evidence.record.damage
        why = "of an earlier start" if self.record is not None and self.record.stopped else "gone"
        why = f"its record {node.recordfile} is " + (f"damaged: {damage}" if damage else why)
        return Lost(info.proc, why, info.suspended)

    def _fate(self, pid: int) -> str:
        info = self.processes.by_pid.get(pid)
        if info is not None and not info.gone:
            return f"pid {pid} is another process now"
        if info is None or info.status is None or self.record is None or info.proc != self.record.proc:
            return f"pid {pid} is gone"
        return f"pid {pid} is gone: {end_text(info.status)}"

    def _foreign(self, pid: int, file: File) -> State:  # noqa: PLR0911 -- one return a case
        """A pidfile without a record of its process: from another tool, an init script, another supervisor.

        The process must be older than the file, run as the file's owner, and look like the node's command.
        """
        node = self.node
        if pid <= 1 or pid == self.me.pid:
            return Unsure(f"{node.pidfile} names pid {pid}, which no node can be; look at it, and remove it")
        info = self.processes.by_pid.get(pid)
        if pid in self.evidence.hidden:
            return Unsure(f"{node.pidfile} names pid {pid}, {_UNSEEN}")
        if info is None or info.gone:
            return self._dead(f"pid {pid} is gone")
        child = self._older_child(info)
        if child is not None:
            return self._dead(f"pid {pid} is another process now: pid {child} came of this node's and is older")
        looks_right = _looks_like(node, self.evidence.cmdline)
        late = f"it started after {node.pidfile} was written"
        if self.processes.wall - info.age > file.mtime + _OLDER:
            if not looks_right:
                return self._dead(f"pid {pid} is another process now: {late}")
            # A clock that was set makes the node's own process look late, too.
            return Unsure(f"pid {pid} looks like {node.name}, but {late}; {_REMOVE}")
        doubt = _wrong_owner(node.pidfile, file, info, self.me)
        if doubt:
            return Unsure(doubt)
        if not looks_right:
            words = " ".join(self.evidence.cmdline)[:80] or "no command line"
            return Unsure(f"{node.pidfile} names pid {pid}, which does not look like {node.name} ({words}); {_REMOVE}")
        return Up(info.proc, suspended=info.suspended, ends_on_hup=_ends_on_hup(node, self.evidence.cmdline))

    def _older_child(self, info: ProcessInfo) -> int | None:
        """A process that says that this pid was its main process, and that is older than what has the pid now.

        No child is older than its parent, and start ticks cannot be set. As with leftovers, only the
        processes of the node's user are believed.
        """
        for other, instance in token_holders(self.node, self.processes, self.me, self.evidence.uid):
            if instance.pid == info.proc.pid and other.age > info.age + _HALF_A_TICK:
                return other.proc.pid
        return None

    def _dead(self, why: str, record: Record | None = None) -> State:
        """Files without a process, unless the process runs where it cannot be seen. `record` is of its last run."""
        unseen = self._hidden() or self._under_another_path()
        if unseen:
            return Unsure(unseen)
        on_purpose = record is not None and record.desired == records.WANTED_STOPPED
        end = None
        if record is not None and not on_purpose:
            info = None if record.proc is None else self.processes.by_pid.get(record.proc.pid)
            status = None if info is None or info.proc != record.proc else info.status
            end = End(record, self.processes.wall, status, self.runner() is not None)
        since, by = (self._since(record), record.stopped_by) if record is not None and on_purpose else (None, "")
        there = self.evidence.record.record
        asked = on_purpose and there is not None and there.desired != records.WANTED_STOPPED
        return Dead(why, on_purpose, end, since, by, asked)

    def _since(self, record: Record) -> float | None:
        """Seconds since it was stopped. A clock that was set back makes no stop of the future."""
        return max(0.0, self.processes.wall - record.stopped_at) if record.stopped_at else None

    def _stopped(self, record: Record) -> State:
        """On record as stopped, unless it is another node that had this pidfile before."""
        down = self._down()
        if isinstance(down, Down) and record.node.short == self.node.short:
            return Down(on_record=True, since=self._since(record), by=record.stopped_by)
        return down

    def _down(self) -> State:
        """No file and no process, unless root left out whose node it is, and the node runs on without its files.

        Root's nodes are not started beside it, and it is not touched: anybody can start a process that says so.
        """
        if self.me.uid == 0 and self.node.uid is None:
            for info, instance in token_holders(self.node, self.processes, self.me, None):
                if instance.pid == info.proc.pid:
                    return Unsure(
                        f"pid {info.proc.pid} says that it is {self.node.name}, but runs as uid {info.uid}; "
                        f"give --uid {info.uid} if it is, or end it by hand"
                    )
        return Down()

    def _hidden(self) -> str:
        """/proc may hide the recorded process even from its own user (hidepid, PR_SET_DUMPABLE).

        A process of an earlier boot does not run; start ids begin with the boot.
        """
        proc = None if self.record is None else self.record.proc
        if proc is None or proc.pid not in self.evidence.hidden:
            return ""
        mine = self.processes.by_pid.get(self.me.pid)
        if mine is not None and mine.proc.start_id.partition(":")[0] != proc.start_id.partition(":")[0]:
            return ""
        return f"{self.node.recordfile} names pid {proc.pid}, {_UNSEEN}"

    def _under_another_path(self) -> str:
        """The record is of a running process whose pidfile is this one by another path, as /var/run and /run."""
        record = self.evidence.record.rejected
        info = self.running(record)
        if record is None or info is None or _base(record.node.pidfile) != _base(self.node.pidfile):
            return ""
        return (
            f"{self.node.recordfile} says that {record.node.name} runs as pid {info.proc.pid} with the pidfile "
            f"{record.node.pidfile}; give --pidfile={record.node.pidfile}, "
            f"or remove {self.node.recordfile} if it is a copy"
        )


def _wrong_owner(path: str, file: File | Unreadable | None, info: ProcessInfo, me: Me) -> str:
    """Why the file must not name this process: only root's file may name a process of another user."""
    if isinstance(file, File) and file.uid not in {0, info.uid}:
        return (
            f"{path} belongs to uid {file.uid} but names pid {info.proc.pid}, which runs as uid {info.uid}; "
            "remove the file if it was planted"
        )
    if me.uid not in {0, info.uid}:
        return f"pid {info.proc.pid} runs as uid {info.uid}; run multi as that user or as root"
    return ""


def _another_node(node: Node, other: str, pid: int) -> Unsure:
    short, _, host = other.partition("@")
    hint = f"give --hostname={host}" if short == node.short else "give this node another --pidfile"
    return Unsure(f"{node.pidfile} belongs to {other}, which runs as pid {pid}; stop that one first, or {hint}")


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _ends_on_hup(node: Node, cmdline: tuple[str, ...]) -> bool:
    """Whether HUP ends a worker that another tool started with this command line, where multi's own restarts."""
    words = " ".join(cmdline)
    return any(words.startswith(text) or f" {text} " in f"{words} " for text in node.hup_ends)


def _looks_like(node: Node, cmdline: tuple[str, ...]) -> bool:
    """Whether a command line can be that of the node.

    It holds the node's full name, as a worker is told it or shows it in its title, or this very pidfile, which a worker
    that writes its own is told; or it is the node's own command. A word holds a name that is glued to ``-n``, or that
    has no character of a name around it: ``w1@host`` is neither in ``new-w1@host`` nor in ``w1@host.example.com``.
    """
    import re

    either = f"{re.escape(node.name)}|{re.escape(node.pidfile)}"
    if any(re.search(rf"\A-n({either})\Z|(?<![\w.@-])({either})(?![\w.@-])", word) for word in cmdline):
        return True
    if not isinstance(node.command, Known) or not cmdline:
        return False
    ours = [word for word in node.command.words if not word.startswith("--logfile")]
    theirs = [word for word in cmdline if not word.startswith("--logfile")]
    if len(theirs) == len(ours):
        return theirs[1:] == ours[1:] and _same_program(theirs[0], ours[0])
    if len(theirs) - len(ours) not in {1, 2}:
        return False
    # For a script the kernel puts its interpreter, and one option at most, before the script's path (execve(2)).
    path, *words = theirs[-len(ours) :]
    return words == ours[1:] and (path == ours[0] if "/" in ours[0] else path.endswith(f"/{ours[0]}"))


def _same_program(one: str, other: str) -> bool:
    """The same file name. A Python goes by many names: ``python``, ``python3.12``, ``pypy3``."""
    names = _base(one), _base(other)
    return names[0] == names[1] or all(name.startswith(("python", "pypy")) for name in names)
