"""Histories on a made-up machine: what the walks do, in which order, and what they leave when anything goes wrong.

No real time passes; `world` tells how such a machine is made. The promises G2, G3, G5 and G6 are tested here at every
point at which something can go wrong; that the real machine is like this one is the word of `test_contract`.
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, product
from typing import TypeVar, cast
from unittest import mock

import pytest

from crowd import Crowd
from multi import observe
from multi.act import walk
from multi.codec import decode, encode
from multi.machine import INSTANCE, FileWrite, MachineError
from multi.model import record as records
from multi.model.event import (
    Adopted,
    Cleared,
    Event,
    Failed,
    Gone,
    Halted,
    Interrupted,
    Readied,
    Refused,
    Signalled,
    Skipped,
    Spawned,
    Survived,
    Waiting,
)
from multi.model.node import Node, Unknown
from multi.model.request import Request, RunOptions, Task
from multi.model.state import Dead, Down, Lost, State, Stopping, Up, proc_of
from multi.testing.world import Body, Child, Entry, Fake, KilledError, Nature, World, node_of
from multi.value import replace

E = TypeVar("E")
TERM, QUIT, KILL, USR1, HUP = (int(getattr(signal, f"SIG{name}")) for name in ("TERM", "QUIT", "KILL", "USR1", "HUP"))
WINCH = int(signal.SIGWINCH)  # ends nobody
STOP = int(signal.SIGSTOP)
# May raise `MachineError`.
REFUSABLE = frozenset({"make_directory", "write", "append", "remove", "run", "lock", "signal", "watch"})
DEAF = Nature(ignores=frozenset({TERM, QUIT}))
STUCK = Nature(stuck=True)
FAMILY = Nature(
    children=(
        Child(nature=DEAF),
        Child(nature=DEAF, group=True),
        Child(nature=DEAF, session=True),
        Child(nature=DEAF, session=True, orphan=True),
        Child(nature=DEAF, bare=True),
        Child(nature=Nature(children=(Child(nature=DEAF, session=True),))),
    )
)


def loop(
    world: World,
    command: str | Request,
    *nodes: Node,
    signum: int | None = None,
    options: RunOptions | None = None,
    fake: Fake | None = None,
) -> list[Event]:
    """One command from its beginning to its end, by a `multi` of its own."""
    fake = fake or world.fake()
    request = Request(command, signum) if isinstance(command, str) else command
    tasks = [Task(node, request) for node in nodes or (node_of(),)]
    events = list(walk(tasks, options or RunOptions(), fake))
    fake.close()
    return events


def sight(world: World, node: Node | None = None) -> State:
    """What a fresh `multi` sees of the node."""
    fake = world.fake()
    seen = observe.look_at(node or node_of(), fake.processes(), fake)
    fake.close()
    return seen.state


def record_of(world: World, node: Node | None = None) -> records.Record:
    """What is on record of the node."""
    return decode(world.files[(node or node_of()).recordfile].data)


def kinds(events: Iterable[Event]) -> list[str]:
    """The names of the events."""
    return [type(event).__name__ for event in events]


def about(seconds: float, off: float = 0.01) -> float:
    """So many seconds, give or take the moments in which looks and writes are shared."""
    return cast("float", pytest.approx(seconds, abs=off))


def only(events: Iterable[Event], kind: type[E]) -> list[E]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def sole(events: Iterable[Event], kind: type[E]) -> E:
    """The only event, of that kind."""
    (event,) = events
    assert isinstance(event, kind)
    return event


def running(world: World, nature: Nature | None = None, node: Node | None = None) -> Body:
    """Start a node and give its main process."""
    node = node or node_of()
    if nature is not None:
        world.natures[node.name] = nature
    assert kinds(loop(world, "start", node))[-2:] == ["Spawned", "Readied"]
    (body,) = world.mains(node.pidfile)
    return body


def at_each(name: str, deed: Callable[[], object]) -> Callable[[int, tuple[str, ...]], None]:
    """A trap that does so before each call of that name."""

    def trap(_number: int, call: tuple[str, ...]) -> None:
        if call[0] == name:
            deed()

    return trap


def begin(world: World, node: Node | None = None) -> None:
    """A start whose `multi` is killed as soon as its process runs."""
    fake = world.fake()
    assert isinstance(next(iter(walk([Task(node or node_of(), Request("start"))], RunOptions(), fake))), Spawned)
    with pytest.raises(KilledError):
        fake.die()
    world.rest(0.0)


def files(world: World) -> list[str]:
    """What lies in the run directory, locks excepted."""
    return sorted(path for path in world.files if path.startswith("/run/") and not path.endswith(".lock"))


def contents(world: World) -> dict[str, bytes]:
    """The same with what each of them holds."""
    return {path: world.files[path].data for path in files(world)}


# --- start ----------------------------------------------------------------------------------------------


def test_start() -> None:
    """A start brings one process to the gate, puts it on record, and only then lets it run (G3)."""
    world = World()
    fake = world.fake()
    events = loop(world, "start", fake=fake)
    (body,) = world.mains("/run/w1.pid")
    assert events == [
        Spawned("w1@host", body.pid, ("program", "w1")),
        Readied("w1@host", body.pid, 1.0, "alive"),
    ]
    deeds = [call[:2] for call in fake.effects("lock", "launch", "write", "open_gate", "unlock")]
    assert deeds == [
        ("lock", "/run/w1.lock"),
        ("launch", "w1@host"),
        ("write", "/run/w1.json"),
        ("write", "/run/w1.pid"),
        ("open_gate", "w1@host"),
        ("write", "/run/w1.json"),  # seen ready
        ("unlock", "w1@host"),
    ]
    assert world.files["/run/w1.pid"].data == b"%d\n" % body.pid
    record = record_of(world)
    assert (record.proc, record.node) == (body.proc, node_of())
    assert (record.phase, record.desired) == (records.UP, records.WANTED_UP)
    assert (record.restarts, record.failures) == (0, 0)
    assert body.launch is not None
    assert dict(body.launch.env)[INSTANCE] == record.token
    assert sight(world) == Up(body.proc)
    assert world.flocks == {}


def test_start_without_anything_to_prove() -> None:
    """With nothing to wait for, the record says at once that it is up, and is written once."""
    world, fake = World(), None
    fake = world.fake()
    assert kinds(loop(world, "start", node_of(startsecs=0.0), fake=fake)) == ["Spawned", "Readied"]
    assert [call[1] for call in fake.effects("write")] == ["/run/w1.json", "/run/w1.pid"]
    assert record_of(world).phase == records.UP


def test_start_again() -> None:
    """A node that runs is left alone, and the start succeeds (G2)."""
    world = World()
    body = running(world)
    fake = world.fake()
    assert loop(world, "start", fake=fake) == [Skipped("w1@host", body.pid, "already running")]
    assert fake.effects("launch", "write", "signal", "remove") == []
    assert world.mains("/run/w1.pid") == [body]


def test_start_many_at_once() -> None:
    """Nodes start side by side: twenty take as long as one, and share one look and one round of writes."""
    world = World()
    nodes = [node_of(f"w{number}") for number in range(20)]
    fake = world.fake()
    began = world.time
    events = loop(world, "start", *nodes, fake=fake)
    assert len(only(events, Readied)) == 20
    assert world.time - began < 1.1
    assert len([call for call in fake.calls if call[0] == "processes"]) == 1


def test_start_makes_its_directories() -> None:
    """Directories that are missing are made by a start, for the node's user; the record stays root's (G8)."""
    world = World()
    node = node_of(pidfile="/run/deep/er/w1.pid", logfile="/log/deep/w1.log", uid="worker")
    assert kinds(loop(world, "start", node)) == ["Spawned", "Readied"]
    for path in ("/run/deep", "/run/deep/er", "/log/deep", "/run/deep/er/w1.pid"):
        assert world.files[path].uid == 1000
    assert world.files["/run/deep/er/w1.json"].uid == 0


@pytest.mark.parametrize(
    ("nature", "why", "exit_code"),
    [
        (Nature(setup_fails=("cannot find it", "check --cmd", errno.ENOENT)), "cannot find it; check --cmd", 1),
        (Nature(setup_fails=("cannot open the log", "", errno.EACCES)), "cannot open the log", 77),
        (Nature(exec_fails=("cannot execute it", "see its first line", 8)), "cannot execute it; see its first line", 1),
    ],
    ids=["set up", "permission", "executed"],
)
def test_start_of_what_cannot_be(nature: Nature, why: str, exit_code: int) -> None:
    """A start that fails before or at the gate leaves no process and no file, and says why and what to try."""
    world = World()
    world.nature = nature
    *spawned, failed = loop(world, "start")
    assert kinds(spawned) == ["Spawned"] * bool(nature.exec_fails)
    assert isinstance(failed, Failed)
    assert (failed.why, failed.exit_code) == (why, exit_code)
    assert (files(world), world.offspring(), sight(world)) == ([], [], Down())


def test_start_that_never_comes_to_the_gate() -> None:
    """A process that hangs while it is set up is given up after the time to get ready, and never executes."""
    world = World()
    world.nature = Nature(setup_takes=100.0)
    began = world.time
    failed = sole(loop(world, "start"), Failed)
    assert "60s" in failed.why
    assert world.time - began == about(60, 0.1)
    world.rest(100)
    assert (files(world), world.offspring()) == ([], [])
    assert all(body.argv != ("program", "w1") for body in world.bodies.values())


def test_start_that_is_killed_at_the_gate() -> None:
    """Who is killed before it runs has failed, with the signal; nothing is left of it."""
    world = World()
    fake = world.fake()

    def shoot() -> None:
        for body in list(world.bodies.values()):
            if body.argv == ("program", "w1"):
                world.end(body, -KILL)

    fake.trap = at_each("wait", shoot)
    world.nature = Nature(setup_takes=0.0)
    events = loop(world, "start", fake=fake)
    assert kinds(events)[-1] == "Failed"
    assert (files(world), world.offspring(), sight(world)) == ([], [], Down())


def test_start_that_dies_at_once() -> None:
    """A node that dies before it is ready has failed: status and last words of this start are told (G4)."""
    world = World()
    world.files["/log/w1.log"] = Entry(b"yesterday's news\n")
    world.nature = Nature(lives=0.5, status=3, prints=((0.1, b"one\n"), (0.2, b"two\ttwo\n\x1b[31mred\n")))
    spawned, failed = loop(world, "start")
    assert isinstance(spawned, Spawned)
    assert failed == Failed(
        "w1@host",
        spawned.pid,
        "it exited with status 3",
        3,
        ("one", "two    two", "red"),
        "/log/w1.log",
    )
    assert files(world) == ["/run/w1.json"]
    record = record_of(world)
    assert (record.proc, record.failures, record.failure) == (None, 1, "it exited with status 3")
    assert sight(world) == Dead("it exited with status 3")
    assert (record.exit_status, record.ends) == (3, (record.failed,))


def test_start_that_dies_with_children() -> None:
    """What a failed start leaves running is ended with it (G5)."""
    world = World()
    world.nature = replace(FAMILY, lives=0.5, status=-KILL)
    events = loop(world, "start")
    assert kinds(events) == ["Spawned", "Failed", "Signalled"]
    # The bare child's mother is gone and its environment is empty: only its group tells that it is ours.
    assert [body for body in world.offspring() if body.instance is not None] == []


def test_the_tail_is_short() -> None:
    """The last ten lines are told, not the whole log."""
    world = World()
    world.nature = Nature(lives=0.5, status=1, prints=((0.0, b"".join(b"%d\n" % number for number in range(99_999))),))
    failed = loop(world, "start")[-1]
    assert isinstance(failed, Failed)
    assert failed.log_tail == tuple(str(number) for number in range(99_989, 99_999))


def test_start_that_is_not_ready_in_time() -> None:
    """A node that does not prove ready is stopped by its schedule, and says what it last said."""
    world = World()
    world.nature = Nature(says=((1.0, {"STATUS": "loading"}),), ends={TERM: (2.0, 0)})
    node = node_of(ready="notify", ready_timeout=30.0)
    began = world.time
    events = loop(world, "start", node)
    assert kinds(events) == ["Spawned", "Failed", "Signalled", "Gone"]
    failed = events[1]
    assert isinstance(failed, Failed)
    assert failed.why.startswith("not ready after 30s (ready = notify)")
    assert failed.why.endswith("it last said: loading")
    assert world.time - began == about(32, 0.1)
    assert (files(world), world.offspring()) == (["/run/w1.json"], [])
    assert isinstance(sight(world), Dead)


def test_start_that_is_not_ready_and_cannot_be_stopped() -> None:
    """A node that survives its own stop goes on being named by its files."""
    world = World()
    world.nature = STUCK
    events = loop(world, "start", node_of(ready="notify", ready_timeout=30.0))
    assert kinds(events) == ["Spawned", "Failed", "Signalled", "Signalled", "Survived"]
    (body,) = world.mains("/run/w1.pid")
    assert proc_of(sight(world)) == body.proc


def test_keep_unready() -> None:
    """Who wants to look at it can have it left running; it is still a failure, and still a starting node."""
    world = World()
    events = loop(world, "start", node_of(ready="notify"), options=RunOptions(keep_unready=True))
    assert kinds(events) == ["Spawned", "Failed"]
    (body,) = world.mains("/run/w1.pid")
    assert sight(world) == Up(body.proc, ready=False)


def test_ready_by_its_own_word() -> None:
    """A note with the word of readiness is kept on record, for status."""
    world = World()
    world.nature = Nature(says=((2.0, {"READY": "1", "STATUS": "consuming"}),))
    events = loop(world, "start", node_of(ready="notify", startsecs=0.0))
    assert events[1] == Readied("w1@host", world.mains("/run/w1.pid")[0].pid, 2.0, "notify", "consuming")
    assert {**record_of(world).extra, "log": ""} == {"log": "", "status": "consuming"}


def test_a_callers_notify_socket_is_not_handed_on() -> None:
    """Only a node that is to notify gets an address; the READY of another would be taken for our caller's."""
    world = World()
    body = running(world)
    assert body.launch is not None
    assert dict(body.launch.env)["NOTIFY_SOCKET"] is None


