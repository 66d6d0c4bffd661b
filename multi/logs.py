"""The nodes' logs as one stream of lines, in the order in which they arrive. Reads only."""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING

from multi.errors import EXIT_FAILED, EXIT_PERMISSION
from multi.machine import Interruption, MachineError
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multi.machine import Machine
    from multi.model.node import Node

_CHUNK = 1 << 16
_TAIL, _MOST_TAIL = 1 << 16, 1 << 28  # bytes that the last lines of a log are looked for in, at first and at most
_TURN = 2  # chunks of one log at one look: one that grows without end must not keep the others waiting
_FIRST_LOOK, _MOST_LOOK = 0.05, 0.5  # seconds between two looks at logs: no system tells of growth everywhere
_LONGEST = 1 << 16  # bytes of a line that is shown although it has no end yet


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one log. `names` are those of the nodes that share it: short ones, where they tell nodes apart."""

    names: str
    text: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """A node of whose log nothing will be seen, or not yet, and `why`; with `exit_code` 0 that is no failure."""

    node: Node
    why: str
    exit_code: int = EXIT_FAILED


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
        yield from source.lines(_tail(source.path, count, machine), last=not follow)
    pause = _FIRST_LOOK
    while follow:
        quiet, rest = True, False
        for source in sources:
            for _ in range(_TURN):
                data = machine.log_more(source.path, _CHUNK)
                if not data:
                    break
                quiet = False
                yield from source.lines(data)
            else:
                rest = True
        pause = min(pause * 1.5, _MOST_LOOK) if quiet else _FIRST_LOOK
        if any(isinstance(one, Interruption) for one in machine.wait(machine.now() + (0.0 if rest else pause))):
            return


def unreadable(nodes: Sequence[Node], machine: Machine) -> tuple[Unseen, ...]:
    """The nodes of whose logs nothing will be seen, or not yet, each with the reason."""
    found = (_unseen(node, machine) for node in nodes)
    return tuple(each for each in found if each is not None)


def _unseen(node: Node, machine: Machine) -> Unseen | None:
    if not node.logs_to_file:
        return Unseen(node, f"logs to {node.logfile}, which cannot be read again")
    try:
        machine.log_begin(node.logfile, node.logfile, 0)
    except MachineError as error:
        denied = error.errno in {errno.EPERM, errno.EACCES}
        return Unseen(node, str(error), EXIT_PERMISSION if denied else EXIT_FAILED)
    return None if machine.kind(node.logfile) else Unseen(node, f"has no log yet at {node.logfile}", 0)


def _tail(path: str, count: int, machine: Machine) -> bytes:
    """The last `count` lines of a log, however long they are; what cannot be read is empty."""
    size = _TAIL
    while True:
        try:
            data = machine.log_begin(path, path, size)
        except MachineError:
            return b""
        last = _last(data, count)
        if len(last) < len(data) or len(data) < size:
            return last
        if size >= _MOST_TAIL:
            return data.partition(b"\n")[2]  # the first line is not whole
        size *= 4


def _sources(nodes: Sequence[Node]) -> list[_Source]:
    alike = Counter(node.short for node in nodes)
    names: dict[str, list[str]] = {}
    for node in nodes:
        if node.logs_to_file:
            names.setdefault(node.logfile, []).append(node.short if alike[node.short] == 1 else node.name)
    return [_Source(",".join(some), path) for path, some in names.items()]


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
