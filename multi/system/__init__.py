"""The one door to the machine: `System` keeps the contract of `multi.machine.Machine`. It decides nothing.

Each trade is a part in a module of its own; `parts` puts them together.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from multi.system.local import Local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.machine import File, FileWrite, Happening, Holder, Launch, MachineError, Me, Unreadable
    from multi.model.process import Proc, ProcessTable


class System(Local):
    """The real machine.

    `pidfd` False does without pidfds, `procfs` False without Linux's /proc, although the kernel could do better; the
    tests run them all.
    `signals` arrive as `Interruption` instead of ending us. As PID 1 it also reaps what the kernel hands to PID 1.
    Close it, or use it as a context manager: then the launcher is gone when the block is left.
    """

    def __init__(self, *, pidfd: bool = True, procfs: bool = True, signals: Sequence[int] = ()) -> None:
        from multi.system import files
        from multi.system.parts import Parts

        self._files = files
        self._parts = Parts(pidfd=pidfd, procfs=procfs, signals=signals)

    def __enter__(self) -> System:  # noqa: PYI034 -- typing.Self is Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back. The nodes live on; the launcher does not."""
        self._parts.close()

    def release(self, key: str) -> None:
        self._parts.release(key)

    def wait(self, until: float | None) -> Sequence[Happening]:
        return self._parts.wait(until)

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def me(self) -> Me:
        from multi.machine import Me

        return Me(uid=os.geteuid(), pid=os.getpid())

    def token(self) -> str:
        return os.urandom(16).hex()

    def uid_of(self, user: str) -> int:
        return self._parts.users.identity(user, None)[0]

    def gid_of(self, group: str) -> int:
        return self._parts.users.identity(None, group)[1]

    def read(self, path: str, limit: int) -> File | Unreadable | None:
        return self._files.read(path, limit)

    def listing(self, directory: str, suffix: str) -> tuple[str, ...]:
        return self._files.listing(directory, suffix)

    def size(self, path: str) -> int:
        return self._files.size(path)

    def tail(self, path: str, offset: int, limit: int) -> bytes:
        return self._files.tail(path, offset, limit)

    def fingerprint(self, path: str) -> str:
        return self._files.fingerprint(path)

    def make_directory(self, path: str, user: str | None, group: str | None) -> None:
        self._files.make_directory(path, self._parts.users.owner(user, group))

    def write(self, writes: Sequence[FileWrite]) -> Sequence[MachineError | None]:
        return self._files.write(writes, self._parts.users.owner)

    def amend(self, path: str, old: bytes, new: bytes) -> None:
        self._files.amend(path, old, new)

    def remove(self, path: str) -> None:
        self._files.remove(path)

    def log_begin(self, key: str, path: str, limit: int) -> bytes:
        return self._parts.logs.begin(key, path, limit)

    def log_more(self, key: str, limit: int) -> bytes:
        return self._parts.logs.more(key, limit)

    def processes(self) -> ProcessTable:
        return self._parts.processes.table()

    def exists(self, pid: int) -> bool:
        return self._parts.processes.exists(pid)

    def cmdline(self, pid: int) -> tuple[str, ...]:
        return self._parts.processes.platform.cmdline(pid)

    def executed(self, pid: int) -> tuple[str, ...]:
        return self._parts.processes.platform.executed(pid)

    def lock(self, key: str, path: str, user: str | None, group: str | None) -> Holder | None:
        return self._parts.locks.lock(key, path, user, group)

    def holder(self, key: str) -> Holder:
        return self._parts.locks.holder(key)

    def holds(self, key: str) -> bool:
        return self._parts.locks.holds(key)

    def unlock(self, key: str) -> None:
        self._parts.locks.release(key)

    def make_room(self, nodes: int) -> int:
        return self._parts.open_files.make_room(nodes)

    def may_launch(self, launch: Launch) -> None:
        if os.geteuid() != 0:
            from multi.system import limits

            self._parts.users.setting(launch)
            limits.may_grant(launch)

    def launch(self, key: str, launch: Launch) -> None:
        self._parts.launcher.launch(key, launch)

    def open_gate(self, key: str) -> None:
        self._parts.launcher.open_gate(key)

    def shut_gate(self, key: str) -> None:
        self._parts.launcher.shut_gate(key)

    def signal(self, proc: Proc, signum: int) -> str:
        return self._parts.watches.signal(proc, signum)

    def watch(self, key: str, proc: Proc) -> None:
        self._parts.watches.watch(key, proc)

    def notify_address(self, key: str, token: str) -> str:
        return self._parts.notifications.address(key, token)

    def notifies(self, key: str, program: str, user: str | None, group: str | None) -> bool | None:
        return self._parts.probes.notifies(key, program, user, group)

    def probe(self, key: str, kind: str, what: str, launch: Launch) -> None:
        self._parts.probes.begin(key, kind, what, launch)

    def probe_says(self, key: str) -> str:
        return self._parts.probes.last_line(key)

    def end_probe(self, key: str) -> None:
        if "probes" in vars(self._parts):  # else nobody has probed, so there is nothing to import
            self._parts.probes.end(key)

    def listens(self, procs: Sequence[Proc], at: tuple[str, int]) -> str:
        from multi.system import ports

        return ports.whose(procs, at, self._parts.processes.is_same, procfs=self._parts.processes.procfs)

    def taken(self, what: str) -> bool:
        from multi.system import ports

        return ports.taken(what)

    def terminal_gone(self) -> bool:
        return self._parts.signals is not None and self._parts.signals.terminal_gone()

    def tell(self, text: str) -> None:
        from multi.system import notify

        notify.tell(text)

    def answer_watchdog(self) -> None:
        from multi.system import notify

        notify.answer_watchdog(self._parts.poller)