def test_restarts_that_nobody_asked_for_count() -> None:
    """`ensure` counts as a restart what it starts again; what somebody typed changes no count."""
    world = World()
    body = running(world)
    world.end(body, 1)
    running(world)
    loop(world, "restart")
    assert record_of(world).restarts == 0
    (body,) = world.mains("/run/w1.pid")
    world.end(body, 1)
    loop(world, "ensure")
    assert record_of(world).restarts == 1
    loop(world, "restart")
    assert record_of(world).restarts == 1


def test_a_start_that_was_cut_off_is_waited_for() -> None:
    """A node that somebody else began to start is not started twice, but waited for until it is ready."""
    world = World()
    world.nature = Nature(makes=((20.0, "/run/ready"),))
    node = node_of(ready="file:/run/ready")
    begin(world, node)
    (body,) = world.mains("/run/w1.pid")
    assert sight(world, node) == Up(body.proc, ready=False)
    readied = sole(loop(world, "start", node), Readied)
    assert readied.pid == body.pid
    assert sight(world, node) == Up(body.proc)


def test_a_start_that_was_cut_off_dies_with_children() -> None:
    """What a start leaves running that somebody else began is ended by who waited for it (G5)."""
    world = World()
    world.nature = replace(FAMILY, lives=20.0, status=1)
    node = node_of(ready="file:/run/ready")
    begin(world, node)
    assert kinds(loop(world, "start", node)) == ["Failed", "Signalled"]
    assert [body for body in world.offspring() if body.instance is not None] == []


# --- stop -----------------------------------------------------------------------------------------------


def test_stop() -> None:
    """A stop sends the first signal to the main process alone, does not wait, and remembers that it was asked (G6)."""
    world = World()
    body = running(world, replace(FAMILY, ends={TERM: (30.0, 0)}))
    fake = world.fake()
    began = world.time
    assert loop(world, "stop", fake=fake) == [Signalled("w1@host", body.pid, TERM, 0.0)]
    assert fake.effects("signal") == [("signal", str(body.pid), str(TERM))]
    assert world.time - began < 0.1
    assert sight(world) == Stopping(body.proc)
    assert loop(world, "stop") == [Skipped("w1@host", body.pid, "already stopping")]
    world.rest(31)
    seen = sight(world)
    assert isinstance(seen, Dead)
    assert seen.on_purpose


def test_stop_what_is_down() -> None:
    """There is nothing to stop, and nothing is made for it: not even a directory (G10)."""
    world = World()
    node = node_of(pidfile="/run/none/w1.pid")
    before = dict(world.files)
    for command in ("stop", "stopwait", "kill"):
        assert loop(world, command, node) == [Skipped("w1@host", None, "not running")]
    assert world.files == before


def test_stopwait() -> None:
    """A graceful end takes as long as it takes; the wait is woken by the end itself, and the files go with it."""
    world = World()
    body = running(world, Nature(ends={TERM: (7.5, 0)}))
    assert loop(world, "stopwait") == [
        Signalled("w1@host", body.pid, TERM, 0.0),
        Gone("w1@host", body.pid, about(7.5)),
        Cleared("w1@host", ""),
    ]
    assert files(world) == ["/run/w1.json"]
    is_remembered(world, node_of())
    assert record_of(world).stopped_at == world.fake().wall()


