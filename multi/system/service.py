"""What we tell the service manager that started us, by sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time

from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.system.poll import Poller

_USEC_DIGITS = 15  # thirty years, which a float counts exactly
_EXTENSION = 60  # seconds that the manager is asked to wait on; asked three times as often


class Service:
    """Our process as the service of somebody. Where nobody asked for words, there is nothing to do."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller

    def tell(self, text: str) -> None:
        """Say it, without a library. What cannot be told is not worth an error."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return
        if address[0] == "@":
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(text.encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            return

    def answer_watchdog(self) -> None:
        """From now on tell that we live, twice as often as is asked for, as sd_watchdog_enabled(3) has it."""
        asked, whose = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        number = asked.isascii() and asked.isdigit() and len(asked) <= _USEC_DIGITS
        if number and int(asked) and whose in {"", str(os.getpid())}:
            self._again("WATCHDOG=1", int(asked) / 2e6, 0.0)

    def extend_timeout(self) -> None:
        """From now on tell that we are at work, so the manager waits beyond its own limit."""
        self._again(f"EXTEND_TIMEOUT_USEC={_EXTENSION * 1_000_000}", _EXTENSION / 3, 0.0)

    def _again(self, text: str, interval: float, at: float) -> None:
        def say() -> None:
            self.tell(text)
            self._again(text, interval, time.monotonic() + interval)

        self._poller.at((Service, text), at, say)
