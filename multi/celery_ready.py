"""Tells `multi` what a Celery worker or beat is doing: a plug-in of Celery's own command line.

Celery loads the entry point group ``celery.commands`` whenever its command line starts
(https://docs.celeryq.dev/en/stable/userguide/extending.html#adding-new-celery-sub-commands). Loading this module
connects a few of Celery's signals, and those become datagrams of the protocol of sd_notify(3): ``READY=1`` when the
worker consumes or beat has its schedule, ``STOPPING=1`` when a shutdown begins, ``STATUS=`` with one line of text.
So OK means that the worker consumes, at any log level and with any pool, and the user's app stays as it is.

The environment decides: without ``MULTI_INSTANCE``, which `multi` gives to what it starts, and ``NOTIFY_SOCKET``,
nothing is connected. Both stay set, so that a worker that restarts itself in place (HUP) says ``READY=1`` again, and
tasks inherit them: a receiver believes the node's main process only. Pool children send nothing, as Celery sends these
signals in its main process alone. A worker never waits for a datagram and never fails for one.
"""

from __future__ import annotations

import os
from typing import Any

import click

_UID = "multi.celery_ready"  # a receiver with a dispatch_uid is connected once, however often this is loaded
_CONSUMER = "celery.worker.consumer.consumer"  # the logger of the part of a worker that connects to the broker
_LONGEST = 400  # characters of a status; one datagram, one line


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


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]


def connect() -> None:
    """Connect Celery's signals to `notify`; a second call changes nothing."""
    from celery import signals

    signals.celeryd_after_setup.connect(_on_setup, weak=False, dispatch_uid=_UID)
    signals.worker_ready.connect(_on_ready, weak=False, dispatch_uid=_UID)
    signals.worker_shutting_down.connect(_on_shutting_down, weak=False, dispatch_uid=_UID)
    signals.beat_init.connect(_on_beat, weak=False, dispatch_uid=_UID)


def _on_setup(**_: object) -> None:
    """Logging is set up and the broker comes next: from here on, its errors are the reason for not being ready.

    Celery has no signal for a connection that fails, it only logs. A filter on that one logger sees each record,
    whatever handlers the app has set up, and changes none. A beat inside this worker (-B) is not the node.
    """
    import logging

    from celery import signals

    signals.beat_init.disconnect(_on_beat, dispatch_uid=_UID)
    _mend_restart()
    logging.getLogger(_CONSUMER).addFilter(_reason)


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
    import contextlib
    import logging

    if isinstance(record, logging.LogRecord) and record.levelno >= logging.ERROR:
        with contextlib.suppress(Exception):  # a record with a wrong format is its handler's to report
            notify(STATUS=record.getMessage())
    return True


def _on_ready(sender: object = None, **_: object) -> None:
    """The worker consumes. `sender` is its consumer."""
    import logging

    logging.getLogger(_CONSUMER).removeFilter(_reason)
    notify(READY="1", STATUS=_queues(sender))


def _queues(consumer: object) -> str:
    """What the worker consumes from; a plain word where this Celery cannot say."""
    try:
        app: Any = getattr(consumer, "app", None)
        return f"consuming {', '.join(sorted(app.amqp.queues.consume_from))}"
    except Exception:  # noqa: BLE001 -- the text is an extra: nothing about it may harm a worker
        return "consuming"


def _on_shutting_down(how: str = "", **_: object) -> None:
    """Warm or cold shutdown has begun; runs inside a signal handler."""
    _forget_restart()
    notify(STOPPING="1", STATUS=f"{how.lower()} shutdown".strip())


def _on_beat(**_: object) -> None:
    """Beat has made its scheduler and begins to tick; it has nothing better to show, the broker comes with a task."""
    notify(READY="1", STATUS="scheduling")


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
