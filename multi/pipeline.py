"""The line itself: parse, expand, observe, decide, act; also the public Python API.

    from multi import pipeline

    selection = pipeline.select("start", ["w1", "w2", "-A", "proj", "-c:w2", "4"])
    for event in pipeline.run("start", selection):
        print(event)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from multi.event import Event
from multi.node import Node
from multi.sighting import Sighting
from multi.spec import Spec
from multi.step import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The nodes that one command line is about.

    `warnings` are sentences for the user. `sources` tells, per node and setting, where its value comes from
    (``built in``, ``preset celery``, ``multi.toml [defaults]``, ``MULTI_UMASK``, ``command line``).
    `recorded` are the names of the nodes that were taken from their record.
    """

    nodes: tuple[Node, ...]
    spec: Spec = Spec()
    warnings: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    recorded: frozenset[str] = frozenset()
    config: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A node, what was seen of it, and its vital signs; None is unknown.

    `uptime` is seconds, `cpu_percent` of one core over the life of the tree, `memory` the tree's resident bytes,
    `children` how many processes the tree has beside the main one, `restarts` how often it was started again.
    """

    node: Node
    sighting: Sighting
    uptime: float | None = None
    cpu_percent: float | None = None
    memory: int | None = None
    children: int | None = None
    restarts: int | None = None
    status_text: str = ""


def select(command: str, words: Sequence[str], *, machine: object = None) -> Selection:
    """Words -> nodes. Raises `MultiError` for what the user must put right."""
    raise NotImplementedError


def look(selection: Selection, *, machine: object = None) -> tuple[View, ...]:
    """Observe the nodes; reads only."""
    raise NotImplementedError


def plan(command: str, selection: Selection, *, machine: object = None) -> tuple[Route, ...]:
    """Observe and decide; reads only. What `--dry-run` shows."""
    raise NotImplementedError


def run(command: str, selection: Selection, *, machine: object = None) -> Iterator[Event]:
    """Ride to the end: one stream of events of all nodes."""
    raise NotImplementedError
