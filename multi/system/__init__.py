"""The one door to the machine: `System` keeps the contract of `multi.machine.Machine`. It decides nothing."""

from __future__ import annotations

import os
import time

from multi.system import files
from multi.system.local import Local
from multi.system.parts import Parts
from multi.typed import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.machine import FileWrite, Launch, MachineError, Ran
    from multi.model.process import Proc, ProcessTable

F = TypeVar("F")


class _By(Generic[F]):
    """A method of `multi.machine.Machine`, by the method of the part that does it."""

    def __init__(self, find: Callable[[System], F]) -> None:
        self._find = find

    def __get__(self, system: System, owner: type[System]) -> F:
        return self._find(system)


class System(Parts, Local):
    """The real machine: what `Parts` do, as methods."""

    def __enter__(self) -> System:  # noqa: PYI034 -- typing.Self is Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
    follow = _By(lambda system: system.output.follow)
    printed = _By(lambda system: system.output.rest)
    log_files = _By(lambda system: system.logs.files)
    within = _By(lambda system: system.logs.within)
    watch_sources = _By(lambda system: system.sources.watch)

    look = _By(lambda system: system.looker.look)
    holdings = _By(lambda system: system.looker.holdings)
    exists = _By(lambda system: system.looker.exists)
    cmdline = _By(lambda system: system.looker.platform.cmdline)
    executed = _By(lambda system: system.looker.platform.executed)
    kernel_says = _By(lambda system: system.kernel.end_of)
    signal = _By(lambda system: system.watches.signal)

    lock = _By(lambda system: system.locks.lock)
    lock_directory = _By(lambda system: system.locks.lock_directory)
    asked = _By(lambda system: system.locks.asked)
    holder = _By(lambda system: system.locks.holder)
    holds = _By(lambda system: system.locks.holds)
    unlock = _By(lambda system: system.locks.release)

    make_room = _By(lambda system: system.open_files.make_room)
    expect_launches = _By(lambda system: system.launcher.expect)
    launch = _By(lambda system: system.launcher.launch)
    open_gate = _By(lambda system: system.launcher.open_gate)
    shut_gate = _By(lambda system: system.launcher.shut_gate)

    notify_address = _By(lambda system: system.notifications.address)
    notifies = _By(lambda system: system.probes.notifies)
    probe = _By(lambda system: system.probes.begin)
    ask = _By(lambda system: system.sockets.ask)
    hook = _By(lambda system: system.hooks.begin)
    probe_says = _By(lambda system: system.probes.last_line)

    tell = _By(lambda system: system.service.tell)
    answer_watchdog = _By(lambda system: system.service.answer_watchdog)

    def make_directory(self, path: str, user: str | None, group: str | None) -> None:
        files.make_directory(path, self.users.owner(user, group))

    def write(self, writes: Sequence[FileWrite]) -> Sequence[MachineError | None]:
        return files.write(writes, self.users.owner)

    def append(self, path: str, lines: bytes, limit: int, user: str | None, group: str | None) -> None:
        from multi.system import append

        append.append(path, lines, limit, self.users.owner(user, group))

    def login_group(self, user: str) -> str:
        return self.users.login_group(user)

    def ourselves(self) -> tuple[str, ...]:
        from multi.system import command

        return command.ourselves()

    def extend_timeout(self) -> None:
        if "NOTIFY_SOCKET" in os.environ:  # sockets are a dear import
            self.service.extend_timeout()

    def which(self, name: str) -> str:
        from multi.system import command

        return command.find(name)

    def run(self, words: tuple[str, ...], data: str | None = None) -> Ran:
        from multi.system import command

        return command.run(words, data)

    def processes(self) -> ProcessTable:
        return self.looker.table()

    def sketch(self) -> ProcessTable:
        return self.looker.sketch()

    def reaching(self, processes: ProcessTable, proc: Proc | None) -> ProcessTable:
        return self.looker.reaching(processes, proc)

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
