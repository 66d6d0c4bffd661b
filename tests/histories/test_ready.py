"""The proofs that a started node works, as histories on a made-up machine; no real time passes (G4)."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Mapping
from typing import cast

import pytest

from multi import observe
from multi.act import walk
from multi.codec import decode
from multi.model.event import Cleared, Event, Failed, Readied, Skipped, Spawned
from multi.model.happening import Notified
from multi.model.node import Node, Ready
from multi.model.request import Fallback, Request, RunOptions, Task
from multi.model.schedule import end_text
from multi.model.state import State, Up
from multi.testing.world import Child, Entry, Fake, KilledError, Nature, World, node_of
from multi.value import replace

KILL = int(signal.SIGKILL)
READY = {"READY": "1"}


def about(seconds: float, off: float = 0.3) -> float:
    """So many seconds, give or take the pause between two looks."""
    return cast("float", pytest.approx(seconds, abs=off))


def start(world: World, node: Node, fake: Fake | None = None) -> list[Event]:
    """Start it, to the end."""
    fake = fake or world.fake()
    events = list(walk([Task(node, Request("start"))], RunOptions(), fake))
    fake.close()
    return events


def ready(world: World, node: Node, fake: Fake | None = None) -> Readied:
    """Start it and see it ready."""
    events = start(world, node, fake)
    assert isinstance(events[-1], Readied), events
    return events[-1]


def failed(world: World, node: Node) -> Failed:
    """Start it and see it fail."""
    (event,) = (event for event in start(world, node) if isinstance(event, Failed))
    return event


def cut_off(world: World, node: Node) -> None:
    """A start that is killed as soon as the node runs."""
    fake = world.fake()
    events = walk([Task(node, Request("start"))], RunOptions(), fake)
    assert isinstance(next(events), Spawned)
    with pytest.raises(KilledError):
        fake.die()
    world.rest(0.0)


def saying(*says: tuple[float, Mapping[str, str]], **traits: object) -> Nature:
    """A process that says these things at these seconds."""
    return Nature(says=says, **traits)  # type: ignore[arg-type]  # fields by name


# --- alive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("startsecs", [0.0, 0.3, 5.0, 90.0])
def test_alive(startsecs: float) -> None:
    """A node is up when it has lived for `startsecs`, also when that is longer than the time it has to get ready."""
    event = ready(World(), node_of(startsecs=startsecs, ready_timeout=60.0))
    assert (event.after, event.how) == (about(startsecs, 0.01), "alive")


def test_alive_not_long_enough() -> None:
    """One that ends a moment before has not started, whatever its exit status says."""
    world = World()
    world.nature = Nature(lives=4.9)
    event = failed(world, node_of(startsecs=5.0))
    assert (event.why, event.exit_status) == ("it exited with status 0", 0)


def test_startsecs_hold_for_every_proof() -> None:
    """Who says READY and dies of it was never up."""
    world = World()
    world.nature = saying((0.5, READY), lives=1.5, status=1)
    assert failed(world, node_of(ready="notify", startsecs=2.0)).exit_status == 1
    world.nature = saying((0.5, READY))
    assert ready(world, node_of("w2", ready="notify", startsecs=2.0)).after == about(2.0, 0.01)


def test_startsecs_that_are_asked_for_count_from_ready() -> None:
    """G4: who asks for them wants to know that the node lives after it has said READY=1."""
    world = World()
    asked = node_of(ready="notify", startsecs=2.0, startsecs_asked=True)
    world.nature = saying((3.0, READY), lives=4.9, status=1)
    assert failed(world, asked).exit_status == 1
    world.nature = saying((3.0, READY))
    assert ready(world, replace(asked, name="w2@host", pidfile="/run/w2.pid")).after == about(5.0, 0.01)
    unasked = node_of("w3", ready="notify", startsecs=2.0)
    assert ready(world, unasked).after == about(3.0, 0.01), "else nobody waits longer for it"


# --- notify -----------------------------------------------------------------------------------------------


def test_notify() -> None:
    """READY=1 is heard when it is said, and not a moment later."""
    world = World()
    world.nature = saying((7.25, {**READY, "STATUS": "consuming"}))
    event = ready(world, node_of(ready="notify", startsecs=0.0))
    assert (event.after, event.how, event.note) == (about(7.25, 0.001), "notify", "consuming")


@pytest.mark.parametrize(
    "fields",
    [
        {"READY": "0"},
        {"READY": "yes"},
        {"READY": ""},
        {"ready": "1"},
        {"STATUS": "READY=1"},
        {"X_READY": "1"},
        {},
        {"STOPPING": "1"},
        {"EXTEND_TIMEOUT_USEC": "-1"},
        {"EXTEND_TIMEOUT_USEC": "9" * 400},
        {"EXTEND_TIMEOUT_USEC": "\u0669"},
        {"ERRNO": "9" * 400},
        {"ERRNO": "-5"},
        {"ERRNO": "\u00b2"},
    ],
)
def test_what_is_not_ready(fields: dict[str, str]) -> None:
    """Nothing but READY=1 is ready, and nothing that a node can say breaks anything."""
    world = World()
    world.nature = saying((1.0, fields), (2.0, {}))
    assert "not ready after 10s" in failed(world, node_of(ready="notify", ready_timeout=10.0)).why


def test_g9_a_status_with_a_nul_damages_no_record() -> None:
    """G9: whatever a node says of itself, its record can be read again."""
    world = World()
    world.nature = saying((1.0, {**READY, "STATUS": "a\0b"}))
    node = node_of(ready="notify", startsecs=0.0)
    ready(world, node)
    assert decode(world.files[node.recordfile].data).extra["status"] == "a?b"


def test_a_notify_node_says_nothing() -> None:
    """Silence is told as such."""
    event = failed(World(), node_of(ready="notify", ready_timeout=10.0))
    assert event.why == "not ready after 10s (ready = notify): it sent nothing to NOTIFY_SOCKET"


def test_what_it_said_last_is_told() -> None:
    """Its last words about itself, and its error, are part of the failure."""
    world = World()
    world.nature = saying(
        (1.0, {"STATUS": "connecting"}), (2.0, {"STATUS": "giving up", "ERRNO": str(errno.ECONNREFUSED)}), lives=3.0
    )
    event = failed(world, node_of(ready="notify"))
    assert event.why == f"it exited with status 0 (giving up ({os.strerror(errno.ECONNREFUSED)}))"


def test_more_time() -> None:
    """Who asks for more time gets it, again and again, counted from when it asks."""
    world = World()
    more = {"EXTEND_TIMEOUT_USEC": "10000000"}
    world.nature = saying((5.0, more), (14.0, more), (23.0, more), (32.0, READY))
    assert ready(world, node_of(ready="notify", ready_timeout=8.0, startsecs=0.0)).after == about(32.0, 0.01)


def test_more_time_ends() -> None:
    """Who asks for more time and is not ready in it has failed all the same; asking for less changes nothing."""
    world = World()
    world.nature = saying((5.0, {"EXTEND_TIMEOUT_USEC": "10000000"}), (6.0, {"EXTEND_TIMEOUT_USEC": "1"}))
    began = world.time
    assert "not ready after 15s" in failed(world, node_of(ready="notify", ready_timeout=8.0)).why
    assert world.time - began == about(15.0)


def test_only_its_own_word_counts() -> None:
    """What one node says is not heard as another one's."""
    world = World()
    world.natures["loud@host"] = saying((1.0, READY))
    world.natures["mute@host"] = Nature()
    nodes = [node_of(name, ready="notify", ready_timeout=10.0) for name in ("loud", "mute")]
    events = list(walk([Task(node, Request("start")) for node in nodes], RunOptions(), world.fake()))
    assert [event.node for event in events if isinstance(event, Readied)] == ["loud@host"]
    assert [event.node for event in events if isinstance(event, Failed)] == ["mute@host"]


