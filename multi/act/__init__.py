"""Do the steps of all nodes at once and yield events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.act.walk import walk

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from multi.machine import Machine
    from multi.model.event import Event
    from multi.model.node import Node
    from multi.model.request import RunOptions

__all__ = ["stay", "walk"]


def stay(nodes: Sequence[Node], options: RunOptions, machine: Machine) -> Generator[Event, None, None]:
    """Start the nodes, stay in the foreground with them, stop them; see `foreground`."""
    from multi.act import foreground

    return foreground.stay(nodes, options, machine)
