"""Reads what there is of a node through the machine, and of all nodes that are recorded in a directory."""

from __future__ import annotations

from multi.codec import decode
from multi.machine import File, Machine, MachineError, Unreadable
from multi.model import record as records
from multi.model.node import Command, Known, Node, Unknown
from multi.model.process import ProcessInfo, ProcessTable
from multi.model.record import Cgroup, DamagedError, Record, Word
from multi.model.state import Dead
from multi.observe.evidence import OTHERS_WRITE, Evidence, believed_word, decoded, distrust, pid_in
from multi.observe.judge import Observation, judge
from multi.observe.tree import in_cgroup, running_probes
from multi.typed import TYPE_CHECKING
from multi.value import replace
from multi.words.names import is_full_name

if TYPE_CHECKING:
    from multi.model.cgroup import Counted
    from multi.model.health import Health
    from multi.model.work import Heartbeat

_OUR_OUTPUT = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")  # a log there is an open descriptor of ours


def look_at(node: Node, processes: ProcessTable, machine: Machine) -> Observation:
    """Gather the evidence of one node and judge it, against a process table that is not older than the question.

    The table that it was judged against is that of the answer: it tells more where that is needed.
    """
    me = machine.me()
    pidfile = machine.read(node.pidfile, records.PIDFILE_LIMIT)
    found = decoded(node, machine.read(node.recordfile, records.RECORD_LIMIT))
    record, pid = found.record, pid_in(pidfile)
    processes = _enough(processes, record, machine)
    named = [pid] if isinstance(pid, int) and pid > 1 else []
    main = [] if record is None or record.proc is None else [record.proc.pid]
    notify = None
    if record is not None and record.phase == records.STARTING and record.node.ready.sign == "word":
        notify = machine.read(node.notifyfile, records.NOTIFY_LIMIT)  # it may have said READY while no `multi` listened
    uid = uid_of(node, machine)
    beats = record is not None and record.proc is not None and record.node.ready.sign == "word"
    owners = {file.uid for file in (pidfile, found.file) if isinstance(file, File)} - {0, me.uid, uid}
    cgroup = cgroup_of(record, machine)
    pids = frozenset() if cgroup is None else machine.cgroups.pids(cgroup) or frozenset()
    if pids & processes.older.keys():
        processes = machine.reaching(processes, None)
    evidence = Evidence(
        pidfile=pidfile,
        record=found,
        notify=notify,
        heartbeat=heartbeat(record, machine) if beats and record is not None else None,
        cmdline=machine.cmdline(named[0]) if named and named != main else (),
        hidden=frozenset(one for one in named + main if processes.find(one) is None and machine.exists(one)),
        uid=uid,
        users={owner: machine.user_name(owner) for owner in owners},
        cgroup=pids,
    )
    observed = _explained(judge(node, evidence, processes, me), machine)
    return replace(observed, probes=running_probes(node, processes, uid, me), processes=processes)


def _enough(processes: ProcessTable, record: Record | None, machine: Machine) -> ProcessTable:
    """A table with all that can belong to the node: while its main process runs, that is nothing older.

    The main process must show that the token on record was made for it. Another tool may have started it since, or it
    took the place of the one that did, and then older processes can hold the token, too. Whatever else is to be judged,
    as leftovers, is judged by the whole table.
    """
    if processes.since == 0:
        return processes
    proc = None if record is None else record.proc
    if record is not None and proc is not None and processes.may_run(proc):
        processes = machine.reaching(processes, proc)
        info = processes.by_pid.get(proc.pid)
        if info is not None and info.proc == proc and not info.gone and _is_first(info, record.token):
            return processes
    return machine.reaching(processes, None)


def _is_first(info: ProcessInfo, token: str) -> bool:
    instance = info.instance
    return instance is not None and instance.token == token and instance.pid == info.proc.pid


