"""What a probe of readiness has started is found by the next command, whatever became of the one that began it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys

import pytest

from multi.model.health import Health, encode
from real import Real, alive, environ_of, until, words_of

HANGS_ONCE = "[ -e hung ] && exit 0; touch hung; (trap '' TERM; setsid sleep 601) & sleep 602 & sleep 603"
SLEEPERS = {("sleep", "601"), ("sleep", "602"), ("sleep", "603")}


def probing(real: Real) -> list[int]:
    """The processes of a probe."""
    return [pid for pid in real.family() if "MULTI_INSTANCE_PROBE" in environ_of(pid)]


def left(real: Real, *words: str) -> list[int]:
    """Kill a `multi` in the middle of a probe; the processes of that probe."""
    probe = f"exec:{shlex.join(['sh', '-c', HANGS_ONCE])}"
    begun = real.begin(*real.start_words("a", f"--workdir={real.base}", f"--ready={probe}", *words))
    until(lambda: {tuple(words_of(pid)) for pid in probing(real)} >= SLEEPERS, "the probe hangs")
    begun.process.kill()
    begun.process.wait()
    return probing(real)


@pytest.mark.parametrize("command", ["stopwait", "kill", "start", "restart", "stop"])
@pytest.mark.parametrize("mode", ["mixed", "process"])
def test_g3_g5_a_probe_whose_multi_was_killed(real: Real, command: str, mode: str) -> None:
    """It is no child of the node, and the next command that is about the node ends it and all that it has started."""
    probes = left(real, f"--kill-mode={mode}")
    node = real.pid("a")
    (view,) = json.loads(real.inside("status", "--json", "a").out)
    assert (view["state"], view["pid"], view["children"]) == ("starting", node, 0)
    real.inside(command, "a").ok()
    until(lambda: not any(map(alive, probes)), "the probe is gone")
    until(lambda: alive(node) is (command == "start"), "the node is gone, unless it was to be started")
    assert len(real.family()) == (1 if command in {"start", "restart"} else 0)


@pytest.mark.parametrize("command", ["stopwait", "kill", "restart", "ensure"])
def test_g3_g5_a_probe_whose_multi_and_node_are_gone(real: Real, command: str) -> None:
    """It makes nobody believe that the node runs, and it is ended by the next command."""
    probes = left(real)
    os.kill(real.pid("a"), signal.SIGKILL)
    until(lambda: not alive(real.pid("a")), "a is gone")
    assert real.state("a") == {"a": "dead"}
    real.inside(command, "a").ok()
    assert not any(map(alive, probes))
    assert len(real.family()) == (1 if command in {"restart", "ensure"} else 0)


def test_g5_a_probe_that_was_given_up(real: Real) -> None:
    """What a probe has put into another session is gone with the node whose start failed of it."""
    probe = f"exec:{shlex.join(['sh', '-c', HANGS_ONCE])}"
    done = real.start("a", f"--workdir={real.base}", f"--ready={probe}", "--ready-timeout=1").exits(1)
    assert "its probe did not end" in done.err
    assert real.family() == []


def test_g5_what_a_probe_leaves_behind(real: Real) -> None:
    """What a probe that said yes has left running ends with the node."""
    probe = f"exec:{shlex.join(['sh', '-c', 'setsid sleep 600 &'])}"
    real.start("a", f"--ready={probe}").ok()
    assert len(real.family()) == 2
    (view,) = json.loads(real.inside("status", "--json", "a").out)
    assert view["children"] == 0
    real.inside("stopwait", "a").ok()
    assert real.family() == []


def test_a_node_that_a_probe_starts_is_a_node(real: Real) -> None:
    """The mark of a probe does not pass on to what a `multi` starts that runs inside it."""
    options = (f"--pidfile={real.pidfile('b')}", f"--logfile={real.logfile('b')}", "--preset=exec", "--cmd=sleep 600")
    inner = shlex.join([sys.executable, "-m", "multi", "start", "b", *options])
    real.start("a", f"--ready=exec:{inner}").ok()
    assert "MULTI_INSTANCE_PROBE" not in environ_of(real.pid("b"))
    real.inside("stopwait", "a").ok()
    assert real.state("a", "b") == {"a": "stopped", "b": "running"}


@pytest.mark.parametrize("command", ["stopwait", "ensure"])
def test_g3_a_probe_of_liveness_whose_multi_was_killed(real: Real, command: str) -> None:
    """It is no child of the node, and the next command ends it and all that it has started."""
    probe = f"exec:{shlex.join(['sh', '-c', HANGS_ONCE])}"
    real.start("a", f"--workdir={real.base}", f"--alive={probe}").ok()
    node = real.pid("a")
    asked = Health(str(real.record("a")["token"]), 0.0)  # long ago
    (real.run / "a.health").write_bytes(encode(asked))
    begun = real.begin("ensure", f"--pidfile={real.run}/%n.pid")
    try:
        until(lambda: {tuple(words_of(pid)) for pid in probing(real)} & SLEEPERS, "the probe hangs")
    finally:
        begun.process.kill()
        begun.process.wait()
    probes = probing(real)
    (view,) = json.loads(real.inside("status", "--json", "a").out)
    assert (view["state"], view["pid"], view["children"]) == ("running", node, 0)
    real.inside(command, "a").ok()
    until(lambda: not any(map(alive, probes)), "the probe is gone")
    assert alive(node) is (command == "ensure")
