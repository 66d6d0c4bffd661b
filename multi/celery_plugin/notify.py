"""What the worker says, as in sd_notify(3): a datagram to `multi` if it listens, and a file for when it does not.

Nothing here waits, and nothing raises into the worker.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_LONGEST = 400  # characters of a status; one datagram, one line


def notify(**fields: str) -> bool:
    r"""Send one datagram, a line ``NAME=value`` a field; whether it was sent. Never waits, never raises an `OSError`.

    To a path, or to the abstract ``\0name`` of ``@name``; other kinds of socket carry no datagram from here
    (sd_notify(3)).
    """
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")) or where == "@":
        return False
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)
            text = "\n".join(f"{name}={line(value)}" for name, value in fields.items())
            sender.sendto(text.encode(errors="replace"), "\0" + where[1:] if where[0] == "@" else where)
    except (OSError, ValueError):  # ValueError: an address that no socket can have
        return False
    return True


def report(**fields: str) -> None:
    """`notify`, and write the same beside the pidfile for a command that does not listen now."""
    leave(**fields)  # first: `multi` may remove the file as soon as it has heard the datagram
    notify(**fields)


def leave(**fields: str) -> None:
    """Write the fields to the file beside the pidfile, atomically, or not at all; never raises an `OSError`."""
    pidfile = os.environ.get("MULTI_INSTANCE_PIDFILE", "")
    if not pidfile.startswith("/"):
        return
    lines = {"MULTI_INSTANCE": os.environ.get("MULTI_INSTANCE", ""), "MONOTONIC_USEC": str(time.monotonic_ns() // 1000)}
    text = "".join(f"{name}={line(value)}\n" for name, value in {**lines, **fields}.items())
    with contextlib.suppress(OSError, ValueError):  # ValueError: a path that no file can have
        path = Path(pidfile).with_suffix(".notify")
        beside = path.with_suffix(".notify.new")
        beside.unlink(missing_ok=True)  # left by a worker that was killed just here
        # Others may have made links in this directory, so only a file that this call creates is written to.
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, text.encode(errors="replace"))
        finally:
            os.close(fd)
        beside.replace(path)


def line(text: str) -> str:
    """A text as one line of bounded length, which cannot forge another field."""
    return " ".join(text.split())[:_LONGEST]
