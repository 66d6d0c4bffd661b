"""Deploys on the made-up machine: canaries, settling, the way back, and KILL of `multi` at every moment of it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from itertools import count

import pytest

from multi import observe
from multi.act import walk
from multi.codec import decode, encode
from multi.decide import reconcile, rejected
from multi.machine import Launch
from multi.model.event import (
    Event,
    Failed,
    Halted,
    Interrupted,
    Readied,
    RolledBack,
    Settled,
    Skipped,
    Spawned,
)
from multi.model.node import Known, Node, Unknown
from multi.model.record import Record, Rejected
from multi.model.request import Request, RunOptions, Task
from multi.model.state import Down
from multi.testing.world import Entry, Fake, KilledError, Nature, World, node_of
from multi.value import replace

TERM = int(signal.SIGTERM)
CAREFUL = RunOptions(width=1, canaries=1, settle=5.0, rollback=True)
NAMES = ("w1", "w2", "w3")


def release(node: Node, version: str) -> Node:
    """The node with the command of a release."""
    return replace(node, command=Known(("program", node.short, version)))


OLD = tuple(release(node_of(name), "1") for name in NAMES)
NEW = tuple(release(node, "2") for node in OLD)


class Releases(World):
    """A world in which the nature of a process depends on the last word of its command."""

    def __init__(self, natures: dict[str, Nature] | None = None) -> None:
        """Release 1 works, and runs as all nodes of `OLD`."""
        super().__init__()
        self.of = natures or {}
        for node in OLD:
            assert [type(event) for event in self.do("start", node)] == [Spawned, Readied]

    def multi(self) -> Fake:
        """A `multi` of its own."""
        return Versioned(self, 0, self.add(argv=("python", "-m", "multi")))

    def do(self, command: str, *nodes: Node, options: RunOptions | None = None) -> list[Event]:
        """One command from its beginning to its end."""
        fake = self.multi()
        self.fakes.append(fake)
        events = list(walk([Task(node, Request(command)) for node in nodes], options or RunOptions(), fake))
        fake.close()
        return events

    def apply(self, *nodes: Node, options: RunOptions = CAREFUL, fake: Fake | None = None) -> list[Event]:
        """`apply` of a configuration that says that these are the nodes."""
        fake = fake or self.multi()
        self.fakes.append(fake)
        events: list[Event] = []
        try:
            events.extend(walk(self.tasks(nodes, options), options, fake))
        except KilledError:
            return events
        fake.close()
        return events

    def tasks(self, nodes: Sequence[Node], options: RunOptions = CAREFUL) -> list[Task]:
        """What `apply` would make of the configuration and the records."""
        records = [(node, self.record(node)) for node in nodes]
        held = {} if options.again else rejected.held(records, self.wall)
        return reconcile.tasks([(node, None if record is None else record.node) for node, record in records], (), held)

    def record(self, node: Node) -> Record | None:
        """What is on record of the node."""
        entry = self.files.get(node.recordfile)
        return None if entry is None else decode(entry.data)

    def runs(self, node: Node) -> str:
        """The release that runs as this node, of which there is no more than one process; empty for none."""
        mains = self.mains(node.pidfile)
        assert len(mains) <= 1, mains
        return mains[0].argv[-1] if mains else ""


class Versioned(Fake):
    """A `multi` whose nodes behave as their releases do."""

    def launch(self, key: str, launch: Launch) -> None:
        """Start it, with the nature of its release."""
        world = self.world
        if isinstance(world, Releases):
            world.natures[key] = world.of.get(launch.argv[-1], Nature())
        super().launch(key, launch)


def only(events: Sequence[Event], kind: type[Event]) -> list[Event]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


DIES = Nature(lives=3.0, status=1)  # after it was ready
BROKEN = Nature(lives=0.1, status=1)  # before
NOWHERE = Nature(exec_fails=("not found", "correct cmd", 2))
LAME = Nature(setup_fails=("no such user", "correct uid", 0))
HUNG = Nature(ends={TERM: (2.0, 0)})


def test_canaries_are_watched_and_the_rest_follows() -> None:
    """One is watched for its seconds, then the others come one at a time, unwatched."""
    world = Releases()
    began = world.time
    events = world.apply(*NEW)
    assert [event.node for event in only(events, Settled)] == ["w1@host"]  # type: ignore[union-attr]
    assert [event.node for event in only(events, Spawned)] == [node.name for node in NEW]  # type: ignore[union-attr]
    assert world.time - began >= 5.0 + 3 * 1.0
    assert [world.runs(node) for node in NEW] == ["2", "2", "2"]
    assert only(events, Halted) == []


def test_each_is_watched_where_there_is_no_canary() -> None:
    """``--settle`` alone watches every node, all at once."""
    world = Releases()
    began = world.time
    events = world.apply(*NEW, options=RunOptions(settle=5.0))
    assert len(only(events, Settled)) == 3
    assert world.time - began < 2 * 5.0


def test_a_node_that_has_nothing_to_do_is_no_canary() -> None:
    """The first that is really started is the one that is watched."""
    world = Releases()
    world.apply(NEW[0], OLD[1], OLD[2])
    events = world.apply(*NEW)
    assert [event.node for event in only(events, Settled)] == ["w2@host"]  # type: ignore[union-attr]


@pytest.mark.parametrize("nature", [DIES, BROKEN, NOWHERE, LAME])
def test_what_fails_goes_back(nature: Nature) -> None:
    """Whatever a release fails of: the canary runs the old one again, the others were not touched, and it is told."""
    world = Releases({"2": nature})
    others = [world.mains(node.pidfile) for node in OLD[1:]]
    events = world.apply(*NEW)
    assert [world.runs(node) for node in OLD] == ["1", "1", "1"]
    assert [world.mains(node.pidfile) for node in OLD[1:]] == others
    (back,) = only(events, RolledBack)
    assert isinstance(back, RolledBack)
    (failed,) = only(events, Failed)
    assert isinstance(failed, Failed)
    assert failed.why.startswith(back.why)
    assert only(events, Halted) == [
        Halted((), ("w1@host",), (), ("w2@host", "w3@host"), rolled_back=("w1@host",), down=())
    ]
    record = world.record(OLD[0])
    assert record is not None
    assert record.node == OLD[0]
    assert record.rejected is not None
    assert record.rejected.digest == rejected.digest(NEW[0])


def test_the_whole_recorded_node_comes_back() -> None:
    """Not only the command: the directory, the environment and the stop schedule, too."""
    world = Releases({"2": BROKEN})
    other = replace(NEW[0], env=(("A", "b"),), umask=0o77, stop=node_of(stop="TERM/1").stop)
    world.apply(other)
    record = world.record(OLD[0])
    assert record is not None
    assert record.node == OLD[0]


def test_a_node_that_never_ran_before_is_down() -> None:
    """There is nothing to go back to."""
    world = Releases({"2": BROKEN})
    novel = release(node_of("w9"), "2")
    events = world.apply(novel)
    assert only(events, RolledBack) == []
    assert only(events, Halted) == [Halted((), ("w9@host",), (), (), down=("w9@host",))]


def test_a_way_back_that_fails_too() -> None:
    """The old release works no more either: the node is down, and says so."""
    world = Releases({"2": BROKEN})
    world.of["1"] = BROKEN
    events = world.apply(*NEW)
    assert len(only(events, Failed)) == 2
    assert only(events, RolledBack) == []
    halted = Halted((), ("w1@host",), (), ("w2@host", "w3@host"), down=("w1@host",))
    assert only(events, Halted) == [halted]
    record = world.record(OLD[0])
    assert record is not None
    assert (record.node, record.proc) == (OLD[0], None)


def test_what_was_rejected_is_not_tried_again() -> None:
    """A plain `apply` leaves all as on record and says why, until it is told to, or the configuration changes."""
    world = Releases({"2": BROKEN})
    world.apply(*NEW)
    before = [world.mains(node.pidfile) for node in OLD]
    events = world.apply(*NEW, options=RunOptions())
    assert {type(event) for event in events} == {Skipped}
    assert [event.met for event in events if isinstance(event, Skipped)] == [False, False, False]
    assert "was rejected" in events[0].why  # type: ignore[union-attr]
    assert "w1@host has rejected" in events[1].why  # type: ignore[union-attr]
    assert [world.mains(node.pidfile) for node in OLD] == before
    world.of["2"] = Nature()
    fixed = [release(node, "3") for node in OLD]
    world.apply(*fixed)
    assert [world.runs(node) for node in OLD] == ["3", "3", "3"]


def test_again_tries_what_was_rejected() -> None:
    """What was wrong may have been elsewhere; once it works, nothing is held any more."""
    world = Releases({"2": BROKEN})
    world.apply(*NEW)
    world.of["2"] = Nature()
    world.apply(*NEW, options=replace(CAREFUL, again=True))
    assert [world.runs(node) for node in NEW] == ["2", "2", "2"]
    assert [event.why for event in world.apply(*NEW) if isinstance(event, Skipped)] == ["as configured"] * 3


def test_a_held_node_that_died_is_started_as_on_record() -> None:
    """What is rejected is not tried, and the node does not stay dead for it."""
    world = Releases({"2": BROKEN})
    world.apply(*NEW)
    for node in OLD:
        world.end(world.mains(node.pidfile)[0], 1)
    world.apply(*NEW, options=RunOptions())
    assert [world.runs(node) for node in OLD] == ["1", "1", "1"]


def test_what_was_rejected_stays_so_over_restarts_and_stops() -> None:
    """The record keeps it until the node gets other settings."""
    world = Releases({"2": BROKEN})
    world.apply(*NEW)
    for command in ("restart", "stopwait", "start"):
        world.do(command, OLD[0])
        record = world.record(OLD[0])
        assert record is not None
        assert record.rejected is not None, command
    world.do("restart", release(OLD[0], "3"))
    record = world.record(OLD[0])
    assert record is not None
    assert record.rejected is None


def test_the_same_command_has_nothing_to_be_rejected() -> None:
    """A command behind a link is the same before and after: it is started again, and said to be the same."""
    world = Releases()
    tries = count()

    def trap(_number: int, call: tuple[str, ...]) -> None:
        if call[0] == "make_directory" and call[1] == "/run":
            world.of["1"] = BROKEN if next(tries) < 2 else Nature()

    fake = world.multi()
    world.fakes.append(fake)
    fake.trap = trap
    events = list(walk([Task(OLD[0], Request("restart"))], CAREFUL, fake))
    (back,) = only(events, RolledBack)
    assert isinstance(back, RolledBack)
    assert "same command" in back.note
    record = world.record(OLD[0])
    assert record is not None
    assert record.rejected is None


def test_a_command_that_is_not_known_is_no_way_back() -> None:
    """A process that another tool started shows a title: nobody knows what to go back to."""

    def before(node: Node, record: Record | None) -> Node | None:
        return rejected.former(Request("restart"), CAREFUL, node, record, Down())

    assert before(OLD[0], Record(node=replace(OLD[0], command=Unknown("")), proc=None)) is None
    assert before(OLD[0], None) is None
    assert before(OLD[1], Record(node=OLD[0], proc=None)) is None
    assert before(NEW[0], Record(node=OLD[0], proc=None)) == OLD[0]
    assert before(NEW[0], Record(node=NEW[0], former=OLD[0], proc=None)) == OLD[0]


def test_g2_one_that_survives_its_stop_is_not_doubled() -> None:
    """The new release is never ready and cannot be stopped: the old one is not started beside it."""
    stuck = Nature(stuck=True)
    world = Releases({"2": stuck})
    slow = replace(NEW[0], ready=node_of(ready="file:/never").ready, ready_timeout=2.0)
    events = world.apply(slow)
    assert only(events, RolledBack) == []
    assert [body.argv[-1] for body in world.mains(OLD[0].pidfile)] == ["2"]
    assert only(events, Halted) == [Halted((), ("w1@host",), (), ())]


def stands(world: Releases) -> None:
    """Assert what must be true whenever no command is at work."""
    assert world.flocks == {}
    for node in OLD:
        mains = world.mains(node.pidfile)
        assert len(mains) <= 1
        fake = world.multi()
        seen = observe.look_at(node, fake.processes(), fake)
        fake.close()
        proc = getattr(seen.state, "proc", None)
        assert proc == (mains[0].proc if mains else None), seen


@pytest.mark.parametrize("nature", [DIES, BROKEN, HUNG])
def test_g3_killed_anywhere_on_the_way_back(nature: Nature) -> None:
    """KILL hits `multi` before any of its calls: one process at most, and the next command goes on.

    Once it is on record that the release is rejected, no `ensure`, `start` or `apply` tries it again.
    """
    slow = nature is HUNG
    nodes = (
        [replace(node, ready=node_of(ready="file:/never").ready, ready_timeout=2.0) for node in NEW] if slow else NEW
    )
    for number in count(1):
        world = Releases({"2": nature})
        fake = world.multi()
        fake.trap = lambda at, _call, number=number, fake=fake: fake.die() if at == number else None
        world.apply(*nodes, fake=fake)
        world.rest(0.001)
        stands(world)
        record = world.record(OLD[0])
        assert record is not None
        told = record.rejected is not None
        assert record.node in {OLD[0], nodes[0]}
        if told:
            assert record.node == OLD[0]
        world.rest(30.0)  # what is broken is gone by now
        follow = ("apply", "ensure", "start")[number % 3]
        if follow == "apply":
            world.apply(*nodes)
        else:
            world.do(follow, record.node)
        stands(world)
        if told or follow == "apply":
            assert world.runs(OLD[0]) == "1" or (slow and follow == "ensure"), (number, follow)
        assert [world.runs(node) for node in OLD[1:]] == ["1", "1"]
        if not fake.dead:
            assert number > 40
            return


@pytest.mark.parametrize("nature", [DIES, BROKEN])
def test_interrupted_anywhere_says_which_nodes_are_what(nature: Nature) -> None:
    """Control-C at any moment: the last word is which node is what, and it is true."""
    for number in count(1):
        world = Releases({"2": nature})
        fake = world.multi()
        fake.trap = lambda at, _call, number=number, fake=fake: fake.interrupt(signal.SIGINT) if at == number else None
        events = world.apply(*NEW, fake=fake)
        world.rest(0.001)
        stands(world)
        if not only(events, Interrupted):
            assert number > 40
            return
        halted = events[-2]
        assert isinstance(halted, Halted)
        names = [*halted.new, *halted.failed, *halted.unfinished, *halted.untouched]
        assert sorted(names) == [node.name for node in NEW]
        for node in OLD:
            if node.name in halted.down:
                assert world.runs(node) == ""
            elif node.name in (*halted.untouched, *halted.rolled_back):
                assert world.runs(node) == "1"
            elif node.name in halted.new:
                assert world.runs(node) == "2"


def test_two_under_way_both_go_back() -> None:
    """With a width of two both canaries fail, and both go back."""
    world = Releases({"2": DIES})
    events = world.apply(*NEW, options=replace(CAREFUL, width=2, canaries=2))
    assert [world.runs(node) for node in OLD] == ["1", "1", "1"]
    assert len(only(events, RolledBack)) == 2


def test_a_restart_in_place_is_no_settling() -> None:
    """A node that says READY a second time has begun anew."""
    twice = Nature(says=((0.5, {"READY": "1"}), (3.0, {"READY": "1"})))
    world = Releases({"2": twice})
    speaking = replace(NEW[0], ready=node_of(ready="notify").ready)
    (failed,) = only(world.apply(speaking), Failed)
    assert isinstance(failed, Failed)
    assert failed.why == "it restarted itself in place, 2.0s after it was ready"
    assert world.runs(OLD[0]) == "1"


def test_a_heart_that_stops_is_no_settling() -> None:
    """A worker that lives and whose loop does not turn any more has not settled."""
    world = Releases()

    def beat() -> None:
        record = world.record(NEW[0])
        assert record is not None
        usec = int(world.time * 1e6)
        text = f"MULTI_INSTANCE={record.token}\nMONOTONIC_USEC={usec}\nSTATE=consuming\n"
        world.files[NEW[0].heartbeatfile] = Entry(text.encode(), mtime=world.wall)

    world.after(0.5, beat)
    (failed,) = only(world.apply(*NEW, options=replace(CAREFUL, settle=60.0)), Failed)
    assert isinstance(failed, Failed)
    assert failed.why.startswith("its heartbeat says that it does not work: the process runs no Python, ")
    assert [world.runs(node) for node in OLD] == ["1", "1", "1"]


def test_a_deploy_that_was_cut_off_is_over_when_the_node_has_run_for_long() -> None:
    """What was to be watched and ran for hours has settled: it never goes back to something as old as that."""
    world = Releases()
    fake = world.multi()
    world.fakes.append(fake)
    events = walk(world.tasks(NEW), CAREFUL, fake)
    assert any(isinstance(event, Readied) for event in events)
    events.close()
    fake.close()
    record = world.record(NEW[0])
    assert record is not None
    assert (record.former, record.settle) == (OLD[0], 5.0)
    world.do("ensure", NEW[0])
    record = world.record(NEW[0])
    assert record is not None
    assert record.former == OLD[0]
    world.rest(3600.0)
    world.do("ensure", NEW[0])
    record = world.record(NEW[0])
    assert record is not None
    assert record.former is None


def test_a_moved_pidfile_takes_the_old_command_with_it() -> None:
    """The node goes back to what it was, under the pidfile that it has now."""
    world = Releases({"2": BROKEN})
    moved = replace(NEW[0], pidfile="/run/elsewhere.pid")
    fake = world.multi()
    world.fakes.append(fake)
    events = list(walk(reconcile.tasks([(moved, None)], [OLD[0]]), CAREFUL, fake))
    assert len(only(events, RolledBack)) == 1
    assert (world.runs(moved), world.runs(OLD[0])) == ("1", "")
    record = world.record(moved)
    assert record is not None
    assert record.node == replace(OLD[0], pidfile=moved.pidfile)


def test_g8_a_users_record_is_no_word_on_what_root_rejected_or_goes_back_to() -> None:
    """Root believes of it what that user could do anyway: no other way back, and no release that is held for others."""
    world = World()
    node = replace(release(node_of(), "2"), uid="worker")
    planted = replace(OLD[0], uid=None, env_files=("/root/secrets",))
    word = Rejected(rejected.digest(node), world.wall, "because I say so")
    record = Record(node=replace(node, env_files=("/root/secrets",)), proc=None, former=planted, rejected=word)
    world.files[node.recordfile] = Entry(encode(record), uid=1000, mode=0o600, mtime=world.wall)
    fake = world.fake()
    found = observe.recall(node, fake)
    assert found is not None
    assert (found.former, found.rejected) == (None, None)
    world.nature = BROKEN
    events = list(walk([Task(node, Request("apply"))], CAREFUL, fake))
    assert only(events, RolledBack) == []
    assert ("load", "/root/secrets") not in fake.calls
    assert [event.source for event in events if isinstance(event, Spawned)] == [""]


def test_a_node_that_was_refused_is_as_before() -> None:
    """Nothing was stopped for a start that would fail, and the last line says so of the node."""
    world = Releases()
    events = world.apply(replace(NEW[0], workdir="/nowhere"), *NEW[1:])
    halted = Halted((), ("w1@host",), (), ("w2@host", "w3@host", "w1@host"))
    assert only(events, Halted) == [halted]
    assert [world.runs(node) for node in OLD] == ["1", "1", "1"]
