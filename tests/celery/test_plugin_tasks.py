"""What a worker tells of its tasks, its heart and its queues: real workers, asked over their socket."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from celery_stage import PATIENCE, Ear, Stage, needs_library
from private_machine import need
from real import until

POOLS = ["prefork", "threads", "solo", "gevent", "eventlet"]
TOLD = "X_MULTI_TASKS"

# It has no way in from outside with the embedded broker, so it sends itself what DO says.
_APP = """
import json, os, time
from celery import Celery, signals
app = Celery("own", broker=os.environ.get("BROKER", "memory://"))
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_pool_restarts=True)
@app.task(name="orders.export", time_limit=300)
def export(seconds):
    time.sleep(seconds)
@app.task(name="mail.send", acks_late=True)
def send(seconds):
    time.sleep(seconds)
@app.task(name="count.up")
def count(number):
    with open("counted", "a") as file:
        file.write(f"{number}\\n")
@app.task(name="hold.on")
def hold(seconds):
    # Sleeps in C without letting go of the interpreter: what a C extension may do.
    import ctypes
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
@signals.worker_ready.connect
def begin(sender, **_):
    if os.environ.get("DO") and not os.path.exists("begun"):
        open("begun", "w").close()
        for name, seconds, options in json.loads(os.environ["DO"]):
            app.send_task(name, (seconds,), **options)
"""

Sent = tuple[str, float, Mapping[str, object]]


class Own(Stage):
    """An app of the test's own."""

    def begin(self, ear: Ear, pool: str, *sent: Sent, words: tuple[str, ...] = (), **env: str) -> int:
        """Start a worker that sends these tasks when it is ready; its pid, when it says so."""
        needs_library(pool)
        self.more = {"DO": json.dumps(sent) if sent else "", **env}
        (self.directory / "own.py").write_text(_APP, encoding="utf-8")
        process = self.worker("-P", pool, "-c", "2", *words, ear=ear, app="own", where=self.directory)
        ear.hear_until("READY")
        return process.pid

    def environment(self, ear: Ear | None, **more: str) -> dict[str, str]:
        """With what the app reads."""
        return super().environment(ear, **{**self.more, **more})

    def works(self, count: int) -> dict[str, object]:
        """The answer to ``tasks`` when so many are at work."""

        def answer() -> dict[str, object] | None:
            said = self.ask("tasks")
            return said if said["count"] == count else None

        return until(answer, f"{count} tasks are at work; {self.log()}", PATIENCE)

    def beats(self, **fields: str) -> dict[str, str]:
        """The heartbeat when it says so."""

        def beat() -> dict[str, str] | None:
            said = self.heartbeat()
            return said if fields.items() <= said.items() else None

        return until(beat, f"{fields}; {self.heartbeat()}", PATIENCE)

    def counted(self) -> list[int]:
        """What `count.up` was called with, in its order."""
        path = self.directory / "counted"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def shell(self, code: str) -> None:
        """Run this in a Python that has the app."""
        env = {**self.environment(None), "DO": ""}
        words = [sys.executable, "-c", f"from own import app\n{code}"]
        subprocess.run(words, cwd=self.directory, env=env, check=True, timeout=PATIENCE)


@pytest.fixture
def own(tmp_path: Path, stage: Stage) -> Own:
    """A stage with an app of its own."""
    own = Own(tmp_path)
    own.processes = stage.processes
    return own


