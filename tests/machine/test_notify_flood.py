"""Whoever sends to a notification socket without end keeps `multi` from nothing else."""

from __future__ import annotations

import socket
import time

import pytest

from multi.system import System

_MANY = 10_000


class Endless(socket.socket):
    """A socket whose messages have no end."""

    taken = 0

    def recvmsg(self, *_: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        """One more."""
        type(self).taken += 1
        assert self.taken < _MANY, "the loop was left alone with this socket"
        return b"STATUS=more", [], 0, None


@pytest.mark.skipif(not hasattr(socket, "SO_PASSCRED"), reason="needs abstract addresses, as Linux has them")
def test_g9_whoever_sends_on_and_on_does_not_hold_up_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """G9: after some messages of one socket it is the turn of timers, signals and other nodes."""
    monkeypatch.setattr(socket, "socket", Endless)
    with System() as machine:
        address = machine.notify_address("w1", machine.token())
        with Endless(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"STATUS=first", address.replace("@", "\0"))
            machine.wait(time.monotonic())
    assert 0 < Endless.taken < _MANY
