"""Do the steps of all nodes at once and yield events."""

from __future__ import annotations

from multi.act.walk import walk
from multi.typed import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from multi.act.hooks import Note
    from multi.machine import Machine
    from multi.model.event import Event
    from multi.model.node import Node
    from multi.model.request import RunOptions, Task, Traits

__all__ = ["attested", "ensure", "foreseen", "hold_rundirs", "hooked", "stay", "walk"]

T = TypeVar("T")


def hold_rundirs(
    nodes: Sequence[Node], walk: Callable[[bool], Iterator[T]], traits: Traits, options: RunOptions, machine: Machine
) -> Iterator[Event | T]:
    """Hold the lock of each run directory of the nodes during the walk; see `rundir_lock`."""
    from multi.act import rundir_lock

    return rundir_lock.hold_rundirs(nodes, walk, traits, options, machine)


def ensure(
    tasks: Sequence[Task], groups: Mapping[str, str], options: RunOptions, machine: Machine
) -> Generator[Event, None, None]:
    """Walk the nodes; those that are to be asked for their health are asked first, see `liveness`."""
    if not any(task.node.watched for task in tasks):
        return walk(tasks, options, machine)
    from multi.act import liveness

    return liveness.ensure(tasks, groups, options, machine)


def foreseen(tasks: Sequence[Task], groups: Mapping[str, str], machine: Machine) -> Sequence[Task]:
    """The tasks with what `ensure` would restart by what is known; reads only."""
    if not any(task.node.watched for task in tasks):
        return tasks
    from multi.act import liveness

    return liveness.foreseen(tasks, groups, machine)


def hooked(
    events: Generator[Event, None, None], nodes: Sequence[Node], traits: Traits, note: Note, machine: Machine
) -> Generator[Event, None, None]:
    """Tell the hooks of the nodes what happens to them; see `hooks`."""
    from multi.act import hooks

    return hooks.hooked(events, nodes, traits, note, machine)


def attested(node: Node, path: str, machine: Machine, pid: int | None = None) -> Generator[Event, None, None]:
    """For a node that systemd starts: what must hold before, or, of that `pid`, its proof; see `attest`."""
    from multi.act import attest

    return attest.prepare(node, path, machine) if pid is None else attest.attest(node, pid, path, machine)


def stay(nodes: Sequence[Node], options: RunOptions, machine: Machine) -> Generator[Event, None, None]:
    """Start the nodes, stay in the foreground with them, stop them; see `foreground`."""
    from multi.act import foreground

    return foreground.stay(nodes, options, machine)
