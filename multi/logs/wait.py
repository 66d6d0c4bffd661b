"""Wait for a line of each node's log."""

from __future__ import annotations

from multi.errors import EXIT_INTERRUPTED
from multi.logs.read import LogLine, Query, Unseen
from multi.logs.search import Search, matcher
from multi.machine import MachineError
from multi.model.happening import Interruption, Printed
from multi.text import duration
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping, Sequence

    from multi.logs.since import Moment
    from multi.machine import Machine
    from multi.model.node import Node


def wait(
    nodes: Sequence[Node],
    pattern: re.Pattern[str],
    machine: Machine,
    timeout: float | None,
    moments: Mapping[str, Moment] | None,
) -> Iterator[LogLine | Unseen]:
    """The first line of each node in which the pattern is found: one that is written from now on.

    With `moments` one that was written since then will do, too. What is not there after `timeout` seconds is `Unseen`.
    """
    until = None if timeout is None else machine.now() + timeout
    keeps = matcher(pattern, machine)
    awaited: dict[str, Node] = {}
    for node in nodes:
        try:
            # First follow, then search: what is written in between is told.
            machine.follow(node.name, node.logfile, machine.size(node.logfile), bounded=False)
        except MachineError as error:
            yield Unseen(node, str(error))
            continue
        search = None if moments is None else Search(Query(lines=None, pattern=pattern), moments, machine)
        line = None if search is None else next(search.of(node), None)
        if line is None:
            awaited[node.name] = node
        else:
            yield line
    while awaited:
        for happened in machine.wait(until):
            if isinstance(happened, Interruption):
                yield from (Unseen(node, "interrupted", EXIT_INTERRUPTED) for node in awaited.values())
                return
            if not isinstance(happened, Printed) or happened.key not in awaited:
                continue
            found = next((line for line in happened.lines if keeps(line)), None)
            if found is not None:
                yield LogLine(awaited.pop(happened.key).short, found)
        if until is not None and machine.now() >= until:
            why = f"has printed no such line within {duration(timeout or 0.0)}"
            yield from (Unseen(node, why) for node in awaited.values())
            return
