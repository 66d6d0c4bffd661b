"""Every shipped preset under multi, from one multi.toml: started, ready, seen, stopped, nothing left.

The presets of libraries without a plug-in of their own tell what is in hand while they stop.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from multi.settings import presets
from real import until
from workers import install, postgres_server, redis_server, wanted

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

[groups.granian]
count = 1
preset = "granian"
options = ["--interface=asgi", "--uds=run/%n.http", "aproj:app"]

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
        ("granian", "granian", ["granian1"]),
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
        ("granian", "granian", ["--interface=asgi", "--uds=run/bad.http", "--", "broken:app"]),
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


JOBS = """[defaults]
root = "allow"
pidfile = "run/%n.pid"
logfile = "run/%n.log"
"""
# Jobs and requests that last until a file is there.
UNTIL_GO = {
    "gproj.py": "import asyncio, pathlib\n\n\nasync def app(scope, receive, send):\n"
    "    while scope['type'] == 'lifespan':\n"
    "        said = await receive()\n        await send({'type': said['type'] + '.complete'})\n"
    "        if said['type'] == 'lifespan.shutdown':\n            return\n"
    "    pathlib.Path('begun-1').touch()\n"
    "    while not pathlib.Path('go').exists():\n        await asyncio.sleep(0.05)\n"
    "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
    "    await send({'type': 'http.response.body', 'body': b'exported'})\n",
    "pproj.py": "import os, procrastinate\nfrom jobs import export\n"
    "app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ['PG']))\n"
    "app.task(name='orders.export')(export)\n",
    "arqproj.py": "import asyncio, os, pathlib\nfrom arq.connections import RedisSettings\n\n\n"
    "async def export(ctx):\n    pathlib.Path(f'begun-{ctx[\"job_try\"]}').touch()\n"
    "    while not pathlib.Path('go').exists():\n        await asyncio.sleep(0.05)\n    return 'exported'\n\n\n"
    "class Settings:\n    functions = [export]\n    poll_delay = 0.1\n    retry_jobs = True\n"
    "    redis_settings = RedisSettings(unix_socket_path=os.environ['REDIS'].removeprefix('unix://'))\n\n\n"
    "class Patient(Settings):\n    functions, poll_delay, redis_settings = [export], 0.1, Settings.redis_settings\n"
    "    job_completion_wait = 60\n",
    "put_arq.py": "import asyncio, arq, arqproj\n\n\nasync def put():\n"
    "    pool = await arq.create_pool(arqproj.Settings.redis_settings)\n"
    "    await pool.enqueue_job('export', _job_id='one')\n    await pool.aclose()\n\n\nasyncio.run(put())\n",
}
ARQ = ("arq==0.28.0", "redis==5.3.1")  # it refuses the redis that Celery wants, so constraints.txt cannot hold it


class Jobs:
    """Nodes whose work lasts until it may end."""

    def __init__(self, multi: Multi, directory: Path, **env: str) -> None:
        """Put the project there, with what is the same for all nodes in multi.toml."""
        self.multi, self.directory, self.env = multi, directory, env
        for name, content in {**TASKS, **UNTIL_GO}.items():
            (directory / name).write_text(content)
        (directory / "multi.toml").write_text(JOBS)

    def __call__(self, *words: str) -> str:
        """Run multi, which succeeds; what it printed."""
        done = self.multi(*words, **self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, *words: str | Path) -> None:
        """Run a Python of the project."""
        subprocess.run(words, cwd=self.directory, env={**os.environ, **self.env}, check=True, timeout=60)

    def log(self) -> str:
        """What the node has printed."""
        return (self.directory / "run/w1.log").read_text()

    def begun(self, name: str = "begun-*") -> bool:
        """Whether its work has begun."""
        return any(self.directory.glob(name))

    def pid(self) -> int:
        """Of its main process."""
        return int((self.directory / "run/w1.pid").read_text())

    def finishes(self, waits: str) -> None:
        """A stop begins while there is work, and the node says that it waits: the work ends first, then the node."""
        until(self.begun, "its work has begun")
        with ThreadPoolExecutor() as pool:
            stop = pool.submit(self.multi, "stopwait", "w1", **self.env)
            try:
                until(lambda: waits in self.log(), "it says that it stops")
            finally:
                (self.directory / "go").touch()
            done = stop.result()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "KILL" not in done.stdout + done.stderr


def test_granian_finishes_its_requests_and_reloads(multi: Multi, tmp_path: Path) -> None:
    """G6: a request in hand is answered; HUP replaces its processes under the same main process."""
    wanted("granian")
    jobs = Jobs(multi, tmp_path)
    words = ["--preset=granian", "--interface=asgi", "--uds=http", "--respawn-interval=0.1", "--", "gproj:app"]
    assert "preset granian" not in jobs("check", "w1", *words)
    jobs("start", "w1", *words)
    jobs("restart", "w1")
    pid = jobs.pid()
    jobs("reload", "w1")
    until(lambda: "Stopped old worker-1" in jobs.log(), "its process is replaced")
    assert jobs.pid() == pid
    assert states(multi, "w1") == {"w1": "running"}
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(get, f"{tmp_path}/http")
        jobs.finishes("Shutting down granian")
        assert answer.result().endswith(b"exported")


@pytest.mark.parametrize(
    ("group", "package", "begins"),
    [("hypercorn", "hypercorn", "Running on "), ("taskiq", "taskiq", "Listening started")],
)
def test_a_reload_replaces_the_processes(multi: Multi, tmp_path: Path, group: str, package: str, begins: str) -> None:
    """HUP replaces the processes under the same main process."""
    wanted(package)
    done = multi("start", group)
    assert done.returncode == 0, done.stdout + done.stderr
    pidfile, log = tmp_path / f"run/{group}1.pid", tmp_path / f"run/{group}1.log"
    pid = pidfile.read_text()
    assert multi("reload", group).returncode == 0
    until(lambda: log.read_text().count(begins) == 2, "its process is replaced")
    assert (pidfile.read_text(), states(multi, group)) == (pid, {f"{group}1": "running"})
    done = multi("stopwait", group)
    assert done.returncode == 0, done.stdout + done.stderr


def get(path: str) -> bytes:
    """What a server at a socket answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        connection.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_procrastinate_finishes_its_jobs(multi: Multi, tmp_path: Path) -> None:
    """G4, G6: it is ready once its database knows it, and a job in hand is done before it ends."""
    procrastinate = wanted("procrastinate")
    wanted("psycopg_binary")
    words = ["--preset=procrastinate", "-a", "pproj.app", "--fetch-job-polling-interval=0.2"]
    with postgres_server() as database:
        jobs = Jobs(multi, tmp_path, PG=database)
        jobs("check", "w1", *words)
        done = multi("start", "w1", *words, PG=database)
        assert done.returncode == 1
        assert "Database error" in done.stdout + done.stderr, "there are no tables yet"
        app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=database))
        with app.open():
            app.schema_manager.apply_schema()
            jobs("start", "w1")
            jobs("restart", "w1")
            app.configure_task("orders.export", allow_unknown=True).defer(secret="hunter2")  # noqa: S106 -- an argument
            jobs.finishes("Waiting for job to finish")
        assert "ended with status: Success" in jobs.log()
        assert re.search(r"procrastinate\.worker\.w1@\S+:Starting worker on", jobs.log())


