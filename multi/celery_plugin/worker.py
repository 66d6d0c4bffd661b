"""The parts of the plug-in in one worker, and what connects them with Celery.

`Step` is a step of the consumer's blueprint, Celery's documented way to hear of each connection to the broker
(https://docs.celeryq.dev/en/stable/userguide/extending.html#consumer). Celery calls it in the main thread; signal
handlers interrupt that thread anywhere, so what they call sets values, sends a datagram, and takes no lock.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps, signals
from celery.worker import state as books

from multi.celery_plugin import heartbeat as beats
from multi.celery_plugin.control import Answer, Control
from multi.celery_plugin.drain import Drain
from multi.celery_plugin.heartbeat import EVERY, Heartbeat
from multi.celery_plugin.notify import notify
from multi.celery_plugin.stack import Loop
from multi.celery_plugin.tasks import Task, Tasks, Work
from multi.celery_plugin.thread import Thread

_ONCE = {"weak": False, "dispatch_uid": "multi.celery_plugin.worker"}
_CONSUMER = "celery.worker.consumer.consumer"
_CUTS = ("cancel_active_requests", "cancel_all_unacked_requests")  # how Celery has called it
_KILLS = {"prefork", "gevent", "eventlet"}  # pools whose tasks end with a cold shutdown, before Celery cancels them
_FIRST, _OFTEN, _SELDOM = 10.0, 1.0, 5.0  # seconds: so long it tells so often, and later so often


class Worker:
    """One worker, from its first connection to its broker to its end."""

    def __init__(self, controller: Any) -> None:
        self.tasks = Tasks()
        self.tasks.controller = controller
        self.control = Control(self.ask)
        with contextlib.suppress(Exception):  # a directory that the worker may not write to: nobody asks
            self.control.open()
        self.thread = Thread(self.control, self.turn)
        self.heart = Heartbeat(self.tasks, self.thread.interrupt)
        self.heart.drained = self.heart.was_drained()
        self.drain = Drain(wanted=self.heart.drained)
        self.consumer: Any = None
        self._loop: Loop | None = None
        self._entry: Any = None  # the beat in the timer of Celery's event loop
        self._asked = False  # whether a beat is under way to a loop without a timer
        self._due = self._late = 0.0
        self._stopped: float | None = None  # since when tasks are told
        self._told = self._cuts = False
        self._last = ""  # the last trouble with the broker

    # What Celery's main thread calls.

    def connected(self, consumer: Any) -> None:
        """There is a connection to the broker, and the loop is about to begin."""
        heart = self.heart
        if self.consumer is not consumer:
            self.consumer = consumer
            for name in filter(lambda each: hasattr(consumer, each), _CUTS):
                setattr(consumer, name, self.cutting(getattr(consumer, name)))
            heart.pool = str(type(consumer.pool).__module__).removeprefix("celery.concurrency.")
            heart.pool = {"thread": "threads"}.get(heart.pool, heart.pool)
            # Tasks run where the loop runs, or the loop waits for a free process; not with threads, and not where
            # Celery's event loop hands tasks to processes.
            heart.blocks = heart.pool != "threads" and not (heart.pool == "prefork" and consumer.hub)
            _hear_remote_shutdown(self)
        self._loop = Loop()
        if self._entry is not None:
            consumer.timer.cancel(self._entry)
        self._entry = None
        if consumer.hub:
            self._entry = consumer.timer.call_repeatedly(EVERY, self.loop)
            consumer.hub.add_reader(self.thread.bell, self.rung)
        with contextlib.suppress(Exception):  # the loop comes upon it, too, or it is done later
            self.drain.apply(consumer, consume=False)
        heart.enter(self.connected_state)
        heart.stamp()

    @property
    def connected_state(self) -> str:
        """What a worker does that has its broker."""
        return beats.DRAINING if self.drain.wanted else beats.CONSUMING

    def disconnected(self, consumer: Any) -> None:
        """The connection is lost, or the worker stops."""
        if consumer.blueprint.state == bootsteps.RUN:
            self.heart.enter(beats.WAITING, self._last or "the connection to its broker is lost")
        else:
            self.stopping("")

    def rung(self) -> None:
        """The thread wants the event loop to turn."""
        self.thread.answer_bell()
        self.loop()

    def loop(self) -> None:
        """The consumer's loop turns; it makes a drain so that is not yet."""
        self._asked = False
        with contextlib.suppress(Exception):  # as in `connected`
            if self.drain.wanted or not self.drain.done:
                self.drain.apply(self.consumer)
        if self.heart.state == beats.WAITING:  # for an answer, and it has come
            self.heart.enter(self.connected_state)
        self.heart.stamp()

    def trouble(self, record: logging.LogRecord) -> bool:
        """A logging filter that lets everything pass: Celery only logs why it has no connection."""
        if record.levelno >= logging.WARNING:
            with contextlib.suppress(Exception):  # a record with a wrong format is its handler's to report
                error = record.exc_info[1] if record.exc_info else None
                self._last = record.getMessage() + (f" ({error})" if error is not None else "")
                if self.heart.state == beats.WAITING:
                    self.heart.why = self._last
                    self.heart.stamp()
        return True

    def stopping(self, how: str, **more: str) -> None:
        """A shutdown has begun; called in signal handlers, too."""
        self.heart.more |= more
        self.heart.enter(beats.STOPPING, how or self.heart.why)
        if self._stopped is None:
            self._stopped = self._due = time.monotonic()
            self.thread.interrupt()

    def cut(self, tasks: tuple[Task, ...]) -> None:
        """A cold shutdown has cut off these tasks."""
        if tasks:
            work = Work(tasks)
            self._cuts = True  # what the thread says later must not follow this word
            self.heart.more["X_MULTI_CUT"] = said = work.json()
            notify(STATUS=f"cold shutdown, cut off {work}", X_MULTI_TASKS=said, X_MULTI_CUT=said)
            self.heart.write()  # now, because the process may end before the thread's turn

    def cutting(self, cancel: Callable[..., Any]) -> Callable[..., Any]:
        """Celery's own function that cancels tasks, and after it the word which it was."""

        @functools.wraps(cancel)
        def told(*args: Any, **kwargs: Any) -> Any:
            work, self._cuts = Work(), True
            with contextlib.suppress(Exception):
                notify(STOPPING="1", STATUS="cold shutdown")
                self.stopping("cold shutdown")
                work = self.tasks.look()
            left = self.heart.pool != "solo"  # there Celery cannot cancel: what it raises ends the task
            try:
                return cancel(*args, **kwargs)
            finally:
                with contextlib.suppress(Exception):
                    keys = {task.key for task in self.tasks.look().active} if left else set()
                    self.cut(tuple(task for task in work.active if task.key not in keys))
                self._cuts = "X_MULTI_CUT" in self.heart.more

        return told

    def asked(self, text: str) -> None:
        """Somebody has sent Celery's remote command ``shutdown``: the worker ends, perhaps at once."""
        who = f"remote control ({text})" if text else "remote control"
        told = {"X_MULTI_STOP": "asked", "X_MULTI_STOP_BY": who}
        notify(STOPPING="1", STATUS="remote shutdown", **told)
        self.stopping("remote shutdown", **told)
        self.heart.write()

    # What the plug-in's thread calls.

    def turn(self) -> float:
        """Do what is due; return the seconds until the next turn."""
        now, heart = time.monotonic(), self.heart
        if self._stopped is None and not {books.should_stop, books.should_terminate} <= {None, False}:
            self.stopping("the worker restarts itself or ends")
        if self._stopped is not None:
            return self._stops(now)
        if heart.changed or now >= self._late:
            late = now - heart.beat > EVERY * 1.4 and heart.state != beats.WAITING
            if late and self._loop is not None and self._loop.in_broker():
                heart.enter(beats.WAITING, "its broker does not answer")
                heart.since = heart.beat
            heart.write()
            self._late = now + EVERY * 1.5
        if now >= self._due:
            self._due = now + EVERY
            if self._entry is None and self.consumer is not None and not self._asked:
                self._asked = True  # a loop without a timer of its own turns every two seconds at least
                self.consumer.call_soon(self.loop)
        return max(0.1, min(self._late, self._due) - now)

    def _stops(self, now: float) -> float:
        if now >= self._due:
            first = self._stopped if self._stopped is not None else now
            self._due = now + (_OFTEN if now - first < _FIRST else _SELDOM)
            work = self.tasks.look()
            if (work or self._told) and not self._cuts:
                self._told = True
                status = f"{self.heart.why}, {work}" if self.heart.why else str(work)
                notify(STATUS=status, X_MULTI_TASKS=work.json())
            self.heart.write()
        return self._due - now

    def ask(self, request: str) -> Callable[[bool], Answer | None]:
        """A peer asks; what is returned gives the answer, or None while the loop has not turned."""
        if request in {"drain", "resume"}:
            if self._stopped is not None:
                return lambda _: {"error": "the worker is stopping"}
            self.drain.wanted = self.heart.drained = request == "drain"
            if self.heart.state != beats.WAITING:
                self.heart.enter(self.connected_state)
            if self.consumer is not None and self.consumer.hub:
                self.thread.ring()
            elif self.consumer is not None:
                self.consumer.call_soon(self.loop)
            return lambda last: self.facts() if self.drain.done or last else None
        if request == "tasks":
            return lambda _: self.facts(drain=False)
        return lambda _: {"error": "no such request"}

    def facts(self, *, drain: bool = True) -> Answer:
        """The state and the tasks."""
        heart, now = self.heart, time.monotonic()
        facts: dict[str, object] = {"state": heart.state, "since": round(now - heart.since, 1)}
        if drain:
            facts |= {"done": self.drain.done, "queues": list(self.drain.told)}
        else:
            facts |= {"beat": round(now - heart.beat, 1), "pool": heart.pool, "blocks": heart.blocks}
        return {**facts, "drained": self.drain.wanted, **self.tasks.look().facts()}


