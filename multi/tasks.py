"""What each node works on, asked of all at once; and whether each is healthy, on the look of a few files alone."""

from __future__ import annotations

from multi import decide, observe
from multi.machine import NO_SOCKET, MachineError, Question
from multi.model.happening import Answered
from multi.model.work import NO_PULSE, Pulse, Work, pulse, work_of
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.record import Record
    from multi.model.state import State

_NOT_RUNNING = "not running"
_SECONDS = 1.5  # for all answers; a worker that works takes a hundredth of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A node as a few files and the kernel's word on one process show it; `pulse` is what its heartbeat means.

    `work` is what the worker has in hand. Where it has not answered, `why` says so, and `beat_at` when its loop last
    turned, seconds of the wall clock. `able` is false without the plug-in. `unhealthy` is why it is to be restarted, by
    the last verdict on record.
    """

    node: Node
    state: State
    pid: int | None = None
    draining: bool = False
    pulse: Pulse = NO_PULSE
    beat_at: float | None = None
    work: Work | None = None
    why: str = ""
    able: bool = True
    unhealthy: str = ""


def glance(nodes: Sequence[Node], machine: Machine) -> tuple[Glance, ...]:
    """Look at each node, without the process table of the whole machine and without asking anybody."""
    return tuple(_glance(node, machine)[0] for node in nodes)


def ask(nodes: Sequence[Node], machine: Machine) -> tuple[Glance, ...]:
    """What each worker has in hand now; reads only. They are asked at the same time, so a silent one delays none."""
    found: dict[str, Glance] = {}
    for node in nodes:
        one, record = _glance(node, machine)
        proc = decide.proc_of(one.state)
        found[node.name] = one
        if proc is None or record is None:
            found[node.name] = replace(one, why=_NOT_RUNNING if proc is None else "it is not on record")
            continue
        question = Question(node.socketfile, "tasks", proc, observe.uid_of(node, machine), _SECONDS)
        machine.ask(node.name, question)
    until = machine.now() + _SECONDS + 1.0
    while (pending := [name for name, each in found.items() if each.work is None and not each.why]) and (
        machine.now() < until
    ):
        for happening in machine.wait(until):
            if isinstance(happening, Answered) and happening.key in pending:
                found[happening.key] = _answered(found[happening.key], happening)
    return tuple(found[node.name] for node in nodes)


def _answered(one: Glance, answer: Answered) -> Glance:
    """The node with what its worker has answered."""
    if answer.why:
        return replace(one, why=answer.why, able=answer.why != NO_SOCKET)
    import json

    try:
        raw = json.loads(answer.text)
    except (ValueError, RecursionError):
        raw = None
    work = work_of(raw)
    if work is None or not isinstance(raw, dict):
        return replace(one, why="it answered something else than its tasks")
    return replace(one, work=work, draining=raw.get("state") == "draining" or one.draining)


def _glance(node: Node, machine: Machine) -> tuple[Glance, Record | None]:
    from multi.model.state import Unsure

    try:
        observed = observe.glance(node, machine)
    except MachineError as error:
        return Glance(node=node, state=Unsure(str(error))), None
    proc, record = decide.proc_of(observed.state), observed.record
    if proc is None or record is None:
        return Glance(node=node, state=observed.state, pid=None if proc is None else proc.pid), record
    beat = observe.heartbeat(record, machine)
    now = machine.now()
    one = Glance(
        node=node,
        state=observed.state,
        pid=proc.pid,
        draining=beat is not None and beat.drained,
        pulse=pulse(beat, now),
        beat_at=None if beat is None else machine.wall() - now + beat.at,
        unhealthy=_unhealthy(record, machine),
    )
    return one, record


def _unhealthy(record: Record, machine: Machine) -> str:
    """What the last command that asked for its liveness has found; nobody is asked here."""
    health = observe.health(record, machine) if record.node.alive is not None else None
    if health is None or not health.failures:
        return ""
    from multi.decide.health import unhealthy

    return unhealthy(record.node, health, machine.now())
