"""The history of a node as lines and as sentences."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from multi.model.caller import Caller
from multi.model.past import Past
from multi.model.process import Proc
from multi.model.state import Dead, Down, Up
from multi.report.json import to_json
from multi.report.past import past_json, past_lines, why_json, why_lines
from multi.testing.world import node_of
from multi.views import View

CRON = Caller("root", "cron", "multi ensure", 5)
ANA = Caller("ana", "tty pts/3", "multi restart w1", 6)
NODE = node_of()
NIGHT = 1_700_006_400.0  # 2023-11-15 00:00 UTC


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock on the wall is that of Greenwich."""
    monkeypatch.setitem(os.environ, "TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def past(at: float, what: str, by: Caller | None = CRON, **facts: object) -> Past:
    """One event, so many seconds after midnight."""
    return Past(at=NIGHT + at, what=what, by=by, **facts)  # type: ignore[arg-type]  # fields by name


LIFE = (
    past(0, "spawned", pid=7),
    past(1, "ready", pid=7, after=1.2, why="alive"),
    past(50, "cleared", why="pid 7 is gone", tail=("Traceback", "KeyError: 'x'")),
    past(60, "spawned", pid=8),
    past(61, "ready", pid=8, after=1.2, why="alive"),
)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (LIFE[0], "started, pid 7"),
        (LIFE[1], "ready after 1.2s, pid 7 (alive)"),
        (past(0, "signalled", pid=7, signal="TERM", after=0.0), "sent TERM to pid 7"),
        (past(0, "gone", pid=7, after=3.0), "stopped, pid 7 gone after 3.0s"),
        (past(0, "cleared", why="pid 7 is gone"), "found dead: pid 7 is gone"),
        (past(0, "failed", pid=7, why="it exited with status 3", status=3), "failed pid 7: it exited with status 3"),
        (past(0, "refused", why="damaged"), "refused: damaged"),
        (past(0, "novel\x1b", pid=7, why="\nx"), "novel\\x1b pid 7 \\nx"),
    ],
)
def test_history_lines(one: Past, text: str) -> None:
    """A line has the moment, the node, what happened and who asked."""
    (line,) = past_lines("w1@host", one)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.at))
    assert line == f"{moment}  w1@host: {text}  by root from cron (multi ensure)"


def test_why_it_runs_again() -> None:
    """A node that died and was started again: both processes, how the first ended, its last lines, and how it is."""
    view = View(node=NODE, state=Up(Proc(8, "x")), uptime=7260.0)
    assert why_lines(view, (past(-99, "spawned", pid=3), past(-98, "gone", pid=3, after=1.0), *LIFE)) == (
        "w1@host was started by root from cron (multi ensure) at 2023-11-15 00:00:00 as pid 7, ready after 1.2s.",
        "It was found dead by the same command at 00:00:50: pid 7 is gone.",
        "    | Traceback",
        "    | KeyError: 'x'",
        "It was started by the same command at 00:01:00 as pid 8, ready after 1.2s.",
        "It is running as pid 8, for 2h 1m.",
    )


def test_why_it_is_dead() -> None:
    """What nobody asked for is told as that, and the next day has its date."""
    view = View(node=NODE, state=Dead("it was killed by signal 9 (KILL)"), last_lines=("bye",))
    failed = past(86400, "failed", ANA, pid=8, why="it was killed by signal 9 (KILL)", status=-9)
    assert why_lines(view, (*LIFE[3:], failed))[1:] == (
        "It failed at 2023-11-16 00:00:00: it was killed by signal 9 (KILL), which no multi sent.",
        "It is dead: it was killed by signal 9 (KILL).",
        "    | bye",
    )


def test_why_it_is_stopped() -> None:
    """Signals of one stop are one sentence, with its end."""
    stop = (
        past(90, "signalled", ANA, pid=8, signal="TERM", after=0.0),
        past(95, "signalled", ANA, pid=8, signal="KILL", after=5.0),
        past(96, "gone", ANA, pid=8, after=5.1),
    )
    assert why_lines(View(node=NODE, state=Down()), (*LIFE[3:], *stop))[1:] == (
        "It was sent TERM, then KILL by ana from tty pts/3 (multi restart w1) at 00:01:30, and was gone after 5.1s.",
        "It is stopped.",
    )


def test_why_without_history() -> None:
    """A node of before has no history, and says so."""
    assert why_lines(View(node=NODE, state=Down()), ()) == ("w1@host has no history.", "It is stopped.")
    known = View(node=NODE, state=Down(on_record=True, since=5.0, by="root (multi stop)"))
    assert why_lines(known, ())[-1] == "It was stopped 5.0s ago by root (multi stop)."


def test_json() -> None:
    """An event of the past has the keys of the events that commands print, and the moment and the caller besides."""
    assert past_json("w1@host", LIFE[2]) == {
        "at": NIGHT + 50,
        "event": "cleared",
        "node": "w1@host",
        "pid": None,
        "signal": None,
        "after": None,
        "why": "pid 7 is gone",
        "exit_status": None,
        "log_tail": ["Traceback", "KeyError: 'x'"],
        "by": {"user": "root", "where": "cron", "command": "multi ensure", "pid": 5},
    }
    told = json.loads(to_json(why_json(View(node=NODE, state=Down()), LIFE)))
    assert [told["state"], told["text"][-1], len(told["history"])] == ["stopped", "It is stopped.", 5]