def test_stopwait_escalates_by_the_schedule() -> None:
    """Each signal comes at its second, counted from the first one; only KILL goes to the whole tree."""
    world = World()
    body = running(world, DEAF, node_of(stop="TERM/30/QUIT/10/KILL/5"))
    events = loop(world, "stopwait", node_of(stop="TERM/30/QUIT/10/KILL/5"))
    assert [(event.signum, event.after) for event in only(events, Signalled)] == [
        (TERM, 0.0),
        (QUIT, about(30.0)),
        (KILL, about(40.0)),
    ]
    assert kinds(events)[-2:] == ["Gone", "Cleared"]
    assert body.gone


def test_stopwait_without_end() -> None:
    """`forever` waits for ever, as celery multi does."""
    world = World()
    running(world, Nature(ends={TERM: (100_000.0, 0)}))
    events = loop(world, "stopwait", node_of(stop="TERM/forever"))
    assert kinds(events) == ["Signalled", "Gone", "Cleared"]


def test_stopwait_with_another_first_signal() -> None:
    """``-SIG`` is the first signal, the rest of the schedule stays."""
    world = World()
    running(world, DEAF)
    events = loop(world, "stopwait", signum=QUIT)
    assert [event.signum for event in only(events, Signalled)] == [QUIT, KILL]


def test_survivor() -> None:
    """What survives the schedule is named, and goes on being named by its files; a restart does not start over it."""
    world = World()
    body = running(world, STUCK)
    for command in ("stopwait", "restart", "kill"):
        events = loop(world, command)
        assert isinstance(events[-1], Survived)
        assert events[-1].pids == (body.pid,)
        assert world.mains("/run/w1.pid") == [body]
        assert files(world) == ["/run/w1.json", "/run/w1.pid"]


@pytest.mark.parametrize("command", ["stopwait", "kill"])
def test_the_whole_tree_goes(command: str) -> None:
    """Children that ignore TERM, of other groups and sessions, orphaned or with an empty environment: all go (G5)."""
    world = World()
    body = running(world, FAMILY)
    assert len(world.offspring()) == 8
    events = loop(world, command)
    assert kinds(events)[-2:] == ["Gone", "Cleared"]
    assert world.offspring() == []
    told = [(event.signum, event.pid == body.pid, event.others + 1) for event in only(events, Signalled)]
    assert told == ([(TERM, True, 1), (KILL, False, 7)] if command == "stopwait" else [(KILL, True, 8)])


ESCAPE = Child(nature=DEAF, session=True, orphan=True, bare=True)
WAKING = Nature(ignores=DEAF.ignores, bears={HUP: ESCAPE})
JOB = replace(
    WAKING, children=(Child(nature=WAKING), Child(nature=WAKING, orphan=True), Child(nature=WAKING, group=True))
)


@pytest.mark.parametrize("command", ["stopwait", "kill", "restart", "dead", "start"])
def test_nobody_wakes_up_while_a_tree_is_killed(command: str) -> None:
    """Stopped groups that lose their parents get HUP and CONT: children first, the main process last (G5)."""
    world = World()
    nature = Nature(children=(Child(nature=JOB, group=True), *JOB.children))
    if command == "start":
        world.nature = nature
        loop(world, "start", node_of(ready="file:/run/ready", ready_timeout=5.0, stop="KILL/5"))
    else:
        running(world, nature)
        assert len(world.offspring()) == 8
    if command == "dead":
        world.end(world.mains("/run/w1.pid")[0], -KILL)
        loop(world, "stopwait")
    elif command != "start":
        world.natures["w1@host"] = Nature()
        loop(world, command)
    assert world.offspring() == world.mains("/run/w1.pid")
    assert len(world.offspring()) == (command == "restart")


def test_strangers_are_spared() -> None:
    """Other nodes, processes of other users and whoever runs `multi` are never signalled (G1)."""
    world = World()
    other = running(world, FAMILY, node_of("w2"))
    running(world, FAMILY)
    strangers = [world.add(argv=("program", "w1"), uid=uid) for uid in (0, 1000)]
    world.add(argv=("sh",), ppid=other.pid)
    before = len(world.offspring())
    loop(world, "stopwait", node_of("w1"))
    loop(world, "kill", node_of("w1"))
    assert len(world.offspring()) == before - 8
    assert not any(body.gone for body in [other, *strangers])


def test_a_family_that_grows_while_it_is_killed() -> None:
    """Who comes while others are killed is killed, too, until none is left."""
    world = World()
    running(world, Nature(children=(Child(nature=Nature(heirs=20), session=True),)))
    events = loop(world, "stopwait")
    assert kinds(events)[-2:] == ["Gone", "Cleared"]
    assert world.offspring() == []


@pytest.mark.parametrize("looks", [1, 5, 9])
def test_a_child_that_is_missing_from_some_looks(looks: int) -> None:
    """Where processes end during each look, their children may be in none yet: one that finds nobody proves little."""
    world = World()
    running(world, Nature(children=(Child(nature=DEAF, session=True, orphan=True),)))
    (child,) = (body for body in world.offspring() if body.nature is DEAF)
    fake = world.fake()
    world.restless = child.hidden = True

    def trap(_number: int, _call: tuple[str, ...]) -> None:
        done = [number for number, (name, *_) in enumerate(fake.calls) if name == "signal"]
        child.hidden = not done or sum(name == "processes" for name, *_ in fake.calls[done[0] :]) <= looks

    fake.trap = trap
    events = loop(world, "stopwait", fake=fake)
    assert kinds(events)[-2:] == ["Gone", "Cleared"]
    assert world.offspring() == []


@pytest.mark.parametrize("command", ["stopwait", "kill"])
def test_g5_a_slow_look_is_no_tree_that_grows(command: str) -> None:
    """G5: where each look takes seconds, all of the tree are suspended before one of them is killed all the same."""
    world = World()
    running(world, replace(FAMILY, ignores=DEAF.ignores))
    fake = world.fake()
    fake.trap = at_each("processes", lambda: world.rest(3.0))
    family = {body.pid for body in world.offspring()}
    events = loop(world, command, fake=fake)
    assert kinds(events)[-1] == "Cleared"
    assert world.offspring() == []
    sent = [words[1:] for words in fake.calls if words[0] == "signal"]
    kills = next(at for at, (_, signum) in enumerate(sent) if signum == str(KILL))
    assert {int(pid) for pid, signum in sent[:kills] if signum == str(STOP)} == family


def test_restless_looks_come_to_an_end() -> None:
    """On a machine where something ends all the time, a stop ends all the same."""
    world = World()
    running(world)
    world.restless = True
    assert kinds(loop(world, "stopwait"))[-2:] == ["Gone", "Cleared"]


def test_looks_take_half_of_the_time_at_most() -> None:
    """While many nodes end, each after the other, a look that takes a second is not taken more often than each two."""
    world = World()
    nodes = [node_of(f"n{number}") for number in range(200)]
    for number, node in enumerate(nodes):
        world.natures[node.name] = Nature(ends={TERM: (number * 0.1, 0)})
    loop(world, "start", *nodes)
    fake = world.fake()
    fake.trap = at_each("processes", lambda: world.rest(1.0))
    began = world.time
    events = loop(world, "stopwait", *nodes, fake=fake)
    assert len(only(events, Cleared)) == len(nodes)
    looks = sum(name == "processes" for name, *_ in fake.calls)
    assert looks <= (world.time - began) / 2 + 3


def test_a_child_that_survives() -> None:
    """A child that even KILL does not end is named, exit 1, and the files stay."""
    world = World()
    running(world, Nature(children=(Child(nature=STUCK, session=True), Child(nature=DEAF))))
    (child,) = (body for body in world.offspring() if body.nature is STUCK)
    events = loop(world, "stopwait")
    assert isinstance(events[-1], Survived)
    assert events[-1].pids == (child.pid,)
    assert world.offspring() == [child]
    assert files(world) == ["/run/w1.json", "/run/w1.pid"]


def test_what_a_dead_node_left_running_goes() -> None:
    """Children that outlived their main process are found and ended by the next command (G5)."""
    for command in ("stopwait", "kill", "stop", "restart", "start", "ensure"):
        world = World()
        body = running(world, FAMILY)
        world.end(body, -signal.SIGSEGV)
        assert len(world.offspring()) == 7
        loop(world, command)
        left = [child for child in world.offspring() if child.instance and child.instance.pid == body.pid]
        assert left == [], command


