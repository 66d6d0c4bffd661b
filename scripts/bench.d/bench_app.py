"""The app of the measured Celery workers.

Each says with its own clock when it consumes, so that nobody has to believe what a supervisor calls ready.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import celery
from celery.signals import worker_ready

app = celery.Celery("bench", broker="memory://", backend="cache+memory://")
app.conf.broker_connection_retry_on_startup = True


@worker_ready.connect
def say_ready(sender: object, **_: object) -> None:
    """Write the time into this worker's own file, in one step."""
    name = str(getattr(sender, "hostname", "")).partition("@")[0]
    path = Path(os.environ["BENCH_READY"]) / name
    path.with_suffix(".new").write_text(f"{os.getpid()} {time.monotonic()}", encoding="ascii")
    path.with_suffix(".new").rename(path)
