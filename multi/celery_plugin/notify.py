"""What the worker says, as in sd_notify(3): a datagram to `multi` if it listens, and a file for when it does not.

Nothing here waits, and nothing raises into the worker. Sockets are those of the C module: gevent and eventlet replace
those of Python's, and the plug-in's thread must not come upon theirs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

_LONGEST = 400  # characters of a status; one datagram, one line
_LONGER = 3500  # of a field of `multi`'s own
_FULL = {errno.ENOSPC, errno.EDQUOT}


def notify(**fields: str) -> bool:
    r"""Send one datagram, a line ``NAME=value`` a field; whether it was sent. Never waits, never raises an `OSError`.

    To a path, or to the abstract ``\0name`` of ``@name``; other kinds of socket carry no datagram from here
    (sd_notify(3)).
    """
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")) or where == "@":
        return False
    import _socket

    try:
        sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        with contextlib.closing(sender):
            sender.settimeout(0)
            text = "\n".join(lines(fields))
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
    own = {"MULTI_INSTANCE": os.environ.get("MULTI_INSTANCE", ""), "MONOTONIC_USEC": str(time.monotonic_ns() // 1000)}
    write(beside(".notify"), {**own, **fields})


def beside(suffix: str) -> str:
    """A path beside the pidfile that `multi` has given this worker; empty without one."""
    pidfile = os.environ.get("MULTI_INSTANCE_PIDFILE", "")
    head, _, last = pidfile.rpartition("/")
    name, dot, _ = last.rpartition(".")
    return f"{head}/{name if dot and name else last}{suffix}" if pidfile.startswith("/") else ""


def write(path: str, fields: dict[str, str]) -> bool:
    """Replace a file by these lines; whether it was done. Never raises an `OSError`."""
    if not path.startswith("/"):
        return False
    data = "".join(f"{each}\n" for each in lines(fields)).encode(errors="replace")
    new = path + ".new"
    try:
        with contextlib.suppress(FileNotFoundError):  # there is one left by a worker that was killed just here
            os.unlink(new)
        # Others may have made links in this directory, so only a file that this call creates is written to.
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.pwrite(fd, data, 0) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
        os.replace(new, path)
    except ValueError:  # a path that no file can have
        return False
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        return error.errno in _FULL and _overwrite(path, data)
    return True


def _overwrite(path: str, data: bytes) -> bool:
    """Write over a file of ours on a disk that has no room for another one."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
                return False
            os.ftruncate(fd, os.pwrite(fd, data, 0))
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def lines(fields: dict[str, str]) -> list[str]:
    """A line a field, of bounded length, which cannot forge another field."""
    most = {name: _LONGER if name.startswith("X_MULTI_") else _LONGEST for name in fields}
    return [f"{name}={' '.join(text.split())[: most[name]]}" for name, text in fields.items()]
