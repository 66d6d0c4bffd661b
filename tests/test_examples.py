"""Each example runs as its README says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 60.0  # seconds; a deadline, not a wait


class PlainWorker:
    """A plain worker, its standard output in a file."""

    def __init__(self, log: Path, *words: str) -> None:
        """Start it."""
        self.log = log
        with log.open("wb") as out:
            command = [sys.executable, str(EXAMPLES / "plain_worker" / "worker.py"), "--name", "a", *words]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the log holds `text` so many times."""
        end = time.monotonic() + PATIENCE
        while self.said().count(text) < times:
            assert self.process.poll() is None or self.said().count(text) >= times, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.01)

    def said(self) -> str:
        """Return the log."""
        return self.log.read_text(encoding="utf-8")

    def events(self) -> list[str]:
        """Return the log's lines without time, name and pid."""
        return [line.partition("] ")[2] for line in self.said().splitlines() if "] " in line]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[PlainWorker]:
    """Give a worker in the middle of its first job, and leave no process."""
    worker = PlainWorker(tmp_path / "a.log", "--job-seconds", "0.5")
    worker.wait_for("job 1 begins")
    yield worker
    with contextlib.suppress(ProcessLookupError):
        worker.process.kill()
    worker.process.wait(PATIENCE)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_plain_worker_warm(plain: PlainWorker, signum: signal.Signals) -> None:
    """TERM and INT: the job at hand is finished, no other begun, exit 0; asking again changes nothing."""
    plain.process.send_signal(signum)
    plain.process.send_signal(signum)
    assert plain.process.wait(PATIENCE) == 0
    events = plain.events()
    assert events[:3] == ["starting", "ready", "job 1 begins"]
    assert f"{signum.name}: warm shutdown, finishing job 1" in events
    assert events[-2:] == ["job 1 done", "stopped"]


def test_plain_worker_cold(plain: PlainWorker) -> None:
    """QUIT: the job at hand is dropped, exit 1."""
    plain.process.send_signal(signal.SIGQUIT)
    assert plain.process.wait(PATIENCE) == 1
    assert plain.events()[-2:] == ["job 1 dropped", "stopped"]
    assert "job 1 done" not in plain.events()


def test_plain_worker_restarts_in_place(plain: PlainWorker) -> None:
    """HUP: the job at hand is finished, then the same pid starts again, with the same words, and still listens."""
    plain.process.send_signal(signal.SIGHUP)
    plain.wait_for("job 1 begins", times=2)
    plain.process.send_signal(signal.SIGTERM)
    assert plain.process.wait(PATIENCE) == 0
    assert plain.events().count("job 1 done") == 2
    assert "starting again in place" in plain.events()
    assert all(f"a[{plain.process.pid}] " in line for line in plain.said().splitlines())


def test_plain_worker_misses_no_signal_while_it_restarts(plain: PlainWorker) -> None:
    """Signals that arrive around the restart wait for the new life: a TERM among them ends it warm, exit 0."""
    plain.process.send_signal(signal.SIGHUP)
    plain.wait_for("starting again in place")
    for _ in range(20):
        plain.process.send_signal(signal.SIGUSR1)
        plain.process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
    assert plain.process.wait(PATIENCE) == 0
    assert plain.events()[-1] == "stopped"


def test_plain_worker_dumps_its_stack(plain: PlainWorker) -> None:
    """USR1: where it is at is printed, and the job goes on."""
    plain.process.send_signal(signal.SIGUSR1)
    plain.wait_for("job 1 done")
    assert "most recent call first" in plain.said()
    assert "in work" in plain.said()


def test_plain_worker_can_fail(tmp_path: Path) -> None:
    """After --jobs it exits with --exit-status."""
    worker = PlainWorker(tmp_path / "a.log", "--jobs", "2", "--job-seconds", "0", "--exit-status", "3")
    assert worker.process.wait(PATIENCE) == 3
    assert worker.events()[-1] == "2 jobs done, exiting with status 3"


def test_the_driver_says_when_nothing_comes_back(tmp_path: Path) -> None:
    """Without a worker `drive.py call` exits 1 and says what to look at."""
    done = subprocess.run(
        [sys.executable, "drive.py", "call", "add", "1", "2", "--queue", "nobody", "--timeout", "0.2"],
        cwd=EXAMPLES / "celery_app",
        env={**os.environ, "CELERY_APP_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nobody: add(1, 2): nothing came back within 0.2 s; does a worker take this queue?\n"
