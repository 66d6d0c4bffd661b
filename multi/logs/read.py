"""The nodes' logs as one stream of lines, in the order in which they arrive or were written. Reads only."""

from __future__ import annotations

import errno
from collections import Counter

from multi.errors import EXIT_FAILED, EXIT_PERMISSION
from multi.machine import MachineError
from multi.model.happening import Interruption
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping, Sequence

    from multi.logs.since import Moment
    from multi.machine import Machine
    from multi.model.node import Node

_CHUNK = 1 << 16
_LAST = 1 << 12  # bytes of a log that are read for its last lines
_TURN = 2  # chunks of one log at one look, so that a log that grows without end does not keep the others waiting
_FIRST_LOOK, _MOST_LOOK = 0.05, 0.5  # seconds between two looks at logs; not every system tells of growth
_LONGEST = 1 << 16  # bytes; a longer line is shown before its end has come


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one log. `names` are the nodes that share the log, by their short names where those differ.

    `at` is when it was written, as far as that was asked for and is known, in seconds of the epoch.
    """

    names: str
    text: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Unseen:
    """A node whose log shows nothing, or not yet, and `why`. With `exit_code` 0 that is no failure."""

    node: Node
    why: str
    exit_code: int = EXIT_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which lines: the last `lines` that `pattern` is found in, None for all, and then, with `follow`, the next.

    Only those of the last `age` seconds, or written `since` a second of the epoch, or, with `since_start`, by this
    start of the node. With `timed` it is asked when each was written.
    """

    lines: int | None = 10
    follow: bool = False
    age: float | None = None
    since: float | None = None
    since_start: bool = False
    pattern: re.Pattern[str] | None = None
    timed: bool = False

    @property
    def begins(self) -> bool:
        """Whether somebody has said since when."""
        return self.since_start or self.age is not None or self.since is not None


class Source:
    """One log, and the nodes that write to it."""

    def __init__(self, path: str) -> None:
        """Nothing is read yet."""
        self.path = path
        self.names = ""
        self.nodes: list[Node] = []
        self.rest = b""
        self.read_to: int | None = None  # how far it was read, where it was searched

    def lines(self, data: bytes) -> Iterator[LogLine]:
        """Cut the data into lines; an unfinished line is kept for the next call."""
        *done, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > _LONGEST:
            done.append(self.rest)
            self.rest = b""
        for line in done:
            yield LogLine(self.names, as_text(line))


def as_text(line: bytes) -> str:
    """A line as it is shown."""
    return line.decode("utf-8", "replace").removesuffix("\r")


def read(
    nodes: Sequence[Node], query: Query, machine: Machine, moments: Mapping[str, Moment] | None = None
) -> Iterator[LogLine | Unseen]:
    """What is asked of each log, then, where it is followed, what is added until a signal interrupts `multi`.

    `moments` are those since when, by the full names of the nodes; the query says only how they are made.
    A rotated log is read to its end before the new one is begun; a truncated log is read from its beginning.
    """
    from multi.logs.search import Search  # who only shows a node's last lines does not pay for it

    alike = Counter(node.short for node in nodes)
    sources: dict[str, Source] = {}
    for node in nodes:
        if node.logs_to_file:
            source = sources.setdefault(node.logfile, Source(node.logfile))
            source.nodes.append(node)
    for source in sources.values():
        source.names = ",".join(node.short if alike[node.short] == 1 else node.name for node in source.nodes)
    search = Search(query, moments, machine)
    yield from search.found(sources.values())
    if query.follow:
        yield from search.added(_followed([*sources.values()], machine))


def _followed(sources: Sequence[Source], machine: Machine) -> Iterator[LogLine]:
    """What is added."""
    delay = _FIRST_LOOK
    while True:
        quiet, rest = True, False
        for source in sources:
            yield from source.lines(b"")
            for _ in range(_TURN):
                data = machine.log_more(source.path, _CHUNK)
                if not data:
                    break
                quiet = False
                yield from source.lines(data)
            else:
                rest = True
        delay = min(delay * 1.5, _MOST_LOOK) if quiet else _FIRST_LOOK
        if any(isinstance(one, Interruption) for one in machine.wait(machine.now() + (0.0 if rest else delay))):
            return


def refused(node: Node, error: MachineError) -> Unseen:
    """A node whose log the machine refuses."""
    denied = error.errno in {errno.EPERM, errno.EACCES}
    return Unseen(node, str(error), EXIT_PERMISSION if denied else EXIT_FAILED)


def unreadable(nodes: Sequence[Node], machine: Machine) -> tuple[Unseen, ...]:
    """The nodes whose logs show nothing, or not yet, each with the reason."""
    found: list[Unseen] = []
    for node in nodes:
        if not node.logs_to_file:
            found.append(Unseen(node, f"logs to {node.logfile}, which cannot be read again"))
            continue
        try:
            machine.log_begin(node.logfile, node.logfile, 0)
        except MachineError as error:
            found.append(refused(node, error))
        else:
            if not machine.kind(node.logfile):
                found.append(Unseen(node, f"has no log yet at {node.logfile}", 0))
    return tuple(found)


def last_lines(node: Node, count: int, machine: Machine) -> tuple[str, ...]:
    """What the node printed last, blank lines left out; nothing where that cannot be read."""
    if not node.logs_to_file:
        return ()
    key = f"last lines of {node.name}"
    try:
        data = machine.log_begin(key, node.logfile, _LAST)
    except MachineError:
        return ()
    finally:
        machine.release(key)
    lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return tuple(lines[-count:])
