"""Ask the plug-in in a worker, through the socket beside its pidfile: one word, one line of JSON, all nodes at once.

Another user may have put a link, or a socket of its own, where the node's is looked for. So the socket is opened
without following a link, it must belong to the node's user, and the kernel must say that the node's main process
listens on it (SO_PEERCRED, unix(7)). An open socket is connected to through /proc/self/fd, so no path is too long.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
import time
from functools import partial

from multi.machine import NO_SOCKET
from multi.model.happening import Answered
from multi.system import trusted_path
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from multi.machine import Question
    from multi.system.poll import Poller

_LIMIT = 1 << 14  # bytes of an answer
_TRY_AGAIN = 0.01  # seconds between two tries while others wait for an answer
_NONE = frozenset({errno.ENOENT, errno.ENOTDIR})


class PluginSockets:
    """The questions under way, one for each key."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._calls: dict[str, _Call] = {}

    def ask(self, key: str, question: Question) -> None:
        self.release(key)
        call = self._calls[key] = _Call(self._poller, question, partial(self._say, key))
        late = partial(self._say, key, b"", f"it does not answer within {question.seconds:g}s")
        self._poller.at((self, key), time.monotonic() + question.seconds, late)
        call.begin()

    def _say(self, key: str, data: bytes, why: str) -> None:
        self.release(key)
        self._poller.queue.append(Answered(key, data.decode("utf-8", "replace"), why))

    def release(self, key: str) -> None:
        self._poller.forget((self, key))
        call = self._calls.pop(key, None)
        if call is not None:
            call.end()

    def close(self) -> None:
        for key in list(self._calls):
            self.release(key)


class _Call:
    """One question. It calls `say` once, with the answer or why there is none."""

    def __init__(self, poller: Poller, question: Question, say: Callable[[bytes, str], None]) -> None:
        self._poller = poller
        self._path = question.path
        self._request = question.word.encode("ascii") + b"\n"
        self._pid = question.proc.pid
        self._uids = {0, os.geteuid(), question.uid}
        self._say = say
        self._at = -1
        self._socket: socket.socket | None = None
        self._data = b""

    def begin(self) -> None:
        try:
            self._at = _opened(self._path, self._uids)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
            self._connect(self._socket)
        except trusted_path.UnsafeError as error:
            self._say(b"", f"{self._path} {error.strerror}")
        except OSError as error:
            self._say(b"", NO_SOCKET if error.errno in _NONE else f"{self._path}: {error.strerror or error}")

    def _connect(self, one: socket.socket) -> None:
        """A socket of this kind is connected at once, or refuses, or has more waiting than it takes."""
        code = one.connect_ex(f"/proc/self/fd/{self._at}" if hasattr(os, "O_PATH") else self._path)
        if code == errno.EAGAIN:
            self._poller.at((self, "again"), time.monotonic() + _TRY_AGAIN, partial(self._connect, one))
            return
        if code:
            gone = code in {errno.ECONNREFUSED, *_NONE}
            self._say(b"", "nobody listens on its socket" if gone else f"{self._path}: {os.strerror(code)}")
            return
        doubt = self._doubt(one)
        if doubt:
            self._say(b"", f"{self._path} {doubt}")
            return
        try:
            one.send(self._request)
        except OSError as error:
            self._say(b"", error.strerror or str(error))
            return
        self._poller.add(one.fileno(), partial(self._readable, one), select.POLLIN)

    def _doubt(self, one: socket.socket) -> str:
        """Why what listens there is not the node, by the kernel's word; empty when it is, or nobody can tell."""
        if not hasattr(socket, "SO_PEERCRED"):
            return ""
        pid, uid, _ = struct.unpack("=iII", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in self._uids:
            return f"is listened on by uid {uid}, who is not this node's user"
        return "" if pid == self._pid else f"is listened on by pid {pid}, not by the node's main process"

    def _readable(self, one: socket.socket) -> None:
        try:
            data = one.recv(_LIMIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._say(b"", error.strerror or str(error))
            return
        self._data += data
        line, newline, _ = self._data.partition(b"\n")
        if newline or not data:
            self._say(line, "" if line else "it closed its socket without an answer")
        elif len(self._data) > _LIMIT:
            self._say(b"", "its answer is too long")

    def end(self) -> None:
        self._poller.forget((self, "again"))
        if self._socket is not None:
            self._poller.drop(self._socket.fileno())
            self._socket.close()
            self._socket = None
        if self._at >= 0:
            os.close(self._at)
            self._at = -1


def _opened(path: str, uids: set[int]) -> int:
    """A descriptor that stands for the socket file itself. Raises `OSError`."""
    directory, base = os.path.split(path)
    with trusted_path.open_directory(directory) as at:
        if not hasattr(os, "O_PATH"):
            return os.open(os.devnull, os.O_RDONLY)
        fd = os.open(at.name(base), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.fd)
    found = os.fstat(fd)
    why = "" if stat.S_ISSOCK(found.st_mode) else "is no socket"
    if not why and found.st_uid not in uids:
        why = f"belongs to uid {found.st_uid}, not to this node's user"
    if why:
        os.close(fd)
        raise trusted_path.UnsafeError(why, "look at it, and remove it")
    return fd
