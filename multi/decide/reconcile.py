"""What the configuration says and what is on record -> tasks, and what they would do: `apply` and `diff`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from multi.decide.order import waits
from multi.decide.table import route
from multi.model.node import Node
from multi.model.request import Difference, Held, Request, RunOptions, Task
from multi.model.state import SUSPENDED, Down, State
from multi.model.step import Route, Step
from multi.value import replace

NOTHING_HELD: Mapping[str, Held] = {}


def tasks(
    wanted: Sequence[tuple[Node, Node | None]], removed: Iterable[Node], held: Mapping[str, Held] = NOTHING_HELD
) -> list[Task]:
    """Tasks for the configured nodes, each with what is on record of it, and for those not configured any more.

    A node starts after it was stopped under its old pidfiles, and after the node that had its new one was stopped.
    Those that are `held` stay what is on record of them.
    """
    before: dict[str, list[int]] = {}  # the tasks that stop this node, or free this pidfile
    stops: list[Task] = []
    moved: dict[str, Node] = {}
    for index, old in enumerate(removed, len(wanted)):
        moved[old.name] = old
        stops.append(Task(old, Request("remove"), tuple(before.get(old.name, ()))))
        before.setdefault(old.name, []).append(index)
        before.setdefault(old.pidfile, []).append(index)
    starts = [
        Task(
            recorded if recorded is not None and node.name in held else node,
            Request("apply", recorded=recorded, held=held.get(node.name), former=moved.get(node.name)),
            tuple(sorted({*before.get(node.name, ()), *before.get(node.pidfile, ())})),
        )
        for node, recorded in wanted
    ]
    return starts + stops


def at_their_turn(tasks: Sequence[Task], states: Sequence[State]) -> list[State]:
    """The state of each node when it is its turn: a pidfile that another node had is free by then."""
    return [
        Down() if any(tasks[index].node.pidfile == task.node.pidfile for index in task.after) else state
        for task, state in zip(tasks, states, strict=True)
    ]


def differences(
    tasks: Sequence[Task], states: Sequence[State], options: RunOptions | None = None
) -> tuple[Difference, ...]:
    """What the tasks would do, where it is anything; in the order of their turns if `options` have a width."""
    pidfiles = {task.node.name: task.node.pidfile for task in tasks if task.request.traits.reconciles}
    routes = [
        route(task.request, state, task.node) for task, state in zip(tasks, at_their_turn(tasks, states), strict=True)
    ]
    routes = [replace(one, waits=waits(one, task, tasks)) for one, task in zip(routes, tasks, strict=True)]
    found = [_difference(*each, pidfiles) for each in zip(tasks, states, routes, strict=True)]
    if options is None or options.width is None:
        return tuple(one for one in found if one is not None)
    from multi.decide.rollout import turns

    in_turn = turns(tasks, routes, options).items()
    return tuple(replace(one, turn=turn) for index, turn in in_turn if (one := found[index]) is not None)


def _difference(task: Task, state: State, chosen: Route, pidfiles: Mapping[str, str]) -> Difference | None:
    """What one task would do; None for nothing."""
    node, request = task.node, task.request
    removed, held, recorded = not request.traits.reconciles, request.held, request.recorded
    if held is not None:
        return Difference(node.name, "hold", held.why, _changes(node, held.configured))
    verb = _verb(chosen.steps, removed=removed)
    if not verb:
        return None
    changes = _changes(recorded, node) if recorded is not None and verb in {"restart", "update"} else ()
    why = getattr(state, "why", "") or (SUSPENDED if verb == "update" and not changes else "")
    if removed:
        pidfile = pidfiles.get(node.name, "")
        why = f"its pidfile is {pidfile} now" if pidfile else "it is not configured any more"
    return Difference(node.name, verb, why, changes, waits=chosen.waits)


def _verb(steps: tuple[Step, ...], *, removed: bool) -> str:
    kinds = {type(step).__name__ for step in steps}
    if "Refuse" in kinds:
        return "refuse"
    if removed:
        return {("Skip",): "", ("Forget",): "forget", ("Clear", "Forget"): "clear"}.get(tuple(sorted(kinds)), "stop")
    if "Spawn" in kinds:
        return "restart" if "Stop" in kinds else "start"
    return "update" if kinds & {"Rewrite", "Adopt", "Resume"} else ""


def _changes(running: Node, wanted: Node) -> tuple[tuple[str, object, object], ...]:
    """What differs, by the names of the settings."""
    from multi.settings.table import BY_FIELD

    found: list[tuple[str, object, object]] = []
    for name in Node.__annotations__:
        old, new = getattr(running, name), getattr(wanted, name)
        if old != new and name not in {"env", "env_read"}:
            found.append((BY_FIELD[name].name if name in BY_FIELD else name, old, new))
    before, after = ({**dict(node.env_read), **dict(node.env)} for node in (running, wanted))
    for name in dict.fromkeys((*before, *after)):
        # Its value may be a secret.
        old, new = (
            ("taken away" if env[name] is None else "a value") if name in env else None for env in (before, after)
        )
        if old != new or before[name] != after[name]:
            found.append((f"env.{name}", old, new if new != old else "another value"))
    return tuple(found)
