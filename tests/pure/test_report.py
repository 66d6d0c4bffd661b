"""What is printed: each event, state and step as a line and as JSON, and what they come to as an exit code."""

from __future__ import annotations

import json
import math
import re
import signal
import unicodedata
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multi import report
from multi.api import Selection, View
from multi.model.event import (
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
from multi.model.node import Known, Node, Ready
from multi.model.process import Proc
from multi.model.record import Record
from multi.model.schedule import parse
from multi.model.state import Dead, Down, End, Lost, State, Stopping, Unsure, Up
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
from multi.model.work import ActiveTask, Work
from multi.report.json import check_json, event_json, route_json, to_json, view_json
from multi.report.status import reason as status_reason
from multi.report.table import others_lines, status_table
from multi.text import printable
from multi.value import replace

N = "w1@host"
PROC = Proc(4711, "boot:1")


def node(name: str = N, **changes: object) -> Node:
    """A node that is complete, with `changes`."""
    short, _, host = name.partition("@")
    whole = Node(
        name=name,
        short=short,
        host=host,
        preset="celery",
        command=Known(("python", "-m", "celery", "worker", "-n", name, "-l", "two words")),
        pidfile=f"/run/{short}.pid",
        logfile=f"/log/{short}.log",
        stop=parse("TERM/90/KILL/5"),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


# -- events --------------------------------------------------------------------------------------------------------

# event, its lines, its lines with --verbose (None: the same), its JSON object without "event" and "node"
EVENTS: list[tuple[Event, list[str], list[str] | None, dict[str, object] | None]] = [
    (
        Retrying(N, 4711, "it exited with status 7", 2.0, 7, ("two", "lines"), "/log/w1.log"),
        [
            "w1@host: it exited with status 7 (pid 4711); starting it again in 2.0s",
            "    | two",
            "    | lines",
            "    log: /log/w1.log",
        ],
        None,
        {
            "event": "retrying",
            "pid": 4711,
            "why": "it exited with status 7",
            "after": 2.0,
            "exit_status": 7,
            "log_tail": ["two", "lines"],
            "logfile": "/log/w1.log",
        },
    ),
    (
        GaveUp(N, 4711, "it ended 6 times within 60s", -9),
        ["w1@host: given up: it ended 6 times within 60s (pid 4711); 'multi start w1' starts it again"],
        None,
        {
            "event": "gave_up",
            "pid": 4711,
            "why": "it ended 6 times within 60s",
            "exit_status": -9,
            "log_tail": [],
            "logfile": None,
            "exit_code": 1,
        },
    ),
    (
        Exited(N, 4711, 0),
        ["w1@host: it exited with status 0 (pid 4711); it is not started again"],
        None,
        {"event": "exited", "pid": 4711, "exit_status": 0},
    ),
    (
        Spawned(N, 4711, ("python", "a b")),
        [],
        ["w1@host: pid 4711 runs python 'a b'"],
        {"event": "spawned", "pid": 4711, "command": ["python", "a b"], "source": None},
    ),
    (
        Spawned(N, 4711, ("python", "a b"), "record"),
        ["w1@host: start as on record: python 'a b'"],
        None,
        {"event": "spawned", "pid": 4711, "command": ["python", "a b"], "source": "record"},
    ),
    (
        Unhealthy(N, 4711, "alive = tcp:127.0.0.1:80 failed 3 times in 60s: refused"),
        ["w1@host: unhealthy, pid 4711: alive = tcp:127.0.0.1:80 failed 3 times in 60s: refused"],
        None,
        {"event": "unhealthy", "pid": 4711, "why": "alive = tcp:127.0.0.1:80 failed 3 times in 60s: refused"},
    ),
    (
        Recovered(N, 4711, "it had failed"),
        ["w1@host: healthy again, pid 4711: it had failed"],
        None,
        {"event": "recovered", "pid": 4711, "why": "it had failed"},
    ),
    (
        Recycling(N, 4711, "it is large"),
        ["w1@host: recycled, pid 4711: it is large"],
        None,
        {"event": "recycling", "pid": 4711, "why": "it is large"},
    ),
    (
        Hooked(N, "failed", "it exited with status 1", ("no route",)),
        ["w1@host: the hook 'failed' failed: it exited with status 1", "    | no route"],
        None,
        {"event": "hooked", "pid": None, "hook": "failed", "why": "it exited with status 1", "tail": ["no route"]},
    ),
    (
        Hooked(N, "failed", ""),
        [],
        ["w1@host: the hook 'failed' is over"],
        {"event": "hooked", "pid": None, "hook": "failed", "why": None, "tail": []},
    ),
    (Forgotten(N), ["w1@host: forgotten: it is on record no more"], None, {"event": "forgotten", "pid": None}),
    (
        Readied(N, 4711, 1.23, "notify"),
        ["w1@host: started, pid 4711, ready after 1.2s"],
        ["w1@host: started, pid 4711, ready after 1.2s (notify)"],
        {"event": "ready", "pid": 4711, "after": 1.23, "how": "notify", "note": None},
    ),
    (
        Readied(N, 4711, 1.0, "alive", "multi is not installed beside the worker, so ready means alive"),
        [
            (
                "w1@host: started, pid 4711, alive after 1.0s; "
                "multi is not installed beside the worker, so ready means alive"
            )
        ],
        None,
        {
            "event": "ready",
            "pid": 4711,
            "after": 1.0,
            "how": "alive",
            "note": "multi is not installed beside the worker, so ready means alive",
        },
    ),
    (
        Settled(N, 4711, 30.0),
        ["w1@host: settled, pid 4711 has been well for 30s"],
        None,
        {"event": "settled", "pid": 4711, "after": 30.0},
    ),
    (
        RolledBack(N, 4711, "it exited with status 1"),
        ["w1@host: rolled back: it exited with status 1; pid 4711 runs as before"],
        None,
        {"event": "rolled_back", "pid": 4711, "why": "it exited with status 1", "note": None},
    ),
    (
        Signalled(N, 4711, signal.SIGTERM, 0.001),
        ["w1@host: sent TERM to pid 4711"],
        None,
        {"event": "signalled", "pid": 4711, "signal": "TERM", "after": 0.001, "others": 0},
    ),
    (
        Signalled(N, 4711, signal.SIGKILL, 100.2, others=2),
        ["w1@host: sent KILL to pid 4711 and 2 other processes of its tree after 100s"],
        None,
        {"event": "signalled", "pid": 4711, "signal": "KILL", "after": 100.2, "others": 2},
    ),
    (
        CutOff(N, 4711, signal.SIGQUIT, 2, (ActiveTask("orders.export", "3f2a77aa", 90.0, 300.0),)),
        ["w1@host: QUIT cut off 2 tasks: orders.export 3f2a 90s (lost) and 1 more"],
        None,
        {
            "event": "cut_off",
            "pid": 4711,
            "signal": "QUIT",
            "count": 2,
            "tasks": [
                {
                    "name": "orders.export",
                    "id": "3f2a77aa",
                    "seconds": 90.0,
                    "limit": 300.0,
                    "acks_late": False,
                    "fate": "lost",
                }
            ],
        },
    ),
    (
        Gone(N, 4711, 3.21),
        ["w1@host: stopped, pid 4711 gone after 3.2s"],
        None,
        {"event": "gone", "pid": 4711, "after": 3.21, "by": None},
    ),
    (
        Survived(N, 4711, 105.0, (4711, 4713)),
        [
            "w1@host: failed: pids 4711, 4713 still there after 105s, the whole stop schedule",
            "    hint: 'multi kill' sends KILL to the whole tree",
        ],
        None,
        {"event": "survived", "pid": 4711, "after": 105.0, "pids": [4711, 4713]},
    ),
    (
        Cleared(N, "/run/w1.pid names 4711, which is gone"),
        ["w1@host: cleared what was left behind: /run/w1.pid names 4711, which is gone"],
        None,
        {"event": "cleared", "pid": None, "why": "/run/w1.pid names 4711, which is gone"},
    ),
    (
        Cleared(N, ""),
        [],
        ["w1@host: removed its pidfile"],
        {"event": "cleared", "pid": None, "why": None},
    ),
    (
        Adopted(N, 4711, "its pidfile is gone"),
        ["w1@host: adopted pid 4711: its pidfile is gone"],
        None,
        {"event": "adopted", "pid": 4711, "why": "its pidfile is gone"},
    ),
    (
        Drained(N, 4711, Work(1, (ActiveTask("a.b", "3f2a77aa", 3.0),)), "soon"),
        ["w1@host: takes no new task, pid 4711; 1 task: a.b 3f2a 3s; soon"],
        None,
        {
            "event": "drained",
            "pid": 4711,
            "tasks": {
                "count": 1,
                "active": [{"name": "a.b", "id": "3f2a77aa", "seconds": 3.0, "limit": None, "acks_late": False}],
                "reserved": 0,
                "eta": 0,
            },
            "note": "soon",
        },
    ),
    (
        Drained(N, 4711, Work(0)),
        ["w1@host: takes no new task, pid 4711; idle"],
        None,
        {
            "event": "drained",
            "pid": 4711,
            "tasks": {"count": 0, "active": [], "reserved": 0, "eta": 0},
            "note": None,
        },
    ),
    (
        Resumed(N, 4711),
        ["w1@host: consumes again, pid 4711"],
        None,
        {"event": "resumed", "pid": 4711, "note": None},
    ),
    (
        Updated(N, 4711),
        ["w1@host: runs on, with its new settings on record, pid 4711"],
        None,
        {"event": "updated", "pid": 4711},
    ),
    (
        Awaits(N, "tcp:redis:6379", "Connection refused"),
        ["w1@host: waits for tcp:redis:6379 (Connection refused)"],
        None,
        {"event": "awaits", "pid": None, "what": "tcp:redis:6379", "why": "Connection refused", "waited": True},
    ),
    (
        Awaits(N, "w2@host", "not running, and not asked for", waited=False),
        ["w1@host: does not wait for w2@host (not running, and not asked for)"],
        None,
        {
            "event": "awaits",
            "pid": None,
            "what": "w2@host",
            "why": "not running, and not asked for",
            "waited": False,
        },
    ),
    (
        Skipped(N, 4711, "already running"),
        ["w1@host: already running, pid 4711"],
        None,
        {"event": "skipped", "pid": 4711, "why": "already running", "met": True},
    ),
    (
        Skipped(N, None, "not running"),
        ["w1@host: not running"],
        None,
        {"event": "skipped", "pid": None, "why": "not running", "met": True},
    ),
    (
        Skipped(N, None, "skipped: an earlier node failed", met=False),
        ["w1@host: skipped: an earlier node failed"],
        None,
        {"event": "skipped", "pid": None, "why": "skipped: an earlier node failed", "met": False},
    ),
    (
        Failed(N, 4711, "it exited with status 1", 1, ("Traceback:", "ImportError: proj"), "/log/w1.log"),
        [
            "w1@host: failed: it exited with status 1 (pid 4711)",
            "    | Traceback:",
            "    | ImportError: proj",
            "    log: /log/w1.log",
        ],
        None,
        {
            "event": "failed",
            "pid": 4711,
            "why": "it exited with status 1",
            "exit_status": 1,
            "log_tail": ["Traceback:", "ImportError: proj"],
            "logfile": "/log/w1.log",
            "exit_code": 1,
        },
    ),
    (
        Refused(N, "/run/w1.pid is a FIFO"),
        ["w1@host: refused: /run/w1.pid is a FIFO"],
        None,
        {"event": "refused", "pid": None, "why": "/run/w1.pid is a FIFO", "exit_code": 1},
    ),
    (Waiting(N, 4711, "end", 12.0, signal.SIGQUIT, 78.0), [], None, None),
]


TRACE = ("Traceback (most recent call last):", '  File "x.py", line 3, in <module>', "ImportError: proj")


def test_the_same_last_lines_are_shown_once() -> None:
    """Last lines that differ in nothing but times, names and pids are shown with the first node that has them."""
    one = Failed("w1@host", 71, "it exited with status 1", 1, ("10:00:01,5 w1@host [71] up", *TRACE), "/log/w1.log")
    two = Failed("w2@host", 72, "it exited with status 1", 1, ("10:00:02,7 w2@host [72] up", *TRACE), "/log/w2.log")
    assert report.event_lines(two, earlier=[one]) == (
        "w2@host: failed: it exited with status 1 (pid 72)",
        "    | its last 4 lines are those of w1@host",
        "    log: /log/w2.log",
    )
    other = replace(two, log_tail=(*two.log_tail[:-1], "ImportError: other"))
    assert report.event_lines(other, earlier=[one])[1:5] == tuple(f"    | {line}" for line in other.log_tail)
    short = replace(two, log_tail=("killed",))
    assert report.event_lines(short, earlier=[replace(one, log_tail=("killed",))])[1] == "    | killed"


@pytest.mark.parametrize(
    "line",
    ["/opt/pipx/multi/bin/python: No module named proj", "ModuleNotFoundError: No module named 'proj'",
     "The module proj was not found."],
)  # fmt: skip
def test_a_module_that_another_python_has(line: str) -> None:
    """A start that misses a module says how to name the Python and the directory that have it."""
    last = report.event_lines(Failed(N, 7, "it exited with status 1", 1, (line,), "/l"))[-1]
    assert last.startswith(
        "    hint: its Python does not find proj; check the name, --workdir, and --executable, as in"
    )


def test_what_to_type_after_a_rolling_command_that_failed() -> None:
    """The last line names the nodes that are down, and the hint the command to type; without one there is no hint."""
    again = "multi restart --rolling"
    halted = Halted((), ("w1@host", "w2@host"), ("w3@host",), (), (), ("w1@host", "w3@host"))
    text = "multi: stopped at the first failure; failed: w2@host; down: w1@host w3@host"
    hint = f"    hint: put right why it failed, then type: {again}"
    assert report.event_lines(halted, typed=again) == (text, hint)
    assert report.event_lines(replace(halted, failed=()), typed=again) == (
        "multi: stopped before the end; down: w1@host w3@host",
    )


def test_a_rollback_says_of_each_node_what_it_is() -> None:
    """New, rolled back, down, under way and as before: each node once."""
    halted = Halted(("w1@host",), ("w2@host", "w3@host"), ("w4@host",), ("w5@host",), ("w2@host",), ("w3@host",))
    assert report.event_lines(halted) == (
        (
            "multi: stopped at the first failure; new: w1@host; rolled back: w2@host; down: w3@host; "
            "under way: w4@host; as before: w5@host"
        ),
    )


def test_every_event_is_in_the_table() -> None:
    """A new kind of event cannot go without a line, a JSON object and their test."""
    tested = {type(event) for event, *_ in EVENTS} | {Interrupted, Halted, Output, Ending}  # the last: test_output
    assert tested == set(get_args(Event))


@pytest.mark.parametrize(("event", "lines", "verbose", "fact"), EVENTS)
def test_event(event: Event, lines: list[str], verbose: list[str] | None, fact: dict[str, object] | None) -> None:
    """An event has these lines, these with --verbose, and this JSON object with exactly these keys."""
    assert list(report.event_lines(event)) == lines
    assert list(report.event_lines(event, verbose=True)) == (lines if verbose is None else verbose)
    if fact is None:
        assert event_json(event) is None
    else:
        assert event_json(event) == {"node": N, **fact}
        assert list(event_json(event) or ())[:3] == ["event", "node", "pid"]


def test_interrupted_is_nobodys_event() -> None:
    """The interruption of a command has no node, and its line says who speaks."""
    event = Interrupted(signal.SIGINT)
    text = "multi: interrupted by INT: nothing more is done; 'multi status' tells what runs"
    assert report.event_lines(event) == (text,)
    assert event_json(event) == {"event": "interrupted", "node": None, "pid": None, "signal": "INT"}


def test_halted_says_which_nodes_run_the_old_and_which_the_new() -> None:
    """A rolling command that ended early has an event without a node; empty groups are not mentioned."""
    event = Halted(("w1@host", "w2@host"), ("w3@host",), (), ("w4@host",))
    text = "multi: stopped at the first failure; new: w1@host w2@host; failed: w3@host; as before: w4@host"
    assert report.event_lines(event) == (text,)
    assert event_json(event) == {
        "event": "halted",
        "node": None,
        "pid": None,
        "new": ["w1@host", "w2@host"],
        "failed": ["w3@host"],
        "unfinished": [],
        "untouched": ["w4@host"],
        "rolled_back": [],
        "down": [],
    }
    text = "multi: stopped before the end; under way: w1@host; as before: w2@host"
    assert report.event_lines(Halted((), (), ("w1@host",), ("w2@host",))) == (text,)


def test_failures_are_what_quiet_still_prints() -> None:
    """Failed, refused, survived and interrupted are failures, and what was skipped though it was asked for."""
    failures = {type(event) for event, *_ in EVENTS if report.is_failure(event)}
    assert failures == {Failed, GaveUp, Refused, Survived, Skipped}
    assert not report.is_failure(Skipped(N, None, "not running"))
    assert report.is_failure(Interrupted(signal.SIGINT))
    assert report.is_failure(Halted((), (), (), ()))


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (
            Failed(N, None, "no such file: /bin/wroker"),
            ["w1@host: failed: no such file: /bin/wroker"],
        ),
        (
            Failed(N, 7, "it was killed by signal 9 (KILL)", -9, ("last words",), "/l"),
            [
                "w1@host: failed: it was killed by signal 9 (KILL) (pid 7)",
                "    | last words",
                "    log: /l",
                "    hint: a KILL that nobody sent is often the kernel short of memory: see dmesg",
            ],
        ),
        (
            Failed(N, 7, "it exited with status 1", 1, (), "/l"),
            [
                "w1@host: failed: it exited with status 1 (pid 7)",
                "    log: /l",
                "    hint: it has printed nothing since its start; try what 'multi show' prints, with the same options",
            ],
        ),
        (
            Failed(N, 7, "it exited with status 1", 1, (), "/dev/stderr"),
            ["w1@host: failed: it exited with status 1 (pid 7)", "    log: /dev/stderr"],
        ),
        (
            Survived(N, 1, 5.0, tuple(range(100, 112))),
            [
                (
                    "w1@host: failed: pids 100, 101, 102, 103, 104, 105, 106, 107, 108, 109 and 2 more "
                    "still there after 5.0s, the whole stop schedule"
                ),
                "    hint: 'multi kill' sends KILL to the whole tree",
            ],
        ),
        (
            Survived(N, 100, 5.0, (100,)),
            [
                "w1@host: failed: pid 100 still there after 5.0s, the whole stop schedule",
                "    hint: 'multi kill' sends KILL to the whole tree",
            ],
        ),
        (
            Survived(N, 100, 5.0, (100, 101), killed=True),
            [
                "w1@host: failed: pids 100, 101 still there after 5.0s, although KILL was sent",
                "    hint: it is another user's, or waits in the kernel: see 'ps -o pid,user,stat,wchan -p 100,101'",
            ],
        ),
    ],
)
def test_failure_says_what_to_try(event: Event, lines: list[str]) -> None:
    """A failure has its reason, how the process ended, its last lines, its log, and a hint where one is known."""
    assert list(report.event_lines(event)) == lines