def test_kill_mode_process() -> None:
    """With kill_mode = process the children are left alone, as they are meant to be."""
    world = World()
    node = node_of(kill_mode="process")
    running(world, FAMILY, node)
    events = loop(world, "stopwait", node)
    assert kinds(events) == ["Signalled", "Gone", "Cleared"]
    assert len(world.offspring()) == 7


def test_a_zombie_is_gone() -> None:
    """Nobody waits for a process that only its parent has not looked at yet."""
    world = World()
    body = running(world, Nature(unreaped=True, children=(Child(nature=Nature(unreaped=True, lives=0.1)),)))
    began = world.time
    assert kinds(loop(world, "stopwait")) == ["Signalled", "Gone", "Cleared"]
    assert world.time - began < 1
    assert world.bodies[body.pid].gone


def test_not_ours_to_signal() -> None:
    """A process of another user is alive and not ours: exit 77, and nothing of it is cleared."""
    world = World()
    node = node_of(uid="worker")
    running(world, None, node)
    before = files(world)
    for command in ("stop", "stopwait", "kill", "restart"):
        fake = world.fake(uid=1666)
        last = loop(world, command, node, fake=fake)[-1]
        assert isinstance(last, (Failed, Refused))
        assert files(world) == before
        assert len(world.mains(node.pidfile)) == 1


@pytest.mark.parametrize("command", ["stop", "stopwait", "kill", "restart"])
def test_denied_at_the_last_moment(command: str) -> None:
    """A process that becomes another user's between look and signal is alive and not ours: exit 77, files as they were.

    What was asked of it did not happen, so the record does not say so either: it is no node that is being stopped.
    """
    world = World()
    node = node_of(uid="worker")
    body = running(world, None, node)
    fake = world.fake(uid=1000)
    before = contents(world)
    fake.trap = at_each("signal", lambda: setattr(body, "uid", 0))
    last = loop(world, command, node, fake=fake)[-1]
    assert isinstance(last, Failed)
    assert last.exit_code == 77
    assert str(body.pid) in last.why
    assert not body.gone
    assert contents(world) == before


def test_gone_between_look_and_signal() -> None:
    """A process that ends by itself just before its signal is gone, which is what was asked for."""
    for command in ("stop", "stopwait", "kill"):
        world = World()
        body = running(world)
        fake = world.fake()
        fake.trap = at_each("signal", partial(world.recycle, body))
        events = loop(world, command, fake=fake)
        assert "Failed" not in kinds(events)
        assert isinstance(next(event for event in events if not isinstance(event, Cleared)), Gone)
        assert not world.bodies[body.pid].gone, "the stranger that has its pid now was hit"


def test_signal() -> None:
    """A signal that is no stop leaves the record alone."""
    world = World()
    body = running(world, DEAF)
    assert loop(world, "signal", signum=TERM) == [Signalled("w1@host", body.pid, TERM, 0.0)]
    assert sight(world) == Up(body.proc)
    assert isinstance(loop(world, "signal", node_of("w2"), signum=TERM)[0], Refused)


def cut_off(world: World, command: str, after: str) -> None:
    """A command that is killed right after its first call of that name."""
    fake = world.fake()

    def trap(_number: int, _call: tuple[str, ...]) -> None:
        if fake.effects(after)[:-1] or (fake.calls[-1][0] != after and fake.effects(after)):
            fake.die()

    fake.trap = trap
    with pytest.raises(KilledError):
        list(walk([Task(node_of(), Request(command))], RunOptions(), fake))
    fake.close()


@pytest.mark.parametrize(
    ("command", "on_purpose"), [("stopwait", True), ("kill", True), ("stop", True), ("restart", False)]
)
def test_a_stop_that_was_cut_off_is_remembered(command: str, on_purpose: bool) -> None:
    """What was asked for is on record before it is done: `ensure` starts what was to be restarted, and nothing else."""
    world = World()
    body = running(world, Nature(ends={TERM: (5.0, 0)}))
    cut_off(world, command, "signal")
    world.rest(10.0)
    world.end(body, -KILL)
    seen = sight(world)
    assert isinstance(seen, Dead)
    assert seen.on_purpose == on_purpose
    assert len(world.mains("/run/w1.pid")) == 0
    loop(world, "ensure")
    assert len(world.mains("/run/w1.pid")) == (not on_purpose)


def test_a_stop_that_was_cut_off_before_its_signal_is_sent_again() -> None:
    """A stop that is on record, but whose signal nobody sent, is sent by the next stop and the next start (G6)."""
    for command, expected in (
        ("stop", ["Signalled"]),
        ("start", ["Signalled", "Gone", "Cleared", "Spawned", "Readied"]),
    ):
        world = World()
        body = running(world, Nature(ends={TERM: (5.0, 0)}))
        cut_off(world, "stop", "write")
        assert sight(world) == Stopping(body.proc, sent=False)
        assert kinds(loop(world, command)) == expected


# --- restart ---------------------------------------------------------------------------------------------


def test_restart() -> None:
    """A restart is a stop by the schedule and a start, in this order, with another process at its end."""
    world = World()
    body = running(world, replace(FAMILY, ends={TERM: (3.0, 0)}))
    events = loop(world, "restart")
    assert kinds(events) == ["Signalled", "Signalled", "Gone", "Cleared", "Spawned", "Readied"]
    (new,) = world.mains("/run/w1.pid")
    assert new.proc != body.proc
    assert body.gone
    assert sight(world) == Up(new.proc)


@pytest.mark.parametrize(
    "nature",
    [
        Nature(setup_fails=("cannot find the program", "", 2)),
        Nature(exec_fails=("cannot execute", "", 8)),
        Nature(lives=0.1, status=1),
        Nature(setup_takes=None),
    ],
    ids=["no program", "no executable", "dies", "hangs"],
)
def test_restart_that_fails_keeps_the_record(nature: Nature) -> None:
    """When the new start fails, what it takes to try again stays on record: the next restart needs no retyping."""
    world = World()
    running(world)
    world.natures["w1@host"] = nature
    assert kinds(loop(world, "restart"))[-1] == "Failed"
    assert files(world) == ["/run/w1.json"]
    record = record_of(world)
    assert (record.node, record.proc, record.desired) == (node_of(), None, records.WANTED_UP)
    assert record.failure
    seen = sight(world)
    assert isinstance(seen, Dead)
    assert not seen.on_purpose
    world.natures["w1@host"] = Nature()
    assert kinds(loop(world, "restart")) == ["Cleared", "Spawned", "Readied"]


def test_start_waits_for_a_stop_under_way() -> None:
    """A start of a node that was asked to stop waits for its end without asking again, then starts it (G6)."""
    world = World()
    body = running(world, Nature(ends={TERM: (6.0, 0)}))
    loop(world, "stop")
    fake = world.fake()
    events = loop(world, "start", fake=fake)
    assert kinds(events) == ["Gone", "Cleared", "Spawned", "Readied"]
    assert [call for call in fake.effects("signal") if call[2] == str(TERM)] == []
    assert body.gone


def test_start_over_a_stop_that_is_ignored() -> None:
    """A stop that was asked for and ignored goes on by the schedule, counted from now."""
    world = World()
    running(world, DEAF)
    loop(world, "stop")
    world.natures["w1@host"] = Nature()
    events = loop(world, "start")
    assert kinds(events) == ["Signalled", "Gone", "Cleared", "Spawned", "Readied"]
    assert isinstance(events[0], Signalled)
    assert (events[0].signum, events[0].after) == (KILL, about(10.0))


# --- lost and found ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [["/run/w1.pid"], ["/run/w1.json"], ["/run/w1.pid", "/run/w1.json"]])
@pytest.mark.parametrize("command", ["start", "ensure", "stopwait", "kill", "stop", "restart"])
def test_lost_files(lost: list[str], command: str) -> None:
    """A node that lost its files is still one node (G2): a start adopts it, a stop stops it."""
    world = World()
    body = running(world)
    for path in lost:
        del world.files[path]
    events = loop(world, command)
    assert not {"Failed", "Refused", "Survived"} & set(kinds(events))
    mains = world.mains("/run/w1.pid")
    if command in {"start", "ensure"}:
        assert mains == [body]
        assert sight(world) == Up(body.proc)
    elif command == "restart":
        assert len(mains) == 1
        assert mains != [body]
        assert sight(world) == Up(mains[0].proc)
    else:
        assert mains == []
        assert isinstance(sight(world), (Down, Dead))


