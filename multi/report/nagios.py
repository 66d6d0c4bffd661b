"""The nodes as a plugin of Nagios and its kin says them: a word, a line, performance data, and a code 0 to 3. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf

from multi.api import View
from multi.errors import UsageError
from multi.model.state import Dead, Lost, State, Stopping, Unsure, Up
from multi.report.status import reason, state_word
from multi.text import listed, plural, printable, seconds_in
from multi.value import dataclass

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_WORST_FIRST = (CRITICAL, WARNING, UNKNOWN, OK)
_LONGEST = 160  # letters of a reason: a line is what a pager shows


@dataclass(frozen=True, slots=True)
class Range:
    """A threshold, ``10``, ``2:``, ``~:10``, ``1:4`` or ``@1:4``: what lies outside raises the alarm, with @ inside."""

    text: str
    low: float
    high: float
    inside: bool = False

    def alarms(self, number: float) -> bool:
        """Whether that number is worth it."""
        return (self.low <= number <= self.high) == self.inside


def parse_range(option: str, text: str) -> Range:
    """A range as the guidelines for plugins have it. Raises `UsageError`."""
    plain = text.removeprefix("@")
    low, colon, high = plain.rpartition(":")
    first = -inf if low == "~" else seconds_in(low) if low else 0.0
    last = inf if colon and not high else seconds_in(high)
    if first is None or last is None or first > last:
        why = "is no range of numbers of running nodes"
        raise UsageError(f"{option}={text}", why, f"write it like {option}=2: for an alarm below two")
    return Range(text, first, last, plain != text)


@dataclass(frozen=True, slots=True)
class Check:
    """What is printed, on one line, and the plugin's exit code."""

    line: str
    code: int


def unknown(why: str) -> Check:
    """Nothing was found out."""
    return Check(f"MULTI {WORDS[UNKNOWN]}: {_plain(why)}", UNKNOWN)


def nagios(views: Sequence[View], warning: Range | None = None, critical: Range | None = None) -> Check:
    """The verdict on all nodes: that on the worst of them, or that of the thresholds for how many run."""
    words = Counter(state_word(view.state) for view in views)
    judged = [(_verdict(view), view) for view in views]
    running = words["running"]
    if warning is None and critical is None:
        code = next(code for code in _WORST_FIRST if code in {verdict for verdict, _ in judged} or code == OK)
    elif critical is not None and critical.alarms(running):
        code = CRITICAL
    elif warning is not None and warning.alarms(running):
        code = WARNING
    else:
        code = UNKNOWN if words["unsure"] else OK
    judged.sort(key=lambda each: _WORST_FIRST.index(each[0]))
    bad = [_said(view) for verdict, view in judged if verdict != OK]
    text = "; ".join((f"{running} of {plural(len(views), 'node')} running", *([listed(bad)] if bad else [])))
    return Check(f"MULTI {WORDS[code]}: {text} | {_performance(views, words, warning, critical)}", code)


def _verdict(view: View) -> int:
    match view.state:
        case Dead(on_purpose=False) | Up(suspended=True) | Stopping(suspended=True) | Lost(suspended=True):
            return CRITICAL
        case Unsure():
            return UNKNOWN
        case _ if view.unhealthy or (view.pulse is not None and not view.pulse.healthy):
            return CRITICAL
        case Up(ready=True):
            return OK
        case _:
            return WARNING


def _said(view: View) -> str:
    state: State = view.state
    why = view.unhealthy or (view.pulse.why if view.pulse is not None and not view.pulse.healthy else "")
    why = why or reason(state) or ""
    word = "unhealthy" if view.unhealthy else state_word(state)
    return _plain(f"{view.node.short} {word}" + (f" ({why})" if why and why != word else ""))


def _plain(text: str) -> str:
    """On one line, and without the bar that begins the performance data."""
    text = printable(text).replace("|", "/")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _performance(views: Sequence[View], words: Counter[str], warning: Range | None, critical: Range | None) -> str:
    """``'label'=value[UOM];warn;crit;min;max`` each; what is known of no node is left out."""
    limits = ";".join("" if each is None else each.text for each in (warning, critical))
    parts = [f"running={words['running']};{limits};0;{len(views)}"]
    parts += [f"{word}={words[word]};;;0;{len(views)}" for word in ("dead", "stopped")]
    parts.append(f"unhealthy={sum(bool(view.unhealthy) for view in views)};;;0;{len(views)}")
    memory = [view.memory for view in views if view.memory is not None]
    restarts = [view.restarts for view in views if view.restarts is not None]
    tasks = [view.beat.active for view in views if view.beat is not None]
    parts += [f"memory={sum(memory)}B;;;0"] if memory else []
    parts += [f"restarts={sum(restarts)}c;;;0"] if restarts else []
    parts += [f"tasks={sum(tasks)};;;0"] if tasks else []
    return " ".join(parts)
