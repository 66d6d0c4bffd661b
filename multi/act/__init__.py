"""Do the steps of all nodes at once and yield events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.act.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from multi.machine import Machine
    from multi.model.event import Event
    from multi.model.node import Node
    from multi.model.request import RunOptions, Traits

__all__ = ["hold_rundirs", "stay", "walk"]


def hold_rundirs(
    nodes: Sequence[Node],
    walk: Callable[[bool], Iterator[Event]],
    traits: Traits,
    options: RunOptions,
    machine: Machine,
) -> Iterator[Event]:
    """Hold the lock of each run directory of the nodes during the walk; see `rundir_lock`."""
    from multi.act import rundir_lock

    return rundir_lock.hold_rundirs(nodes, walk, traits, options, machine)


def stay(nodes: Sequence[Node], options: RunOptions, machine: Machine) -> Generator[Event, None, None]:
    """Start the nodes, stay in the foreground with them, stop them; see `foreground`."""
    from multi.act import foreground

    return foreground.stay(nodes, options, machine)