def glance(node: Node, machine: Machine) -> Observation:
    """Judge the node by its files and by the processes that they name: those who ask often need no process table.

    A main process that lost its files is not found, nor is what a dead one has left running.
    """
    pidfile = pid_in(machine.read(node.pidfile, records.PIDFILE_LIMIT))
    record = decoded(node, machine.read(node.recordfile, records.RECORD_LIMIT)).record
    pids = {pidfile} if isinstance(pidfile, int) and pidfile > 1 else set()
    pids |= {record.proc.pid} if record is not None and record.proc is not None else set()
    found = {pid: machine.look(pid) for pid in pids}
    infos = {pid: info for pid, info in found.items() if info is not None}
    return look_at(node, ProcessTable(machine.now(), machine.wall(), infos), machine)


def _explained(observed: Observation, machine: Machine) -> Observation:
    """A death that nobody saw, with what the kernel's log says of it."""
    state, record = observed.state, observed.record
    if not isinstance(state, Dead) or state.on_purpose or record is None or record.proc is None:
        return observed
    said = cause(record, machine)
    return replace(observed, state=replace(state, why=f"{state.why} ({said})", cause=said)) if said else observed


def cgroup_of(record: Record | None, machine: Machine) -> Cgroup | None:
    """The cgroup of the process that is on record, as far as the owner of the record may name one.

    What a user put on record makes root kill nothing that this user could not kill: the cgroup has to be that user's.
    """
    cgroup = None if record is None else record.cgroup
    if record is None or cgroup is None:
        return None
    owner = machine.cgroups.owner(cgroup)
    return cgroup if owner is not None and record.owner in {None, 0, machine.me().uid, owner} else None


def members(
    record: Record | None, processes: ProcessTable, machine: Machine
) -> tuple[tuple[ProcessInfo, ...], Cgroup | None]:
    """Of the tree of the process on record: who is in its cgroup, and that cgroup, where it is the tree's alone."""
    cgroup = cgroup_of(record, machine)
    pids = None if cgroup is None else machine.cgroups.pids(cgroup)
    if record is None or cgroup is None or pids is None:
        return (), None
    infos, alone = in_cgroup(pids, record.token, processes, machine.me())
    return infos, cgroup if alone else None


def counted(record: Record | None, machine: Machine) -> Counted | None:
    """What the kernel has counted for the cgroup of the process that is on record; None where it has none."""
    cgroup = cgroup_of(record, machine)
    return None if cgroup is None else machine.cgroups.counted(cgroup)


def cause(record: Record, machine: Machine) -> str:
    """What the kernel did to the process that is on record and gone; empty where that is nothing, or not known.

    Its log tells of the very process, where it may be read. A cgroup tells of all that were in it.
    """
    said = "" if record.proc is None else machine.kernel_says(record.proc.pid, record.started)
    found = None if said else counted(record, machine)
    if found is None:
        return said
    from multi.model.cgroup import killed_text

    return killed_text(found)


def uid_of(node: Node, machine: Machine) -> int:
    """Whom the node runs as. Raises `MachineError` when there is no such user."""
    return machine.me().uid if node.uid is None else machine.uid_of(node.uid)


def word(node: Node, record: Record, machine: Machine) -> Word | None:
    """What the process wrote of what it said, read now. Raises `MachineError` when the node's user does not exist."""
    file = machine.read(node.notifyfile, records.NOTIFY_LIMIT)
    return believed_word(record, file, uid_of(node, machine), machine.me())


def health(record: Record, machine: Machine) -> Health | None:
    """What the last command that asked has learnt of the process that is on record."""
    from multi.model.health import HEALTH_LIMIT, decode

    data = _believed_bytes(record, record.node.healthfile, 2 * HEALTH_LIMIT, machine)
    return None if data is None else decode(data, record.token)


def _believed_bytes(record: Record, path: str, limit: int, machine: Machine) -> bytes | None:
    """A file beside the record that the node's user may have written; None for one that is not to be believed."""
    file = machine.read(path, limit)
    if not isinstance(file, File):
        return None
    try:
        uid = uid_of(record.node, machine)
    except MachineError:
        return None  # there is no such user
    return None if distrust(path, file, uid, machine.me()) else file.data


