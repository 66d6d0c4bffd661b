"""What the configuration says and what is on record -> tasks, and what they would do: `apply` and `diff`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from multi.decide.table import route
from multi.model.node import Node
from multi.model.request import Difference, Request
from multi.model.state import SUSPENDED, Down, State
from multi.model.step import Step
from multi.value import replace

Task: TypeAlias = tuple[Node, Request]


def tasks(wanted: Iterable[tuple[Node, Node | None]], removed: Iterable[Node]) -> list[Task]:
    """One for each configured node, with what is on record of it, and one for each that is not configured any more."""
    configured = [(node, Request("apply", recorded=recorded)) for node, recorded in wanted]
    return [*configured, *((node, Request("stopwait")) for node in removed)]


def at_their_turn(tasks: Sequence[Task], states: Sequence[State]) -> list[State]:
    """The state of each node when it is its turn: a pidfile that another node had is free by then."""
    freed = {node.pidfile for node, request in tasks if not request.traits.reconciles}
    return [
        Down() if request.traits.reconciles and node.pidfile in freed else state
        for (node, request), state in zip(tasks, states, strict=True)
    ]


def in_order(tasks: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """The tasks that free a pidfile which another node is to have, and the rest, which come after them."""
    wanted = {node.pidfile for node, request in tasks if request.traits.reconciles}
    first: list[Task] = []
    rest: list[Task] = []
    for node, request in tasks:
        frees = not request.traits.reconciles and node.pidfile in wanted
        (first if frees else rest).append((node, request))
    return first, rest


def one_each(tasks: Iterable[Task]) -> list[Task]:
    """One task a node: those that are about it with other pidfiles become a part of its first one."""
    of_node: dict[str, list[Task]] = {}
    for node, request in tasks:
        of_node.setdefault(node.name, []).append((node, request))
    return [
        (node, replace(request, moved=tuple(other for other, _ in others)))
        for (node, request), *others in of_node.values()
    ]


def differences(tasks: Sequence[Task], states: Sequence[State]) -> tuple[Difference, ...]:
    """What the tasks would do, where it is anything."""
    pidfiles = {node.name: node.pidfile for node, request in tasks if request.traits.reconciles}
    found: list[Difference] = []
    for (node, request), state in zip(tasks, at_their_turn(tasks, states), strict=True):
        removed = not request.traits.reconciles
        verb = _verb(route(request, state, node).steps, removed=removed)
        if not verb:
            continue
        before = request.recorded if verb in {"restart", "update"} else None
        changes = () if before is None else _changes(before, node)
        why = getattr(state, "why", "") or (SUSPENDED if verb == "update" and not changes else "")
        if removed:
            pidfile = pidfiles.get(node.name, "")
            why = f"its pidfile is {pidfile} now" if pidfile else "it is not configured any more"
        found.append(Difference(node.name, verb, why, changes))
    return tuple(found)


def _verb(steps: tuple[Step, ...], *, removed: bool) -> str:
    kinds = {type(step).__name__ for step in steps}
    if "Refuse" in kinds:
        return "refuse"
    if removed:
        return "" if kinds == {"Skip"} else "clear" if kinds == {"Clear"} else "stop"
    if "Spawn" in kinds:
        return "restart" if "Stop" in kinds else "start"
    return "update" if kinds & {"Rewrite", "Adopt", "Resume"} else ""


def _changes(running: Node, wanted: Node) -> tuple[tuple[str, object, object], ...]:
    """What differs, by the names of the settings."""
    from multi.settings.table import BY_FIELD

    pairs = ((name, getattr(running, name), getattr(wanted, name)) for name in Node.__annotations__)
    found: list[tuple[str, object, object]] = [
        (BY_FIELD[name].name if name in BY_FIELD else name, old, new)
        for name, old, new in pairs
        if old != new and name not in {"env", "env_read"}
    ]
    before, after = ({**dict(node.env_read), **dict(node.env)} for node in (running, wanted))
    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after or before[name] != after[name]:
            old, new = _of_variable(before, name), _of_variable(after, name)
            found.append((f"env.{name}", old, new if new != old else "another value"))
    return tuple(found)


def _of_variable(env: Mapping[str, str | None], name: str) -> str | None:
    """What can be said of a variable to anybody."""
    if name not in env:
        return None
    return "taken away" if env[name] is None else "a value"
