"""A small Celery app for trying multi. It needs no server: messages and results are files in one directory.

CELERY_APP_DATA   that directory; ./data when not set
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from celery import Celery, Task
from celery.utils.log import get_task_logger

DATA = Path(os.environ.get("CELERY_APP_DATA") or "data").resolve()
FOLDERS = {name: DATA / name for name in ("messages", "control", "results")}
for folder in FOLDERS.values():
    folder.mkdir(parents=True, exist_ok=True)

app = Celery("tasks")
app.conf.update(
    broker_url="filesystem://",
    broker_transport="files_broker:Transport",
    broker_transport_options={
        "data_folder_in": str(FOLDERS["messages"]),
        "data_folder_out": str(FOLDERS["messages"]),
        "control_folder": str(FOLDERS["control"]),
        "polling_interval": 0.1,  # seconds
    },
    result_backend=f"file://{FOLDERS['results']}",
    # A worker takes one message per free process, so that what it has not begun stays with the others.
    worker_prefetch_multiplier=1,
    result_extended=True,  # results tell which worker made them
    worker_timer_precision=0.1,  # seconds; a worker that stops waits as long for its timer
    # No broadcast: this broker has nobody to clean up after a worker that was killed.
    worker_enable_remote_control=False,
    beat_schedule={"a-sum-now-and-then": {"task": "tasks.add", "schedule": 1.0, "args": (2, 2)}},
    beat_schedule_filename=str(DATA / "celerybeat-schedule"),
)
log = get_task_logger(__name__)


@app.task
def add(x: int, y: int) -> int:
    """Return a sum, at once."""
    return x + y


@app.task(bind=True)
def sleep_for(self: Task, seconds: float) -> dict[str, float]:
    """Take `seconds`, say how far it is (state ``PROGRESS``), and return when it began and ended (Unix time)."""
    began = time.time()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        self.update_state(state="PROGRESS", meta={"left": round(left, 1)})
        log.info("%.1f seconds left", left)
        time.sleep(min(left, 0.5))
    return {"began": began, "ended": time.time()}


@app.task
def uninterruptible(seconds: float) -> float:
    """Take `seconds` and let no signal but KILL end it; what a stop schedule has its last stage for."""
    deaf = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, deaf)
    try:
        time.sleep(seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return seconds