@pytest.mark.parametrize("command", ["start", "stopwait", "kill", "restart"])
def test_lost_directory(command: str) -> None:
    """The whole run directory may be deleted under a node: it is found all the same."""
    world = World()
    node = node_of(pidfile="/run/deep/w1.pid")
    body = running(world, None, node)
    for path in [path for path in world.files if path.startswith("/run/deep")]:
        del world.files[path]
    seen = sight(world, node)
    assert isinstance(seen, Lost)
    assert seen.proc == body.proc
    events = loop(world, command, node)
    assert not {"Failed", "Refused", "Survived"} & set(kinds(events)), events
    assert len(world.mains(node.pidfile)) == (command in {"start", "restart"})
    assert body.gone == (command != "start")


def test_adopted_events() -> None:
    """An adoption is told, with its reason."""
    world = World()
    body = running(world)
    del world.files["/run/w1.pid"]
    assert loop(world, "start") == [Adopted("w1@host", body.pid, "its pidfile /run/w1.pid is gone")]


def test_a_stop_under_way_stays_one_when_its_pidfile_is_lost() -> None:
    """A node that was asked to stop is not up, whatever becomes of its pidfile: a start waits for its end (G4)."""
    world = World()
    body = running(world, Nature(ends={TERM: (6.0, 0)}))
    loop(world, "stop")
    del world.files["/run/w1.pid"]
    assert sight(world) == Stopping(body.proc)
    assert kinds(loop(world, "start")) == ["Gone", "Cleared", "Spawned", "Readied"]


@pytest.mark.parametrize("command", ["signal", "stop", "ensure", "start"])
def test_a_title_is_not_put_on_record(command: str) -> None:
    """A worker that lost its record and shows a title gets its pidfile again; its command stays unknown."""
    world = World()
    body = running(world, Nature(title=TITLE, ends={TERM: (60.0, 0)}))
    for path in files(world):
        del world.files[path]
    for adopted in ("Adopted", ""):
        request = Request(command, WINCH if command == "signal" else None, says=False)
        events = loop(world, request, node_of() if command == "start" else UNTOLD)
        expected = {"signal": ["Signalled"], "stop": ["Signalled"]}.get(command, [] if adopted else ["Skipped"])
        assert kinds(events) == [*([adopted] if adopted else []), *expected]
        assert files(world) == ["/run/w1.pid"]
        assert sight(world) == Lost(body.proc, "its record /run/w1.json is gone")


@pytest.mark.parametrize("says", [True, False])
def test_what_a_start_finds_running_is_on_record_as_it_runs(says: bool) -> None:
    """Who says how a node shall run is believed. Where nobody does, the kernel tells how it runs."""
    world = World()
    running(world)
    del world.files["/run/w1.json"]
    other = node_of(argv=("program", "bare"))
    assert kinds(loop(world, Request("start", says=says), other)) == ["Adopted"]
    assert record_of(world).node.words == ("program", "bare" if says else "w1")


def test_foreign_pidfile_is_stopped() -> None:
    """A node that another tool started is stopped and restarted like one of ours."""
    for command in ("stopwait", "restart", "kill"):
        world = World()
        body = world.add(argv=("program", "w1"), age=100.0)
        world.files["/run/w1.pid"] = Entry(b"%d\n" % body.pid, mtime=world.wall - 50)
        events = loop(world, command)
        assert not {"Failed", "Refused", "Survived"} & set(kinds(events))
        assert body.gone
        assert len(world.mains("/run/w1.pid")) == (command == "restart")


# --- several commands, several nodes -----------------------------------------------------------------------


def test_a_slow_stop_holds_up_nobody() -> None:
    """While one node takes its time, the others are done (G2: locks are per node)."""
    world = World()
    running(world, DEAF, node_of("slow"))
    running(world, None, node_of("fast"))
    events = loop(world, "stopwait", node_of("slow"), node_of("fast"))
    gone = [(event.node, event.after) for event in only(events, Gone)]
    assert gone == [("fast@host", about(0.0)), ("slow@host", about(10.0))]


def test_one_bad_node_stops_no_other() -> None:
    """A node that fails fails alone."""
    world = World()
    world.natures["bad@host"] = Nature(setup_fails=("cannot", "", 2))
    events = loop(world, "start", node_of("a"), node_of("bad"), node_of("b"))
    assert sorted(event.node for event in events if isinstance(event, Readied)) == ["a@host", "b@host"]
    assert [event.node for event in only(events, Failed)] == ["bad@host"]


def test_a_locked_node_is_waited_for() -> None:
    """A second start waits for the first one's lock, looks then, and finds the node running."""
    world = World()
    first, second = world.fake(), world.fake()
    events = walk([Task(node_of(), Request("start"))], RunOptions(), first)
    spawned = next(events)
    assert isinstance(spawned, Spawned)

    def go_on() -> None:
        assert kinds(events) == ["Readied"]
        first.close()

    world.after(5.0, go_on)
    assert loop(world, "start", fake=second) == [Skipped("w1@host", spawned.pid, "already running")]


def run_late(world: World, request: Request, node: Node, meanwhile: Node) -> list[Event]:
    """A command that knows what was on record, when another one has put something else there since."""
    fake = world.fake()
    assert fake.write([FileWrite(node.recordfile, encode(replace(record_of(world, node), node=meanwhile)), None, None)])
    return loop(world, request, node, fake=fake)


@pytest.mark.parametrize("command", ["restart", "ensure"])
def test_g2_what_another_one_put_on_record_meanwhile_is_started(command: str) -> None:
    """G2: the node that was chosen before the wait for the lock was that of the record, so it is the new record's."""
    world = World()
    node, other = node_of(), node_of(argv=("program", "new"))
    body = running(world, None, node)
    if command == "ensure":
        world.end(body, 1)
    events = run_late(world, Request(command, recorded=node), node, other)
    assert [event.argv for event in only(events, Spawned)] == [("program", "new")]
    assert record_of(world).node == other


def test_g8_a_file_that_a_users_record_names_meanwhile_is_opened_as_that_user() -> None:
    """G8: while root's restart waits for the lock, the user's record comes to name a file that only root reads."""
    world = World()
    node = node_of(uid="worker")
    running(world, None, node)
    world.files["/root/secret"] = Entry(b"KEY=value\n", uid=0, mode=0o600)
    meanwhile = replace(record_of(world, node), node=replace(node, env_files=("/root/secret",)))
    world.files[node.recordfile] = Entry(encode(meanwhile), uid=1000, mode=0o600)
    events = list(walk([Task(node, Request("restart", recorded=node))], RunOptions(), world.fake()))
    assert not only(events, Spawned)
    assert "Permission denied" in only(events, Refused)[0].why


def test_g2_words_beside_a_record_that_has_changed_are_refused() -> None:
    """G2: what was typed for the old command is not mixed with the new one; nothing is touched."""
    world = World()
    node, other = node_of(), node_of(argv=("program", "new"))
    body = running(world, None, node)
    events = run_late(world, Request("restart", recorded=node), replace(node, startsecs=7.0), other)
    refused = sole(events, Refused)
    assert "another multi has changed" in refused.why
    assert not body.gone


def test_g2_apply_sees_what_another_apply_has_done_meanwhile() -> None:
    """G2: two at once restart a changed node once."""
    world = World()
    old, node = node_of(argv=("program", "old")), node_of()
    running(world, None, node)
    events = run_late(world, Request("apply", recorded=old), node, node)
    assert kinds(events) == ["Skipped"]


def test_lock_time_out() -> None:
    """Who waits longer than allowed gives up: exit 75, naming who holds the node; other nodes are not concerned."""
    world = World()
    holder = world.fake()
    holder.lock("w1@host", "/run/w1.lock", None, None)
    began = world.time
    events = loop(world, "start", node_of(lock_timeout=30.0), node_of("w2"))
    (failed,) = only(events, Failed)
    assert (failed.node, failed.exit_code) == ("w1@host", 75)
    assert f"pid {holder.body.pid}" in failed.why
    assert "--lock-timeout" in failed.why
    assert world.time - began == about(30, 0.1)
    assert [event.node for event in only(events, Readied)] == ["w2@host"]
    assert [flock.queue for flock in world.flocks.values()] == [[]]


def test_killed_multi_holds_no_lock() -> None:
    """The lock of a `multi` that was killed is free (G3)."""
    world = World()
    holder = world.fake()
    holder.lock("w1@host", "/run/w1.lock", None, None)
    holder.bury()
    assert kinds(loop(world, "start")) == ["Spawned", "Readied"]


def test_lock_removed_while_it_is_held() -> None:
    """Whoever lost the lock to a removed file asks again before it starts anything, and finds who was faster (G2)."""
    world = World()
    running(world, Nature(ends={TERM: (5.0, 0)}))
    first = world.fake()

    def interfere() -> None:
        del world.files["/run/w1.lock"]
        assert kinds(loop(world, "start"))[-2:] == ["Spawned", "Readied"]

    world.after(2.0, interfere)
    events = loop(world, "restart", fake=first)
    (body,) = world.mains("/run/w1.pid")
    assert isinstance(events[-1], Skipped)
    assert "another multi was faster" in events[-1].why
    assert sight(world) == Up(body.proc)


