"""Each example runs as its README says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.engine  # each example has workers of its own

EXAMPLES = Path(__file__).parents[2] / "examples"
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


class Project:
    """A copy of the examples, and `multi` in one of them."""

    def __init__(self, root: Path, example: str) -> None:
        """Copy; nothing is started."""
        self.examples = root / "examples"
        shutil.copytree(EXAMPLES, self.examples, ignore=shutil.ignore_patterns("data", "run", "log", "__pycache__"))
        self.directory = self.examples / example
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MULTI_")},
            "C_FORCE_ROOT": "1",
            "CELERY_APP_DATA": str(self.directory / "data"),
            "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def multi(self, *words: str, exit_code: int = 0) -> str:
        """Run one command, see that it exits as expected, and return what it printed."""
        command = [sys.executable, "-m", "multi", *words]
        done = subprocess.run(
            command, cwd=self.directory, env=self.environ, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == exit_code, done.stdout + done.stderr + self.logs()
        return done.stdout + done.stderr

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Run one command in the background."""
        return subprocess.Popen([sys.executable, "-m", "multi", *words], cwd=self.directory, env=self.environ)

    def nodes(self, *words: str, exit_code: int = 0) -> dict[str, dict[str, Any]]:
        """Return `status --json` by short name; of no node at all, it is empty."""
        text = self.multi("status", "--json", *words, exit_code=exit_code)
        return {node["name"]: node for node in json.loads(text.splitlines()[0]) if node["found"] is None}

    def drive(self, *words: str, exit_code: int = 0) -> str:
        """Run the driver of the Celery app, and return what it printed."""
        driver = self.examples / "celery_app" / "drive.py"
        done = subprocess.run(
            [sys.executable, str(driver), *words],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == exit_code, done.stdout + done.stderr + self.logs()
        return done.stdout.strip()

    def log(self, name: str) -> str:
        """Return the log of one node."""
        return (self.directory / "log" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def logs(self) -> str:
        """Return the logs of all nodes."""
        return "".join(f"\n--- {path.name}\n{self.log(path.stem)}" for path in self.directory.glob("log/*.log"))

    def processes(self) -> list[psutil.Process]:
        """Return all that runs with this project's data directory in its environment, or was started in it by multi."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environ = process.environ()
                ours = environ.get("MULTI_INSTANCE_PIDFILE", "").startswith(str(self.examples))
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def _project(root: Path, example: str, **variables: str) -> Iterator[Project]:
    project = Project(root, example)
    project.environ.update(variables)
    yield project
    for process in project.processes():
        with contextlib.suppress(psutil.Error):
            process.kill()


@pytest.fixture
def celery_app(tmp_path: Path) -> Iterator[Project]:
    """Give the Celery app; where pidfiles and logs go is said as its README says it."""
    yield from _project(tmp_path, "celery_app", MULTI_PIDFILE="run/%n.pid", MULTI_LOGFILE="log/%n.log")


@pytest.fixture
def plain_worker(tmp_path: Path) -> Iterator[Project]:
    """Give the plain worker, likewise."""
    yield from _project(tmp_path, "plain_worker", MULTI_PIDFILE="run/%n.pid", MULTI_LOGFILE="log/%n.log")


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[Project]:
    """Give the mixed project; its multi.toml says where everything goes."""
    yield from _project(tmp_path, "mixed")


def test_celery_app_as_in_its_readme(celery_app: Project) -> None:
    """Two workers start, take tasks from their queues, restart warm around a running task, and stop without a trace."""
    words = ["w1", "w2", "-A", "tasks", "-c", "1", "-c:w2", "2", "-Q:w1", "short", "-Q:w2", "long", "-l", "INFO"]
    assert "consuming short" in celery_app.multi("start", *words)
    nodes = celery_app.nodes()
    assert {name: (node["state"], node["children"]) for name, node in nodes.items()} == {
        "w1": ("running", 1),
        "w2": ("running", 2),
    }
    assert re.fullmatch(
        r"short: add\(2, 3\) = 5, by w1@.+", celery_app.drive("call", "add", "2", "3", "--queue", "short")
    )
    assert re.fullmatch(
        r"long: add\(2, 3\) = 5, by w2@.+", celery_app.drive("call", "add", "2", "3", "--queue", "long")
    )

    running = celery_app.drive("begin", "sleep_for", "3", "--queue", "long")
    celery_app.multi("stopwait", "w2")
    assert "'ended':" in celery_app.drive("result", running, "--timeout", "0")

    celery_app.multi("stopwait")
    assert celery_app.processes() == []
    assert list((celery_app.directory / "run").glob("*.pid")) == []


def test_a_task_that_is_sent_during_a_restart_is_not_lost(celery_app: Project) -> None:
    """G6: a warm restart finishes what runs, once, and what is sent meanwhile is done by the new process."""
    celery_app.multi("start", "w1", "-A", "tasks", "-c", "1", "-l", "INFO")
    before = celery_app.nodes()["w1"]["pid"]
    running = celery_app.drive("begin", "sleep_for", "4")
    restart = celery_app.begin("restart", "w1")
    end = time.monotonic() + PATIENCE
    while celery_app.nodes()["w1"]["state"] != "stopping" and restart.poll() is None:  # on a busy machine it is over
        assert time.monotonic() < end, celery_app.logs()
    sent = [celery_app.drive("send", "add", "1", str(number)) for number in range(3)]
    assert restart.wait(PATIENCE) == 0
    assert celery_app.nodes()["w1"]["pid"] != before
    assert "'ended':" in celery_app.drive("result", running)
    for number, task in enumerate(sent):
        assert f"{task} = {1 + number}, by w1@" in celery_app.drive("result", task)
    assert celery_app.log("w1").count(f"Task tasks.sleep_for[{running}] received") == 1
    celery_app.multi("stopwait")
    assert celery_app.processes() == []


def test_a_log_that_is_renamed_is_begun_anew(celery_app: Project) -> None:
    """Logrotate's `create`: a Celery worker goes on in the new file by itself, and after `reload`; its pid stays."""
    celery_app.multi("start", "w1", "-A", "tasks", "-c", "1", "-l", "INFO")
    before = celery_app.nodes()["w1"]["pid"]
    log = celery_app.directory / "log" / "w1.log"

    def rotate(number: int, text: str) -> None:
        log.rename(log.with_suffix(f".{number}"))
        log.touch()
        if number == 1:
            celery_app.drive("call", "add", "2", "3")
        else:
            celery_app.multi("reload", "w1")
        end = time.monotonic() + PATIENCE
        while text not in celery_app.log("w1"):
            assert time.monotonic() < end, celery_app.logs()
            time.sleep(0.05)

    rotate(1, "succeeded in")
    rotate(2, " ready.")
    assert celery_app.nodes()["w1"]["pid"] == before
    celery_app.multi("stopwait")
    assert celery_app.processes() == []


def test_an_uninterruptible_task_is_ended_by_the_schedule(celery_app: Project) -> None:
    """G5: a pool process that is deaf to TERM and QUIT is gone, with its whole tree, when the schedule has ended."""
    celery_app.multi("start", "w1", "-A", "tasks", "-c", "1", "-l", "INFO")
    task = celery_app.drive("send", "uninterruptible", "60")
    end = time.monotonic() + PATIENCE
    while f"Task tasks.uninterruptible[{task}] received" not in celery_app.log("w1"):
        assert time.monotonic() < end, celery_app.logs()
        time.sleep(0.05)
    began = time.monotonic()
    celery_app.multi("stopwait", "w1", "--stop-schedule=TERM/1/QUIT/1/KILL/5")
    assert time.monotonic() - began < 50, "the task takes 60"
    assert celery_app.processes() == []


def test_plain_worker_as_in_its_readme(plain_worker: Project) -> None:
    """Two nodes say READY=1; HUP keeps the pid, restart does not; both stop warm."""
    command = "python3 worker.py --name %n --job-seconds 0.3"
    plain_worker.multi("start", "a", "b", "--preset", "exec", "--ready=notify", "--cmd", command)
    before = plain_worker.nodes()
    plain_worker.multi("reload", "a", "--reload-signal=HUP")
    plain_worker.multi("restart", "b")
    end = time.monotonic() + PATIENCE
    while plain_worker.log("a").count("] ready") < 2:
        assert time.monotonic() < end, plain_worker.logs()
        time.sleep(0.05)
    after = plain_worker.nodes()
    assert after["a"]["pid"] == before["a"]["pid"]
    assert after["b"]["pid"] != before["b"]["pid"]
    plain_worker.multi("stopwait")
    assert plain_worker.processes() == []
    for name in ("a", "b"):
        assert plain_worker.log(name).endswith("stopped\n")


def test_plain_worker_that_fails(plain_worker: Project) -> None:
    """G4: a worker that exits at once is a failed node, with its exit status and its last lines."""
    command = "python3 worker.py --jobs 1 --job-seconds 0 --exit-status 3"
    said = plain_worker.multi("start", "c", "--preset", "exec", "--cmd", command, exit_code=1)
    assert "c@" in said
    assert "exited with status 3" in said
    assert "1 jobs done, exiting with status 3" in said
    assert plain_worker.processes() == []


def test_mixed_as_in_its_readme(mixed: Project) -> None:
    """Workers, beat and a plain worker come up by one word, a group of them restarts alone, and all go down."""
    mixed.multi("start")
    before = mixed.nodes()
    assert {name: node["state"] for name, node in before.items()} == dict.fromkeys(
        ("w1", "w2", "beat", "plain"), "running"
    )
    end = time.monotonic() + PATIENCE
    while not re.search(r"Task tasks\.add\[.+\] succeeded", mixed.log("w1")):  # sent by beat, every second
        assert time.monotonic() < end, mixed.logs()
        time.sleep(0.05)
    assert " = " in mixed.drive("call", "sleep_for", "0.1", "--queue", "long")
    mixed.multi("restart", "workers")
    after = mixed.nodes()
    assert {name for name in after if after[name]["pid"] != before[name]["pid"]} == {"w1", "w2"}
    mixed.multi("stopwait")
    assert mixed.processes() == []
    assert {node["state"] for node in mixed.nodes(exit_code=3).values()} == {"stopped"}
