"""What is true of each node now: reads pidfile, record and process table, and judges.

The reading and the judging are apart: `look_at` gathers the evidence through the machine, `judge` is a
pure function of it. The rule is to fail closed: what cannot be proved to be the node is `Unsure`, and
nothing may be done to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from multi.machine import File, MachineError, Unreadable
from multi.model import record as records
from multi.model.node import Known, Unknown
from multi.model.process import Proc
from multi.model.record import DamagedError, Record, Word
from multi.model.state import Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.value import dataclass, field, replace
from multi.words import names as naming

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multi.machine import Machine, Me
    from multi.model.node import Command, Node
    from multi.model.process import Instance, ProcessInfo, ProcessTable

_OLDER = 0.02  # seconds: two ticks of the slowest clock that file times are taken from (CONFIG_HZ=100)
_HALF_A_TICK = 0.005  # seconds; starts are counted in hundredths, so less is no difference
_OTHERS_WRITE = 0o022
_NO_USERS: Mapping[int, str] = MappingProxyType({})
_OUR_OUTPUT = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")  # a log there is an open descriptor of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that `judge` may know of one node.

    `notify` is what the process itself has left of what it said, where a start has not heard it say READY. `cmdline`
    and `exists` are about the process that the pidfile names, `hidden` is whether there is one with the pid that the
    record names which the census cannot see. `node_uid` is the user the node is to run as (None: whoever starts it),
    `users` the names of others whom its files belong to.
    """

    pidfile: File | Unreadable | None
    record: File | Unreadable | None
    notify: File | Unreadable | None = None
    cmdline: tuple[str, ...] = ()
    exists: bool = False
    hidden: bool = False
    node_uid: int | None = None
    users: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What still runs of a tree whose main process is gone. `main` has no start id: nobody can prove one any more."""

    main: Proc
    token: str
    processes: tuple[ProcessInfo, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """The sighting, the record behind it where there is a sound one, and what a dead node has left running.

    `probes` are commands that asked for the node's health; when no `multi` is at work on it, nobody waits for them.
    """

    state: State
    record: Record | None
    leftovers: tuple[Leftover, ...] = ()
    probes: tuple[Leftover, ...] = ()


def look_at(node: Node, processes: ProcessTable, machine: Machine) -> Observation:
    """Gather the evidence of one node, against a process table that is not older than the question."""
    me = machine.me()
    pidfile = machine.read(node.pidfile, records.PIDFILE_LIMIT)
    record = machine.read(node.recordfile, records.RECORD_LIMIT)
    cmdline: tuple[str, ...] = ()
    exists = False
    if isinstance(pidfile, File):
        pid = _pid_of(pidfile)
        if isinstance(pid, int) and pid > 1:
            cmdline = machine.cmdline(pid)
            exists = pid in processes.by_pid or machine.exists(pid)
    before, _ = _record_of(node, record)
    said = machine.read(node.notifyfile, records.NOTIFY_LIMIT) if before is not None and _unheard(before) else None
    proc = None if before is None else before.proc
    hidden = proc is not None and proc.pid not in processes.by_pid and machine.exists(proc.pid)
    node_uid = machine.uid_of(node.uid) if node.uid is not None else None
    owners = {file.uid for file in (pidfile, record) if isinstance(file, File)} - {0, me.uid, node_uid}
    evidence = Evidence(
        pidfile=pidfile,
        record=record,
        notify=said,
        cmdline=cmdline,
        exists=exists,
        hidden=hidden,
        node_uid=node_uid,
        users={uid: machine.user_name(uid) for uid in owners},
    )
    return replace(judge(node, evidence, processes, me), probes=_probes(node, processes, node_uid, me))


def judge(node: Node, evidence: Evidence, processes: ProcessTable, me: Me) -> Observation:
    """What is true of the node, given the evidence. Pure."""
    seen = _judge(node, evidence, processes, me)
    match seen.state:
        case Up(proc) | Stopping(proc) | Lost(proc) if processes.by_pid[proc.pid].suspended:
            return replace(seen, state=replace(seen.state, suspended=True))
        case _:
            return seen


def _judge(node: Node, evidence: Evidence, processes: ProcessTable, me: Me) -> Observation:
    for path, file in ((node.pidfile, evidence.pidfile), (node.recordfile, evidence.record)):
        doubt = _distrust(path, file, evidence.node_uid, me, evidence.users)
        if doubt:
            return Observation(Unsure(doubt), None)
    record, damage = _record_of(node, evidence.record)
    if record is not None and _unheard(record):
        record = _heard(record, _word(record, evidence.notify, evidence.node_uid, me), processes.at)
    if record is not None and record.proc is not None:
        info = processes.by_pid.get(record.proc.pid)
        if info is not None and info.proc == record.proc and not info.gone:
            if record.node.name != node.name:
                return Observation(_somebody_else(node, record.node.name, record.proc.pid), None)
            doubt = _wrong_owner(node.recordfile, evidence.record, info, me)
            state = Unsure(doubt) if doubt else _judge_recorded(node, record, record.proc, evidence, processes)
            return Observation(state, record)
    elsewhere = _elsewhere(node, processes, evidence.node_uid, me)
    state = elsewhere or _judge_unrecorded(node, record, damage, evidence, processes, me)
    if damage and isinstance(state, Dead):
        state = _by_another_way(node, evidence.record, processes) or state
    if isinstance(state, Dead) and evidence.hidden and record is not None and record.proc is not None:
        state = _hidden(node, record.proc, processes, me) or state
    left = leftovers(node, record, processes, evidence.node_uid, me) if isinstance(state, (Dead, Down)) else ()
    if left:
        state = _with_leftovers(state, sum(len(leftover.processes) for leftover in left))
    # What another node left behind in these files is cleared with them, but it is no history of this one.
    return Observation(state, record if record is not None and record.node.name == node.name else None, left)


def _unheard(record: Record) -> bool:
    return record.phase == records.STARTING and record.node.ready.kind == "notify" and record.token != ""


def _word(record: Record, file: File | Unreadable | None, node_uid: int | None, me: Me) -> Word | None:
    """What the process has left of what it said. Only a file of the node's user, or of root, is believed."""
    if not isinstance(file, File) or _distrust(record.node.notifyfile, file, node_uid, me):
        return None
    return records.decode_word(file.data, record.token)


