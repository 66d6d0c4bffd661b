"""An event, a sighting or a route as a line or as JSON; a ledger of events as an exit code.

Everything here is pure: values in, text or numbers out. Who prints it, and where, is `multi.cli`'s business.
What other programs read (the keys of the JSON objects, the exit codes) is a contract and changes only on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from multi.api import Difference, Selection, View
from multi.check import Obstacle
from multi.errors import EXIT_FAILED, EXIT_INTERRUPTED
from multi.logs import LogLine
from multi.model.event import (
    Adopted,
    Cleared,
    Event,
    Failed,
    Gone,
    Halted,
    Interrupted,
    Readied,
    Refused,
    Signalled,
    Skipped,
    Spawned,
    Survived,
    Waiting,
)
from multi.model.node import Known, Node, Unknown
from multi.model.schedule import KILL, signal_name
from multi.model.state import Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.model.step import (
    Adopt,
    AwaitDown,
    AwaitEnd,
    AwaitReady,
    AwaitUp,
    Clear,
    Kill,
    Refuse,
    Resume,
    Rewrite,
    Route,
    Signal,
    Skip,
    Spawn,
    Step,
    Stop,
)
from multi.text import duration, plural, printable, seconds_text, size
from multi.value import dataclass, field, replace

# Exit codes of ``status``: "Init Script Actions", Linux Standard Base Core 5.0, section 22.2.
STATUS_RUNNING = 0
STATUS_DEAD = 1
STATUS_STOPPED = 3
STATUS_UNKNOWN = 4

_SGR = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_STATE_COLOUR = {
    "running": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "stopped": "dim",
    "dead": "red",
    "lost": "magenta",
    "unsure": "magenta",
}


# -- text that is fit for a terminal -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks; `colour` is true only where a person reads it on a terminal."""

    colour: bool = False

    def paint(self, name: str, text: str) -> str:
        """`text` in the colour `name` (``bold dim red green yellow blue magenta cyan``), or as it is."""
        return f"\x1b[{_SGR[name]}m{text}\x1b[0m" if self.colour else text


PLAIN = Style()


def shell(argv: Sequence[str]) -> str:
    """`argv` as a line that a POSIX shell runs as it is (G11)."""
    import shlex

    return shlex.join(argv)


def to_json(value: object) -> str:
    """`value` as JSON on one line, in ASCII: a reader in any locale gets the same bytes."""
    import json

    return json.dumps(value, allow_nan=False)


def _number(value: float | None) -> float | None:
    """JSON has neither infinity nor NaN; what is not a number is not known."""
    return value if value is not None and isfinite(value) else None


# -- events --------------------------------------------------------------------------------------------------------


def is_failure(event: Event) -> bool:
    """Whether `event` belongs on stderr and is shown even to who asked for quiet."""
    if isinstance(event, Skipped):
        return not event.met
    return isinstance(event, (Failed, Refused, Survived, Interrupted, Halted))


def event_lines(  # noqa: C901, PLR0911, PLR0912 -- one case an event is the table
    event: Event, style: Style = PLAIN, *, verbose: bool = False
) -> tuple[str, ...]:
    """`event` for a person: one line, a failure with more below it, nothing for what others already say.

    `Waiting` has no line of its own; see `Progress`.
    """
    match event:
        case Spawned(node, pid, argv):
            return (_line(node, f"pid {pid} runs {printable(shell(argv))}", style, "dim"),) if verbose else ()
        case Readied(node, pid, after, how, note):
            proof = "alive" if how == "alive" else "ready"
            text = f"started, pid {pid}, {proof} after {duration(after)}"
            if verbose and how != "alive":
                text += f" ({printable(how)})"
            return (_line(node, text + (f"; {printable(note)}" if note else ""), style, "green"),)
        case Signalled(node, pid, signum, after, others):
            text = f"sent {signal_name(signum)} to pid {pid}"
            if others:
                text += f" and {plural(others, 'other process')} of its tree"
            return (_line(node, text + (f" after {duration(after)}" if after >= 1 else ""), style),)
        case Gone(node, pid, after):
            return (_line(node, f"stopped, pid {pid} gone after {duration(after)}", style, "green"),)
        case Survived(node, _, after, pids, killed):
            schedule = "although KILL was sent" if killed else "the whole stop schedule"
            text = f"failed: {_pids(pids)} still there after {duration(after)}, {schedule}"
            hint = "'multi kill' sends KILL to the whole tree"
            if killed:
                shown = ",".join(map(str, pids[:10]))
                hint = f"it is another user's, or waits in the kernel: see 'ps -o pid,user,stat,wchan -p {shown}'"
            return (_line(node, text, style, "red"), f"    hint: {hint}")
        case Cleared(node, why):
            if why:
                return (_line(node, f"cleared what was left behind: {printable(why)}", style, "yellow"),)
            return (_line(node, "removed its pidfile", style, "dim"),) if verbose else ()
        case Adopted(node, pid, why):
            return (_line(node, f"adopted pid {pid}: {printable(why)}", style, "yellow"),)
        case Skipped(node, pid, why, met):
            text = printable(why) + ("" if pid is None else f", pid {pid}")
            return (_line(node, text, style, "" if met else "yellow"),)
        case Failed():
            return _failed_lines(event, style)
        case Refused(node, why):
            return (_line(node, f"refused: {printable(why)}", style, "red"),)
        case Waiting():
            return ()
        case Interrupted(signum):
            text = f"multi: interrupted by {signal_name(signum)}: nothing more is done; 'multi status' tells what runs"
            return (style.paint("red", text),)
        case Halted():
            return (style.paint("red", f"multi: {_halted_text(event)}"),)