def test_colour_is_on_a_terminal_only() -> None:
    """Without colour no line holds an escape; with it a failure is red and a success green."""
    coloured = report.Style(colour=True)
    for event, *_ in EVENTS:
        assert "\x1b" not in "".join(report.event_lines(event, verbose=True))
    assert "\x1b[31mfailed: why\x1b[0m" in report.event_lines(Failed(N, None, "why"), coloured)[0]
    assert "\x1b[32mstopped, pid 1 gone after 2.0s\x1b[0m" in report.event_lines(Gone(N, 1, 2.0), coloured)[0]


@given(st.text(), st.lists(st.text(), max_size=3).map(tuple))
def test_text_of_others_is_harmless(text: str, tail: tuple[str, ...]) -> None:
    """G9: whatever a log, a path or a pidfile holds, a line stays one printable line, and JSON stays JSON."""
    events: list[Event] = [
        Failed(text, 1, text, 1, tail, text),
        Refused(text, text),
        Cleared(text, text or "x"),
        Adopted(text, 1, text),
        Skipped(text, None, text),
        Spawned(text, 1, (text, *tail)),
        Readied(text, 1, 1.0, text, text),
    ]
    for event in events:
        for line in report.event_lines(event, verbose=True):
            assert line.isprintable()
        fact = event_json(event)
        encoded = to_json(fact)
        assert encoded.isascii()
        assert "\n" not in encoded
        assert json.loads(encoded) == fact
    assert report.Progress().after(Waiting(text, 1, "end", 1.0, note=text)).line().isprintable()


