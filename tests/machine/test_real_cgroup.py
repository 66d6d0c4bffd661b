"""Control groups of nodes on the real machine, in a delegated cgroup of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cgroups import delegated, members
from multi.machine import Launch
from multi.model.happening import Prepared
from multi.system import System
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
    assert list(folder.glob("*/")) == []
