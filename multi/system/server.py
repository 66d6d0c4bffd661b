"""The launcher: a process in a session of its own that forks the nodes and reaps them.

Why it is there: a process can leave its controlling terminal for good only by being a member, not the
leader, of a session without one (setsid(2), credentials(7)). So somebody has to lead that session,
fork, and go. The launcher does it once for all nodes of a command. It is also their parent while the
command runs, so the exit status of a node that dies is known exactly. It ends when `multi` does, in
whatever way `multi` ends, because the socket between them then reads end-of-file.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from itertools import count
from typing import NoReturn

from multi.system.child import become

LAUNCH = b"l"  # what is sent with each gate; the request follows through the gate
ENDED = struct.Struct("=cIi")  # kind, number of the launch, status or errno
KIND_ENDED, KIND_FORK_FAILED, KIND_GIVEN_UP = b"x", b"f", b"g"
ELSEWHERE = -1  # in the place of an errno: what we fork is born into another pid namespace than multi's
_EXIT_NOT_EXECUTED = 127  # as a shell reports a command it could not run


def serve(control: socket.socket, limits: tuple[int, int] | None, first: int) -> NoReturn:
    """Be the launcher until `control` reads end-of-file. Never returns, never raises.

    `limits` of open files, soft and hard, are the nodes' to have, where ours were raised. Launches are numbered in the
    order in which they are asked for, from `first` on.
    """
    try:
        _serve(control, limits, count(first))
    except OSError as error:
        try:
            control.sendall(ENDED.pack(KIND_GIVEN_UP, 0, error.errno or 0))
        except OSError:
            pass  # multi is gone: that is why we go, too
    except BaseException:  # noqa: BLE001, S110 -- a forked copy of the caller must not run the caller's code
        pass
    os._exit(0)


def _serve(  # noqa: C901 -- what is set up once, and one branch a source
    control: socket.socket, limits: tuple[int, int] | None, numbers: Iterator[int]
) -> None:
    os.setsid()
    if os.getppid() == 0:
        # As after 'unshare --pid' without --fork (pid_namespaces(7)). A node would say a pid that to multi is that of
        # some other process, and would end with us.
        control.sendall(ENDED.pack(KIND_GIVEN_UP, 0, ELSEWHERE))
        control.shutdown(socket.SHUT_WR)
        while control.recv(1 << 16):
            pass  # until multi has heard of it, which it does not where its requests are refused
        return
    # The nodes inherit the launcher's signals, so they are put in order once, here.
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        try:
            signal.signal(signum, signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # the C library keeps a few real-time signals for itself
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _close_all_but({0, 1, 2, control.fileno(), wake_read, wake_write})
    if limits is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    # A collection would write to every object that multi has made, and so copy all memory that is shared with it.
    gc.disable()
    gc.freeze()
    children: dict[int, int] = {}
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(control, children)
        if control.fileno() in ready:
            data, gates, flags, _ = socket.recv_fds(control, 64, 64)
            if flags & socket.MSG_CTRUNC:
                raise OSError(errno.EMFILE, "no descriptor was left for a gate")
            if not data:
                return
            for gate in gates:
                # What recvmsg(2) hands over is inheritable. A node must hold no descriptor of another one: whoever
                # waits for the end of one would wait for both.
                os.set_inheritable(gate, False)  # noqa: FBT003 -- the standard library's own signature
            while gates:
                gate = gates.pop(0)
                _fork(control, next(numbers), gate, children, (control.fileno(), wake_read, wake_write, *gates))


def _fork(control: socket.socket, number: int, gate: int, children: dict[int, int], ours: tuple[int, ...]) -> None:
    """Fork one node, without the descriptors that are `ours`."""
    try:
        pid = os.fork()
    except OSError as error:
        os.close(gate)
        control.sendall(ENDED.pack(KIND_FORK_FAILED, number, error.errno or 0))
        return
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            for fd in ours:
                os.close(fd)
            become(gate)
        finally:
            os._exit(_EXIT_NOT_EXECUTED)
    os.close(gate)
    children[pid] = number


def _reap(control: socket.socket, children: dict[int, int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        number = children.pop(pid, None)
        if number is not None:
            control.sendall(ENDED.pack(KIND_ENDED, number, os.waitstatus_to_exitcode(status)))


def _close_all_but(keep: set[int]) -> None:
    """Close every other descriptor, at a cost that does not depend on RLIMIT_NOFILE."""
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for fd in {int(name) for name in names} - keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the one that the listing itself used
        return
    low = 0
    for fd in sorted(keep):
        if low < fd:  # an empty range at 0 would reach the system call as the range of all
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