def test_files_that_somebody_else_has_written_meanwhile() -> None:
    """Whoever lost the lock does not clear the files of the process that somebody else has started since (G2)."""
    world = World()
    old = running(world, Nature(ends={TERM: (5.0, 0)}))
    fake = world.fake()

    def trap(_number: int, call: tuple[str, ...]) -> None:
        if call[0] == "signal":
            world.files.pop("/run/w1.lock", None)
        elif call == ("read", "/run/w1.json") and old.gone and not world.mains("/run/w1.pid"):
            assert kinds(loop(world, "start"))[-2:] == ["Spawned", "Readied"]

    fake.trap = trap
    assert kinds(loop(world, "stopwait", fake=fake))[-2:] == ["Gone", "Cleared"]
    (body,) = world.mains("/run/w1.pid")
    assert files(world) == ["/run/w1.json", "/run/w1.pid"]
    assert sight(world) == Up(body.proc)


# --- rolling -----------------------------------------------------------------------------------------------


def test_rolling() -> None:
    """One node at a time: the next one is not touched before the last one is ready."""
    world = World()
    nodes = [node_of(f"w{number}") for number in range(4)]
    for node in nodes:
        running(world, None, node)
    events = loop(world, "restart", *nodes, options=RunOptions(width=1))
    names = [event.node for event in events if not isinstance(event, (Interrupted, Halted))]
    assert names == sorted(names)
    assert len(only(events, Readied)) == 4


def test_rolling_width() -> None:
    """With a width of two there are never more than two on their way."""
    world = World()
    nodes = [node_of(f"w{number}") for number in range(5)]
    under_way: set[str] = set()
    most = 0
    for event in walk([Task(node, Request("start")) for node in nodes], RunOptions(width=2), world.fake()):
        assert not isinstance(event, (Interrupted, Halted))
        (under_way.add if isinstance(event, Spawned) else under_way.discard)(event.node)
        most = max(most, len(under_way))
    assert most == 2


def test_rolling_stops_at_the_first_failure() -> None:
    """A bad release takes down one node, not all: the others are left as they are, and say so."""
    world = World()
    nodes = [node_of(f"w{number}") for number in range(4)]
    old = [running(world, None, node) for node in nodes]
    world.natures["w1@host"] = Nature(lives=0.1, status=1)
    events = loop(world, "restart", *nodes, options=RunOptions(width=1))
    assert [event.node for event in only(events, Failed)] == ["w1@host"]
    skipped = only(events, Skipped)
    assert [(event.node, event.met) for event in skipped] == [("w2@host", False), ("w3@host", False)]
    assert world.mains("/run/w2.pid") == [old[2]]
    assert world.mains("/run/w3.pid") == [old[3]]
    assert world.mains("/run/w0.pid") != [old[0]]


@pytest.mark.parametrize("width", [None, 1, 2])
def test_a_task_begins_when_those_before_it_went_well(width: int | None) -> None:
    """G2: two nodes that swap their pidfiles both leave them before either is started; a third is not concerned."""
    world = World()
    a, b = node_of("a"), node_of("b")
    running(world, Nature(ends={TERM: (3.0, 0)}), a)
    running(world, None, b)
    tasks = [
        Task(replace(a, pidfile=b.pidfile), Request("apply"), (2, 3)),
        Task(replace(b, pidfile=a.pidfile), Request("apply"), (2, 3)),
        Task(a, Request("stopwait")),
        Task(b, Request("stopwait")),
        Task(node_of("c"), Request("start")),
    ]
    events = list(walk(tasks, RunOptions(width=width), world.fake()))
    assert {"Failed", "Refused", "Skipped", "Halted"}.isdisjoint(kinds(events))
    order = [(kinds([event])[0], event.node) for event in events if isinstance(event, (Gone, Readied))]
    assert {kind for kind, _ in [each for each in order if each[1] != "c@host"][:2]} == {"Gone"}
    assert [len(world.mains(node.pidfile)) for node in (a, b, node_of("c"))] == [1, 1, 1]


@pytest.mark.parametrize("width", [None, 1])
def test_a_task_after_one_that_failed_is_skipped(width: int | None) -> None:
    """It is told once, whatever was to be done of its node; with a width nobody else begins either."""
    world = World()
    a, b, c = node_of("a", stop="TERM/1"), node_of("b"), node_of("c")
    body = running(world, DEAF, a)
    tasks = [Task(replace(a, pidfile="/run/new.pid"), Request("apply"), (1,)), Task(a, Request("stopwait"))]
    events = list(
        walk([*tasks, Task(b, Request("start")), Task(c, Request("start"))], RunOptions(width=width), world.fake())
    )
    assert [event.node for event in only(events, Survived)] == ["a@host"]
    why = f"skipped: a@host still runs with {a.pidfile}"
    others = [] if width is None else [("b@host", "skipped: an earlier node failed")]
    others += [] if width is None else [("c@host", "skipped: an earlier node failed")]
    assert [(event.node, event.why) for event in only(events, Skipped)] == [("a@host", why), *others]
    assert not any(event.met for event in only(events, Skipped))
    halted = [] if width is None else [Halted((), ("a@host",), (), ("b@host", "c@host"))]
    assert only(events, Halted) == halted
    assert not body.gone


def test_rolling_leaves_no_node_stopped_that_was_to_be_started() -> None:
    """A node whose pidfile moves is under way when another one fails: it is started all the same."""
    world = World()
    olds = [node_of(name, stop="TERM/10") for name in ("a", "b", "c")]
    for node in olds:
        running(world, Nature(ends={TERM: (5.0, 0)}) if node.short == "b" else None, node)
    world.natures["a@host"] = Nature(lives=0.1, status=1)
    news = [replace(node, pidfile=f"/run/new-{node.short}.pid") for node in olds]
    tasks = [Task(node, Request("apply"), (3 + index,)) for index, node in enumerate(news)]
    tasks += [Task(node, Request("stopwait")) for node in olds]
    events = list(walk(tasks, RunOptions(width=2), world.fake()))
    assert [event.node for event in only(events, Readied)] == ["b@host"]
    assert [(event.node, event.why) for event in only(events, Skipped)] == [
        ("c@host", "skipped: an earlier node failed")
    ]
    assert only(events, Halted) == [Halted(("b@host",), ("a@host",), (), ("c@host",), (), ("a@host",))]
    assert world.mains(olds[2].pidfile)


# --- waiting -----------------------------------------------------------------------------------------------


def test_progress() -> None:
    """While it waits it says for whom, how long, and what comes next."""
    world = World()
    body = running(world, DEAF)
    events = loop(world, "stopwait", options=RunOptions(progress=3.0))
    waits = only(events, Waiting)
    assert [wait.since for wait in waits] == [about(at, 0.02) for at in (3.0, 6.0, 9.0)]
    assert all((wait.pid, wait.what, wait.next_signum) == (body.pid, "end", KILL) for wait in waits)
    assert [wait.next_in for wait in waits] == [about(left, 0.02) for left in (7.0, 4.0, 1.0)]


def test_waiting_wakes_nobody() -> None:
    """A long wait without progress makes no call at all: it is woken by the end itself."""
    world = World()
    running(world, Nature(ends={TERM: (3000.0, 0)}), node_of(stop="TERM/forever"))
    fake = world.fake()
    loop(world, "stopwait", node_of(stop="TERM/forever"), fake=fake)
    assert len([call for call in fake.calls if call[0] == "wait"]) < 12


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_wait_down(timeout: float | None) -> None:
    """``wait --down`` hears the end, takes no lock, and gives up when told to."""
    world = World()
    body = running(world, Nature(ends={TERM: (8.0, 0)}))
    loop(world, "stop")
    fake = world.fake()
    (event,) = loop(world, "down", options=RunOptions(timeout=timeout), fake=fake)
    assert fake.effects("lock", "signal") == []
    if timeout is None:
        assert event == Gone("w1@host", body.pid, about(8.0, 0.1))
    else:
        assert event == Failed("w1@host", body.pid, "still running after 5s")


def test_wait_up() -> None:
    """``wait --up`` does not start or stop anything, and succeeds when somebody else has."""
    world = World()
    fake = world.fake()

    def start() -> None:
        running(world)

    world.after(20.0, start)
    event = sole(loop(world, "up", fake=fake, options=RunOptions(timeout=60.0)), Skipped)
    assert event.met
    assert fake.effects("lock", "signal", "launch", "write") == []


