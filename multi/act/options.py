"""What a caller of this stage may choose: how nodes are started and stopped, and what proves that they are ready."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from multi.model.node import Ready
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multi.model.node import Node
    from multi.model.process import Proc

ALIVE = Ready("alive")
CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # by `run` in the foreground


@dataclass(frozen=True, slots=True)
class Fallback:
    """The proof for a node that cannot give its own: `ready`, and at least `startsecs` of life.

    `note` tells the user why, and what it means. With `asks` it is used only if the node's Python has no plug-in.
    """

    ready: Ready
    startsecs: float
    note: str
    asks: bool = False

    def instead(self, node: Node) -> Node:
        """The node as it is tried. The record keeps it as it was asked for."""
        return replace(node, ready=self.ready, startsecs=max(node.startsecs, self.startsecs))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How the nodes of one command are walked.

    `width` nodes at a time, None for all at once; with a width, the first failure ends the admission of further
    nodes. `fallbacks` are proofs of readiness by node, for those that cannot give their own. `keep_unready` leaves a
    node running that did not get ready. `progress` is the number of seconds between two `Waiting` events, None for
    none. `timeout` bounds `AwaitUp` and `AwaitDown`, seconds. With `signals`, SIGINT, SIGTERM and SIGHUP end the run
    as an `Interrupted` event, except those in `deaf_to`; only the main thread of a program may ask for that. `runner`
    is our own process where it stays with the nodes it starts.
    """

    width: int | None = None
    keep_unready: bool = False
    progress: float | None = None
    timeout: float | None = None
    fallbacks: Mapping[str, Fallback] = field(default_factory=dict)
    signals: bool = False
    deaf_to: tuple[int, ...] = ()
    runner: Proc | None = None
