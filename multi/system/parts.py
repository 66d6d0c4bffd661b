"""The parts of the machine: each trade in a module of its own, made and imported when a command first needs it."""

from __future__ import annotations

import os
from functools import cached_property

from multi.typed import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.system.cgroup import Cgroups
    from multi.system.changes import Changes
    from multi.system.hooks import Hooks
    from multi.system.kernel import KernelLog
    from multi.system.launcher import Launcher
    from multi.system.limits import OpenFiles
    from multi.system.locks import Locks
    from multi.system.logs import Logs
    from multi.system.notify import Notifications
    from multi.system.output import Output
    from multi.system.plugin_socket import PluginSockets
    from multi.system.poll import Poller
    from multi.system.probes import Probes
    from multi.system.service import Service
    from multi.system.sources import Sources
    from multi.system.watch import Signals, Watches

    class Part(Protocol):
        """What holds something for each key."""

        def release(self, key: str) -> None: ...
        def close(self) -> None: ...

    H = TypeVar("H", bound=Part)


class Parts:
    """The parts, each made when it is first asked for, and given back together.

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

    def close(self) -> None:
        """Give everything back. The nodes live on; the launcher does not."""
        for close in reversed(self._at_end):
            close()

    def release(self, key: str) -> None:
        for part in self._parts:
            part.release(key)

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
    def service(self) -> Service:
        from multi.system.service import Service

        return Service(self.poller)

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
    def output(self) -> Output:
        from multi.system.output import Output

        return self._part(Output(self.poller))

    @cached_property
    def sources(self) -> Sources:
        from multi.system.sources import Sources

        return self._part(Sources(self.poller))

    @cached_property
    def changes(self) -> Changes:
        from multi.system.changes import Changes

        return self._part(Changes(self.poller))

    @cached_property
    def cgroups(self) -> Cgroups:
        from multi.system.cgroup import Cgroups

        return self._part(Cgroups(self.poller, self.looker))

    @cached_property
    def kernel(self) -> KernelLog:
        from multi.system.kernel import KernelLog

        log = KernelLog()
        self._at_end.append(log.close)
        return log