def test_wait_up_in_vain() -> None:
    """``wait --up`` of a node that never comes up fails in time, and of one that is not ready stops nothing."""
    world = World()
    loop(world, "start", node_of("slow", ready="notify"), options=RunOptions(keep_unready=True))
    events = loop(world, "up", node_of(), node_of("slow", ready="notify"), options=RunOptions(timeout=30.0))
    assert kinds(events) == ["Failed", "Failed"]
    assert len(world.mains("/run/slow.pid")) == 1


# --- what goes wrong, anywhere ------------------------------------------------------------------------------


def test_no_room_to_record_a_start() -> None:
    """When record or pidfile cannot be written nothing is executed, nothing is left, and the message says which."""
    for path in ("/run/w1.json", "/run/w1.pid"):
        world = World()
        fake = world.fake()
        fake.trap = refusing(lambda call, path=path: call == ("write", path))  # type: ignore[misc]  # its default
        events = loop(world, "start", fake=fake)
        assert kinds(events) == ["Failed"]
        assert path in str(events[0])
        deeds = [call[0] for call in fake.effects("shut_gate", "remove")]
        assert deeds.index("shut_gate") < deeds.index("remove"), "it is off the record while it could still run"
        assert (files(world), world.offspring(), sight(world)) == ([], [], Down())


@pytest.mark.parametrize("command", ["stopwait", "kill"])
def test_a_full_disk_keeps_nobody_from_stopping(command: str) -> None:
    """A wish that cannot be put on record is done all the same: who stops nodes may do so to make room."""
    world = World()
    body = running(world)
    fake = world.fake()
    fake.trap = refusing(lambda call: call[0] == "write")
    events = loop(world, command, fake=fake)
    assert kinds(events)[-2:] == ["Gone", "Cleared"]
    assert body.gone
    assert files(world) == []


def refusing(which: Callable[[tuple[str, ...]], bool]) -> Callable[[int, tuple[str, ...]], None]:
    """A trap that refuses those calls, as a full disk does."""

    def trap(_number: int, call: tuple[str, ...]) -> None:
        if which(call):
            raise MachineError(f"cannot {call[0]} {call[1]}", "No space left on device", "free some", errno.ENOSPC)

    return trap


TITLE = "busy"  # a worker that shows it has no words that anybody could start again
LIVELY = replace(FAMILY, ends={TERM: (2.0, 0)}, title=TITLE)
UNTOLD = node_of(command=Unknown("nobody said what command it is"))


def down(_world: World) -> None:
    """Nothing is there."""


def up(world: World) -> None:
    """It runs, with a family."""
    running(world, LIVELY)


def stopping(world: World) -> None:
    """It was asked to stop."""
    up(world)
    loop(world, "stop")


def dead(world: World) -> None:
    """It died, and left children."""
    up(world)
    world.end(world.mains("/run/w1.pid")[0], -KILL)


def stopped(world: World) -> None:
    """It was stopped on purpose, and is gone."""
    stopping(world)
    world.rest(10.0)


def lost(world: World) -> None:
    """Its pidfile was deleted."""
    up(world)
    del world.files["/run/w1.pid"]


def stripped(world: World) -> None:
    """Pidfile and record were deleted."""
    lost(world)
    del world.files["/run/w1.json"]


def starting(world: World) -> None:
    """Its start was cut off before it was ready."""
    world.natures["w1@host"] = LIVELY
    begin(world)


SITUATIONS = [down, up, stopping, dead, stopped, lost, stripped, starting]
COMMANDS = ["start", "stop", "stopwait", "restart", "kill", "ensure"]


def is_sound(world: World, node: Node | None = None) -> None:
    """Assert what must be true whenever no command is at work: one process at most, and everybody can find it."""
    node = node or node_of()
    mains = world.mains(node.pidfile)
    assert len(mains) <= 1
    found = proc_of(sight(world, node))
    assert found == (mains[0].proc if mains else None)
    if node.recordfile in world.files:
        assert record_of(world, node).node.command == node.command, "a command was made up"
    at_the_gate = [body for body in world.bodies.values() if body.argv == node.words and not body.ran and not body.gone]
    assert at_the_gate == []
    assert world.flocks == {}


def is_remembered(world: World, node: Node) -> None:
    """Assert that the node is on record as stopped, with all that it takes to start it again (G14)."""
    assert record_of(world, node).desired == records.WANTED_STOPPED  # a KILL before the last write leaves it a pid
    assert record_of(world, node).node == node
    assert record_of(world, node).stopped_by == "root (multi)"
    assert sight(world, node) == Down(on_record=True)


def is_mended(world: World, node: Node | None = None) -> None:
    """Assert that fresh commands go on as if nothing had been: one start is one process, one stop leaves none."""
    node = node or node_of()
    world.natures[node.name] = LIVELY
    events = loop(world, "start", node)
    assert not {"Failed", "Refused", "Survived"} & set(kinds(events)), events
    (body,) = world.mains(node.pidfile)
    assert sight(world, node) == Up(body.proc)
    events = loop(world, "stopwait", node)
    assert kinds(events)[-2:] == ["Gone", "Cleared"]
    assert [body for body in world.offspring() if body.instance is not None] == []
    assert files(world) == [node.recordfile]
    is_remembered(world, node)


def attempt(world: World, command: str, fake: Fake, node: Node | None = None) -> list[Event]:
    """One command that may be hit by KILL; the events until then."""
    events: list[Event] = []
    ridden = walk(
        [Task(node or node_of(), Request(command, WINCH if command == "signal" else None))], RunOptions(), fake
    )
    try:
        for event in ridden:
            events.append(event)  # noqa: PERF402 -- those before the end are wanted
    except KilledError:
        pass
    fake.close()
    world.rest(0.001)  # what has left the gate executes, and who finds it shut goes
    return events


def anywhere(
    situation: Callable[[World], None], meet: Callable[[Fake, tuple[str, ...]], None], least: int = 4
) -> Iterator[tuple[World, Fake]]:
    """A new machine for each call of a command, where that call meets something; at last none does.

    When the command is over, the machine is sound, and the next commands go on.
    """
    for number in count(1):
        world = World()
        situation(world)
        fake = world.fake()
        fake.trap = lambda at, call, number=number, fake=fake: meet(fake, call) if at == number else None
        yield world, fake
        is_sound(world)
        is_mended(world)
        if len(fake.calls) < number:
            assert number > least
            return


def each(commands: Sequence[str]) -> pytest.MarkDecorator:
    """Each command in each situation."""
    return pytest.mark.parametrize(("situation", "command"), list(product(SITUATIONS, commands)))


@each(COMMANDS)
def test_killed_anywhere(situation: Callable[[World], None], command: str) -> None:
    """KILL hits `multi` before any of its calls: the next command goes on, with one process and no orphan (G2, G3)."""
    for world, fake in anywhere(situation, lambda fake, _: fake.die()):
        recorded = node_of().recordfile in world.files
        attempt(world, command, fake)
        if recorded and command in {"start", "restart", "ensure"}:
            assert record_of(world).node == node_of(), "what it takes to start it again is lost"


@each(["signal", "stop", "stopwait", "restart", "kill", "ensure"])
def test_a_command_that_nobody_tells_is_not_made_up(situation: Callable[[World], None], command: str) -> None:
    """A title and no words: KILL of `multi` or not, no record pretends a command, and nothing is stopped to restart."""
    for world, fake in anywhere(situation, lambda fake, _: fake.die(), least=2):
        mains = world.mains("/run/w1.pid")
        events = attempt(world, command, fake, UNTOLD)
        if command in {"restart", "ensure", "signal"}:
            assert world.mains("/run/w1.pid") == mains
        if not fake.dead:
            assert ("Refused" in kinds(events)) is (command == "restart") or command in {"signal", "ensure"}
            assert mains == [] or command not in {"stopwait", "kill"} or mains[0].gone


@each(COMMANDS)
def test_refused_anywhere(situation: Callable[[World], None], command: str) -> None:
    """The machine refuses any one call: the node fails, nothing is half done, the next command goes on (G3, G9)."""
    refused: list[str] = []

    def refuse(_fake: Fake, call: tuple[str, ...]) -> None:
        if call[0] in REFUSABLE:
            refused.append(call[0])
            refusing(lambda _: True)(0, call)

    for world, fake in anywhere(situation, refuse):
        refused.clear()
        events = attempt(world, command, fake)
        assert not [body for body in world.mains("/run/w1.pid") if body.suspended], "it was left standing still"
        if refused and refused[0] not in {"write", "remove"}:
            assert {"Failed", "Refused"} & set(kinds(events)), (refused, events)


