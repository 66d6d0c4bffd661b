"""What is observed of the nodes of a command: `View`, and looking."""

from __future__ import annotations

from multi.machine import MachineError
from multi.model.node import Node
from multi.model.state import State, Unsure
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.logs import Query, Unseen
    from multi.logs.since import Moment
    from multi.machine import Machine
    from multi.model.cgroup import Counted
    from multi.model.health import Health
    from multi.model.process import Proc, ProcessInfo, ProcessTable
    from multi.model.record import Record
    from multi.model.work import Heartbeat, Pulse, Work
    from multi.observe import Observation

_LAST_LINES = 3
_LOOKS_AGAIN = 3  # each takes a few milliseconds, and no command changes the files of a node as often in that time


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A node, what was observed of it, and its vital signs; None is unknown.

    `uptime` is seconds, `cpu_percent` of one core over the life of the tree, `memory` the tree's resident bytes, or,
    where the kernel counts them for the node's cgroup, what `cgroup` says, which is None for a node without a cgroup,
    `children` how many processes the tree has beside the main one, `restarts` how often it was started again
    without anybody asking for it. `status_text` is what the node last said of itself, `last_lines` are what one that is
    dead printed last. Of one that stops, `work` is what it has in hand, and `next_signum` comes in `next_in` seconds.
    `draining` is since how many seconds it takes no new task, `pulse` what its heartbeat means.
    `health` is what was learnt of its liveness when it was asked last, `asked_ago` seconds ago, and `unhealthy` why it
    has to be restarted. `processes` is its tree, the main process first. `found` says where a node was found that
    nobody asked about, and what to add to ask for it.
    `started` is the wall clock's second at which its process began, `cpu_seconds` are those of the tree, `record` is
    what is on record, and `beat` what the heartbeat says.
    """

    node: Node
    state: State
    uptime: float | None = None
    cpu_percent: float | None = None
    memory: int | None = None
    children: int | None = None
    restarts: int | None = None
    status_text: str = ""
    found: str = ""
    last_lines: tuple[str, ...] = ()
    work: Work | None = None
    next_signum: int | None = None
    next_in: float | None = None
    health: Health | None = None
    asked_ago: float | None = None
    unhealthy: str = ""
    draining: float | None = None
    pulse: Pulse | None = None
    processes: tuple[ProcessInfo, ...] = ()
    started: float | None = None
    cpu_seconds: float | None = None
    record: Record | None = None
    beat: Heartbeat | None = None
    cgroup: Counted | None = None


def look(nodes: Sequence[Node], processes: ProcessTable, machine: Machine) -> tuple[View, ...]:
    """Observe without a lock."""
    found = observations(nodes, processes, machine)
    return tuple(view_of(node, seen, machine) for node, seen in zip(nodes, found, strict=True))


def observations(nodes: Sequence[Node], processes: ProcessTable, machine: Machine) -> list[Observation]:
    """What is true of each; one that is odd, because another command may change its files, is looked at again."""
    from multi.decide import is_odd

    found = [observed(node, processes, machine) for node in nodes]
    doubtful = [index for index, seen in enumerate(found) if is_odd(seen.state)]
    for _ in range(_LOOKS_AGAIN):
        if not doubtful:
            break
        processes = machine.processes()
        before = {index: found[index].state for index in doubtful}
        for index in doubtful:
            found[index] = observed(nodes[index], processes, machine)
        doubtful = [
            index for index in doubtful if is_odd(now := found[index].state) and _words(now) != _words(before[index])
        ]
    return found


def _words(state: State) -> tuple[type, str]:
    return type(state), getattr(state, "why", "")


def observed(node: Node, processes: ProcessTable, machine: Machine) -> Observation:
    """What is true of a node; what the machine refuses to tell is a doubt."""
    from multi import observe

    try:
        return observe.look_at(node, processes, machine)
    except MachineError as error:
        return observe.Observation(Unsure(str(error)), None)


def _last_lines(node: Node, state: State, machine: Machine) -> tuple[str, ...]:
    """Of one that nobody stopped: often they say what it died of."""
    from multi.decide import died

    if not died(state):
        return ()
    from multi.logs import last_lines

    return last_lines(node, _LAST_LINES, machine)


def view_of(node: Node, observation: Observation, machine: Machine, infos: Sequence[ProcessInfo] | None = None) -> View:
    """The node with the vital signs of its tree: of these processes, the main one first, or else of the table's."""
    from multi import observe
    from multi.decide import proc_of

    record = observation.record
    restarts = record.restarts if record is not None else None
    said = record.extra.get("status", "") if record is not None else ""
    proc = proc_of(observation.state)
    if proc is None:
        last = _last_lines(node, observation.state, machine)
        return View(
            node=node, state=observation.state, restarts=restarts, status_text=said, last_lines=last, record=record
        )
    infos = infos or tree_of(observation, proc, machine)
    own = record if record is not None and record.proc == proc else None  # else it has an earlier one's words
    age, cgroup = infos[0].age, None if own is None else observe.counted(own, machine)
    cpu = sum(info.cpu for info in infos) if cgroup is None or cgroup.cpu is None else cgroup.cpu
    memory = None if cgroup is None else cgroup.memory
    work, next_signum, next_in = _NOTHING if own is None else _stopping(own.extra, machine.wall())
    (health, unhealthy), now = _health(node, record, machine), machine.now()
    beat = observe.heartbeat(own, machine) if own is not None and own.node.ready.sign == "word" else None
    meant = None
    if beat is not None:
        from multi.model.work import pulse

        meant = pulse(beat, now)
        if work is None and beat.state == "stopping":
            work = beat.work(now)
    return View(
        node=node,
        state=observation.state,
        uptime=age,
        cpu_percent=round(100 * cpu / age, 1) if age > 0 else 0.0,
        memory=sum(info.rss for info in infos) if memory is None else memory,
        children=len(infos) - 1,
        restarts=restarts,
        status_text="" if own is None else said,
        work=work,
        next_signum=next_signum,
        next_in=next_in,
        health=health,
        asked_ago=None if health is None else max(0.0, now - health.asked),
        unhealthy=unhealthy,
        draining=max(0.0, machine.wall() - own.draining) if own is not None and own.draining else None,
        pulse=meant,
        processes=tuple(infos),
        started=own.started if own is not None and own.started else round(machine.wall() - age),
        cpu_seconds=cpu,
        record=record,
        beat=beat,
        cgroup=cgroup,
    )


