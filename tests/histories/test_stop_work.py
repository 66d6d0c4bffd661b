"""What a stop waits for: told while it waits, shown by `status`, and named when it is cut off."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable

import pytest

from multi import api
from multi.act import walk
from multi.model.event import CutOff, Event, Waiting
from multi.model.node import Node
from multi.model.record import NOTIFY_TASKS as TASKS
from multi.model.request import Request, RunOptions, Task
from multi.model.work import ActiveTask, Work, encode_work
from multi.report.json import event_json, view_json
from multi.report.lines import Progress, event_lines
from multi.report.table import status_table
from multi.testing.world import Nature, World, node_of

TERM, QUIT, KILL = int(signal.SIGTERM), int(signal.SIGQUIT), int(signal.SIGKILL)
TWO = Work(
    2, (ActiveTask("orders.export", "3f2a77aa", 41.0, 300.0), ActiveTask("mail.send", "9c01bb22", 2.0, acks_late=True))
)
NONE = Work(0)
NODE = node_of(ready="notify", startsecs=0.0, stop="TERM/90/QUIT/10/KILL/5")


def says(*words: tuple[float, Work]) -> tuple[tuple[float, dict[str, str]], ...]:
    """What a worker says: it is ready after a second, and then what it has in hand."""
    return (
        (1.0, {"READY": "1"}),
        *((after, {TASKS: encode_work(work), "STATUS": "warm shutdown"}) for after, work in words),
    )


def events_of(world: World, command: str, node: Node = NODE, signum: int | None = None) -> list[Event]:
    """One command from its beginning to its end."""
    fake = world.fake()
    events = list(walk([Task(node, Request(command, signum))], RunOptions(), fake))
    fake.close()
    return events


def only(events: Iterable[Event], kind: type) -> list[Event]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def test_a_stop_tells_what_it_waits_for() -> None:
    """Each word of the worker is an event, with the signal that comes next and when."""
    world = World()
    world.nature = Nature(says=says((2.0, TWO), (3.0, NONE)), ends={TERM: (2.5, 0)})
    events_of(world, "start")
    events = events_of(world, "stopwait")
    first, second = only(events, Waiting)
    assert isinstance(first, Waiting)
    assert (first.work, first.next_signum) == (TWO, QUIT)
    assert first.next_in == pytest.approx(89, abs=0.1)
    progress = Progress().after(first)
    assert progress.line() == "w1: 2 tasks: orders.export 3f2a 41s (limit 300s), mail.send 9c01 2s; QUIT in 89s"
    assert progress.line(30) == "w1: 2 tasks: orders.export 3f…"
    assert event_lines(first) == ()
    shown = event_json(first)
    assert shown is not None
    assert (shown["event"], shown["next_signal"], shown["for"]) == ("waiting", "QUIT", "end")
    assert json.loads(json.dumps(shown))["tasks"]["active"][1] == {
        "name": "mail.send",
        "id": "9c01bb22",
        "seconds": 2.0,
        "limit": None,
        "acks_late": True,
    }
    assert isinstance(second, Waiting)
    assert second.work == NONE
    assert only(events, CutOff) == []


def test_progress_of_several() -> None:
    """Of several nodes each tells its tasks, the one with the longest task first."""
    short = Work(1, (ActiveTask("a.b", "77", 1.0),))
    waits = [
        Waiting("w1@host", 7, "end", 3.0, QUIT, 87.0, "", short),
        Waiting("w2@host", 8, "end", 3.0, QUIT, 87.0, "", TWO),
    ]
    progress = Progress()
    for each in (*waits, Waiting("w3@host", 9, "end", 3.0, QUIT, 87.0, "said")):
        progress = progress.after(each)
    assert progress.line() == (
        "waiting for 3 nodes to end: w1 w2 w3 | 3s | next: QUIT in 87s"
        " | w2: 2 tasks: orders.export 3f2a 41s (limit 300s), mail.send 9c01 2s; QUIT in 87s"
        " | w1: 1 task: a.b 77 1s; QUIT in 87s"
    )


def test_status_of_a_stop() -> None:
    """While a node stops, `status` shows what it has in hand and which signal comes next."""
    world = World()
    world.nature = Nature(says=says((2.0, TWO)), ignores=frozenset({TERM}))
    events_of(world, "start")
    fake = world.fake()
    stop = walk([Task(NODE, Request("stopwait"))], RunOptions(progress=5.0), fake)
    while not isinstance(event := next(stop), Waiting) or event.since < 9:
        pass
    assert event.work == TWO.aged(event.since - 1)
    looker = world.fake(uid=0)
    (view,) = api.look(api.Selection(nodes=(NODE,), spec=None), machine=looker)  # type: ignore[arg-type]  # nobody reads it
    assert view.work is not None
    assert view.work.active[0].seconds == pytest.approx(41 + event.since - 1, abs=0.1)
    shown = view_json(view)
    assert (shown["state"], shown["next_signal"], shown["next_in"]) == ("stopping", "QUIT", pytest.approx(80, abs=0.1))
    (_, line) = status_table([view])
    assert line.endswith("2 tasks: orders.export 3f2a 50s (limit 300s), mail.send 9c01 11s; QUIT in 80s")
    stop.close()


@pytest.mark.parametrize(
    ("nature", "signum", "cut"),
    [
        (Nature(says=says((2.0, TWO)), ignores=frozenset({TERM})), None, QUIT),
        (Nature(says=says((2.0, TWO)), ignores=frozenset({TERM, QUIT})), None, KILL),
        (Nature(says=says((2.0, TWO)), ends={QUIT: (3.0, 0)}), QUIT, QUIT),  # it said so after a QUIT
        (Nature(says=says((2.0, TWO), (95.0, NONE)), ends={TERM: (99.0, 0), QUIT: (9.0, 0)}), None, None),
        (Nature(says=says((2.0, TWO)), ends={TERM: (5.0, 0)}), None, None),
        (Nature(says=says(), ignores=frozenset({TERM})), None, None),
    ],
)
def test_a_later_signal_cuts_tasks_off(nature: Nature, signum: int | None, cut: int | None) -> None:
    """Tasks that are under way when a later signal ends the worker are named, with what becomes of them."""
    world = World()
    world.nature = nature
    events_of(world, "start")
    (body,) = world.mains(NODE.pidfile)
    events = events_of(world, "stopwait", signum=signum)
    found = only(events, CutOff)
    if cut is None:
        assert found == []
        return
    (event,) = found
    assert isinstance(event, CutOff)
    assert (event.pid, event.signum, event.count) == (body.pid, cut, 2)
    assert events.index(event) < len(events) - 1
    (line,) = event_lines(event)
    name = signal.Signals(cut).name.removeprefix("SIG")
    assert line.startswith(f"w1@host: {name} cut off 2 tasks: orders.export 3f2a ")
    assert "(lost), mail.send 9c01 " in line
    assert line.endswith("s (redelivered)")
    shown = event_json(event)
    assert shown is not None
    assert [task["fate"] for task in shown["tasks"]] == ["lost", "redelivered"]  # type: ignore[attr-defined]  # a list


def test_garbage_about_tasks() -> None:
    """What is no object as agreed is passed over."""
    world = World()
    words = ((1.0, {"READY": "1"}), (2.0, {TASKS: "[1"}), (3.0, {TASKS: ""}), (4.0, {TASKS: '{"count": "2"}'}))
    world.nature = Nature(says=words, ignores=frozenset({TERM}))
    events_of(world, "start")
    events = events_of(world, "stopwait")
    assert only(events, Waiting) == only(events, CutOff) == []


@pytest.mark.parametrize(
    ("command", "first", "then", "cut"),
    [("stopwait", TWO, NONE, None), ("stopwait", NONE, TWO, QUIT), ("kill", None, TWO, KILL)],
)
def test_what_is_cut_off_is_asked_right_before(command: str, first: Work | None, then: Work, cut: int | None) -> None:
    """The last word of a worker may be seconds old, so it is asked once more before it is sent another signal."""
    world = World()
    words = says() if first is None else says((2.0, first))
    world.nature = Nature(says=words, ignores=frozenset({TERM}), answers=lambda _: encode_work(then))
    events_of(world, "start")
    found = only(events_of(world, command), CutOff)
    assert [event.signum for event in found if isinstance(event, CutOff)] == ([] if cut is None else [cut])


def test_a_worker_that_does_not_answer_delays_no_kill() -> None:
    """It is asked for a moment only; one that ends meanwhile has ended."""
    world = World()
    world.nature = Nature(says=says(), answers=lambda _: "")
    events_of(world, "start")
    began = world.time
    assert type(events_of(world, "kill")[-2]).__name__ == "Gone"
    assert world.time - began < 0.3
    events_of(world, "start")
    (body,) = world.mains(NODE.pidfile)
    world.after(0.1, lambda: world.end(body, 0))
    assert type(events_of(world, "kill")[-2]).__name__ == "Gone"
