"""The table of `status`, and what other tables are laid out with: no wider than the terminal that shows them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from multi.api import View
from multi.model.state import Dead
from multi.report.status import PLAIN, STATES, Style, counted, reason, shown_pid, state_word
from multi.text import duration, listed, plural, printable, size
from multi.value import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of a table; those without `left` begin at the right. NODE, STATE, PID and NOTE are among them.

    Where it is too wide, columns go as in `left_out`, the first one first; NODE becomes narrower there. Of a note
    `note` columns are shown before another one goes, of a name all or `name` columns. `least` is how wide a column is
    in any case.
    """

    columns: tuple[str, ...]
    left_out: tuple[str, ...]
    left: frozenset[str] = frozenset({"NODE", "STATE", "LOG", "NOTE"})
    note: int = 30  # a reason begins with the fact
    name: int | None = None
    least: Mapping[str, int] = field(default_factory=dict)


_GAP, _INDENT = "  ", "  "
_LEAST_NAME, _LEAST_NOTE = 20, 12  # columns, before the pid makes room
_NARROW_NAME = 10
_LEAST_HOST = 4  # columns: @...
_MORE = "some of it is cut; --wide shows all"
_TOLD = frozenset({"waits", "busy", "wedged"})  # of a heartbeat; the rest goes without saying
_LAST_WORDS = "it last said:"
_OTHERS, _PLACES = "also on this machine (--all lists them):", 5
_CUT = "..."  # three columns in any encoding, and no encoding lacks it
_INVISIBLE = frozenset({"Mn", "Me", "Cf"})  # drawn over the character before, or not at all


