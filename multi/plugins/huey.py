"""A huey consumer that tells `multi` what it does: ``python -m multi.plugins.huey`` is ``-m huey.bin.huey_consumer``.

It says READY=1 when its workers have begun, and while it stops which tasks are in hand: huey's own signals tell
(huey.readthedocs.io, "Signals"), in threads, greenlets and processes alike.
"""

from __future__ import annotations

import sys
from typing import Any

from huey.consumer import Consumer
from huey.signals import SIGNAL_EXECUTING

from multi.plugins.in_hand import TOLD, InHand, notify

_start = Consumer.start


def _hooked(consumer: Any) -> None:
    in_hand = InHand(acks_late=False)  # huey takes a task out of its queue before the task begins

    def heard(signal: str, task: Any, *_: Any) -> None:
        if signal == SIGNAL_EXECUTING:
            in_hand.tell(consumer.stop_flag.wait)  # by now this is the process that the task runs in
            in_hand.began(str(task.id), str(task.name), getattr(task, "timeout", None))
        else:
            in_hand.ended(str(task.id))

    consumer.huey.signal()(heard)
    sys.argv[:1] = ["-m", "multi.plugins.huey"]  # what huey executes on HUP, after the interpreter
    _start(consumer)
    notify(READY="1", STATUS="waiting for tasks")


if TOLD:
    Consumer.start = _hooked

if __name__ == "__main__":
    from huey.bin.huey_consumer import consumer_main

    consumer_main()
