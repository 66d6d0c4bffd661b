"""What nodes print, as lines behind their names or as JSON; and what `run` says when it is asked to end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from multi.model.schedule import signal_name
from multi.text import plural, printable
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from multi.model.event import Ending, Output
    from multi.model.node import Node
    from multi.report.status import Style

_SGR = re.compile(r"(\x1b\[[0-9;:]*m)")
# Red is for failures. The eight after the bright ones are of the 256 that most terminals have.
_COLOURS = (
    *("36", "33", "32", "35", "34", "96", "93", "92", "95", "94"),
    *(f"38;5;{number}" for number in (208, 99, 45, 155, 213, 220, 111, 180)),
)
_WIDEST = 24  # columns to which shorter names are filled up


@dataclass(frozen=True, slots=True)
class Frame:
    """How the output of nodes is shown. With no `labels` a line stands as it is.

    `labels` are the names to show and the codes of their colours, by the node of the event.
    """

    labels: Mapping[str, tuple[str, str]]
    colour: bool = False
    timestamps: bool = False

    def lines(self, event: Output) -> Iterator[str]:
        """The lines of the event."""
        moment = f"{_moment(event.at)} " if self.timestamps else ""
        if not self.labels:
            yield from (moment + line for line in event.lines)
            return
        width = min(_WIDEST, max(len(label) for label, _ in self.labels.values()))
        label, code = self.labels.get(event.node) or (_short(event.node), _COLOURS[0])
        head = f"{moment}{label:<{width}} |"
        head = f"\x1b[{code}m{head}\x1b[0m" if self.colour else head
        for line in event.lines:
            yield f"{head} {self._harmless(line)}" if line else head

    def _harmless(self, line: str) -> str:
        """The line, harmless to a terminal and to the lines of others; colours are left, and end with it."""
        line = line.rstrip("\r").rpartition("\r")[2]  # what a terminal would show of a line that is written over
        if line.isprintable():
            return line
        parts = _SGR.split(_text(line))
        shown = [
            (part if self.colour else "") if index % 2 else "\t".join(printable(piece) for piece in part.split("\t"))
            for index, part in enumerate(parts)
        ]
        return "".join(shown) + ("\x1b[0m" if self.colour and len(parts) > 1 else "")


def frame(nodes: Sequence[Node], *, prefix: bool, colour: bool, timestamps: bool) -> Frame:
    """The frame of these nodes; one alone has no name before its lines."""
    if len(nodes) == 1 or not prefix:
        return Frame({}, colour, timestamps)
    shorts = [node.short for node in nodes]
    alike = len(set(shorts)) < len(shorts)
    sharing: dict[str, list[Node]] = {}
    for node in nodes:
        sharing.setdefault(node.logfile if node.logs_to_file else node.name, []).append(node)
    labels: dict[str, tuple[str, str]] = {}
    for index, some in enumerate(sharing.values()):
        label = printable(",".join(node.name if alike else node.short for node in some))
        labels[",".join(node.name for node in some)] = label, _COLOURS[index % len(_COLOURS)]
    return Frame(labels, colour, timestamps)


def output_json(event: Output) -> Iterator[dict[str, object]]:
    """An object a line, as the other events of ``--json``."""
    for line in event.lines:
        yield {"event": "output", "node": event.node, "pid": event.pid, "at": round(event.at, 3), "text": _text(line)}


def ending_line(event: Ending, style: Style) -> str:
    """What is stopped, how, and what a second signal does."""
    name, nodes = signal_name(event.signum), plural(len(event.nodes), "node")
    if event.kills:
        return style.paint("red", f"multi: {name} again: killing {nodes}")
    again = "Ctrl-C again" if name == "INT" else "a second signal"
    return style.paint(
        "yellow", f"multi: {name}: stopping {nodes}; {again} kills {'it' if len(event.nodes) == 1 else 'them'}"
    )


def _short(name: str) -> str:
    return printable(",".join(one.partition("@")[0] for one in name.split(",")))


def _text(line: str) -> str:
    """The line with a mark in the place of what is no UTF-8."""
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:-3]
