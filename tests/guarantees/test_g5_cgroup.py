"""G5 and G3 where a cgroup is delegated: what hides from everything else is found, ended, and leaves no cgroup."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgroups import delegated, entered, members, nodes_in
from real import NOBODY, Done, Real, alive, stays, until

MULTI = (sys.executable, "-m", "multi")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a delegated cgroup."""
    with delegated() as made:
        yield made


def within(real: Real, folder: Path, *words: str, user: int | None = None) -> Done:
    """``multi WORDS``, started in that cgroup as a service is."""
    words = entered(folder, *MULTI, *words)
    process = real.popen(*words, output=subprocess.PIPE, user=user)
    out, err = (data.decode() for data in process.communicate(timeout=60))
    return Done(words, process.returncode, out, err, 0.0)


def lost_family(real: Real, folder: Path, name: str = "a", *options: str) -> tuple[int, int]:
    """A node whose child has left session, parent and environment behind; the pids of both."""
    touched = real.base / f"touched-{name}"
    cmd = real.worker("--child", "lost", "--touch", str(touched), *options)
    within(real, folder, *real.start_words(name, cmd=cmd)).ok()
    until(touched.exists, "the family is there")
    main = real.pid(name)
    (cgroup,) = (one for one in nodes_in(folder) if main in members(one))
    (child,) = members(cgroup) - {main}
    return main, child


@pytest.mark.parametrize("command", ["stopwait", "kill", "restart"])
def test_g5_a_process_that_nothing_else_finds(real: Real, folder: Path, command: str) -> None:
    """G5: double fork, session of its own, empty environment; commands from elsewhere end it and remove the cgroup."""
    main, child = lost_family(real, folder)
    assert real.record("a")["cgroup"]
    real.multi(command, "a", "--stop-schedule=TERM/10/KILL/10").ok()
    assert not alive(main)
    assert not alive(child)
    if command == "restart":  # the new one is where the old one was
        (cgroup,) = nodes_in(folder)
        assert real.pid("a") in members(cgroup)
        real.multi("kill", "a").ok()
    assert nodes_in(folder) == []


def test_g5_without_delegation_it_stays_hidden(real: Real, folder: Path) -> None:
    """What a cgroup adds is measured against the same without one: no mark, another program in it, or a veto."""
    os.removexattr(folder, "user.delegate")
    within(real, folder, *real.start_words("a")).ok()
    os.setxattr(folder, "user.delegate", b"1")
    with subprocess.Popen(entered(folder, "sleep", "600")) as other:
        until(lambda: other.pid in members(folder), "somebody else is there")
        within(real, folder, *real.start_words("b")).ok()
        other.kill()
    words = entered(folder, "env", "MULTI_CGROUP=none", *MULTI, *real.start_words("c"))
    assert real.popen(*words).wait(60) == 0
    assert nodes_in(folder) == []
    assert [real.record(name)["cgroup"] for name in "abc"] == [{}, {}, {}]
    real.multi("kill").ok()


def test_g5_what_dies_leaves_nothing(real: Real, folder: Path) -> None:
    """G5: what a dead main process has left is dead, found and ended, though it carries nothing of the node."""
    main, child = lost_family(real, folder)
    os.kill(main, signal.SIGKILL)
    until(lambda: not alive(main), "it is gone")
    assert real.state("a") == {"a": "dead"}
    real.multi("start", "a", "--preset=exec", "--cmd=sleep 600", f"--logfile={real.log}/%n.log").ok()
    assert not alive(child)
    assert [members(one) for one in nodes_in(folder)] == [{real.pid("a")}]  # where the old one was


def test_g5_a_family_that_keeps_growing(real: Real, folder: Path) -> None:
    """G5: one that forks again and again ends with its cgroup, also when its main process is gone already."""
    touched = real.base / "touched"
    cmd = real.worker("--child", "forker", "--child", "lost", "--touch", str(touched))
    within(real, folder, *real.start_words("a", cmd=cmd)).ok()
    until(touched.exists, "the family is there")
    os.kill(real.pid("a"), signal.SIGKILL)
    real.multi("stopwait", "a").ok()
    assert nodes_in(folder) == []
    assert not real.family()