# -- exit codes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([], 0),
        ([event for event, *_ in EVENTS if not report.is_failure(event)], 0),
        ([Failed(N, 1, "why")], 1),
        ([Refused(N, "why")], 1),
        ([Skipped(N, None, "not touched", met=False)], 1),
        ([Survived(N, 1, 1.0, (1,))], 1),
        ([Failed(N, 1, "held", exit_code=75)], 75),
        ([Refused(N, "not yours", exit_code=77)], 77),
        ([Failed(N, 1, "held", exit_code=75), Refused(N, "not yours", exit_code=77)], 77),
        ([Failed(N, 1, "held", exit_code=75), Failed("w2@host", 1, "why"), Refused(N, "not yours", exit_code=77)], 1),
        ([Failed(N, 1, "held", exit_code=75), Gone("w2@host", 1, 1.0)], 75),
        ([Failed(N, 1, "why"), Interrupted(signal.SIGINT)], 130),
        ([Interrupted(signal.SIGTERM), Gone(N, 1, 1.0)], 130),
    ],
)
def test_exit_code(events: list[Event], code: int) -> None:
    """Interrupted is 130; else a plain failure is 1 whatever else failed; else the highest code."""
    assert report.exit_code(events) == code
    assert report.exit_code(reversed(events)) == code