def _halted_text(event: Halted) -> str:
    """Which nodes run the old and which the new: ``stopped at the first failure; new: w1; as before: w3 w4``."""
    groups = (
        ("new", event.new),
        ("failed", event.failed),
        ("under way", event.unfinished),
        ("as before", event.untouched),
    )
    parts = ["stopped at the first failure" if event.failed else "stopped before the end"]
    parts += [f"{what}: {' '.join(map(printable, names))}" for what, names in groups if names]
    return "; ".join(parts)


def _line(node: str, text: str, style: Style, colour: str = "") -> str:
    return f"{style.paint('bold', printable(node))}: {style.paint(colour, text) if colour else text}"


def _pids(pids: tuple[int, ...]) -> str:
    shown = ", ".join(str(pid) for pid in pids[:10])
    more = f" and {len(pids) - 10} more" if len(pids) > 10 else ""  # noqa: PLR2004 -- as many as fit a line
    return f"{'pid' if len(pids) == 1 else 'pids'} {shown}{more}"


def _failed_lines(event: Failed, style: Style) -> tuple[str, ...]:
    text = f"failed: {printable(event.why)}" + ("" if event.pid is None else f" (pid {event.pid})")
    lines = [_line(event.node, text, style, "red")]
    lines += [f"    {style.paint('dim', '|')} {printable(line)}" for line in event.log_tail]
    if event.logfile:
        lines.append(f"    log: {printable(event.logfile)}")
    if event.exit_status == -KILL:
        lines.append("    hint: a KILL that nobody sent is often the kernel short of memory: see dmesg")
    elif event.logfile and not event.log_tail and not event.logfile.startswith(("/dev/", "/proc/")):
        lines.append("    hint: it printed nothing: try by hand what 'multi show' prints, with the same options")
    return tuple(lines)


def event_json(  # noqa: C901, PLR0911, PLR0912 -- one case an event is the table
    event: Event,
) -> dict[str, object] | None:
    """`event` as the object that ``--json`` prints; None for `Waiting`, which is progress and no fact.

    Every object has ``event``, ``node`` and ``pid`` (null where there is none), then the event's own facts.
    """
    match event:
        case Spawned(node, pid, argv):
            return _fact("spawned", node, pid, command=list(argv))
        case Readied(node, pid, after, how, note):
            return _fact("ready", node, pid, after=_number(after), how=how, note=note or None)
        case Signalled(node, pid, signum, after, others):
            return _fact("signalled", node, pid, signal=signal_name(signum), after=_number(after), others=others)
        case Gone(node, pid, after):
            return _fact("gone", node, pid, after=_number(after))
        case Survived(node, pid, after, pids, _):
            return _fact("survived", node, pid, after=_number(after), pids=list(pids))
        case Cleared(node, why):
            return _fact("cleared", node, None, why=why or None)
        case Adopted(node, pid, why):
            return _fact("adopted", node, pid, why=why)
        case Skipped(node, pid, why, met):
            return _fact("skipped", node, pid, why=why, met=met)
        case Failed(node, pid, why, exit_status, log_tail, logfile, exit_code):
            facts = {"why": why, "exit_status": exit_status, "log_tail": list(log_tail)}
            return _fact("failed", node, pid, **facts, logfile=logfile or None, exit_code=exit_code)
        case Refused(node, why, exit_code):
            return _fact("refused", node, None, why=why, exit_code=exit_code)
        case Waiting():
            return None
        case Interrupted(signum):
            return _fact("interrupted", None, None, signal=signal_name(signum))
        case Halted(new, failed, unfinished, untouched):
            left = {"unfinished": list(unfinished), "untouched": list(untouched)}
            return _fact("halted", None, None, new=list(new), failed=list(failed), **left)