def word(node: Node, record: Record, machine: Machine) -> Word | None:
    """The same, read now. Raises `MachineError` when the node's user does not exist."""
    node_uid = machine.uid_of(node.uid) if node.uid is not None else None
    return _word(record, machine.read(node.notifyfile, records.NOTIFY_LIMIT), node_uid, machine.me())


def _heard(record: Record, said: Word | None, now: float) -> Record:
    """The record with what the process has said while nobody listened."""
    if said is None:
        return record
    extra = {name: value for name, value in record.extra.items() if name not in {"status", "waits"}}
    extra |= {name: text for name, text in (("status", said.status), ("waits", said.waits)) if text}
    settled_at = said.settled_at(record.node)
    ready = settled_at is not None and settled_at <= now
    return replace(record, extra=extra, phase=records.UP if ready else record.phase)


def _with_leftovers(state: State, number: int) -> State:
    running = f"{number} {'process of its tree still runs' if number == 1 else 'processes of its tree still run'}"
    if isinstance(state, Dead):
        return replace(state, why=f"{state.why}; {running}")
    return Dead(f"its main process is gone; {running}")


def _somebody_else(node: Node, other: str, pid: int) -> Unsure:
    short, _, host = other.partition("@")
    way = f"give --hostname={host}" if short == node.short else "give this node another --pidfile"
    return Unsure(f"{node.pidfile} belongs to {other}, which runs as pid {pid}; stop that one first, or {way}")


