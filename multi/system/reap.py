"""The ends of orphans: as PID 1 we are the parent of what lost its own (credentials(7)), and wait for each.

The kernel names one child that has ended, so an end costs the same however many processes there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable

_AT_ONCE = 1000  # ends, until somebody else may do something: a fork bomb ends for long


def reap(own: Collection[int], told: Callable[[int, int], None], others: Callable[[], Iterable[int]]) -> bool:
    """Wait for all that have ended but our `own`, whose owner waits for them; True where more may have ended.

    `told` hears pid and exit status (minus the signal's number) of each. Where one of our own comes first, the kernel
    names no other: then each of the `others`, our children, is asked about.
    """
    for _ in range(_AT_ONCE):
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        if found is None:
            return False
        if found.si_pid in own:
            break
        _wait_for(found.si_pid, told)
    else:
        return True
    for pid in others():
        if pid not in own:
            _wait_for(pid, told)
    return False


def _wait_for(pid: int, told: Callable[[int, int], None]) -> None:
    status = status_of(pid)
    if status is not None:
        told(pid, status)


def status_of(pid: int) -> int | None:
    """The exit status of a child that has ended, which is then waited for; None of one that runs, or is none."""
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
