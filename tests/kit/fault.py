"""What goes wrong for `multi` goes wrong at a place of our choice: at the n-th thing that it does to the machine.

    hit = killed(real.env, number, "start", "a")
    done = refused(real.env, number, errno.ENOSPC, DISK, "start", "a")

Both run the command in a forked copy of this process. Every system call that changes something (a file made, written,
flushed, renamed or removed; a fork, a signal, a lock; what is sent to the launcher or to a gate) is counted there.
Instead of the one with that number comes KILL, or the kernel's refusal. So all states that a cut-off command can leave
are made, one by one. What the command forks goes on unharmed.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

_OWNERS: dict[object, tuple[str, ...]] = {
    os: (
        "chmod", "chown", "fchmod", "fchown", "fork", "fsync", "ftruncate", "kill", "killpg", "link", "mkdir",
        "posix_spawn", "pwrite", "rename", "rmdir", "symlink", "unlink", "utime", "write",
    ),
    signal: ("pidfd_send_signal",),
    fcntl: ("flock",),
    socket: ("send_fds",),
    socket.socket: ("send", "sendall"),
}  # fmt: skip
CREATE = "open"  # os.open of a file that may be made by that
EFFECTS = frozenset({CREATE, *(name for names in _OWNERS.values() for name in names)})
DISK = frozenset({CREATE, "write", "fsync", "mkdir"})
DIRECTORY = frozenset({CREATE, "mkdir", "rename", "unlink"})


_kill = os.kill  # what strikes is not counted


def _die() -> None:
    _kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ran in a copy of this process. `hit` says that what was to go wrong did."""

    code: int
    err: str
    hit: bool


def killed(env: Mapping[str, str], number: int, *words: str, only: Collection[str] = EFFECTS, code: int = 0) -> bool:
    """Run ``multi WORDS``; whether KILL hit it. Otherwise it came to its end, with `code`, before that many effects."""
    ended = _in_a_copy(env, words, lambda: _arm(only, number, _die))
    assert ended.code in {code, -signal.SIGKILL}, (words, ended)
    return ended.code == -signal.SIGKILL


def refused(env: Mapping[str, str], number: int, error: int, only: Collection[str], *words: str) -> Ended:
    """Run ``multi WORDS``, in which the n-th of these effects, and each after it, fails with that errno(3)."""

    def refuse() -> None:
        raise OSError(error, os.strerror(error))

    return _in_a_copy(env, words, lambda: _arm(only, number, refuse, lasting=True))


def limited(env: Mapping[str, str], which: int, limit: int, *words: str) -> Ended:
    """Run ``multi WORDS`` with a resource limit, as in getrlimit(2), and no descriptor but the three that all have."""

    def bound() -> None:
        import resource

        os.closerange(3, 1 << 16)
        resource.setrlimit(which, (limit, limit))

    return _in_a_copy(env, words, bound)


def _in_a_copy(env: Mapping[str, str], words: tuple[str, ...], prepare: Callable[[], object]) -> Ended:
    with tempfile.TemporaryFile() as out:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the tests' other threads hold nothing that it needs
            pid = os.fork()
        if pid == 0:
            try:
                _run(env, words, out.fileno(), prepare)
            finally:
                os._exit(99)
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
    return Ended(os.waitstatus_to_exitcode(status), text.replace(_HIT, ""), _HIT in text)


_HIT = "\0hit\0"


def _run(env: Mapping[str, str], words: tuple[str, ...], out: int, prepare: Callable[[], object]) -> None:
    os.environ.clear()
    os.environ.update(env)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd, target in ((0, nowhere), (1, nowhere), (2, out)):
        os.dup2(target, fd)
    import io
    import sys

    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
    from multi.cli import main

    prepare()
    code = main(words)
    os._exit(code)


def _arm(  # noqa: C901 -- one wrapper a kind of function
    only: Collection[str], number: int, strike: Callable[[], None], *, lasting: bool = False
) -> None:
    """Count the effects of this process from now on, and strike at the n-th; also at all that follow, if `lasting`."""
    me, left, write, questions = os.getpid(), [number], os.write, (os.kill, signal.pidfd_send_signal)

    def counted() -> None:
        if os.getpid() == me:
            left[0] -= 1
            if left[0] == 0 or (lasting and left[0] < 0):
                write(2, _HIT.encode())
                strike()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def count(*args: object, **named: object) -> object:
            said = function is write and args[0] in {1, 2}  # what is said to the user is no effect,
            asked = function in questions and args[1] == 0  # nor is the signal that sends nothing (kill(2))
            if not (said or asked):
                counted()
            return function(*args, **named)

        return count

    make = os.open

    def open_counted(path: Any, flags: int, *args: Any, **named: Any) -> int:  # noqa: ANN401 -- as os.open takes them
        if flags & os.O_CREAT:
            counted()
        return make(path, flags, *args, **named)

    for owner, names in _OWNERS.items():
        for name in names:
            if name in only:
                setattr(owner, name, counting(getattr(owner, name)))
    if CREATE in only:
        setattr(os, "open", open_counted)  # noqa: B010 -- mypy does not let a module's function be replaced otherwise
