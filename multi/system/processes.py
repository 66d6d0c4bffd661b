"""The process table as this system shows it; which module tells it is chosen here, once."""

from __future__ import annotations

import os
import sys
import time
from functools import cached_property
from typing import Protocol

from multi.model.process import Proc, ProcessInfo, ProcessTable
from multi.value import replace


class Platform(Protocol):
    """What `linux` and `portable` both tell."""

    def table(self) -> tuple[dict[int, ProcessInfo], bool]: ...
    def look(self, pid: int) -> ProcessInfo | None: ...
    def cmdline(self, pid: int) -> tuple[str, ...]: ...
    def executed(self, pid: int) -> tuple[str, ...]: ...


class Processes:
    """Looks at processes. `launcher` is the pid of our own launcher, 0 while there is none."""

    def __init__(self, *, procfs: bool) -> None:
        # A start id has to be the same for all who read a record, so how it is told depends on the system alone.
        self.procfs = procfs and sys.platform == "linux"
        self.launcher = 0

    @cached_property
    def platform(self) -> Platform:
        if self.procfs:
            from multi.system import linux

            return linux
        from multi.system import portable

        return portable

    def table(self) -> ProcessTable:
        """Every process that can be seen. We and what we forked carry nothing, whatever we were started from."""
        at, wall = time.monotonic(), time.time()
        infos, settled = self.platform.table()
        ours = {os.getpid(), self.launcher} - {0}
        outer = os.environ.get("MULTI_INSTANCE", "")
        for pid, info in infos.items():
            # Before it executes, a node still has our environment. If we run inside another node, that is the other's.
            # Other tokens stay: orphans of a node become our children where we are process 1, as in a container.
            inherited = info.instance is not None and info.instance.token == outer and info.ppid in ours
            if pid in ours or inherited:
                infos[pid] = replace(info, instance=None)
        return ProcessTable(at, wall, infos, settled)

    def look(self, pid: int) -> ProcessInfo | None:
        """One process but for what it carries; None when there is none, or that cannot be told just now."""
        try:
            return self.platform.look(pid)
        except OSError:
            return None

    def start_id(self, pid: int) -> str | None:
        """None when the process is gone. Raises `MachineError` where that cannot be told just now."""
        try:
            info = self.platform.look(pid)
        except OSError as error:
            from multi.system.limits import cannot

            raise cannot(f"cannot look at process {pid}", error) from error
        return None if info is None or info.gone else info.proc.start_id

    def is_same(self, proc: Proc) -> bool:
        """Whether it runs. Raises `MachineError` as `start_id`."""
        return self.start_id(proc.pid) == proc.start_id

    def exists(self, pid: int) -> bool:
        from multi.system import linux

        if pid <= 0 or (sys.platform == "linux" and linux.is_thread(pid)):
            return False
        try:
            os.kill(pid, 0)  # signal 0 sends nothing, kill(2)
        except PermissionError:
            return True
        except (OSError, OverflowError):
            return False
        return True

    def reap_orphans(self, own: set[int]) -> None:
        """As PID 1, orphans become our children (credentials(7)). Who started our own waits for them."""
        for pid, info in self.table().by_pid.items():
            if info.ppid == 1 and info.gone and pid not in own:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue
