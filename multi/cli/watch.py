"""``status --watch``: the nodes again and again, in place on a terminal, else one below the other."""

from __future__ import annotations

import sys
import time

from multi import api
from multi.cli.glance import format_of, refuse_names
from multi.cli.order import ALL, FORMAT, HEALTH, QUIET, SORT, WATCH, WIDE
from multi.cli.terminal import QUIT, Terminal
from multi.errors import UsageError
from multi.report import STATUS_UNKNOWN, Style
from multi.report.live import SORTS, Shown, chosen, frame_json, page, screen, table, typed
from multi.text import nearest
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from multi.cli.order import Order
    from multi.watch import Frame

    Frames = Generator[Frame, bool | None, None]

_EVERY, _LEAST = 1.0, 0.1  # seconds
_FIRST = 0.5  # seconds until the second look, because the first one tells of no interval


def status(order: Order, select: Callable[[], api.Selection], selection: api.Selection) -> int:
    """Show what `select` gives, at first this `selection`, until somebody ends it or nobody reads it any more."""
    from multi.machine import MachineError

    every, how = _seconds(order), _shown(order, selection)
    as_json = format_of(order) == "json"
    wide = how.wide or as_json
    frames = api.watch(select, everywhere=order.has(ALL), wide=wide, machine=order.machine)
    draws = order.screen.redraws and not as_json
    try:
        with Terminal(order.screen, _keyboard(), draws=draws) as terminal:
            (_draw if draws else _print)(order, frames, how, every, terminal)
    except MachineError as error:
        order.screen.remark(str(error))
        return STATUS_UNKNOWN
    finally:
        frames.close()
    return 0


def _seconds(order: Order) -> float:
    from multi.cli.options import number

    if order.given[WATCH.name] is None:
        return _EVERY
    seconds = number(order, WATCH, "seconds", fraction=True)
    if seconds >= _LEAST:
        return seconds
    raise UsageError(f"{WATCH.name}={seconds:g}", "is too often", f"look every {_LEAST:g} seconds at most")


def _shown(order: Order, selection: api.Selection) -> Shown:
    form = format_of(order)
    if order.has(HEALTH) or form not in {"text", "json"}:
        other = HEALTH.name if order.has(HEALTH) else f"{FORMAT.name}={form}"
        raise UsageError(f"{WATCH.name} {other}", "contradict each other: a probe looks once", "give one of them")
    refuse_names(order, selection)
    sort = order.given.get(SORT.name) or SORTS[0]
    if sort not in SORTS:
        raise UsageError(f"{SORT.name}={sort}", "is nothing to sort by", nearest(sort, SORTS))
    return Shown(sort=sort, wide=order.has(WIDE), troubled=order.has(QUIET))


def _keyboard() -> int | None:
    try:
        return sys.stdin.fileno() if sys.stdin.isatty() else None
    except (AttributeError, ValueError):  # closed
        return None


def _print(order: Order, frames: Frames, how: Shown, every: float, terminal: Terminal) -> None:
    """A table each time, or with ``--json`` an array on a line."""
    out, due = order.screen, time.monotonic()
    for frame in frames:
        if format_of(order) == "json":
            order.say_json(frame_json(frame, how))
        else:
            width = out.width if out.out_is_terminal and not how.wide else None
            out.say(*table(frame, how, Style(out.colour), width), "")
        due = max(due + every, time.monotonic())
        if out.deaf or QUIT in terminal.wait(due):
            return


def _draw(order: Order, frames: Frames, how: Shown, every: float, terminal: Terminal) -> None:
    """The screen, anew when something was typed or the time has come."""
    style, now = Style(order.screen.colour), time.monotonic()
    frame, due = next(frames), now + min(every, _FIRST)
    while not order.screen.deaf:
        columns, rows = terminal.size
        terminal.draw(screen(frame, how, columns, rows, style))
        wide = how.wide
        keys = terminal.wait(due)
        for key in keys:
            if key == QUIT or (key == "q" and not how.typed):
                return
            if key == " " and not how.typed:
                due = 0.0
            how = typed(key, how, len(chosen(frame, how)), page(frame, rows))
        if how.wide != wide or not keys or due <= time.monotonic():
            frame, due = frames.send(how.wide), time.monotonic() + every
