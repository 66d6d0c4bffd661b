"""The history of nodes, as lines and as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from multi.api import View
from multi.model.caller import Caller
from multi.model.past import Past
from multi.model.schedule import KILL
from multi.model.state import STOPPED_BY
from multi.report.lines import printed_lines
from multi.report.status import PLAIN, Style, line_of, reason, shown_pid, state_word
from multi.text import duration, printable

_COLOUR = {
    "ready": "green",
    "failed": "red",
    "survived": "red",
    "cut_off": "red",
    "refused": "red",
    "cleared": "yellow",
    "rolled_back": "yellow",
    "retrying": "yellow",
    "gave_up": "red",
}
_RUNS = {"spawned", "adopted"}  # with these a process begins
_LINES = {
    "spawned": "started, {pid}",
    "ready": "ready after {after}, {pid} ({why})",
    "cut_off": "{why}",
    "gone": "stopped, {pid} gone after {after}",
    "exited": "ended by itself, {pid}: {why}",
    "rolled_back": "rolled back, {pid}: {why}",
    "hooked": "hook {why}",
}
_SENTENCES = {  # before when and why
    "rolled_back": "was rolled back to what it was before",
    "gave_up": "was given up",
    "exited": "ended by itself",
    "unhealthy": "was found unhealthy",
    "recovered": "was found healthy again",
    "recycling": "was to be recycled",
    "hooked": "had a hook that was over",
    "interrupted": "was left",
}


def past_lines(node: str, past: Past, style: Style = PLAIN) -> tuple[str, ...]:
    """What ``history`` says of one event: a line, with the last lines of the log below it."""
    who = f"  {style.paint('dim', f'by {printable(past.by.text)}')}" if past.by is not None else ""
    line = f"{_moment(past.at)}  {line_of(node, _text(past), style, _COLOUR.get(past.what, ''))}{who}"
    return line, *printed_lines(past.tail, style)


def past_json(node: str, past: Past) -> dict[str, object]:
    """One event of the past, with the keys of the events that commands print; what is not known is null."""
    by = past.by
    return {
        "at": past.at,
        "event": past.what,
        "node": node,
        "pid": past.pid,
        "signal": past.signal or None,
        "after": past.after,
        "why": past.why or None,
        "exit_status": past.status,
        "log_tail": list(past.tail),
        "by": None if by is None else {"user": by.user, "where": by.where, "command": by.command, "pid": by.pid},
    }


def _text(past: Past) -> str:  # noqa: PLR0911 -- one return a case is the table
    pid = "" if past.pid is None else f"pid {past.pid}"
    after = "" if past.after is None else duration(past.after)
    why = printable(past.why)
    match past.what:
        case what if what in _LINES:
            return _LINES[what].format(pid=pid, after=after, why=why)
        case "signalled":
            return f"sent {printable(past.signal)} to {pid}" + (f" {why}" if why else "")
        case "cleared":
            return f"found {why}" if why.startswith(STOPPED_BY) else f"found dead: {why}"
        case "retrying":
            return f"{pid or 'its start'} failed: {why}; to be started again after {after}"
        case "gave_up":
            return f"given up{f', {pid}' if pid else ''}: {why}"
        case "drained" | "resumed":
            text = "takes no new task" if past.what == "drained" else "consumes again"
            return f"{text}, {pid}" + (f": {why}" if why else "")
        case "failed" | "refused" | "adopted" | "interrupted" | "survived" | "unhealthy" | "recovered" | "recycling":
            return f"{past.what}{f' {pid}' if pid else ''}: {why}"
        case _:
            return " ".join(filter(None, (printable(past.what), pid, why)))


def _moment(at: float, earlier: float | None = None) -> str:
    """Local time; without the date where the moment before was on the same day."""
    now = datetime.fromtimestamp(at)  # noqa: DTZ006 -- people read the clock on their wall
    same = earlier is not None and datetime.fromtimestamp(earlier).date() == now.date()  # noqa: DTZ006 -- the same
    return f"{now:%H:%M:%S}" if same else f"{now:%Y-%m-%d %H:%M:%S}"


def why_lines(view: View, past: Sequence[Past], style: Style = PLAIN) -> tuple[str, ...]:
    """What ``why`` says of one node: its last stretch in sentences, and what it is now."""
    told = list(_Story(view.node.name, style).told(_last_stretch(past)))
    if not told:
        told = [f"{style.paint('bold', printable(view.node.name))} has no history."]
    pid, why = shown_pid(view.state), reason(view.state)
    now = f"It is {state_word(view.state)}"
    now += "" if pid is None else f" as pid {pid}"
    now += "" if view.uptime is None else f", for {duration(view.uptime)}"
    if why and why.startswith(state_word(view.state)):  # "stopped 5s ago by root"
        now = f"It was {printable(why)}"
    elif why:
        now += f": {printable(why)}"
    printed = past[-1].tail if past else ()
    last = () if printed and printed[-1:] == view.last_lines[-1:] else view.last_lines  # the story has told it
    return *told, f"{now}.", *printed_lines(last, style)


def why_json(view: View, past: Sequence[Past]) -> dict[str, object]:
    """The same of one node as an object: its state, the sentences, and the events that they tell."""
    told = [past_json(view.node.name, one) for one in _last_stretch(past)]
    state, why = state_word(view.state), reason(view.state)
    return {"node": view.node.name, "state": state, "why": why, "text": list(why_lines(view, past)), "history": told}


def _last_stretch(past: Sequence[Past]) -> Sequence[Past]:
    """What belongs to the last two processes: how the one before ended is why there is the last one."""
    begun = [index for index, one in enumerate(past) if one.what in _RUNS]
    return past[begun[-2] if len(begun) > 1 else 0 :]


class _Story:
    """Tells events one after the other; who is not named twice, nor is the day."""

    def __init__(self, name: str, style: Style) -> None:
        self._subject = style.paint("bold", printable(name))
        self._style = style
        self._by: Caller | None = None
        self._at: float | None = None

    def told(self, past: Sequence[Past]) -> Iterator[str]:
        rest = list(past)
        while rest:
            one = rest.pop(0)
            same = [one]
            while rest and _belongs(same[-1], rest[0]):
                same.append(rest.pop(0))
            yield f"{self._subject} {self._sentence(same)}."
            self._subject = "It"
            yield from printed_lines(same[-1].tail, self._style)

    def _sentence(self, same: Sequence[Past]) -> str:  # noqa: C901, PLR0911 -- one return a case is the table
        one, last = same[0], same[-1]
        why = printable(last.why)
        match one.what:
            case "spawned":
                ready = f", ready after {duration(last.after or 0.0)}" if last.what == "ready" else ""
                return f"was started by {self._who(one)} at {self._when(one)} as pid {one.pid}{ready}"
            case "adopted":
                return f"was adopted as pid {one.pid} by {self._who(one)} at {self._when(one)}: {why}"
            case "signalled" | "cut_off":
                cut = "".join(f"; {printable(each.why)}" for each in same if each.what == "cut_off")
                signals = ", then ".join(printable(each.signal) for each in same if each.what == "signalled")
                gone = f", and was gone after {duration(last.after or 0.0)}" if last.what == "gone" else ""
                gone = f", but {why} after {duration(last.after or 0.0)}" if last.what == "survived" else gone
                return f"was sent {signals} by {self._who(one)} at {self._when(one)}{gone}{cut}"
            case "drained" | "resumed":
                how = "was told to take no new task" if one.what == "drained" else "consumes again, as asked"
                return f"{how} by {self._who(one)} at {self._when(one)}" + (f": {why}" if why else "")
            case "cleared":
                if why.startswith(STOPPED_BY):
                    return f"was found by {self._who(one)} at {self._when(one)}, {why}"
                return f"was found dead by {self._who(one)} at {self._when(one)}: {why}"
            case what if what in _SENTENCES:
                return f"{_SENTENCES[what]} at {self._when(one)}: {why}"
            case "failed":
                nobody = ", which no multi sent" if one.status == -KILL else ""
                return f"failed at {self._when(one)}: {why}{nobody}"
            case "retrying":
                return f"ended at {self._when(one)}: {why}, to be started again after {duration(one.after or 0.0)}"
            case "refused":
                return f"was left as it was at {self._when(one)}, refused to {self._who(one)}: {why}"
            case _:
                return f"{_text(one)} at {self._when(one)}"

    def _who(self, past: Past) -> str:
        before, self._by = self._by, past.by
        if past.by is None:
            return "somebody"
        return "the same command" if past.by == before else printable(past.by.text)

    def _when(self, past: Past) -> str:
        before, self._at = self._at, past.at
        return _moment(past.at, before)


def _belongs(first: Past, one: Past) -> bool:
    """Whether two events are one sentence."""
    if first.by != one.by or first.pid != one.pid:
        return False
    return (first.what, one.what) == ("spawned", "ready") or (
        first.what in {"signalled", "cut_off"} and one.what in {"signalled", "cut_off", "gone", "survived"}
    )
