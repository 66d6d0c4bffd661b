"""Tells `multi` what a Celery worker or beat is doing: a plug-in of Celery's own command line.

Celery loads the entry point group ``celery.commands`` whenever its command line starts
(https://docs.celeryq.dev/en/stable/userguide/extending.html#adding-new-celery-sub-commands). Loading this module
connects a few of Celery's signals, and those become datagrams of the protocol of sd_notify(3): ``READY=1`` when the
worker consumes or beat has its schedule, ``STOPPING=1`` when a shutdown begins, ``STATUS=`` with one line of text,
``X_MULTI_WAITS=broker`` with it while the broker cannot be reached.
So OK means that the worker consumes, at any log level and with any pool, and the user's app stays as it is.

A worker says ``READY=1`` in the first turn of its consumer's loop. By then every handler of ``worker_ready`` has
returned, and a worker that dies of one is never ready. A prefork pool must have its processes, too: each says through
a pipe that it has come up.

Nobody may be listening. So what leads to ``READY=1`` is left in a file beside the pidfile, too, where the next command
finds it. The instance token in it says which start it is about.

The environment decides: without ``MULTI_INSTANCE``, which `multi` gives to what it starts, and ``NOTIFY_SOCKET``,
nothing is connected. Both stay set, so that a worker that restarts itself in place (HUP) says ``READY=1`` again, and
tasks inherit them: a receiver believes the node's main process only. Pool children send nothing, as Celery sends these
signals in its main process alone. A worker never waits for a datagram and never fails for one.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import click

_UID = "multi.celery_ready"  # a receiver with a dispatch_uid is connected once, however often this is loaded
_CONSUMER = "celery.worker.consumer.consumer"  # the logger of the part of a worker that connects to the broker
_LONGEST = 400  # characters of a status; one datagram, one line
_WAITS = {"X_MULTI_WAITS": "broker"}
_LOOK_AGAIN = 0.01  # seconds between two looks at a pool whose processes are coming up
_SLOW = 1.0  # seconds after which it is said what of the pool is missing


def address(text: str) -> str | None:
    r"""Address of the socket that ``NOTIFY_SOCKET`` names: a path, or ``@name`` for the abstract ``\0name``.

    None for what is neither, as other kinds of socket carry no datagram from here (sd_notify(3)).
    """
    if text.startswith("@") and len(text) > 1:
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def notify(**fields: str) -> bool:
    """Send one datagram ``NAME=value`` a line; whether it was taken. Never waits, never raises an `OSError`."""
    where = address(os.environ.get("NOTIFY_SOCKET", ""))
    if where is None:
        return False
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)
            text = "\n".join(f"{name}={_line(value)}" for name, value in fields.items())
            sender.sendto(text.encode(errors="replace"), where)
    except (OSError, ValueError):  # ValueError: an address that no socket can have
        return False
    return True


def report(**fields: str) -> None:
    """`notify`, and leave the same beside the pidfile for a command that does not listen now."""
    leave(**fields)  # first, so that who hears of it and removes the file does not do so too early
    notify(**fields)


def leave(**fields: str) -> None:
    """Put into the file beside the pidfile, in one step, what this worker is doing; never raises an `OSError`.

    A directory that the worker may not write to stays as it is.
    """
    pidfile = os.environ.get("MULTI_INSTANCE_PIDFILE", "")
    if not pidfile.startswith("/"):
        return
    lines = {"MULTI_INSTANCE": os.environ.get("MULTI_INSTANCE", ""), "MONOTONIC_USEC": str(time.monotonic_ns() // 1000)}
    text = "".join(f"{name}={_line(value)}\n" for name, value in {**lines, **fields}.items())
    with contextlib.suppress(OSError, ValueError):  # ValueError: a path that no file can have
        path = Path(pidfile).with_suffix(".notify")
        beside = path.with_suffix(".notify.new")
        beside.unlink(missing_ok=True)  # of a worker that was killed just here
        # Others may have made links in this directory: it must be a file of our own making that is written to.
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, text.encode(errors="replace"))
        finally:
            os.close(fd)
        beside.replace(path)


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]


def connect() -> None:
    """Connect Celery's signals; a second call changes nothing."""
    from celery import signals

    signals.celeryd_after_setup.connect(_on_setup, weak=False, dispatch_uid=_UID)
    signals.worker_ready.connect(_on_ready, weak=False, dispatch_uid=_UID)
    signals.worker_shutting_down.connect(_on_shutting_down, weak=False, dispatch_uid=_UID)
    signals.beat_init.connect(_on_beat, weak=False, dispatch_uid=_UID)


