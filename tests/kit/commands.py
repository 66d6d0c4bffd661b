"""Commands of `multi` as processes of their own, without a start of Python for each: forks of a server.

Run as a program, this is the server: it has imported the package, and each fork runs one command as ``python -m multi``
does from there on. A fork is a child of the tests, not of the server; the kernel shows the words and the environment of
its command; `test_real` holds it against an executed one. What is special (another user, another environment of Python)
is executed, as is everything where the kernel lacks something of this.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

_CLONE = {"x86_64": 56, "aarch64": 220}  # the number of clone(2)
_CLONE_PARENT = 0x00008000  # linux/sched.h
_SET_MM, _SET_MM_MAP = 35, 14  # PR_SET_MM of prctl(2)
_LONGEST = 1 << 16  # bytes of a request, far below what a socket takes at once
_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "MALLOC_", "GLIBC_")  # variables that count when a program begins
_servers: list[tuple[socket.socket, Mapping[str, str]]] = []  # the one of this process


# --- in the tests -----------------------------------------------------------------------------------


class Command(subprocess.Popen[bytes]):
    """``multi WORDS``: forked where that is possible, and executed otherwise."""

    def __init__(self, words: tuple[str, ...], env: Mapping[str, str], **how: Any) -> None:  # noqa: ANN401 -- as Popen
        """As `subprocess.Popen`; `words` are those behind ``multi``."""
        self._request, self.forked = b"", False
        if _servers and how.get("user") is None and _at_start(env) == _at_start(_servers[0][1]):
            with contextlib.suppress(TypeError):  # bytes, which JSON cannot hold
                self._request = json.dumps([words, dict(env), os.fspath(how["cwd"])]).encode()
        super().__init__([sys.executable, "-m", "multi", *words], env=env, **how)

    def _execute_child(self, *how: Any) -> None:  # noqa: ANN401 -- of the standard library, another one in each release
        pipes = how[10:16]  # both ends of stdin, stdout, stderr
        given = (pipes[0], pipes[3], pipes[5])
        if not 0 < len(self._request) < _LONGEST or -1 in given:
            super()._execute_child(*how)  # type: ignore[misc]
            return
        umask = os.umask(0)
        os.umask(umask)
        server = _servers[0][0]
        try:
            server.sendmsg(
                [umask.to_bytes(2, "big") + self._request],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))],
            )
            self.pid, self.forked = int(server.recv(32)), True
        except (OSError, ValueError):  # a test has ended the server, as it may end any process
            _servers.clear()
            super()._execute_child(*how)  # type: ignore[misc]
            return
        except BaseException:
            _servers.clear()  # an answer that was not taken must not be the next command's
            raise
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def serves() -> bool:
    """Whether this kernel can: a command is forked unless it is special."""
    return bool(_servers)


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_AT_START)}


@contextlib.contextmanager
def served(env: Mapping[str, str]) -> Iterator[None]:
    """Have a server whose environment is `env`; without one, where that cannot be, all commands are executed."""
    if sys.platform != "linux" or os.uname().machine not in _CLONE:
        yield
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            words = [sys.executable, __file__, str(theirs.fileno())]
            server = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        if ours.recv(32) == b"ready":
            _servers.append((ours, env))
        try:
            yield
        finally:
            _servers.clear()
            ours.close()
            server.wait()


# --- the server -------------------------------------------------------------------------------------


def _serve(requests: socket.socket) -> None:
    """Answer each request with the pid of a fork; return in the fork, which has become the command."""
    import ctypes

    libc = ctypes.PyDLL(None)  # keeps the lock of the interpreter, which a fork could not take otherwise
    clone = _CLONE[os.uname().machine]
    requests.send(b"ready" if _becomes(libc, sys.argv, os.environ) else b"no")
    while True:
        data, rights, _, _ = requests.recvmsg(_LONGEST, socket.CMSG_SPACE(12))
        if not data:
            os._exit(0)
        given = array.array("i", rights[0][2])
        pid = libc.syscall(clone, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            requests.close()
            for number, fd in enumerate(given):
                os.dup2(fd, number)
            for fd in given:
                os.close(fd)
            words, env, directory = json.loads(data[2:])
            os.umask(int.from_bytes(data[:2], "big"))
            os.chdir(directory)
            os.environ.clear()
            os.environ.update(env)
            _becomes(libc, [sys.executable, "-m", "multi", *words], env)
            sys.path[0] = directory
            sys.argv[1:] = words
            return
        requests.send(b"%d" % pid)
        for fd in given:
            os.close(fd)


def _becomes(libc: Any, words: list[str], env: Mapping[str, str]) -> bool:  # noqa: ANN401 -- ctypes
    """Let proc_pid_cmdline(5) and proc_pid_environ(5) show these of this process; whether the kernel does."""
    import ctypes

    areas = [b"".join(os.fsencode(each) + b"\0" for each in texts) for texts in (words, map("=".join, env.items()))]
    _shown[:] = [ctypes.create_string_buffer(area, len(area)) for area in areas]
    with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 -- every import of the server is one of its forks
        fields = file.read().rpartition(b")")[2].split()
    code, stack, data = map(int, fields[23:25]), int(fields[25]), map(int, fields[42:45])
    libc.sbrk.restype = ctypes.c_void_p
    bounds = [*code, *data, libc.sbrk(0), stack]
    for each in _shown:
        begin = ctypes.addressof(each)
        bounds += [begin, begin + len(each)]
    packed = array.array("Q", [*bounds, 0, 0xFFFFFFFF << 32]).tobytes()  # no other vector, no other program
    return bool(libc.prctl(_SET_MM, _SET_MM_MAP, packed, len(packed), 0) == 0)


_shown: list[Any] = []  # what the kernel shows has to stay where it is


def _import() -> None:
    """All that a command may import of the package."""
    import importlib
    import pkgutil

    import multi

    inside = ("multi.celery_plugin", "multi.plugins", "multi.__main__")  # of a worker; and what runs is not imported
    for module in pkgutil.walk_packages(multi.__path__, "multi.", onerror=lambda _: None):
        if not module.name.startswith(inside):
            importlib.import_module(module.name)


if __name__ == "__main__":
    import gc

    _import()
    import multi.__main__

    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv.pop(1))))
    sys.argv[0] = str(multi.__main__.__file__)
    code = multi.__main__.main()
    with contextlib.suppress(OSError):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)  # to take the interpreter apart would copy most of what the fork has in common with the server
    sys.exit(code)
