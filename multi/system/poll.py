"""One poller for descriptors, deadlines, and what the kernel cannot wake us for."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial

from multi.model.happening import Happening

LINUX = sys.platform == "linux"
_LOOK_FIRST, _LOOK_MOST = 0.01, 0.1  # seconds between two looks where the kernel cannot wake us
_LONGEST_SLEEP = float(1 << 20)  # seconds at once: poll(2) counts milliseconds in an int


class Poller:
    """Waits for everything at once. Every callback runs in `wait`, in the thread that waits."""

    def __init__(self) -> None:
        self.queue: list[Happening] = []  # what `wait` will report; a signal handler may add to it at any time
        self._sources: dict[int, Callable[[], None]] = {}
        self._timers: dict[object, tuple[float, Callable[[], None]]] = {}
        self._wake: tuple[int, int] | None = None
        self.on_wake: list[Callable[[], None]] = []  # called after a byte was written to `wake_fd`

    @cached_property
    def _poll(self) -> select.poll | select.epoll:
        """The cost of epoll(7) does not grow with the number of descriptors."""
        return select.epoll() if LINUX else select.poll()

    def add(self, fd: int, handle: Callable[[], None], events: int = select.POLLIN) -> None:
        """Call `handle` whenever the descriptor is ready."""
        self._sources[fd] = handle
        self._poll.register(fd, events)  # the numbers mean the same to epoll and poll

    def change(self, fd: int, events: int) -> None:
        self._poll.modify(fd, events)

    def drop(self, fd: int) -> None:
        """Fine when the descriptor was never added."""
        if self._sources.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def at(self, ident: object, when: float, act: Callable[[], None]) -> None:
        """Call `act` once, at that time of CLOCK_MONOTONIC."""
        self._timers[ident] = when, act

    def look(self, ident: object, act: Callable[[], None], interval: float = _LOOK_FIRST) -> None:
        """Call `act` every now and then until it is forgotten: the kernel cannot wake us for what it looks at."""

        def once() -> None:
            self.look(ident, act, min(interval * 1.5, _LOOK_MOST))
            act()

        self.at(ident, time.monotonic() + interval, once)

    def forget(self, ident: object) -> None:
        """Drop the timer or the look of that name; fine when there is none."""
        self._timers.pop(ident, None)

    def wake_fd(self) -> int:
        """A thread or a signal handler writes a byte there to wake us."""
        if self._wake is None:
            self._wake = os.pipe()
            for fd in self._wake:
                os.set_blocking(fd, False)
            self.add(self._wake[0], partial(self._woken, self._wake[0]))
        return self._wake[1]

    def _woken(self, fd: int) -> None:
        os.read(fd, 4096)
        for act in self.on_wake:
            act()

    def wait(self, until: float | None) -> Sequence[Happening]:
        self._fire()
        while not self.queue:
            self._run(until)
            if until is not None and time.monotonic() >= until:
                break
        happenings = self.queue[:]
        del self.queue[: len(happenings)]  # no more: a signal handler may have added one meanwhile
        return happenings

    def _run(self, until: float | None) -> None:
        """Sleep until something happens or it is `until`, and handle what has happened."""
        ends = [when for when, _ in self._timers.values()]
        if until is not None:
            ends.append(until)
        left = min(max(0.0, min(ends) - time.monotonic()) if ends else _LONGEST_SLEEP, _LONGEST_SLEEP)
        for fd, _ in self._poll.poll(left if LINUX else left * 1000):
            handle = self._sources.get(fd)
            if handle is not None:  # one that was handled before may have dropped it
                handle()
        self._fire()

    def _fire(self) -> None:
        for ident, (when, act) in list(self._timers.items()):
            if time.monotonic() >= when and self._timers.pop(ident, None) is not None:
                act()

    def close(self) -> None:
        if self._wake is not None:
            self.drop(self._wake[0])
            for fd in self._wake:
                os.close(fd)
            self._wake = None
        kernel = vars(self).pop("_poll", None)
        if isinstance(kernel, select.epoll):
            kernel.close()