@each(COMMANDS)
def test_interrupted_anywhere(situation: Callable[[World], None], command: str) -> None:
    """Control-C at any moment: it ends at once, started nodes live on, nothing stands at the gate, no lock is held."""
    met = 0

    def interrupt(fake: Fake, _call: tuple[str, ...]) -> None:
        nonlocal met
        met = len(fake.calls)
        fake.interrupt(signal.SIGINT)

    for world, fake in anywhere(situation, interrupt):
        events = attempt(world, command, fake)
        assert not [body for body in world.offspring() if body.suspended], "somebody was left standing still"
        if Interrupted(signal.SIGINT) in events:
            assert events[-1] == Interrupted(signal.SIGINT)
            assert len(fake.calls) < met + 25, "it goes on after it was interrupted"


def test_closed_anywhere() -> None:
    """Whoever closes the stream of events, as a program that embeds us does, ends the ride just as cleanly."""
    for moment in range(1, 6):
        world = World()
        up(world)
        fake = world.fake()
        events = walk([Task(node_of(), Request("restart"))], RunOptions(), fake)
        for _ in range(moment):
            next(events)
        events.close()
        fake.close()
        world.rest(0.001)
        is_sound(world)
        is_mended(world)


# --- a crowd -------------------------------------------------------------------------------------------------


def _runner(command: str, nodes: Sequence[Node]) -> Callable[[Fake], None]:
    def run(fake: Fake) -> None:
        list(walk([Task(node, Request(command)) for node in nodes], RunOptions(), fake))
        fake.close()

    return run


@pytest.mark.parametrize("seed", range(60))
def test_a_crowd(seed: int) -> None:
    """Commands at once, in every order of their calls, some of them killed: never two processes, none lost (G2, G3)."""
    world = World()
    world.nature = Nature(
        ends={TERM: (0.5, 0)}, children=(Child(nature=DEAF, session=True), Child(nature=DEAF, orphan=True))
    )
    nodes = [node_of("w1", startsecs=0.2), node_of("w2", startsecs=0.0)]

    def check() -> None:
        for node in nodes:
            assert len(world.mains(node.pidfile)) <= 1, "two processes of one node"

    crowd = Crowd(world, seed, check, kills=seed % 4)
    commands = [COMMANDS[(seed + 5 * number) % len(COMMANDS)] for number in range(5)]
    crowd.run([(world.fake(), _runner(command, nodes)) for command in ("start", *commands)])
    world.rest(0.001)
    for node in nodes:
        is_sound(world, node)
    for node in nodes:
        world.natures[node.name] = world.nature
        assert kinds(loop(world, "stopwait", node))[-1] in {"Cleared", "Skipped"}
    assert world.offspring() == []
    assert set(files(world)) <= {node.recordfile for node in nodes}
    for path in files(world):
        is_remembered(world, next(node for node in nodes if node.recordfile == path))


@pytest.mark.parametrize("seed", range(30))
def test_a_crowd_with_a_vandal(seed: int) -> None:
    """Somebody removes lock files, pidfiles and records meanwhile: still never two processes, and none lost (G2)."""
    world = World()
    world.nature = Nature(ends={TERM: (0.5, 0)}, title=TITLE if seed % 2 else "")
    node = node_of(startsecs=0.2)
    untold = replace(node, command=UNTOLD.command)
    dice = random.Random(seed)

    def vandalise() -> None:
        world.files.pop(dice.choice([node.lockfile, node.lockfile, node.pidfile, node.recordfile]), None)

    def check() -> None:
        assert len(world.mains(node.pidfile)) <= 1, "two processes of one node"

    for _ in range(40):
        world.after(dice.random() * 1.5, vandalise)
    commands = ["start", *(dice.choice(["start", "restart", "stopwait", "ensure"]) for _ in range(4))]
    runs = [
        _runner(command, [untold if number and dice.random() < 0.4 else node])
        for number, command in enumerate(commands)
    ]
    Crowd(world, seed, check).run([(world.fake(), run) for run in runs])
    world.rest(2.0)
    is_sound(world, node)
    is_mended(world, node)


def _any_nature(dice: random.Random) -> Nature:
    """A process of any kind that a stop can end."""
    return Nature(
        ignores=frozenset({TERM}) if dice.random() < 0.2 else frozenset(),
        ends={} if dice.random() < 0.5 else {TERM: (dice.random() * 3, 0)},
        lives=None if dice.random() < 0.7 else dice.random() * 2,
        status=dice.choice([0, 1, -KILL]),
        children=tuple(
            Child(
                nature=dice.choice([DEAF, Nature(heirs=2)]),
                after=dice.random(),
                session=True,
                orphan=dice.random() < 0.5,
            )
            for _ in range(dice.randrange(3))
        ),
        makes=() if dice.random() < 0.3 else ((dice.random(), "/ready"),),
        setup_takes=dice.choice([0.0, 0.0, 0.5, 30.0]),
        setup_fails=None if dice.random() < 0.9 else ("cannot find the program", "", 2),
        exec_fails=None if dice.random() < 0.9 else ("cannot execute", "", 8),
        title=dice.choice(["", TITLE]),
    )


@pytest.mark.parametrize("seed", range(40))
def test_a_crowd_in_trouble(seed: int) -> None:
    """Processes that die when they like, commands that are killed or interrupted, all at once (G2, G3)."""
    world = World()
    dice = random.Random(seed)
    node = node_of(ready=dice.choice(["alive", "file:/ready"]), startsecs=dice.random(), ready_timeout=5.0)

    def change() -> None:
        world.natures[node.name] = _any_nature(dice)
        if dice.random() < 0.3:
            for body in world.mains(node.pidfile):
                world.end(body, -KILL)
        if dice.random() < 0.3 and world.fakes:
            dice.choice(world.fakes).interrupt(signal.SIGINT)

    def check() -> None:
        assert len(world.mains(node.pidfile)) <= 1, "two processes of one node"

    change()
    for _ in range(20):
        world.after(dice.random() * 10, change)
    commands = [dice.choice(COMMANDS) for _ in range(6)]
    Crowd(world, seed, check, kills=dice.randrange(3)).run(
        [(world.fake(), _runner(command, [node])) for command in commands]
    )
    world.rest(31.0)  # also who is slow to come to the gate finds it shut, and goes
    is_sound(world, node)
    is_mended(world, replace(node, ready=node_of().ready))


def test_twenty_starts_at_once() -> None:
    """Twenty commands that start one node are one start and twenty successes (G2)."""
    for seed in range(5):
        world = World()
        outcomes: list[list[str]] = []

        def run(fake: Fake, outcomes: list[list[str]] = outcomes) -> None:
            outcomes.append(kinds(walk([Task(node_of(), Request("start"))], RunOptions(), fake)))
            fake.close()

        Crowd(world, seed, lambda: None).run([(world.fake(), run) for _ in range(20)])
        assert len(world.mains("/run/w1.pid")) == 1
        assert sorted(outcomes) == [["Skipped"]] * 19 + [["Spawned", "Readied"]]


# --- calls that the system refuses: what test_sandbox tries on the real machine -------------------------

A, B = node_of("a"), node_of("b")


@pytest.mark.parametrize("method", ["signal", "watch"])
def test_g9_a_system_call_that_fails_where_none_is_expected_to(method: str) -> None:
    """An error from the system ends the way of its node alone, names it, and nothing stays asked for (G9)."""
    world = World()
    first, _ = running(world, node=A), running(world, node=B)
    before = contents(world)[A.recordfile]
    fake = world.fake()
    usual = getattr(fake, method)

    def refused(*words: object) -> object:
        if first.proc in words:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return usual(*words)

    with mock.patch.object(fake, method, refused):
        events = loop(world, "stopwait", A, B, fake=fake)
    (failed,) = only(events, Failed)
    assert failed.node == A.name
    assert failed.why.startswith("cannot go on: Function not implemented; see whether a sandbox")
    assert [event.node for event in only(events, Gone)] == [B.name]
    assert contents(world)[A.recordfile] == before
    assert sight(world, A) == Up(first.proc)


def test_g9_no_look_at_the_process_table() -> None:
    """Where the process table cannot be read, each node that needs it is named, and its record is as before (G9)."""
    world = World()
    running(world, node=A)
    before = contents(world)
    fake = world.fake()
    with mock.patch.object(fake, "processes", side_effect=OSError(errno.EMFILE, os.strerror(errno.EMFILE))):
        events = loop(world, "stopwait", A, B, fake=fake)
    assert {event.node for event in only(events, Failed)} == {A.name, B.name}
    assert "Too many open files; raise 'ulimit -n'" in only(events, Failed)[0].why
    assert contents(world) == before
