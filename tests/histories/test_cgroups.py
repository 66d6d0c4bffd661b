"""Nodes with cgroups of their own, on the made-up machine: what hides is ended, what cannot be told is not guessed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import pytest

from crowd import Crowd
from multi import observe
from multi.act import walk
from multi.codec import decode
from multi.machine import MachineError
from multi.model.cgroup import Counted, Folder
from multi.model.event import Event, Failed, Survived
from multi.model.node import Node
from multi.model.record import Record
from multi.model.request import Request, RunOptions, Task
from multi.model.state import Dead
from multi.report.table import note_of
from multi.testing.world import Child, Fake, KilledError, Nature, World, node_of
from multi.value import replace
from multi.views import view_of

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)
HOME = Folder(path="/c/multi.service", marked=True, ours=True)
DEAF = Nature(ignores=frozenset({TERM}))
LOST = Nature(children=(Child(nature=DEAF, session=True, orphan=True, bare=True),))
COMMANDS = ("stopwait", "kill", "restart")


def world_of(nature: Nature = LOST) -> World:
    """A machine whose cgroup is delegated to every `multi`."""
    world = World()
    world.folder, world.nature = HOME, nature
    world.folders[HOME.path] = replace(HOME, taken=True)
    return world


def run(world: World, command: str, *nodes: Node, fake: Fake | None = None) -> list[Event]:
    """One command from its beginning to its end."""
    fake = fake or world.fake()
    events = list(walk([Task(node, Request(command)) for node in nodes or (node_of(),)], RunOptions(), fake))
    fake.close()
    return events


def record_of(world: World) -> Record:
    """What is on record of the node."""
    return decode(world.files["/run/w1.json"].data)


def names(events: Sequence[Event]) -> list[str]:
    """The names of the events."""
    return [type(event).__name__ for event in events]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_g5_what_hides_is_found(command: str, elsewhere: bool) -> None:
    """G5: double fork, session and environment of its own; also by a command that has no cgroup itself."""
    world = world_of()
    run(world, "start")
    main, child = world.offspring()
    if elsewhere:
        world.folder = None
    events = run(world, command)
    assert "Gone" in names(events)
    assert main.gone
    assert child.gone
    if command == "restart":
        assert record_of(world).cgroup is not None
        assert [body.cgroup for body in world.offspring()] == list(world.cgroups) * 2
    else:
        assert (world.cgroups, record_of(world).cgroup) == ({}, None)


def test_g5_without_a_cgroup_it_is_as_it_was() -> None:
    """Where none is delegated nothing is made or asked, and what hides lives on."""
    world = world_of()
    world.folder = None
    fake = world.fake()
    run(world, "start", fake=fake)
    run(world, "stopwait")
    assert record_of(world).cgroup is None
    assert not [call for call in fake.calls if call[0].startswith("cgroup")]
    assert len(world.offspring()) == 1


def test_g5_what_no_look_shows_is_waited_for() -> None:
    """One that the process table hides is killed with its cgroup, and the stop ends when the kernel says so."""
    world = world_of()
    run(world, "start")
    _, child = world.offspring()
    child.hidden = True
    assert names(run(world, "stopwait"))[-2:] == ["Gone", "Cleared"]
    assert child.gone


def test_g5_what_survives_unseen_is_named() -> None:
    """A hidden process in uninterruptible sleep survives KILL: the stop says so, and the node stays on record."""
    world = world_of(Nature(children=(Child(nature=Nature(stuck=True), session=True, orphan=True, bare=True),)))
    run(world, "start")
    _, child = world.offspring()
    child.hidden = True
    (*_, survived) = run(world, "stopwait")
    assert isinstance(survived, Survived)
    assert survived.pids == (child.pid,)
    assert record_of(world).cgroup is not None


@pytest.mark.parametrize("command", ["stopwait", "kill"])
def test_g5_another_node_in_it_is_spared(command: str) -> None:
    """A cgroup that holds another node, as one that this one has started, is not killed as a whole."""
    world = world_of()
    run(world, "start", node_of(), node_of("w2"))
    first, second = (world.mains(f"/run/{name}.pid")[0] for name in ("w1", "w2"))
    second.cgroup = first.cgroup
    fake = world.fake()
    run(world, command, fake=fake)
    assert first.gone
    assert not second.gone
    assert not fake.effects("cgroup_kill")
    assert len([body for body in world.offspring() if body.cgroup == first.cgroup]) == 1  # the lost one is gone


def test_g5_a_node_that_lost_its_files() -> None:
    """Its cgroup is found by where it is and by its token, so what hides in it is found, too."""
    world = world_of()
    run(world, "start")
    cgroup = record_of(world).cgroup
    for path in ("/run/w1.json", "/run/w1.pid"):
        del world.files[path]
    run(world, "ensure")
    assert record_of(world).cgroup == cgroup
    run(world, "stopwait")
    assert not world.offspring()


def test_kill_mode_process_leaves_its_children() -> None:
    """With it, KILL is for the main process alone."""
    world = world_of()
    node = node_of(kill_mode="process")
    run(world, "start", node)
    fake = world.fake()
    run(world, "kill", node_of("w3"), fake=fake)
    main, child = world.offspring()
    run(world, "stopwait", node, fake=fake)
    assert main.gone
    assert not child.gone
    assert not fake.effects("cgroup_kill")


def test_a_record_of_another_is_believed_about_its_own() -> None:
    """G8: of a user's record root believes a cgroup that belongs to that user; what cannot be told is unknown."""
    world = world_of()
    node = node_of(uid="worker")
    run(world, "start", node)
    fake = world.fake()
    record = observe.recall(node, fake)
    assert record is not None
    assert observe.cgroup_of(record, fake) == record.cgroup
    theirs = replace(record, owner=1000)
    assert observe.cgroup_of(theirs, fake) is None
    world.cgroup_uid = 1000
    assert observe.cgroup_of(theirs, fake) == record.cgroup
    world.cgroups.clear()
    assert observe.cgroup_of(record, fake) is None
    assert observe.members(record, fake.processes(), fake) == ((), None)
    assert observe.counted(record, fake) is None