def test_a_word_that_nobody_asked_for() -> None:
    """READY=1 of a node that is to prove it otherwise proves nothing."""
    world = World()
    fake = world.fake()
    world.after(1.0, lambda: fake.heard.append(Notified("w1@host", READY)))
    (event,) = (one for one in start(world, node_of(ready="file:/run/ready"), fake) if isinstance(one, Failed))
    assert event.why.startswith("not ready after 60s")


# --- log --------------------------------------------------------------------------------------------------


def printing(*prints: tuple[float, bytes]) -> Nature:
    """A process that prints these things at these seconds."""
    return Nature(prints=prints)


# Lines that are printed in two halves, so that some look is sure to come in between.
HALF_LINES = [(1.0 + 0.37 * number + 0.2 * half, (b"ready", b"ing\n")[half]) for number in range(20) for half in (0, 1)]


@pytest.mark.parametrize(
    ("pattern", "prints", "at"),
    [
        ("ready", [(3.0, b"getting there\n"), (4.0, b"w1 ready.\n")], 4.0),
        ("^ready$", [(1.0, b"not ready\n"), (2.0, b"ready now\n"), (3.0, b"ready\n")], 3.0),
        ("ready to serve", [(1.0, b"ready to"), (2.0, b" serve\n")], 2.0),
        ("ready$", [(1.0, b"ready"), (1.01, b"ing\n"), (5.0, b"ready\n")], 5.0),
        ("ready", [(1.0, b"ready")], 1.0),
        ("ready$", [*HALF_LINES, (10.0, b"ready\n")], 10.0),
        ("a.*\n.*b", [(1.0, b"a\n"), (2.0, b"b\n")], 2.0),
        ("ready", [(1.0, b"\xff\xfe\x00 ready\n")], 1.0),
        ("caf\u00e9", [(1.0, "caf\u00e9\n".encode())], 1.0),
        ("^ready$", [(1.0, b"x" * 1_000_000 + b"\nready\n" + b"y" * 1_000_000)], 1.0),
        ("^end$", [(1.0, b"line\n" * 200_000 + b"end\n")], 1.0),
    ],
)
def test_log(pattern: str, prints: list[tuple[float, bytes]], at: float) -> None:
    """A line of the log that matches is the proof, however it comes, and however much comes around it."""
    world = World()
    world.nature = printing(*prints)
    event = ready(world, node_of(ready=f"log:{pattern}", startsecs=0.0))
    assert (event.after, event.how) == (about(at, 0.6), f"log:{pattern}")


