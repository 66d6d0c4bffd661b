"""Control groups of nodes: the made-up machine and the real one, in a delegated cgroup of the tests, do the same."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgroups import delegated, members
from multi.machine import Launch, Machine
from multi.model.cgroup import Counted, Folder
from multi.model.happening import Emptied, Ended, Prepared
from multi.model.process import Proc
from multi.model.record import Cgroup
from multi.system import System
from multi.testing.world import World
from multi.value import replace

KEY = "w1@host"
LAUNCH = Launch(argv=("/bin/sleep", "60"), env=(), logfile="/dev/null")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a delegated cgroup."""
    with delegated() as made:
        yield made


def test_a_child_enters_its_cgroup_before_it_is_prepared(folder: Path) -> None:
    """The child makes the cgroup and is in it alone; one that was there before is as good."""
    for _ in range(2):
        with System() as machine:
            machine.launch(KEY, replace(LAUNCH, cgroup=str(folder / "w1")))
            (prepared,) = machine.wait(machine.now() + 30)
            assert isinstance(prepared, Prepared)
            assert members(folder / "w1") == {prepared.proc.pid}


def test_a_child_without_its_cgroup_is_prepared_all_the_same(folder: Path) -> None:
    """A cgroup that cannot be made or entered keeps nobody from starting."""
    for cgroup in (folder / "none" / "w1", Path("/proc/nowhere"), Path("/dev/null")):
        with System() as machine:
            machine.launch(KEY, replace(LAUNCH, cgroup=str(cgroup)))
            (prepared,) = machine.wait(machine.now() + 30)
            assert isinstance(prepared, Prepared), cgroup
    assert [each for each in folder.iterdir() if each.is_dir()] == []


@pytest.fixture(params=["made up", "real"])
def machine_at(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, str]]:
    """Give a machine, and the directory of a delegated cgroup."""
    if request.param == "made up":
        world = World()
        world.folder = Folder(path="/cgroup", marked=True, ours=True)
        yield world.fake(), "/cgroup"
        return
    with delegated() as folder, System() as machine:
        yield machine, str(folder)


def launched(machine: Machine, cgroup: str, key: str = KEY) -> Proc:
    """A process in a cgroup, that stands at the gate."""
    machine.launch(key, replace(LAUNCH, cgroup=cgroup))
    while True:
        for one in machine.wait(machine.now() + 30):
            if isinstance(one, Prepared):
                return one.proc


def end(machine: Machine, proc: Proc, key: str = KEY) -> None:
    """KILL it, and wait for its end."""
    machine.watch(key, proc)
    machine.signal(proc, signal.SIGKILL)
    while not any(isinstance(one, Ended) and one.proc == proc for one in machine.wait(machine.now() + 30)):
        pass


def test_a_cgroup_is_known_by_path_and_number(machine_at: tuple[Machine, str]) -> None:
    """It tells owner and members; another number at the same path is another one, of which nothing is known."""
    machine, home = machine_at
    proc = launched(machine, f"{home}/node-w1@host-0123")
    cgroup = machine.cgroups.of(proc)
    assert cgroup is not None
    assert cgroup.path == f"{home}/node-w1@host-0123"
    assert machine.cgroups.pids(cgroup) == frozenset({proc.pid})
    assert machine.cgroups.owner(cgroup) == machine.me().uid
    assert isinstance(machine.cgroups.counted(cgroup), Counted)
    for other in (Cgroup(cgroup.path, cgroup.inode + 1), Cgroup(f"{home}/node-w2@host-0123", cgroup.inode)):
        assert (machine.cgroups.pids(other), machine.cgroups.owner(other)) == (None, None)
        assert machine.cgroups.counted(other) == Counted()
        assert not machine.cgroups.watch(KEY, other)
        machine.cgroups.kill(other)
        machine.cgroups.remove(other.path, other)
    assert machine.cgroups.pids(cgroup) == frozenset({proc.pid})


def test_all_in_a_cgroup_are_killed_and_that_is_told(machine_at: tuple[Machine, str]) -> None:
    """Whoever is in it is killed at once; `Emptied` comes when the last one is gone, and only then."""
    machine, home = machine_at
    path = f"{home}/node-w1@host-0123"
    procs = [launched(machine, path, key) for key in (KEY, "w2@host")]
    cgroup = machine.cgroups.of(procs[0])
    assert cgroup is not None
    assert machine.cgroups.watch(KEY, cgroup)
    machine.cgroups.kill(cgroup)
    heard: set[str] = set()
    while "Emptied" not in heard:
        heard |= {type(one).__name__ for one in machine.wait(machine.now() + 30) if isinstance(one, Emptied)}
    assert machine.cgroups.pids(cgroup) == frozenset()
    assert not machine.cgroups.watch(KEY, cgroup)