def heartbeat(record: Record, machine: Machine) -> Heartbeat | None:
    """The last heartbeat of the process that is on record."""
    from multi.model.work import WORK_LIMIT, decode_heartbeat

    data = _believed_bytes(record, record.node.heartbeatfile, WORK_LIMIT, machine)
    return None if data is None else decode_heartbeat(data, record.token)


def recall(node: Node, machine: Machine) -> Record | None:
    """The sound and trustworthy record of this node, if there is one.

    A record of the same short name counts too: the host's name may have changed since, the pidfile has not. Raises
    `MachineError` when the node's user does not exist.
    """
    found = decoded(node, machine.read(node.recordfile, records.RECORD_LIMIT))
    if found.record is None or found.record.node.short != node.short:
        return None
    return _believed(found.record, found.file, node.uid, machine)


def survey(rundir: str, machine: Machine, asked: str | None = None) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """The believed records in a run directory, by file name, and those that are sound but not to be trusted.

    `asked` is the user whose nodes are asked for.
    """
    found: list[Record] = []
    doubted: list[Record] = []
    for path in machine.listing(rundir, ".json"):
        read = record_at(path, machine, asked)
        if read is not None:
            record, believed = read
            (doubted if believed is None else found).append(believed or record)
    return tuple(found), tuple(doubted)


def recorded_as(rundir: str, machine: Machine) -> str:
    """The run directory by the name that the first sound record in it has for it: by a link there are two, as /var/run.

    Pidfiles are compared by their paths. Only what root or we have written counts.
    """
    for path in machine.listing(rundir, ".json"):
        file = machine.read(path, records.RECORD_LIMIT)
        if not isinstance(file, File) or distrust(path, file, machine.me().uid, machine.me()):
            continue
        try:
            known = decode(file.data).node.rundir
        except DamagedError:
            continue
        if known == rundir or machine.fingerprint(known) == machine.fingerprint(rundir):
            return known
    return rundir


def record_at(path: str, machine: Machine, asked: str | None = None) -> tuple[Record, Record | None] | None:
    """The sound record at a path, as it is and as far as it is believed; `asked` as in `survey`."""
    file = machine.read(path, records.RECORD_LIMIT)
    if not isinstance(file, File):
        return None
    try:
        record = decode(file.data, file.uid)
    except DamagedError:
        return None
    if record.node.recordfile != path or not is_full_name(record.node.name):
        return None  # copied from elsewhere, or written by hand
    try:
        return record, _believed(record, file, asked, machine)
    except MachineError:
        return record, None  # it names a user who does not exist


def _believed(record: Record, file: File | Unreadable | None, asked: str | None, machine: Machine) -> Record | None:
    """The record, as far as its owner may decide; `asked` is the user that was asked for now.

    Root's records and our own are believed in full. For root, a record of the node's own user may only make happen what
    that user could do anyway. Raises `MachineError` when there is no such user.
    """
    me = machine.me()
    if not isinstance(file, File) or (me.uid == 0 and file.mode & OTHERS_WRITE):
        return None
    if file.uid in {0, me.uid}:
        return record
    user = record.node.uid if asked is None else asked
    if me.uid != 0 or user is None or machine.uid_of(user) != file.uid:
        return None
    # What was rejected holds back nodes of others, too, so only who may start those says it.
    return replace(record, node=_as_asked_by(user, record.node, machine), former=None, rejected=None)


def _as_asked_by(user: str, node: Node, machine: Machine) -> Node:
    """The node without what only root could have granted: a group, limits, a niceness, a directory made somewhere.

    Nor does it get root's own output: a terminal can be read as well.
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


def command_of(pid: int, machine: Machine) -> Command:
    """The command of a process that has no record: its words, but never a title that it gave itself."""
    words = machine.executed(pid)
    return Known(words) if words else Unknown(f"no record tells its command, and pid {pid} shows a title in its place")
