"""Events, progress, routes, differences, settings and logs as lines for a person."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from multi.api import Difference, Selection
from multi.model.event import (
    KILLED_BY,
    Adopted,
    Awaits,
    Cleared,
    CutOff,
    Drained,
    Ending,
    Event,
    Exited,
    Failed,
    Forgotten,
    GaveUp,
    Gone,
    Halted,
    Hooked,
    Interrupted,
    Output,
    Readied,
    Recovered,
    Recycling,
    Refused,
    Resumed,
    Retrying,
    RolledBack,
    Settled,
    Signalled,
    Skipped,
    Spawned,
    Survived,
    Unhealthy,
    Updated,
    Waiting,
)
from multi.model.node import Known, Node, Unknown
from multi.model.schedule import signal_name
from multi.model.step import (
    Adopt,
    AwaitDown,
    AwaitEnd,
    AwaitReady,
    AwaitUp,
    Clear,
    Consume,
    Drain,
    Finish,
    Forget,
    GiveUp,
    Kill,
    PutOff,
    Refuse,
    Resume,
    Rewrite,
    Route,
    Signal,
    Skip,
    Spawn,
    Step,
    Stop,
    Take,
)
from multi.report.status import PLAIN, Style, line_of, turn_text
from multi.settings.table import SETTINGS
from multi.settings.values import to_toml
from multi.text import duration, flag_values, listed, plural, printable
from multi.value import dataclass, field, replace
from multi.words.merge import nobody_said

_VERB_COLOUR = {
    "start": "green",
    "restart": "yellow",
    "stop": "red",
    "clear": "yellow",
    "forget": "yellow",
    "update": "cyan",
    "refuse": "red",
    "hold": "yellow",
}
_IN_COMMAND = frozenset({"cmd", "executable", "append"})  # they are shown as the one command that they make
_SOURCES = {
    "record": "start as on record",
    "preset": "nothing is on record, so start a bare worker",
    "former": "start as it was before",
    "same": "start the same command again, because no other is on record",
}
_MOST_PIDS = 10  # as many as fit a line
_FIRST_LINE_AFTER = 1.0  # seconds; a shorter wait needs no line in a log
LINE_EVERY = 30.0  # seconds between two lines of progress in a log; a shorter wait is not woken up for any
_WAITS = {
    "lock": "that another multi has locked",
    "need": "whose needs do not hold yet",
    "end": "to end",
    "ready": "to be ready",
    "health": "to prove that it works",
    "settle": "to settle",
    "idle": "to do their last task",
    "answer": "to answer",
}


def event_lines(  # noqa: C901, PLR0911, PLR0912, PLR0915 -- one case an event is the table
    event: Event, style: Style = PLAIN, *, verbose: bool = False, earlier: Sequence[Event] = (), typed: str = ""
) -> tuple[str, ...]:
    """`event` for a person: one line, a failure with more below it, nothing for what others already say.

    `earlier` is what was shown before, `typed` what to type again after a rolling command that failed.

    `Waiting` has no line of its own; see `Progress`.
    """
    match event:
        case Spawned(node, _, argv, source) if source:
            return (line_of(node, f"{_SOURCES[source]}: {printable(shlex.join(argv))}", style, "dim"),)
        case Spawned(node, pid, argv):
            return (line_of(node, f"pid {pid} runs {printable(shlex.join(argv))}", style, "dim"),) if verbose else ()
        case Readied(node, pid, after, how, note):
            proof = "alive" if how == "alive" else "ready"
            text = f"started, pid {pid}, {proof} after {duration(after)}"
            if verbose and how != "alive":
                text += f" ({printable(how)})"
            return (line_of(node, text + (f"; {printable(note)}" if note else ""), style, "green"),)
        case Settled(node, pid, after):
            return (line_of(node, f"settled, pid {pid} has been well for {duration(after)}", style, "green"),)
        case RolledBack(node, pid, why, note):
            text = f"rolled back: {printable(why)}; pid {pid} runs as before"
            return (line_of(node, text + (f", {printable(note)}" if note else ""), style, "yellow"),)
        case Signalled(node, pid, signum, after, others):
            text = f"sent {signal_name(signum)} to pid {pid}"
            if others:
                text += f" and {plural(others, 'other process')} of its tree"
            return (line_of(node, text + (f" after {duration(after)}" if after >= 1 else ""), style),)
        case Gone(node, pid, after, code, by):
            word, colour = ("killed", "red") if code else ("stopped", "green")
            more = f"; the exit code is {code}" if code else f"; {KILLED_BY} ({printable(by)})" if by else ""
            return (line_of(node, f"{word}, pid {pid} gone after {duration(after)}{more}", style, colour),)
        case Survived(node, _, after, pids, killed):
            schedule = "although KILL was sent" if killed else "the whole stop schedule"
            text = f"failed: {_pids(pids)} still there after {duration(after)}, {schedule}"
            hint = "'multi kill' sends KILL to the whole tree"
            if killed:
                shown = ",".join(map(str, pids[:_MOST_PIDS]))
                hint = f"it is another user's, or waits in the kernel: see 'ps -o pid,user,stat,wchan -p {shown}'"
            return (line_of(node, text, style, "red"), f"    hint: {hint}")
        case Cleared(node, why):
            if why:
                return (line_of(node, f"cleared what was left behind: {printable(why)}", style, "yellow"),)
            return (line_of(node, "removed its pidfile", style, "dim"),) if verbose else ()
        case Forgotten(node):
            return (line_of(node, "forgotten: it is on record no more", style),)
        case Adopted(node, pid, why):
            return (line_of(node, f"adopted pid {pid}: {printable(why)}", style, "yellow"),)
        case CutOff() | Drained() | Resumed():
            from multi.report.work import told

            text, colour = told(event)
            return (line_of(event.node, text, style, colour),)
        case Updated(node, pid):
            text = "runs on, with its new settings on record" + ("" if pid is None else f", pid {pid}")
            return (line_of(node, text, style, "cyan"),)
        case Skipped(node, pid, why, met):
            text = printable(why) + ("" if pid is None else f", pid {pid}")
            return (line_of(node, text, style, "" if met else "yellow"),)
        case Failed():
            from multi.report.failures import failed_lines

            return failed_lines(event, style, earlier)
        case Retrying() | GaveUp() | Exited():
            from multi.report.failures import ended_lines

            return ended_lines(event, style)
        case Refused(node, why):
            return (line_of(node, f"refused: {printable(why)}", style, "red"),)
        case Awaits() | Unhealthy() | Recovered() | Recycling() | Hooked():
            from multi.report.failures import upkeep_lines

            return upkeep_lines(event, style, verbose=verbose)
        case Waiting() | Output():  # who shows them, knows how
            return ()
        case Interrupted(signum):
            text = f"multi: interrupted by {signal_name(signum)}: nothing more is done; 'multi status' tells what runs"
            return (style.paint("red", text),)
        case Ending():
            from multi.report.output import ending_line

            return (ending_line(event, style),)
        case Halted():
            from multi.report.failures import halted_lines

            return halted_lines(event, style, typed)


def printed_lines(lines: Iterable[str], style: Style) -> list[str]:
    """What a node or a hook has printed, below the line about it."""
    return [f"    {style.paint('dim', '|')} {printable(line)}" for line in lines]


def _pids(pids: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, pids[:_MOST_PIDS]))
    more = f" and {len(pids) - _MOST_PIDS} more" if len(pids) > _MOST_PIDS else ""
    return f"{'pid' if len(pids) == 1 else 'pids'} {shown}{more}"


def route_line(route: Route, style: Style = PLAIN) -> str:
    """What ``--dry-run`` says of one node: its steps, in order, on one line."""
    refused = any(isinstance(step, Refuse) for step in route.steps)
    text = ", then ".join(printable(_step_text(step, route)) for step in route.steps) or "nothing to do"
    text += f"; waits for {printable(listed(route.waits))}" if route.waits else ""
    turn = turn_text(route.turn)
    return line_of(route.node.name, f"{turn}: {text}" if turn else text, style, "red" if refused else "")


def _step_text(step: Step, route: Route) -> str:  # noqa: C901, PLR0911, PLR0912 -- one case a step is the table
    match step:
        case Skip(why):
            return f"nothing to do: {why}"
        case Refuse(why):
            return f"refused: {why}"
        case Spawn(source):
            return f"{_SOURCES.get(source, 'start')}: {shlex.join(route.node.words)}"
        case AwaitReady(proc):
            return f"wait until pid {proc.pid} is ready"
        case AwaitUp():
            return "wait until it is up"
        case AwaitDown(proc):
            return f"wait until pid {proc.pid} ends by itself"
        case Resume(proc):
            return f"resume pid {proc.pid}, which is suspended"
        case Drain(proc, until_idle):
            return f"drain pid {proc.pid}" + (" and wait for its last task" if until_idle else "")
        case Consume(proc):
            return f"let pid {proc.pid} consume again"
        case Signal(proc, signum):
            return f"send {signal_name(signum)} to pid {proc.pid}"
        case AwaitEnd(proc, schedule):
            return f"wait for the end of pid {proc.pid} by {schedule}"
        case Stop(proc, schedule, _, why):
            return f"stop pid {proc.pid} by {schedule}" + (f", because {why}" if why else "")
        case Kill(proc):
            return f"kill pid {proc.pid} and its whole tree"
        case Clear(why, keep):
            if why:
                return f"clear what is left behind: {why}"
            return "remove the pidfile" if keep else "remove the pidfile, and put it on record as stopped"
        case Forget():
            return "take it off the record"
        case Rewrite():
            return "put its new settings on record"
        case Adopt(proc, why):
            return f"adopt pid {proc.pid}: {why}"
        case PutOff(after):
            return f"start it again in {duration(after)}"
        case GiveUp(why):
            return f"give it up: {why}"
        case Finish():
            return "put on record that it has ended by itself"
        case Take(proc):
            return f"hold pid {proc.pid}, whose 'multi run' is gone"


def difference_lines(difference: Difference, style: Style = PLAIN) -> tuple[str, ...]:
    """What ``diff`` says of one node: what `apply` would do, why, and each setting that differs."""
    verb = style.paint(_VERB_COLOUR[difference.verb], difference.verb)
    why = f" ({printable(difference.why)})" if difference.why else ""
    turn = turn_text(difference.turn)
    lines = [f"{printable(difference.node)}: {verb}{why}" + (f", {turn}" if turn else "")]
    lines += [f"    waits for {printable(listed(difference.waits))}"] if difference.waits else []
    lines += [f"    {name}: {old} -> {new}" for name, (old, new) in shown_changes(difference).items()]
    return tuple(lines)


def shown_changes(difference: Difference) -> dict[str, list[str]]:
    """Setting -> its running and its configured value, each the way the setting is written; ``-`` is none."""
    return {
        name: [printable(_setting_text(name, value)) or "-" for value in (old, new)]
        for name, old, new in difference.changes
    }


def check_lines(selection: Selection, problems: int, style: Style = PLAIN, *, verbose: bool = False) -> tuple[str, ...]:
    """What ``check`` says: the file that is read, what somebody set for each node and where, and a verdict.

    With `verbose` also what nobody set.
    """
    why = f" ({selection.found})" if selection.found else ""
    lines = [f"configuration: {printable(selection.config or 'none was found')}{why}"]
    for node in selection.nodes:
        lines.append(style.paint("bold", printable(node.name)))
        lines.append(f"    command = {printable(shlex.join(node.words))}")
        shown = [row for row in settings_of(selection, node) if verbose or not nobody_said(row[0], {row[0]: row[2]})]
        width = max((len(name) for name, _, _ in shown), default=0)
        lines += [f"    {name:<{width}} = {text}  ({printable(source)})" for name, text, source in shown]
        if node.alive is not None and node.alive.sign == "watchdog":
            lines.append(
                f"    note: only 'multi run' hears alive = {node.alive}; 'multi ensure' restarts nobody for it"
            )
    verdict = f"{plural(len(selection.nodes), 'node')}, {plural(problems, 'problem') if problems else 'no problem'}"
    return (*lines, style.paint("red" if problems else "green", verdict))


def settings_of(selection: Selection, node: Node) -> list[tuple[str, str, str]]:
    """Name, final value as text, and source of each setting of a node."""
    sources = selection.sources.get(node.name, {})
    final: dict[str, object] = {"pidfile": node.pidfile, "logfile": node.logfile, "workdir": node.workdir}
    return [
        (name, printable(_setting_text(name, final.get(name, value))) or "-", sources.get(name, ""))
        for name, value in selection.settings.get(node.name, {}).items()
        if name not in _IN_COMMAND
    ]


def _setting_text(name: str, value: object) -> str:
    """The value as its setting is written on the command line."""
    match value:
        case None:
            return "-"
        case Known(words):
            return shlex.join(words)
        case Unknown(why):
            return f"not known: {why}"
    texts = flag_values(to_toml(SETTINGS[name], value) if name in SETTINGS else value)
    return shlex.join(texts) if isinstance(value, tuple) else texts[0]


@dataclass(frozen=True, slots=True)
class Progress:
    """The nodes that `multi` still waits for, by full name."""

    waits: Mapping[str, Waiting] = field(default_factory=dict)
    said: float | None = None  # seconds waited when `told` was called last

    def after(self, event: Event) -> Progress:
        """The progress once `event` has happened.

        A signal and a spawn begin a wait, so the first line of a round names all nodes. Any other event ends the wait.
        """
        waits = dict(self.waits)
        match event:
            case Waiting(node):
                waits[node] = event
            case Signalled(node, pid, _, after):
                waits.setdefault(node, Waiting(node, pid, "end", after))
            case Spawned(node, pid):
                waits[node] = Waiting(node, pid, "ready", 0.0)
            case Awaits(node, what, _, True):
                waits[node] = Waiting(node, 0, "need", 0.0, note=what)
            case Interrupted() | Halted() | Output() | Ending():
                pass
            case _:
                waits.pop(event.node, None)
        return Progress(waits, self.said if waits else None)

    @property
    def elapsed(self) -> float:
        """Seconds that the longest of the waits has taken."""
        return max((wait.since for wait in self.waits.values()), default=0.0)

    @property
    def due(self) -> bool:
        """Whether a log file should get a line now."""
        if self.said is None or self.elapsed < self.said:
            return self.elapsed >= _FIRST_LINE_AFTER
        return self.elapsed - self.said >= LINE_EVERY

    def told(self) -> Progress:
        """The progress after its line was printed."""
        return replace(self, said=self.elapsed)

    def line(self, width: int = 0) -> str:
        """``waiting for 3 nodes to end: w1 w2 w3 | 12s | next: QUIT in 78s``; empty without waits.

        What the nodes have in hand comes last, or else the status text of the node with the longest wait: of a node
        that is waited for alone, ``w1: 2 tasks: orders.export 3f2a 41s, mail.send 9c01 2s; QUIT in 49s`` is all.
        `width` is the limit in columns, 0 for none; that text is cut first, then names are left out.
        """
        waits = self.waits.values()
        if not waits:
            return ""
        busy = []
        if any(wait.work is not None for wait in waits):
            from multi.report.work import work_texts

            busy = work_texts(waits)
        if len(busy) == len(waits) == 1:
            return _cut(busy[0], width)
        text = _progress_text(waits, len(waits))
        if 0 < width < len(text):
            from bisect import bisect

            fitting = bisect(range(1, len(waits)), width, key=lambda names: len(_progress_text(waits, names)))
            text = _progress_text(waits, fitting)[:width]
        said = [wait for wait in waits if wait.note]
        if said and not busy:
            longest = max(said, key=lambda wait: wait.since)
            busy = [f"{printable(longest.node.partition('@')[0])}: {printable(longest.note)}"]
        return _cut(" | ".join((text, *busy)), width)


def _cut(text: str, width: int) -> str:
    return text[: width - 1] + "…" if 0 < width < len(text) else text


def _progress_text(waits: Iterable[Waiting], names: int) -> str:
    groups = {what: [wait for wait in waits if wait.what == what] for what in _WAITS}
    return "; ".join(_group_text(what, some, names) for what, some in groups.items() if some)


def _group_text(what: str, waits: Sequence[Waiting], names: int) -> str:
    shorts = [printable(wait.node.partition("@")[0]) for wait in waits]
    if len(set(shorts)) < len(shorts):  # two hosts, one short name
        shorts = [printable(wait.node) for wait in waits]
    text = f"waiting for {plural(len(waits), 'node')} {_WAITS[what]}"
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
