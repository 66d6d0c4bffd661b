"""Processes: an identity, what was observed of one process, and the process table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multi.value import dataclass, field

_MOST_DIGITS = 18  # of a number of ticks


@dataclass(frozen=True, slots=True)
class Proc:
    """One process, once and for all.

    `start_id` is what the kernel says of its start: on Linux ``BOOT_ID:TICKS`` (field 22 of
    ``/proc/PID/stat``, proc_pid_stat(5)), which neither clock steps nor suspend nor a reboot can
    make equal for two processes. Elsewhere it is the best that psutil has.
    """

    pid: int
    start_id: str

    @property
    def ticks(self) -> int:
        """When it started, in ticks since the boot; 0 where the start id does not say that."""
        ticks = self.start_id.rpartition(":")[2]
        return int(ticks) if ticks.isascii() and ticks.isdigit() and len(ticks) <= _MOST_DIGITS else 0


@dataclass(frozen=True, slots=True)
class Instance:
    """What a process carries in its environment when `multi` started it or one of its ancestors.

    `pid` is the pid of the main process: a process with this very pid is the main one. With `elsewhere` the pid is of
    another PID namespace, such as a container's, and means nothing here. A `probe` asks for the node's health, or is a
    child of such a command: it ends with the tree, and is no part of the worker.
    """

    token: str
    pid: int
    node: str
    pidfile: str
    elsewhere: bool = False
    probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """One process of the process table, as it was at one moment, with the instance it belongs to.

    `age` is seconds since the process started, on the machine's own clock. `gone` is true of a zombie: it has exited,
    and its parent has not waited for it yet. A `suspended` process was stopped by SIGSTOP or the like: until CONT it
    does nothing, and only KILL ends it. `status` is the exit code of a zombie, or minus the signal's
    number, where that may be known. `cpu` is seconds of processor time, reaped children included; `rss` is bytes;
    `threads` is how many it has.
    """

    proc: Proc
    ppid: int
    pgrp: int
    session: int
    uid: int
    gone: bool
    age: float
    suspended: bool = False
    instance: Instance | None = None
    cpu: float = 0.0
    rss: int = 0
    threads: int = 1
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Outline:
    """Where a process stands of which nothing else was read. `start` counts ticks, as the start id of a `Proc` does."""

    start: int
    ppid: int
    pgrp: int
    session: int
    gone: bool


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """The process table at one moment. `at` is the machine's `now`, `wall` the wall clock then.

    It is `settled` when no process ended while it was read; otherwise children of those that ended may be missing.
    Processes that started before `since` are only outlined, in `older`: no main process that was asked about is among
    them, so they are neither its children nor in its group, and inherited nothing from it. With 0 the table is whole.
    The indexes are made once, so a look at many nodes does not scan the table for each: by the pidfile and by the token
    of the instance, by process group, and by parent.
    """

    at: float
    wall: float
    by_pid: Mapping[int, ProcessInfo]
    settled: bool = True
    since: int = 0
    older: Mapping[int, Outline] = field(default_factory=dict)
    by_pidfile: Mapping[str, Sequence[ProcessInfo]] = field(init=False, repr=False, compare=False)
    by_token: Mapping[str, Sequence[ProcessInfo]] = field(init=False, repr=False, compare=False)
    by_group: Mapping[int, Sequence[ProcessInfo]] = field(init=False, repr=False, compare=False)
    by_parent: Mapping[int, Sequence[ProcessInfo]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the processes."""
        by_pidfile: dict[str, list[ProcessInfo]] = {}
        by_token: dict[str, list[ProcessInfo]] = {}
        by_group: dict[int, list[ProcessInfo]] = {}
        by_parent: dict[int, list[ProcessInfo]] = {}
        for info in self.by_pid.values():
            by_group.setdefault(info.pgrp, []).append(info)
            by_parent.setdefault(info.ppid, []).append(info)
            if info.instance is not None:
                by_pidfile.setdefault(info.instance.pidfile, []).append(info)
                by_token.setdefault(info.instance.token, []).append(info)
        object.__setattr__(self, "by_pidfile", by_pidfile)
        object.__setattr__(self, "by_token", by_token)
        object.__setattr__(self, "by_group", by_group)
        object.__setattr__(self, "by_parent", by_parent)

    def find(self, pid: int) -> ProcessInfo | Outline | None:
        """The process of that pid, as far as it was read."""
        return self.by_pid.get(pid) or self.older.get(pid)

    def may_run(self, proc: Proc) -> bool:
        """Whether the process runs; of one that is only outlined the boot is not told."""
        found = self.find(proc.pid)
        if found is None or found.gone:
            return False
        return found.proc == proc if isinstance(found, ProcessInfo) else found.start == proc.ticks
