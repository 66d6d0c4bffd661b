"""The ends of orphans: as PID 1 we are the parent of what lost its own (credentials(7)), and wait for each.

The kernel names one child that has ended, so an end costs the same however many processes there are.
"""

from __future__ import annotations

import os
import time

from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from multi.system.poll import Poller
    from multi.system.probes import Probes
    from multi.system.processes import Processes
    from multi.system.watch import Watches

_AT_ONCE = 1000  # ends, until somebody else may do something: a fork bomb ends for long


class Reaper:
    """Waits for all that have ended but our own children, whose owners wait for them.

    Of a process that is watched, `Watches` hears the exit status.
    """

    def __init__(
        self, poller: Poller, looker: Processes, watches: Callable[[], Watches], probes: Callable[[], Probes]
    ) -> None:
        self._poller = poller
        self._looker = looker
        self._watches = watches
        self._probes = probes

    def reap(self) -> None:
        own = {self._looker.launcher, *self._probes().pids()}
        for _ in range(_AT_ONCE):
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            if found.si_pid in own:
                break
            self._wait_for(found.si_pid)
        else:
            self._poller.at(self, time.monotonic(), self.reap)
            return
        for pid in self._looker.children():  # one of our own comes first, and the kernel names no other
            if pid not in own:
                self._wait_for(pid)

    def _wait_for(self, pid: int) -> None:
        status = status_of(pid)
        if status is not None:
            self._watches().reaped(pid, status)


def status_of(pid: int) -> int | None:
    """The exit status of a child that has ended, which is then waited for; None of one that runs, or is none."""
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
