"""``tcp:HOST:PORT``: a connection is accepted."""

from __future__ import annotations

import errno
import os
import select
import socket
from functools import partial

from multi.model.proof import address
from multi.system import probes
from multi.typed import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    _Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
    _Addresses: TypeAlias = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, _Address]]


class Probe(probes.Probe):
    """Connects to all addresses of a name at once: one that gives no answer must not hide another one that does."""

    _sockets: list[socket.socket]  # one for each address that has not answered yet
    _refusals: list[str]  # what the others have answered
    _end_lookup: Callable[[], None] | None = None

    def begin(self) -> None:
        self._sockets, self._refusals = [], []
        try:
            host, port = address(self.what.partition("/")[0])
            encoded = host.encode() if host.isascii() else host.encode("idna")
            look_up = partial(socket.getaddrinfo, encoded, port, type=socket.SOCK_STREAM)
            try:
                addresses = look_up(flags=socket.AI_NUMERICHOST)
            except socket.gaierror:
                # A slow DNS server must keep nobody else waiting. The thread holds no lock that the launcher could miss
                # after its fork: those of the C library are made anew there.
                from multi.system import background

                name = f"multi looks up {self.what}"
                self._end_lookup = background.begin(self.poller, name, look_up, self._found)
            else:
                self._connect(addresses)
        except (OSError, ValueError, RuntimeError) as error:  # it can be no name, or no descriptor or thread is left
            self._refused(error)

    def _found(self, answer: _Addresses | OSError) -> None:
        if isinstance(answer, OSError):
            self._refused(answer)
        else:
            self._connect(answer)

    def _connect(self, addresses: _Addresses) -> None:
        for family, kind, protocol, _, where in addresses:
            try:
                one = socket.socket(family, kind, protocol)
            except OSError as error:  # the kernel has no such addresses, or no descriptor is left
                self._refusals.append(reason(error))
                continue
            one.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
            code = one.connect_ex(where)
            if code in {0, errno.EINPROGRESS}:
                self._sockets.append(one)
                self.poller.add(one.fileno(), partial(self._answered, one), select.POLLOUT)
            else:
                one.close()
                self._refusals.append(os.strerror(code))
        if not self._sockets:
            self._refused()

    def _answered(self, one: socket.socket) -> None:
        code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            try:
                # Where nobody listens on a port that the kernel gives to clients, a client can meet itself.
                if one.getsockname() != (at := one.getpeername()):
                    self._accepted(one, at[:2])
                    return
                code = errno.ECONNREFUSED
            except OSError as error:  # it was accepted, and thrown out at once
                code = error.errno or errno.ENOTCONN
        self._failed(one, os.strerror(code))

    def _accepted(self, one: socket.socket, at: tuple[str, int]) -> None:  # noqa: ARG002 -- there is more to ask of it
        self.say("", at)

    def _failed(self, one: socket.socket, why: str) -> None:
        self._close(one)
        self._sockets.remove(one)
        self._refusals.append(why)
        if not self._sockets:
            self._refused()

    def _refused(self, error: Exception | None = None) -> None:
        """No address is left to try, or none was found."""
        reasons = [*self._refusals, *([] if error is None else [reason(error)])]
        self.say(f"{self.what}: {', '.join(dict.fromkeys(reasons))}", None)

    def end(self) -> None:
        if self._end_lookup is not None:
            self._end_lookup()
        for one in self._sockets:
            self._close(one)

    def _close(self, one: socket.socket) -> None:
        self.poller.drop(one.fileno())
        one.close()


def reason(error: Exception) -> str:
    """What the system calls it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