def status_table(
    views: Sequence[View], style: Style = PLAIN, width: int | None = None, groups: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The lines of the aligned table: the names of the columns, then a line a node; ``-`` is not known or not there.

    The nodes of a group of `groups`, by full name, stand below its name, and those that were found below the place.
    The last column is there only when a node has something to say: why it is dead, or its own status text. No line is
    wider than `width`: columns are left out in a fixed order, then names and notes are cut. None is as wide as it gets.
    """
    below: dict[str, list[View]] = {"": []}
    for view in views:
        below.setdefault(view.found or (groups or {}).get(view.node.name, ""), []).append(view)
    indent = _INDENT if len(below) > 1 else ""
    rows = [_row(view, indent if heading else "") for heading, some in below.items() for view in some]
    fit = fitted(rows, width, _STATUS)
    lines = [style.paint("bold", fit.line(_STATUS.columns))]
    left = iter(rows)
    for heading, some in below.items():
        if heading:
            text = printable(heading) + ":"
            lines += [style.paint("bold", line) for line in ([text] if width is None else folded(text, width))]
        for _, row in zip(some, left, strict=False):  # it takes no row more than there are views
            lines.append(fit.line(row, style))
    if fit.is_cut and width is not None and len(_MORE) <= width:
        lines.append(style.paint("dim", _MORE))
    return tuple(lines)


def others_lines(views: Sequence[View], width: int | None = None) -> tuple[str, ...]:
    """A line a place with nodes that nobody asked about: how many in which state, some names, what reaches them."""
    places: dict[str, list[View]] = {}
    for view in views:
        places.setdefault(view.found or "", []).append(view)
    texts = [f"{counted(some)} ({listed([one.node.short for one in some], 3)}) {at}" for at, some in places.items()]
    if len(texts) > _PLACES:
        nodes = sum(map(len, list(places.values())[_PLACES:]))
        texts[_PLACES:] = [f"{plural(nodes, 'more node')} in {plural(len(texts) - _PLACES, 'more place')}"]
    lines = [_OTHERS, *(_INDENT + printable(text) for text in texts)] if texts else []
    return tuple(lines if width is None else (part for line in lines for part in folded(line, width)))


@dataclass(frozen=True, slots=True)
class Fit:
    """The columns of a layout that are shown, how wide each is, and whether something in them is cut."""

    layout: Layout
    shown: Sequence[int]
    widths: Mapping[int, int]
    is_cut: bool = False

    def line(self, row: Sequence[str], style: Style = PLAIN) -> str:
        """A row of the table."""
        cells = []
        for column in self.shown:
            heading, width, text = self.layout.columns[column], self.widths[column], row[column]
            if not text.isascii() or len(text) > width:
                text = (_cut_name if heading == "NODE" else cut)(text, width)
            filled = width - width_of(text) + len(text)
            cell = text.ljust(filled) if heading in self.layout.left else text.rjust(filled)
            cells.append(style.paint(STATES[text][0], cell) if heading == "STATE" and text in STATES else cell)
        return _GAP.join(cells).rstrip()


def _widths(rows: Sequence[Sequence[str]], layout: Layout) -> dict[int, int]:
    return {
        column: max(layout.least.get(heading, 0), *(width_of(row[column]) for row in (layout.columns, *rows)))
        for column, heading in enumerate(layout.columns)
    }


def fitted(rows: Sequence[Sequence[str]], width: int | None, layout: Layout) -> Fit:
    """How these rows are shown in that many columns; None is as many as they take."""
    columns = layout.columns
    widths = _widths(rows, layout)
    name, state, pid, note = map(columns.index, ("NODE", "STATE", "PID", "NOTE"))
    shown = [column for column in widths if column != note or any(row[note] for row in rows)]
    if width is None:
        return Fit(layout, shown, widths)
    wanted = dict(widths)
    widths[note] = min(widths[note], layout.note)
    widths[name] = min(widths[name], layout.name or widths[name])

    def spare() -> int:
        return width - sum(widths[column] for column in shown) - len(_GAP) * (len(shown) - 1)

    steps = [(column, {name: _NARROW_NAME}.get(column)) for column in map(columns.index, layout.left_out)]
    for column, narrow in (*steps, (name, _LEAST_NAME), (note, _LEAST_NOTE), (pid, None), (note, None), (state, None)):
        if column in shown and spare() < 0 and narrow is None:
            shown.remove(column)
        elif column in shown and spare() < 0 and narrow is not None:
            widths[column] = max(min(narrow, widths[column]), widths[column] + spare())
    widths[name] = min(wanted[name], max(1, widths[name] + spare()))
    if note in shown:
        widths[note] = min(wanted[note], max(1, widths[note] + spare()))
    is_cut = any(widths[column] < wanted[column] for column in (name, note) if column in shown)
    return Fit(layout, shown, widths, is_cut)


def _cut_name(name: str, width: int) -> str:
    """A full name in that many columns: of its host the end is least, of the rest the middle."""
    short = name.partition("@")[0]
    fits = min(width_of(short) + _LEAST_HOST, width_of(name)) <= width
    return cut(name, width) if fits else cut_in_the_middle(short, width)


def count_text(number: int | None) -> str:
    """``-`` is not known, here and below."""
    return "-" if number is None else str(number)


def percent_text(number: float | None) -> str:
    """With one digit behind the point."""
    return "-" if number is None else f"{number:.1f}%"


def bytes_text(number: float | None, per: str = "") -> str:
    """As `size` has it; `per` stands behind it."""
    return "-" if number is None else size(round(number)) + per


CELLS: Mapping[str, Callable[[View], str]] = {
    "NODE": lambda view: printable(view.node.name),
    "STATE": lambda view: state_word(view.state),
    "PID": lambda view: count_text(shown_pid(view.state)),
    "UPTIME": lambda view: "-" if view.uptime is None else duration(view.uptime),
    "CPU": lambda view: percent_text(view.cpu_percent),
    "MEMORY": lambda view: bytes_text(view.memory),
    "CHILDREN": lambda view: count_text(view.children),
    "RESTARTS": lambda view: count_text(view.restarts),
    "LOG": lambda view: printable(view.node.logfile) or "-",
    "NOTE": lambda view: printable(note_of(view)),
}
_STATUS = Layout(columns=tuple(CELLS), left_out=("LOG", "RESTARTS", "CHILDREN", "CPU", "MEMORY", "UPTIME"))


def _row(view: View, indent: str) -> tuple[str, ...]:
    name, *others = (cell(view) for cell in CELLS.values())
    return indent + name, *others


def note_of(view: View) -> str:
    """Why the node is in its state, and what it says of itself; a dead node said it last."""
    why, said = reason(view.state) or _sick(view), view.status_text
    if view.work is not None:
        from multi.report.work import work_text

        said = work_text(view.work, view.next_signum, view.next_in)
    elif view.pulse is not None and view.pulse.word in _TOLD:
        from multi.report.work import pulse_text

        said = pulse_text(view.pulse)
    if view.draining is not None:
        said = f"draining since {duration(view.draining)}" + (f"; {said}" if view.work or view.pulse else "")
    if isinstance(view.state, Dead) and said:
        said = "" if _LAST_WORDS in why else f"{_LAST_WORDS} {said}"
    printed = f"last line of its log: {view.last_lines[-1]}" if view.last_lines else ""
    killed = ""
    if view.cgroup is not None:
        from multi.model.cgroup import killed_text

        killed = killed_text(view.cgroup)
    return "; ".join(text for text in (why, killed, said, printed, _rejected(view)) if text)


def _rejected(view: View) -> str:
    """Why it is not what was asked for last."""
    rejected = None if view.record is None else view.record.rejected
    if rejected is None:
        return ""
    return f"went back from other settings: {rejected.why}; 'multi apply --again' tries them"


def _sick(view: View) -> str:
    """What the last proof of liveness has failed of."""
    health = view.health
    if health is None or not health.failures or view.asked_ago is None:
        return f"{view.node.alive}: {health.why}" if health is not None and health.why else ""
    if view.unhealthy:
        return f"unhealthy: {view.unhealthy}"
    return f"{view.node.alive} failed {duration(view.asked_ago)} ago: {health.why}"


def width_of(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_measure(), text))


def _measure() -> Callable[[str], int]:
    from unicodedata import category, east_asian_width  # few tables pay for it

    return lambda c: 0 if category(c) in _INVISIBLE else 2 if east_asian_width(c) in "WF" else 1


def _begun(text: str, width: int) -> int:
    """How many characters of `text` fit into `width` columns."""
    if text.isascii():
        return min(len(text), max(width, 0))
    measure, taken = _measure(), 0
    for index, character in enumerate(text):
        taken += measure(character)
        if taken > width:
            return index
    return len(text)


def cut(text: str, width: int) -> str:
    """`text`, with ``...`` for its end if it takes more than `width` columns."""
    if width_of(text) <= width:
        return text
    return text[: _begun(text, width - len(_CUT))] + _CUT[: max(width, 0)]


def cut_in_the_middle(text: str, width: int) -> str:
    """The same with ``...`` for the middle, because names often differ at their ends."""
    if width_of(text) <= width or width < len(_CUT) + 2:
        return cut(text, width)
    head = text[: _begun(text, (width - len(_CUT) + 1) // 2)]
    backwards = text[::-1]
    tail = backwards[: _begun(backwards, width - len(_CUT) - width_of(head))][::-1]
    return head + _CUT + tail


def folded(text: str, width: int) -> Iterator[str]:
    """`text` in lines of at most `width` columns, folded at blanks; a longer word goes on in the next line."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if width_of(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        line = word
        while width_of(line) > width:
            fits = max(1, _begun(line, width))
            yield line[:fits]
            line = line[fits:]
    yield line
