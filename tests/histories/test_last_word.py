"""Two commands about one node at once: the one that was typed last decides, and each exit code is true."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import pytest

from crowd import Crowd
from multi.act import walk
from multi.codec import decode
from multi.errors import EXIT_BUSY
from multi.model.event import Awaits, Event, Failed, Gone, Refused, Signalled, Skipped, Spawned
from multi.model.node import Node, Ready
from multi.model.record import WANTED_STOPPED, WANTED_UP, Record
from multi.model.request import Request, RunOptions, Task
from multi.report import event_code
from multi.testing.world import Body, Child, Entry, Fake, Nature, World, node_of
from multi.value import replace

TERM, KILL, HUP = int(signal.SIGTERM), int(signal.SIGKILL), int(signal.SIGHUP)
DEAF = Nature(ignores=frozenset({TERM}))
SLOW = Nature(ignores=frozenset({HUP}), ends={TERM: (15.0, 0)})
DB = Ready("tcp", "db:5432")
NODE = node_of(stop="TERM/60/KILL/5", startsecs=0.2, reload_signal=HUP)
NEEDY = replace(NODE, needs=(DB,))
CANCELLED = "cancelled: a later command stops it (pid "


@dataclass(slots=True)
class Played:
    """What became of one command: what it said, its exit code, when it was typed and when it was over."""

    command: str
    node: Node = NODE
    after: float = 0.0
    events: list[Event] = field(default_factory=list)
    code: int = 0
    began: float = 0.0
    over: float = 0.0
    pid: int = 0

    def run(self, fake: Fake) -> None:
        """The command, so many seconds after the others."""
        typed = fake.now() + self.after
        while fake.now() < typed:
            fake.wait(typed)
        self.began, self.pid = fake.now(), fake.body.pid
        self.events.extend(walk([Task(self.node, Request(self.command))], RunOptions(), fake))
        self.code = max((event_code(event) for event in self.events), default=0)
        self.over = fake.now()
        fake.close()

    def said(self) -> list[str]:
        """Why something was not done."""
        return [event.why for event in self.events if isinstance(event, (Skipped, Failed, Refused))]


def play(world: World, *commands: Played, seed: int = 0) -> Sequence[Played]:
    """The commands at once."""
    Crowd(world, seed, lambda: None).run([(world.fake(), one.run) for one in commands])
    world.rest(0.001)
    assert world.flocks == {}
    return commands


def running(world: World, nature: Nature, node: Node = NODE) -> Body:
    """The node runs."""
    world.natures[node.name] = nature
    play(world, Played("start", node))
    (body,) = world.mains(node.pidfile)
    return body


def record_of(world: World) -> Record:
    """What is on record."""
    return decode(world.files[NODE.recordfile].data)


def stopped(world: World) -> bool:
    """Whether nothing of the node runs, and that is on record."""
    there = NODE.recordfile not in world.files or record_of(world).stopped
    return there and NODE.pidfile not in world.files and not world.offspring()


def kills(events: Sequence[Event]) -> list[Event]:
    """What was sent KILL."""
    return [event for event in events if isinstance(event, Signalled) and event.signum == KILL]


# --- kill -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("first", ["stop", "stopwait", "restart"])
def test_g5_kill_waits_for_no_stop(first: str, seed: int) -> None:
    """The whole tree gets KILL at once, although another command holds the lock; both tell what is true (G5)."""
    world = World()
    children = (Child(nature=DEAF, session=True), Child(nature=DEAF, orphan=True), Child(nature=DEAF, bare=True))
    running(world, replace(DEAF, children=children))
    slow, kill = play(world, Played(first), Played("kill", after=5.0), seed=seed)
    assert kill.over - kill.began < 2.0
    assert stopped(world)
    assert kills(kill.events)
    assert [type(event) for event in kill.events].count(Gone) == 1
    assert kill.said() == []
    assert kill.code == 0
    gone = [event for event in slow.events if isinstance(event, Gone)]
    assert not kills(slow.events)
    if first != "stop":
        assert gone[0].by == f"pid {kill.pid}: multi"
    assert slow.code == (1 if first == "restart" else 0)
    assert not any(isinstance(event, Spawned) for event in slow.events)
    if first == "restart":
        assert slow.said() == [f"{CANCELLED}{kill.pid}: multi)"]


@pytest.mark.parametrize("seed", range(6))
def test_kill_ends_a_start_that_waits_for_its_proof(seed: int) -> None:
    """The start fails and names who killed it; the node is on record as stopped."""
    world = World()
    node = replace(NODE, ready=Ready("file", "/ready"), ready_timeout=60.0)
    start, kill = play(world, Played("start", node), Played("kill", node, 3.0), seed=seed)
    assert kill.over - kill.began < 2.0
    assert start.code == 1
    assert f"pid {kill.pid}: multi" in start.said()[0]
    assert kill.code == 0
    assert kill.said() == []
    assert stopped(world)


def test_g1_kill_without_the_lock_hits_nobody_else() -> None:
    """G1: the pid on record is another process by now, and somebody holds the lock: it is left alone."""
    world = World()
    body = running(world, DEAF)
    holder = world.fake()
    assert holder.lock(NODE.name, NODE.lockfile, None, None) is None
    other = world.recycle(body)
    world.after(20.0, holder.close)
    (kill,) = play(world, Played("kill"))
    assert not other.gone
    assert not kills(kill.events)
    assert kill.code == 0
    assert stopped(world) or NODE.recordfile in world.files


def test_kill_tells_who_keeps_the_lock() -> None:
    """The process is gone at once; that it cannot be put on record is 75."""
    world = World()
    body = running(world, DEAF)
    holder = world.fake()
    assert holder.lock(NODE.name, NODE.lockfile, None, None) is None
    events: list[Event] = []
    fake = world.fake()
    for event in walk([Task(replace(NODE, lock_timeout=10.0), Request("kill"))], RunOptions(), fake):
        events.append(event)
        assert body.gone or not isinstance(event, Gone)
    assert body.gone
    assert [event.exit_code for event in events if isinstance(event, Failed)] == [75]
    assert record_of(world).desired == WANTED_UP


# --- stop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("first", "last"), list(product(["start", "restart", "apply"], ["stop", "stopwait", "kill"])))
def test_a_stop_ends_the_wait_for_a_need(first: str, last: str, seed: int) -> None:
    """Who waits for what a node needs is told of the stop within a second or so, and starts nothing."""
    world = World()
    world.answers[DB.what] = world.time + 50.0
    start, stop = play(world, Played(first, NEEDY), Played(last, NEEDY, 5.0), seed=seed)
    assert isinstance(start.events[0], Awaits)
    assert (start.said(), start.code) == ([f"{CANCELLED}{stop.pid}: multi)"], 1)
    assert start.over - stop.over < 1.5
    assert (stop.said(), stop.code) == (["not running"], 0)
    assert stopped(world)


def test_a_start_after_the_stop_is_not_cancelled() -> None:
    """The last word is the start: the first start, which waits, finds the node running."""
    world = World()
    world.answers[DB.what] = world.time + 50.0
    first, stop, last = play(world, Played("start", NEEDY), Played("stopwait", NEEDY, 5.0), Played("start", NEEDY, 5.1))
    assert first.code == 1
    assert (stop.code, last.code) == (0, 0)
    assert len(world.mains(NODE.pidfile)) == 1


def test_a_stop_of_an_earlier_boot_or_before_the_start_means_nothing() -> None:
    """Only what was typed while the start waited counts."""
    world = World()
    world.answers[DB.what] = world.time + 20.0
    play(world, Played("stopwait", NEEDY), Played("start", NEEDY, 1.0))
    assert len(world.mains(NODE.pidfile)) == 1


def test_a_stop_of_a_node_whose_turn_has_not_come() -> None:
    """A node that comes after another one is not started when it was stopped meanwhile; those before it are."""
    world = World()
    world.files["/run/w1.lock"] = Entry()
    first = node_of("w0", ready="file:/ready", ready_timeout=60.0)
    last = replace(NODE, after=(first.name,))
    world.natures[first.name] = Nature(makes=((10.0, "/ready"),))
    events: list[Event] = []

    def both(fake: Fake) -> None:
        events.extend(walk([Task(node, Request("start")) for node in (first, last)], RunOptions(), fake))
        fake.close()

    stop = Played("stopwait", after=5.0)
    Crowd(world, 0, lambda: None).run([(world.fake(), both), (world.fake(), stop.run)])
    assert len(world.mains(first.pidfile)) == 1
    assert world.mains(last.pidfile) == []
    assert [event.why for event in events if isinstance(event, Skipped)] == [f"{CANCELLED}{stop.pid}: multi)"]


# --- all pairs ------------------------------------------------------------------------------------------

FIRST = ["start", "start needs", "stop", "stopwait", "restart", "restart ready", "kill", "reload", "ensure", "apply"]
SECOND = ["start", "stop", "stopwait", "restart", "kill", "reload", "drain", "ensure", "apply"]
UP, DOWN = frozenset({"start", "restart", "apply"}), frozenset({"stop", "stopwait", "kill"})


@pytest.mark.parametrize("first", FIRST)
def test_the_last_word(first: str) -> None:
    """Of every two commands the second decides what becomes of the node, and each exit code is true."""
    command, _, waits = first.partition(" ")
    for second, seed in product(SECOND, range(2)):
        world = World()
        node = replace(NODE, ready=Ready("file", "/ready"), ready_timeout=60.0)
        world.natures[node.name] = replace(SLOW, makes=((8.0, "/ready"),))
        if command in {"stop", "stopwait", "kill", "reload", "restart", "ensure"}:
            play(world, Played("start", node))
        if command == "ensure":
            world.end(world.mains(node.pidfile)[0], 9)
        needs = replace(node, needs=(DB,)) if waits == "needs" else node
        world.answers[DB.what] = world.time + 20.0
        one, other = play(
            world, Played(command, needs), Played(second, needs, 16.0 if waits == "ready" else 4.0), seed=seed
        )
        pair = (first, second, seed, one.events, other.events)
        mains = world.mains(node.pidfile)
        assert len(mains) <= 1, pair
        if second in UP:
            assert bool(mains) == (other.code == 0), pair
            assert mains, pair
        elif second in DOWN:
            assert other.code == 0, pair
            world.rest(20.0)  # `stop` does not wait
            assert not world.mains(node.pidfile), pair
            assert NODE.recordfile not in world.files or record_of(world).desired == WANTED_STOPPED, pair
            assert one.code == 0 or command in UP | {"ensure"}, pair
        elif command in UP | {"ensure"}:
            assert mains, pair
            assert one.code == 0, pair
        assert not any(isinstance(event, Failed) and event.exit_code == EXIT_BUSY for event in other.events), pair
