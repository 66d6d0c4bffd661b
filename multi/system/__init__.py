"""The one door to the machine: `System` keeps the contract of `multi.machine.Machine`. It decides nothing.

Each trade is a part in a module of its own, made and imported when a command first needs it.
"""

from __future__ import annotations

import os
import time
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from multi.system import files
from multi.system.local import Local

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.machine import FileWrite, Launch, MachineError, Ran
    from multi.model.process import Proc, ProcessTable
    from multi.model.usage import Holdings
    from multi.system.changes import Changes
    from multi.system.hooks import Hooks
    from multi.system.kernel import KernelLog
    from multi.system.launcher import Launcher
    from multi.system.limits import OpenFiles
    from multi.system.locks import Locks
    from multi.system.logs import Logs
    from multi.system.notify import Notifications
    from multi.system.plugin_socket import PluginSockets
    from multi.system.poll import Poller
    from multi.system.probes import Probes
    from multi.system.watch import Signals, Watches

    class Part(Protocol):
        """What holds something for each key."""

        def release(self, key: str) -> None: ...
        def close(self) -> None: ...

    H = TypeVar("H", bound=Part)

F = TypeVar("F")


class _By(Generic[F]):
    """A method of `multi.machine.Machine`, by the method of the part that does it."""

    def __init__(self, find: Callable[[System], F]) -> None:
        self._find = find

    def __get__(self, system: System, owner: type[System]) -> F:
        return self._find(system)


