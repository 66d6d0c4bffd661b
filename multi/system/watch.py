"""Signals to processes and the ends of processes: by pidfd, or without; and the signals that we get ourselves.

The descriptor is opened first and the identity verified after, so what is signalled or waited for is the process that
was proved, however often its pid is used again. Where there is no pidfd, the identity is verified immediately before
each signal, and ends are found by looking.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

from multi.machine import MachineError
from multi.model.happening import Ended, Interruption
from multi.model.process import Proc
from multi.system.limits import cannot
from multi.system.poll import Poller
from multi.system.processes import Processes


class Watches:
    """The processes whose ends are waited for, and the pidfds that hold them."""

    def __init__(self, poller: Poller, processes: Processes, *, pidfd: bool) -> None:
        self.pidfd = pidfd and processes.procfs and _has_pidfds()
        self._poller = poller
        self._is_same = processes.is_same
        self._watched: dict[str, dict[Proc, int]] = {}  # the pidfd of each, or -1 where there is none
        self._pidfds: dict[Proc, int] = {}  # one for each process that is watched

    def pids(self, key: str) -> set[int]:
        return {proc.pid for proc in self._watched.get(key, ())}

    def signal(self, proc: Proc, signum: int) -> str:
        if proc.pid <= 1 or proc.pid == os.getpid():
            return "denied"
        if not self.pidfd:
            return _sent(proc, partial(os.kill, proc.pid, signum)) if self._is_same(proc) else "gone"
        known = self._pidfds.get(proc)
        fd = self._open_pidfd(proc) if known is None else known
        if fd is None:
            return "gone"
        try:
            return _sent(proc, partial(signal.pidfd_send_signal, fd, signum))
        finally:
            if known is None:
                os.close(fd)

    def _open_pidfd(self, proc: Proc) -> int | None:
        """A descriptor for exactly this process; None when it is gone. Raises `MachineError`."""
        try:
            fd = os.pidfd_open(proc.pid)
        except ProcessLookupError:
            return None
        except OSError as error:
            raise cannot(f"cannot hold process {proc.pid}", error) from error
        # Opened first, verified after: from here on the descriptor cannot come to mean another process.
        same = False
        try:
            same = self._is_same(proc)
        finally:
            if not same:
                os.close(fd)
        return fd if same else None

    def watch(self, key: str, proc: Proc) -> None:
        """Report the end of this process, without a status."""
        watched = self._watched.setdefault(key, {})
        if proc in watched:
            return
        if not self.pidfd:
            watched[proc] = -1
            self._poller.look((key, proc), partial(self._look, key, proc))
            return
        fd = self._open_pidfd(proc)
        if fd is None:
            self._poller.queue.append(Ended(key, proc, None))
            return
        watched[proc] = fd
        self._pidfds.setdefault(proc, fd)
        self._poller.add(fd, partial(self._ended, key, proc))

    def _look(self, key: str, proc: Proc) -> None:
        try:
            same = self._is_same(proc)
        except MachineError:
            return  # the next look may tell
        if not same:
            self._ended(key, proc)

    def _ended(self, key: str, proc: Proc) -> None:
        status = None
        if os.getpid() == 1:  # it may be our child by now, and nobody else is told how it has ended
            from multi.system import reap

            status = reap.status_of(proc.pid)
        if status is None:
            self._tell(key, proc, None)
        else:
            self.reaped(proc.pid, status)

    def reaped(self, pid: int, status: int) -> None:
        """Report that end to all who watch the process: it was our child, and the kernel forgets its status now."""
        for key, watched in list(self._watched.items()):
            for proc in [proc for proc in watched if proc.pid == pid]:
                self._tell(key, proc, status)

    def _tell(self, key: str, proc: Proc, status: int | None) -> None:
        self._let_go(key, proc, self._watched.get(key, {}).pop(proc, -1))
        self._poller.queue.append(Ended(key, proc, status))

    def _let_go(self, key: str, proc: Proc, pidfd: int) -> None:
        if pidfd < 0:
            self._poller.forget((key, proc))
            return
        if self._pidfds.get(proc) == pidfd:
            del self._pidfds[proc]
        self._poller.drop(pidfd)
        os.close(pidfd)

    def release(self, key: str) -> None:
        for proc, fd in self._watched.pop(key, {}).items():
            self._let_go(key, proc, fd)

    def close(self) -> None:
        for key in list(self._watched):
            self.release(key)


class Signals:
    """Signals that arrive as `Interruption` instead of ending us."""

    def __init__(self, signals: Sequence[int], poller: Poller) -> None:
        self._old_handlers: dict[int, object] = {}
        self._on_terminal = _has_terminal()
        if os.getpid() == 1:
            self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)

        def interrupted(number: int, _frame: object) -> None:
            poller.queue.append(Interruption(number))

        for signum in signals:
            if signal.getsignal(signum) is not signal.SIG_IGN:  # who ignores it, as nohup does, wants it ignored
                self._old_handlers[signum] = signal.signal(signum, interrupted)
        signal.set_wakeup_fd(poller.wake_fd(), warn_on_full_buffer=False)
        if os.getpid() == 1:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)  # those that came while we were imported arrive now

    def terminal_gone(self) -> bool:
        return self._on_terminal and not _has_terminal()

    def close(self) -> None:
        if not self._old_handlers:
            return
        signal.set_wakeup_fd(-1)
        for signum, handler in self._old_handlers.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]  # it is what signal.signal returned
        self._old_handlers = {}


def _has_pidfds() -> bool:
    """Whether there are pidfds here: Python may be built without, the kernel too old, a sandbox may forbid them.

    Both calls are tried: a sandbox may know the one of Linux 5.3 and not that of 5.1, or forbid one of them.
    """
    if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
        return False
    try:
        fd = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(fd, 0)  # sends nothing, as with kill(2)
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
    return True


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _sent(proc: Proc, send: Callable[[], None]) -> str:
    try:
        send()
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        return "denied"
    except OSError as error:
        raise MachineError(
            f"cannot signal process {proc.pid}",
            error.strerror or str(error),
            "see whether a sandbox, as of a container or a systemd unit, forbids it",
            error.errno or 0,
        ) from error
    return "sent"
