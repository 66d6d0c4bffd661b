"""Descriptors: a thousand nodes need more than most shells allow, and no node sees anything of that."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from multi.act import walk
from multi.model.event import Readied
from multi.model.request import Request, RunOptions, Task
from multi.testing.world import World, node_of
from real import COMMAND_PATIENCE, Real

NODES = 36
NAMES = tuple(f"n{number}" for number in range(NODES))


def limits_of(pid: int) -> tuple[str, str]:
    """Soft and hard limit of open files, as the kernel shows them (proc(5))."""
    lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    soft, hard = next(line for line in lines if line.startswith("Max open files")).split()[3:5]
    return soft, hard


def limited(real: Real, which: str, limit: int, *words: str) -> None:
    """``multi WORDS`` with a limit of open files; it succeeds. `which` is ``S`` for the soft one or ``SH`` for both."""
    command = [sys.executable, "-m", "multi", *words]
    shell = ["bash", "-c", f'ulimit -{which}n {limit} && exec "$@"', "bash", *command]
    done = subprocess.run(
        shell, env=real.env, cwd=real.base, capture_output=True, text=True, check=False, timeout=COMMAND_PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("which", "limit"), [("S", 32), ("SH", 48), ("SH", 30)])
def test_fewer_descriptors_than_nodes(real: Real, which: str, limit: int) -> None:
    """Where even the hard limit is too low the nodes take turns; each has the limits that our caller had."""
    hard = limit if which == "SH" else resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limited(real, which, limit, *real.start_words(*NAMES))
    pids = [int(path.read_text(encoding="ascii")) for path in real.run.glob("*.pid")]
    assert len(pids) == NODES
    assert {limits_of(pid) for pid in pids} == {(str(limit), str(hard))}
    limited(real, which, limit, "stopwait", f"--pidfile={real.run}/%n.pid", *NAMES)
    assert not list(real.run.glob("*.pid"))


def test_nodes_beyond_the_room_wait_for_their_turn() -> None:
    """With room for three no more than three are under way at any moment, and all are started in the end."""
    world = World()
    world.capacity = 3
    fake = world.fake()
    most = ready = 0
    for event in walk([Task(node_of(name), Request("start")) for name in NAMES], RunOptions(), fake):
        most = max(most, len(world.flocks))
        ready += isinstance(event, Readied)
    assert ready == NODES
    assert most == 3
