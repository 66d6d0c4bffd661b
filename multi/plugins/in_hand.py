"""Which tasks a worker has in hand, told to `multi` while the worker stops: one datagram as in sd_notify(3).

A node's tasks may be in several processes. The first of them that tells gathers what the others have in hand; when it
ends, another one does. They find each other by a socket whose name is made of the instance token, and each checks that
the other belongs to the same user. Nothing here raises into the worker or lets a task wait. Names, ids and seconds are
told; arguments never are.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

TOLD = bool(os.environ.get("MULTI_INSTANCE") and os.environ.get("NOTIFY_SOCKET"))  # whether `multi` started this worker
_MOST, _SHOWN = 10, 3  # tasks in the facts, and in the line for people
_ID, _SHORT = 8, 4  # characters of an id there
_NAME = 200  # characters of a name
_OFTEN, _SELDOM, _TURNS = 1.0, 5.0, 10  # seconds between two datagrams: the first ones, and those that follow
_LIMIT = 1 << 14  # bytes of what one process tells another
_NOBODY: dict[str, Any] = {"count": 0, "active": [], "reserved": 0, "eta": 0}


def notify(**fields: str) -> None:
    r"""Send one datagram. Only ``/path`` and ``@name``, the abstract ``\0name``, are sockets that it can go to."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    text = "\n".join(f"{name}={' '.join(value.split())}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)
            sender.sendto(text.encode(errors="replace"), "\0" + where[1:] if where[0] == "@" else where)
    except (OSError, ValueError):  # ValueError: an address that no socket can have
        return


class InHand:
    """The tasks of this process."""

    def __init__(self, *, acks_late: bool) -> None:
        """Nothing is in hand. `acks_late` says that a task which is cut off is delivered again."""
        self._acks_late = acks_late
        self._tasks: dict[str, tuple[str, float, float | None]] = {}
        self._teller: threading.Thread | None = None
        self.reserved: Callable[[], int] = lambda: 0  # messages in this process that no task has begun with
        self.eta: Callable[[], int] = lambda: 0  # and those that are not due yet

    def began(self, key: str, name: str, limit: float | None = None, ran: float = 0.0) -> None:
        """A task has begun, `ran` seconds ago; `limit` is its time limit in seconds."""
        self._tasks[key] = name, time.monotonic() - ran, limit

    def ended(self, key: str) -> None:
        """A task is over, however it ended."""
        self._tasks.pop(key, None)

    def tell(self, begin: Callable[[], object] | None = None) -> None:
        """Tell from now on, or when `begin` returns, until the process ends. Returns at once."""
        if TOLD and self._teller is None:
            self._teller = threading.Thread(target=self._tell, args=(begin,), name="multi", daemon=True)
            with suppress(RuntimeError):  # the process may have no more threads
                self._teller.start()

    def _tell(self, begin: Callable[[], object] | None) -> None:
        try:
            if begin is not None:
                begin()
        except Exception:  # noqa: BLE001 -- of the library; its worker must not fail for this
            return
        address = f"\0multi-{os.environ['MULTI_INSTANCE']}-tasks"
        while True:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                    listener.bind(address)
                    listener.listen()
                    self._gather(listener)
            except OSError:  # another process gathers already
                pass
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as gatherer:
                    gatherer.connect(address)
                    if not _ours(gatherer):
                        break
                    while True:
                        gatherer.send(json.dumps(self.facts()).encode())
                        time.sleep(_OFTEN)
            except ConnectionError:  # it has just ended, so the next one gathers
                time.sleep(_OFTEN / 20)
            except OSError:  # a system without such sockets
                break
        self._gather(None)

    def facts(self) -> dict[str, Any]:
        """What this process has in hand; `since` is in the clock that all processes of the machine share."""
        tasks = sorted(self._tasks.copy().items(), key=lambda item: item[1][1])
        active = [
            {"name": name[:_NAME], "id": key[:_ID], "since": since, "limit": limit, "acks_late": self._acks_late}
            for key, (name, since, limit) in tasks[:_MOST]
        ]
        return {"count": len(tasks), "active": active, "reserved": _asked(self.reserved), "eta": _asked(self.eta)}

    def _gather(self, listener: socket.socket | None) -> None:
        """Tell the tasks of all processes that speak to `listener`, and of this one: what changed, and now and then."""
        others: dict[socket.socket, dict[str, Any]] = {}
        told, following, turns = "", 0.0, 0
        while True:
            known = total([self.facts(), *others.values()])
            which = " ".join(str(task["id"]) for task in known["active"])
            now = time.monotonic()
            if which != told or now >= following:
                following, turns = now + (_OFTEN if turns < _TURNS else _SELDOM), turns + 1
                told = which
                say(known, now)
            if listener is None:
                time.sleep(_OFTEN)
                continue
            for one in select.select([listener, *others], (), (), _OFTEN)[0]:
                if one is listener:
                    other = listener.accept()[0]
                    if _ours(other):
                        others[other] = _NOBODY
                    else:
                        other.close()
                elif (heard := _received(one)) is not None:
                    others[one] = heard
                else:
                    del others[one]
                    one.close()


def _asked(library: Callable[[], int]) -> int:
    try:
        return int(library())
    except Exception:  # noqa: BLE001 -- another version of the library; its worker must not fail for this
        return 0


def _ours(other: socket.socket) -> bool:
    """Whether the process at the other end belongs to our user: anybody may use an abstract address (unix(7))."""
    credentials = other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] in {0, os.getuid()}


def _received(other: socket.socket) -> dict[str, Any] | None:
    """What another of our processes has in hand; None when it has ended."""
    try:
        data = other.recv(_LIMIT)
        return dict(json.loads(data)) if data else None
    except (OSError, ValueError):
        return None


def total(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several processes what `InHand.facts` says of one."""
    active = sorted((task for one in facts for task in one["active"]), key=lambda task: float(task["since"]))
    return {
        "active": active[:_MOST],
        **{name: sum(one[name] for one in facts) for name in ("count", "reserved", "eta")},
    }


def say(facts: dict[str, Any], now: float) -> None:
    """Send them, with the seconds that each task has run."""
    active = [
        {
            **{name: task[name] for name in ("name", "id", "limit", "acks_late")},
            "seconds": round(now - task["since"], 1),
        }
        for task in facts["active"]
    ]
    notify(STATUS=_line(active, facts), X_MULTI_TASKS=json.dumps({**facts, "active": active}))


def _line(active: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    count = facts["count"]
    if not count:
        return "no task left"
    shown = [
        f"{task['name']} {task['id'][:_SHORT]} {task['seconds']:.0f}s"
        + (f" (limit {task['limit']:g}s)" if task["limit"] is not None else "")
        for task in active[:_SHOWN]
    ]
    more = [f"{count - len(shown)} more"] if count > len(shown) else []
    return f"{count} task{'' if count == 1 else 's'}: {', '.join([*shown, *more])}"
