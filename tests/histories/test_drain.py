"""`drain`, `resume` and `--when-idle` on the made-up machine."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import pytest

from multi import api
from multi.act import walk
from multi.codec import decode
from multi.model.event import Drained, Event, Failed, Gone, Interrupted, Readied, Refused, Resumed, Skipped, Waiting
from multi.model.happening import Interruption
from multi.model.record import Record
from multi.model.request import Request, RunOptions, Task
from multi.model.work import ActiveTask, Work, encode_work
from multi.report.json import event_json, view_json
from multi.report.lines import event_lines
from multi.report.table import status_table
from multi.testing.world import Body, Fake, Nature, World, node_of
from multi.value import replace

NODE = node_of()
ONE = Work(1, (ActiveTask("orders.export", "3f2a77aa", 41.0),), 0, 2)


class Worker:
    """A plug-in: what it was asked, and what it has in hand, one after the other."""

    def __init__(self, *works: Work) -> None:
        """Have the last of them for ever."""
        self.heard: list[str] = []
        self.drained = False
        self._works: Iterator[Work] = chain(works, repeat(works[-1] if works else Work(0)))

    def __call__(self, word: str) -> str:
        """Answer."""
        self.heard.append(word)
        self.drained = {"drain": True, "resume": False}.get(word, self.drained)
        return json.dumps({**json.loads(encode_work(next(self._works))), "state": "draining", "done": True})


def world_with(worker: Callable[[str], str] | None) -> tuple[World, Body]:
    """A world where the node runs."""
    world = World()
    world.nature = Nature(answers=worker)
    events_of(world, "start")
    (body,) = world.mains(NODE.pidfile)
    return world, body


def events_of(world: World, command: str, options: RunOptions | None = None, **more: bool) -> list[Event]:
    """One command from its beginning to its end."""
    fake = world.fake()
    events = list(walk([Task(NODE, Request(command, **more))], options or RunOptions(), fake))  # type: ignore[arg-type]  # flags
    fake.close()
    return events


def record_of(world: World) -> Record:
    """What is on record."""
    return decode(world.files[NODE.recordfile].data)


def kinds(events: list[Event]) -> list[str]:
    """The names of the events."""
    return [type(event).__name__ for event in events]


def test_drain_and_resume() -> None:
    """A drained node runs on and is on record as that, so a status of any later command shows it."""
    worker = Worker(ONE)
    world, body = world_with(worker)
    (event,) = events_of(world, "drain")
    assert event == Drained("w1@host", body.pid, ONE)
    (line,) = event_lines(event)
    assert line == f"w1@host: takes no new task, pid {body.pid}; 1 task: orders.export 3f2a 41s; 2 ETA"
    shown = event_json(event)
    assert shown is not None
    assert (shown["event"], shown["note"]) == ("drained", None)
    assert worker.drained
    assert record_of(world).draining == pytest.approx(world.wall, abs=1)
    world.rest(40.0)
    fake = world.fake()
    (view,) = api.look(api.Selection(nodes=(NODE,), spec=None), machine=fake)  # type: ignore[arg-type]  # nobody reads it
    assert view_json(view)["draining"] is True
    assert view_json(view)["state"] == "running"
    assert status_table([view])[1].endswith("draining since 40s")
    assert kinds(events_of(world, "drain")) == ["Drained"]
    assert events_of(world, "resume") == [Resumed("w1@host", body.pid)]
    assert (worker.drained, record_of(world).draining) == (False, 0.0)
    assert worker.heard == ["drain", "drain", "resume"]


def test_what_cannot_be_drained() -> None:
    """Without a plug-in, a running process or consent nothing changes, and the reason is told."""
    world, body = world_with(None)
    before = record_of(world)
    (event,) = events_of(world, "drain")
    assert isinstance(event, Failed)
    assert event.why.startswith(
        "cannot be drained: it has no socket; multi-supervisor has to be installed in its Python"
    )
    assert record_of(world) == before
    body.nature = Nature(answers=lambda _: '{"error": "the worker is stopping"}')
    (event,) = events_of(world, "resume")
    assert isinstance(event, Failed)
    assert event.why == "cannot be resumed: the worker is stopping"
    body.nature = Nature(answers=lambda _: "")
    (event,) = events_of(world, "drain")
    assert isinstance(event, Failed)
    assert event.why == "cannot be drained: it does not answer within 5s"
    events_of(world, "stopwait")
    assert kinds(events_of(world, "drain")) == ["Refused"]
    assert kinds(events_of(world, "drain", named=False)) == ["Skipped"]


def test_drain_of_a_node_that_stops() -> None:
    """One that stops takes no new task anyway, and does not go back."""
    world = World()
    world.nature = Nature(answers=Worker(ONE), ignores=frozenset({signal.SIGTERM}))
    events_of(world, "start")
    events_of(world, "stop")
    assert isinstance(events_of(world, "drain")[0], Skipped)
    assert isinstance(events_of(world, "resume")[0], Refused)
    assert kinds(events_of(world, "stopwait", when_idle=True))[0] != "Drained"


@pytest.mark.parametrize("command", ["restart", "stopwait"])
def test_when_idle(command: str) -> None:
    """The worker is drained, does its last task, and is stopped then; ETA tasks go back to their broker."""
    reserved = Work(0, (), 1)
    worker = Worker(ONE, ONE, ONE, reserved, Work(0, (), 0, 2))
    world, body = world_with(worker)
    events = events_of(world, command, when_idle=True)
    names = kinds(events)
    assert names[:4] == ["Drained", "Waiting", "Waiting", "Signalled"]
    waits = [event for event in events if isinstance(event, Waiting)]
    assert [each.work for each in waits] == [ONE, reserved]
    assert [each.what for each in waits] == ["idle", "idle"]
    assert worker.heard[:5] == ["drain", *["tasks"] * 4]
    assert body.gone
    assert record_of(world).draining == 0.0
    assert isinstance(events[-1], Readied) is (command == "restart")


def test_when_idle_is_not_held_up() -> None:
    """A worker that ends by itself meanwhile is not waited for."""
    world, body = world_with(Worker(ONE))
    world.after(30.0, lambda: world.end(body, 0))
    began = world.time
    events = events_of(world, "stopwait", when_idle=True)
    assert isinstance(events[-2], Gone)
    assert world.time - began == pytest.approx(30, abs=2)


def test_when_idle_needs_a_plugin() -> None:
    """A worker that cannot tell when it is idle is not stopped."""
    world, body = world_with(None)
    assert kinds(events_of(world, "restart", when_idle=True)) == ["Failed"]
    assert not body.gone


def interrupted(world: World, options: RunOptions) -> list[Event]:
    """A restart that waits for a last task, and gets INT after ten seconds."""
    fake: Fake = world.fake()
    world.after(10.0, lambda: fake.heard.append(Interruption(signal.SIGINT)))
    events = list(walk([Task(NODE, Request("restart", when_idle=True))], options, fake))
    fake.close()
    return events


def test_an_interrupt_resumes() -> None:
    """Interrupted before its last task was done, the worker consumes again, unless it is told to stay drained."""
    worker = Worker(ONE)
    world, body = world_with(worker)
    events = interrupted(world, RunOptions())
    assert events[-2:] == [
        Resumed("w1@host", body.pid, "interrupted before its last task was done"),
        Interrupted(signal.SIGINT),
    ]
    assert (worker.drained, record_of(world).draining, body.gone) == (False, 0.0, False)
    assert kinds(interrupted(world, RunOptions(keep_drained=True)))[-2:] == ["Waiting", "Interrupted"]
    assert worker.drained
    assert record_of(world).draining
    interrupted(world, RunOptions())  # it was drained before
    assert worker.drained
    assert record_of(world).draining


def test_a_closed_stream_resumes() -> None:
    """A program that closes the stream of events has interrupted it, too."""
    worker = Worker(ONE)
    world, _ = world_with(worker)
    fake = world.fake()
    events = walk([Task(NODE, Request("restart", when_idle=True))], RunOptions(progress=1.0), fake)
    while not isinstance(next(events), Waiting):
        pass
    events.close()
    assert (worker.drained, record_of(world).draining) == (False, 0.0)


def test_a_busy_worker_is_waited_for() -> None:
    """One that does not answer for a while is asked again."""
    answers = iter(["drain", "", "", '{"count": 0}'])
    world, body = world_with(lambda _: json.dumps({"count": 1}) if (text := next(answers)) == "drain" else text)
    events = events_of(world, "stopwait", when_idle=True)
    assert kinds(events)[:2] == ["Drained", "Signalled"]
    assert body.gone


def test_a_record_of_a_drained_node_survives_a_rewrite() -> None:
    """What is asked of the node meanwhile does not forget that it is drained."""
    world, body = world_with(Worker(ONE))
    events_of(world, "drain")
    record = record_of(world)
    assert replace(record).requested("restarting", body.proc, 1.0, "").draining == record.draining