# -- progress ------------------------------------------------------------------------------------------------------


def progress(*events: Event) -> report.Progress:
    """What the events come to."""
    fold = report.Progress()
    for event in events:
        fold = fold.after(event)
    return fold


def test_progress_says_who_how_long_and_what_next() -> None:
    """The line names those waited for, the seconds so far, and when the next signal comes: the earliest counts."""
    waits = [Waiting(f"w{i}@host", i, "end", 12.4, signal.SIGQUIT, 77.6 + i) for i in range(1, 4)]
    assert progress(*waits).line() == "waiting for 3 nodes to end: w1 w2 w3 | 12s | next: QUIT in 79s"


@pytest.mark.parametrize(
    ("wait", "line"),
    [
        (Waiting(N, 1, "ready", 3.0), "waiting for 1 node to be ready: w1 | 3s"),
        (Waiting(N, 1, "ready", 3.0, None, 57.0), "waiting for 1 node to be ready: w1 | 3s | giving up in 57s"),
        (Waiting(N, 1, "end", 3.0, signal.SIGKILL, -0.2), "waiting for 1 node to end: w1 | 3s | next: KILL in 0s"),
        (Waiting(N, 1, "end", 300.0, None, math.inf), "waiting for 1 node to end: w1 | 300s"),
        (
            Waiting(N, 1, "lock", 5.0, None, 115.0),
            "waiting for 1 node that another multi has locked: w1 | 5s | giving up in 115s",
        ),
    ],
)
def test_progress_of_each_kind_of_wait(wait: Waiting, line: str) -> None:
    """What is waited for, and what comes at its end, is said for each kind of wait."""
    assert progress(wait).line() == line


