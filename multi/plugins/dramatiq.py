"""Dramatiq workers that tell `multi` what they do: ``python -m multi.plugins.dramatiq`` is ``python -m dramatiq``.

They say READY=1 when the threads of a worker process have begun, and while they stop which messages they have in hand.
The hook is a middleware (dramatiq.io, "Middleware") for the very broker that a worker process is made with.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import dramatiq
from dramatiq.middleware import TimeLimit

from multi.plugins.in_hand import TOLD, InHand, notify

_start = dramatiq.Worker.start


class _Telling(dramatiq.Middleware):
    def __init__(self, worker: Any) -> None:
        self._in_hand = InHand(acks_late=True)  # a message is acknowledged when it is done
        self._in_hand.reserved = worker.work_queue.qsize
        self._in_hand.eta = lambda: sum(each.delay_queue.qsize() for each in list(worker.consumers.values()))

    def before_process_message(self, broker: Any, message: Any) -> None:
        self._in_hand.began(str(message.message_id), str(message.actor_name), _limit(broker, message))

    def after_process_message(self, broker: Any, message: Any, **_: Any) -> None:  # noqa: ARG002 -- see above
        self._in_hand.ended(str(message.message_id))

    def after_skip_message(self, broker: Any, message: Any) -> None:  # noqa: ARG002 -- see above
        self._in_hand.ended(str(message.message_id))

    def before_worker_shutdown(self, broker: Any, worker: Any) -> None:  # noqa: ARG002 -- see above
        self._in_hand.tell()


def _limit(broker: Any, message: Any) -> float | None:
    """Seconds, of the message, its actor or the middleware."""
    with suppress(Exception):  # another Dramatiq says it in another way
        for each in broker.middleware:
            if isinstance(each, TimeLimit):
                of_actor = broker.get_actor(message.actor_name).options.get("time_limit")
                return float(message.options.get("time_limit") or of_actor or each.time_limit) / 1000
    return None


def _hooked(worker: Any, *args: Any, **kwargs: Any) -> None:
    worker.broker.add_middleware(_Telling(worker))
    _start(worker, *args, **kwargs)
    notify(READY="1", STATUS="waiting for messages")


if TOLD:  # also in a worker process that is spawned: it imports this module, which is its main one
    setattr(dramatiq.Worker, "start", _hooked)  # noqa: B010 -- for mypy a method is no attribute

if __name__ == "__main__":
    from dramatiq import __main__ as theirs
    from dramatiq.cli import main

    sys.argv[0] = theirs.__file__  # on HUP, Dramatiq goes by its own main module
    sys.exit(main())
