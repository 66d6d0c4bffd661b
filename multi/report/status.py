"""The words for states and how they look, and the exit code of ``status``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multi.api import View
from multi.model.request import Turn
from multi.model.state import SUSPENDED, Dead, Down, End, Lost, State, Stopping, Unsure, Up, proc_of
from multi.text import duration, printable
from multi.value import dataclass

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

_SGR = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks; `colour` is true only where a person reads it on a terminal."""

    colour: bool = False

    def paint(self, name: str, text: str) -> str:
        """`text` in the colour `name` (``bold dim red green yellow blue magenta cyan``), or in none."""
        return f"\x1b[{_SGR[name]}m{text}\x1b[0m" if self.colour and name else text


PLAIN = Style()


def line_of(node: str, text: str, style: Style, colour: str = "") -> str:
    """A line about a node."""
    return f"{style.paint('bold', printable(node))}: {style.paint(colour, text)}"


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
    from multi.decide.restart import Again, GivenUp, verdict

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


def turn_text(turn: Turn) -> str:
    """When a node is started, where nodes take turns: ``turn 1, canary, watched for 10s``; empty where nothing is."""
    words = [f"turn {turn.number}", *(["canary"] if turn.canary else [])]
    words += [f"watched for {duration(turn.settle)}"] if turn.settle else []
    return ", ".join(words) if turn.number else ""