def test_progress_of_several_kinds() -> None:
    """A restart waits for ends and for readiness at once: one line says both, in a fixed order."""
    fold = progress(Waiting("w1@h", 1, "ready", 1.0), Waiting("w2@h", 2, "end", 4.0))
    assert fold.line() == "waiting for 1 node to end: w2 | 4s; waiting for 1 node to be ready: w1 | 1s"


def test_progress_names_hosts_where_short_names_are_not_enough() -> None:
    """Two nodes with one short name are told apart by their hosts."""
    fold = progress(Waiting("w1@a", 1, "end", 1.0), Waiting("w1@b", 2, "end", 1.0))
    assert fold.line() == "waiting for 2 nodes to end: w1@a w1@b | 1s"


def test_progress_forgets_who_is_done() -> None:
    """Whatever becomes of a node ends its wait; a signal does not, and so does not what happens to others."""
    waits = [Waiting("w1@host", 1, "end", 1.0), Waiting("w2@host", 2, "end", 1.0)]
    assert set(progress(*waits, Gone("w1@host", 1, 1.0)).waits) == {"w2@host"}
    assert set(progress(*waits, Gone("w3@host", 1, 1.0)).waits) == {"w1@host", "w2@host"}
    assert set(progress(*waits, Signalled("w1@host", 1, 15, 1.0)).waits) == {"w1@host", "w2@host"}
    assert set(progress(*waits, Interrupted(2)).waits) == {"w1@host", "w2@host"}
    for done in (
        Failed("w1@host", 1, "why"),
        Survived("w1@host", 1, 1.0, (1,)),
        Readied("w1@host", 1, 1.0, "alive"),
        Refused("w1@host", "why"),
    ):
        assert set(progress(*waits, done).waits) == {"w2@host"}
    assert progress().line() == ""
    assert progress(waits[0], Gone("w1@host", 1, 1.0)).line() == ""


def test_progress_knows_everybody_before_the_first_round() -> None:
    """Who was signalled or spawned is waited for: the first wait that is told of names them all."""
    fold = progress(
        Signalled("w1@h", 1, 15, 0.0), Signalled("w2@h", 2, 15, 0.0), Waiting("w1@h", 1, "end", 10.0, 3, 80.0)
    )
    assert fold.line() == "waiting for 2 nodes to end: w1 w2 | 10s | next: QUIT in 80s"
    fold = progress(Spawned("w1@h", 1, ()), Spawned("w2@h", 2, ()), Waiting("w1@h", 1, "ready", 10.0, None, 50.0))
    assert fold.line() == "waiting for 2 nodes to be ready: w1 w2 | 10s | giving up in 50s"


def test_progress_keeps_to_the_width() -> None:
    """On a narrow terminal names give way first, then the line's end."""
    fold = progress(*(Waiting(f"worker{i}@host", i, "end", 5.0, 9, 85.0) for i in range(100)))
    fits = "waiting for 100 nodes to end: worker0 worker1 +98 | 5s | next: KILL in 85s"
    assert fold.line(len(fits)) == fits
    assert fold.line(len(fits) - 1) == "waiting for 100 nodes to end: worker0 +99 | 5s | next: KILL in 85s"
    assert fold.line(60) == "waiting for 100 nodes to end | 5s | next: KILL in 85s"
    assert fold.line(20) == "waiting for 100 node"
    assert len(fold.line()) > 800


@given(st.integers(1, 200), st.integers(0, 30))
def test_progress_never_wraps(width: int, count: int) -> None:
    """A redrawn line that wrapped could not be wiped: it is never longer than the terminal is wide."""
    fold = progress(*(Waiting(f"n{i}@h", i, ("end", "ready")[i % 2], 5.0) for i in range(count)))
    assert len(fold.line(width)) <= width


def test_progress_in_a_log_file() -> None:
    """A log gets a line after the first second, then one each thirty seconds, and anew for a new wait."""
    fold, told = report.Progress(), []
    for second in [0.0, 0.5, 1.0, 2.0, 10.0, 30.9, 31.0, 32.0, 61.5, 90.0, 91.5]:
        fold = fold.after(Waiting(N, 1, "end", second))
        if fold.due:
            told.append(second)
            fold = fold.told()
    assert told == [1.0, 31.0, 61.5, 91.5]
    fold = fold.after(Gone(N, 1, 92.0))
    assert not fold.due
    assert not fold.after(Waiting(N, 1, "ready", 0.0)).due
    assert fold.after(Waiting(N, 1, "ready", 1.5)).due


# -- routes --------------------------------------------------------------------------------------------------------

