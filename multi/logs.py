"""The nodes' logs as one stream of lines, in the order in which they arrive. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.machine import Interruption
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multi.machine import Machine
    from multi.node import Node

_CHUNK = 1 << 16
_TAIL = 1 << 20  # bytes that the last lines of a log are looked for in
_FIRST_LOOK, _MOST_LOOK = 0.05, 0.5  # seconds between two looks at logs: no system tells of growth everywhere
_LONGEST = 1 << 16  # bytes of a line that is shown although it has no end yet


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one log. `names` are the short names of the nodes that share it."""

    names: str
    text: str


@dataclass(slots=True)
class _Source:
    names: str
    path: str
    rest: bytes = b""

    def lines(self, data: bytes, *, last: bool = False) -> Iterator[LogLine]:
        """Cut what has arrived into lines; an unfinished one waits for its end."""
        whole = self.rest + data
        *done, self.rest = whole.split(b"\n")
        if self.rest and (last or len(self.rest) > _LONGEST):
            done.append(self.rest)
            self.rest = b""
        for line in done:
            yield LogLine(self.names, line.decode("utf-8", "replace").removesuffix("\r"))


def read(nodes: Sequence[Node], count: int, machine: Machine, *, follow: bool) -> Iterator[LogLine]:
    """The last `count` lines of each log, then, with `follow`, what is added until we are interrupted.

    A log that is rotated is read to its end before the new one is begun; one that is truncated is begun anew.
    """
    sources = _sources(nodes)
    for source in sources:
        yield from source.lines(_last(machine.log_begin(source.path, source.path, _TAIL), count), last=not follow)
    pause = _FIRST_LOOK
    while follow:
        quiet = True
        for source in sources:
            while data := machine.log_more(source.path, _CHUNK):
                quiet = False
                yield from source.lines(data)
        pause = min(pause * 1.5, _MOST_LOOK) if quiet else _FIRST_LOOK
        if any(isinstance(one, Interruption) for one in machine.wait(machine.now() + pause)):
            return


def unreadable(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes whose log is no file that could be read again: a terminal, a pipe, the journal."""
    return tuple(node for node in nodes if not node.logs_to_file)


def _sources(nodes: Sequence[Node]) -> list[_Source]:
    names: dict[str, list[str]] = {}
    for node in nodes:
        if node.logs_to_file:
            names.setdefault(node.logfile, []).append(node.short)
    return [_Source(",".join(shorts), path) for path, shorts in names.items()]


def _last(data: bytes, count: int) -> bytes:
    """The last `count` lines, an unfinished one included."""
    if count <= 0:
        return b""
    at = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(count):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return data
    return data[at + 1 :]
