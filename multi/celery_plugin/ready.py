"""When the worker or beat is ready, and why it is not yet.

A worker says ``READY=1`` in the first turn of its consumer's loop. By then every handler of ``worker_ready`` has
returned, so a worker that dies of a handler is never ready. A prefork pool must be complete, too: each pool process
says through a pipe that it has come up.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import Any

from celery import signals

from multi.celery_plugin.notify import leave, notify, report

ONCE = {"weak": False, "dispatch_uid": "multi.celery_plugin"}  # however often a signal is connected
_CONSUMER = "celery.worker.consumer.consumer"  # the logger of what connects to the broker
_WAITS = {"X_MULTI_WAITS": "broker"}
_LOOK_AGAIN = 0.01  # seconds between two looks at a pool whose processes are coming up
_SLOW = 1.0  # seconds until the worker reports an incomplete pool


def _on_setup(instance: object = None, **_: object) -> None:
    """Logging is set up and the broker comes next: from here on, the consumer's errors explain why it is not ready.

    Celery has no signal for a failed connection, it only logs. A filter on that logger sees each record, whatever
    handlers the app has, and changes none. A beat inside this worker (-B) is not the node.
    """
    signals.beat_init.disconnect(_on_beat, dispatch_uid=ONCE["dispatch_uid"])
    _mend_restart()
    logging.getLogger(_CONSUMER).addFilter(_reason)
    leave(STATUS="connecting to its broker", **_WAITS)
    _pool.open(getattr(instance, "pool", None))


class _Pool:
    """The processes of this worker's prefork pool while they come up. Each says so through a pipe that it inherits.

    The pool itself does not know where the broker has no event loop.
    """

    def __init__(self) -> None:
        self._reading = self._writing = -1
        self._said = b""
        self._since: float | None = None  # when the pool was first found incomplete
        self._told = ""
        self.given_up = False  # a shutdown has begun, so this worker will not be ready

    def open(self, pool: Any) -> None:
        """The pool is about to start. Only forks of this process inherit the pipe, so other pools count as complete."""
        try:
            import billiard

            ours = type(pool).__module__ == "celery.concurrency.prefork" and pool.forking_enable
            if not ours or billiard.get_start_method() != "fork":
                return
            self._reading, self._writing = os.pipe()
            for end in (self._reading, self._writing):
                os.set_blocking(end, False)
            # Celery calls the last connected handler last: a process that dies of another handler has not come up.
            signals.worker_process_init.connect(self.came_up, **ONCE)
        except Exception:  # noqa: BLE001 -- whatever it is, the worker must not fail for it
            self.close()

    def came_up(self, **_: object) -> None:
        """Runs in the new process, which is set up and waits for tasks next."""
        if self._writing >= 0:
            with contextlib.suppress(OSError):
                os.write(self._writing, b"%d\n" % os.getpid())
            self.close()

    def complete(self, pool: Any) -> bool:
        """Whether all have come up. Reports what is missing once that takes long, and again when it changes."""
        if self._reading < 0:
            return True
        with contextlib.suppress(BlockingIOError):
            self._said += os.read(self._reading, 1 << 16)
        said = {int(pid) for pid in self._said.split()}
        up = len(said.intersection(pool.info["processes"]))  # without those that died
        missing = f"{up} of {pool.num_processes} pool processes have come up"
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if up >= pool.num_processes:
            return True
        if now >= self._since + _SLOW and missing != self._told:
            self._told = missing
            report(STATUS=missing)
        return False

    def close(self) -> None:
        """Close the pipe: processes that come later have nobody to tell."""
        for end in {self._reading, self._writing} - {-1}:
            with contextlib.suppress(OSError):
                os.close(end)
        self._reading = self._writing = -1


_pool = _Pool()


def _mend_restart() -> None:
    """Let a worker that was started as ``python -m celery`` survive HUP.

    Celery restarts itself in place with the interpreter and `sys.argv`, whose first word is the path of
    ``celery/__main__.py``. That file cannot run as a script, so the worker would die. Its arguments are parsed by now.
    """
    if sys.argv[0].endswith("/celery/__main__.py"):
        sys.argv[:1] = ["-m", "celery"]


def _forget_restart() -> None:
    """Let a worker that is stopped while it restarts itself in place stay stopped.

    On HUP Celery registers its restart for the exit of the process, and a TERM before that exit does not unregister it:
    the worker would start again, and nobody would stop it.
    """
    import atexit

    restart = getattr(sys.modules.get("celery.apps.worker"), "_reload_current_worker", None)
    if restart is not None:
        atexit.unregister(restart)


def _reason(record: logging.LogRecord) -> bool:
    """A logging filter that lets everything pass; an error becomes the status."""
    if record.levelno >= logging.ERROR:
        with contextlib.suppress(Exception):  # a record with a wrong format is its handler's to report
            report(STATUS=record.getMessage(), **_WAITS)
    return True


def _on_ready(sender: Any = None, **_: object) -> None:
    """The worker is about to consume. `sender` is its consumer, whose loop turns when all handlers have returned."""
    logging.getLogger(_CONSUMER).removeFilter(_reason)
    leave(STATUS="connected to its broker")
    try:
        sender.call_soon(_on_turn, sender)
    except Exception:  # noqa: BLE001 -- another kind of consumer: this signal is all that it gives
        _consuming(sender)


def _on_turn(consumer: Any) -> None:
    """The consumer's loop turns. While the pool is incomplete, this is called again a moment later.

    A worker that dies before the first turn of its loop calls this at its end, too.
    """
    from celery.bootsteps import RUN

    try:
        if consumer.blueprint.state != RUN or _pool.given_up:
            return
        if not _pool.complete(consumer.pool):
            consumer.timer.call_after(_LOOK_AGAIN, _on_turn, (consumer,))
            return
    except Exception:  # noqa: BLE001, S110 -- a pool that cannot be asked counts as complete
        pass
    _pool.close()
    _consuming(consumer)


def _consuming(consumer: Any) -> None:
    status = "consuming"
    with contextlib.suppress(Exception):  # not every Celery can say from what, and the worker must not fail for it
        status += f" {', '.join(sorted(consumer.app.amqp.queues.consume_from)) or 'nothing: it is drained'}"
    report(READY="1", STATUS=status)


def _on_shutting_down(how: str = "", **_: object) -> None:
    """Warm or cold shutdown has begun; runs inside a signal handler."""
    _pool.given_up = True
    _forget_restart()
    notify(STOPPING="1", STATUS=f"{how.lower()} shutdown".strip())


def _on_beat(**_: object) -> None:
    """Beat has made its scheduler and begins to tick; it connects to the broker only with the first task."""
    report(READY="1", STATUS="scheduling")


def _on_init(**fields: Any) -> None:
    """A worker is about to be made; a beat has no tasks, and need not import what is about them."""
    with contextlib.suppress(Exception):
        from multi.celery_plugin import worker

        worker.connect(**fields)


def connect() -> None:
    """Hear the worker's signals, however often this is called."""
    signals.celeryd_init.connect(_on_init, **ONCE)
    signals.celeryd_after_setup.connect(_on_setup, **ONCE)
    signals.worker_ready.connect(_on_ready, **ONCE)
    signals.worker_shutting_down.connect(_on_shutting_down, **ONCE)
    signals.beat_init.connect(_on_beat, **ONCE)