SCHEDULE = parse("TERM/90/KILL/5")
COMMAND = "python -m celery worker -n w1@host -l 'two words'"
STEPS: list[tuple[Step, str, dict[str, object]]] = [
    (
        PutOff(2.5),
        "start it again in 2.5s",
        {"step": "put-off", "after": 2.5, "pid": None, "ended": None, "status": None},
    ),
    (GiveUp("so"), "give it up: so", {"step": "give-up", "why": "so", "pid": None, "ended": None, "status": None}),
    (Finish(), "put on record that it has ended by itself", {"step": "finish", "pid": None, "status": 0}),
    (Take(PROC), "hold pid 4711, whose 'multi run' is gone", {"step": "take", "pid": 4711}),
    (
        Skip("already running"),
        "nothing to do: already running",
        {"step": "skip", "why": "already running", "met": True},
    ),
    (Refuse("not a file"), "refused: not a file", {"step": "refuse", "why": "not a file"}),
    (Resume(PROC), "resume pid 4711, which is suspended", {"step": "resume", "pid": 4711}),
    (Spawn(), f"start: {COMMAND}", {"step": "spawn", "source": None, "command": list(node().words)}),
    (
        Spawn("record"),
        f"start as on record: {COMMAND}",
        {"step": "spawn", "source": "record", "command": list(node().words)},
    ),
    (
        Spawn("preset"),
        f"nothing is on record, so start a bare worker: {COMMAND}",
        {"step": "spawn", "source": "preset", "command": list(node().words)},
    ),
    (AwaitReady(PROC), "wait until pid 4711 is ready", {"step": "await-ready", "pid": 4711}),
    (AwaitUp(), "wait until it is up", {"step": "await-up"}),
    (AwaitDown(PROC), "wait until pid 4711 ends by itself", {"step": "await-down", "pid": 4711}),
    (Drain(PROC), "drain pid 4711", {"step": "drain", "pid": 4711, "until_idle": False}),
    (
        Drain(PROC, until_idle=True),
        "drain pid 4711 and wait for its last task",
        {"step": "drain", "pid": 4711, "until_idle": True},
    ),
    (Consume(PROC), "let pid 4711 consume again", {"step": "consume", "pid": 4711}),
    (Signal(PROC, 15, stop=True), "send TERM to pid 4711", {"step": "signal", "pid": 4711, "signal": "TERM"}),
    (
        AwaitEnd(PROC, SCHEDULE),
        "wait for the end of pid 4711 by TERM/90/KILL/5",
        {"step": "await-end", "pid": 4711, "schedule": "TERM/90/KILL/5"},
    ),
    (
        Stop(PROC, SCHEDULE),
        "stop pid 4711 by TERM/90/KILL/5",
        {"step": "stop", "pid": 4711, "schedule": "TERM/90/KILL/5", "why": None},
    ),
    (
        Stop(PROC, SCHEDULE, again=True, why="it is large"),
        "stop pid 4711 by TERM/90/KILL/5, because it is large",
        {"step": "stop", "pid": 4711, "schedule": "TERM/90/KILL/5", "why": "it is large"},
    ),
    (Kill(PROC), "kill pid 4711 and its whole tree", {"step": "kill", "pid": 4711}),
    (Clear("stale"), "clear what is left behind: stale", {"step": "clear", "why": "stale"}),
    (Clear(keep=True), "remove the pidfile", {"step": "clear", "why": None}),
    (Rewrite(), "put its new settings on record", {"step": "rewrite"}),
    (Forget(), "take it off the record", {"step": "forget"}),
    (
        Clear(),
        "remove the pidfile, and put it on record as stopped",
        {"step": "clear", "why": None},
    ),
    (Adopt(PROC, "no pidfile"), "adopt pid 4711: no pidfile", {"step": "adopt", "pid": 4711, "why": "no pidfile"}),
]


def test_every_step_is_in_the_table() -> None:
    """A new kind of step cannot go without a line and a JSON object."""
    assert {type(step) for step, *_ in STEPS} == set(get_args(Step))


@pytest.mark.parametrize(("step", "text", "fact"), STEPS)
def test_step(step: Step, text: str, fact: dict[str, object]) -> None:
    """A step of a plan has this text and this JSON object."""
    route = Route(node(), (step,))
    assert report.route_line(route) == f"w1@host: {text}"
    assert route_json(route) == {"node": "w1@host", "steps": [fact]}


def test_route_is_one_line() -> None:
    """The steps of a node stand on one line, in order."""
    route = Route(node(), (Stop(PROC, SCHEDULE), Clear(), Spawn()))
    assert report.route_line(route) == (
        "w1@host: stop pid 4711 by TERM/90/KILL/5, then remove the pidfile, and put it on record as stopped, "
        f"then start: {COMMAND}"
    )
    assert report.route_line(Route(node(), ())) == "w1@host: nothing to do"


def test_plan_that_is_refused_exits_1() -> None:
    """--dry-run exits as the command would, as far as can be known."""
    assert report.plan_exit_code([]) == 0
    assert report.plan_exit_code([Route(node(), (Spawn(),))]) == 0
    assert report.plan_exit_code([Route(node(), (Skip("not running"),))]) == 0
    assert report.plan_exit_code([Route(node(), (Skip("keeps failing", met=False),))]) == 1
    assert report.plan_exit_code([Route(node(), (Spawn(),)), Route(node(), (Refuse("why"),))]) == 1


# -- status --------------------------------------------------------------------------------------------------------

STATES: list[tuple[State, str, int, int | None, str | None]] = [
    (Down(), "stopped", 3, None, None),
    (Up(PROC), "running", 0, 4711, None),
    (Up(PROC, ready=False), "starting", 0, 4711, None),
    (Up(PROC, suspended=True), "running", 0, 4711, "suspended by SIGSTOP; 'multi start' resumes it"),
    (Stopping(PROC), "stopping", 0, 4711, None),
    (
        Stopping(PROC, suspended=True),
        "stopping",
        0,
        4711,
        "suspended by SIGSTOP or by a stop that was cut off; 'multi stopwait' goes on",
    ),
    (Dead("pid 4711 is gone"), "dead", 1, None, "pid 4711 is gone"),
    (Dead("pid 4711 is gone", on_purpose=True), "stopped", 3, None, "pid 4711 is gone"),
    (Lost(PROC, "no pidfile"), "lost", 0, 4711, "no pidfile"),
    (Unsure("/run/w1.pid is a FIFO"), "unsure", 4, None, "/run/w1.pid is a FIFO"),
]


def test_every_state_is_in_the_table() -> None:
    """A new kind of state cannot go without a word and a code."""
    assert {type(state) for state, *_ in STATES} == set(get_args(State))


@pytest.mark.parametrize(("state", "state_word", "code", "pid", "why"), STATES)
def test_status_of(state: State, state_word: str, code: int, pid: int | None, why: str | None) -> None:
    """A state has this word, this LSB code, and shows a pid only where a process was proved."""
    view = View(node=node(), state=state)
    assert report.state_word(state) == state_word
    assert report.status_exit_code([view]) == code
    fact = view_json(view)
    assert (fact["state"], fact["pid"], fact["why"]) == (state_word, pid, why)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([], 3),
        ([Up(PROC), Up(PROC)], 0),
        ([Up(PROC), Down()], 3),
        ([Down(), Dead("why"), Up(PROC)], 1),
        ([Dead("why"), Unsure("why"), Down()], 4),
        ([Unsure("why"), Up(PROC)], 4),
    ],
)
def test_status_of_several(states: list[State], code: int) -> None:
    """LSB: of several codes, 4 before 1 before 3; no node at all is not running."""
    assert report.status_exit_code(View(node=node(), state=state) for state in states) == code