class Redis:
    """A redis server that can be killed and started again."""

    def __init__(self) -> None:
        """Choose a place whose name is short."""
        need("redis-server", root=False)
        self.home = Path(tempfile.mkdtemp(prefix="multi-redis-"))
        self.url = f"redis+socket://{self.home}/socket"
        self.start()

    def start(self) -> None:
        """Back when it listens."""
        words = ["redis-server", "--port", "0", "--unixsocket", "socket", "--save", ""]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(words, cwd=self.home, stdin=quiet, stdout=quiet, start_new_session=True)
        until((self.home / "socket").exists, "redis listens", PATIENCE)

    def kill(self) -> None:
        """Back when it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE)
        (self.home / "socket").unlink(missing_ok=True)


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """A broker for the app."""
    redis = Redis()
    monkeypatch.setenv("BROKER", redis.url)
    yield redis
    redis.kill()
    shutil.rmtree(redis.home)


def end_of(ear: Ear, own: Own) -> list[dict[str, str]]:
    """Wait for the end of the worker; what it said until then."""
    process = own.processes[-1]
    heard: list[dict[str, str]] = []
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        heard += [said[1] for said in [ear.hear(0.2)] if said]
    assert process.poll() is not None, own.log()
    while said := ear.hear(0):
        heard.append(said[1])
    return heard


SLEEPS: tuple[Sent, ...] = (("orders.export", 4, {}), ("mail.send", 3, {}), ("mail.send", 0, {"countdown": 300}))


def engine(*pools: str) -> list[object]:
    """These pools in the default tier, all others among the engines."""
    return [pool if pool in pools else pytest.param(pool, marks=pytest.mark.engine) for pool in POOLS]


def exported(said: dict[str, Any]) -> dict[str, Any]:
    """What is said of that task; two begin at nearly the same time, so either may be the first."""
    (task,) = [task for task in said["active"] if task["name"] == "orders.export"]
    return dict(task)


@pytest.mark.parametrize("pool", engine("prefork", "solo"))
def test_a_warm_stop_says_what_it_waits_for(pool: str, own: Own, ear: Ear) -> None:
    """Name, id, seconds and limit, while tasks run, over the socket, in the file, and again and again at the stop."""
    pid = own.begin(ear, pool, *SLEEPS)
    at_once = 1 if pool == "solo" else 2
    began = time.monotonic()
    said = own.works(at_once)
    first = exported(said)
    assert (first["name"], first["limit"], first["acks_late"], len(first["id"])) == ("orders.export", 300, False, 8)
    assert (said["state"], said["pool"], said["drained"]) == ("consuming", pool, False)
    assert said["blocks"] is (pool != "threads"), "prefork waits for a free process where the broker has no event loop"
    os.kill(pid, signal.SIGTERM)
    heard = [fields for fields in end_of(ear, own) if TOLD in fields]
    told = [json.loads(fields[TOLD]) for fields in heard]
    assert told[0]["count"] == at_once
    assert f"warm shutdown, {at_once} task{'s' * (at_once > 1)}: " in heard[0]["STATUS"]
    assert f"orders.export {first['id']} " in heard[0]["STATUS"]
    assert exported(told[0])["seconds"] < time.monotonic() - began + 5, "it began just before"
    assert len(told) >= 3, "each second"
    if pool != "solo":
        assert told[0]["eta"] == 1
    beat = own.heartbeat()
    assert (beat["MULTI_INSTANCE"], beat["STATE"], beat["WHY"]) == ("test", "stopping", "warm shutdown")
    assert own.processes[-1].returncode == 0


def test_drain_and_resume_by_the_socket(own: Own, ear: Ear) -> None:
    """A drained worker takes no task and says so in its file; afterwards it consumes from the same queues."""
    words = ("-Q", "celery,long")
    pid = own.begin(ear, "threads", ("count.up", 1, {"countdown": 1}), words=words)
    assert own.beats(STATE="consuming")["DRAINED"] == "0"
    said = own.ask("drain")
    assert (said["state"], said["done"], said["drained"]) == ("draining", True, True)
    assert said["queues"] == ["celery", "long"]
    assert own.beats(STATE="draining")["DRAINED"] == "1"
    os.kill(pid, signal.SIGHUP)
    _, ready, _ = ear.hear_until("READY")
    assert ready["STATUS"] == "consuming nothing: it is drained"
    own.beats(STATE="draining")
    said = own.ask("resume")
    assert (said["state"], said["done"], said["drained"]) == ("consuming", True, False)
    assert said["queues"] == ["celery", "long"]
    assert own.beats(STATE="consuming")["DRAINED"] == "0"
    os.kill(pid, signal.SIGTERM)
    end_of(ear, own)


def test_a_worker_in_a_worker_is_silent(own: Own, ear: Ear) -> None:
    """What a task starts inherits the environment; its socket and file would be those of the node."""
    own.more = {"MULTI_INSTANCE_PID": "1"}
    (own.directory / "own.py").write_text(_APP, encoding="utf-8")
    own.worker("-P", "solo", ear=ear, app="own", where=own.directory)
    ear.hear_until("READY")
    assert {path.suffix for path in own.directory.iterdir()} & {".sock", ".heartbeat", ".new"} == set()


@pytest.mark.engine
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.usefixtures("redis")
def test_no_task_is_lost_or_done_twice_while_drained_and_resumed(pool: str, own: Own, ear: Ear) -> None:
    """300 tasks, published while the worker is drained and resumed: each is done once, and none while it is drained."""
    later = [number % 7 / 2 if number % 10 == 0 else 0 for number in range(300)]
    own.begin(ear, pool, *(("count.up", number, {"countdown": wait}) for number, wait in enumerate(later)))
    for _ in range(3):
        until(lambda: own.ask("drain")["done"], "it is drained", PATIENCE)
        until(lambda: own.ask("tasks")["count"] == own.ask("tasks")["reserved"] == 0, "it has nothing", PATIENCE)
        # A green thread may still hand on what was on its way when the consumers were cancelled.
        done = own.counted().count(1000)
        own.shell("app.send_task('count.up', (1000,))")
        assert own.counted().count(1000) == done
        until(lambda: own.ask("resume")["done"], "it consumes", PATIENCE)
    until(lambda: len(own.counted()) >= 303, f"all are done; {len(own.counted())}", PATIENCE)
    assert sorted(own.counted()) == sorted([*range(300), *[1000] * 3])


@pytest.mark.engine
@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_whose_broker_goes_waits_and_says_why(pool: str, own: Own, ear: Ear, redis: Redis) -> None:
    """It waits since then, beats with each try, and, when its broker is back, is still drained if it was."""
    own.begin(ear, pool)
    own.ask("drain")
    redis.kill()
    beat = own.beats(STATE="waiting")
    assert beat["DRAINED"] == "1"
    until(lambda: "Cannot connect to redis+socket" in own.heartbeat()["WHY"], "why", PATIENCE)
    until(lambda: own.heartbeat()["MONOTONIC_USEC"] > beat["MONOTONIC_USEC"], "it tries again", PATIENCE)
    assert own.ask("tasks")["state"] == "waiting"
    redis.start()
    own.beats(STATE="draining")
    own.shell("app.send_task('count.up', (1,))")
    assert own.counted() == []
    until(lambda: own.ask("resume")["done"], "it consumes", PATIENCE)
    until(lambda: own.counted() == [1], "it works", PATIENCE)


@pytest.mark.engine
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_broker_that_hangs_is_waited_for(pool: str, own: Own, ear: Ear, redis: Redis) -> None:
    """A suspended broker closes nothing, so Celery waits in a read: that worker waits, and is not wedged."""
    own.begin(ear, pool)
    own.beats(STATE="consuming")
    redis.process.send_signal(signal.SIGSTOP)
    beat = own.beats(STATE="waiting", WHY="its broker does not answer")
    assert beat["SINCE_USEC"] == beat["MONOTONIC_USEC"]
    redis.process.send_signal(signal.SIGCONT)
    own.beats(STATE="consuming", WHY="")


@pytest.mark.engine
def test_a_full_pool_is_no_broker_that_hangs(own: Own, ear: Ear) -> None:
    """Without an event loop the loop waits for a free process, inside what delivers from the broker."""
    own.begin(ear, "prefork", *[("orders.export", 14, {})] * 3)

    def old() -> dict[str, str] | None:
        beat = own.heartbeat()
        return beat if int(beat["WRITTEN_USEC"]) - int(beat["MONOTONIC_USEC"]) > 7_000_000 else None

    beat = until(old, "the loop does not turn", PATIENCE)
    assert (beat["STATE"], beat["BLOCKS"], beat["ACTIVE"]) == ("consuming", "1", "2")


@pytest.mark.parametrize("pool", engine("prefork"))
def test_a_cold_shutdown_names_what_it_cuts_off(pool: str, own: Own, ear: Ear) -> None:
    """QUIT: the last word has the tasks, and what becomes of them. Threads cannot be cut off and are waited for."""
    if pool == "solo":
        pytest.skip("Celery's own handler of QUIT raises into the task of this pool")
    pid = own.begin(ear, pool, ("orders.export", 6, {}), ("mail.send", 5, {}))
    own.works(2)
    os.kill(pid, signal.SIGTERM)
    ear.hear_until(TOLD)
    os.kill(pid, signal.SIGQUIT)
    heard = [fields for fields in end_of(ear, own) if TOLD in fields]
    last = json.loads(heard[-1][TOLD])
    if pool == "threads":
        assert all("X_MULTI_CUT" not in fields for fields in heard)
        return
    assert last["count"] == 2
    cut = {task["name"]: task["acks_late"] for task in last["active"]}
    assert cut == {"orders.export": False, "mail.send": True}
    assert heard[-1]["X_MULTI_CUT"] == heard[-1][TOLD]
    assert own.heartbeat()["X_MULTI_CUT"] == heard[-1][TOLD]
    assert heard[-1]["STATUS"].startswith("cold shutdown, cut off 2 tasks: ")


@pytest.mark.engine
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.usefixtures("redis")
def test_a_remote_shutdown_says_that_it_was_asked_for(pool: str, own: Own, ear: Ear) -> None:
    """Celery's own command: the datagram has it, and the file, which stays, with the text that the sender gave."""
    own.begin(ear, pool)
    own.shell("app.control.broadcast('shutdown', arguments={'msg': 'deploy by anna'})")
    _, fields, _ = ear.hear_until("X_MULTI_STOP")
    assert fields == {
        "STOPPING": "1",
        "STATUS": "remote shutdown",
        "X_MULTI_STOP": "asked",
        "X_MULTI_STOP_BY": "remote control (deploy by anna)",
    }
    end_of(ear, own)
    beat = own.heartbeat()
    assert (beat["STATE"], beat["WHY"]) == ("stopping", "remote shutdown")
    assert (beat["X_MULTI_STOP"], beat["X_MULTI_STOP_BY"]) == ("asked", "remote control (deploy by anna)")