def _elsewhere(node: Node, processes: ProcessTable, node_uid: int | None, me: Me) -> Unsure | None:
    """Pidfile and record are shared with a container, and the node runs there: their numbers mean nothing here."""
    user = me.uid if node_uid is None else node_uid
    for info, instance in _token_holders(node, processes, me):
        if instance.elsewhere and info.uid == user:
            return Unsure(
                f"pid {info.proc.pid} says that it is {instance.node}, in another PID namespace, as of a container;"
                " run multi there, or give this node another --pidfile"
            )
    return None


def _hidden(node: Node, proc: Proc, processes: ProcessTable, me: Me) -> Unsure | None:
    """The recorded process may well run: /proc hides some even from their own user (hidepid, PR_SET_DUMPABLE).

    One of another boot does not, which start ids begin with.
    """
    mine = processes.by_pid.get(me.pid)
    if mine is not None and mine.proc.start_id.partition(":")[0] != proc.start_id.partition(":")[0]:
        return None
    return Unsure(
        f"{node.recordfile} names pid {proc.pid}, which runs but may not be looked at by this user; run multi as root"
    )


def _by_another_way(node: Node, file: File | Unreadable | None, processes: ProcessTable) -> Unsure | None:
    """The record is of a process that runs and has the same pidfile, but for the way to it: as /var/run and /run."""
    try:
        record = _decoded(file.data) if isinstance(file, File) else None
    except DamagedError:
        return None
    if record is None or record.proc is None:
        return None
    other = record.node.pidfile
    info = processes.by_pid.get(record.proc.pid)
    if info is None or info.gone or info.proc != record.proc or _base(other) != _base(node.pidfile):
        return None
    return Unsure(
        f"{node.recordfile} says that {record.node.name} runs as pid {record.proc.pid} with the pidfile {other}; "
        f"give --pidfile={other}, or remove {node.recordfile} if it is a copy"
    )


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _judge_recorded(node: Node, record: Record, proc: Proc, evidence: Evidence, processes: ProcessTable) -> State:
    """Judge the pidfile of a recorded process that runs."""
    pid = _pid_of(evidence.pidfile)
    other = processes.by_pid.get(pid) if isinstance(pid, int) and pid != proc.pid else None
    if other is not None and not other.gone and _looks_like(node, evidence.cmdline):
        return Unsure(
            f"{node.pidfile} names pid {pid}, {node.recordfile} names pid {proc.pid}, and both run; "
            "end one of them by hand"
        )
    if record.desired != records.WANTED_UP:
        return Stopping(proc, sent=record.signalled)
    if pid is None:
        return Lost(proc, f"its pidfile {node.pidfile} is gone")
    if isinstance(pid, str):
        return Lost(proc, f"its pidfile {node.pidfile} is damaged: {pid}")
    if pid != proc.pid:
        return Lost(proc, f"its pidfile {node.pidfile} names pid {pid} instead")
    return Up(proc, ready=record.phase == records.UP, waits=record.extra.get("waits", ""))


def _judge_unrecorded(  # noqa: PLR0911, PLR0913, PLR0917 -- the evidence in its parts, one return a case
    node: Node, record: Record | None, damage: str, evidence: Evidence, processes: ProcessTable, me: Me
) -> State:
    """No recorded process runs. One that lost its record may, or one that another tool started."""
    holders = main_token_holders(node, processes, evidence.node_uid, me)
    if len(holders) > 1:
        pids = ", ".join(str(info.proc.pid) for info in holders)
        return Unsure(f"pids {pids} all say that they are {node.name}; stop all but one of them by hand")
    if holders:
        other = holders[0].instance.node if holders[0].instance is not None else node.name
        if other != node.name:
            return _somebody_else(node, other, holders[0].proc.pid)
        why = f"its record {node.recordfile} is " + (f"damaged: {damage}" if damage else "gone")
        return Lost(holders[0].proc, why)
    pid = _pid_of(evidence.pidfile)
    if isinstance(pid, int):
        if record is not None and record.proc is not None and record.proc.pid == pid:
            return _dead(record, record.failure or _fate(pid, processes), processes)
        return _judge_foreign(node, pid, evidence, processes, me)
    if record is not None:
        return _dead(record, record.failure or _last_words(record, processes), processes)
    if isinstance(pid, str):
        return Unsure(f"{node.pidfile} names no process: {pid}; look at it, and remove it if the node does not run")
    if damage:
        return Dead(f"the record {node.recordfile} is damaged: {damage}")
    return _down_or_somebodys(node, evidence.node_uid, processes, me)


