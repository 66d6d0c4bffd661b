"""What the kernel's log says of processes that it ended (dev-kmsg): short of memory, or by a fault of their own."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress

_RECORD = 1 << 13  # bytes: the kernel makes none longer
_MOST_RECORDS = 100_000
_FIRST_NAMESPACE = "pid:[4026531836]"  # include/linux/proc_ns.h: only there are the log's pids ours
_SLACK = 2.0  # seconds that the log's clock and the wall's may differ by
_ENDS = (
    (re.compile(r"^Memory cgroup out of memory: Killed process (\d+) "), "killed by the kernel at its memory limit"),
    (re.compile(r"^Out of memory(?: \(.*?\))?: Killed process (\d+) "), "killed by the kernel, out of memory"),
    (re.compile(r"^\S.*\[(\d+)\]: segfault at "), "segmentation fault"),
    (re.compile(r"^traps: .*\[(\d+)\] general protection"), "general protection fault"),
    (re.compile(r"^traps: .*\[(\d+)\] trap invalid opcode"), "invalid machine instruction"),
)


def end_in(record: str) -> tuple[int, float, str] | None:
    """Pid, seconds since the boot, and how it ended, of a record that tells an end.

    What a process has written to the log is of another facility than the kernel's own, and is not believed.
    """
    head, semicolon, text = record.partition(";")
    fields = head.split(",")
    if not semicolon or len(fields) < 3 or not fields[0].isdigit() or int(fields[0]) >> 3 or not fields[2].isdigit():  # noqa: PLR2004 -- level and facility, number, microseconds
        return None
    for pattern, said in _ENDS:
        found = pattern.match(text)
        if found is not None:
            return int(found[1]), int(fields[2]) / 1e6, said
    return None


class KernelLog:
    """The kernel's log, read on from where it was read to; empty for who may not read it, and in a container."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[float, str]] = {}
        self._fd = -1
        with suppress(OSError):
            if os.readlink("/proc/self/ns/pid") == _FIRST_NAMESPACE:
                self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def end_of(self, pid: int, since: float) -> str:
        """How the process of that pid ended that ran at `since`, seconds of the wall clock; empty when it says none."""
        self._read()
        at, said = self._ends.get(pid, (0.0, ""))
        return said if said and time.time() - time.monotonic() + at >= since - _SLACK else ""

    def _read(self) -> None:
        for _ in range(_MOST_RECORDS if self._fd >= 0 else 0):
            try:
                record = os.read(self._fd, _RECORD)
            except BrokenPipeError:
                continue  # records were overwritten before we came to them
            except OSError:
                return
            found = end_in(record.decode("utf-8", "replace"))
            if found is not None:
                self._ends[found[0]] = found[1:]
