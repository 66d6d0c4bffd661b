"""What `run` shows of what its nodes print."""

from __future__ import annotations

from multi.cli.order import JSON, NO_PREFIX, TIMESTAMPS
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.cli.order import Order
    from multi.model.node import Node
    from multi.report.output import Frame
    from multi.words.spec import Collect


def collects(order: Order) -> Collect:
    """Whose output is collected, to be shown in whole lines.

    On a terminal that of several nodes: one alone has the terminal to itself. Elsewhere, as in a container or a unit,
    nothing stands between a node and the stream that takes its lines, unless it is asked for.
    """
    if order.has(JSON) or order.has(TIMESTAMPS):
        return "always"
    return "several" if order.screen.out_is_terminal and order.screen.err_is_terminal else "never"


def frame_of(order: Order, nodes: Sequence[Node]) -> Frame:
    """How their lines are shown."""
    from multi.report.output import frame

    return frame(nodes, prefix=not order.has(NO_PREFIX), colour=order.screen.colour, timestamps=order.has(TIMESTAMPS))
