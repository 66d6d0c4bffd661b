"""Two commands about one node at once, on real processes: the last word decides, and nobody waits for a kill."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time

import pytest

from real import Begun, Real, alive, until

CANCELLED = "cancelled: a later command stops it (pid "
SLOW = "--stop-schedule=TERM/60/KILL/5"
SOON = 20.0  # seconds: far less than the schedule above, and enough for a busy machine


def pidfile(real: Real) -> str:
    """Where the files lie."""
    return f"--pidfile={real.run}/%n.pid"


def stubborn(real: Real, *options: str) -> int:
    """A node that ignores TERM."""
    real.start("w1", cmd=real.worker("--ignore", "TERM", *options)).ok()
    return real.pid("w1")


def begun(real: Real, *words: str) -> Begun:
    """A command that is at work on the node, which is stopping."""
    one = real.begin(*words, "w1", pidfile(real), SLOW)
    until(lambda: real.state("w1") == {"w1": "stopping"}, "the stop is under way")
    return one


@pytest.mark.parametrize("first", ["stopwait", "restart"])
def test_g5_kill_does_not_wait_for_a_stop(real: Real, first: str) -> None:
    """G5: the whole tree of a node whose stop hangs gets KILL at once, both commands tell the truth, nothing starts."""
    pid = stubborn(real, "--child", "session", "--child", "orphan")
    slow = begun(real, first)
    began = time.monotonic()
    kill = real.multi("kill", "w1").ok()
    assert time.monotonic() - began < SOON
    assert not alive(pid)
    assert real.family() == []
    assert "sent KILL" in kill.out
    assert "stopped, pid" in kill.out
    assert "not running" not in kill.out
    done = slow.done()
    assert f"stopped, pid {pid} gone" in done.out
    assert "; another command asked for KILL (pid " in done.out
    assert "multi kill " in done.out
    if first == "restart":
        done.exits(1)
        assert CANCELLED in done.err
    else:
        done.ok()
    assert real.state("w1") == {"w1": "stopped"}
    real.multi("ensure").ok()
    assert real.processes("w1") == []


def test_kill_ends_a_start_that_waits_for_its_proof(real: Real) -> None:
    """The start fails at once and names the kill; the node stays stopped."""
    start = real.begin(*real.start_words("w1", "--ready=file:never", "--ready-timeout=60"))
    until(lambda: real.processes("w1"), "it waits for its proof")
    real.multi("kill", "w1").ok()
    failed = start.done(SOON).exits(1)
    assert "another command asked for KILL (pid " in failed.err
    assert real.state("w1") == {"w1": "stopped"}
    assert real.family() == []


def test_g1_kill_without_the_lock_hits_no_other_process(real: Real) -> None:
    """G1: the process on record is gone and its pid is another's: a kill that finds the lock taken signals nobody."""
    real.start("w1").ok()
    os.kill(real.pid("w1"), signal.SIGKILL)
    other = real.own_worker()
    record = real.recordfile("w1")
    text = record.read_text(encoding="ascii")
    old = real.pid("w1")
    assert str(old) in text
    record.write_text(text.replace(f'"pid": {old}', f'"pid": {other.pid}'), encoding="ascii")
    real.pidfile("w1").write_text(f"{other.pid}\n", encoding="ascii")
    with (real.run / "w1.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        real.multi("kill", "w1", "--lock-timeout=0.5").exits(75)
    assert other.poll() is None
    real.expect_left(other.pid)


@pytest.mark.parametrize("last", ["stopwait", "kill"])
def test_a_stop_ends_a_start_that_waits_for_a_need(real: Real, last: str) -> None:
    """The start that waits ends with 1 and says whose word was the last; when the need holds, nothing starts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    start = real.begin(*real.start_words("w1", f"--needs=tcp:{port}", "--ready-timeout=60"))
    until((real.run / "w1.lock").exists, "it begins")
    stop = real.multi(last, "w1").ok()
    assert "not running" in stop.out
    done = start.done(SOON).exits(1)
    assert CANCELLED in done.err
    assert f"multi {last} " in done.err
    with socket.create_server(("127.0.0.1", port)):
        assert real.processes("w1") == []
        real.start("w1", f"--needs=tcp:{port}").ok()
    assert len(real.processes("w1")) == 1


def test_a_start_after_a_stop_that_waits_starts(real: Real) -> None:
    """The last word is the start: it waits for the stop, and then starts."""
    pid = stubborn(real)
    slow = begun(real, "stopwait")
    start = real.begin(*real.start_words("w1"))
    os.kill(pid, signal.SIGKILL)
    slow.done().ok()
    start.done().ok()
    assert len(real.processes("w1")) == 1
