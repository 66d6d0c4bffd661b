"""The fixture for real processes keeps its own promises: whoever builds on it must be able to trust it."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

import commands
from real import Real, alive, descriptors, environ_of, place, stat, status, stays, until, words_of


def test_start_and_stop(real: Real) -> None:
    """A worker is started, seen and stopped; as a process of its own and within this one."""
    real.start("a", "b", cmd=real.worker("--print", "hello")).ok()
    first, second = real.pid("a"), real.pid("b")
    assert real.state("a", "b") == {"a": "running", "b": "running"}
    assert sorted(real.family()) == sorted([first, second])
    assert real.processes("a") == [first]
    until(lambda: real.logfile("a").read_text(encoding="utf-8") == "hello\n", "a has printed")
    real.multi("stopwait", "a").ok()
    real.inside("stopwait", "b").ok()
    assert not alive(first)
    assert not alive(second)
    assert real.launchers() == []


def test_a_start_is_done_when_its_tiny_workers_hear_signals(real: Real) -> None:
    """Each of them has said so, whether multi was a process of its own or within this one."""
    real.start("a", "b", cmd=real.worker()).ok()
    real.inside_raw(*real.start_words("c", cmd=real.worker())).ok()
    assert {path.name for path in real.up.iterdir()} == {str(real.pid(name)) for name in ("a", "b", "c")}


def test_it_ends_what_is_on_record() -> None:
    """Nodes that a test leaves running are ended with it, their children too."""
    with place() as real:
        touched = real.base / "touched"
        worker = real.worker(
            *("--ignore", "TERM", "--child", "plain", "--child", "orphan", "--child", "bare", "--touch", str(touched))
        )
        real.start("a", cmd=worker).ok()
        until(touched.exists, "the family is complete")
        family = real.family()
        assert len(family) == 4
    assert not any(map(alive, family))
    assert not real.base.exists()


def test_it_fails_for_an_orphan() -> None:
    """A process that no record names fails the test, and is ended all the same."""
    family: list[int] = []
    with pytest.raises(AssertionError, match="left behind"), place() as real:  # noqa: PT012 -- the block's end raises
        real.start("a").ok()
        real.recordfile("a").unlink()
        family += real.family()
    assert len(family) == 1
    assert not alive(family[0])


def test_an_orphan_may_be_expected() -> None:
    """What the test announces is ended without a failure."""
    with place() as real:
        worker = real.own_worker("--child", "orphan")
        real.expect_left(*real.family())
        until(lambda: len(real.family()) == 1, "the orphan lives")
        assert alive(worker.pid)


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        ("plain", {"group", "session", "parent", "environment"}),
        ("group", {"session", "parent", "environment"}),
        ("session", {"parent", "environment"}),
        ("orphan", {"environment"}),
        ("bare", {"group", "session", "parent"}),
    ],
)
def test_children_are_what_they_say(real: Real, kind: str, shared: set[str]) -> None:
    """Each kind of child has exactly the relation to its worker that its name promises."""
    worker = real.own_worker("--child", kind)
    mother = stat(worker.pid)
    (pid,) = real.family()
    child = stat(pid)
    assert mother is not None
    assert child is not None
    assert shared == {
        name
        for name, same in {
            "group": child.pgrp == mother.pgrp,
            "session": child.session == mother.session,
            "parent": child.ppid == mother.pid,
            "environment": environ_of(pid) == environ_of(mother.pid),
        }.items()
        if same
    }
    real.expect_left(pid)


def picture(pid: int) -> dict[str, object]:
    """What the kernel shows of a process, but for what no two processes have in common."""
    shown, found, env = status(pid), stat(pid), environ_of(pid)
    assert found is not None
    inherited = {name: shown[name] for name in ("Umask", "NoNewPrivs", "Seccomp", "Threads", "Groups", "TracerPid")}
    return {
        "words": words_of(pid),
        "environ": {name: value for name, value in env.items() if name != "PYTHONHASHSEED"},
        "descriptors": {fd: what.partition(":")[0] for fd, what in descriptors(pid).items()},
        "ids": (found.ppid, found.pgrp, found.session, found.tty, shown["Uid"], shown["Gid"]),
        "links": [str(Path(f"/proc/{pid}/{name}").readlink()) for name in ("exe", "cwd", "root")],
        "files": [Path(f"/proc/{pid}/{name}").read_text() for name in ("limits", "cgroup", "oom_score_adj")],
        **{name: value for name, value in shown.items() if name.startswith(("Sig", "Cap")) and name != "SigQ"},
        **inherited,
    }


def test_a_forked_command_is_as_an_executed_one(real: Real) -> None:
    """The kernel shows the same words, environment, descriptors, signals, limits and ids; and both end alike."""
    real.start("a").ok()
    forked, seen = [], []
    for env in ({}, {"PYTHONHASHSEED": "0"}):  # what a start of Python depends on lets it be executed
        begun = real.begin("wait", "--down", f"--pidfile={real.run}/%n.pid", "a", env=env)
        pid = begun.process.pid
        until(lambda pid=pid: "[pidfd]" in " ".join(descriptors(pid).values()), "it waits")  # type: ignore[misc]
        stays(lambda pid=pid: alive(pid), "it waits")  # type: ignore[misc]
        seen.append(picture(pid))
        begun.process.send_signal(signal.SIGINT)
        ended = begun.done()
        seen[-1]["end"] = ended.code, ended.out, ended.err
        forked.append(begun.process.forked)
    assert forked == [commands.serves(), False]
    assert seen[0] == seen[1]


def test_a_server_that_was_ended_is_done_without(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that follow are executed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.close()
        monkeypatch.setattr(commands, "_servers", [(ours, real.env)])
        done = real.raw("names", "a").ok()
        assert done.out.startswith("a@")
        assert not commands.serves()