def test_a_cgroup_goes_when_it_is_empty(machine_at: tuple[Machine, str]) -> None:
    """One that holds a process stays; it goes with the next one, and a `multi` that begins removes what is empty."""
    machine, home = machine_at
    machine.cgroups.take(home, divide=True)
    first, second = f"{home}/node-w1@host-0123", f"{home}/node-w2@host-0123"
    one, two = launched(machine, first), launched(machine, second, "w2@host")
    mine, other = machine.cgroups.of(one), machine.cgroups.of(two)
    assert mine is not None
    assert other is not None
    machine.cgroups.remove(first, mine)
    assert machine.cgroups.owner(mine) is not None
    end(machine, one)
    machine.cgroups.remove(f"{home}/node-w3@host-0123")  # of a launch that never came so far
    assert machine.cgroups.owner(mine) is None
    machine.cgroups.take(home, divide=True)
    assert machine.cgroups.owner(other) is not None
    end(machine, two, "w2@host")
    machine.cgroups.take(home, divide=True)
    assert machine.cgroups.owner(other) is None


def test_only_the_kernel_s_file_systems_hold_cgroups(tmp_path: Path) -> None:
    """G8: a directory that looks like one, a link to one, or a bent path is none, whatever its number."""
    with delegated() as folder, System() as machine:
        (folder / "node-w1@host-0123").mkdir()
        real = folder / "node-w1@host-0123"
        (tmp_path / "link").symlink_to(real)
        (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
        number = real.stat().st_ino
        assert machine.cgroups.pids(Cgroup(str(real), number)) == frozenset()
        for path in (f"{tmp_path}/link", f"{folder}/../{folder.name}/{real.name}", f"{real}/"):
            assert machine.cgroups.pids(Cgroup(path, number)) is None
        assert machine.cgroups.pids(Cgroup(str(tmp_path), tmp_path.stat().st_ino)) is None
        machine.cgroups.remove(str(tmp_path), Cgroup(str(tmp_path), tmp_path.stat().st_ino))
        assert tmp_path.exists()


def test_those_below_it_count() -> None:
    """What a node has moved to cgroups of its own below is in its cgroup, is killed with it, and goes with it."""
    with delegated() as folder, System() as machine:
        path = folder / "node-w1@host-0123"
        proc = launched(machine, str(path))
        cgroup = machine.cgroups.of(proc)
        (path / "a" / "b").mkdir(parents=True)
        (path / "a" / "b" / "cgroup.procs").write_text(str(proc.pid))
        assert cgroup is not None
        assert machine.cgroups.pids(cgroup) == frozenset({proc.pid})
        machine.cgroups.kill(cgroup)
        end(machine, proc)
        machine.cgroups.remove(str(path), cgroup)
        assert not path.exists()


@contextlib.contextmanager
def moved_to(folder: Path) -> Iterator[None]:
    """Have this very process in that cgroup for a while."""
    before = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()[-1].removeprefix("0::")
    (folder / "cgroup.procs").write_text("0")
    try:
        yield
    finally:
        (folder.parent / before.lstrip("/") / "cgroup.procs").write_text("0")


def test_what_is_delegated_is_divided() -> None:
    """We are in it alone, and marked: it is taken, and we leave it for the leaf, so that it can have controllers."""
    with delegated() as folder, moved_to(folder), System() as machine:
        own, above = machine.cgroups.here()
        assert own == Folder(path=str(folder), marked=True, ours=True, uid=os.geteuid())
        assert above is not None
        assert not above.marked
        machine.cgroups.take(str(folder), divide=False)
        assert machine.cgroups.here()[0] == replace(own, taken=True)
        machine.cgroups.take(str(folder), divide=True)
        own, above = machine.cgroups.here()
        assert own == Folder(path=f"{folder}/supervisor", ours=True, uid=os.geteuid())
        assert above == Folder(path=str(folder), marked=True, ours=True, taken=True, uid=os.geteuid())
        assert members(folder) == set()
