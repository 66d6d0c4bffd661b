"""What the exit code of `run` says of the stop in its end: 0 where each node ended by itself, 137 where one was killed.

A supervisor that sends TERM gets 0, as from a program that handles TERM: what it asked for is done, and a policy like
`on-failure` has nothing to do. 143 would say that TERM ended us, which it did not. 137 is what container engines show
for KILL, so work may be lost, whoever sent it: the stop schedule, a second signal, or the engine itself.
"""

from __future__ import annotations

import signal

from multi.errors import EXIT_KILLED
from multi.model.event import Gone, Signalled
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Generator

    from multi.model.event import Event


def forced(events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """The events of a stop. A main process that was sent KILL is gone with an exit code; its children do not count."""
    killed: set[tuple[str, int]] = set()
    try:
        for event in events:
            match event:
                case Signalled(node, pid, signal.SIGKILL):
                    killed.add((node, pid))
                case Gone(node, pid) if (node, pid) in killed:
                    yield replace(event, exit_code=EXIT_KILLED)
                    continue
            yield event
    finally:
        events.close()
