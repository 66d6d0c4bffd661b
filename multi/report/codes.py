"""What becomes the exit code of a command: events and routes."""

from __future__ import annotations

from collections.abc import Iterable

from multi.errors import EXIT_FAILED, EXIT_INTERRUPTED
from multi.model.event import Event, Failed, GaveUp, Gone, Halted, Interrupted, Refused, Skipped, Survived
from multi.model.step import Refuse, Route, Skip


def event_code(event: Event) -> int:
    """The exit code that `event` stands for; 0 when it is no failure."""
    match event:
        case Failed(exit_code=code) | Refused(exit_code=code) | GaveUp(exit_code=code) | Gone(exit_code=code):
            return code
        case Survived() | Skipped(met=False):
            return EXIT_FAILED
        case Interrupted():
            return EXIT_INTERRUPTED
        case _:
            return 0


def is_failure(event: Event) -> bool:
    """Whether `event` belongs on stderr and is shown in spite of ``--quiet``."""
    return event_code(event) > 0 or isinstance(event, Halted)


def worst_code(codes: Iterable[int]) -> int:
    """The exit code of a command, of those of its events.

    An interrupted command says so (130), whatever else it did. A plain failure (1) hides a busy node (75) or a lack of
    permission (77), so that a caller who tries again on 75 alone never overlooks a node that is broken. It hides a node
    that had to be killed (137), too. With neither, the highest code.
    """
    found = set(codes)
    return next((code for code in (EXIT_INTERRUPTED, EXIT_FAILED) if code in found), max(found, default=0))


def exit_code(events: Iterable[Event]) -> int:
    """The exit code that `events` make: `worst_code` of theirs."""
    return worst_code(map(event_code, events))


def plan_exit_code(routes: Iterable[Route]) -> int:
    """1 when a node would be refused or left as it is, as the command itself would exit; else 0."""
    steps = [step for route in routes for step in route.steps]
    unmet = any(isinstance(step, Refuse) or (isinstance(step, Skip) and not step.met) for step in steps)
    return EXIT_FAILED if unmet else 0