@pytest.mark.engine
@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_what_keeps_the_loop_is_seen_in_the_file(pool: str, own: Own, ear: Ear) -> None:
    """Solo: the file is written while the beat gets old. A task that holds the interpreter: both get old, then not."""
    sent: Sent = ("orders.export", 12, {}) if pool == "solo" else ("hold.on", 9, {"countdown": 6})
    own.begin(ear, pool, sent)
    long = 8_000_000

    def kept() -> dict[str, str] | None:
        beat = own.heartbeat()
        now = time.monotonic_ns() // 1000
        written, turned = now - int(beat["WRITTEN_USEC"]), now - int(beat["MONOTONIC_USEC"])
        return beat if turned > long and (written < long) is (pool == "solo") else None

    beat = until(kept, "the beat is old", PATIENCE)
    assert (beat["STATE"], beat["BLOCKS"]) == ("consuming", "1" if pool == "solo" else "0")
    if pool == "solo":
        assert (beat["ACTIVE"], beat["OLDEST_NAME"], beat["OLDEST_LIMIT"]) == ("1", "orders.export", "300")
    until(lambda: time.monotonic_ns() // 1000 - int(own.heartbeat()["MONOTONIC_USEC"]) < long, "it beats", PATIENCE)


def holders(own: Own, pid: int) -> list[int]:
    """How many of the worker's sockets its main process has, and then each other process of the worker."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    sockets = {f"socket:[{row[6]}]" for row in rows if str(own.directory) in row[-1] or row[-1].endswith("/w.sock.new")}
    held = {pid: 0}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(own.directory).encode() in (path / "environ").read_bytes():
                links = [str(each.readlink()) for each in (path / "fd").iterdir()]
                held[int(path.name)] = len(sockets.intersection(links))
    return [held.pop(pid), *held.values()]


@pytest.mark.engine
@pytest.mark.usefixtures("redis")
def test_pool_processes_hold_nothing_of_the_plugin(own: Own, ear: Ear) -> None:
    """However often pool processes are replaced, the main process alone has the socket, and a drain outlives it."""
    pid = own.begin(
        ear, "prefork", *[("count.up", number, {}) for number in range(20)], words=("--max-tasks-per-child", "1")
    )
    until(lambda: len(own.counted()) == 20, "all are done", PATIENCE)
    assert own.ask("tasks")["blocks"] is False, "here the event loop hands tasks out"
    own.ask("drain")
    own.shell("app.control.pool_restart()")
    until(lambda: own.ask("tasks")["state"] == "draining", "it answers", PATIENCE)
    until(lambda: len(holders(own, pid)) > 2, "the pool is up", PATIENCE)
    assert (holders(own, pid)[0], set(holders(own, pid)[1:])) == (1, {0})
    assert own.ask("tasks")["drained"] is True
    own.shell("app.send_task('count.up', (99,))")
    until(lambda: own.ask("resume")["done"], "it consumes", PATIENCE)
    until(lambda: 99 in own.counted(), "it works", PATIENCE)