def _down_or_somebodys(node: Node, node_uid: int | None, processes: ProcessTable, me: Me) -> State:
    """No file and no process: unless root forgot to say whose node it is, and it runs on without its files.

    Root's nodes are not started beside it, and it is not touched: anybody can start a process that says so.
    """
    others = _main_token_holders(node, processes, me) if me.uid == 0 and node_uid is None else ()
    if not others:
        return Down()
    seen = others[0]
    return Unsure(
        f"pid {seen.proc.pid} says that it is {node.name}, but runs as uid {seen.uid}; "
        f"give --uid {seen.uid} if it is, or end it by hand"
    )


def _dead(record: Record, why: str, processes: ProcessTable) -> Dead:
    on_purpose = record.desired == records.WANTED_STOPPED
    return Dead(why, on_purpose, 0.0 if on_purpose else record.backoff(processes.wall))


def _last_words(record: Record, processes: ProcessTable) -> str:
    return _fate(record.proc.pid, processes) if record.proc is not None else "its last start failed"


def _fate(pid: int, processes: ProcessTable) -> str:
    info = processes.by_pid.get(pid)
    if info is None or info.gone:
        return f"pid {pid} is gone"
    return f"pid {pid} is another process now"


def _judge_foreign(  # noqa: PLR0911 -- one return a case
    node: Node, pid: int, evidence: Evidence, processes: ProcessTable, me: Me
) -> State:
    """A pidfile without a record: from celery itself, an init script, another supervisor.

    The process must be older than the file, run as the file's owner, and look like the node's command.
    """
    assert isinstance(evidence.pidfile, File)  # noqa: S101 -- only a file holds a pid; this is for the type checker
    if pid <= 1 or pid == me.pid:
        return Unsure(f"{node.pidfile} names pid {pid}, which no node can be; look at it, and remove it")
    info = processes.by_pid.get(pid)
    if info is None:
        if evidence.exists:
            return Unsure(
                f"{node.pidfile} names pid {pid}, which runs but may not be looked at by this user; run multi as root"
            )
        return Dead(f"pid {pid} is gone")
    if info.gone:
        return Dead(f"pid {pid} is gone")
    child = _older_child(node, info, evidence, processes, me)
    if child is not None:
        return Dead(f"pid {pid} is another process now: pid {child} came of this node's and is older")
    looks_right = _looks_like(node, evidence.cmdline)
    if processes.wall - info.age > evidence.pidfile.mtime + _OLDER:
        late = f"it started after {node.pidfile} was written"
        if looks_right:  # a clock that was set says so too
            return Unsure(
                f"pid {pid} looks like {node.name}, but {late}; remove the file if that process is another one"
            )
        return Dead(f"pid {pid} is another process now: {late}")
    doubt = _wrong_owner(node.pidfile, evidence.pidfile, info, me)
    if doubt:
        return Unsure(doubt)
    if not looks_right:
        words = " ".join(evidence.cmdline)[:80] or "no command line"
        return Unsure(
            f"{node.pidfile} names pid {pid}, which does not look like {node.name} ({words}); "
            "remove the file if that process is another one"
        )
    return Up(info.proc, ends_on_hup=_ends_on_hup(evidence.cmdline))


def _ends_on_hup(cmdline: tuple[str, ...]) -> bool:
    """Whether it is Celery as a module, as celery multi starts it, without what multi mends (see `celery_ready`).

    Where setproctitle is installed, a worker's title is all that it shows, and that does not tell how it was started.
    """
    if " ".join(cmdline).startswith("[celeryd: "):
        return True
    _, module, *_ = (*cmdline[cmdline.index("-m") :], "") if "-m" in cmdline else ("", "")
    return module == "celery"


