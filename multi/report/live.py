"""The live view of `status --watch`: a frame as a screen, as a table, and as JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from multi.report.json import view_json
from multi.report.status import PLAIN, Style, counted, state_word, status_code
from multi.report.table import CELLS, Fit, Layout, bytes_text, count_text, cut, fitted, folded, note_of, percent_text
from multi.report.work import next_text
from multi.text import plural, printable, quoted, size
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from multi.model.usage import Usage
    from multi.views import View
    from multi.watch import Frame, Watched

# What changes all the time moves no other column.
_LEAST = {"STATE": 8, "UPTIME": 7, "CPU": 6, "MEMORY": 7, "PSS": 7, "READ": 9, "WRITTEN": 9}
_LEFT_OUT = ("LOG", "WRITTEN", "READ", "FILES", "THREADS", "CHILDREN", "PSS", "PID", "UPTIME", "RESTARTS")
_FEW, _MORE = ("NODE", "STATE", "PID", "UPTIME", "CPU", "MEMORY"), ("THREADS", "CHILDREN", "FILES", "READ", "WRITTEN")
_TASKS = ("TASKS", "ALIVE", "RESTARTS")


def _layout(columns: Sequence[str]) -> Layout:
    left = frozenset({"NODE", "STATE", "ALIVE", "NOTE"})
    order = (*_LEFT_OUT, "ALIVE", "NOTE", "TASKS", "NODE", "MEMORY", "CPU")
    out = tuple(column for column in order if column in columns)
    return Layout(columns=tuple(columns), left_out=out, left=left, note=16, name=16, least=_LEAST)


_NARROW = _layout((*_FEW, *_TASKS, "NOTE"))
_WIDE = _layout((*_FEW, "PSS", *_TASKS, *_MORE, "NOTE"))
_HELP = (
    "q, Ctrl-C    quit",
    "s, S         sort by the next column, by the one before",
    "r            turn the order round",
    "/            show only nodes whose name, state, group or note has these letters; Enter keeps it, Esc drops it",
    "w            show proportional memory, threads, children, open files, and bytes read and written a second",
    "arrows, PgUp, PgDn, Home, End    scroll",
    "space        look now",
    "h, ?         this help, and back",
    "",
    "CPU, READ and WRITTEN are those of the time since the last look; CPU is of one core. TASKS are under way.",
    "ALIVE is what the heartbeat or the last proof of liveness says. - is unknown, or not there.",
)
_NOTHING = "there are no nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What of a frame is shown, and how.

    `top` is the first node on the screen. A filter, `match`, is being `typed`. Only the `troubled` are those of which
    something is said with ``--quiet``.
    """

    sort: str = "order"
    reverse: bool = False
    match: str = ""
    typed: bool = False
    wide: bool = False
    top: int = 0
    help: bool = False
    troubled: bool = False


_SEVERITY = {"dead": 0, "unsure": 1, "lost": 2, "stopping": 3, "starting": 4, "running": 5, "stopped": 6}
# What a table can be sorted by -> the number that it goes by. The largest comes first, and what is unknown last.
_NUMBERS: dict[str, Callable[[Watched], float | None]] = {
    "cpu": lambda one: one.usage.cpu_percent,
    "memory": lambda one: one.view.memory,
    "tasks": lambda one: _tasks(one.view),
    "restarts": lambda one: one.view.restarts,
    "uptime": lambda one: one.view.uptime,
}
SORTS = ("order", "name", "state", *_NUMBERS)


def chosen(frame: Frame, how: Shown) -> list[Watched]:
    """The nodes that are shown, in their order."""
    match = how.match.casefold()
    nodes = [one for one in frame.nodes if not how.troubled or status_code(one.view.state)]
    if match:
        nodes = [one for one in nodes if match in _text(one, frame).casefold()]
    if how.sort == "name":
        nodes.sort(key=lambda one: _natural(one.view.node.name))
    elif how.sort == "state":
        nodes.sort(key=lambda one: _SEVERITY[state_word(one.view.state)])
    elif how.sort in _NUMBERS:
        number = _NUMBERS[how.sort]
        known = [(value, one) for one in nodes if (value := number(one)) is not None]
        known.sort(key=lambda each: each[0], reverse=not how.reverse)
        return [*(one for _, one in known), *(one for one in nodes if number(one) is None)]
    return nodes[::-1] if how.reverse else nodes