def _on_setup(instance: object = None, **_: object) -> None:
    """Logging is set up and the broker comes next: from here on, its errors are the reason for not being ready.

    Celery has no signal for a connection that fails, it only logs. A filter on that one logger sees each record,
    whatever handlers the app has set up, and changes none. A beat inside this worker (-B) is not the node.
    """
    import logging

    from celery import signals

    signals.beat_init.disconnect(_on_beat, dispatch_uid=_UID)
    _mend_restart()
    logging.getLogger(_CONSUMER).addFilter(_reason)
    leave(STATUS="connecting to its broker", **_WAITS)
    _pool.open(getattr(instance, "pool", None))


class _Pool:
    """A prefork pool's processes while they come up. Each says so through a pipe that it inherits.

    Nobody else knows: where the broker has no event loop, the pool itself does not. The one pool of this worker.
    """

    def __init__(self) -> None:
        self._reading = self._writing = -1
        self._said = b""
        self._since: float | None = None  # when it was first found incomplete
        self._told = ""
        self.given_up = False  # a shutdown has begun, so this worker is not going to be ready

    def open(self, pool: object) -> None:
        """The pool is about to start. One whose processes are no forks of this one cannot be asked."""
        try:
            if not _forks(pool):
                return
            from celery import signals

            self._reading, self._writing = os.pipe()
            for end in (self._reading, self._writing):
                os.set_blocking(end, False)
            # The last handler to be connected is the last to be called: a process that dies of another has not come up.
            signals.worker_process_init.connect(self.came_up, weak=False, dispatch_uid=_UID)
        except Exception:  # noqa: BLE001 -- whatever it is, the worker must not fail for it
            self.close()

    def came_up(self, **_: object) -> None:
        """In the new process: it is set up, and waits for tasks next."""
        if self._writing >= 0:
            with contextlib.suppress(OSError):
                os.write(self._writing, b"%d\n" % os.getpid())
            self.close()

    def missing(self, pool: Any) -> str:  # noqa: ANN401 -- Celery is not typed
        """What is still to come, for people; empty when the pool is complete, or cannot be asked."""
        if self._reading < 0:
            return ""
        with contextlib.suppress(BlockingIOError):
            self._said += os.read(self._reading, 1 << 16)
        said = {int(pid) for pid in self._said.split()}
        up = len(said.intersection(pool.info["processes"]))  # those that died are in it no more
        return f"{up} of {pool.num_processes} pool processes have come up" if up < pool.num_processes else ""

    def tell(self, missing: str) -> None:
        """Report it, when it takes long and when it changes."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now >= self._since + _SLOW and missing != self._told:
            self._told = missing
            report(STATUS=missing)

    def close(self) -> None:
        """Nobody asks any more, and processes that come later tell nobody."""
        ends, self._reading, self._writing = {self._reading, self._writing}, -1, -1
        for end in ends - {-1}:
            with contextlib.suppress(OSError):
                os.close(end)


def _forks(pool: Any) -> bool:  # noqa: ANN401 -- Celery is not typed
    """Whether it is Celery's own prefork pool, whose processes inherit what this one has open."""
    import billiard

    ours = type(pool).__module__ == "celery.concurrency.prefork" and pool.forking_enable
    return bool(ours) and billiard.get_start_method() == "fork"


_pool = _Pool()


def _mend_restart() -> None:
    """Let a worker that was started as ``python -m celery`` survive HUP.

    Celery restarts itself in place with the interpreter and `sys.argv`, and there the first word is the path of
    ``celery/__main__.py``, which cannot run as a script: the worker would be gone. Its arguments are parsed by now.
    """
    import sys

    if sys.argv[0].endswith("/celery/__main__.py"):
        sys.argv[:1] = ["-m", "celery"]