def test_log_of_yesterday() -> None:
    """What stood in the log before this start proves nothing."""
    world = World()
    world.files["/log/w1.log"] = Entry(b"ready\n" * 3)
    event = failed(world, node_of(ready="log:ready", ready_timeout=5.0))
    assert event.why == "not ready after 5s (ready = log:ready): no line that it wrote to its log matches"
    assert event.log_tail == ()


def test_log_that_is_truncated() -> None:
    """A log that is truncated meanwhile (copytruncate) is read from its beginning."""
    world = World()
    world.files["/log/w1.log"] = Entry(b"x" * 5000)
    world.nature = printing((2.0, b"ready\n"))

    def truncate() -> None:
        world.files["/log/w1.log"].data = b""

    world.after(1.0, truncate)
    assert ready(world, node_of(ready="log:ready")).after == about(2.0)


# --- file -------------------------------------------------------------------------------------------------


def test_file() -> None:
    """A file that appears is the proof."""
    world = World()
    world.nature = Nature(makes=((3.0, "/run/ready"),))
    event = ready(world, node_of(ready="file:/run/ready"))
    assert (event.after, event.how) == (about(3.0), "file:/run/ready")


def test_file_of_yesterday() -> None:
    """One that was there before proves nothing; made anew it does."""
    world = World()
    world.files["/run/ready"] = Entry()
    assert "nothing was made or written there since" in failed(world, node_of(ready="file:/run/ready")).why
    world.nature = Nature(makes=((2.0, "/run/ready"),))
    assert ready(world, node_of("w2", ready="file:/run/ready")).after == about(2.0)