def _natural(name: str) -> list[tuple[int, str]]:
    """So that w2 comes before w10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d{1,18})", name)]


def _text(one: Watched, frame: Frame) -> str:
    view = one.view
    group = frame.selection.groups.get(view.node.name, "")
    return " ".join((view.node.name, state_word(view.state), group, _note(one)))


def table(frame: Frame, how: Shown, style: Style = PLAIN, width: int | None = None) -> tuple[str, ...]:
    """What it is all about, then a line a node, in as many columns as they take."""
    nodes = chosen(frame, how)
    fit, laid = _laid(nodes, width, how)
    lines = [_summary(frame), *([f"warning: {printable(frame.trouble)}"] if frame.trouble else ())]
    lines += [style.paint("bold", fit.line(fit.layout.columns)), *(fit.line(row, style) for row in laid)]
    return tuple(lines)


def screen(frame: Frame, how: Shown, columns: int, rows: int, style: Style = PLAIN) -> tuple[str, ...]:
    """As many lines as there are `rows`, none wider than the `columns`."""
    if how.help:
        body = [line for text in _HELP for line in (folded(text, columns) if text else [""])]
        title = style.paint("bold", cut("keys of multi status --watch", columns))
        return _filled([title], body, cut("h, ? back", columns), rows)
    nodes = chosen(frame, how)
    fit, laid = _laid(nodes, columns, how)
    head = [style.paint("bold", cut(_summary(frame), columns))]
    if frame.trouble:
        head.append(style.paint("yellow", cut(printable(frame.trouble), columns)))
    head.append(style.paint("bold", fit.line(fit.layout.columns)))
    space = max(0, rows - len(head) - 1)
    top = min(how.top, max(0, len(nodes) - space))
    body = [fit.line(row, style) for row in laid[top : top + space]]
    if not nodes:
        body = [cut(f"no node has {quoted(printable(how.match))} in its line" if frame.nodes else _NOTHING, columns)]
    return _filled(head, body, style.paint("dim", cut(_foot(how, len(nodes), top, space), columns)), rows)


def page(frame: Frame, rows: int) -> int:
    """How many nodes a screen of so many rows shows."""
    return max(1, rows - (4 if frame.trouble else 3))


_KEYS: dict[str, Callable[[Shown], Shown]] = {
    "s": lambda how: replace(how, sort=_next(how.sort, 1), top=0),
    "S": lambda how: replace(how, sort=_next(how.sort, -1), top=0),
    "r": lambda how: replace(how, reverse=not how.reverse, top=0),
    "/": lambda how: replace(how, typed=True, match="", top=0, help=False),
    "w": lambda how: replace(how, wide=not how.wide),
    "h": lambda how: replace(how, help=not how.help),
    "?": lambda how: replace(how, help=not how.help),
    "escape": lambda how: replace(how, help=False, match=""),
}
_TYPING: dict[str, Callable[[Shown], Shown]] = {
    "enter": lambda how: replace(how, typed=False),
    "escape": lambda how: replace(how, typed=False, match=""),
    "back": lambda how: replace(how, match=how.match[:-1]),
}


def typed(key: str, how: Shown, nodes: int, space: int) -> Shown:
    """What is shown after a key, where so many `nodes` are to be seen, and there is `space` for some of them."""
    scrolls = {"up": -1, "down": 1, "page up": -space, "page down": space, "home": -nodes, "end": nodes}
    if key in scrolls:
        return replace(how, top=max(0, min(how.top + scrolls[key], nodes - space)))
    if how.typed and len(key) == 1:
        return replace(how, match=how.match + key, top=0)
    change = (_TYPING if how.typed else _KEYS).get(key)
    return how if change is None else change(how)


def _next(sort: str, by: int) -> str:
    return SORTS[(SORTS.index(sort) + by) % len(SORTS)]


def _filled(head: Sequence[str], body: Sequence[str], foot: str, rows: int) -> tuple[str, ...]:
    space = max(0, rows - len(head) - 1)
    blank = [""] * (space - len(body))
    return tuple([*head, *body[:space], *blank, foot][:rows])


def _foot(how: Shown, nodes: int, top: int, space: int) -> str:
    """Which nodes are seen, and what can be typed."""
    if how.typed:
        return f"filter: {printable(how.match)}_   Enter keeps it, Esc drops it"
    seen = f"{top + 1}-{min(nodes, top + space)} of {nodes}" if nodes > space else plural(nodes, "node")
    match = f" with {quoted(printable(how.match))}" if how.match else ""
    turned = ", reversed" if how.reverse else ""
    width = "narrow" if how.wide else "wide"
    return f"{seen}{match}, by {how.sort}{turned}  q quit  ? help  s sort  / filter  w {width}"


def _summary(frame: Frame) -> str:
    """``22:48:10  50 nodes: 47 running, 3 dead  CPU 112.3%  memory 3.2G``."""
    counts = counted([one.view for one in frame.nodes])
    spent = [one.usage.cpu_percent for one in frame.nodes if one.usage.cpu_percent is not None]
    memory = sum(one.view.memory or 0 for one in frame.nodes)
    cpu = f"  CPU {sum(spent):.1f}%" if spent else ""
    clock = datetime.fromtimestamp(frame.wall).strftime("%H:%M:%S")  # noqa: DTZ006 -- people read the clock on their wall
    return f"{clock}  {plural(len(frame.nodes), 'node')}{f': {counts}' if counts else ''}{cpu}  memory {size(memory)}"


def _laid(nodes: Sequence[Watched], width: int | None, how: Shown) -> tuple[Fit, list[tuple[str, ...]]]:
    """What stands in each column of each line, and how it fits; ``-`` is unknown, or not there."""
    layout = _WIDE if how.wide else _NARROW
    rows = [tuple(_cell(column, one) for column in layout.columns) for one in nodes]
    return fitted(rows, width, layout), rows


def _cell(column: str, one: Watched) -> str:
    return _CELLS[column](one) if column in _CELLS else CELLS[column](one.view)


_CELLS: dict[str, Callable[[Watched], str]] = {  # that the table of `status` does not have, or has otherwise
    "CPU": lambda one: percent_text(one.usage.cpu_percent),
    "PSS": lambda one: bytes_text(one.usage.proportional),
    "TASKS": lambda one: count_text(_tasks(one.view)),
    "ALIVE": lambda one: _alive(one.view),
    "THREADS": lambda one: count_text(one.usage.threads),
    "FILES": lambda one: count_text(one.usage.files),
    "READ": lambda one: bytes_text(one.usage.read_rate, "/s"),
    "WRITTEN": lambda one: bytes_text(one.usage.write_rate, "/s"),
    "NOTE": lambda one: printable(_note(one)),
}


def _tasks(view: View) -> int | None:
    """How many are under way: as the stop tells, or as the heartbeat did when it was written."""
    if view.work is not None:
        return view.work.count
    return None if view.beat is None else view.beat.active


def _alive(view: View) -> str:
    """The worst of what is known of its liveness."""
    if view.unhealthy:
        return "unhealthy"
    if view.health is not None and view.health.failures:
        return "failing"
    word = "none" if view.pulse is None else view.pulse.word
    if word in {"none", "consumes"} and view.health is not None:
        return "ok"
    return "-" if word == "none" else word


def _note(one: Watched) -> str:
    """Which signal comes next, why it is as it is, what it does, and where it was found."""
    view, following = one.view, ""
    if view.next_in is not None:
        following, view = next_text(view.next_signum, view.next_in), replace(view, next_in=None)
    return "; ".join(filter(None, (following, note_of(view), view.found)))


def frame_json(frame: Frame, how: Shown) -> list[dict[str, object]]:
    """One line that ``status --watch --json`` prints: the array of ``status --json``, each object with ``usage``."""
    return [{**view_json(one.view), "usage": usage_json(one.usage)} for one in chosen(frame, how)]


def usage_json(usage: Usage) -> dict[str, object]:
    """The fields of a `Usage`; what is unknown is null."""
    found: dict[str, object] = {key: getattr(usage, key) for key in type(usage).__slots__}
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}
