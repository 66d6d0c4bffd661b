"""The process table as this system shows it; which module tells it is chosen here, once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property

from multi.model.process import Outline, Proc, ProcessInfo, ProcessTable
from multi.typed import TYPE_CHECKING, Protocol
from multi.value import replace

if TYPE_CHECKING:
    from multi.model.usage import Holdings
    from multi.system.linux import Known

_NONE_ASKED = 1 << 62  # ticks: later than any process starts
_KNOWN_SECONDS = 10.0  # that what was read of a process stands for another look, where it is only outlined


class Platform(Protocol):
    """What `linux` and `portable` both tell."""

    def table(
        self, since: int, sessions: AbstractSet[int], known: dict[int, Known], *, again: bool
    ) -> tuple[dict[int, ProcessInfo], Mapping[int, Outline], bool]: ...
    def look(self, pid: int) -> ProcessInfo | None: ...
    def cmdline(self, pid: int) -> tuple[str, ...]: ...
    def executed(self, pid: int) -> tuple[str, ...]: ...


class Processes:
    """Looks at processes. `launcher` is the pid of our own launcher, 0 while there is none."""

    def __init__(self, *, procfs: bool) -> None:
        # A start id has to be the same for all who read a record, so how it is told depends on the system alone.
        self.procfs = procfs and sys.platform == "linux"
        self.launcher = 0
        self._since = _NONE_ASKED if self.procfs else 0
        self._asked: set[Proc] = set()
        self._known: dict[int, Known] = {}
        self._last: ProcessTable | None = None

    @cached_property
    def platform(self) -> Platform:
        if self.procfs:
            from multi.system import linux

            return linux
        from multi.system import portable

        return portable

    def table(self) -> ProcessTable:
        """Every process that can be seen."""
        return self._read(0)

    def sketch(self) -> ProcessTable:
        """The same, as far as it was asked for by `reaching` until now."""
        return self._read(self._since)

    def reaching(self, processes: ProcessTable, proc: Proc | None) -> ProcessTable:
        """A table that tells all of the processes that started with `proc` or later; of all where it is None."""
        since = 0 if proc is None else proc.ticks
        if processes.since <= since:
            return processes
        self._since = min(self._since, since)
        if proc is not None:
            self._asked.add(proc)
        last = self._last  # what one node needed is mostly enough for the next
        if last is not None and last.since <= since and last.at >= processes.at:
            return last
        return self._read(self._since, again=processes is last and last.settled)

    def _read(self, since: int, *, again: bool = False) -> ProcessTable:
        """Read it. We and what we forked carry nothing, whatever we were started from."""
        at, wall = time.monotonic(), time.time()
        if self._last is not None and at > self._last.at + _KNOWN_SECONDS:
            self._known.clear()
        # A process can join a group of its own session only, so in these even an older one may join that of a node.
        stands = (None if self._last is None else self._last.find(proc.pid) for proc in self._asked)
        sessions = {found.session for found in stands if found is not None}
        infos, older, settled = self.platform.table(since, sessions, self._known, again=again)
        ours = {os.getpid(), self.launcher} - {0}
        outer = os.environ.get("MULTI_INSTANCE", "")
        for pid, info in infos.items():
            # Before it executes, a node still has our environment. If we run inside another node, that is the other's.
            # Other tokens stay: orphans of a node become our children where we are process 1, as in a container.
            inherited = info.instance is not None and info.instance.token == outer and info.ppid in ours
            if pid in ours or inherited:
                infos[pid] = replace(info, instance=None)
        self._last = ProcessTable(at, wall, infos, settled, since, older)
        return self._last

    def look(self, pid: int) -> ProcessInfo | None:
        """One process but for what it carries; None when there is none, or that cannot be told just now."""
        try:
            return self.platform.look(pid)
        except OSError:
            return None

    def holdings(self, proc: Proc, *, pss: bool = False) -> Holdings | None:
        from multi.system import holdings

        found = holdings.of(proc, pss=pss, procfs=self.procfs)
        info = self.look(proc.pid)  # afterwards: what was read was its own if it is still there
        return found if info is not None and info.proc == proc and not info.gone else None

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

    def children(self) -> Iterable[int]:
        """The pids of our children; a file tells them (proc_pid_task_children(5)), or else the whole table."""
        ours = os.getpid()
        try:
            with open(f"/proc/{ours}/task/{ours}/children", "rb") as file:
                return [int(word) for word in file.read().split()]
        except (OSError, ValueError):
            return [pid for pid, info in self.table().by_pid.items() if info.ppid == ours]
