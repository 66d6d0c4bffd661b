"""The app of the image; CELERY_BROKER_URL says where its broker is."""

from __future__ import annotations

import os
import time

from celery import Celery

app = Celery("tasks", broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0"))
app.conf.beat_schedule = {"each minute": {"task": "tasks.work", "schedule": 60.0, "args": (5,)}}


@app.task  # type: ignore[untyped-decorator]  # Celery has no types
def work(seconds: float) -> float:
    """Take some time."""
    time.sleep(seconds)
    return seconds
