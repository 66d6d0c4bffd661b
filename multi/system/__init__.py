"""The one door to the machine: `System` keeps the contract of `multi.machine.Machine`. It decides nothing.

Each trade is a part in a module of its own; `parts` puts them together.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from multi.machine import Me
from multi.system import files
from multi.system.local import Local

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.machine import FileWrite, Launch, MachineError
    from multi.model.process import Proc, ProcessTable
    from multi.system.parts import Parts

F = TypeVar("F")


class _By(Generic[F]):
    """A method of `multi.machine.Machine`, by the method of the part that does it."""

    def __init__(self, find: Callable[[Parts], F]) -> None:
        self._find = find

    def __get__(self, system: System, owner: type[System]) -> F:
        return self._find(system.parts)


class System(Local):
    """The real machine.

    `pidfd` False does without pidfds, `procfs` False without Linux's /proc, although the kernel could do better; the
    tests run them all.
    `signals` arrive as `Interruption` instead of ending us. As PID 1 it also reaps what the kernel hands to PID 1.
    Close it, or use it as a context manager: then the launcher is gone when the block is left.
    """

    def __init__(self, *, pidfd: bool = True, procfs: bool = True, signals: Sequence[int] = ()) -> None:
        from multi.system.parts import Parts

        self.parts = Parts(pidfd=pidfd, procfs=procfs, signals=signals)

    def __enter__(self) -> System:  # noqa: PYI034 -- typing.Self is Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = _By(lambda parts: parts.close)
    release = _By(lambda parts: parts.release)
    wait = _By(lambda parts: parts.wait)

    uid_of = _By(lambda parts: parts.users.uid_of)
    gid_of = _By(lambda parts: parts.users.gid_of)

    read = staticmethod(files.read)
    listing = staticmethod(files.listing)
    size = staticmethod(files.size)
    tail = staticmethod(files.tail)
    fingerprint = staticmethod(files.fingerprint)
    amend = staticmethod(files.amend)
    remove = staticmethod(files.remove)
    log_begin = _By(lambda parts: parts.logs.begin)
    log_more = _By(lambda parts: parts.logs.more)

    exists = _By(lambda parts: parts.processes.exists)
    cmdline = _By(lambda parts: parts.processes.platform.cmdline)
    executed = _By(lambda parts: parts.processes.platform.executed)
    signal = _By(lambda parts: parts.watches.signal)
    watch = _By(lambda parts: parts.watches.watch)

    lock = _By(lambda parts: parts.locks.lock)
    holder = _By(lambda parts: parts.locks.holder)
    holds = _By(lambda parts: parts.locks.holds)
    unlock = _By(lambda parts: parts.locks.release)

    make_room = _By(lambda parts: parts.open_files.make_room)
    launch = _By(lambda parts: parts.launcher.launch)
    open_gate = _By(lambda parts: parts.launcher.open_gate)
    shut_gate = _By(lambda parts: parts.launcher.shut_gate)

    notify_address = _By(lambda parts: parts.notifications.address)
    notifies = _By(lambda parts: parts.probes.notifies)
    probe = _By(lambda parts: parts.probes.begin)
    probe_says = _By(lambda parts: parts.probes.last_line)

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def me(self) -> Me:
        return Me(uid=os.geteuid(), pid=os.getpid())

    def token(self) -> str:
        return os.urandom(16).hex()

    def make_directory(self, path: str, user: str | None, group: str | None) -> None:
        files.make_directory(path, self.parts.users.owner(user, group))

    def write(self, writes: Sequence[FileWrite]) -> Sequence[MachineError | None]:
        return files.write(writes, self.parts.users.owner)

    def processes(self) -> ProcessTable:
        return self.parts.processes.table()

    def may_launch(self, launch: Launch) -> None:
        if os.geteuid() != 0:
            from multi.system import limits

            self.parts.users.setting(launch)
            limits.may_grant(launch)

    def listens(self, procs: Sequence[Proc], at: tuple[str, int]) -> str:
        from multi.system import ports

        return ports.whose(procs, at, self.parts.processes.is_same, procfs=self.parts.processes.procfs)

    def taken(self, what: str) -> bool:
        from multi.system import ports

        return ports.taken(what)

    def end_probe(self, key: str) -> None:
        if "probes" in vars(self.parts):  # else nobody has probed, so there is nothing to import
            self.parts.probes.end(key)

    def terminal_gone(self) -> bool:
        return self.parts.signals is not None and self.parts.signals.terminal_gone()

    def tell(self, text: str) -> None:
        from multi.system import notify

        notify.tell(text)

    def answer_watchdog(self) -> None:
        from multi.system import notify

        notify.answer_watchdog(self.parts.poller)