def _older_child(node: Node, info: ProcessInfo, evidence: Evidence, processes: ProcessTable, me: Me) -> int | None:
    """A process that says that this pid was its main process, and that is older than what bears the pid now.

    No child is older than its mother, and nobody sets the clock of start ticks. As with remnants, only the processes of
    the node's user are believed.
    """
    user = me.uid if evidence.node_uid is None else evidence.node_uid
    for other, instance in _token_holders(node, processes, me):
        claims = instance.pid == info.proc.pid and other.uid == user
        if claims and other.age > info.age + _HALF_A_TICK:
            return other.proc.pid
    return None


def _looks_like(node: Node, cmdline: tuple[str, ...]) -> bool:
    """Whether a command line can be that of the node.

    Its full name in the words, as celery passes it and as setproctitle shows it; this very pidfile, which it was told
    to write, as Celery's beat is; or else the node's own command.
    """
    if any(_names(word, node.name) or _names(word, node.pidfile) for word in cmdline):
        return True
    if not isinstance(node.command, Known) or not cmdline:
        return False
    ours = [word for word in node.command.words if not word.startswith("--logfile")]
    theirs = [word for word in cmdline if not word.startswith("--logfile")]
    if len(theirs) == len(ours):
        return theirs[1:] == ours[1:] and _same_program(theirs[0], ours[0])
    # For a script the kernel puts its interpreter, and one option at most, before the script's path (execve(2)).
    script = theirs[-len(ours) :]
    return len(theirs) - len(ours) in {1, 2} and script[1:] == ours[1:] and _same_script(script[0], ours[0])


def _names(word: str, name: str) -> bool:
    """Whether a word holds a full name: itself, glued to ``-n``, or with something around it that no name goes on with.

    So ``w1@host`` is neither in ``new-w1@host`` nor in ``w1@host2`` or ``w1@host.example.com``.
    """
    if word == f"-n{name}":
        return True
    at = word.find(name)
    while at >= 0:
        before, after = word[at - 1 : at], word[at + len(name) :][:1]
        if not _in_a_name(before) and not _in_a_name(after):
            return True
        at = word.find(name, at + 1)
    return False


def _in_a_name(character: str) -> bool:
    return character.isalnum() or character in {".", "-", "_", "@"}


def _same_program(one: str, other: str) -> bool:
    """The same file name. A Python goes by many names: ``python``, ``python3.12``, ``pypy3``."""
    names = one.rpartition("/")[2], other.rpartition("/")[2]
    return names[0] == names[1] or all(name.startswith(("python", "pypy")) for name in names)


def _same_script(theirs: str, ours: str) -> bool:
    return theirs == ours if "/" in ours else theirs.endswith(f"/{ours}")


def main_token_holders(node: Node, processes: ProcessTable, node_uid: int | None, me: Me) -> tuple[ProcessInfo, ...]:
    """The living main processes that say in their environment that they are this node."""
    user = me.uid if node_uid is None else node_uid
    return tuple(info for info in _main_token_holders(node, processes, me) if info.uid == user)


def _main_token_holders(node: Node, processes: ProcessTable, me: Me) -> tuple[ProcessInfo, ...]:
    return tuple(info for info, instance in _token_holders(node, processes, me) if instance.pid == info.proc.pid)


def _token_holders(node: Node, processes: ProcessTable, me: Me) -> Iterator[tuple[ProcessInfo, Instance]]:
    """Every living process that says that it came of this node."""
    for info in processes.by_pidfile.get(node.pidfile, ()):
        if info.instance is not None and not info.gone and info.proc.pid != me.pid:
            yield info, info.instance