# --- whose port it is -------------------------------------------------------------------------------------


def test_g4_a_port_on_another_machine_is_worth_a_note() -> None:
    """Nobody can tell whose it is; what accepts there counts, and the user is told (G4)."""
    world = World()
    world.listener = "away"
    world.answers["10.0.0.1:80"] = 0.0
    event = ready(world, node_of(ready="tcp:10.0.0.1:80"))
    assert event.note == "10.0.0.1 is no address of this machine, so whoever listens there counts"


@pytest.mark.parametrize("taken", [False, True])
def test_g4_a_port_of_which_nobody_can_tell_whose_it_is(taken: bool) -> None:
    """It proves something only where it was free before the start (G4)."""
    world = World()
    world.listener, world.taken = "unknown", taken
    world.answers["10.0.0.1:80"] = 0.0
    node = node_of(ready="tcp:10.0.0.1:80")
    if not taken:
        assert ready(world, node).note == ""
    else:
        assert "somebody listened there before it started" in failed(world, node).why


def test_g4_the_port_of_a_stranger_may_become_the_node_s() -> None:
    """It is asked again until it is the node's own (G4)."""
    world = World()
    world.listener = "no"
    world.answers["10.0.0.1:80"] = 0.0
    world.after(3.0, lambda: setattr(world, "listener", "yes"))
    assert ready(world, node_of(ready="tcp:10.0.0.1:80")).after >= 3.0


# --- tcp and exec -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "exec"])
def test_probe(kind: str) -> None:
    """A probe is tried again and again, more and more patiently, until it succeeds."""
    world = World()
    world.answers["10.0.0.1:80"] = world.time + 8.0
    fake = world.fake()
    event = ready(world, node_of(ready=f"{kind}:10.0.0.1:80"), fake)
    assert (event.after, event.how) == (about(8.0), f"{kind}:10.0.0.1:80")
    asked = fake.effects("probe")
    assert 30 < len(asked) < 60
    assert set(asked) == {("probe", kind, "10.0.0.1:80")}


def test_probe_in_vain() -> None:
    """What the last probe met with is told."""
    event = failed(World(), node_of(ready="tcp:10.0.0.1:80", ready_timeout=10.0))
    assert event.why == "not ready after 10s (ready = tcp:10.0.0.1:80): 10.0.0.1:80: Connection refused"


def test_probe_without_end() -> None:
    """A probe that does not come back is not waited for longer than the node has time, and not asked a second time."""
    world = World()
    world.probe_takes = 1000.0
    began = world.time
    fake = world.fake()
    events = start(world, node_of(ready="exec:hang", ready_timeout=10.0), fake)
    (event,) = (event for event in events if isinstance(event, Failed))
    assert event.why == "not ready after 10s (ready = exec:hang): its probe did not end"
    assert world.time - began == about(10.0)
    assert len(fake.effects("probe")) == 1


def test_a_probe_that_talks() -> None:
    """The last line of a probe that fails, or that does not end in time, is in the reason."""
    world = World()
    world.probe_prints["ask"] = "no such table"
    event = failed(world, node_of(ready="exec:ask", ready_timeout=10.0))
    assert event.why == "not ready after 10s (ready = exec:ask): ask: Connection refused: no such table"
    world.probe_takes = 1000.0
    event = failed(world, node_of("w2", ready="exec:ask", ready_timeout=10.0))
    assert event.why == "not ready after 10s (ready = exec:ask): its probe did not end; it last said: no such table"
    world.probe_takes = 7.0  # one answers, the next one is cut off
    event = failed(world, node_of("w3", ready="exec:ask", ready_timeout=10.0))
    assert event.why == "not ready after 10s (ready = exec:ask): ask: Connection refused: no such table"


