"""``exec:COMMAND``: a command exits 0."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from functools import partial

from multi.machine import MachineError
from multi.model.schedule import signal_name
from multi.system import probes
from multi.text import printable

_SOME_OUTPUT, _WHOLE_PIPE = 1 << 16, 1 << 20  # bytes of what a probe prints that are read at once; a pipe holds less
_KEPT_OUTPUT = 4096  # bytes of it that its last line is looked for in
_LONGEST_LINE = 200  # characters of that line that are shown


class Probe(probes.Probe):
    """Runs a command as the node's user and where the node runs: root must not run what others may have written."""

    _process: subprocess.Popen[bytes] | None = None
    _pidfd = -1
    _output = -1  # the pipe that it prints to
    _printed = b""  # the end of what it has printed

    def begin(self) -> None:
        launch = self.launch
        try:
            env, identity = self.users.setting(launch)
            uid, gid, groups = identity or (None, None, None)
            process = self._process = subprocess.Popen(  # noqa: S603 -- the user's own words, run without a shell
                shlex.split(self.what),
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
            self.say(f"{self.what}: {error}", None)
            return
        assert process.stdout is not None  # noqa: S101 -- it is a pipe
        self.pid = process.pid
        self._output = process.stdout.fileno()
        os.set_blocking(self._output, False)
        self.poller.add(self._output, partial(self._hear, _SOME_OUTPUT))
        if self.pidfd:
            self._pidfd = os.pidfd_open(process.pid)  # our own child, unreaped: the pid cannot be used again
            self.poller.add(self._pidfd, self._look)
        else:
            self.poller.look(self, self._look)

    def _look(self) -> None:
        status = None if self._process is None else self._process.poll()
        if status is None:
            return
        self._hear(_WHOLE_PIPE)  # once: a child that has the pipe from it may print for ever
        how = f"exit status {status}" if status >= 0 else f"killed by {signal_name(-status)}"
        said = self.last_line()
        self.say("" if status == 0 else f"{self.what}: {how}" + (f": {said}" if said else ""), None)

    def _hear(self, limit: int) -> None:
        """Read what it prints, so that it is never held up, and keep the end of it."""
        if self._output < 0:
            return
        try:
            data = os.read(self._output, limit)
        except BlockingIOError:
            return
        self._printed = (self._printed + data)[-_KEPT_OUTPUT:]
        if not data:
            self._close_output()

    def last_line(self) -> str:
        """The last line that says anything, fit to stand within another one."""
        lines = [line.strip() for line in self._printed.decode("utf-8", "replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        shown = printable(last[:_LONGEST_LINE])
        return shown + "..." if len(last) > _LONGEST_LINE else shown

    def end(self) -> None:
        self.poller.forget(self)
        if self._pidfd >= 0:
            self.poller.drop(self._pidfd)
            os.close(self._pidfd)
        process = self._process
        if process is not None and process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # what a hanging shell waits for goes with it
            except PermissionError:
                process.returncode = 0  # another user's by now, as of sudo(8): not ours to end, nor to wait for
            process.wait()
        self._close_output()

    def _close_output(self) -> None:
        if self._output >= 0 and self._process is not None and self._process.stdout is not None:
            self.poller.drop(self._output)
            self._process.stdout.close()
            self._output = -1
