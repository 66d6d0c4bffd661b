"""What one command asks of each of its nodes: a selection becomes tasks. Reads records, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from multi.errors import UsageError
from multi.model.node import Node
from multi.model.request import Held, Request, RunOptions, Task, canonical, traits
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.machine import Machine
    from multi.words.spec import Selection


def tasks_of(command: str, selection: Selection, options: RunOptions, machine: Machine) -> Sequence[Task]:
    """Each node with what is asked of it, in order."""
    from multi.decide.turns import ordered

    return ordered(_requests(command, selection, options, machine), selection.beside)


def _requests(command: str, selection: Selection, options: RunOptions, machine: Machine) -> list[Task]:
    from multi import decide

    command = canonical(command)
    if traits(command).reconciles:
        from multi.decide import reconcile

        wanted, held = _held(selection.nodes, options, machine)
        return reconcile.tasks(wanted, selection.removed, held)
    if command not in decide.COMMANDS:
        from multi.text import nearest

        raise UsageError(command, "is nothing that is done to nodes", nearest(command, decide.COMMANDS))
    known = selection.recorded if traits(command).repeats else {}
    signum, named, idle = selection.spec.signum, bool(selection.spec.names), options.when_idle
    tasks = [
        Task(node, Request(command, signum, known.get(node.name), node.name not in selection.unsaid, named, idle))
        for node in selection.nodes
    ]
    if not (selection.configured and traits(command).repeats) or selection.spec.says_command:
        return tasks
    configured = (node for node in selection.nodes if node.name in selection.configured)
    recorded, held = _held(configured, options, machine)
    if not held:
        return tasks
    from multi.decide.rejected import as_on_record

    return as_on_record(tasks, recorded, held)


def _held(
    nodes: Iterable[Node], options: RunOptions, machine: Machine
) -> tuple[list[tuple[Node, Node | None]], Mapping[str, Held]]:
    """Each node with what is on record of it, and those that are to stay what that is."""
    from multi import observe
    from multi.decide.rejected import held

    records = [(node, observe.recall(node, machine)) for node in nodes]
    known = [(node, None if record is None else record.node) for node, record in records]
    return known, {} if options.again else held(records, machine.wall())