class Step(bootsteps.StartStopStep):  # type: ignore[misc] # Celery is not typed
    """Hears of each connection: when the consumers of the queues are made, and before the loop lets them begin."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, c: Any) -> None:
        """There is a connection."""
        with contextlib.suppress(Exception):
            if _worker is not None:
                _worker.connected(c)

    def stop(self, c: Any) -> None:
        """There is none any more."""
        with contextlib.suppress(Exception):
            if _worker is not None:
                _worker.disconnected(c)


_worker: Worker | None = None


def _hear_remote_shutdown(worker: Worker) -> None:
    """Celery sends no signal for it, so the command tells first, and then does what it does."""
    from celery.worker.control import Panel

    Panel.data["shutdown"] = _preceded(Panel.data["shutdown"], lambda msg="", **_: worker.asked(str(msg)))


def _on_setup(instance: Any = None, **_: object) -> None:
    """The worker is made and connects next. One that a task starts has the environment of ours, and is not ours."""
    global _worker  # noqa: PLW0603 -- Celery makes a step of the class, so there is no other way to reach this
    if _worker is not None or os.environ.get("MULTI_INSTANCE_PID", str(os.getpid())) != str(os.getpid()):
        return
    with contextlib.suppress(Exception):
        worker = Worker(instance)
        logging.getLogger(_CONSUMER).addFilter(worker.trouble)
        waits = getattr(instance, "wait_for_soft_shutdown", None)
        if waits is not None and instance.app.conf.worker_soft_shutdown_timeout:
            instance.wait_for_soft_shutdown = _preceded(waits, lambda **_: worker.stopping("soft shutdown"))
        try:
            worker.thread.start()
        except BaseException:
            worker.control.close()  # nobody is to wait for an answer
            raise
        _worker = worker


def _preceded(call: Callable[..., Any], first: Callable[..., None]) -> Callable[..., Any]:
    """The same, and before it `first`, which gets its words by name."""

    @functools.wraps(call)
    def both(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(Exception):
            first(**kwargs)
        return call(*args, **kwargs)

    return both


def _on_shutting_down(how: str = "", **_: object) -> None:
    """Runs inside a signal handler. Before Celery cancelled tasks itself, a cold shutdown cut off what was at work."""
    with contextlib.suppress(Exception):
        worker = _worker
        if worker is None:
            return
        worker.stopping(f"{how.lower()} shutdown".strip())
        old = not any(hasattr(worker.consumer, name) for name in _CUTS)
        if how == "Cold" and old and worker.heart.pool in _KILLS:
            worker.cut(worker.tasks.look().active)


def connect(instance: Any = None, **_: object) -> None:
    """A worker is about to be made: hear its signals, and add a step to its consumer while that is open."""
    if sys.platform != "win32":
        signals.celeryd_after_setup.connect(_on_setup, **_ONCE)
        signals.worker_shutting_down.connect(_on_shutting_down, **_ONCE)
        instance.app.steps["consumer"].add(Step)
