"""``http:HOST:PORT/PATH``: a GET is answered with a status below 400. A redirect is such an answer; it is not followed.

A few lines over a socket: the standard library's client would block, and takes longer to import than a start.
"""

from __future__ import annotations

import time
from functools import partial

from multi.system.probes import tcp
from multi.text import printable
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

SECONDS = 5.0  # for the whole of it: a server that accepts and says nothing is asked again
_ERRORS = 400  # the first status that is one
_LONGEST = 1000  # bytes of the first line
_SHOWN = 80  # characters of it


class Probe(tcp.Probe):
    """Asks every address that accepts: the first good answer counts."""

    def begin(self) -> None:
        self.poller.at(self, time.monotonic() + SECONDS, self._late)
        super().begin()

    def _accepted(self, one: socket.socket, at: tuple[str, int]) -> None:
        where, _, path = self.what.partition("/")
        host = where.encode() if where.isascii() else where.encode("idna")
        page = b"/%b" % _quoted(path)
        request = b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: multi\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        self.poller.drop(one.fileno())
        self.poller.add(one.fileno(), partial(self._hear, one, at, bytearray()))
        try:
            one.send(request % (page, host))
        except OSError as error:
            self._failed(one, tcp.reason(error))

    def _hear(self, one: socket.socket, at: tuple[str, int], head: bytearray) -> None:
        """Read until the first line is complete; what follows it does not matter."""
        try:
            data = one.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(one, tcp.reason(error))
            return
        head += data
        line, newline, _ = head.partition(b"\n")
        if data and not newline and len(head) < _LONGEST:
            return
        match line.split(None, 2):
            case [version, status, *_] if version.startswith(b"HTTP/") and status.isdigit():
                if int(status) < _ERRORS:
                    self.say("", at)
                else:
                    self._failed(one, f"it answered {_shown(line.partition(b' ')[2])}")
            case []:
                self._failed(one, "it closed the connection without an answer")
            case _:
                self._failed(one, f"its answer is not HTTP: {_shown(line)}")

    def _late(self) -> None:
        self.say(f"{self.what}: no answer within {SECONDS:g}s", None)

    def end(self) -> None:
        self.poller.forget(self)
        super().end()


def _quoted(path: str) -> bytes:
    """The path with what cannot stand in a request's line as ``%20``."""
    data = path.encode("utf-8", "surrogateescape")
    return b"".join(b"%c" % byte if 0x21 <= byte <= 0x7E else b"%%%02X" % byte for byte in data)  # noqa: PLR2004 -- ASCII


def _shown(line: bytes | bytearray) -> str:
    return printable(line.decode("utf-8", "replace").strip()[:_SHOWN])
