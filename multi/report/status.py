"""The words for states, and what becomes the exit code of a command: states, events, routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multi.api import View
from multi.decide import proc_of
from multi.decide.restart import Again, GivenUp, verdict
from multi.errors import EXIT_FAILED, EXIT_INTERRUPTED
from multi.model.event import Event, Failed, GaveUp, Gone, Halted, Interrupted, Refused, Skipped, Survived
from multi.model.request import Turn
from multi.model.state import SUSPENDED, Dead, Down, End, Lost, State, Stopping, Unsure, Up
from multi.model.step import Refuse, Route, Skip
from multi.text import duration

STATUS_UNKNOWN = 4
# Word of a state -> its colour, and the exit code of ``status`` ("Init Script Actions", Linux Standard Base Core 5.0,
# section 22.2). The code says whether the program runs. A starting, stopping or lost node does: a caller who takes any
# other code for "not running" would leave its process alone at shutdown.
STATES = {
    "running": ("green", 0),
    "starting": ("yellow", 0),
    "stopping": ("yellow", 0),
    "lost": ("magenta", 0),
    "stopped": ("dim", 3),
    "dead": ("red", 1),
    "unsure": ("magenta", STATUS_UNKNOWN),
}
_WORST_FIRST = (STATUS_UNKNOWN, 1, 3, 0)


def state_word(state: State) -> str:
    """One of ``running starting stopping stopped dead lost unsure``."""
    match state:
        case Down():
            return "stopped"
        case Up(ready=ready):
            return "running" if ready else "starting"
        case Stopping():
            return "stopping"
        case Dead(on_purpose=on_purpose):
            return "stopped" if on_purpose else "dead"
        case Lost():
            return "lost"
        case Unsure():
            return "unsure"


def counted(views: Sequence[View]) -> str:
    """``2 running, 1 dead``."""
    words = [state_word(view.state) for view in views]
    return ", ".join(f"{words.count(word)} {word}" for word in STATES if word in words)


def reason(state: State) -> str | None:
    """Why the node is in that state."""
    match state:
        case Dead(why, end=End() as end):
            return f"{why}{_left_alone(end)}"
        case Down(on_record=True, since=since, by=by) | Dead(on_purpose=True, since=since, by=by) if by or isinstance(
            state, Down
        ):
            return _stopped(since, by)
        case Dead(why) | Lost(_, why) | Unsure(why):
            return why or None
        case Up(suspended=True):
            return SUSPENDED
        case Stopping(suspended=True):
            return "suspended by SIGSTOP or by a stop that was cut off; 'multi stopwait' goes on"
        case _:
            return None


def _left_alone(end: End) -> str:
    """Who starts it again, and when."""
    match verdict(end.record, end.status, end.wall, "run" if end.held else "ensure"):
        case GivenUp(why, new=False):
            return f"; given up: {why}; 'multi start {end.record.node.short}' starts it again"
        case Again(after) if after > 0 and end.held:
            return f"; 'multi run' starts it again in {duration(after)}"
        case Again(after) if after > 0:
            return f"; 'multi ensure' leaves it alone for {duration(after)} more"
        case _:
            return ""


def _stopped(since: float | None, by: str) -> str:
    ago = "" if since is None else f" {duration(since)} ago"
    return f"stopped{ago}{by and f' by {by}'}"


def shown_pid(state: State) -> int | None:
    """The pid of the process that the state is about."""
    proc = proc_of(state)
    return proc.pid if proc else None


def status_code(state: State) -> int:
    """The exit code of ``status`` for one node."""
    return STATES[state_word(state)][1]


def status_exit_code(views: Iterable[View]) -> int:
    """One code for all nodes: the worst counts. No node at all is not running: 3."""
    codes = {status_code(view.state) for view in views}
    return next((code for code in _WORST_FIRST if code in codes), 3)


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


def turn_text(turn: Turn) -> str:
    """When a node is started, where nodes take turns: ``turn 1, canary, watched for 10s``; empty where nothing is."""
    words = [f"turn {turn.number}", *(["canary"] if turn.canary else [])]
    words += [f"watched for {duration(turn.settle)}"] if turn.settle else []
    return ", ".join(words) if turn.number else ""
