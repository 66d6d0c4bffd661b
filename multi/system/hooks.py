"""Commands that are told of an event: each runs under a guard, a forked copy of `multi` that nobody waits for.

The guard bounds the time of the hook and notes in the history what came of it, also when `multi` has ended meanwhile or
was killed. So a hook holds up nothing. What it leaves running in its process group ends with it.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from functools import partial

from multi.machine import MachineError
from multi.model.happening import HookDone
from multi.model.schedule import end_text
from multi.system import child
from multi.text import printable
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.machine import Hook
    from multi.system.poll import Poller
    from multi.system.users import Users

_KEPT = 4096  # bytes at the end of what a hook prints
_CHUNK = 1 << 16
_LINES, _LETTERS = 3, 200  # that are shown of it
_MOST = 64  # guards at a time


class Hooks:
    """The hooks under way, as far as this `multi` hears of their ends."""

    def __init__(self, poller: Poller, users: Users) -> None:
        self._poller = poller
        self._users = users
        self._heard: dict[socket.socket, bytes] = {}

    def begin(self, node: str, hook: Hook) -> None:
        """Run a hook; `HookDone` follows. It never raises: what cannot be begun is told in the same way."""
        if len(self._heard) >= _MOST:
            self._poller.queue.append(HookDone(node, hook.event, f"not run: {_MOST} hooks run already"))
            return
        try:
            env, identity = self._users.setting(hook.launch)
            ours, theirs = socket.socketpair()
        except (MachineError, OSError) as error:
            self._poller.queue.append(HookDone(node, hook.event, f"not run: {error}"))
            return
        try:
            pid = _fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._poller.queue.append(HookDone(node, hook.event, f"not run: cannot fork: {error.strerror}"))
            return
        if pid == 0:
            _Guard(hook, env, identity, theirs).be()
        theirs.close()
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)  # it is over at once: the guard is its child, and so nobody's
        ours.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
        self._heard[ours] = b""
        self._poller.add(ours.fileno(), partial(self._hear, ours, node, hook.event))

    def _hear(self, ours: socket.socket, node: str, event: str) -> None:
        try:
            data = ours.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._heard[ours] += data
        if data:
            return
        said = self._heard.pop(ours)
        self._poller.drop(ours.fileno())
        ours.close()
        try:
            why, tail = json.loads(said)
        except ValueError:
            why, tail = "its guard was killed", []
        self._poller.queue.append(HookDone(node, event, why, tuple(tail)))

    def close(self) -> None:
        """Hear no more; the guards go on."""
        for ours in self._heard:
            self._poller.drop(ours.fileno())
            ours.close()
        self._heard.clear()


def _fork() -> int:
    """A copy of us that is no child of ours; 0 in it. Raises `OSError`."""
    import sys
    import warnings

    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as where the launcher is forked
        pid = os.fork()
        if pid:
            return pid
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            os._exit(0)
        return 0


class _Guard:
    """One hook, from its guard's side. It ends in `os._exit`, whatever happens."""

    def __init__(
        self,
        hook: Hook,
        env: dict[bytes, bytes],
        identity: tuple[int, int, list[int]] | None,
        control: socket.socket,
    ) -> None:
        self._hook = hook
        self._env = env
        self._identity = identity
        self._control = control
        self._printed = b""
        self._input = hook.data
        self._until = time.monotonic() + hook.seconds

    def be(self) -> None:
        try:
            os.setsid()
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
                signal.signal(signum, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            child.close_all_but({0, 1, 2, self._control.fileno()})
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):  # whoever waits for the end of our output does not wait for the hook
                os.dup2(null, fd)
            os.close(null)
            why = self._run()
            self._tell(why)
        except BaseException:  # noqa: BLE001, S110 -- a forked copy of the caller must not run the caller's code
            pass
        finally:
            os._exit(0)

    def _run(self) -> str:
        """Why the hook failed; empty when it did not."""
        uid, gid, groups = self._identity or (None, None, None)
        try:
            process = subprocess.Popen(  # noqa: S603 -- the user's own words, run without a shell
                shlex.split(self._hook.command),
                env=self._env,
                cwd=self._hook.launch.workdir,
                user=uid,
                group=gid,
                extra_groups=groups if os.geteuid() == 0 else None,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return f"not run: {error}"
        try:
            over = self._talk(process)
        finally:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # it is not reaped yet, so the number is still its own
        status = process.wait()
        if not over:
            return f"still ran after {self._hook.seconds:g}s, and was killed"
        return "" if status == 0 else end_text(status)

    def _talk(self, process: subprocess.Popen[bytes]) -> bool:
        """Hand over the event and take what the hook prints until it has ended; False when it took too long."""
        assert process.stdin is not None  # noqa: S101 -- both are pipes
        assert process.stdout is not None  # noqa: S101
        entry, output = process.stdin.fileno(), process.stdout.fileno()
        poll = select.poll()
        for fd, events in ((entry, select.POLLOUT), (output, select.POLLIN)):
            os.set_blocking(fd, False)
            poll.register(fd, events)
        if pidfd := _pidfd(process.pid):
            poll.register(pidfd, select.POLLIN)
        while True:
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            if ended:
                self._hear(output)
                return True
            left = self._until - time.monotonic()
            if left <= 0:
                self._hear(output)
                return False
            ready = {fd for fd, _ in poll.poll(1000 * (left if pidfd else min(left, 0.05)))}
            if entry in ready and not self._hand_over(entry):
                poll.unregister(entry)
                process.stdin.close()
            if output in ready and not self._hear(output):
                poll.unregister(output)

    def _hand_over(self, fd: int) -> bool:
        try:
            self._input = self._input[os.write(fd, self._input) :]
        except BlockingIOError:
            return True
        except OSError:  # it does not want to know
            return False
        return bool(self._input)

    def _hear(self, fd: int) -> bool:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        self._printed = (self._printed + data)[-_KEPT:]
        return bool(data)

    def _tell(self, why: str) -> None:
        """Into the history first: nobody may hear us any more."""
        lines = [printable(line)[:_LETTERS] for line in self._printed.decode("utf-8", "replace").splitlines()]
        tail = tuple(line for line in lines if line.strip())[-_LINES:]
        with suppress(Exception):
            self._hook.note(why, tail)
        with suppress(OSError):
            self._control.sendall(json.dumps([why, tail]).encode("ascii"))


def _pidfd(pid: int) -> int:
    """A descriptor that wakes us when our child ends; 0 where the kernel has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return 0
