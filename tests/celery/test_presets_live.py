"""Every shipped preset under multi, from one multi.toml: started, ready, seen, stopped, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers import redis_server, wanted

pytestmark = pytest.mark.engine  # workers of every kind

Multi = Callable[..., "subprocess.CompletedProcess[str]"]

PROJECT = {
    "gproj.py": "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n",
    "hproj.py": "from huey import SqliteHuey\nqueue = SqliteHuey(filename='queue.db')\n",
    "dproj.py": "import dramatiq\nfrom dramatiq.brokers.stub import StubBroker\ndramatiq.set_broker(StubBroker())\n",
    "cproj.py": "from celery import Celery\napp = Celery(broker='memory://')\n",
    "broken.py": "raise ImportError('this module is broken')\n",
}

CONFIG = """
[defaults]
root = "allow"
pidfile = "run/%n.pid"
logfile = "run/%n.log"
executable = "${PYTHON}"
stop_schedule = "${SCHEDULE:-TERM/20/KILL/5}"

[groups.gunicorn]
count = 2
preset = "gunicorn"
options = ["--bind=unix:run/%n.http", "--control-socket=run/%n.ctl", "gproj:app"]

[groups.huey]
count = 1
preset = "huey"
stop_schedule = "INT/20/KILL/5"
options = ["--workers=2", "hproj.queue"]

[groups.dramatiq]
count = 1
preset = "dramatiq"
options = ["--processes=1", "--threads=1", "dproj"]

[groups.rq]
count = 2
preset = "rq"
options = ["--url=${REDIS:-unset}", "high", "low"]

[groups.celery]
count = 1
options = ["-A", "cproj", "-P", "solo"]

[groups.beat]
count = 1
preset = "celery-beat"
options = ["-A", "cproj", "--schedule=run/beat"]

[groups.exec]
count = 1
preset = "exec"
cmd = ["${PYTHON}", "-c", "import time; time.sleep(600)"]
"""


@pytest.fixture
def multi(tmp_path: Path) -> Iterator[Multi]:
    """Run ``multi`` in a project directory; whatever was started is killed in the end."""
    for name, content in PROJECT.items():
        (tmp_path / name).write_text(content)
    config = tmp_path / "multi.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)  # root refuses a file that others can write
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHON": sys.executable, "XDG_STATE_HOME": str(tmp_path / "state")}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "multi", *words],
            cwd=tmp_path,
            env={**env, **more},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    yield run
    run("kill")


@pytest.fixture
def redis() -> Iterator[str]:
    """URL of a Redis that lives as long as the test."""
    with redis_server() as url:
        yield url


def states(multi: Multi, *names: str, **more: str) -> dict[str, str]:
    """State of each node by its short name."""
    return {info["name"]: info["state"] for info in json.loads(multi("status", "--json", *names, **more).stdout)}


@pytest.mark.parametrize(
    ("group", "package", "names"),
    [
        ("gunicorn", "gunicorn", ["gunicorn1", "gunicorn2"]),
        ("huey", "huey", ["huey1"]),
        ("dramatiq", "dramatiq", ["dramatiq1"]),
        ("celery", "celery", ["celery1"]),
        ("beat", "celery", ["beat1"]),
        ("exec", "sys", ["exec1"]),
    ],
)
def test_a_preset_rides_from_start_to_stopwait(multi: Multi, group: str, package: str, names: list[str]) -> None:
    """G4, G5: OK comes with a running worker, and its first stop signal is enough."""
    wanted(package)
    done = multi("start", group)
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(multi, group) == dict.fromkeys(names, "running")
    done = multi("stopwait", group)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "KILL" not in done.stdout + done.stderr
    assert states(multi, group) == dict.fromkeys(names, "stopped")


def test_rq_rides_from_start_to_stopwait(multi: Multi, redis: str) -> None:
    """The same with the server that it needs; a worker that was killed can be started again."""
    wanted("rq")
    server = {"REDIS": redis}
    done = multi("start", "rq", **server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert multi("kill", "rq1", **server).returncode == 0
    assert multi("start", "rq", **server).returncode == 0
    assert states(multi, "rq", **server) == {"rq1": "running", "rq2": "running"}
    done = multi("stopwait", "rq", **server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "KILL" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("preset", "package", "words"),
    [
        ("huey", "huey", ["--", "broken.queue"]),
        ("dramatiq", "dramatiq", ["--", "broken"]),
        ("celery", "celery", ["-A", "broken"]),
        ("celery-beat", "celery", ["-A", "broken"]),
        ("gunicorn", "gunicorn", ["--bind=unix:run/bad.http", "--no-control-socket", "--", "broken:app"]),
    ],
)
def test_a_broken_application_fails_the_start(multi: Multi, preset: str, package: str, words: list[str]) -> None:
    """G4: no silent death; the node is named and the worker's own last lines are shown."""
    wanted(package)
    done = multi("start", "bad", "--preset", preset, *words)
    shown = done.stdout + done.stderr
    assert done.returncode == 1, shown
    assert "bad@" in shown
    assert "this module is broken" in shown