def leftovers(
    node: Node, record: Record | None, processes: ProcessTable, node_uid: int | None, me: Me
) -> tuple[Leftover, ...]:
    """What a node whose main process is gone has left running: children that outlived it.

    Nothing where `kill_mode` is ``process``: there they are meant to. The carriers of a token are found also when the
    record is gone; only those of the node's user count, so nobody can make another user's processes look like these.
    """
    if node.kill_mode != "mixed":
        return ()
    user = me.uid if node_uid is None else node_uid
    mains = {
        (instance.pid, instance.token) for info, instance in _token_holders(node, processes, me) if info.uid == user
    }
    if record is not None and record.proc is not None and record.token:
        mains.add((record.proc.pid, record.token))
    found: list[Leftover] = []
    for pid, token in sorted(mains):
        main = Proc(pid, "")
        infos = tree(main, token, processes, me, [info.proc for info in processes.by_token.get(token, ())])
        if infos:
            found.append(Leftover(main, token, infos))
    return tuple(found)


def _probes(node: Node, processes: ProcessTable, node_uid: int | None, me: Me) -> tuple[Leftover, ...]:
    """What runs of the node's probes, whatever its `kill_mode` says of its children."""
    user = me.uid if node_uid is None else node_uid
    holders = [(info, instance) for info, instance in _token_holders(node, processes, me) if instance.probe]
    mains = {(instance.pid, instance.token) for info, instance in holders if info.uid == user}
    return tuple(
        Leftover(Proc(pid, ""), token, tree(Proc(pid, ""), token, processes, me, probes=True))
        for pid, token in sorted(mains)
    )


def _pid_of(file: File | Unreadable | None) -> int | str | None:
    """The pid in the file, the reason why there is none in it, or None without a file."""
    if not isinstance(file, File):
        return None
    try:
        return records.decode_pid(file.data)
    except DamagedError as error:
        return str(error)


@lru_cache(maxsize=1)
def _decoded(data: bytes) -> Record:
    """The one that was looked at is the next that is judged, so it is read once."""
    return records.decode(data)


def _record_of(node: Node, file: File | Unreadable | None) -> tuple[Record | None, str]:
    """The sound record in the file, or what is wrong with it."""
    if not isinstance(file, File):
        return None, ""
    try:
        record = _decoded(file.data)
    except DamagedError as error:
        return None, str(error)
    if not naming.is_full_name(record.node.name):
        return None, "its name is none that a node can have"
    if record.node.pidfile != node.pidfile:
        # A copy or a link from elsewhere says nothing about what belongs here.
        return None, f"it is about the pidfile {record.node.pidfile}"
    return replace(record, owner=file.uid), ""


def _distrust(
    path: str, file: File | Unreadable | None, node_uid: int | None, me: Me, users: Mapping[int, str] = _NO_USERS
) -> str:
    """Why the file must not be believed; empty when it may. `users` are the names of its possible owners."""
    if file is None:
        return ""
    if isinstance(file, Unreadable):
        return f"{path} cannot be read: {file.why}; {file.hint}"
    if file.uid not in {0, me.uid, node_uid}:
        name = users.get(file.uid, "")
        user, shown = (name, f" ({name})") if name and name != str(file.uid) else (str(file.uid), "")
        return (
            f"{path} belongs to uid {file.uid}{shown}, not to this node's user; "
            f"give --uid {user} if it is that user's node; if it was until now, 'multi stopwait --uid={user}' "
            "stops it; remove the file if it was planted"
        )
    if me.uid == 0 and file.mode & _OTHERS_WRITE:
        return f"{path} can be written by others (mode {file.mode:04o}); look at it, then chmod go-w {path}"
    return ""


def _wrong_owner(path: str, file: File | Unreadable | None, info: ProcessInfo, me: Me) -> str:
    """A file can only ever name a process of its own owner, except root's."""
    if isinstance(file, File) and file.uid not in {0, info.uid}:
        return (
            f"{path} belongs to uid {file.uid} but names pid {info.proc.pid}, which runs as uid {info.uid}; "
            "remove the file if it was planted"
        )
    if me.uid not in {0, info.uid}:
        return f"pid {info.proc.pid} runs as uid {info.uid}; run multi as that user or as root"
    return ""


# --- what is recorded in a directory --------------------------------------------------------------