def tree_of(observation: Observation, proc: Proc, machine: Machine) -> tuple[ProcessInfo, ...]:
    """Its main process and the others, without what only asks for its health."""
    from multi import observe

    processes, record = observation.processes, observation.record
    token = record.token if record is not None else observe.adopted_token(proc, processes)
    inside, _ = observe.members(record if record is not None and record.proc == proc else None, processes, machine)
    others = observe.tree(proc, token, processes, machine.me(), [info.proc for info in inside])
    return processes.by_pid[proc.pid], *(info for info in others if not observe.is_probe(info))


_NOTHING: tuple[None, None, None] = None, None, None


def _stopping(extra: Mapping[str, str], wall: float) -> tuple[Work | None, int | None, float | None]:
    """What `multi.act.journal` has put on record of a node that stops: its tasks, the next signal, and in how long."""
    if not {"tasks", "next"} & extra.keys():
        return _NOTHING
    from multi.model.work import decode_work
    from multi.text import seconds_in

    work, at = decode_work(extra.get("tasks", "")), seconds_in(extra.get("tasks_at", ""))
    signum, _, due = extra.get("next", "").partition(" ")
    left = seconds_in(due)
    return (
        None if work is None or at is None else work.aged(wall - at),
        int(signum) if left is not None and signum.isascii() and signum.isdigit() else None,
        None if left is None else max(0.0, left - wall),
    )


def _health(node: Node, record: Record | None, machine: Machine) -> tuple[Health | None, str]:
    """What the last command that asked has learnt of its liveness, and why it has to be restarted; nobody is asked."""
    if node.alive is None or record is None:
        return None, ""
    from multi import observe

    health = observe.health(record, machine)
    if health is None or not health.failures:
        return health, ""
    from multi.decide.health import unhealthy

    return health, unhealthy(node, health, machine.now())


def log_moments(
    nodes: Sequence[Node], query: Query, machine: Machine
) -> tuple[Mapping[str, Moment] | None, Sequence[Unseen]]:
    """Since when the lines of each node's log are wanted, by full name, and the nodes whose start is not known.

    None where nobody asked for that.
    """
    if not query.begins:
        return None, ()
    from multi import observe
    from multi.logs import Unseen
    from multi.logs.since import Moment
    from multi.model.record import log_began

    if not query.since_start:
        first = query.since or 0.0 if query.age is None else machine.wall() - query.age
        return {node.name: Moment(first) for node in nodes}, ()
    records = {node.name: observe.recall(node, machine) for node in nodes}
    known = {
        name: Moment(record.started, log_began(record)) for name, record in records.items() if record and record.started
    }
    why = "is not on record as started, so --since-start means nothing for it"
    return known, [Unseen(node, why) for node in nodes if node.name not in known]