def test_a_node_that_dies_while_it_is_probed() -> None:
    """The end of the node is heard at once, not after its time."""
    world = World()
    world.nature = Nature(lives=2.0, status=7)
    began = world.time
    event = failed(world, node_of(ready="tcp:10.0.0.1:80"))
    assert event.why == "it exited with status 7 (10.0.0.1:80: Connection refused)"
    assert world.time - began == about(2.0, 0.1)


# --- a start that was cut off -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "nature"),
    [
        ("notify", saying((20.0, READY))),
        ("log:ready", printing((20.0, b"ready\n"))),
        ("file:/run/ready", Nature(makes=((20.0, "/run/ready"),))),
        ("tcp:10.0.0.1:80", Nature()),
    ],
)
def test_cut_off_before_it_was_ready(kind: str, nature: Nature) -> None:
    """The next start goes on where the one before was cut off, and hears what comes from then on."""
    world = World()
    world.answers["10.0.0.1:80"] = world.time + 20.0
    node = node_of(ready=kind, startsecs=0.0)
    world.nature = replace(nature, says=(*nature.says, (5.0, {"STATUS": "loading"})))
    cut_off(world, node)
    began = world.time
    ready(world, node)
    assert world.time - began == about(20.0)
    assert len(world.mains(node.pidfile)) == 1


@pytest.mark.parametrize(
    ("kind", "nature"),
    [
        ("log:ready", printing((0.5, b"ready\n"))),
        ("file:/run/ready", Nature(makes=((0.5, "/run/ready"),))),
    ],
)
def test_cut_off_when_it_was_ready_already(kind: str, nature: Nature) -> None:
    """What the node did before anybody looked again still counts; what was there before it does not."""
    world = World()
    world.files["/log/w1.log"] = Entry(b"ready\n")
    world.files["/run/ready"] = Entry()
    world.nature = nature
    node = node_of(ready=kind, startsecs=0.0)
    cut_off(world, node)
    world.rest(1.0)
    assert ready(world, node).after == about(0.0)


def test_cut_off_before_it_could_be_heard() -> None:
    """A word of readiness that was said to nobody is gone: then living on is enough, and that is said."""
    world = World()
    world.nature = saying((0.5, READY))
    node = node_of(ready="notify", startsecs=0.0)
    cut_off(world, node)
    world.rest(1.0)
    event = ready(world, node)
    assert (event.how, event.after) == ("alive", about(5.0, 0.01))
    assert "its start had been cut off" in event.note


def leave(world: World, node: Node, *, said: str, age: float = 1.0, token: str = "", uid: int = 0) -> None:
    """Put beside the pidfile what the node's process has said, `age` seconds ago."""
    token = token or str(json.loads(world.files[node.recordfile].data)["token"])
    usec = int((world.time - age) * 1e6)
    text = f"MULTI_INSTANCE={token}\nMONOTONIC_USEC={usec}\n{said}"
    world.files[node.notifyfile] = Entry(text.encode(), uid, 0o600)


def begun(world: World, **traits: object) -> Node:
    """A node that has just begun to run, and whose start was cut off; it says nothing that anybody hears."""
    node = node_of(ready="notify", **traits)  # type: ignore[arg-type]  # fields by name
    cut_off(world, node)
    world.rest(2.0)
    return node


def seen(world: World, node: Node) -> State:
    """What a look finds."""
    fake = world.fake()
    return observe.look_at(node, fake.processes(), fake).state


def ensure(world: World, node: Node) -> list[Event]:
    """What `ensure` does with it."""
    return list(walk([Task(node, Request("ensure"))], RunOptions(), world.fake()))


def test_g4_a_word_that_was_left_counts_at_once() -> None:
    """G4: READY=1 that nobody heard, and that its process has left, is the proof; also for who only looks."""
    world = World()
    node = begun(world, startsecs=0.0)
    leave(world, node, said="READY=1\nSTATUS=consuming\n")
    up = seen(world, node)
    assert isinstance(up, Up)
    assert up.ready
    assert [type(event) for event in ensure(world, node)] == [Skipped]
    assert [type(event) for event in start(world, node)] == [Skipped]


