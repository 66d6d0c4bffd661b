"""Probes of readiness, one at a time for each key: ``tcp``, ``exec``, and asking another Python for our plug-in."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from multi.machine import Happening, Launch, MachineError, Probed
from multi.text import printable
from multi.value import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from subprocess import Popen

    from multi.system.poll import Poller
    from multi.system.users import Users

    _Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
    _Addresses: TypeAlias = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, _Address]]
    # Hears why a probe has failed, empty when it has not, and the address that accepted.
    _Say: TypeAlias = Callable[[str, tuple[str, int] | None], None]

_SOME_OUTPUT, _WHOLE_PIPE = 1 << 16, 1 << 20  # bytes of what a probe prints that are read at once; a pipe holds less
_KEPT_OUTPUT = 4096  # bytes of it that its last line is looked for in
_LONGEST_LINE = 200  # characters of that line that are shown


@dataclass(slots=True)
class _Question:
    """A Python that is asked whether it has our plug-in, and the keys that want to know."""

    waiting: list[str] = field(default_factory=list)
    answer: bool | None = None


class Probes:
    """The probes under way, and what other Pythons have answered."""

    def __init__(self, poller: Poller, queue: list[Happening], users: Users, *, pidfd: bool) -> None:
        self._poller = poller
        self._queue = queue
        self._users = users
        self._pidfd = pidfd
        self._running: dict[str, _Tcp | _Exec] = {}
        self._questions: dict[str, _Question] = {}  # by the key of the probe that asks

    def pids(self) -> set[int]:
        """Our own children among them."""
        return {probe.process.pid for probe in self._running.values() if isinstance(probe, _Exec) and probe.process}

    def begin(self, key: str, kind: str, what: str, launch: Launch) -> None:
        """Begin one probe; its end is `Probed`."""
        self.end(key)
        say = partial(self._say, key)
        if kind == "tcp":
            tcp = self._running[key] = _Tcp(self._poller, what, say)
            tcp.begin()
        else:
            program = self._running[key] = _Exec(self._poller, what, say)
            program.begin(launch, self._users, pidfd=self._pidfd)

    def last_line(self, key: str) -> str:
        """The last line that the probe has printed so far."""
        probe = self._running.get(key)
        return _last_line(probe.printed) if isinstance(probe, _Exec) else ""

    def end(self, key: str) -> None:
        """End the probe under way."""
        probe = self._running.pop(key, None)
        if probe is not None:
            probe.end()

    def _say(self, key: str, why: str, at: tuple[str, int] | None = None) -> None:
        """Report what a probe has answered, to all who want to know it."""
        self.end(key)
        question = self._questions.get(key)
        if question is None:
            self._queue.append(Probed(key, ok=not why, why=why, at=at))
            return
        self._poller.forget(key)
        question.answer = not why
        self._queue += [Probed(each, ok=not why, why=why) for each in question.waiting]
        question.waiting.clear()

    def notifies(self, key: str, program: str, user: str | None, group: str | None) -> bool | None:
        """See `plugin.answer`. A Python that is asked may be the node's user's own, so root does not run it itself."""
        from multi.system import plugin

        answer = plugin.answer(program)
        if isinstance(answer, bool):
            return answer
        if os.geteuid() != 0:
            user = group = None
        self._users.identity(user, group)  # raises for an unknown user
        name = f"{answer} as {user}:{group}"
        question = self._questions.get(name)
        if question is None:
            import shlex

            question = self._questions[name] = _Question()
            late = partial(self._say, name, f"{name}: it did not answer in time")
            self._poller.at(name, time.monotonic() + plugin.TIMEOUT, late)
            setting = Launch(argv=(answer,), env=(), logfile="", workdir="/", uid=user, gid=group)
            self.begin(name, "exec", shlex.join((answer, "-c", plugin.QUESTION)), setting)
        if question.answer is None:
            question.waiting.append(key)
        return question.answer

    def release(self, key: str) -> None:
        for question in self._questions.values():
            if key in question.waiting:
                question.waiting.remove(key)
        self.end(key)

    def close(self) -> None:
        for key in list(self._running):
            self.release(key)


class _Tcp:
    """Connects to all addresses of a name at once: one that gives no answer must not hide another one that does."""

    def __init__(self, poller: Poller, what: str, say: _Say) -> None:
        self._poller = poller
        self._what = what
        self._say = say
        self._sockets: list[socket.socket] = []  # one for each address that has not answered yet
        self._refusals: list[str] = []  # what the others have answered
        self._lookup = -1  # a pipe that ends when the addresses of a name are known

    def begin(self) -> None:
        host, _, port = self._what.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        try:
            name = host.encode() if host.isascii() else host.encode("idna")
            look_up = partial(socket.getaddrinfo, name, int(port), type=socket.SOCK_STREAM)
            try:
                addresses = look_up(flags=socket.AI_NUMERICHOST)
            except socket.gaierror:
                self._look_up(look_up)
            else:
                self._connect(addresses)
        except (OSError, ValueError, RuntimeError) as error:  # it can be no name, or no descriptor or thread is left
            self._refused(error)

    def _look_up(self, look_up: Callable[[], _Addresses]) -> None:
        """Ask for the addresses of a name in a thread: a DNS server that is slow must keep nobody else waiting.

        The thread does nothing but getaddrinfo(3): it holds no lock that the launcher could miss after its fork, since
        those of the C library are made anew there. It closes a pipe that is its own, so it may be late without harm.
        """
        from threading import Thread

        listening, telling = os.pipe()
        answers: list[_Addresses | OSError] = []

        def ask() -> None:
            try:
                answers.append(look_up())
            except OSError as error:
                answers.append(error)
            finally:
                os.close(telling)

        try:
            Thread(target=ask, daemon=True, name=f"multi looks up {self._what}").start()
        except RuntimeError:
            os.close(listening)
            os.close(telling)
            raise
        self._lookup = listening
        self._poller.add(listening, partial(self._found, answers))

    def _found(self, answers: list[_Addresses | OSError]) -> None:
        if not answers:
            return
        self._close_lookup()
        (answer,) = answers
        if isinstance(answer, OSError):
            self._refused(answer)
        else:
            self._connect(answer)

    def _connect(self, addresses: _Addresses) -> None:
        for family, kind, protocol, _, address in addresses:
            try:
                one = socket.socket(family, kind, protocol)
            except OSError as error:  # the kernel has no such addresses, or no descriptor is left
                self._refusals.append(_reason(error))
                continue
            one.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
            code = one.connect_ex(address)
            if code in {0, errno.EINPROGRESS}:
                self._sockets.append(one)
                self._poller.add(one.fileno(), partial(self._answered, one), select.POLLOUT)
            else:
                one.close()
                self._refusals.append(os.strerror(code))
        if not self._sockets:
            self._refused()

    def _answered(self, one: socket.socket) -> None:
        code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        at: tuple[str, int] | None = None
        try:
            # Where nobody listens on a port that the kernel gives to clients, a client can meet itself.
            if code == 0:
                at = one.getpeername()[:2]
            if code == 0 and one.getsockname()[:2] == at:
                code = errno.ECONNREFUSED
        except OSError as error:  # it was accepted, and thrown out at once
            code = error.errno or errno.ENOTCONN
        if code == 0:
            self._say("", at)
            return
        self._poller.drop(one.fileno())
        one.close()
        self._sockets.remove(one)
        self._refusals.append(os.strerror(code))
        if not self._sockets:
            self._refused()

    def _refused(self, error: Exception | None = None) -> None:
        """No address is left to try, or none was found."""
        reasons = [*self._refusals, *([] if error is None else [_reason(error)])]
        self._say(f"{self._what}: {', '.join(dict.fromkeys(reasons))}", None)

    def end(self) -> None:
        self._close_lookup()
        for one in self._sockets:
            self._poller.drop(one.fileno())
            one.close()

    def _close_lookup(self) -> None:
        if self._lookup >= 0:
            self._poller.drop(self._lookup)
            os.close(self._lookup)
            self._lookup = -1


class _Exec:
    """Runs a command as the node's user and where the node runs: root must not run what others may have written."""

    def __init__(self, poller: Poller, what: str, say: _Say) -> None:
        self._poller = poller
        self._what = what
        self._say = say
        self._pidfd = -1
        self._output = -1  # the pipe that it prints to
        self.process: Popen[bytes] | None = None
        self.printed = b""  # the end of what it has printed

    def begin(self, launch: Launch, users: Users, *, pidfd: bool) -> None:
        import shlex
        import subprocess

        try:
            env, identity = users.setting(launch)
            uid, gid, groups = identity or (None, None, None)
            process = self.process = subprocess.Popen(  # noqa: S603 -- the user's own words, run without a shell
                shlex.split(self._what),
                env=env,
                cwd=launch.workdir,
                user=uid,
                group=gid,
                extra_groups=groups if os.geteuid() == 0 else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError, MachineError) as error:
            self._say(f"{self._what}: {error}", None)
            return
        assert process.stdout is not None  # noqa: S101 -- it is a pipe
        self._output = process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._poller.add(self._output, partial(self._hear, _SOME_OUTPUT))
        if pidfd:
            self._pidfd = os.pidfd_open(process.pid)  # our own child, unreaped: the pid cannot be used again
            self._poller.add(self._pidfd, self._ended)
        else:
            self._poller.look(self, self._look)

    def _look(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            self._ended()

    def _hear(self, limit: int) -> None:
        """Read what it prints, so that it is never held up, and keep the end of it."""
        if self._output < 0:
            return
        try:
            data = os.read(self._output, limit)
        except BlockingIOError:
            return
        self.printed = (self.printed + data)[-_KEPT_OUTPUT:]
        if not data:
            self._close_output()

    def _ended(self) -> None:
        if self.process is None:
            return
        status = self.process.wait()
        # Once: a child that has the pipe from it may print for ever.
        self._hear(_WHOLE_PIPE)
        said = _last_line(self.printed)
        why = f"{self._what}: {_end_of(status)}" + (f": {said}" if said else "")
        self._say("" if status == 0 else why, None)

    def end(self) -> None:
        self._poller.forget(self)
        if self._pidfd >= 0:
            self._poller.drop(self._pidfd)
            os.close(self._pidfd)
        process = self.process
        if process is not None and process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # what a hanging shell waits for goes with it
            except PermissionError:
                process.returncode = 0  # another user's by now, as of sudo(8): not ours to end, nor to wait for
            process.wait()
        self._close_output()

    def _close_output(self) -> None:
        if self._output >= 0 and self.process is not None and self.process.stdout is not None:
            self._poller.drop(self._output)
            self.process.stdout.close()
            self._output = -1


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _last_line(printed: bytes) -> str:
    """The last line that says anything, fit to stand within another one."""
    lines = [line.strip() for line in printed.decode("utf-8", "replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    shown = printable(last[:_LONGEST_LINE])
    return shown + "..." if len(last) > _LONGEST_LINE else shown


def _end_of(status: int) -> str:
    from multi.model.schedule import signal_name

    return f"exit status {status}" if status >= 0 else f"killed by {signal_name(-status)}"
