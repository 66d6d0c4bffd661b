"""Taking no new task: every queue is cancelled, and later exactly those are consumed from again.

What is `wanted` is set by the plug-in's thread. The loop makes it so, since a broker connection belongs to it: when it
is called, at every beat, and before it consumes over a new connection. So a worker stays drained whatever restarts
under it, and a queue that is added by remote control meanwhile waits for the end of the drain.
"""

from __future__ import annotations

from typing import Any


class Drain:
    """Whether this worker shall be drained, and the names of the queues that it would consume from."""

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.queues: list[str] = []
        self.told: list[str] = []  # what the last request was about
        self._is = False

    @property
    def done(self) -> bool:
        """Whether the loop has made it so."""
        return self.wanted == self._is

    def apply(self, consumer: Any, *, consume: bool = True) -> None:
        """Called by the loop. Without `consume` nothing is consumed now: the loop is about to begin with all."""
        queues, wanted = consumer.app.amqp.queues, self.wanted
        if wanted:
            names = dict.fromkeys((*queues.consume_from, *(each.name for each in consumer.task_consumer.queues)))
            self.queues += [name for name in names if name not in self.queues]
            for name in names:
                consumer.cancel_task_queue(name)
            self.told = list(self.queues)
        elif self._is:
            self.told = list(self.queues)
            for name in self.told:
                if consume:
                    consumer.add_task_queue(name)
                else:
                    consumer.task_consumer.add_queue(queues.select_add(queues[name]))
            self.queues = []
        self._is = wanted