def test_g4_a_word_that_is_left_before_anybody_listens_is_heard() -> None:
    """G4: one that says READY=1 between a look and the moment from which it is heard is ready."""
    world = World()
    node = begun(world, startsecs=0.0)
    fake = world.fake()
    listen = fake.notify_address

    def late(key: str, token: str, *, keep: bool = False) -> str:
        leave(world, node, said="READY=1\nSTATUS=consuming\n", age=0.0)
        return listen(key, token, keep=keep)

    fake.notify_address = late  # type: ignore[method-assign]  # it happens right before that
    event = ready(world, node, fake)
    assert (event.how, event.note, event.after) == ("notify", "consuming", about(0.0, 0.01))


@pytest.mark.parametrize(
    "left",
    [
        {"said": "READY=1\n", "token": "another"},
        {"said": "READY=1\n", "uid": 1666},
        {"said": "READY=1"},
        {"said": "READY=0\n"},
        {"said": "STATUS=READY=1\n"},
        {"said": "READY=1\n\0\n"},
        {"said": "READY=1\n", "age": -5.0},
        {"said": "MONOTONIC_USEC=never\nREADY=1\n"},
        {"said": "MONOTONIC_USEC=" + "9" * 400 + "\nREADY=1\n"},
        {"said": ""},
    ],
)
def test_g8_what_is_not_its_word_is_not_believed(left: Mapping[str, object]) -> None:
    """G8: a file of another start, of another user, cut off, or from the future makes no node ready."""
    world = World()
    node = begun(world)
    leave(world, node, **left)  # type: ignore[arg-type]  # fields by name
    up = seen(world, node)
    assert isinstance(up, Up)
    assert not up.ready


@pytest.mark.parametrize("kind", ["directory", "symbolic link", "FIFO"])
def test_g8_what_is_no_file_is_not_believed(kind: str) -> None:
    """G8: whatever else lies there is not its word, and no obstacle."""
    world = World()
    node = begun(world, startsecs=0.0)
    leave(world, node, said="READY=1\n")
    world.files[node.notifyfile].kind = kind
    up = seen(world, node)
    assert isinstance(up, Up)
    assert not up.ready
    assert ready(world, node).how == "alive"


def test_g4_startsecs_that_are_asked_for_hold_for_a_word_that_was_left() -> None:
    """G4: it is `starting` until it has lived so long since it said READY=1, and the next start waits for just that."""
    world = World()
    node = begun(world, startsecs=10.0, startsecs_asked=True)
    leave(world, node, said="READY=1\n", age=1.0)
    up = seen(world, node)
    assert isinstance(up, Up)
    assert not up.ready
    assert ready(world, node).after == about(9.0, 0.01)


def test_g4_a_stopped_node_leaves_no_word() -> None:
    """What it said is cleared with its pidfile."""
    world = World()
    node = begun(world)
    leave(world, node, said="READY=1\n")
    assert [type(event) for event in walk([Task(node, Request("kill"))], RunOptions(), world.fake())][-1] is Cleared
    assert node.notifyfile not in world.files


_WAITS = "STATUS=cannot connect\nX_MULTI_WAITS=broker\n"


def test_ensure_leaves_alone_who_waits_for_the_broker() -> None:
    """A node that has left that it waits for its broker is neither stopped nor waited for."""
    world = World()
    node = begun(world, ready_timeout=1.0)
    leave(world, node, said=_WAITS)
    began = world.time
    (event,) = ensure(world, node)
    assert event == Skipped(node.name, event.pid, "it runs, and waits for its broker")  # type: ignore[union-attr]
    assert world.time == about(began, 0.01)
    assert len(world.mains(node.pidfile)) == 1
    assert isinstance(start(world, node)[0], Failed), "start takes what it is told by: it is not ready in time"


