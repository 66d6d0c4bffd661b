"""What the consumer's loop does: the loop stamps, the plug-in's thread writes it down.

The loop pays for a stamp: a number is kept and a byte is sent. All input and output is the thread's, so a disk that
does not answer holds up no task.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable

from multi.celery_plugin.notify import beside, write
from multi.celery_plugin.original import original
from multi.celery_plugin.tasks import Tasks, Work

EVERY = 5.0  # seconds between two beats
CONSUMING, WAITING, DRAINING, STOPPING = "consuming", "waiting", "draining", "stopping"
_PATIENCE = 0.5  # seconds that the loop waits at most for a disk
_LIMIT = 1 << 14  # bytes of a file that is read


class Heartbeat:
    """The state of this worker, and what its loop did last. `interrupt` lets the thread write at once."""

    def __init__(self, tasks: Tasks, interrupt: Callable[[], None]) -> None:
        self.path = beside(".heartbeat")
        self.tasks = tasks
        self.state, self.why = WAITING, "starts"
        self.since = self.beat = time.monotonic()
        self.pool, self.blocks = "", False
        self.drained = False
        self.more: dict[str, str] = {}  # how it stops
        self.changed = True
        self._interrupt = interrupt
        self._lock = original("_thread", "allocate_lock")()  # one writes at a time

    def stamp(self) -> None:
        """The loop turns, or the worker has tried its broker again."""
        self.beat = time.monotonic()
        self._change()

    def _change(self) -> None:
        self.changed = True
        self._interrupt()

    def enter(self, state: str, why: str = "") -> None:
        """The worker is in this state from now on. It does not return from a stop."""
        if self.state == STOPPING and state != STOPPING:
            return
        if state != self.state:
            self.since = time.monotonic()
        self.state, self.why = state, why
        self._change()

    def fields(self, work: Work) -> dict[str, str]:
        """As the file has them."""
        fields = {
            "MULTI_INSTANCE": os.environ.get("MULTI_INSTANCE", ""),
            "MONOTONIC_USEC": _usec(self.beat),
            "WRITTEN_USEC": _usec(time.monotonic()),
            "EVERY_USEC": _usec(EVERY),
            "STATE": self.state,
            "SINCE_USEC": _usec(self.since),
            "WHY": self.why,
            "DRAINED": str(int(self.drained)),
            "POOL": self.pool,
            "BLOCKS": str(int(self.blocks)),
            "ACTIVE": str(len(work.active)),
            "RESERVED": str(work.reserved),
            "ETA": str(work.eta),
        }
        for task in work.active[:1]:
            limit = "" if task.limit is None else f"{task.limit:g}"
            fields |= {
                "OLDEST_USEC": _usec(task.begun),
                "OLDEST_NAME": task.name,
                "OLDEST_ID": task.id,
                "OLDEST_LIMIT": limit,
            }
        return {**fields, **self.more}

    def write(self) -> None:
        """Called by the thread, and by the loop only where the process may end before the thread's turn."""
        if not self._lock.acquire(timeout=_PATIENCE):
            return
        try:
            self.changed, work = False, Work()
            with contextlib.suppress(Exception):  # a book of Celery's that is not as expected: the beat counts more
                work = self.tasks.look()
            write(self.path, self.fields(work))
        finally:
            self._lock.release()

    def was_drained(self) -> bool:
        """Whether this very start was told to drain before the worker restarted itself in place (HUP)."""
        token = os.environ.get("MULTI_INSTANCE", "")
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                ours = stat.S_ISREG(os.fstat(fd).st_mode)
                said = os.pread(fd, _LIMIT, 0).decode(errors="replace").split("\n") if ours else []
            finally:
                os.close(fd)
        except (OSError, ValueError):
            return False
        return f"MULTI_INSTANCE={token}" in said[:1] and "DRAINED=1" in said


def _usec(seconds: float) -> str:
    return str(int(seconds * 1_000_000))
