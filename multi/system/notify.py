"""What nodes tell us by sd_notify(3)."""

from __future__ import annotations

import os
import socket
import struct
from functools import partial

from multi.model.happening import Notified
from multi.system import files
from multi.system.launcher import Launcher
from multi.system.limits import cannot
from multi.system.poll import LINUX, Poller
from multi.system.processes import Processes
from multi.system.watch import Watches

_MOST_AT_ONCE = 64  # messages; whoever sends on and on keeps us from nothing else
_MOST_PARENTS = 8  # between the sender of a message and the node's main process, a fork server is one


class Notifications:
    """The notification sockets of nodes."""

    def __init__(self, poller: Poller, processes: Processes, watches: Watches, launcher: Launcher) -> None:
        self._poller = poller
        self._processes = processes
        self._watches = watches
        self._launcher = launcher
        self._listeners: dict[str, tuple[socket.socket, str]] = {}  # and what belongs in NOTIFY_SOCKET
        self._kept: dict[str, str] = {}  # key -> token, of sockets that stay open when the key is released

    def address(self, key: str, token: str, *, keep: bool = False) -> str:
        """Open the node's notification socket. On Linux its name is abstract (unix(7)), so no file is left.

        A second socket replaces the first: a node that is stopped and started again speaks twice.
        """
        if self._kept.get(key) == token:
            return self._listeners[key][1]
        self._kept.pop(key, None)
        self.release(key)
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._listeners[key] = listener, ""
            address = _bind(listener, token)
        except OSError as error:
            self.release(key)
            raise cannot(f"cannot listen for what {key} says", error) from error
        listener.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
        self._listeners[key] = listener, address
        self._poller.add(listener.fileno(), partial(self._receive, key, listener))
        if keep:
            self._kept[key] = token
        return address

    def _receive(self, key: str, listener: socket.socket) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                data, ancillary, _, _ = listener.recvmsg(1 << 16, 256, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
            except OSError:
                return
            _close_received(ancillary)  # FDSTORE=1 keeps nothing here; BARRIER=1 waits for exactly this, sd_notify(3)
            if self._may_notify(key, ancillary):
                lines = data.decode("utf-8", "replace").split("\n")
                self._poller.queue.append(
                    Notified(key, dict(line.partition("=")[::2] for line in lines if "=" in line))
                )

    def _may_notify(self, key: str, ancillary: list[tuple[int, int, bytes]]) -> bool:
        """An abstract address can be written by anyone, so the kernel's word on the sender counts (unix(7))."""
        if not LINUX:
            return True
        mains = self._watches.pids(key) | self._launcher.pids(key)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, _ = struct.unpack("=iII", data[:12])
                if uid in {0, os.geteuid()}:
                    return True
                for _ in range(_MOST_PARENTS):
                    if pid in mains:
                        return True
                    info = self._processes.look(pid)
                    if info is None:
                        return False
                    pid = info.ppid
        return False

    def release(self, key: str) -> None:
        if key not in self._listeners or key in self._kept:
            return
        listener, address = self._listeners.pop(key)
        self._poller.drop(listener.fileno())
        listener.close()
        if address.startswith("/"):
            files.remove(address)
            os.rmdir(os.path.dirname(address))

    def close(self) -> None:
        self._kept.clear()
        for key in list(self._listeners):
            self.release(key)


def _bind(listener: socket.socket, token: str) -> str:
    if LINUX:
        listener.bind(f"\0multi-{token}")
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        return f"@multi-{token}"
    import tempfile

    address = f"{tempfile.mkdtemp(prefix='multi-')}/notify"
    listener.bind(address)
    return address


def _close_received(ancillary: list[tuple[int, int, bytes]]) -> None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            for fd in memoryview(data[: len(data) // 4 * 4]).cast("i"):
                os.close(fd)