def test_status_json_keys() -> None:
    """The keys of `status --json` are a contract; what is not known is null."""
    unknown = view_json(View(node=node(), state=Down()))
    assert unknown == {
        "node": "w1@host",
        "name": "w1",
        "state": "stopped",
        "why": None,
        "pid": None,
        "uptime": None,
        "cpu_percent": None,
        "memory": None,
        "children": None,
        "restarts": None,
        "unhealthy": None,
        "liveness": None,
        "status_text": None,
        "tasks": None,
        "next_signal": None,
        "next_in": None,
        "draining": False,
        "heartbeat": None,
        "log_tail": None,
        "pidfile": "/run/w1.pid",
        "logfile": "/log/w1.log",
        "command": ["python", "-m", "celery", "worker", "-n", "w1@host", "-l", "two words"],
        "found": None,
        "cgroup": None,
    }
    known = View(
        node=node(),
        state=Up(PROC),
        uptime=12.5,
        cpu_percent=math.nan,
        memory=1024,
        children=4,
        restarts=2,
        status_text="celery@w1 ready",
        last_lines=("bye",),
    )
    assert json.loads(to_json(view_json(known))) == {
        **unknown,
        "state": "running",
        "pid": 4711,
        "uptime": 12.5,
        "memory": 1024,
        "children": 4,
        "restarts": 2,
        "status_text": "celery@w1 ready",
        "log_tail": ["bye"],
    }


def test_status_table() -> None:
    """The table is aligned: words to the left, numbers to the right, `-` for what is not known."""
    views = [
        View(
            node=node(),
            state=Up(PROC),
            uptime=7322.0,
            cpu_percent=1.25,
            memory=50_331_648,
            children=4,
            restarts=0,
        ),
        View(node=node("image-worker@host"), state=Down()),
    ]
    assert list(status_table(views)) == [
        "NODE               STATE     PID  UPTIME   CPU  MEMORY  CHILDREN  RESTARTS  LOG",
        "w1@host            running  4711   2h 2m  1.2%   48.0M         4         0  /log/w1.log",
        "image-worker@host  stopped     -       -     -       -         -         -  /log/image-worker.log",
    ]


def test_status_table_with_notes() -> None:
    """Where a node has something to say there is one more column: why it is dead, or its own status text."""
    views = [
        View(node=node(), state=Dead("pid 4711 is gone"), restarts=1),
        View(node=node("w2@host"), state=Up(PROC), status_text="2 tasks\nrunning"),
    ]
    assert list(status_table(views)) == [
        "NODE     STATE     PID  UPTIME  CPU  MEMORY  CHILDREN  RESTARTS  LOG          NOTE",
        "w1@host  dead        -       -    -       -         -         1  /log/w1.log  pid 4711 is gone",
        r"w2@host  running  4711       -    -       -         -         -  /log/w2.log  2 tasks\nrunning",
    ]


def test_status_table_with_colour_is_as_aligned() -> None:
    """Colour takes no columns, and neither do wide characters fewer than they need."""
    views = [View(node=node("漢字@host"), state=Unsure("why")), View(node=node(), state=Up(PROC))]
    plain = status_table(views)
    coloured = status_table(views, report.Style(colour=True))
    assert [printable(line) for line in coloured] == list(plain)
    assert "\x1b[35munsure \x1b[0m" in coloured[1]
    assert plain[1].startswith("漢字@host  unsure ")
    assert plain[2].startswith("w1@host    running")


MANY = [
    View(
        node=node(f"{name}@host"), state=Up(PROC), uptime=7322.0, cpu_percent=1.25, memory=2**28, children=4, restarts=0
    )
    for name in ("w1", "image-worker")
]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (200, "NODE STATE PID UPTIME CPU MEMORY CHILDREN RESTARTS LOG"),
        (80, "NODE STATE PID UPTIME CPU MEMORY CHILDREN RESTARTS"),
        (70, "NODE STATE PID UPTIME CPU MEMORY CHILDREN"),
        (60, "NODE STATE PID UPTIME CPU MEMORY"),
        (51, "NODE STATE PID UPTIME MEMORY"),
        (45, "NODE STATE PID UPTIME"),
        (34, "NODE STATE PID"),
        (28, "NODE STATE"),
        (20, "NODE"),
    ],
)
def test_columns_are_left_out_in_a_fixed_order(width: int, shown: str) -> None:
    """Where the terminal is narrow, LOG goes first, then RESTARTS, CHILDREN, CPU, MEMORY, UPTIME; the pid goes last."""
    assert status_table(MANY, width=width)[0].split() == shown.split()
    assert status_table(MANY)[0].split()[-1] == "LOG"


