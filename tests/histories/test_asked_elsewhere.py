"""A stop that was asked of the worker itself, as by remote control, is a stop that was asked for."""

from __future__ import annotations

import json

from multi import observe
from multi.act import walk
from multi.codec import decode
from multi.history import decode as past_of
from multi.model.event import Cleared, Event
from multi.model.record import WANTED_STOPPED
from multi.model.request import Request, RunOptions, Task
from multi.model.state import Dead, Down, State, Stopping
from multi.report.past import past_lines
from multi.report.status import reason, state_word
from multi.testing.world import Body, Entry, Nature, World, node_of

NODE = node_of(ready="notify", startsecs=0.0)
BY = "remote control (deploy by anna)"


def events_of(world: World, command: str) -> list[Event]:
    """One command from its beginning to its end."""
    fake = world.fake()
    events = list(walk([Task(NODE, Request(command))], RunOptions(), fake))
    fake.close()
    return events


def world_with_a_word(**said: str) -> tuple[World, Body]:
    """A world where the node runs, and has left that it was asked to stop."""
    world = World()
    world.nature = Nature(says=((0.5, {"READY": "1"}),))
    events_of(world, "start")
    lines = {
        "MULTI_INSTANCE": json.loads(world.files[NODE.recordfile].data)["token"],
        "MONOTONIC_USEC": str(int(world.time * 1e6)),
        "STATE": "stopping",
        "X_MULTI_STOP": "asked",
        "X_MULTI_STOP_BY": BY,
        **said,
    }
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    world.files[NODE.heartbeatfile] = Entry(text.encode())
    world.files[NODE.socketfile] = Entry(kind="socket")
    (body,) = world.mains(NODE.pidfile)
    return world, body


def state_of(world: World) -> State:
    """What a fresh `multi` sees."""
    fake = world.fake()
    observed = observe.look_at(NODE, fake.processes(), fake)
    fake.close()
    return observed.state


def test_it_stays_stopped() -> None:
    """`ensure` leaves it alone and puts it on record as stopped, `status` and `history` say who asked."""
    world, body = world_with_a_word()
    assert isinstance(state_of(world), Stopping)
    assert state_word(state_of(world)) == "stopping"
    world.end(body, 0)
    world.rest(100.0)
    state = state_of(world)
    assert isinstance(state, Dead)
    assert (state.on_purpose, state.asked, state_word(state)) == (True, True, "stopped")
    assert reason(state) == f"stopped 100s ago by {BY}"
    assert events_of(world, "ensure") == [Cleared("w1@host", f"stopped by {BY}")]
    record = decode(world.files[NODE.recordfile].data)
    assert (record.desired, record.stopped_by, record.proc) == (WANTED_STOPPED, BY, None)
    assert isinstance(state_of(world), Down)
    assert not {NODE.heartbeatfile, NODE.socketfile, NODE.pidfile} & world.files.keys()
    assert [type(event).__name__ for event in events_of(world, "ensure")] == ["Skipped"]
    assert world.offspring() == []


def test_a_start_is_told_why_it_was_down() -> None:
    """The next start says who had stopped it, and the files of the one before are gone before it begins."""
    world, body = world_with_a_word()
    world.end(body, 0)
    events = events_of(world, "start")
    assert [type(event).__name__ for event in events] == ["Cleared", "Spawned", "Readied"]
    assert isinstance(events[0], Cleared)
    assert events[0].why == f"stopped by {BY}"
    assert NODE.socketfile not in world.files
    past = past_of(b'{"at": 1.0, "event": "cleared", "why": "stopped by remote control"}')
    assert past is not None
    assert past_lines("w1", past)[0].endswith("w1: found stopped by remote control")


def test_words_of_another_start_or_user_mean_nothing() -> None:
    """Only the process that is on record can say it, in a file of the node's user (G8)."""
    world, body = world_with_a_word(MULTI_INSTANCE="of another start")
    world.end(body, 0)
    state = state_of(world)
    assert isinstance(state, Dead)
    assert not state.on_purpose
    world, body = world_with_a_word()
    world.files[NODE.heartbeatfile].uid = 1666
    world.end(body, 0)
    state = state_of(world)
    assert isinstance(state, Dead)
    assert not state.on_purpose
    assert [type(event).__name__ for event in events_of(world, "ensure")][:2] == ["Cleared", "Spawned"]


def test_what_a_dead_worker_left_is_removed_by_a_start() -> None:
    """A heartbeat and a socket that nobody cleared do not stand for the next process."""
    world, _ = world_with_a_word()
    events_of(world, "stopwait")
    assert NODE.heartbeatfile not in world.files
    world.files[NODE.heartbeatfile] = Entry(b"left")
    world.files[NODE.socketfile] = Entry(kind="socket")
    events_of(world, "start")
    assert not {NODE.heartbeatfile, NODE.socketfile} & world.files.keys()
