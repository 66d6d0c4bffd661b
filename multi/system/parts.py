"""The parts of the machine, each made and imported when a command first needs it."""

from __future__ import annotations

import os
import time
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

from multi.system.processes import Processes
from multi.system.users import Users

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.machine import Happening
    from multi.system.launcher import Launcher
    from multi.system.limits import OpenFiles
    from multi.system.locks import Locks
    from multi.system.logs import Logs
    from multi.system.notify import Notifications
    from multi.system.poll import Poller
    from multi.system.probes import Probes
    from multi.system.watch import Signals, Watches

    class Part(Protocol):
        """What holds something, for a key or for all."""

        def release(self, key: str) -> None: ...
        def close(self) -> None: ...

    P = TypeVar("P", bound=Part)


class Parts:
    """The parts share one poller and one queue of happenings."""

    def __init__(self, *, pidfd: bool, procfs: bool, signals: Sequence[int]) -> None:
        self._pidfd = pidfd
        self._queue: list[Happening] = []
        self._made: list[Part] = []
        self.users = Users()
        self.processes = Processes(procfs=procfs)
        self.signals: Signals | None = None
        if signals:
            from multi.system.watch import Signals

            self.signals = self._add(Signals(signals, self._queue, self.poller.wake_fd()))

    def _add(self, part: P) -> P:
        self._made.append(part)
        return part

    @cached_property
    def poller(self) -> Poller:
        from multi.system.poll import Poller

        poller = self._add(Poller())
        if os.getpid() == 1:
            poller.on_wake.append(self._reap_orphans)
        return poller

    @cached_property
    def open_files(self) -> OpenFiles:
        from multi.system.limits import OpenFiles

        return self._add(OpenFiles())

    @cached_property
    def watches(self) -> Watches:
        from multi.system.watch import Watches

        return self._add(Watches(self.poller, self._queue, self.processes, pidfd=self._pidfd))

    @cached_property
    def locks(self) -> Locks:
        from multi.system.locks import Locks

        return self._add(Locks(self.poller, self._queue, self.users, self.processes))

    @cached_property
    def launcher(self) -> Launcher:
        from multi.system.launcher import Launcher

        parts = self.poller, self._queue, self.users, self.processes, self.watches, self.open_files
        return self._add(Launcher(*parts))

    @cached_property
    def notifications(self) -> Notifications:
        from multi.system.notify import Notifications

        parts = self.poller, self._queue, self.processes, self.watches, self.launcher
        return self._add(Notifications(*parts))

    @cached_property
    def probes(self) -> Probes:
        from multi.system.probes import Probes

        return self._add(Probes(self.poller, self._queue, self.users, pidfd=self.watches.pidfd))

    @cached_property
    def logs(self) -> Logs:
        from multi.system.logs import Logs

        return self._add(Logs())

    def close(self) -> None:
        """Give everything back. The nodes live on; the launcher does not."""
        for part in reversed(self._made):
            part.close()

    def release(self, key: str) -> None:
        for part in self._made:
            part.release(key)

    def wait(self, until: float | None) -> Sequence[Happening]:
        self.poller.fire()
        while not self._queue:
            self.poller.run(until)
            if until is not None and time.monotonic() >= until:
                break
        happenings = self._queue[:]
        del self._queue[: len(happenings)]  # no more: a signal handler may have added one meanwhile
        return happenings

    def _reap_orphans(self) -> None:
        self.processes.reap_orphans({self.processes.launcher, *self.probes.pids()})
