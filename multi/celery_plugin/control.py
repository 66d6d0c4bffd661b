"""The socket on which a worker answers `multi`: one request line, one line of JSON, and the peer is done.

The plug-in's thread serves it. A peer that says nothing in time, or too much, is dropped; so is the oldest of too many.
"""

from __future__ import annotations

import _socket
import contextlib
import json
import os
import struct
import time
from collections.abc import Callable, Mapping

from multi.celery_plugin.notify import beside

PATIENCE = 3.0  # seconds that a peer may take, and that it waits for the worker's loop
_PEERS, _QUEUE = 8, 64  # that are listened to, and that the kernel lets wait
_LONGEST = 64  # bytes of a request
_NAME = 100  # bytes of a path that the kernel takes: 107, unix(7)
_UCRED = struct.Struct("iII")

Answer = Mapping[str, object]


class Peer:
    """Somebody who has connected, until `end`. `answer` is None while its request is not complete."""

    def __init__(self, connection: _socket.socket) -> None:
        self.connection = connection
        self.end = time.monotonic() + PATIENCE
        self.said = b""
        self.answer: Callable[[bool], Answer | None] | None = None

    def read(self) -> str | None:
        """The request, None while it is not complete. Raises `OSError` when none can come any more."""
        data = self.connection.recv(_LONGEST)
        self.said += data
        if b"\n" in self.said:
            return self.said.partition(b"\n")[0].decode(errors="replace").strip()
        if not data or len(self.said) >= _LONGEST:
            raise ConnectionAbortedError
        return None


class Control:
    """Listens beside the pidfile, and serves root and its own user.

    `ask` gets a request and gives what answers it: a function that is called until it returns no None, with True for
    the last time.
    """

    def __init__(self, ask: Callable[[str], Callable[[bool], Answer | None]]) -> None:
        self._ask = ask
        self.listener: _socket.socket | None = None
        self.peers: dict[int, Peer] = {}

    def open(self) -> None:
        """Bind under another name, close it to others, and only then take the name: nobody else ever gets in.

        A path that is too long for the kernel is bound through its directory's descriptor.
        """
        path = beside(".sock")
        directory, _, name = path.rpartition("/")
        if not path:
            return
        new, descriptor = name + ".new", os.open(directory or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            listener.settimeout(0)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=descriptor)
            short = len(os.fsencode(path)) < _NAME
            listener.bind(f"{directory}/{new}" if short else f"/proc/self/fd/{descriptor}/{new}")
            os.chmod(new, 0o600, dir_fd=descriptor)
            listener.listen(_QUEUE)
            os.replace(new, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        except BaseException:
            listener.close()
            raise
        finally:
            os.close(descriptor)
        self.listener = listener

    def close(self) -> None:
        """In a process that was forked: the socket is its parent's."""
        for each in (self.listener, *(peer.connection for peer in self.peers.values())):
            if each is not None:
                each.close()
        self.listener, self.peers = None, {}

    def accept(self) -> Peer | None:
        """Take the next peer, if it may ask."""
        if self.listener is None:
            return None
        try:
            number, _ = self.listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 -- the C module has no other
        except OSError:
            return None
        peer = Peer(_socket.socket(fileno=number))
        peer.connection.settimeout(0)
        if not _may_ask(peer.connection):
            peer.connection.close()
            return None
        self.peers[number] = peer
        return peer

    def serve(self, number: int) -> bool:
        """Hear what a peer says; whether nothing more is expected of it."""
        peer = self.peers[number]
        try:
            request = peer.read()
        except BlockingIOError:
            return False
        except OSError:
            self.drop(number)
            return True
        if request is not None:
            peer.answer = self._ask(request)
        return request is not None

    def answer(self) -> None:
        """Answer whom there is an answer for, and drop who has had his time."""
        now = time.monotonic()
        late = sorted(self.peers, key=lambda number: self.peers[number].end)[:-_PEERS]
        for number, peer in tuple(self.peers.items()):
            last = now >= peer.end or number in late
            facts = peer.answer(last) if peer.answer is not None else None
            if facts is not None:
                with contextlib.suppress(OSError):
                    peer.connection.send(json.dumps(facts, separators=(",", ":")).encode() + b"\n")
            if last or facts is not None:
                self.drop(number)

    def drop(self, number: int) -> None:
        """Close a peer's connection."""
        self.peers.pop(number).connection.close()


def _may_ask(connection: _socket.socket) -> bool:
    """The kernel says who connected. Where it does not, the mode of the file decides alone."""
    option = getattr(_socket, "SO_PEERCRED", None)
    if option is None:
        return True
    try:
        _, uid, _ = _UCRED.unpack(connection.getsockopt(_socket.SOL_SOCKET, option, _UCRED.size))
    except OSError:
        return False
    return uid in {0, os.geteuid()}