def _fact(name: str, node: str | None, pid: int | None, **facts: object) -> dict[str, object]:
    return {"event": name, "node": node, "pid": pid, **facts}


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a stream of events comes to, one event after the other."""

    codes: frozenset[int] = frozenset()
    interrupted: bool = False

    def after(self, event: Event) -> Ledger:
        """The ledger with `event` entered."""
        match event:
            case Failed(exit_code=code) | Refused(exit_code=code):
                return replace(self, codes=self.codes | {code})
            case Survived() | Skipped(met=False):
                return replace(self, codes=self.codes | {EXIT_FAILED})
            case Interrupted():
                return replace(self, interrupted=True)
            case _:
                return self

    @property
    def exit_code(self) -> int:
        """0 when no node failed.

        An interrupted command says so (130), whatever else it did. A plain failure (1) hides a busy node (75) or a
        lack of permission (77), so that a caller who tries again on 75 alone never overlooks a node that is broken.
        With neither, the highest code.
        """
        if self.interrupted:
            return EXIT_INTERRUPTED
        if EXIT_FAILED in self.codes:
            return EXIT_FAILED
        return max(self.codes, default=0)


def exit_code(events: Iterable[Event]) -> int:
    """The exit code that `events` make; see `Ledger.exit_code`."""
    ledger = Ledger()
    for event in events:
        ledger = ledger.after(event)
    return ledger.exit_code


# -- progress ------------------------------------------------------------------------------------------------------

_FIRST_LINE_AFTER = 1.0  # seconds; what is done sooner needs no line in a log
LINE_EVERY = 30.0  # seconds between two lines of progress in a log; a shorter wait is not woken up for any
_WAITS = {"lock": "that another multi is at work on", "end": "to end", "ready": "to be ready"}


@dataclass(frozen=True, slots=True)
class Progress:
    """Who is still waited for, as far as the events have told."""

    waits: Mapping[str, Waiting] = field(default_factory=dict)
    said: float | None = None  # seconds waited when `told` was called last

    def after(self, event: Event) -> Progress:
        """The progress once `event` has happened.

        A signal and a spawn begin a wait, so that the first `Waiting` of a round already finds everybody here.
        Whatever else becomes of a node ends its wait.
        """
        match event:
            case Waiting():
                return self._waiting(event)
            case Signalled(node, pid, _, after):
                return self if node in self.waits else self._waiting(Waiting(node, pid, "end", after))
            case Spawned(node, pid):
                return self._waiting(Waiting(node, pid, "ready", 0.0))
            case Interrupted() | Halted():
                return self
            case _ if event.node in self.waits:
                left = dict(self.waits)
                del left[event.node]
                return Progress(left, self.said if left else None)
            case _:
                return self

    def _waiting(self, wait: Waiting) -> Progress:
        return replace(self, waits={**self.waits, wait.node: wait})

    @property
    def elapsed(self) -> float:
        """Seconds that the longest of the waits has taken."""
        return max((wait.since for wait in self.waits.values()), default=0.0)

    @property
    def due(self) -> bool:
        """Whether a log file should get a line now: after the first second, then now and then."""
        if not self.waits:
            return False
        if self.said is None or self.elapsed < self.said:
            return self.elapsed >= _FIRST_LINE_AFTER
        return self.elapsed - self.said >= LINE_EVERY

    def told(self) -> Progress:
        """The progress after its line was printed."""
        return replace(self, said=self.elapsed)

    def line(self, width: int = 0) -> str:
        """``waiting for 3 nodes to end: w1 w2 w3 | 12s | next: QUIT in 78s``; empty when nobody is waited for.

        What a node says of itself comes last, of the one that is waited for longest. `width` is the number of columns
        to keep to, 0 for no limit; that text gives way first, then names.
        """
        groups = [
            (what, [wait for wait in self.waits.values() if wait.what == what])
            for what in dict.fromkeys([*_WAITS, *(wait.what for wait in self.waits.values())])
        ]
        groups = [(what, waits) for what, waits in groups if waits]
        if not groups:
            return ""
        most = max(len(waits) for _, waits in groups)
        text = _progress_text(groups, most)
        if 0 < width < len(text):
            low, high = 0, most  # the largest number of names that fits: `low` of them fit or nothing does
            while low < high - 1:
                middle = (low + high) // 2
                if len(_progress_text(groups, middle)) <= width:
                    low = middle
                else:
                    high = middle
            text = _progress_text(groups, low)[:width]
        said = [wait for wait in self.waits.values() if wait.note]
        if said:
            longest = max(said, key=lambda wait: wait.since)
            text += f" | {printable(longest.node.partition('@')[0])}: {printable(longest.note)}"
            if 0 < width < len(text):
                text = text[: width - 1] + "…"
        return text


def _progress_text(groups: Sequence[tuple[str, Sequence[Waiting]]], names: int) -> str:
    return "; ".join(_group_text(what, waits, names) for what, waits in groups)


def _group_text(what: str, waits: Sequence[Waiting], names: int) -> str:
    shorts = [printable(wait.node.partition("@")[0]) for wait in waits]
    if len(set(shorts)) < len(shorts):  # two hosts, one short name
        shorts = [printable(wait.node) for wait in waits]
    text = f"waiting for {plural(len(waits), 'node')} {_WAITS.get(what, f'({printable(what)})')}"
    if names:
        more = len(waits) - names
        text += ": " + " ".join(shorts[:names]) + (f" +{more}" if more > 0 else "")
    text += f" | {round(max(wait.since for wait in waits))}s"
    nexts = [(wait.next_in, wait.next_signum) for wait in waits if wait.next_in is not None and isfinite(wait.next_in)]
    if nexts:
        seconds, signum = min(nexts, key=lambda item: item[0])
        what_next = "giving up" if signum is None else f"next: {signal_name(signum)}"
        text += f" | {what_next} in {max(0, round(seconds))}s"
    return text


# -- routes --------------------------------------------------------------------------------------------------------


def route_line(route: Route, style: Style = PLAIN) -> str:
    """What ``--dry-run`` says of one node: its steps, in order, on one line."""
    refused = any(isinstance(step, Refuse) for step in route.steps)
    text = ", then ".join(printable(_step_text(step, route)) for step in route.steps) or "nothing to do"
    return _line(route.node.name, text, style, "red" if refused else "")


def _step_text(step: Step, route: Route) -> str:  # noqa: C901, PLR0911, PLR0912 -- one case a step is the table
    match step:
        case Skip(why):
            return f"nothing to do: {why}"
        case Refuse(why):
            return f"refused: {why}"
        case Spawn():
            return f"start: {shell(route.node.words)}"
        case AwaitReady(proc):
            return f"wait until pid {proc.pid} is ready"
        case AwaitUp():
            return "wait until it is up"
        case AwaitDown(proc):
            return f"wait until pid {proc.pid} ends by itself"
        case Resume(proc):
            return f"let pid {proc.pid} go on: it stands still"
        case Signal(proc, signum):
            return f"send {signal_name(signum)} to pid {proc.pid}"
        case AwaitEnd(proc, schedule):
            return f"wait for the end of pid {proc.pid} by {schedule}"
        case Stop(proc, schedule):
            return f"stop pid {proc.pid} by {schedule}"
        case Kill(proc):
            return f"kill pid {proc.pid} and its whole tree"
        case Clear(why, keep):
            if why:
                return f"clear what is left behind: {why}"
            return "remove the pidfile" if keep else "remove the pidfile and record"
        case Rewrite():
            return "put its new settings on record"
        case Adopt(proc, why):
            return f"adopt pid {proc.pid}: {why}"


def route_json(route: Route) -> dict[str, object]:
    """`route` as the object that ``--dry-run --json`` prints: ``node`` and its ``steps``."""
    return {"node": route.node.name, "steps": [_step_json(step, route) for step in route.steps]}


def _step_json(  # noqa: C901, PLR0911, PLR0912 -- one case a step is the table
    step: Step, route: Route
) -> dict[str, object]:
    match step:
        case Skip(why, met):
            return {"step": "skip", "why": why, "met": met}
        case Refuse(why):
            return {"step": "refuse", "why": why}
        case Spawn():
            return {"step": "spawn", "command": list(route.node.words)}
        case AwaitReady(proc):
            return {"step": "await-ready", "pid": proc.pid}
        case AwaitUp():
            return {"step": "await-up"}
        case AwaitDown(proc):
            return {"step": "await-down", "pid": proc.pid}
        case Resume(proc):
            return {"step": "wake", "pid": proc.pid}
        case Signal(proc, signum):
            return {"step": "signal", "pid": proc.pid, "signal": signal_name(signum)}
        case AwaitEnd(proc, schedule):
            return {"step": "await-end", "pid": proc.pid, "schedule": str(schedule)}
        case Stop(proc, schedule):
            return {"step": "stop", "pid": proc.pid, "schedule": str(schedule)}
        case Kill(proc):
            return {"step": "kill", "pid": proc.pid}
        case Clear(why):
            return {"step": "clear", "why": why or None}
        case Rewrite():
            return {"step": "rewrite"}
        case Adopt(proc, why):
            return {"step": "adopt", "pid": proc.pid, "why": why}


def plan_exit_code(routes: Iterable[Route]) -> int:
    """1 when a node would be refused or left as it is, as the command itself would exit; else 0."""
    steps = [step for route in routes for step in route.steps]
    unmet = any(isinstance(step, Refuse) or (isinstance(step, Skip) and not step.met) for step in steps)
    return EXIT_FAILED if unmet else 0


# -- status --------------------------------------------------------------------------------------------------------


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


def _why(state: State) -> str | None:
    match state:
        case Dead(why, _, backoff) if backoff > 0:
            return f"{why}; 'multi ensure' tries again in {duration(backoff)}"
        case Dead(why) | Lost(_, why) | Unsure(why):
            return why or None
        case Up(suspended=True):
            return "it stands still, because somebody sent it STOP; 'multi start' lets it go on"
        case Stopping(suspended=True):
            return "it stands still, because a stop was cut off or somebody sent it STOP; 'multi stopwait' goes on"
        case _:
            return None


def _pid(state: State) -> int | None:
    return state.proc.pid if isinstance(state, (Up, Stopping, Lost)) else None


def status_code(state: State) -> int:
    """The exit code of ``status`` for one node, in the sense of the LSB.

    What counts is whether the program runs. A starting, stopping or lost node does: a caller who takes any other
    code for "not running" would leave its process alone at shutdown.
    """
    match state:
        case Up() | Stopping() | Lost():
            return STATUS_RUNNING
        case Down() | Dead(on_purpose=True):
            return STATUS_STOPPED
        case Dead():
            return STATUS_DEAD
        case Unsure():
            return STATUS_UNKNOWN


def status_exit_code(views: Iterable[View]) -> int:
    """One code for all nodes: 4 before 1 before 3 before 0. No node at all is not running: 3."""
    codes = {status_code(view.state) for view in views}
    return next((code for code in (STATUS_UNKNOWN, STATUS_DEAD, STATUS_STOPPED, STATUS_RUNNING) if code in codes), 3)


def view_json(view: View) -> dict[str, object]:
    """One element of the array that ``status --json`` prints; what is not known is null."""
    return {
        "node": view.node.name,
        "name": view.node.short,
        "state": state_word(view.state),
        "why": _why(view.state),
        "pid": _pid(view.state),
        "uptime": _number(view.uptime),
        "cpu_percent": _number(view.cpu_percent),
        "memory": view.memory,
        "children": view.children,
        "restarts": view.restarts,
        "status_text": view.status_text or None,
        "pidfile": view.node.pidfile,
        "logfile": view.node.logfile or None,
        "command": list(view.node.words) if isinstance(view.node.command, Known) else None,
    }


_COLUMNS = ("NODE", "STATE", "PID", "UPTIME", "CPU", "MEMORY", "CHILDREN", "RESTARTS", "LOG", "NOTE")
_TO_THE_RIGHT = {"PID", "UPTIME", "CPU", "MEMORY", "CHILDREN", "RESTARTS"}


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
        cells[1] = style.paint(_STATE_COLOUR[row[1]], cells[1])
        lines.append("  ".join(cells).rstrip())
    return tuple(lines)


def _row(view: View) -> tuple[str, ...]:
    pid = _pid(view.state)
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
    """Why it is as it is, and what it says of itself; of one that is gone, that these were its last words."""
    why, said = _why(view.state) or "", view.status_text
    if isinstance(view.state, Dead) and said:
        said = "" if _LAST_WORDS in why else f"{_LAST_WORDS} {said}"
    return "; ".join(text for text in (why, said) if text)


_LAST_WORDS = "it last said:"


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


# -- differences and settings ----------------------------------------------------------------------------------------

_VERB_COLOUR = {
    "start": "green",
    "restart": "yellow",
    "stop": "red",
    "clear": "yellow",
    "update": "cyan",
    "refuse": "red",
}


def difference_lines(difference: Difference, style: Style = PLAIN) -> tuple[str, ...]:
    """What ``diff`` says of one node: what `apply` would do, why, and each setting that differs."""
    verb = style.paint(_VERB_COLOUR[difference.verb], difference.verb)
    why = f" ({printable(difference.why)})" if difference.why else ""
    lines = [f"{printable(difference.node)}: {verb}{why}"]
    lines += [f"    {name}: {old} -> {new}" for name, (old, new) in _shown_changes(difference).items()]
    return tuple(lines)


def difference_json(difference: Difference) -> dict[str, object]:
    """`difference` as an object: ``node``, ``verb``, ``why``, ``changes`` as ``{setting: [running, configured]}``."""
    changes = _shown_changes(difference)
    return {"node": difference.node, "verb": difference.verb, "why": difference.why or None, "changes": changes}


def _shown_changes(difference: Difference) -> dict[str, list[str]]:
    """Setting -> its running and its configured value, each the way the setting is written; ``-`` is none."""
    return {
        name: [printable(_setting_text(name, value)) or "-" for value in (old, new)]
        for name, old, new in difference.changes
    }


def check_lines(selection: Selection, style: Style = PLAIN) -> tuple[str, ...]:
    """What ``check`` says: the file that is read, then each node with its settings and where they are from."""
    why = f" ({selection.found})" if selection.found else ""
    lines = [f"configuration: {printable(selection.config or 'none was found')}{why}"]
    for node in selection.nodes:
        lines.append(style.paint("bold", printable(node.name)))
        lines.append(f"    command = {printable(shell(node.words))}")
        shown = _settings(selection, node)
        width = max((len(name) for name, _, _ in shown), default=0)
        lines += [f"    {name:<{width}} = {text}  ({printable(source)})" for name, text, source in shown]
    return tuple(lines)


_IN_COMMAND = frozenset({"cmd", "executable", "append"})  # they are shown as the one command that they make


def _settings(selection: Selection, node: Node) -> list[tuple[str, str, str]]:
    """Name, final value as text, and source of each setting of a node."""
    sources = selection.sources.get(node.name, {})
    final: dict[str, object] = {"pidfile": node.pidfile, "logfile": node.logfile, "workdir": node.workdir}
    return [
        (name, printable(_setting_text(name, final.get(name, value))) or "-", sources.get(name, ""))
        for name, value in selection.settings.get(node.name, {}).items()
        if name not in _IN_COMMAND
    ]


def _setting_text(name: str, value: object) -> str:  # noqa: PLR0911 -- one case a kind is the table
    """The value the way the setting is written."""
    match name, value:
        case _, None:
            return "-"
        case _, Known(words):
            return shell(words)
        case _, Unknown(why):
            return f"not known: {why}"
        case "umask", int():
            return f"{value:03o}"
        case "reload_signal", int():
            return signal_name(value)
        case "rlimit", tuple():
            return " ".join(f"{limit}={_limit(soft)}:{_limit(hard)}" for limit, soft, hard in value)
        case "env", tuple():
            return shell(tuple(f"{key}-" if text is None else f"{key}={text}" for key, text in value))
        case _, tuple():
            return shell(tuple(str(item) for item in value))
        case _, float():
            return seconds_text(value)
    return str(value)


def _limit(number: int) -> str:
    return "unlimited" if number < 0 else str(number)


def check_json(selection: Selection, obstacles: Sequence[Obstacle]) -> dict[str, object]:
    """The same as one object: ``config``, ``nodes`` with ``settings`` as ``{name: [value, source]}``, ``obstacles``."""
    return {
        "config": selection.config,
        "nodes": [
            {
                "node": node.name,
                "command": list(node.words),
                "settings": {name: [text, source or None] for name, text, source in _settings(selection, node)},
            }
            for node in selection.nodes
        ],
        "obstacles": [{"node": each.node, "what": each.what, "why": each.why, "hint": each.hint} for each in obstacles],
    }


_LOG_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")


def log_line(line: LogLine, colour: int, style: Style = PLAIN) -> str:
    """One line of a log behind the names of its nodes; `colour` counts the logs. Tabs stay, for who cuts at them."""
    names = style.paint(_LOG_COLOURS[colour % len(_LOG_COLOURS)], f"{printable(line.names)} |")
    text = "\t".join(printable(part) for part in line.text.split("\t"))
    return f"{names} {text}"
