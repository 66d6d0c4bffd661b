"""The table of `status`, and what becomes the exit code of a command: states, events, routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multi.api import View
from multi.decide import proc_of
from multi.decide.backoff import remaining
from multi.errors import EXIT_FAILED, EXIT_INTERRUPTED
from multi.model.event import Event, Failed, Halted, Interrupted, Refused, Skipped, Survived
from multi.model.state import SUSPENDED, Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.model.step import Refuse, Route, Skip
from multi.report.lines import PLAIN, Style
from multi.text import duration, printable, size

STATUS_UNKNOWN = 4
# Word of a state -> its colour, and the exit code of ``status`` ("Init Script Actions", Linux Standard Base Core 5.0,
# section 22.2). The code says whether the program runs. A starting, stopping or lost node does: a caller who takes any
# other code for "not running" would leave its process alone at shutdown.
_STATES = {
    "running": ("green", 0),
    "starting": ("yellow", 0),
    "stopping": ("yellow", 0),
    "lost": ("magenta", 0),
    "stopped": ("dim", 3),
    "dead": ("red", 1),
    "unsure": ("magenta", STATUS_UNKNOWN),
}
_WORST_FIRST = (STATUS_UNKNOWN, 1, 3, 0)
_COLUMNS = ("NODE", "STATE", "PID", "UPTIME", "CPU", "MEMORY", "CHILDREN", "RESTARTS", "LOG", "NOTE")
_TO_THE_RIGHT = {"PID", "UPTIME", "CPU", "MEMORY", "CHILDREN", "RESTARTS"}
_LAST_WORDS = "it last said:"


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


def reason(state: State) -> str | None:
    """Why the node is in that state."""
    match state:
        case Dead(why, _, failures, ago) if (pause := remaining(failures, ago)) > 0:
            return f"{why}; 'multi ensure' tries again in {duration(pause)}"
        case Dead(why) | Lost(_, why) | Unsure(why):
            return why or None
        case Up(suspended=True):
            return SUSPENDED
        case Stopping(suspended=True):
            return "suspended by SIGSTOP or by a stop that was cut off; 'multi stopwait' goes on"
        case _:
            return None


def shown_pid(state: State) -> int | None:
    """The pid of the process that the state is about."""
    proc = proc_of(state)
    return proc.pid if proc else None


def status_code(state: State) -> int:
    """The exit code of ``status`` for one node."""
    return _STATES[state_word(state)][1]


def status_exit_code(views: Iterable[View]) -> int:
    """One code for all nodes: the worst counts. No node at all is not running: 3."""
    codes = {status_code(view.state) for view in views}
    return next((code for code in _WORST_FIRST if code in codes), 3)


def status_table(views: Sequence[View], style: Style = PLAIN) -> tuple[str, ...]:
    """The lines of the aligned table: a heading, then a line a node; ``-`` is not known or not there.

    The last column is there only when a node has something to say: why it is dead, or its own status text.
    """
    rows = [_row(view) for view in views]
    shown = len(_COLUMNS) if any(row[-1] for row in rows) else len(_COLUMNS) - 1
    widths = [max(_width(row[column]) for row in (_COLUMNS, *rows)) for column in range(shown)]
    lines = [style.paint("bold", "  ".join(_padded(_COLUMNS, widths)).rstrip())]
    for row in rows:
        cells = _padded(row, widths)
        cells[1] = style.paint(_STATES[row[1]][0], cells[1])
        lines.append("  ".join(cells).rstrip())
    return tuple(lines)


def _row(view: View) -> tuple[str, ...]:
    pid = shown_pid(view.state)
    return (
        printable(view.node.name),
        state_word(view.state),
        "-" if pid is None else str(pid),
        "-" if view.uptime is None else duration(view.uptime),
        "-" if view.cpu_percent is None else f"{view.cpu_percent:.1f}%",
        "-" if view.memory is None else size(view.memory),
        "-" if view.children is None else str(view.children),
        "-" if view.restarts is None else str(view.restarts),
        printable(view.node.logfile) or "-",
        printable(_note(view)),
    )


def _note(view: View) -> str:
    """Why the node is in its state, and what it says of itself; a dead node said it last."""
    why, said = reason(view.state) or "", view.status_text
    if isinstance(view.state, Dead) and said:
        said = "" if _LAST_WORDS in why else f"{_LAST_WORDS} {said}"
    return "; ".join(text for text in (why, said) if text)


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells: list[str] = []
    for heading, cell, width in zip(_COLUMNS, row, widths, strict=False):  # the last column may be left out
        blanks = " " * (width - _width(cell))
        cells.append(blanks + cell if heading in _TO_THE_RIGHT else cell + blanks)
    return cells


def _width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def event_code(event: Event) -> int:
    """The exit code that `event` stands for; 0 when it is no failure."""
    match event:
        case Failed(exit_code=code) | Refused(exit_code=code):
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
    permission (77), so that a caller who tries again on 75 alone never overlooks a node that is broken. With neither,
    the highest code.
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
