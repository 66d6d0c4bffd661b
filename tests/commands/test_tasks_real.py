"""`tasks`, `drain`, `resume`, `--when-idle` and what a stop tells, on processes that speak as the plug-in does."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from real import NOBODY, Done, Real, until

PLANT = """
import socket, sys, time
one = socket.socket(socket.AF_UNIX)
one.bind(sys.argv[1])
one.listen()
time.sleep(60)
"""
PEER = str(Path(__file__).parents[1] / "kit" / "plugin_peer.py")


def start(real: Real, *names: str, tasks: int = 2, seconds: float = 600.0, words: tuple[str, ...] = ()) -> Done:
    """Workers that have so many tasks in hand for so many seconds."""
    cmd = shlex.join([sys.executable, "-I", "-S", PEER, "--tasks", str(tasks), "--seconds", str(seconds)])
    settings = ("--ready=notify", "--stop-schedule=TERM/1.5/QUIT/5/KILL/5", *words)
    return real.raw(*real.start_words(*names, *settings, cmd=cmd)).ok()


def test_what_workers_have_in_hand(real: Real) -> None:
    """`tasks` asks all at once; what it does not know it says once; `status --health` asks nobody."""
    start(real, "w1", "w2")
    real.start("w3").ok()
    done = real.multi("tasks").ok()
    lines = done.out.splitlines()
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == [
        f"{name}@{os.uname()[1]}" for name in ("w1", "w2")
    ]
    assert re.fullmatch(r" +orders\.export +0f2a +\d+s +limit 300s", lines[1]), done
    assert done.err.startswith("multi: w3: cannot tell")
    real.multi("tasks", "w3").exits(1)
    assert real.multi("status", "--health").ok().out.count(" healthy: running") == 3
    os.kill(real.pid("w1"), signal.SIGSTOP)
    (shown,) = json.loads(real.multi("tasks", "w1", "--json").exits(1).out)
    assert shown["why"] == "it does not answer within 1.5s"
    assert shown["heartbeat"]["verdict"] == "consumes"
    real.multi("status", "--health", "w1").exits(1)
    os.kill(real.pid("w1"), signal.SIGCONT)
    os.kill(real.pid("w2"), signal.SIGKILL)
    real.multi("status", "--health", "w2").exits(1)


def test_a_stop_names_what_it_waits_for_and_cuts_off(real: Real) -> None:
    """While `stopwait` waits, it and `status` name the tasks; the end names what QUIT cut off, and `why` keeps it."""
    start(real, "w1")
    stop = real.begin("stopwait", f"--pidfile={real.run}/%n.pid", "w1", "--json")

    def noted() -> str:
        out = real.multi("status", "w1").out
        return out if "2 tasks: " in out else ""

    assert re.search(
        r"2 tasks: orders\.export 0f2a \d+s \(limit 300s\), mail\.send 1f2a \d+s; QUIT in \ds", until(noted, "tasks")
    )
    events = stop.done().ok().events
    told = [event for event in events if event["event"] == "waiting"]
    assert told
    assert told[0]["next_signal"] == "QUIT"
    (cut,) = [event for event in events if event["event"] == "cut_off"]
    assert (cut["signal"], cut["count"]) == ("QUIT", 2)
    assert [task["fate"] for task in cut["tasks"]] == ["lost", "redelivered"]  # type: ignore[attr-defined]  # a list
    assert "QUIT cut off 2 tasks: orders.export 0f2a" in real.multi("why", "w1").ok().out
    assert not list(real.run.glob("*.sock")) + list(real.run.glob("*.heartbeat"))


def test_drain_and_restart_when_idle(real: Real) -> None:
    """A drained worker is on record as that; `restart --when-idle` waits for the last task, and cuts none off."""
    start(real, "w1", seconds=2.0)
    before = real.pid("w1")
    assert "takes no new task" in real.multi("drain", "w1").ok().out
    assert "draining since" in real.multi("status", "w1").ok().out
    real.multi("reload", "w1").exits(1)
    (shown,) = json.loads(real.multi("status", "w1", "--json").ok().out)
    assert (shown["state"], shown["draining"]) == ("running", True)
    real.multi("resume", "w1").ok()
    assert "draining" not in real.multi("status", "w1").ok().out
    began = time.monotonic()
    done = real.multi("restart", "--when-idle", "w1", "--json").ok()
    names = [event["event"] for event in done.events]
    assert "cut_off" not in names
    assert (names[0], names[-1]) == ("drained", "ready")
    assert time.monotonic() - began < 80, "TERM has 90"
    assert real.pid("w1") != before


def test_an_interrupt_lets_it_consume_again(real: Real) -> None:
    """INT during `--when-idle` stops nothing; what was killed there leaves a drained worker that `resume` frees."""
    start(real, "w1")
    for signum, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        wait = real.begin("stopwait", f"--pidfile={real.run}/%n.pid", "--when-idle", "w1")
        until(lambda: "draining" in real.multi("status", "w1").out, "it is drained")
        wait.process.send_signal(signum)
        assert wait.done().code == code
        if signum == signal.SIGINT:
            until(lambda: "draining" not in real.multi("tasks", "w1").out, "it consumes again")
            assert "draining" not in real.multi("status", "w1").ok().out
    assert "draining since" in real.multi("status", "w1").ok().out
    real.multi("resume", "w1").ok()
    assert "draining" not in real.multi("tasks", "w1").ok().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a worker as another user")
def test_g8_root_asks_a_users_worker(real: Real) -> None:
    """Root asks the worker of a node's user, and no socket that another process has put in its place (G8)."""
    python = "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip("there is no Python that every user may run")
    peer = shutil.copy(PEER, real.base / "peer.py")
    command = shlex.join([python, "-I", "-S", str(peer), "--tasks", "1"])
    real.raw(*real.start_words("w1", "--ready=notify", "--uid=nobody", cmd=command)).ok()
    assert "orders.export" in real.multi("tasks", "w1").ok().out
    path = real.run / "w1.sock"
    path.unlink()
    planted = real.popen(python, "-I", "-S", "-c", PLANT, str(path), user=NOBODY)
    until(path.exists, "it is planted")
    (shown,) = json.loads(real.multi("tasks", "w1", "--json").exits(1).out)
    assert shown["why"] in {
        f"{path} is listened on by pid {planted.pid}, not by the node's main process",
        "nobody listens on its socket",
    }
