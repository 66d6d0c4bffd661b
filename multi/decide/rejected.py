"""What a node goes back to when its start fails, and settings that were tried and rejected: nothing tries them again.

They count as rejected until somebody says so (`--again`), types a command or other settings, or the configuration of
that node changes. Until then no node that the command is about gets new settings: they are parts of one release.
"""

from __future__ import annotations

from multi.decide.resolve import needs_restart
from multi.model.node import Known, Node
from multi.model.request import Held
from multi.model.state import Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.model.step import Clear, Refuse, Skip, Spawn, Step, Stop
from multi.text import duration
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from multi.model.record import Record
    from multi.model.request import Request, RunOptions, Task


def digest(node: Node) -> str:
    """The same for the same settings. A digest, because a variable may be a secret."""
    from hashlib import blake2b

    return blake2b(repr(node).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def former(request: Request, options: RunOptions, node: Node, record: Record | None, state: State) -> Node | None:
    """What the node goes back to if its start fails, with the files that it has now; None for nothing.

    A start that was to go back, and was cut off before the node had settled, does so whoever goes on with it. What
    that start was to replace counts until its own settings run.
    """
    unsettled = None if record is None or (isinstance(state, Up) and state.ready) else record.former
    goes_on = isinstance(state, Up) and not state.ready and record is not None and record.node == node
    if options.keep_unready or (unsettled is None and (goes_on or not options.rollback)):
        return None
    old = unsettled or (record.node if record is not None else request.former)
    if old is None or old.name != node.name or not isinstance(old.command, Known):
        return None
    return replace(old, pidfile=node.pidfile)


def has_settled(record: Record, state: State, wall: float) -> bool:
    """Whether a node that was to be watched has run for so long without that; `wall` is the time now."""
    longest = record.node.ready_timeout + record.settle
    return isinstance(state, Up) and state.ready and wall > record.started + longest


def back(state: State, node: Node, old: Node, hindrance: str) -> tuple[Step, ...]:
    """The steps back to what the node was before, `old`, when it was started as `node` and failed.

    `hindrance` is what that start would fail of for certain, empty for nothing.
    """
    if hindrance:
        return (Refuse(f"it is not rolled back: {hindrance}"),)
    again = Spawn("same" if node.command == old.command else "former")
    match state:
        case Down() | Dead():
            return Clear(keep=True), again
        case Up(proc) | Lost(proc):
            return Stop(proc, node.stop, again=True), Clear(keep=True), again
        case Stopping(proc):
            return (Refuse(f"it is not rolled back, because pid {proc.pid} is still there"),)
        case Unsure(why):
            return (Refuse(f"it is not rolled back: {why}"),)


def held(wanted: Iterable[tuple[Node, Record | None]], wall: float) -> Mapping[str, Held]:
    """The nodes, by name, that keep what is on record of them, each with the reason; `wall` is the time now."""
    known = [(node, record) for node, record in wanted if record is not None and record.node.name == node.name]
    why: dict[str, str] = {}
    for node, record in known:
        found = record.rejected
        if found is not None and found.digest == digest(node):
            ago = duration(max(0.0, wall - found.at))
            why[node.name] = f"what is configured was rejected {ago} ago: {found.why}"
    if not why:
        return {}
    first = next(iter(why))
    return {
        node.name: Held(why.get(node.name, f"{first} has rejected what is configured"), node)
        for node, record in known
        if needs_restart(record.node, node)
    }


def as_on_record(
    tasks: Iterable[Task], recorded: Iterable[tuple[Node, Node | None]], held: Mapping[str, Held]
) -> list[Task]:
    """The tasks, in which those that are `held` are of the nodes as they are on record."""
    old = {node.name: record for node, record in recorded if record is not None and node.name in held}
    found: list[Task] = []
    for task in tasks:
        record = old.get(task.node.name)
        if record is not None:
            request = replace(task.request, recorded=record, held=held[task.node.name])
            task = replace(task, node=record, request=request)  # noqa: PLW2901 -- the same task
        found.append(task)
    return found


def saying_why(held: Held, request: Request, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps of a node that is not what the configuration says, which was all that `apply` is for."""
    if request.traits.reconciles:
        rest = (step for step in steps if not isinstance(step, Skip))
        return (*rest, Skip(f"left as on record: {held.why}; 'multi apply --again' tries it again", met=False))
    starts = any(isinstance(step, Spawn) for step in steps)
    return (Skip(f"started as on record: {held.why}; --again tries it again"), *steps) if starts else steps


def rollback_note(old: Node, now: Node, tried: Node) -> str:
    """What a user should know of a node that was rolled back: what is not as before although it runs again."""
    values, known = dict(now.env_read), dict(old.env_read)
    changed = [name for name in dict.fromkeys((*known, *values)) if known.get(name) != values.get(name)]
    if changed:
        return f"with what its env files hold now: {' '.join(changed)} changed since"
    if replace(tried, env_read=now.env_read) == now:
        return "with the same command and settings, because nothing else is on record"
    return ""
