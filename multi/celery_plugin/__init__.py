r"""Tells `multi` what a Celery worker or beat is doing: a plug-in of Celery's own command line.

Celery loads the entry point group ``celery.commands`` whenever its command line starts
(https://docs.celeryq.dev/en/stable/userguide/extending.html#adding-new-celery-sub-commands). The environment decides:
without ``MULTI_INSTANCE``, which `multi` sets for its workers, and ``NOTIFY_SOCKET``, nothing is connected, opened or
started. Tasks inherit both, so a receiver believes the node's main process only. Nothing here raises into the worker,
makes it wait, or runs when a task is received, begins or ends. Names, short ids and seconds of tasks are told, never
arguments.

**Datagrams** (sd_notify(3)), which the worker sends to `multi` when it listens::

    READY=1                       it consumes; or beat has its schedule
    STATUS=consuming celery
    STATUS=... X_MULTI_WAITS=broker           it cannot reach its broker; the status says why
    STOPPING=1                    a shutdown has begun
    STATUS=warm shutdown
    STATUS=warm shutdown, 2 tasks: orders.export 3f2ab81c 41s (limit 300s), mail.send 9c01f3aa 2s
    X_MULTI_TASKS={"count":2,"active":[{"name":"orders.export","id":"3f2ab81c","seconds":41.2,"limit":300,
        "acks_late":false},{"name":"mail.send","id":"9c01f3aa","seconds":2.0,"limit":null,"acks_late":true}],
        "reserved":3,"eta":1}                 (one line) each second for ten seconds, then each five
    X_MULTI_CUT={...}             the same object: tasks that a cold shutdown has just cut off. X_MULTI_TASKS comes
                                  with it and the same value, and is not sent again
    X_MULTI_STOP=asked            somebody asked for this stop by Celery's remote control
    X_MULTI_STOP_BY=remote control (deploy by anna)     with the text that the sender gave as `msg`, if any

``active`` has at most ten tasks, longest first; ``count`` counts all. ``limit`` is the hard time limit of the task or
else of the worker, or else the soft one. A worker that stops without any task sends no ``X_MULTI_TASKS``.

**The file** ``STEM.notify`` beside the pidfile: progress towards ``READY=1``, for a command that did not hear it.

**The file** ``STEM.heartbeat``, replaced as a whole each five seconds and at each change::

    MULTI_INSTANCE=8c6b1a0f       the token of the start that it is about
    MONOTONIC_USEC=81234567890    when the consumer's loop last turned (CLOCK_MONOTONIC); while it waits for its broker,
                                  when it last tried
    WRITTEN_USEC=81234567890      when this was written: the process can run Python
    EVERY_USEC=5000000            how often it is written when all is well
    STATE=consuming               consuming, waiting (for its broker, which is down or does not answer), draining (takes
                                  no new task), stopping
    SINCE_USEC=81230000000        since when it is in this state
    WHY=                          why it waits, how it stops
    DRAINED=0                     1: it takes no new task, also while it waits for its broker or stops. A worker that
                                  restarts itself in place (HUP) reads it here, and stays drained
    POOL=prefork                  prefork, solo, threads, gevent, eventlet, or the module of another pool
    BLOCKS=0                      1: tasks can keep the loop from turning (solo, gevent, eventlet; prefork at a broker
                                  that has no event loop, where the loop waits for a free process; pools of others)
    ACTIVE=2                      tasks at work
    RESERVED=3
    ETA=1
    OLDEST_USEC=81193000000       when the longest-running task began; this and what follows only with ACTIVE above 0
    OLDEST_NAME=orders.export
    OLDEST_ID=3f2ab81c
    OLDEST_LIMIT=300              empty without one
    X_MULTI_CUT={...}             only after a cold shutdown, as above
    X_MULTI_STOP=asked            only in such a stop, with X_MULTI_STOP_BY as above. It stays when the worker has ended

The loop stamps, and a thread writes. So a reader can tell: ``waiting`` is never unhealthy. A beat that is not old is
healthy. If the beat is old and the file is not, the loop is kept: by a task (``BLOCKS=1`` and ``ACTIVE`` above 0: busy
until its limit), or else it is wedged. If both are old, the process runs no Python: a task holds the interpreter lock
(any pool but prefork may be busy), the process is suspended, or its disk does not answer.
Times of one boot compare; `MULTI_INSTANCE` says whose they are.

**The socket** ``STEM.sock`` (stream, mode 0600; root and the worker's user are served): one request line, one answer
line of JSON, then it is closed. It answers while a task keeps the loop::

    tasks    {"state":"consuming","since":12.5,"beat":0.4,"pool":"prefork","blocks":false,"drained":false,
              "count":2,"active":[...],"reserved":3,"eta":1}
    drain    {"state":"draining","since":0.1,"done":true,"queues":["celery"],"drained":true,"count":2,...}
    resume   {"state":"consuming","since":0.1,"done":true,"queues":["celery"],"drained":false,"count":2,...}
    other    {"error":"no such request"}, {"error":"the worker is stopping"}

``since`` and ``beat`` are seconds ago. ``done`` is false when the loop did not turn within three seconds: it will do it
as soon as it turns. ``queues`` are those that were cancelled, or are consumed from again. What was fetched before
(reserved, ETA) is still done. A drained worker stays drained when its broker connection, its pool or the worker itself
(HUP) restarts; a new start consumes.
"""

from __future__ import annotations

import os

import click

# Celery asks of an entry point of this group that it is a command, so it is one that does nothing.
command = click.Command("multi-ready", hidden=True)

if os.environ.get("MULTI_INSTANCE") and os.environ.get("NOTIFY_SOCKET"):
    from multi.celery_plugin import ready

    ready.connect()
