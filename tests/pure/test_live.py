"""The live view: what is shown of a frame at every size, and what each key does to it."""

from __future__ import annotations

import random
import re

import pytest

from multi.cli.terminal import keys_in
from multi.model.process import Proc
from multi.model.state import Dead, Down, Stopping, Unsure, Up
from multi.model.usage import Usage
from multi.model.work import ActiveTask, Heartbeat, Pulse, Work
from multi.report import Style
from multi.report.live import SORTS, Shown, chosen, frame_json, page, screen, table, typed
from multi.report.table import width_of
from multi.testing.world import node_of
from multi.value import replace
from multi.views import View
from multi.watch import Frame, Watched
from multi.words.spec import Selection

UP = Up(Proc(70, "b:70"))
WORK = Work(2, (ActiveTask("orders.export", "3f2a", 41.0, 300.0), ActiveTask("mail.send", "9c01", 2.0)))
NODES = (
    Watched(
        View(
            node=node_of("w10"),
            state=UP,
            uptime=7200.0,
            memory=50 << 20,
            restarts=2,
            beat=Heartbeat(at=1.0, written=1.0, state="consuming", since=0.0, active=3),
            pulse=Pulse("consumes", 1.0),
        ),
        Usage(seconds=1.0, cpu_percent=12.34, memory=50 << 20, threads=4, files=9, read_rate=2048.0, write_rate=0.0),
    ),
    Watched(
        View(
            node=node_of("w2"),
            state=Stopping(Proc(71, "b:71")),
            work=WORK,
            next_signum=3,
            next_in=49.0,
            uptime=9.0,
            memory=10 << 20,
        ),
        Usage(seconds=1.0, cpu_percent=99.0, memory=10 << 20, threads=1),
    ),
    Watched(View(node=node_of("w1"), state=Dead("pid 72 is gone")), Usage()),
    Watched(View(node=node_of("漢字の労働者"), state=Down(on_record=True, since=60.0, by="root")), Usage()),
    Watched(View(node=node_of("x" * 60), state=Unsure("its pidfile is a FIFO")), Usage()),
)
FRAME = Frame(wall=0.0, nodes=NODES, selection=Selection(nodes=tuple(one.view.node for one in NODES)))
EMPTY = replace(FRAME, nodes=())


def names(frame: Frame, how: Shown) -> list[str]:
    """Short names, in their order."""
    return [one.view.node.short[:3] for one in chosen(frame, how)]


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("order", ["w10", "w2", "w1", "漢字の", "xxx"]),
        ("name", ["w1", "w2", "w10", "xxx", "漢字の"]),
        ("state", ["w1", "xxx", "w2", "w10", "漢字の"]),
        ("cpu", ["w2", "w10", "w1", "漢字の", "xxx"]),
        ("memory", ["w10", "w2", "w1", "漢字の", "xxx"]),
        ("tasks", ["w10", "w2", "w1", "漢字の", "xxx"]),
        ("restarts", ["w10", "w2", "w1", "漢字の", "xxx"]),
        ("uptime", ["w10", "w2", "w1", "漢字の", "xxx"]),
    ],
)
def test_sorts(sort: str, first: list[str]) -> None:
    """The largest first, by number also in names, what is unknown last, turned round or not."""
    assert names(FRAME, Shown(sort=sort)) == first
    turned = names(FRAME, Shown(sort=sort, reverse=True))
    known = 2 if sort in SORTS[3:] and sort != "restarts" else len(first) if sort in SORTS[:3] else 1
    assert turned[:known] == first[:known][::-1]


def test_filters() -> None:
    """By name, state, group and note, whatever the case; with --quiet those that do not run."""
    grouped = replace(FRAME, selection=replace(FRAME.selection, groups={"w1@host": "Web"}))
    assert names(grouped, Shown(match="web")) == ["w1"]
    assert names(FRAME, Shown(match="STOPPING")) == ["w2"]
    assert names(FRAME, Shown(match="export")) == ["w2"]
    assert names(FRAME, Shown(match="fifo")) == ["xxx"]
    assert names(FRAME, Shown(troubled=True)) == ["w1", "漢字の", "xxx"]


def test_every_size() -> None:
    """As many lines as there are rows, none wider than the columns, whatever is shown; nothing raises."""
    dice = random.Random(7)
    for _ in range(400):
        columns, rows = dice.randint(1, 220), dice.randint(1, 40)
        how = Shown(
            sort=dice.choice(SORTS), reverse=dice.random() < 0.5, match=dice.choice(["", "w", "nobody has this"]),
            typed=dice.random() < 0.2, wide=dice.random() < 0.5, top=dice.randint(0, 9), help=dice.random() < 0.1,
        )  # fmt: skip
        frame = replace(dice.choice([FRAME, EMPTY]), trouble=dice.choice(["", "multi.toml: it is broken\x1b[2J"]))
        lines = screen(frame, how, columns, rows, Style(colour=dice.random() < 0.5))
        plain = [re.sub(r"\x1b\[\d+m", "", line) for line in lines]
        assert len(lines) == rows
        assert max(map(width_of, plain)) <= columns, (columns, plain)
        assert "\x1b" not in "".join(plain)