NAMES = {
    "short": "w1@host",
    "wide": "漢字" * 20 + "@host",
    "long": "w" * 60 + "12@" + "h" * 60,
    "of a long host": "w12@" + "é" * 90,
    "combining": "e\u0301" * 50 + "@h",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("note", ["", "pid 4711 is gone", "it said: 漢字 " * 30], ids=["none", "short", "long"])
def test_no_line_of_the_table_is_wider_than_the_terminal(name: str, note: str) -> None:
    """Whatever a node is called and says, no line wraps, and with colours neither."""
    views = [
        *MANY,
        View(node=node(name), state=Dead(note) if note else Down(), found="in /srv/" + "d" * 70 + "/漢/run: add x"),
    ]
    for width in (*range(2, 100), 119, 120, 199, 200):
        lines = status_table(views, report.Style(colour=width % 2 == 0), width, {"w1@host": "web"})
        assert max(columns(printable(line)) for line in lines) <= width
        assert len(lines) >= 6
    whole = "\n".join(status_table(views))
    assert name in whole
    assert note.strip() in whole


def columns(text: str) -> int:
    """How many columns a terminal takes for it."""
    return sum(0 if unicodedata.category(c) == "Mn" else 1 + (unicodedata.east_asian_width(c) == "W") for c in text)


def test_what_is_cut_says_so() -> None:
    """A name loses the end of its host, or its own middle; a note its end; and the last line tells how to see all."""
    long = [View(node=node("worker12@" + "h" * 60), state=Dead("pid 4711 is gone; " + "why " * 20), uptime=1.0)]
    lines = status_table(long, width=60)
    assert lines[1] == "worker12@hhhhhhhh...  dead     -  pid 4711 is gone; why w..."
    assert lines[-1] == "some of it is cut; --wide shows all"
    assert status_table([View(node=node("w" * 70 + "12@h"), state=Down())], width=30)[1].endswith("w12  stopped")


def test_groups_are_headings() -> None:
    """The nodes of a group stand below its name, those without one before, those found below the place."""
    views = [View(node=node(f"{name}@host"), state=Down()) for name in ("a1", "lone", "b1", "a2")]
    views.append(View(node=node("x@host"), state=Down(), found="not in /m.toml"))
    groups = {"a1@host": "a", "a2@host": "a", "b1@host": "b"}
    table = status_table(views, groups=groups)
    assert [line.partition("  stopped")[0].rstrip() for line in table[1:]] == [
        "lone@host",
        "a:",
        "  a1@host",
        "  a2@host",
        "b:",
        "  b1@host",
        "not in /m.toml:",
        "  x@host",
    ]


def test_nodes_that_nobody_asked_about_are_a_line_a_place() -> None:
    """Each place says how many of its nodes are in which state, a few names, and what reaches them."""
    views = [View(node=node(f"x{i}@host"), state=Down(), found=f"in /srv/{i % 7}: add x") for i in range(40)]
    lines = others_lines([*views, View(node=node("y@host"), state=Dead("gone"), found=views[0].found)])
    assert lines[1] == "  6 stopped, 1 dead (x0, x7, x14 and 4 more) in /srv/0: add x"
    assert lines[6:] == ("  10 more nodes in 2 more places",)
    assert max(map(columns, others_lines(views, 20))) <= 20
    assert others_lines([]) == ()


# -- check ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("umask", 0o22, "022"),
        ("umask", None, "-"),
        ("reload_signal", 1, "HUP"),
        ("nice", 5, "5"),
        ("ready_timeout", 60.0, "60"),
        ("startsecs", 0.5, "0.5"),
        ("lock_timeout", 1e9, "1000000000"),
        ("lock_timeout", 1234567.25, "1234567.25"),
        ("stop_schedule", SCHEDULE, "TERM/90/KILL/5"),
        ("ready", Ready("tcp", "127.0.0.1:80"), "tcp:127.0.0.1:80"),
        ("rlimit", (("NOFILE", 1024, -1), ("CORE", 0, 0)), "NOFILE=1024:unlimited CORE=0:0"),
        ("env", (("A", "two words"), ("B", None), ("C", "")), "'A=two words' B- C="),
        ("env", (), "-"),
        ("env_file", ("/etc/a b",), "'/etc/a b'"),
        ("uid", "worker\x07", r"worker\x07"),
        ("pidfile", "%n.pid", "/run/w1.pid"),
        ("cmd", ("x",), None),
    ],
)
def test_settings_are_shown_as_they_are_written(name: str, value: object, text: str | None) -> None:
    """`check` shows a value the way its setting is written, paths as they are in the end."""
    selection = Selection(
        nodes=(node(),), settings={N: {name: value}}, sources={N: {name: "multi.toml [defaults]"}}, config="/m.toml"
    )
    shown = [] if text is None else [f"    {name} = {text}  (multi.toml [defaults])"]
    said = ["configuration: /m.toml", N, f"    command = {COMMAND}", *shown, "1 node, no problem"]
    assert list(report.check_lines(selection, 0)) == said
    settings = {} if text is None else {name: [text, "multi.toml [defaults]"]}
    assert check_json(selection, ()) == {
        "config": "/m.toml",
        "nodes": [{"node": N, "command": list(node().words), "settings": settings}],
        "obstacles": [],
    }


def test_check_shows_what_somebody_set() -> None:
    """What only the preset or nobody says is shown with `verbose`; the last line is the verdict."""
    sources = {
        "nice": "multi.toml [defaults]",
        "umask": "built in",
        "env": "preset celery, command line",
        "uid": "preset x",
    }
    selection = Selection(
        nodes=(node(),),
        settings={N: {"nice": 5, "umask": 0o22, "env": (("A", "b"),), "uid": "u"}},
        sources={N: sources},
    )
    lines = list(report.check_lines(selection, 2))
    assert [line.split()[0] for line in lines[3:-1]] == ["nice", "env"]
    assert lines[-1] == "1 node, 2 problems"
    assert len(report.check_lines(selection, 0, verbose=True)) == len(lines) + 2


def test_status_of_a_node_that_keeps_dying() -> None:
    """Why a node is dead says how long `ensure` still leaves it alone."""
    known = Record(node=replace(node(), restart_delay=9.0), proc=None, failures=1, failed=1000.0)
    soon, later = Dead("why", end=End(known, 1000.0)), Dead("why", end=End(known, 1009.0))
    assert re.fullmatch(r"why; 'multi ensure' leaves it alone for 8\.\ds more", str(status_reason(soon)))
    assert status_reason(later) == "why"
    held = Dead("why", end=End(replace(known, node=replace(known.node, restart="always")), 1000.0, held=True))
    assert re.fullmatch(r"why; 'multi run' starts it again in 8\.\ds", str(status_reason(held)))
    given_up = Dead("why", end=End(replace(known, gave_up="so"), 1000.0))
    assert status_reason(given_up) == "why; given up: so; 'multi start w1' starts it again"
