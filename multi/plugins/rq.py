"""An RQ worker that tells `multi` what it does: ``python -m multi.plugins.rq worker`` is ``python -m rq.cli worker``.

It says READY=1 when it waits for its first job, and on TERM or INT which job it has in hand. Every class of workers has
both, because the methods of the class that they all extend are hooked.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from rq.worker import Worker

from multi.plugins.in_hand import TOLD, InHand, notify

_in_hand = InHand(acks_late=False)  # a job that is cut off is not run again
_ready = False


def _hook(name: str, first: Any) -> None:
    """Call `first` before the method that all classes of workers inherit."""
    owner = next((each for each in Worker.__mro__ if name in vars(each)), None)
    if owner is None:  # another RQ, of which this much is not known
        first(None)
        return
    original = vars(owner)[name]

    def hooked(worker: Any, *args: Any, **kwargs: Any) -> Any:
        first(worker)
        return original(worker, *args, **kwargs)

    setattr(owner, name, hooked)


def _waits(_: object) -> None:
    global _ready  # noqa: PLW0603 -- once in a process
    if not _ready:
        _ready = True
        notify(READY="1", STATUS="waiting for jobs")


def _stops(worker: Any) -> None:
    """Runs in the handler of a signal, so another thread asks for the job: that may take a round trip.

    Nothing is told where there is no job, where Redis is away, and where the job cannot be read.
    """
    if worker is not None:
        _in_hand.tell(lambda: _ask(worker))


def _ask(worker: Any) -> None:
    job = worker.get_current_job()
    began = job.started_at
    if began is not None and began.tzinfo is None:  # before RQ 2.4, in UTC
        began = began.replace(tzinfo=timezone.utc)
    ran = (datetime.now(timezone.utc) - began).total_seconds() if began else 0.0
    limit = float(job.timeout) if job.timeout and job.timeout > 0 else None
    _in_hand.began(job.id, job.func_name, limit, max(ran, 0.0))


if TOLD:
    _hook("dequeue_job_and_maintain_ttl", _waits)
    _hook("request_stop", _stops)

if __name__ == "__main__":
    from rq.cli.cli import main

    main()
