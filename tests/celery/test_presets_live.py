"""Every shipped preset under multi, from one multi.toml: started, ready, seen, stopped, nothing left.

The presets of libraries without a plug-in of their own tell what is in hand while they stop.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from real import until
from workers import redis_server, wanted

pytestmark = pytest.mark.engine  # workers of every kind

Multi = Callable[..., "subprocess.CompletedProcess[str]"]

PROJECT = {
    "gproj.py": "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n",
    "hproj.py": "from huey import SqliteHuey\nqueue = SqliteHuey(filename='queue.db')\n",
    "dproj.py": "import dramatiq\nfrom dramatiq.brokers.stub import StubBroker\ndramatiq.set_broker(StubBroker())\n",
    "cproj.py": "from celery import Celery\napp = Celery(broker='memory://')\n",
    "aproj.py": "async def app(scope, receive, send):\n    while scope['type'] == 'lifespan':\n"
    "        said = await receive()\n        await send({'type': said['type'] + '.complete'})\n"
    "        if said['type'] == 'lifespan.shutdown':\n            return\n",
    "tproj.py": "import asyncio, taskiq\n\nclass Broker(taskiq.AsyncBroker):\n"
    "    async def kick(self, message):\n        pass\n\n"
    "    async def listen(self):\n        while True:\n            await asyncio.sleep(0.1)\n"
    "            if self is None:\n                yield b''\n\nbroker = Broker()\n",
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

[groups.uvicorn]
count = 1
preset = "uvicorn"
options = ["--uds=run/%n.http", "aproj:app"]

[groups.uvicorns]
count = 1
preset = "uvicorn"
options = ["--uds=run/%n.http", "--workers=2", "aproj:app"]

[groups.hypercorn]
count = 1
preset = "hypercorn"
options = ["--bind=unix:run/%n.http", "aproj:app"]

[groups.taskiq]
count = 1
preset = "taskiq"
options = ["--workers=1", "tproj:broker"]

[groups.flower]
count = 1
preset = "flower"
options = ["-A", "cproj", "--unix_socket=run/%n.http"]

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


# A resource tracker of multiprocessing ignores TERM and outlives its main process by a moment: it is a leftover.
TRACKED = {"hypercorn", "uvicorn"}


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
        ("uvicorn", "uvicorn", ["uvicorn1"]),
        ("uvicorns", "uvicorn", ["uvicorns1"]),
        ("hypercorn", "hypercorn", ["hypercorn1"]),
        ("taskiq", "taskiq", ["taskiq1"]),
        ("flower", "flower", ["flower1"]),
    ],
)
def test_a_preset_rides_from_start_to_stopwait(multi: Multi, group: str, package: str, names: list[str]) -> None:
    """G4, G5: OK comes with a running worker, and its first stop signal is enough."""
    wanted(package)
    done = multi("start", group)
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(multi, group) == dict.fromkeys(names, "running")
    done = multi("stopwait", group)
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    if package in TRACKED:
        assert not any(f"KILL to pid {pid}" in shown for pid in re.findall(r"sent TERM to pid (\d+)", shown))
    else:
        assert "KILL" not in shown
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
        ("uvicorn", "uvicorn", ["--uds=run/bad.http", "--", "broken:app"]),
        ("flower", "flower", ["-A", "broken"]),
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


# Tasks that last until a file is there, and what puts three of each library into its queue.
TASKS = {
    "jobs.py": "import os, pathlib, threading, time\n\n\ndef export(secret):\n"
    "    pathlib.Path(f'begun-{os.getpid()}-{threading.get_ident()}').touch()\n"
    "    while not pathlib.Path('go').exists():\n        time.sleep(0.05)\n",
    "hproj.py": "from huey import SqliteHuey\nfrom jobs import export as body\n"
    "queue = SqliteHuey(filename='queue.db')\nexport = queue.task(name='orders.export')(body)\n",
    "dproj.py": "import dramatiq, os\nfrom dramatiq.brokers.redis import RedisBroker\nfrom jobs import export as body\n"
    "dramatiq.set_broker(RedisBroker(url=os.environ['REDIS']))\n"
    "export = dramatiq.actor(actor_name='orders.export', time_limit=300_000)(body)\n",
    "put_huey.py": "import hproj\nfor _ in range(3):\n    hproj.export('hunter2')\n",
    "put_dramatiq.py": "import dproj\nfor _ in range(3):\n    dproj.export.send('hunter2')\n",
    "put_rq.py": "import jobs, os, redis, rq\n"
    "rq.Queue('high', connection=redis.Redis.from_url(os.environ['REDIS'])).enqueue(jobs.export, 'hunter2')\n",
}
ONE = r"1 task: jobs\.export [0-9a-f]{4} \d+s \(limit 180s\)"
TWO = r"2 tasks: orders\.export [0-9a-f]{4} \d+s, orders\.export [0-9a-f]{4} \d+s"
TWO_LIMITED = TWO.replace("s,", r"s \(limit 300s\),") + r" \(limit 300s\)"


@pytest.mark.parametrize(
    ("library", "words", "line"),
    [
        ("rq", ["--", "high"], ONE),
        ("rq", ["--worker-class=rq.SimpleWorker", "--", "high"], ONE),
        ("huey", ["--workers=2", "--", "hproj.queue"], TWO),
        ("huey", ["--workers=2", "--worker-type=process", "--", "hproj.queue"], TWO),
        ("dramatiq", ["--processes=2", "--threads=1", "--", "dproj"], TWO_LIMITED),
        ("dramatiq", ["--processes=2", "--threads=1", "--use-spawn", "--", "dproj"], TWO_LIMITED),
    ],
    ids=lambda each: "-".join(word.strip("-") for word in each) if isinstance(each, list) else None,
)
def test_what_is_in_hand_is_told_while_a_worker_stops(
    multi: Multi, redis: str, library: str, words: list[str], line: str, *, tmp_path: Path
) -> None:
    """Name, short id, seconds and limit of every task, in whatever process it runs; never an argument."""
    wanted(library)
    for name, content in TASKS.items():
        (tmp_path / name).write_text(content)
    stop_schedule = "INT/60/KILL/5" if library == "huey" else "TERM/60/KILL/5"
    server = {"REDIS": redis, "RQ_REDIS_URL": redis, "SCHEDULE": stop_schedule}
    config = (
        "[defaults]\nroot = 'allow'\npidfile = 'run/%n.pid'\nlogfile = 'run/%n.log'\nstop_schedule = '${SCHEDULE}'\n"
    )
    (tmp_path / "multi.toml").write_text(config)
    done = multi("start", "w1", "--preset", library, *words, **server)
    assert done.returncode == 0, done.stdout + done.stderr
    put = [sys.executable, f"put_{library}.py"]
    subprocess.run(put, cwd=tmp_path, env={**os.environ, **server}, check=True, timeout=60)
    until(lambda: len(list(tmp_path.glob("begun-*"))) == int(line[0]), "its tasks have begun")
    said: list[str] = []

    def told() -> bool:
        said.append(json.loads(multi("status", "w1", "--json", **server).stdout)[0]["status_text"])
        return re.search(line, said[-1]) is not None

    with ThreadPoolExecutor() as pool:
        stop = pool.submit(multi, "stopwait", "w1", **server)
        try:
            until(told, "it tells what is in hand")
        finally:
            (tmp_path / "go").touch()
        stopped = stop.result()
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "hunter2" not in "".join(said)
