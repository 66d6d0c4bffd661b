"""Search the nodes' logs: by time, by a pattern, or both; of several logs the lines in the order of their times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from math import inf

from multi.errors import UsageError
from multi.logs.read import LogLine, Query, Source, Unseen, as_text, refused
from multi.logs.since import TimedLine, UntimedError, finished, lines_backwards, lines_since
from multi.logs.times import Times
from multi.machine import MachineError
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

    from multi.logs.since import Moment
    from multi.machine import LogFile, Machine
    from multi.model.node import Node

_SECONDS = 2.0  # that a pattern may take for one line
_MATCHED = 1 << 16  # characters of a line that a pattern is tried on
_UNTIMED = (
    "no line of its log says when it was written, so --since cannot tell which are newer; try --since-start or -n"
)


class Search:
    """One search. What cannot be searched is told, and the rest goes on."""

    def __init__(self, query: Query, moments: Mapping[str, Moment] | None, machine: Machine) -> None:
        """Look at nothing yet."""
        self._query = query
        self._moments = moments
        self._machine = machine
        self._times = Times(machine.wall())
        self._keeps = matcher(query.pattern, machine)

    def found(self, sources: Iterable[Source]) -> Iterator[LogLine | Unseen]:
        """The lines of all logs; each log is followed from where it was read to."""
        streams = [self._lines(source) for source in sources]
        if self._moments is None:
            for stream in streams:
                yield from stream
            return
        from heapq import merge

        yield from merge(*streams, key=lambda one: -inf if isinstance(one, Unseen) or one.at is None else one.at)

    def of(self, node: Node) -> Iterator[LogLine]:
        """The lines of one node's log."""
        source = Source(node.logfile)
        source.names, source.nodes = node.short, [node]
        return (line for line in self._lines(source) if isinstance(line, LogLine))

    def added(self, lines: Iterable[LogLine]) -> Iterator[LogLine]:
        """Those that are asked for of what is added; one that says no time is of now."""
        for line in lines:
            if self._keeps(line.text):
                at = self._times.of(line.text.encode("utf-8", "replace")) if self._query.timed else None
                yield LogLine(line.names, line.text, self._machine.wall() if at is None else at)

    def _lines(self, source: Source) -> Iterator[LogLine | Unseen]:
        key = f"searched {source.path}"
        try:
            try:
                lines = self._some(source, key)
            finally:
                if self._query.follow:  # before a line is shown: the log may be rotated then
                    self._go_on(source)
            if self._query.lines is not None:
                lines = iter(deque(lines, self._query.lines))
            for line in lines:
                yield LogLine(source.names, as_text(line.data.lstrip(b"\0")), line.at)
        except UntimedError:
            yield from (Unseen(node, _UNTIMED) for node in source.nodes)
        except MachineError as error:
            unseen = [refused(node, error) for node in source.nodes]
            yield from unseen
        finally:
            self._machine.release(key)

    def _some(self, source: Source, key: str) -> Iterator[TimedLine]:
        """What is asked of one log; where it is followed, what has no end yet is left for that."""
        files = self._machine.log_files(key, source.path)
        newest = files[0] if files else None
        end = 0 if newest is None else finished(newest) if self._query.follow else newest.size
        source.read_to = None if newest is None else newest.length - (newest.size - end)
        if self._moments is None:
            return iter(()) if newest is None else self._last(newest, end)
        moments = [self._moments[node.name] for node in source.nodes if node.name in self._moments]
        if not moments:
            return iter(())
        moment = min(moments, key=lambda one: one.at)
        older = self._machine.log_files(key, source.path, rotated=True)
        lines = lines_since([*files, *older], moment, self._times, end)
        return (line for line in lines if self._keeps(as_text(line.data)))

    def _last(self, file: LogFile, end: int) -> Iterator[TimedLine]:
        """The last lines that the pattern is found in, the oldest first."""
        count, keeps = self._query.lines, self._keeps
        found = list(islice((line for line in lines_backwards(file, end) if keeps(as_text(line))), count))
        last = None
        for line in reversed(found):
            at = self._times.of(line)
            # Without the lines between them the time of another one says nothing.
            last = at if at is not None or self._query.pattern is not None else last
            yield TimedLine(line, last)

    def _go_on(self, source: Source) -> None:
        """Begin to follow a log where it was read to."""
        try:
            source.rest = self._machine.log_begin(source.path, source.path, 1 << 28, source.read_to or 0)
        except MachineError:
            return  # it was told already


def matcher(pattern: re.Pattern[str] | None, machine: Machine) -> Callable[[str], bool]:
    """Whether a pattern is found in a line. Raises `UsageError` for one that does not come to an end."""
    if pattern is None:
        return lambda _: True
    search = pattern.search

    def found(line: str) -> bool:
        try:
            return machine.within(_SECONDS, lambda: search(line[:_MATCHED])) is not None
        except TimeoutError:
            why = f"takes more than {_SECONDS:g}s for one line of {len(line)} characters"
            raise UsageError(pattern.pattern, why, "write it without a repetition in a repetition") from None

    return found