class System(Local):
    """The real machine.

    `pidfd` False does without pidfds, `procfs` False without Linux's /proc, although the kernel could do better; the
    tests run them all.
    `signals` arrive as `Interruption` instead of ending us. As PID 1 it also reaps what the kernel hands to PID 1.
    Close it, or use it as a context manager: then the launcher is gone when the block is left.
    """

    def __init__(self, *, pidfd: bool = True, procfs: bool = True, signals: Sequence[int] = ()) -> None:
        from multi.system.processes import Processes
        from multi.system.users import Users

        self._pidfd = pidfd
        self._parts: list[Part] = []
        self._at_end: list[Callable[[], None]] = []
        self.users = Users()
        self.looker = Processes(procfs=procfs)
        self._signals: Signals | None = None
        if signals:
            from multi.system.watch import Signals

            self._signals = Signals(signals, self.poller)
            self._at_end.append(self._signals.close)

    def _part(self, part: H) -> H:
        self._parts.append(part)
        self._at_end.append(part.close)
        return part

    def __enter__(self) -> System:  # noqa: PYI034 -- typing.Self is Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back. The nodes live on; the launcher does not."""
        for close in reversed(self._at_end):
            close()

    def release(self, key: str) -> None:
        for part in self._parts:
            part.release(key)

    # The parts

    @cached_property
    def poller(self) -> Poller:
        from multi.system.poll import Poller

        poller = Poller()
        self._at_end.append(poller.close)
        if os.getpid() == 1:
            from multi.system import reap

            poller.on_wake.append(reap.Reaper(poller, self.looker, lambda: self.watches, lambda: self.probes).reap)
        return poller

    @cached_property
    def open_files(self) -> OpenFiles:
        from multi.system.limits import OpenFiles

        opened = OpenFiles()
        self._at_end.append(opened.close)
        return opened

    @cached_property
    def watches(self) -> Watches:
        from multi.system.watch import Watches

        return self._part(Watches(self.poller, self.looker, pidfd=self._pidfd))

    @cached_property
    def locks(self) -> Locks:
        from multi.system.locks import Locks

        return self._part(Locks(self.poller, self.poller.queue, self.users, self.looker))

    @cached_property
    def launcher(self) -> Launcher:
        from multi.system.launcher import Launcher

        return self._part(Launcher(self.poller, self.users, self.looker, self.watches, self.open_files))

    @cached_property
    def notifications(self) -> Notifications:
        from multi.system.notify import Notifications

        return self._part(Notifications(self.poller, self.looker, self.watches, self.launcher))

    @cached_property
    def probes(self) -> Probes:
        from multi.system.probes import Probes

        return self._part(Probes(self.poller, self.poller.queue, self.users, pidfd=self.watches.pidfd))

    @cached_property
    def sockets(self) -> PluginSockets:
        from multi.system.plugin_socket import PluginSockets

        return self._part(PluginSockets(self.poller))

    @cached_property
    def hooks(self) -> Hooks:
        from multi.system.hooks import Hooks

        hooks = Hooks(self.poller, self.users)
        self._at_end.append(hooks.close)
        return hooks

    @cached_property
    def logs(self) -> Logs:
        from multi.system.logs import Logs

        return self._part(Logs())

    @cached_property
    def changes(self) -> Changes:
        from multi.system.changes import Changes

        return self._part(Changes(self.poller))

    @cached_property
    def kernel(self) -> KernelLog:
        from multi.system.kernel import KernelLog

        log = KernelLog()
        self._at_end.append(log.close)
        return log

    # What they do

    wait = _By(lambda system: system.poller.wait)
    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    uid_of = _By(lambda system: system.users.uid_of)
    gid_of = _By(lambda system: system.users.gid_of)

    read = staticmethod(files.read)
    listing = staticmethod(files.listing)
    size = staticmethod(files.size)
    fingerprint = staticmethod(files.fingerprint)
    amend = staticmethod(files.amend)
    remove = staticmethod(files.remove)
    watch_file = _By(lambda system: system.changes.watch)
    log_begin = _By(lambda system: system.logs.begin)
    log_more = _By(lambda system: system.logs.more)

    look = _By(lambda system: system.looker.look)
    exists = _By(lambda system: system.looker.exists)
    cmdline = _By(lambda system: system.looker.platform.cmdline)
    executed = _By(lambda system: system.looker.platform.executed)
    kernel_says = _By(lambda system: system.kernel.end_of)
    signal = _By(lambda system: system.watches.signal)

    lock = _By(lambda system: system.locks.lock)
    lock_directory = _By(lambda system: system.locks.lock_directory)
    holder = _By(lambda system: system.locks.holder)
    holds = _By(lambda system: system.locks.holds)
    unlock = _By(lambda system: system.locks.release)

    make_room = _By(lambda system: system.open_files.make_room)
    launch = _By(lambda system: system.launcher.launch)
    open_gate = _By(lambda system: system.launcher.open_gate)
    shut_gate = _By(lambda system: system.launcher.shut_gate)

    notify_address = _By(lambda system: system.notifications.address)
    notifies = _By(lambda system: system.probes.notifies)
    probe = _By(lambda system: system.probes.begin)
    ask = _By(lambda system: system.sockets.ask)
    hook = _By(lambda system: system.hooks.begin)
    probe_says = _By(lambda system: system.probes.last_line)

    def make_directory(self, path: str, user: str | None, group: str | None) -> None:
        files.make_directory(path, self.users.owner(user, group))

    def write(self, writes: Sequence[FileWrite]) -> Sequence[MachineError | None]:
        return files.write(writes, self.users.owner)

    def append(self, path: str, lines: bytes, limit: int, user: str | None, group: str | None) -> None:
        from multi.system import append

        append.append(path, lines, limit, self.users.owner(user, group))

    def processes(self) -> ProcessTable:
        return self.looker.table()

    def sketch(self) -> ProcessTable:
        return self.looker.sketch()

    def reaching(self, processes: ProcessTable, proc: Proc | None) -> ProcessTable:
        return self.looker.reaching(processes, proc)

    def holdings(self, proc: Proc, *, pss: bool = False) -> Holdings | None:
        from multi.system import holdings

        found = holdings.of(proc, pss=pss, procfs=self.looker.procfs)
        info = self.looker.look(proc.pid)  # afterwards: what was read was its own if it is still there
        return found if info is not None and info.proc == proc and not info.gone else None

    def login_group(self, user: str) -> str:
        return self.users.login_group(user)

    def ourselves(self) -> tuple[str, ...]:
        from multi.system import command

        return command.ourselves()

    def which(self, name: str) -> str:
        from multi.system import command

        return command.find(name)

    def run(self, words: tuple[str, ...], data: str | None = None) -> Ran:
        from multi.system import command

        return command.run(words, data)

    def may_launch(self, launch: Launch) -> None:
        if os.geteuid() != 0:
            from multi.system import limits

            self.users.setting(launch)
            limits.may_grant(launch)

    def listens(self, procs: Sequence[Proc], at: tuple[str, int]) -> str:
        from multi.system import ports

        return ports.whose(procs, at, self.looker.is_same, procfs=self.looker.procfs)

    def taken(self, what: str) -> bool:
        from multi.system import ports

        return ports.taken(what)

    def watch(self, key: str, proc: Proc) -> None:
        if "launcher" not in vars(self) or not self.launcher.tells(key, proc):  # it knows how its own have ended
            self.watches.watch(key, proc)

    def end_probe(self, key: str) -> None:
        if "probes" in vars(self):  # else nobody has probed, so there is nothing to import
            self.probes.end(key)

    def terminal_gone(self) -> bool:
        return self._signals is not None and self._signals.terminal_gone()

    def tell(self, text: str) -> None:
        from multi.system import notify

        notify.tell(text)

    def answer_watchdog(self) -> None:
        from multi.system import notify

        notify.answer_watchdog(self.poller)