def test_ensure_leaves_running_what_it_has_started_and_what_waits_for_the_broker() -> None:
    """A node that died comes back, and is not stopped again because there is no broker; it is `starting`."""
    world = World()
    node = node_of(ready="notify", ready_timeout=5.0)
    world.nature = saying((0.5, READY), lives=3.0)
    start(world, node)
    world.rest(60.0)
    world.nature = saying((0.5, {"STATUS": "cannot connect", "X_MULTI_WAITS": "broker"}))
    events = ensure(world, node)
    assert [type(event) for event in events] == [Cleared, Spawned, Skipped]
    up = seen(world, node)
    assert isinstance(up, Up)
    assert not up.ready


def test_ensure_stops_who_says_something_else() -> None:
    """A node that is not ready in time, and says nothing of its broker any more, is stopped as ever."""
    world = World()
    node = begun(world, ready_timeout=5.0)
    leave(world, node, said="STATUS=connected\n")
    assert isinstance(ensure(world, node)[0], Failed)
    assert world.mains(node.pidfile) == []


@pytest.mark.parametrize("timeout", [1.0, 60.0])
def test_ensure_does_not_stop_who_may_have_said_it_to_nobody(timeout: float) -> None:
    """A node that leaves nothing and says nothing more: living on is enough, also when its time is short."""
    world = World()
    node = begun(world, ready_timeout=timeout, startsecs=0.0)
    (event,) = ensure(world, node)
    assert isinstance(event, Readied)
    assert (event.how, event.after) == ("alive", about(min(timeout, 5.0), 0.01))


def test_cut_off_and_then_dead() -> None:
    """Who dies while the second start waits for it has failed; that it was not our child is no reason to miss it."""
    world = World()
    world.nature = Nature(lives=10.0, status=3)
    node = node_of(ready="file:/run/ready")
    cut_off(world, node)
    event = failed(world, node)
    assert event.why == "it has ended, with an exit status that is not known"
    assert world.mains(node.pidfile) == []


# --- at what cost -------------------------------------------------------------------------------------------


def test_who_is_told_is_not_polled() -> None:
    """A node that says when it is ready is waited for without a single look in between."""
    world = World()
    world.nature = saying((55.0, READY))
    fake = world.fake()
    ready(world, node_of(ready="notify", startsecs=0.0), fake)
    assert len([call for call in fake.calls if call[0] == "wait"]) < 10


def test_children_change_nothing() -> None:
    """The ends of a node's children say nothing about the node."""
    world = World()
    world.nature = saying((3.0, READY), children=(Child(nature=Nature(lives=1.0, status=1)),))
    assert ready(world, node_of(ready="notify", startsecs=0.0)).after == about(3.0, 0.01)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "it exited with status 0"),
        (255, "it exited with status 255"),
        (-KILL, "it was killed by signal 9 (KILL)"),
        (-int(signal.SIGSEGV), "it was killed by signal 11 (SEGV)"),
        (None, "it has ended, with an exit status that is not known"),
    ],
)
def test_end_text(status: int | None, text: str) -> None:
    """How a process ended, in words."""
    assert end_text(status) == text


@pytest.mark.parametrize("able", [False, True])
def test_a_fallback_with_env_files(able: bool) -> None:
    """A node with env files falls back to its weaker proof only if its Python has no plug-in."""
    world = World()
    world.plugin_notifies = able
    world.nature = Nature(says=((0.1, READY),) if able else ())
    world.files["/etc/w1.env"] = Entry(b"COLOUR=red\n")
    node = node_of(ready="notify", env_files=("/etc/w1.env",), ready_timeout=9.0)
    fallback = Fallback(Ready(), 3.0, "it only lives", asks=True)
    fake = world.fake()
    events = list(walk([Task(node, Request("start"))], RunOptions(fallbacks={node.name: fallback}), fake))
    fake.close()
    assert isinstance(events[-1], Readied), events
    assert (events[-1].how, events[-1].note) == (("notify", "") if able else ("alive", "it only lives"))
