"""The history of a node: which events are worth it, what is written of them, and that it fails nothing."""

from __future__ import annotations

import errno
import signal
from collections.abc import Generator, Sequence

import pytest

from multi import history, observe
from multi.act import walk
from multi.machine import MachineError
from multi.model.caller import Caller
from multi.model.event import (
    Adopted,
    Cleared,
    Event,
    Failed,
    Forgotten,
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
from multi.model.past import Past
from multi.model.request import Request, RunOptions, Task
from multi.model.state import Dead
from multi.testing.world import EPOCH, Entry, Fake, World, node_of

NODE = node_of()
NAME = NODE.name
PATH = NODE.historyfile
TERM = int(signal.SIGTERM)


def stream(events: Sequence[Event]) -> Generator[Event, None, None]:
    """The events of a command."""
    yield from events


def written(world: World, *events: Event, fake: Fake | None = None) -> list[Past]:
    """Fold the events, of which each is handed on, and read what is kept."""
    fake = fake or world.fake()
    assert list(history.kept(stream(events), [NODE], fake)) == list(events)
    return list(history.read(NODE, fake))


@pytest.mark.parametrize(
    ("event", "past"),
    [
        (Spawned(NAME, 7, ("sleep", "secret")), {"what": "spawned", "pid": 7}),
        (Readied(NAME, 7, 1.2, "notify"), {"what": "ready", "pid": 7, "after": 1.2, "why": "notify"}),
        (Readied(NAME, 7, 1.2, "alive", "a note"), {"what": "ready", "pid": 7, "after": 1.2, "why": "a note"}),
        (Signalled(NAME, 7, TERM, 0.0), {"what": "signalled", "pid": 7, "after": 0.0, "signal": "TERM"}),
        (
            Signalled(NAME, 7, TERM, 0.5, 2),
            {
                "what": "signalled",
                "pid": 7,
                "after": 0.5,
                "signal": "TERM",
                "why": "and 2 other processes of its tree",
            },
        ),
        (Gone(NAME, 7, 0.3), {"what": "gone", "pid": 7, "after": 0.3}),
        (Survived(NAME, 7, 9.0, (7, 8)), {"what": "survived", "pid": 7, "after": 9.0, "why": "7, 8 still there"}),
        (Adopted(NAME, 7, "its pidfile is gone"), {"what": "adopted", "pid": 7, "why": "its pidfile is gone"}),
        (
            Failed(NAME, 7, "it exited", 3, ("1", "2", "3", "4\x1b[0m")),
            {"what": "failed", "pid": 7, "why": "it exited", "status": 3, "tail": ("2", "3", "4")},
        ),
        (Refused(NAME, "x" * 500), {"what": "refused", "why": "x" * 397 + "..."}),
    ],
)
def test_what_is_kept(event: Event, past: dict[str, object]) -> None:
    """Each event with its facts, its moment, and who asked; neither the command nor anything without a bound."""
    world = World()
    world.where, world.words = "cron", ("ensure", "--env=A=secret")
    fake = world.fake()
    by = Caller("root", "cron", "multi ensure --env=A=...", fake.body.pid)
    assert written(world, event, fake=fake) == [Past(at=EPOCH + world.time, by=by, **past)]  # type: ignore[arg-type]  # fields by name
    assert b"secret" not in world.files[PATH].data
    assert world.files[PATH].mode == 0o600


def test_what_is_not_kept() -> None:
    """What changed nothing makes no file, and no more does a node that the command is not about."""
    world = World()
    events = (
        Skipped(NAME, 7, "already running"),
        Skipped(NAME, None, "tried again in 5s", met=False),
        Waiting(NAME, 7, "end", 1.0),
        Cleared(NAME, ""),
        Halted((), (), (), ()),
        Gone("other@host", 8, 0.0),
    )
    assert written(world, *events) == []
    assert PATH not in world.files


def test_a_death_with_its_last_lines() -> None:
    """Who finds a node dead keeps why, and what it printed last: the next start prints to the same log."""
    world = World()
    world.files[NODE.logfile] = Entry(b"one\ntwo\n\nthree\nKeyError\n")
    (past,) = written(world, Cleared(NAME, "pid 7 is gone"))
    assert (past.what, past.why, past.tail) == ("cleared", "pid 7 is gone", ("two", "three", "KeyError"))


def test_interrupted() -> None:
    """A command that is interrupted is kept for the nodes that it had begun with and not brought to an end."""
    world = World()
    other = node_of("w2")
    fake = world.fake()
    events = (Spawned(NAME, 7, ()), Spawned(other.name, 8, ()), Readied(other.name, 8, 0.1, "alive"), Interrupted(2))
    assert list(history.kept(stream(events), [NODE, other], fake)) == list(events)
    assert [one.what for one in history.read(NODE, fake)] == ["spawned", "interrupted"]
    assert [one.what for one in history.read(other, fake)] == ["spawned", "ready"]


def test_forgotten() -> None:
    """A node that is off the record has no history, and one of its name with other files begins its own."""
    world = World()
    moved = node_of(pidfile="/run/else.pid")
    fake = world.fake()
    events = (Signalled(NAME, 7, TERM, 0.0), Gone(NAME, 7, 0.1), Forgotten(NAME), Spawned(NAME, 8, ()))
    assert list(history.kept(stream(events), [NODE, moved], fake)) == list(events)
    assert PATH not in world.files
    assert [one.pid for one in history.read(moved, fake)] == [8]


def test_a_refusal_is_kept_once() -> None:
    """What cron is refused each minute does not push all else out of the history."""
    world = World()
    for _ in range(3):
        written(world, Refused(NAME, "damaged"))
    assert [one.why for one in written(world, Refused(NAME, "foreign"))] == ["damaged", "foreign"]


def test_it_is_bounded() -> None:
    """The older half goes, and what is left is whole."""
    world = World()
    events = [Adopted(NAME, pid, "x" * 400) for pid in range(2, 1000)]
    past = written(world, *events)
    assert len(world.files[PATH].data) <= history.LIMIT
    assert [one.pid for one in past] == list(range(1000 - len(past), 1000))


def test_it_fails_nothing() -> None:
    """A full disk, or anything else that is refused, loses history: each event is handed on, and no more is tried."""
    world = World()
    fake = world.fake()

    def full(_: int, words: tuple[str, ...]) -> None:
        if words[0] == "append":
            raise MachineError("cannot write", "No space left on device", "", errno.ENOSPC)

    fake.trap = full
    assert written(world, Spawned(NAME, 7, ()), Refused(NAME, "damaged"), fake=fake) == []
    world.files[PATH] = Entry(kind="directory")
    with pytest.raises(MachineError):
        written(world, Spawned(NAME, 7, ()), Refused(NAME, "damaged"))


def test_closing() -> None:
    """Whoever closes the stream closes the command."""
    closed = []

    def command() -> Generator[Event, None, None]:
        try:
            yield Spawned(NAME, 7, ())
        finally:
            closed.append(True)

    events = history.kept(command(), [NODE], World().fake())
    next(events)
    events.close()
    assert closed


PAST = Past(at=1.5, what="failed", by=Caller("u", "", "multi", 3), pid=7, after=0.5, why="é", status=-9, tail=("x",))


def test_lines() -> None:
    """A line is read as it was written, and is ASCII on one line."""
    line = history.encode(PAST)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert history.decode(line) == PAST


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"at": 1}',
        b'{"at": "1", "event": "gone"}',
        b'{"at": NaN, "event": "gone"}',
        b'{"at": 1e300, "event": "gone"}',
        b'{"at": 1, "event": 2}',
        b'{"at": true, "event": "gone"}',
        b'{"at": 1, "event": "gone", "pid": "7"}',
        b'{"at": 1, "event": "gone", "tail": [1]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_strange_lines(line: bytes) -> None:
    """A line that no multi wrote, or that is cut off, is nothing; those around it count."""
    world = World()
    world.files[PATH] = Entry(history.encode(PAST) + line + b"\n" + history.encode(PAST), mode=0o600)
    assert list(history.read(NODE, world.fake())) == [PAST, PAST]


def test_the_kernels_word() -> None:
    """A death of which the kernel's log tells has its reason in the state, so in all that says it."""
    world = World()
    fake = world.fake()
    list(walk([Task(NODE, Request("start"))], RunOptions(), fake))
    (body,) = world.mains(NODE.pidfile)
    world.end(body, -9)
    world.kernel[body.pid] = "killed by the kernel, out of memory"
    state = observe.look_at(NODE, fake.processes(), fake).state
    assert state == Dead(f"pid {body.pid} is gone (killed by the kernel, out of memory)")