def test_g5_kill_mode_process_leaves_the_children(real: Real, folder: Path) -> None:
    """Children that are meant to outlive their main process do so in their cgroup, which goes when they have gone."""
    main, child = lost_family(real, folder)
    real.multi("stopwait", "a", "--kill-mode=process", "--stop-schedule=TERM/10/KILL/10").ok()
    assert not alive(main)
    stays(lambda: alive(child), "it is left alone")
    assert len(nodes_in(folder)) == 1
    os.kill(child, signal.SIGKILL)
    until(lambda: not alive(child), "it is gone")
    within(real, folder, *real.start_words("b")).ok()
    assert [one.name[:6] for one in nodes_in(folder)] == ["node-b"]
    real.multi("kill").ok()


def test_g5_another_node_in_the_cgroup_lives_on(real: Real, folder: Path) -> None:
    """A node that runs multi on itself: what that starts has a cgroup of its own, or is spared where it cannot."""
    shared = real.base / "shared"
    script = real.base / "inner"
    script.write_text(f"{shlex.join((*MULTI, *real.start_words('b')))} && touch {shared}; exec sleep 600")
    within(real, folder, *real.start_words("a", cmd=f"sh {script}")).ok()
    until(shared.exists, "the inner one is up")
    outer, other = real.pid("a"), real.pid("b")
    assert len(nodes_in(folder)) == 2
    (cgroup,) = (one for one in nodes_in(folder) if outer in members(one))
    (cgroup / "cgroup.procs").write_text(str(other))
    real.multi("kill", "a").ok()
    stays(lambda: alive(other), "it is another node")
    real.multi("kill", "b").ok()


def test_g5_g8_a_record_of_a_user_names_no_cgroup_of_another(real: Real, folder: Path) -> None:
    """G8: root believes a user's record only about a cgroup that is that user's."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    main, child = lost_family(real, folder)
    record = real.recordfile("a")
    os.chown(record, NOBODY, NOBODY)
    real.multi("kill", "a", f"--uid={NOBODY}")
    assert alive(child)
    os.chown(record, 0, 0)
    real.multi("kill", "a").ok()
    assert not [pid for pid in (main, child) if alive(pid)]


def test_g3_a_killed_multi_leaves_no_cgroup(real: Real, folder: Path) -> None:
    """G3: the next start removes what is empty, at whichever moment the command before it was killed."""
    for name in ("node-a@host-0123456789ab", "node-b@host-0123456789ab/inner"):
        (folder / name).mkdir(parents=True)
    within(real, folder, *real.start_words("c")).ok()
    (cgroup,) = nodes_in(folder)
    assert members(cgroup) == {real.pid("c")}
    real.multi("kill", "c").ok()
    assert nodes_in(folder) == []


def test_what_the_kernel_counts(real: Real, folder: Path) -> None:
    """Processor time is always counted; memory where `run` finds such a controller, and else it is unknown."""
    _, *rest = real.start_words("a", cmd=real.worker("--child", "lost"))
    running = real.popen(*entered(folder, *MULTI, "run", *rest))
    until(lambda: real.pidfile("a").exists() and real.family(), "it runs")
    until(lambda: len(members(nodes_in(folder)[0])) == 2, "it has its child")
    assert members(folder / "supervisor") >= {running.pid}
    (view,) = json.loads(real.multi("status", "a", "--json").ok().out)
    counted = view["cgroup"]
    assert (counted["path"], view["children"]) == (str(nodes_in(folder)[0]), 1)
    assert counted["cpu_seconds"] > 0
    if "memory" in (folder / "cgroup.controllers").read_text().split():
        assert view["memory"] == pytest.approx(counted["memory"], rel=0.5)
        assert counted["memory_peak"] >= counted["memory"] > 0
        assert counted["oom_kills"] == 0
    else:
        assert [counted[name] for name in ("memory", "memory_peak", "oom_kills")] == [None] * 3
        assert view["memory"] > 0
    running.terminate()
    assert running.wait(60) in {0, 137}
    assert nodes_in(folder) == []
