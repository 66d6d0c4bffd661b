"""The plug-in's thread in the worker's main process: it writes, tells and answers while Celery is at work.

It is a thread of the system even where gevent or eventlet has replaced Python's, so it runs while a green task keeps
the loop. It blocks all signals, so each reaches the main thread and interrupts its wait. It only ever blocks in a
system call that holds no lock, so the main process may fork at any time; the child closes what it inherited.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from multi.celery_plugin.control import Control
from multi.celery_plugin.original import original

_FAULTS = 100  # errors in a row after which the thread gives up rather than turn for ever


class Thread:
    """Waits for peers, for `interrupt` and for the next due moment, and calls `turn`, which says how long to wait."""

    def __init__(self, control: Control, turn: Callable[[], float]) -> None:
        self._control, self._turn = control, turn
        self._hears, self._tells = _socket.socketpair()
        self._bell, self._rings = _socket.socketpair()
        for each in (self._hears, self._tells, self._bell, self._rings):
            each.settimeout(0)

    def start(self) -> None:
        """Begin; the new thread inherits the mask of blocked signals."""
        if sys.version_info >= (3, 12):  # Python warns of threads that hold locks at a fork; this one holds none
            text = ".*multi-threaded, use of fork.*"
            warnings.filterwarnings("ignore", text, DeprecationWarning, r"billiard\..*")
        os.register_at_fork(after_in_child=self._forked)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            original("_thread", "start_new_thread")(self._run, (original("select", "poll")(),))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def interrupt(self) -> None:
        """Let it take its turn now. From any thread and any signal handler; never waits."""
        with contextlib.suppress(OSError):
            self._tells.send(b"\n")

    def ring(self) -> None:
        """Let an event loop that has `bell` among its readers turn now: before kombu 5.7 nothing else does."""
        with contextlib.suppress(OSError):
            self._rings.send(b"\n")

    @property
    def bell(self) -> int:
        """The descriptor that can be read when the loop is to turn."""
        return self._bell.fileno()

    def answer_bell(self) -> None:
        """Called by that loop."""
        with contextlib.suppress(OSError):
            self._bell.recv(4096)

    def _forked(self) -> None:
        self._control.close()
        for each in (self._hears, self._tells, self._bell, self._rings):
            each.close()

    def _run(self, poll: Any) -> None:
        control, faults = self._control, 0
        poll.register(self._hears.fileno(), select.POLLIN)
        if control.listener is not None:
            poll.register(control.listener.fileno(), select.POLLIN)
        wait = 0.0
        while faults < _FAULTS:
            try:
                self._hear(poll, wait)
                wait = self._turn()
                control.answer()
                if control.peers:
                    wait = min(wait, 0.05)
            except Exception:  # noqa: BLE001 -- whatever it is, the worker must not hear of it
                faults, wait = faults + 1, 1.0
            else:
                faults = 0

    def _hear(self, poll: Any, wait: float) -> None:
        control = self._control
        for number, _ in poll.poll(max(0, wait) * 1000):
            if number == self._hears.fileno():
                with contextlib.suppress(OSError):
                    self._hears.recv(4096)
            elif control.listener is not None and number == control.listener.fileno():
                while (peer := control.accept()) is not None:
                    poll.register(peer.connection.fileno(), select.POLLIN)
            elif number not in control.peers or control.serve(number):
                poll.unregister(number)