def _forget_restart() -> None:
    """Let a stop that comes while a worker restarts itself in place be a stop.

    On HUP Celery registers its restart for the end of the process, and a TERM that comes before that end does not take
    it back: the worker would start again, with nobody left to tell it to stop.
    """
    import atexit
    import sys

    restart = getattr(sys.modules.get("celery.apps.worker"), "_reload_current_worker", None)
    if restart is not None:
        atexit.unregister(restart)


def _reason(record: object) -> bool:
    """A logging filter that lets everything pass; what goes wrong becomes the status."""
    import logging

    if isinstance(record, logging.LogRecord) and record.levelno >= logging.ERROR:
        with contextlib.suppress(Exception):  # a record with a wrong format is its handler's to report
            report(STATUS=record.getMessage(), **_WAITS)
    return True


def _on_ready(sender: object = None, **_: object) -> None:
    """The worker is about to consume. `sender` is its consumer, whose loop turns when all handlers have returned."""
    import logging

    logging.getLogger(_CONSUMER).removeFilter(_reason)
    leave(STATUS="connected to its broker")
    try:
        consumer: Any = sender
        consumer.call_soon(_on_turn, consumer)
    except Exception:  # noqa: BLE001 -- a consumer of another make: what it says now is all that can be known
        _consuming(sender)


def _on_turn(consumer: Any) -> None:  # noqa: ANN401 -- Celery is not typed
    """The consumer's loop turns. What is missing of the pool is looked for again; nobody waits for it here.

    What the loop has not come to is also called at the end of a worker that dies before its first turn.
    """
    from celery.bootsteps import RUN

    try:
        if consumer.blueprint.state != RUN or _pool.given_up:
            return
        missing = _pool.missing(consumer.pool)
        if missing:
            _pool.tell(missing)
            consumer.timer.call_after(_LOOK_AGAIN, _on_turn, (consumer,))
            return
    except Exception:  # noqa: BLE001, S110 -- a pool that cannot be asked is taken for one that has its processes
        pass
    _pool.close()
    _consuming(consumer)


def _consuming(consumer: object) -> None:
    report(READY="1", STATUS=_queues(consumer))


def _queues(consumer: object) -> str:
    """What the worker consumes from; a plain word where this Celery cannot say."""
    try:
        app: Any = getattr(consumer, "app", None)
        return f"consuming {', '.join(sorted(app.amqp.queues.consume_from))}"
    except Exception:  # noqa: BLE001 -- the text is an extra: nothing about it may harm a worker
        return "consuming"


def _on_shutting_down(how: str = "", **_: object) -> None:
    """Warm or cold shutdown has begun; runs inside a signal handler."""
    _pool.given_up = True
    _forget_restart()
    notify(STOPPING="1", STATUS=f"{how.lower()} shutdown".strip())


def _on_beat(**_: object) -> None:
    """Beat has made its scheduler and begins to tick; it has nothing better to show, the broker comes with a task."""
    report(READY="1", STATUS="scheduling")


@click.command("multi-ready", hidden=True)
def command(**_options: object) -> None:  # Celery hands every command the options that an app adds to all of them
    """Say whether this worker's environment can report to multi."""
    missing = [name for name in ("MULTI_INSTANCE", "NOTIFY_SOCKET") if not os.environ.get(name)]
    if missing:
        raise click.ClickException(
            f"reports nothing: {' and '.join(missing)} not set; start the worker with multi and ready = 'notify'"
        )
    text = os.environ["NOTIFY_SOCKET"]
    why = _refusal(text)
    if why:
        raise click.ClickException(f"cannot report to {text}: {why}; multi listens only while it waits for the worker")
    click.echo(f"reports to {text}")


def _refusal(text: str) -> str:
    """Why the socket takes no datagram, empty when it does; connecting sends none."""
    where = address(text)
    if where is None:
        return "not a path and not an abstract @name"
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


if os.environ.get("MULTI_INSTANCE") and os.environ.get("NOTIFY_SOCKET"):
    connect()
