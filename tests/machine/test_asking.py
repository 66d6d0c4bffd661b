"""Another Python is asked once whether it has our plug-in, all at the same time; nobody waits for one that hangs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from multi.model.happening import Probed
from multi.system import System
from real import PATIENCE, Real, until, words_of
from systems import SYSTEMS


@pytest.fixture(params=SYSTEMS)
def machine(request: pytest.FixtureRequest) -> Iterator[System]:
    """Give the real machine, with all it has and with less."""
    with SYSTEMS[request.param]() as system:
        yield system


def python(real: Real, name: str, answer: str) -> str:
    """A program that looks like a Python of another environment: what it does when it is asked, and as a worker."""
    path = real.base / name / "python"
    path.parent.mkdir()
    script = f'#!/bin/sh\necho "$1" >>{real.base}/{name}/tally\ncase $1 in -c) {answer};; *) exec sleep 600;; esac\n'
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def tally(real: Real, name: str) -> list[str]:
    """What it was run for."""
    path = Path(f"{real.base}/{name}/tally")
    return path.read_text(encoding="ascii").split() if path.exists() else []


def heard(machine: System, *keys: str) -> dict[str, Probed]:
    """The answers."""
    found: dict[str, Probed] = {}
    deadline = time.monotonic() + PATIENCE
    while set(found) != set(keys):
        assert time.monotonic() < deadline, found
        found.update((one.key, one) for one in machine.wait(deadline) if isinstance(one, Probed))
    return found


@pytest.mark.parametrize(("answer", "able"), [("exit 0", True), ("exit 1", False), ("kill -9 $$", False)])
def test_each_python_is_asked_once(machine: System, real: Real, answer: str, able: bool) -> None:
    """Whoever asks later gets the answer at once."""
    one, other = python(real, "one", answer), python(real, "other", "exit 1")
    assert [machine.notifies(key, one, None, None) for key in ("a", "b", "c")] == [None] * 3
    assert machine.notifies("d", other, None, None) is None
    machine.release("c")
    answers = heard(machine, "a", "b", "d")
    assert [answers[key].ok for key in ("a", "b", "d")] == [able, able, False]
    assert machine.notifies("e", one, None, None) is able
    assert tally(real, "one") == tally(real, "other") == ["-c"]


def test_g9_a_python_that_does_not_answer(machine: System, real: Real) -> None:
    """It is given up and ended after a while, and not asked again (G9)."""
    hangs = python(real, "hangs", "sleep 600")
    with mock.patch("multi.system.plugin.TIMEOUT", 0.3):
        assert machine.notifies("a", hangs, None, None) is None
        assert not heard(machine, "a")["a"].ok
    assert machine.notifies("b", hangs, None, None) is False
    until(lambda: not [pid for pid in real.family() if "600" in words_of(pid)], "it is ended")


def test_what_is_not_there_cannot_tell(machine: System, real: Real) -> None:
    """A program that cannot be run is no Python that has the plug-in."""
    broken = python(real, "broken", "exit 0")
    Path(broken).write_text("#!/nonexistent/interpreter\n", encoding="utf-8")
    assert machine.notifies("a", broken, None, None) is False


def celery(real: Real, *words: str) -> tuple[str, ...]:
    """The words of a start of Celery workers by other Pythons."""
    return ("start", f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log", *words)


def test_g9_asking_is_interrupted_at_once(real: Real) -> None:
    """While two Pythons hang, both are asked at the same time, and INT ends the command: nothing was started (G9)."""
    one, other = python(real, "one", "sleep 601"), python(real, "other", "sleep 602")
    begun = real.begin(*celery(real, "a", "b", f"--executable={one}", f"--executable:b={other}"))
    until(lambda: tally(real, "one") == tally(real, "other") == ["-c"], "both are asked")
    begun.process.send_signal(signal.SIGINT)
    done = begun.done().exits(130)
    assert done.seconds < 20
    assert real.family() == []
    assert not real.pidfile("a").exists()


@pytest.mark.engine
def test_a_restart_asks_before_it_stops(real: Real) -> None:
    """A worker that runs goes on while its Python is asked, and three nodes are one question."""
    quick = python(real, "quick", "exit 1")
    done = real.raw(*celery(real, "a", "b", "c", f"--executable={quick}", "-A", "x")).ok()
    assert "multi-supervisor is not installed in the worker's Python" in done.out
    assert tally(real, "quick").count("-c") == 1
    script = Path(quick)
    script.write_text(script.read_text(encoding="utf-8").replace("exit 1", "sleep 600"), encoding="utf-8")
    begun = real.begin("restart", f"--pidfile={real.run}/%n.pid", "a")
    until(lambda: tally(real, "quick").count("-c") == 2, "it is asked")
    begun.process.send_signal(signal.SIGINT)
    begun.done().exits(130)
    assert real.state("a", "b", "c") == dict.fromkeys("abc", "running")
