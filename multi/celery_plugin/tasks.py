"""What the worker works on, from the books that Celery keeps itself (`celery.worker.state`).

A look copies Celery's sets, so it may be taken in any thread and inside a signal handler while tasks come and go.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from celery.worker import state
from celery.worker.request import Request

MOST = 10  # tasks that are named
_LONGEST = 3000  # bytes of an answer: it must fit into one datagram
_NAME, _ID = 120, 8  # characters


class Task(NamedTuple):
    """One task at work. `begun` is monotonic; `limit` is seconds, None without one."""

    key: tuple[int, str]
    name: str
    id: str
    begun: float
    limit: float | None
    acks_late: bool

    def __str__(self) -> str:
        """As the status has it: ``orders.export 3f2ab81c 41s (limit 300s)``."""
        limit = "" if self.limit is None else f" (limit {self.limit:g}s)"
        return f"{self.name} {self.id} {time.monotonic() - self.begun:.0f}s{limit}"


class Work(NamedTuple):
    """All that a worker has in hand, the longest-running task first."""

    active: tuple[Task, ...] = ()
    reserved: int = 0
    eta: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.active or self.reserved or self.eta)

    def facts(self) -> dict[str, object]:
        """As JSON has it: all counted, the longest-running ones named."""
        now = time.monotonic()
        named = [
            {
                "name": task.name,
                "id": task.id,
                "seconds": round(now - task.begun, 1),
                "limit": task.limit,
                "acks_late": task.acks_late,
            }
            for task in self.active[:MOST]
        ]
        while named and len(json.dumps(named)) > _LONGEST:
            named.pop()
        return {"count": len(self.active), "active": named, "reserved": self.reserved, "eta": self.eta}

    def json(self) -> str:
        """One line."""
        return json.dumps(self.facts(), separators=(",", ":"))

    def __str__(self) -> str:
        """As the status has it."""
        count = len(self.active)
        named = ", ".join(map(str, self.active[:MOST]))
        return f"{count} task{'' if count == 1 else 's'}{': ' if named else ''}{named}"


class Tasks:
    """Remembers since when each task runs, so that a clock that jumps changes no task's age.

    Celery notes the wall clock's time when a task begins. A task that was not there at the last look has begun since.
    """

    def __init__(self) -> None:
        self.controller: Any = None
        self._begun: dict[tuple[int, str], float] = {}
        self._looked = float("-inf")

    def look(self) -> Work:
        """What there is to do now."""
        now, wall = time.monotonic(), time.time()
        active, known = _members(state.active_requests), self._begun
        tasks = [self._task(request, now, wall, known) for request in active]
        self._begun, self._looked = {task.key: task.begun for task in tasks}, now
        reserved = max(0, len(_members(state.reserved_requests)) - len(tasks))
        return Work(tuple(sorted(tasks, key=lambda task: task.begun)), reserved, self._eta())

    def _task(self, request: Any, now: float, wall: float, known: dict[tuple[int, str], float]) -> Task:
        key = (id(request), str(request.id))
        begun = known.get(key)
        if begun is None:
            started = _number(request.time_start)
            begun = now if started is None else min(now, max(self._looked, now - (wall - started)))
        task, worker = request.task, self.controller
        hard, soft = (*(request.time_limits or ()), None, None)[:2]
        hards = (hard, task.time_limit, getattr(worker, "time_limit", None))
        softs = (soft, task.soft_time_limit, getattr(worker, "soft_time_limit", None))
        limit = next((number for number in map(_number, hards + softs) if number), None)
        return Task(key, str(request.name)[:_NAME], key[1][:_ID], begun, limit, bool(task.acks_late))

    def _eta(self) -> int:
        """How many tasks wait for their time. Celery keeps a book of them since 5.7; before, its timer knows them."""
        scheduled = getattr(state, "scheduled_requests", None)
        if scheduled is not None:
            return len(_members(scheduled))
        timer = getattr(self.controller, "timer", None)
        queue = getattr(getattr(timer, "schedule", timer), "_queue", ())
        entries = [getattr(each, "entry", None) for each in queue.copy()] if queue else []
        first = ((getattr(entry, "args", None) or (None,))[0] for entry in entries)
        return sum(isinstance(each, Request) for each in first)


def _members(requests: Any) -> list[Any]:
    """The members of a `weakref.WeakSet` that another thread may change meanwhile: its set is copied at one stroke."""
    references = getattr(requests, "data", None)
    if references is None:
        return list(requests)
    return [request for request in (each() for each in references.copy()) if request is not None]


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None