def test_arq_puts_its_jobs_back_or_finishes_them(multi: Multi, redis: str, tmp_path: Path) -> None:
    """G6: it gives its job back at a stop, and the next one does it; with job_completion_wait it does it first."""
    python = install(tmp_path / "venv", *ARQ)
    said = "import arq.cli, json; rows = [vars(each) for each in arq.cli.cli.params if each.opts[0][0] == '-']\n"
    said += "print(json.dumps([[row['opts'], row['secondary_opts'], row['is_flag']] for row in rows]))"
    options = subprocess.run([python, "-c", said], capture_output=True, text=True, timeout=60, check=True)
    flags = {word for opts, more, is_flag in json.loads(options.stdout) if is_flag for word in (*opts, *more)}
    valued = {word for opts, _, is_flag in json.loads(options.stdout) if not is_flag for word in opts}
    preset = presets.load("arq")
    assert (set(preset.flags), set(preset.valued)) == (flags - {"-V", "--version"}, valued)
    jobs = Jobs(multi, tmp_path, REDIS=redis)
    words = ["--preset=arq", f"--executable={python}", "--"]
    jobs("check", "w1", *words, "arqproj.Settings")
    jobs("start", "w1", *words, "arqproj.Settings")
    jobs.run(python, "put_arq.py")
    until(lambda: jobs.begun("begun-1"), "its job has begun")
    assert "KILL" not in jobs("restart", "w1", *words, "arqproj.Patient")
    assert "cancelled, will be run again" in jobs.log()
    until(lambda: jobs.begun("begun-2"), "it has the job again")
    jobs.finishes("1 to be completed")
    assert "'exported'" in jobs.log()