def recall(node: Node, machine: Machine) -> Record | None:
    """The sound and trustworthy record of this node, if there is one.

    One of the same short name counts too: the host's name may have changed since, the pidfile has not. Raises
    `MachineError` when the node's user does not exist.
    """
    file = machine.read(node.recordfile, records.RECORD_LIMIT)
    record, _ = _record_of(node, file)
    if record is None or record.node.short != node.short:
        return None
    return _believed(record, file, node.uid, machine)


def recorded(rundir: str, machine: Machine, asked: str | None = None) -> tuple[Record, ...]:
    """The records in a run directory, by file name. What is damaged or not to be trusted is passed over.

    `asked` is the user whose nodes are asked for.
    """
    return survey(rundir, machine, asked)[0]


def survey(rundir: str, machine: Machine, asked: str | None = None) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """The records in a run directory that are believed, and those that are sound, but not to be trusted."""
    found: list[Record] = []
    doubted: list[Record] = []
    for path in machine.listing(rundir, ".json"):
        file = machine.read(path, records.RECORD_LIMIT)
        if not isinstance(file, File):
            continue
        try:
            record = replace(records.decode(file.data), owner=file.uid)
            if record.node.recordfile != path or not naming.is_full_name(record.node.name):
                continue  # copied from elsewhere, or written by hand
        except DamagedError:
            continue
        try:
            believed = _believed(record, file, asked, machine)
        except MachineError:
            believed = None  # it names a user whom there is none of
        if believed is not None:
            found.append(believed)
        else:
            doubted.append(record)
    return tuple(found), tuple(doubted)


def _believed(record: Record, file: File | Unreadable | None, asked: str | None, machine: Machine) -> Record | None:
    """The record as far as whoever wrote it may say it, `asked` being the user that was asked for now.

    Root and we may say anything. As root, what the node's own user wrote may only ever do what that user could do.
    """
    me = machine.me()
    if not isinstance(file, File) or (me.uid == 0 and file.mode & _OTHERS_WRITE):
        return None
    if file.uid in {0, me.uid}:
        return record
    user = record.node.uid if asked is None else asked
    if me.uid != 0 or user is None or machine.uid_of(user) != file.uid:
        return None
    return replace(record, node=_as_asked_by(user, record.node, machine))


def _as_asked_by(user: str, node: Node, machine: Machine) -> Node:
    """The node without what only root could have granted: a group, limits, a niceness, a directory made somewhere.

    Nor does it get root's own output, of which a terminal can be read as well.
    """
    ours = node.logfile.startswith(_OUR_OUTPUT)
    elsewhere = node.logfile.startswith(("/dev/", "/proc/"))
    there = not ours and (elsewhere or machine.kind(node.logfile.rpartition("/")[0]) == "directory")
    return replace(
        node,
        uid=user,
        gid=None,
        rlimits=(),
        nice=None if node.nice is None or node.nice < 0 else node.nice,
        logfile=node.logfile if there else node.stem + ".log",
    )


def tree(  # noqa: PLR0913 -- what decides who belongs to it
    main: Proc, token: str, processes: ProcessTable, me: Me, known: Iterable[Proc] = (), *, probes: bool = False
) -> tuple[ProcessInfo, ...]:
    """The living processes of a node's tree, the main process excluded; with `probes` those of its probes alone.

    Members are the descendants of the main process and of every member known from before, the carriers
    of the instance token, and the process group of the main process while that group is provably still
    the same: the main process or a known member is in it.
    """
    infos = processes.by_pid
    proved = {proc for proc in (main, *known) if proc.pid in infos and infos[proc.pid].proc == proc}
    members = {proc.pid for proc in proved}
    holders = processes.by_token.get(token, ()) if token else ()
    members.update(info.proc.pid for info in holders if is_probe(info) or not probes)
    if any(infos[proc.pid].pgrp == main.pid for proc in proved):
        members.update(info.proc.pid for info in processes.by_group.get(main.pid, ()))
    members.discard(me.pid)  # a worker may run multi on itself; what that starts is no part of the worker's tree
    pending = list(members)
    while pending:
        for info in processes.by_parent.get(pending.pop(), ()):
            pid = info.proc.pid
            if info.instance is not None and info.instance.token != token:
                continue  # a worker may itself run multi: what it started is another node
            if pid not in members and pid != me.pid:
                members.add(pid)
                pending.append(pid)
    return tuple(infos[pid] for pid in sorted(members) if not infos[pid].gone and pid > 1 and infos[pid].proc != main)


