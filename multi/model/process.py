"""The noun running: `Proc`, an identity, equal only if it is the same process."""

from __future__ import annotations

from multi.value import dataclass


@dataclass(frozen=True, slots=True)
class Proc:
    """One process, once and for all.

    `birth` is what the kernel says of its start: on Linux ``BOOT_ID:TICKS`` (field 22 of
    ``/proc/PID/stat``, proc_pid_stat(5)), which neither clock steps nor suspend nor a reboot can
    make equal for two processes. Elsewhere it is the best that psutil has.
    """

    pid: int
    birth: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One row of the process table, as it was at one moment.

    `age` is in the machine's own clock: seconds since the process started. `gone` is true of a
    zombie: it has exited, only its parent has not looked yet. `still` is true of one that stands
    still by SIGSTOP or the like: until CONT it does nothing, and obeys nothing but KILL.
    """

    proc: Proc
    ppid: int
    pgrp: int
    session: int
    uid: int
    gone: bool
    age: float
    still: bool = False
