"""Order and needs on a made-up machine: who waits for whom, what a failure leaves untouched, and what is on record."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest

from multi.act import walk
from multi.codec import decode
from multi.model.event import (
    Awaits,
    Event,
    Failed,
    Gone,
    Interrupted,
    Readied,
    Refused,
    Signalled,
    Skipped,
    Spawned,
    Waiting,
)
from multi.model.node import Node, Ready
from multi.model.record import WANTED_UP
from multi.model.request import Request, RunOptions, Task
from multi.testing.world import Nature, World, node_of

E = TypeVar("E")
TERM = int(signal.SIGTERM)
REDIS, DB = Ready("tcp", "redis:6379"), Ready("exec", "pg_isready")
DB_NODE, W1, W2 = node_of("db"), node_of("w1", after=("db@host",)), node_of("w2", after=("db@host",))
BEAT = node_of("beat", after=("w1@host", "w2@host", "else@host"))
ALL = (BEAT, W1, DB_NODE, W2)  # not the order in which they start


def loop(world: World, command: str, *nodes: Node, options: RunOptions | None = None) -> list[Event]:
    """One command from its beginning to its end, by a `multi` of its own."""
    fake = world.fake()
    events = list(walk([Task(node, Request(command)) for node in nodes], options or RunOptions(), fake))
    fake.close()
    return events


def only(events: Iterable[Event], kind: type[E]) -> list[E]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def course(events: Iterable[Event]) -> list[str]:
    """What began and ended when: ``+w1`` for a spawn, ``w1`` for ready, ``-w1`` for a signal, ``.w1`` for the end."""
    signs: dict[type, str] = {Spawned: "+", Readied: "", Signalled: "-", Gone: "."}
    return [
        signs[type(event)] + event.node.partition("@")[0]
        for event in events
        if isinstance(event, (Spawned, Readied, Signalled, Gone))
    ]


def comes_before(events: Sequence[str], *order: str) -> bool:
    """Whether these come in this order."""
    return sorted(order, key=events.index) == list(order)


@pytest.mark.parametrize("command", ["start", "restart", "run", "ensure", "apply"])
def test_a_start_waits_until_those_before_it_are_ready(command: str) -> None:
    """Each layer begins when the one before it is ready, and a layer begins at once."""
    world = World()
    if command == "ensure":
        loop(world, "start", *ALL)
        for node in ALL:
            world.end(world.mains(node.pidfile)[0], 9)
    events = loop(world, command, *ALL)
    assert len(only(events, Readied)) == len(ALL)
    found = course(events)
    assert comes_before(found, "+db", "db", "+w1", "w1", "+beat")
    assert comes_before(found, "db", "+w2", "w2", "+beat")
    assert comes_before(found, "+w2", "w1")


def test_a_stop_goes_in_reverse() -> None:
    """What comes after others is gone before they get their signal."""
    world = World()
    world.natures["beat@host"] = Nature(ends={TERM: (3.0, 0)})
    loop(world, "start", *ALL)
    found = course(loop(world, "stopwait", *ALL))
    assert comes_before(found, "-beat", ".beat", "-w1", ".w1", "-db", ".db")
    assert comes_before(found, ".beat", "-w2", ".w2", "-db")


def test_a_stop_that_fails_holds_up_no_other() -> None:
    """One bad node never keeps the others running: they are stopped all the same, in their order."""
    world = World()
    world.natures["beat@host"] = Nature(stuck=True)
    loop(world, "start", *ALL)
    events = loop(world, "stopwait", *ALL)
    assert {event.node for event in only(events, Gone)} == {"w1@host", "w2@host", "db@host"}
    assert only(events, Skipped) == []


def test_a_restart_goes_layer_by_layer() -> None:
    """A node is stopped and started while those after it run on with their old process."""
    world = World()
    loop(world, "start", *ALL)
    found = course(loop(world, "restart", *ALL))
    assert comes_before(found, "-db", ".db", "+db", "db", "-w1", ".w1", "+w1", "w1", "-beat", ".beat", "+beat", "beat")


@pytest.mark.parametrize("width", [None, 1])
@pytest.mark.parametrize("command", ["start", "restart"])
def test_a_node_that_fails_leaves_those_after_it_untouched(command: str, width: int | None) -> None:
    """They are named with the one that is not ready; who comes after neither goes on, unless one at a time goes."""
    world = World()
    if command == "restart":
        loop(world, "start", *ALL)
    before = {node.name: world.mains(node.pidfile) for node in ALL}
    world.natures["w1@host"] = Nature(lives=0.1, status=3)
    events = loop(world, command, *ALL, options=RunOptions(width=width))
    assert [event.node for event in only(events, Failed)] == ["w1@host"]
    why = "skipped: w1@host is not ready" if width is None else "skipped: an earlier node failed"
    assert ("beat@host", why, False) in [(event.node, event.why, event.met) for event in only(events, Skipped)]
    assert world.mains(BEAT.pidfile) == before["beat@host"]
    assert (world.mains(W2.pidfile) != before["w2@host"]) == (width is None)
    assert (BEAT.recordfile in world.files) == (command == "restart")


def test_what_runs_already_is_said_as_always() -> None:
    """A node that runs needs nobody: one before it that fails is no reason to leave it out."""
    world = World()
    loop(world, "start", *ALL)
    world.natures["w1@host"] = Nature(lives=0.1, status=3)
    world.end(world.mains(W1.pidfile)[0], 9)
    events = loop(world, "start", *ALL)
    assert {event.node for event in only(events, Skipped) if event.met} == {"beat@host", "db@host", "w2@host"}


def test_a_long_chain_of_failures() -> None:
    """Each names the one before it, also where nobody began it."""
    world = World()
    world.natures["a@host"] = Nature(lives=0.1, status=3)
    chain = [node_of("a"), node_of("b", after=("a@host",)), node_of("c", after=("b@host",))]
    events = loop(world, "start", *reversed(chain))
    assert [(event.node, event.why) for event in only(events, Skipped)] == [
        ("b@host", "skipped: a@host is not ready"),
        ("c@host", "skipped: b@host is not ready"),
    ]


def test_one_at_a_time_goes_by_layers() -> None:
    """With a width the order holds, too, and those before a node begin right before it."""
    world = World()
    found = course(loop(world, "start", *ALL, options=RunOptions(width=1)))
    assert found == ["+db", "db", "+w1", "w1", "+w2", "w2", "+beat", "beat"]


def test_many_nodes_after_many() -> None:
    """G12: a group after a group costs a look at each pair, not at each pair for each event."""
    world = World()
    first = [node_of(f"a{number}") for number in range(60)]
    names = tuple(node.name for node in first)
    second = [node_of(f"b{number}", after=names) for number in range(60)]
    found = course(loop(world, "start", *second, *first))
    assert max(found.index(f"a{number}") for number in range(60)) < min(found.index(f"+b{n}") for n in range(60))


def test_a_node_alone_is_started_alone() -> None:
    """Those that it comes after are not started with it: they are named, and only who is on its way is waited for."""
    world = World()
    node = node_of("w2", after=("w1@host", "db@host"))
    other, db = node_of(startsecs=5.0), node_of("db")
    task = Task(node, Request("start", beside=(other, db)))
    fake = world.fake()
    starting = walk([Task(other, Request("start"))], RunOptions(), fake)
    assert isinstance(next(starting), Spawned)
    events = list(walk([task], RunOptions(), world.fake()))
    assert only(events, Awaits) == [
        Awaits("w2@host", "w1@host", "it is not ready"),
        Awaits("w2@host", "db@host", "not running, and not asked for", waited=False),
    ]
    assert [event.node for event in only(events, Readied)] == ["w2@host"]
    assert world.mains(db.pidfile) == []


# --- needs ----------------------------------------------------------------------------------------------


def test_a_start_waits_for_what_it_needs() -> None:
    """It says once for what, nothing is done meanwhile, and it starts when all holds."""
    world = World()
    world.answers |= {REDIS.what: world.time + 7.0, DB.what: world.time + 9.0}
    node = node_of(needs=(REDIS, DB))
    began = world.time
    events = loop(world, "start", node, options=RunOptions(progress=1.0))
    assert only(events, Awaits) == [
        Awaits("w1@host", "tcp:redis:6379", "Connection refused"),
        Awaits("w1@host", "exec:pg_isready", "Connection refused"),
    ]
    waiting = [event for event in only(events, Waiting) if event.what == "need"]
    assert waiting[0].note.startswith("tcp:redis:6379")
    assert len(only(events, Readied)) == 1
    assert 9.0 < world.time - began < 10.6  # with `startsecs`


def test_what_holds_is_not_waited_for() -> None:
    """Nothing is said of it, and who runs already needs nothing."""
    world = World()
    world.answers[REDIS.what] = 0.0
    node = node_of(needs=(REDIS,))
    assert course(loop(world, "start", node)) == ["+w1", "w1"]
    del world.answers[REDIS.what]
    (body,) = world.mains(node.pidfile)
    assert only(loop(world, "start", node), Skipped) == [Skipped("w1@host", body.pid, "already running")]


def test_a_file_that_is_needed() -> None:
    """It has to be there, however old it is."""
    world = World()
    node = node_of(needs=(Ready("file", "/run/migrated"),), ready_timeout=5.0)
    assert [event.why for event in only(loop(world, "start", node), Failed)] == [
        "it needs file:/run/migrated, which did not hold within 5s: it is not there"
    ]


def test_a_need_that_never_holds() -> None:
    """The start fails after `ready_timeout`, with the need and its last answer; no process, no pidfile; on record."""
    world = World()
    node, other = node_of(needs=(REDIS,), ready_timeout=20.0), node_of("w2")
    began = world.time
    events = loop(world, "start", node, other)
    why = "it needs tcp:redis:6379, which did not hold within 20s: Connection refused"
    assert only(events, Failed) == [Failed("w1@host", None, why)]
    assert world.time - began == pytest.approx(20.0, abs=0.5)
    assert [event.node for event in only(events, Readied)] == ["w2@host"]
    assert world.mains(node.pidfile) == []
    assert node.pidfile not in world.files
    record = decode(world.files[node.recordfile].data)
    assert (record.proc, record.desired, record.failure, record.failures) == (None, WANTED_UP, why, 0)


@pytest.mark.parametrize("command", ["restart", "apply"])
def test_a_node_is_not_stopped_for_a_need_that_does_not_hold(command: str) -> None:
    """It runs on as it was, and its record, too."""
    world = World()
    old, node = node_of(argv=("old",)), node_of(needs=(REDIS,), ready_timeout=5.0)
    loop(world, "start", old)
    (body,) = world.mains(node.pidfile)
    record = world.files[node.recordfile].data
    events = list(walk([Task(node, Request(command, recorded=old))], RunOptions(), world.fake()))
    assert [event.why for event in only(events, Refused)] == [
        "left as it is, because it needs tcp:redis:6379, which did not hold within 5s: Connection refused"
    ]
    assert world.mains(node.pidfile) == [body]
    assert world.files[node.recordfile].data == record


def test_ensure_does_not_wait() -> None:
    """What cannot start now is left for the next run, as it is, and those after it, too."""
    world = World()
    node, last = node_of(needs=(REDIS,)), node_of("w2", after=("w1@host",))
    world.answers[REDIS.what] = 0.0
    loop(world, "start", node, last)
    for each in (node, last):
        world.end(world.mains(each.pidfile)[0], 9)
    record = world.files[node.recordfile].data
    del world.answers[REDIS.what]
    began = world.time
    assert loop(world, "ensure", node, last) == [
        Skipped("w1@host", None, "waits for tcp:redis:6379 (Connection refused)", met=False),
        Skipped("w2@host", None, "skipped: w1@host is not ready", met=False),
    ]
    assert world.time - began < 0.5
    assert world.files[node.recordfile].data == record
    world.answers[REDIS.what] = 0.0
    assert comes_before(course(loop(world, "ensure", node, last)), "w1", "+w2")


def test_nobody_is_kept_from_a_node_that_waits() -> None:
    """Another command may start it, or stop it, meanwhile; the first one then finds it running."""
    world = World()
    node = node_of(needs=(REDIS,))
    world.answers[REDIS.what] = world.time + 30.0
    fake = world.fake()
    events = walk([Task(node, Request("start"))], RunOptions(), fake)
    first = next(events)
    assert isinstance(first, Awaits)
    loop(world, "start", node_of())  # the same node, by somebody who does not ask
    assert [type(event) for event in events] == [Skipped]
    assert len(world.mains(node.pidfile)) == 1


def test_a_probe_that_hangs_is_asked_again() -> None:
    """Who gives no answer is given up after a while, within the time for all."""
    world = World()
    world.probe_takes = 1000.0
    world.probe_prints[DB.what] = "connecting"
    events = loop(world, "start", node_of(needs=(DB,), ready_timeout=12.0))
    assert [event.why for event in only(events, Awaits)] == ["no answer within 5s; it last said: connecting"]
    assert "did not hold within 12s: no answer within" in only(events, Failed)[0].why


def test_an_interrupted_wait_leaves_nothing() -> None:
    """Nothing was done yet, so nothing is left: no process, no file but the lock."""
    world = World()
    fake = world.fake()
    events = walk([Task(node_of(needs=(REDIS,)), Request("start"))], RunOptions(), fake)
    assert isinstance(next(events), Awaits)
    fake.interrupt(signal.SIGINT)
    assert [type(event) for event in events] == [Interrupted]
    fake.close()
    assert {path for path in world.files if path.startswith("/run/w1.")} <= {"/run/w1.lock"}