def is_probe(info: ProcessInfo) -> bool:
    """Whether it is a command that asks for a node's health, or came of one."""
    return info.instance is not None and info.instance.probe


def kill_order(infos: Iterable[ProcessInfo], processes: ProcessTable) -> tuple[Proc, ...]:
    """The order in which to kill a tree that stands still, so that nobody in it wakes up.

    A process that exits can leave process groups orphaned: those of its children, and its own where it was the last
    tie to the rest of the session, a parent in another group. The kernel sends HUP and CONT to one that has a stopped
    member (_exit(3p), kernel/exit.c), and a handler of HUP then runs. So children come before parents, and in a group
    who is no tie comes before who is one. Nobody's end is waited for: what was stopped and then sent KILL never runs
    again, whichever of them dies first.
    """
    tree = {info.proc.pid: info for info in infos}
    loose: dict[int, list[int]] = {}  # by group
    for pid, seen in tree.items():
        if not _ties(seen, processes):
            loose.setdefault(seen.pgrp, []).append(pid)
    order: dict[int, Proc] = {}
    begun: set[int] = set()
    pending = list(tree)
    while pending:  # depth first: each comes when all who must come before it have come
        pid = pending[-1]
        if pid in begun:
            order.setdefault(pid, tree[pid].proc)
            pending.pop()
            continue
        begun.add(pid)
        children = processes.by_parent.get(pid, ())
        first = [child.proc.pid for child in children if child.proc.pid in tree]
        zombies = [child for child in children if child.gone]  # for the kernel, each is a tie until its parent ends
        for tie in (tree[pid], *zombies):
            if _ties(tie, processes):
                first += loose.get(tie.pgrp, ())
        pending += [other for other in first if other not in begun]
    return tuple(order.values())


def _ties(seen: ProcessInfo, processes: ProcessTable) -> bool:
    """Whether it is what keeps its group from being orphaned: its parent is in another group of the same session."""
    parent = processes.by_pid.get(seen.ppid)
    return parent is not None and parent.session == seen.session and parent.pgrp != seen.pgrp


def adopted_token(proc: Proc, processes: ProcessTable) -> str:
    """The instance token that a process carries, empty when it carries none.

    Empty also when another process with that token names another main process: a token can be stolen, and who carries
    it is killed.
    """
    info = processes.by_pid.get(proc.pid)
    if info is None or info.proc != proc or info.instance is None:
        return ""
    holders = processes.by_token.get(info.instance.token, ())
    own = all(one.instance is not None and one.instance.pid == proc.pid for one in holders)
    return info.instance.token if own else ""


def command_of(pid: int, machine: Machine) -> Command:
    """The command of a process that has no record: its words, but never a title that it gave itself."""
    words = machine.executed(pid)
    return Known(words) if words else Unknown(f"no record tells its command, and pid {pid} shows a title in its place")


def with_explicit(recorded_node: Node, asked: Node, explicit: frozenset[str]) -> Node:
    """The recorded node with what was said explicitly now. Variables and limits add up, one by one."""
    changes = {name: getattr(asked, name) for name in explicit}
    if "startsecs" in explicit:
        changes["startsecs_asked"] = True
    if "env" in explicit:
        said = dict(asked.env)
        changes["env"] = tuple({**dict(recorded_node.env), **said}.items())
        changes["env_files"] = tuple(dict.fromkeys((*recorded_node.env_files, *asked.env_files)))
        kept = (pair for pair in recorded_node.env_read if pair[0] not in said)
        changes["env_read"] = (*kept, *asked.env_read)
    if "rlimits" in explicit:
        limits = {limit[0]: limit for limit in (*recorded_node.rlimits, *asked.rlimits)}
        changes["rlimits"] = tuple(limits.values())
    return replace(recorded_node, **changes)