def test_what_is_left_out() -> None:
    """A narrow one keeps name, state, processor time and memory; a wide one has all columns; no number moves a line."""
    heads = {width: screen(FRAME, Shown(wide=width > 80), width, 9)[1].split() for width in (40, 80, 160, 200)}
    assert heads[40] == ["NODE", "STATE", "CPU", "MEMORY"]
    assert {"NODE", "STATE", "CPU", "MEMORY", "TASKS", "NOTE"} <= set(heads[80])
    assert {"PSS", "THREADS", "FILES", "READ", "WRITTEN", "CHILDREN"} <= set(heads[200])
    assert heads[160][0] == "NODE"
    other = replace(FRAME, nodes=(replace(NODES[0], usage=replace(NODES[0].usage, cpu_percent=3.0)), *NODES[1:]))
    assert screen(other, Shown(), 80, 9)[2:3] != screen(FRAME, Shown(), 80, 9)[2:3]
    assert screen(other, Shown(), 80, 9)[3:] == screen(FRAME, Shown(), 80, 9)[3:]


def test_what_comes_next_is_said_first() -> None:
    """A note is cut at its end, so the next signal stands before the tasks; each thing is said once."""
    (line,) = (line for line in table(FRAME, Shown()) if line.startswith("w2@"))
    assert line.endswith("QUIT in 49s; 2 tasks: orders.export 3f2a 41s (limit 300s), mail.send 9c01 2s")
    assert line.count("QUIT") == 1
    plain = replace(NODES[1], view=replace(NODES[1].view, work=None))
    assert table(replace(FRAME, nodes=(plain,)), Shown())[-1].endswith("QUIT in 49s")


def test_more_nodes_than_rows() -> None:
    """The last line says which of how many are seen; it is never scrolled beyond the last."""
    many = replace(FRAME, nodes=tuple(NODES[0] for _ in range(50)))
    assert page(many, 13) == 10
    assert screen(many, Shown(), 80, 13)[-1].startswith("1-10 of 50, by order")
    assert screen(many, Shown(top=99), 80, 13)[-1].startswith("41-50 of 50")
    assert typed("end", Shown(), 50, 10).top == 40
    assert typed("page up", typed("end", Shown(), 50, 10), 50, 10).top == 30
    assert typed("up", Shown(), 50, 10).top == 0
    assert typed("down", Shown(), 5, 10).top == 0


def test_keys() -> None:
    """Each key changes one thing; a filter takes letters until Enter or Esc; what is no key changes nothing."""
    how = Shown()
    for sort in (*SORTS[1:], SORTS[0]):
        how = typed("s", how, 5, 5)
        assert how.sort == sort
    assert typed("S", how, 5, 5).sort == SORTS[-1]
    assert typed("w", how, 5, 5).wide
    assert typed("r", how, 5, 5).reverse
    assert typed("?", typed("h", how, 5, 5), 5, 5) == how
    asked = typed("/", how, 5, 5)
    for key in "wsq":
        asked = typed(key, asked, 5, 5)
    assert (asked.match, asked.typed, asked.wide) == ("wsq", True, False)
    assert typed("enter", typed("back", asked, 5, 5), 5, 5) == Shown(match="ws")
    assert typed("escape", asked, 5, 5) == Shown()
    assert typed("escape", Shown(match="ws"), 5, 5) == Shown()
    assert typed("z", how, 5, 5) == how


@pytest.mark.parametrize(
    ("said", "keys"),
    [
        ("qs", ["q", "s"]),
        ("\x1b[A\x1bOB\x1b[5~\x1b[6~", ["up", "down", "page up", "page down"]),
        ("\x1b[H\x1b[4~", ["home", "end"]),
        ("\x1b", ["escape"]),
        ("\x1b[15;2~q", ["q"]),
        ("a\r\x7f\x08é", ["a", "enter", "back", "back", "é"]),
        ("\x01\x02", []),
        ("", []),
    ],
)
def test_what_is_typed(said: str, keys: list[str]) -> None:
    """Keys of several bytes are one key; those that we do not know are none."""
    assert keys_in(said) == keys


def test_json_has_what_status_has() -> None:
    """Each object is that of `status --json` with `usage`; what is unknown is null."""
    first, *_, last = frame_json(FRAME, Shown())
    assert first["usage"] == {
        "seconds": 1.0, "cpu_percent": 12.34, "memory": 50 << 20, "proportional": None, "threads": 4, "files": 9,
        "read_rate": 2048.0, "write_rate": 0.0,
    }  # fmt: skip
    assert last["state"] == "unsure"
    assert set(last["usage"].values()) == {None}  # type: ignore[attr-defined]  # it is an object
