"""Tells `multi` what a Celery worker or beat is doing: a plug-in of Celery's own command line.

Celery loads the entry point group ``celery.commands`` whenever its command line starts
(https://docs.celeryq.dev/en/stable/userguide/extending.html#adding-new-celery-sub-commands). Loading this package
connects a few of Celery's signals, each of which sends a datagram as in sd_notify(3): ``READY=1`` when the worker
consumes or beat has its schedule, ``STOPPING=1`` when a shutdown begins, ``STATUS=`` with one line of text, and
``X_MULTI_WAITS=broker`` with it while the worker cannot reach the broker.
So OK means that the worker consumes, at any log level and with any pool, without a change to the user's app.

It may be that no `multi` listens. So the worker also writes its progress towards ``READY=1`` to a file beside the
pidfile, where the next command finds it. The instance token in the file says which start it is about.

The environment decides: without ``MULTI_INSTANCE``, which `multi` sets for its workers, and ``NOTIFY_SOCKET``, nothing
is connected. Both stay set, so a worker that restarts itself in place (HUP) says ``READY=1`` again. Tasks inherit both,
so a receiver believes the node's main process only. Pool processes send nothing: Celery sends these signals in its main
process alone. A worker never waits for a datagram and never fails because of one.
"""

from __future__ import annotations

import os

import click

# Celery asks of an entry point of this group that it is a command, so it is one that does nothing.
command = click.Command("multi-ready", hidden=True)

if os.environ.get("MULTI_INSTANCE") and os.environ.get("NOTIFY_SOCKET"):
    from multi.celery_plugin import ready

    ready.connect()
