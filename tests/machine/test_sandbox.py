"""Where a sandbox refuses a system call, multi does with what is left, and says which node it hits."""

from __future__ import annotations

import errno
import os
import sys
from unittest import mock

import pytest

from multi.model.event import Failed, Gone
from multi.model.state import Up
from real import Real, alive, run, until
from sandbox import PIDFD_OPEN, PIDFD_SEND_SIGNAL, refusing
from test_act import contents, loop, only, running, sight
from world import World, node_of

_KILL_CALL = {"x86_64": 62, "aarch64": 129}.get(os.uname().machine, 37)  # kill(2)
A, B = node_of("a"), node_of("b")


@pytest.mark.skipif(sys.platform != "linux", reason="needs seccomp(2), which is Linux's")
@pytest.mark.parametrize("call", [PIDFD_OPEN, PIDFD_SEND_SIGNAL])
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_g9_half_of_the_pidfds(real: Real, call: int, error: int) -> None:
    """Where one of the two calls for pidfds is refused, nodes are stopped without them (G9, G5)."""
    real.start("a", "b", cmd=real.worker("--child", "session")).ok()
    family = real.family()
    words = [sys.executable, "-m", "multi", "stopwait", f"--pidfile={real.run}/%n.pid", "a", "b"]
    done = run(refusing(call, error, *words), real.env)
    assert (done.returncode, done.stderr) == (0, b""), done
    until(lambda: not any(map(alive, family)), "both trees are gone")
    assert real.state("a", "b") == {"a": "stopped", "b": "stopped"}


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


@pytest.mark.skipif(sys.platform != "linux", reason="needs seccomp(2), which is Linux's")
def test_g9_no_signal_can_be_sent_at_all(real: Real) -> None:
    """Where no call is left that signals, each node is named with the reason, and runs on as before (G9)."""
    real.start("a", "b").ok()
    words = [sys.executable, "-m", "multi", "stopwait", f"--pidfile={real.run}/%n.pid", "a", "b"]
    done = run(refusing(PIDFD_SEND_SIGNAL, errno.ENOSYS, *refusing(_KILL_CALL, errno.ENOSYS, *words)), real.env)
    text = done.stderr.decode()
    assert done.returncode == 1, done
    for name in ("a", "b"):
        assert f"{name}@" in text
        assert f"cannot signal process {real.pid(name)}: Function not implemented; see whether a sandbox" in text
    assert real.state("a", "b") == {"a": "running", "b": "running"}
