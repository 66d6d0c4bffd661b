"""Real workers on every pool, under `multi` and a real broker: what a stop tells, drain, and restart when idle."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from celery_stage import needs_library
from real import Real, until
from workers import redis_server

POOLS = ["prefork", "threads", "solo", "gevent", "eventlet"]
APP = """
import os, time
from celery import Celery
app = Celery("live", broker=os.environ["BROKER"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)
@app.task(name="orders.export", time_limit=300)
def export(seconds):
    time.sleep(seconds)
@app.task(name="mail.send", acks_late=True)
def send(seconds):
    time.sleep(seconds)
@app.task(name="count.up")
def count(number):
    fd = os.open("counted", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"%d\\n" % number)
    os.close(fd)
"""


class Live:
    """A node w1 of that pool, and a way to send it tasks."""

    def __init__(self, real: Real, pool: str, broker: str) -> None:
        """Start it."""
        needs_library(pool)
        self.real = real
        self.place = real.base / "live"
        self.place.mkdir()
        (self.place / "live.py").write_text(APP)
        real.env |= {
            "BROKER": broker.replace("unix:", "redis+socket:"),
            "C_FORCE_ROOT": "1",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(self.place),
        }
        options = f"-A live -P {pool} -c 2 --workdir={self.place} --stop-schedule=TERM/3/QUIT/10/KILL/5"
        files = (f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log")
        real.raw("start", "w1", *shlex.split(options), *files).ok()

    def send(self, code: str) -> None:
        """Run this where the app is."""
        words = [sys.executable, "-c", f"import live\n{code}"]
        subprocess.run(words, cwd=self.place, env={**os.environ, **self.real.env}, check=True, timeout=60)

    def works(self, count: int) -> dict[str, object]:
        """What `tasks` tells once so many are at work."""

        def told() -> dict[str, object] | None:
            (shown,) = json.loads(self.real.multi("tasks", "w1", "--json").out)
            found: dict[str, object] | None = shown["tasks"]
            return found if found is not None and found["count"] == count else None

        return until(told, f"{count} tasks", 60)

    def draining(self) -> str:
        """Since when it drains, by its heartbeat."""
        path = self.real.run / "w1.heartbeat"
        said = dict(line.partition("=")[::2] for line in path.read_text().splitlines()) if path.exists() else {}
        return said["SINCE_USEC"] if said.get("STATE") == "draining" else ""

    def counted(self) -> list[int]:
        """What was counted."""
        path: Path = self.place / "counted"
        return sorted(map(int, path.read_text().split())) if path.exists() else []


@pytest.mark.engine
@pytest.mark.parametrize("pool", POOLS)
def test_a_stop_of_a_real_worker_names_its_tasks(real: Real, pool: str) -> None:
    """`stopwait` tells what it waits for, the signal that comes next, and what QUIT cut off, and what becomes of it."""
    with redis_server() as broker:
        live = Live(real, pool, broker)
        live.send("live.export.delay(60); live.send.delay(60)")
        running = 1 if pool == "solo" else 2
        live.works(running)
        events = real.multi("stopwait", "w1", "--json").ok().events
        told = [event for event in events if event["event"] == "waiting"]
        assert told
        assert told[0]["next_signal"] == "QUIT"
        (cut,) = [event for event in events if event["event"] == "cut_off"]
        fates = {task["name"]: task["fate"] for task in cut["tasks"]}  # type: ignore[attr-defined]  # a list
        everything = {"orders.export": "lost", "mail.send": "redelivered"}
        # A green thread that is slow to hear of the cold shutdown may be missing.
        least = 1 if pool in {"gevent", "eventlet"} else running
        assert least <= len(fates) <= running
        assert fates.items() <= everything.items()
        assert "cut off" in real.multi("why", "w1").ok().out


@pytest.mark.engine
@pytest.mark.timeout(300)  # six starts of Python with Celery, and as many waits for a worker
@pytest.mark.parametrize("pool", POOLS)
def test_no_task_is_lost_while_drained_reloaded_and_restarted(real: Real, pool: str) -> None:
    """Under load all tasks are done once each, across a drain, a reload, a resume and a restart when idle."""
    third = 20 if pool == "eventlet" else 100  # eventlet does three in a second
    with redis_server() as broker:
        live = Live(real, pool, broker)
        live.send(f"for n in range({third}): live.count.delay(n)")
        real.multi("drain", "w1").ok()
        live.send(f"for n in range({third}, {2 * third}): live.count.delay(n)")
        before = live.draining()
        real.multi("reload", "w1").ok()
        until(lambda: live.draining() not in {"", before}, "it drains after the reload", 60)
        assert len(live.counted()) < 2 * third
        real.multi("resume", "w1").ok()
        live.send(f"for n in range({2 * third}, {3 * third}): live.count.delay(n)")
        events = real.multi("restart", "--when-idle", "w1", "--json").ok().events
        assert "cut_off" not in [event["event"] for event in events]
        until(lambda: len(live.counted()) >= 3 * third, f"all are done, {len(live.counted())} so far", 150)
        assert live.counted() == list(range(3 * third))