def test_what_the_kernel_counts() -> None:
    """Memory and processor time come from the cgroup where it has them, and else from the processes."""
    world = world_of()
    run(world, "start")
    (path,) = world.cgroups
    fake = world.fake()

    def seen() -> tuple[int | None, float | None, int | None]:
        view = view_of(node_of(), observe.look_at(node_of(), fake.processes(), fake), fake)
        return view.memory, view.cpu_seconds, view.children

    assert seen() == (8192, 0, 1)
    world.counted[path] = Counted(memory=1000, cpu=2.5)
    assert seen() == (1000, 2.5, 1)
    world.counted[path] = Counted(cpu=2.5)
    assert seen() == (8192, 2.5, 1)


@pytest.mark.parametrize(
    ("kills", "note"), [(None, ""), (0, ""), (2, "the kernel, short of memory, killed 2 processes of it")]
)
def test_a_child_that_the_kernel_killed(kills: int | None, note: str) -> None:
    """The table tells of it, although the main process runs on."""
    world = world_of()
    run(world, "start")
    world.counted.update({path: Counted(oom_kills=kills) for path in world.cgroups})
    fake = world.fake()
    assert note_of(view_of(node_of(), observe.look_at(node_of(), fake.processes(), fake), fake)) == note


@pytest.mark.parametrize(
    ("kills", "log", "cause"),
    [
        (1, "", "the kernel, short of memory, killed 1 process of it"),
        (0, "", ""),
        (None, "", ""),
        (2, "killed by the kernel", "killed by the kernel"),
    ],
)
def test_want_of_memory_is_known(kills: int | None, log: str, cause: str) -> None:
    """A count above zero is a cause; zero and unknown are none; the kernel's log tells more, where it may be read."""
    world = world_of()
    run(world, "start")
    (path,) = world.cgroups
    world.counted[path] = Counted(oom_kills=kills)
    (main,) = world.mains("/run/w1.pid")
    world.end(main, -KILL)
    world.kernel[main.pid] = log
    fake = world.fake()
    state = observe.look_at(node_of(), fake.processes(), fake).state
    assert isinstance(state, Dead)
    assert state.cause == cause
    assert state.why.endswith(f"still runs ({cause})" if cause else "still runs")


def test_a_start_that_the_kernel_ends_says_so() -> None:
    """The cause stands in the failure of the start."""
    world = world_of(Nature(lives=0.2, status=-KILL))
    fake = world.fake()

    def count(_number: int, _call: tuple[str, ...]) -> None:
        world.counted.update({path: Counted(oom_kills=1) for path in world.cgroups})

    fake.trap = count
    (_, failed) = run(world, "start", fake=fake)
    assert isinstance(failed, Failed)
    assert failed.why == "it was killed by signal 9 (KILL) (the kernel, short of memory, killed 1 process of it)"
    assert world.cgroups == {}


def test_g3_killed_anywhere() -> None:
    """G3: KILL hits a start or a stop at any call: the next stop leaves no process, the next start no empty cgroup."""
    for command in ("start", "restart", "stopwait"):
        number = 0
        while True:
            number += 1
            world = world_of()
            if command != "start":
                run(world, "start")
            fake = world.fake()
            fake.trap = lambda count, _call, fake=fake, at=number: fake.die() if count == at else None
            try:
                run(world, command, fake=fake)
            except KilledError:
                pass
            else:
                break
            world.rest(1.0)
            try:
                run(world, "start", node_of("w2"))
                run(world, "stopwait", node_of(), node_of("w2"))
            except MachineError as error:
                raise AssertionError((command, number)) from error
            assert not world.offspring(), (command, number)
            run(world, "start", node_of("w3"))
            assert [path for path in world.cgroups if "w3" not in path] == [], (command, number)
        assert number > 10


@pytest.mark.parametrize("seed", range(40))
def test_g5_a_crowd(seed: int) -> None:
    """G3, G5: commands at once, in every order of their calls, some of them killed: nothing that hides is left."""
    lost = [Child(nature=DEAF, after=after, session=True, orphan=True, bare=True) for after in (0.0, 0.3)]
    world = world_of(Nature(ends={TERM: (0.5, 0)}, children=tuple(lost)))
    nodes = [node_of("w1", startsecs=0.2), node_of("w2", startsecs=0.0)]

    def runner(command: str) -> Callable[[Fake], None]:
        def command_of(fake: Fake) -> None:
            run(world, command, *nodes, fake=fake)

        return command_of

    def check() -> None:
        for node in nodes:
            assert len(world.mains(node.pidfile)) <= 1

    commands = [("start", "stopwait", "restart", "kill", "ensure")[(seed + 3 * number) % 5] for number in range(5)]
    crowd = Crowd(world, seed, check, kills=seed % 4)
    crowd.run([(world.fake(), runner(command)) for command in ("start", *commands)])
    world.rest(0.5)
    run(world, "stopwait", *nodes)
    assert world.offspring() == []
    run(world, "start", node_of("w3"))
    assert len(world.cgroups) == 1
