"""`multi.watch` on the made-up machine: what is read again, and what is seen of what happens."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from multi import api
from multi.act import walk
from multi.model.request import Request, RunOptions, Task
from multi.model.usage import Holdings
from multi.report.status import state_word
from multi.testing.world import Fake, World, node_of
from multi.watch import Frame, Watch
from scene import beats, running

TABLE = ("processes", "sketch")


def watch(fake: Fake) -> Watch:
    """Look at what is on record; the first whole look is over."""
    looker = Watch(lambda: api.select("status", ["--pidfile=/run/%n.pid"], machine=fake), fake)
    looker.look()
    looker._due = float("inf")  # noqa: SLF001 -- no whole look for want of time, on a machine where none passes
    return looker


def states(frame: Frame) -> dict[str, str]:
    """The word for each node."""
    return {one.view.node.short: state_word(one.view.state) for one in frame.nodes}


def calls(fake: Fake) -> Counter[str]:
    """How often the machine was asked for what, since the last time."""
    counted = Counter(call[0] for call in fake.calls)
    fake.calls.clear()
    return counted


def test_a_quiet_look_reads_no_table_and_no_record() -> None:
    """Where nothing changes, the known processes are asked how they are, and no file is read."""
    world = World()
    bodies = [running(world, f"w{number}") for number in (1, 2, 3)]
    fake = world.fake()
    looker = watch(fake)
    calls(fake)
    world.rest(2.0)
    bodies[0].cpu += 0.5
    frame = looker.look()
    counted = calls(fake)
    assert not counted.keys() & {*TABLE, "read"}
    assert [one.usage.cpu_percent for one in frame.nodes] == [pytest.approx(25, abs=0.1), 0.0, 0.0]
    assert [one.view.uptime for one in frame.nodes] == [pytest.approx(fake.now() - body.born) for body in bodies]


def test_what_changes_is_seen_at_the_next_look() -> None:
    """Suspended, resumed, stopped, started again, dead, new and forgotten: each is seen, and only that node is read."""
    world = World()
    body = running(world, "w1")
    running(world, "w2")
    fake = world.fake()
    looker = watch(fake)
    other = world.fake()
    node = node_of("w1", startsecs=0.0)

    def do(request: str, short: str = "w1") -> dict[str, str]:
        list(walk([Task(node_of(short, startsecs=0.0), Request(request))], RunOptions(), other))
        return states(looker.look())

    other.signal(body.proc, signal.SIGSTOP)
    frame = looker.look()
    assert getattr(frame.nodes[0].view.state, "suspended", False)
    other.signal(body.proc, signal.SIGCONT)
    assert states(looker.look()) == {"w1": "running", "w2": "running"}
    assert do("stopwait") == {"w1": "stopped", "w2": "running"}
    assert do("start") == {"w1": "running", "w2": "running"}
    (again,) = world.mains(node.pidfile)
    world.end(again, 3)
    assert states(looker.look()) == {"w1": "dead", "w2": "running"}
    assert do("start", "w3") == {"w1": "dead", "w2": "running", "w3": "running"}
    assert do("stopwait", "w3") == {"w1": "dead", "w2": "running", "w3": "stopped"}
    assert do("forget", "w3") == {"w1": "dead", "w2": "running"}


def test_how_long_ago_goes_on() -> None:
    """Of a node that was stopped, the time since then grows without a look at its files."""
    world = World()
    running(world, "w1")
    fake = world.fake()
    list(walk([Task(node_of("w1", startsecs=0.0), Request("stopwait"))], RunOptions(), world.fake()))
    looker = watch(fake)
    first = looker.look().nodes[0].view.state
    calls(fake)
    world.rest(30.0)
    later = looker.look().nodes[0].view.state
    assert getattr(later, "since", 0.0) == pytest.approx(getattr(first, "since", 0.0) + 30.0)
    assert not calls(fake).keys() & {*TABLE, "read"}


def test_a_worker_that_stops_by_itself() -> None:
    """A heartbeat that tells of a stop that nobody else saw is believed at once; tasks are those of the last beat."""
    world = World()
    running(world, "w1", ready="notify", says=((0.0, {"READY": "1"}),))
    node = node_of("w1", ready="notify")
    beats(world, node, ACTIVE="3")
    looker = watch(world.fake())
    (one,) = looker.look().nodes
    assert (one.view.beat and one.view.beat.active, state_word(one.view.state)) == (3, "running")
    beats(world, node, ACTIVE="1", STATE="stopping", X_MULTI_STOP="asked")
    assert states(looker.look()) == {"w1": "stopping"}


def test_what_processes_hold_is_asked_when_it_is_wanted() -> None:
    """A narrow frame asks nobody; a wide one tells rates from the second look on; what is hidden is unknown."""
    world = World()
    one, other = running(world, "w1"), running(world, "w2")
    one.holdings = Holdings(files=7, read=1000, written=0, pss=2048)
    fake = world.fake()
    looker = watch(fake)
    calls(fake)
    looker.look()
    assert not calls(fake)["holdings"]
    looker.look(wide=True)
    one.holdings = Holdings(files=7, read=3000, written=0, pss=2048)
    world.rest(2.0)
    mine, hidden = (each.usage for each in looker.look(wide=True).nodes)
    assert (mine.files, mine.write_rate, mine.proportional) == (7, 0.0, 2048)
    assert mine.read_rate == pytest.approx(1000)
    assert (hidden.files, hidden.read_rate, hidden.proportional) == (None, None, None)
    assert other.rss == hidden.memory


def test_no_nodes() -> None:
    """Nothing on record is no error; what begins later is seen."""
    world = World()
    looker = watch(world.fake())
    assert looker.look().nodes == ()
    running(world, "w1")
    assert states(looker.look()) == {"w1": "running"}
