"""The client of the launcher: asks it for processes, speaks with them at their gates, hears their ends.

`child` is the other end of its socket, and says why there is a launcher.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import signal
import socket
import sys
from collections import deque
from functools import partial

from multi.machine import INSTANCE, INSTANCE_PID, Launch, MachineError
from multi.model.happening import Ended, Executed, LaunchFailed, Prepared
from multi.model.process import Proc
from multi.system import child as forked
from multi.system import limits
from multi.system.limits import HINTS
from multi.system.poll import Poller
from multi.system.processes import Processes
from multi.system.users import Users
from multi.system.watch import Watches
from multi.value import dataclass


@dataclass(slots=True)
class _Child:
    """A process that our launcher forks, from the request on. A bundle of state, not a value."""

    number: int
    key: str
    gate: socket.socket | None
    request: bytes  # what its gate has not taken yet
    proc: Proc | None = None
    opened: bool = False
    failed: bool = False
    ended: bool = False
    status: int | None = None
    watched: bool = False  # by somebody beside who started it


class Launcher:
    """The launcher, executed when it is first needed, and its children with their gates and ends."""

    def __init__(
        self, poller: Poller, users: Users, processes: Processes, watches: Watches, files: limits.OpenFiles
    ) -> None:
        self._poller = poller
        self._users = users
        self._processes = processes
        self._watches = watches
        self._files = files
        self._socket: socket.socket | None = None
        self._gates: deque[socket.socket] = deque()  # the nodes' ends of gates that the launcher has not taken yet
        self._given_up = 0  # errno(3) that the launcher ended of
        self._launched = 0
        self._children: dict[int, _Child] = {}
        self._current: dict[str, _Child] = {}
        self._born: dict[Proc, _Child] = {}

    def pids(self, key: str) -> set[int]:
        child = self._current.get(key)
        return set() if child is None or child.proc is None else {child.proc.pid}

    def expect(self) -> None:
        """Execute it already: it starts up while we do other things. What that is refused is said where it matters."""
        try:
            self._be_there()
        except OSError:
            return

    def _be_there(self) -> None:
        if self._socket is None:
            self._processes.launcher, self._socket = _spawn(self._files.callers, self._launched)
            self._poller.add(self._socket.fileno(), partial(self._hear, self._socket))

    def launch(self, key: str, launch: Launch) -> None:
        """Ask the launcher for a process. It forks while we go on: nobody waits here until it takes the request."""
        try:
            # How a start id is told depends on the system, and only Linux opens the descriptors of others.
            request = _request(launch, self._users, launch.output if self._processes.procfs else None)
            self._be_there()
            gate, theirs = socket.socketpair()
        except (MachineError, OSError) as error:
            failed = error if isinstance(error, MachineError) else _cannot_start(error)
            why = f"{failed.what}: {failed.why}"
            self._poller.queue.append(LaunchFailed(key, why, failed.hint, failed.errno))
            return
        child = self._children[self._launched] = self._current[key] = _Child(self._launched, key, gate, request)
        self._launched += 1
        self._poller.add(gate.fileno(), partial(self._gate_speaks, child))
        self._gates.append(theirs)
        self._hand_over_gates()
        self._hand_over(child)

    def _hand_over_gates(self) -> None:
        """Send as many as the launcher takes now."""
        if self._socket is None or not self._gates:
            return
        try:
            while self._gates:
                socket.send_fds(self._socket, [forked.LAUNCH], [self._gates[0].fileno()])
                self._gates.popleft().close()
        except BlockingIOError:
            self._poller.change(self._socket.fileno(), select.POLLIN | select.POLLOUT)
        except OSError:
            self._died()
        else:
            self._poller.change(self._socket.fileno(), select.POLLIN)

    def _hand_over(self, child: _Child) -> None:
        """Send as much of its request as its gate takes now."""
        if child.gate is None:
            return
        try:
            while child.request:
                child.request = child.request[child.gate.send(child.request, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            self._poller.change(child.gate.fileno(), select.POLLIN | select.POLLOUT)
            return
        except OSError:
            child.request = b""  # it has ended, and that is told
        self._poller.change(child.gate.fileno(), select.POLLIN)

    def open_gate(self, key: str) -> None:
        child = self._current.get(key)
        if child is None or child.gate is None:
            return
        child.opened = True
        try:
            child.gate.send(forked.GO)
        except OSError:
            return  # it has ended; its `Ended` is on the way

    def shut_gate(self, key: str) -> None:
        """Send the prepared process away, or one that is not prepared yet, without a word about it."""
        child = self._current.get(key)
        if child is not None:
            self._close_gate(child)
            child.failed = child.failed or child.proc is None

    def _close_gate(self, child: _Child) -> None:
        if child.gate is not None:
            self._poller.drop(child.gate.fileno())
            child.gate.close()
            child.gate = None

    def _gate_speaks(self, child: _Child) -> None:
        if child.request:
            self._hand_over(child)
        if child.gate is None:
            return
        try:
            data = child.gate.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close_gate(child)
            if child.opened and not child.failed:
                self._poller.queue.append(Executed(child.key))
            return
        match marshal.loads(data):  # noqa: S302 -- written by our own child before it executed anything
            case int() as pid:
                self._prepared(child, pid)
            case (str() as why, str() as hint, int() as code):
                self._fail(child, why, hint, code)

    def _prepared(self, child: _Child, pid: int) -> None:
        try:
            start_id = self._processes.start_id(pid)
        except MachineError as error:
            self._fail(child, f"{error.what}: {error.why}", error.hint, error.errno)
            return
        if start_id is not None:
            child.proc = Proc(pid, start_id)
            self._born[child.proc] = child
            self._poller.queue.append(Prepared(child.key, child.proc))

    def _fail(self, child: _Child, why: str, hint: str, code: int) -> None:
        child.failed = True
        self._poller.queue.append(LaunchFailed(child.key, why, hint, code))

    def tells(self, key: str, proc: Proc) -> bool:
        """Whether the launcher tells this key the end of that process, or has told it."""
        child = self._born.get(proc)
        if child is None:
            return False
        child.key = key
        self._current[key] = child
        child.watched = True
        if child.ended and child.status is not None:
            self._poller.queue.append(Ended(key, proc, child.status))
        return not child.ended or child.status is not None

    def _hear(self, control: socket.socket) -> None:
        """Hear what the launcher has to say, and hand over what it can take."""
        try:
            data = control.recv(forked.ENDING << 10)  # it is sent whole, so only what is read could be cut
        except BlockingIOError:
            self._hand_over_gates()
            return
        except ConnectionError:
            data = b""
        if not data:
            self._died()
            return
        for kind, number, status in forked.endings(data):
            if kind == forked.KIND_GIVEN_UP:
                self._given_up = status
            elif number in self._children:
                self._ended(kind, self._children[number], status)
        self._hand_over_gates()

    def _ended(self, kind: bytes, child: _Child, status: int) -> None:
        self._gate_speaks(child)  # what it still had to say comes before its end
        child.ended, child.status = True, status
        if not child.key:
            return  # nobody asks at the moment; `watch` finds it
        if kind != forked.KIND_ENDED:
            self._fail(child, f"cannot fork: {os.strerror(status)}", HINTS.get(status, ""), status)
        elif child.proc is not None:
            self._poller.queue.append(Ended(child.key, child.proc, status))
        elif not child.failed:
            from multi.model.schedule import signal_name

            why = f"it was killed by {signal_name(-status)} before it ran" if status < 0 else "it ended before it ran"
            self._fail(child, why, "look at the kernel's log", 0)

    def _died(self) -> None:
        """Somebody killed the launcher, or it gave up: the exit statuses of its children are lost."""
        self._close()
        code = self._given_up
        why = f"the launcher gave up: {os.strerror(code)}" if code else "the launcher was killed"
        hint = HINTS.get(code, "try again")
        if code == forked.ELSEWHERE:
            code, why = 0, "processes that multi starts would be in another pid namespace than multi is"
            hint = "give --fork to 'unshare --pid', and no --no-fork to nsenter"
        for child in self._children.values():
            if child.ended:
                continue
            child.ended = True
            if child.proc is None:
                self._fail(child, why, hint, code)
            elif child.key:
                self._watches.watch(child.key, child.proc)

    def release(self, key: str) -> None:
        """Shut the gate; a child whose end was told to nobody is kept in mind, since somebody may watch it again."""
        child = self._current.pop(key, None)
        if child is None:
            return
        self._close_gate(child)
        child.key = ""
        if child.proc is None or (child.ended and child.watched):
            del self._children[child.number]
            if child.proc is not None:
                del self._born[child.proc]

    def close(self) -> None:
        for key in list(self._current):
            self.release(key)
        self._close()
        if self._processes.launcher:
            try:
                os.waitpid(self._processes.launcher, 0)
            except ChildProcessError:
                pass  # somebody who embeds us reaps all children
            self._processes.launcher = 0

    def _close(self) -> None:
        while self._gates:
            self._gates.pop().close()
        if self._socket is not None:
            self._poller.drop(self._socket.fileno())
            self._socket.close()
            self._socket = None


def _request(launch: Launch, users: Users, output: Proc | None) -> bytes:
    """What `forked.become` reads. Raises `MachineError`."""
    env, identity = users.setting(launch)
    # What says whose it is comes first: whoever looks at it need not read all of a large environment.
    pid_variable = os.fsencode(INSTANCE_PID)
    marks = {name: value for name, value in env.items() if name.startswith(os.fsencode(INSTANCE))}
    request: forked.Request = (
        [os.fsencode(word) for word in launch.argv],
        {pid_variable: b"", **marks, **env},
        pid_variable,
        _in_utf8(launch.logfile),
        None if launch.workdir is None else _in_utf8(launch.workdir),
        identity,
        launch.umask,
        launch.nice,
        [limits.number(*limit) for limit in launch.rlimits],
        None if output is None else (output.pid, output.ticks),
        _in_utf8(launch.cgroup),
    )
    data = marshal.dumps(request)
    return len(data).to_bytes(forked.LENGTH, "little") + data


def _cannot_start(error: OSError) -> MachineError:
    """The kernel's word, with our own Python where that is what could not be executed."""
    return limits.cannot(f"cannot execute {error.filename}" if error.filename else "cannot start a process", error)


def _in_utf8(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "surrogateescape")


_PACKAGE = os.path.dirname(os.path.dirname(__file__))
# In the launcher the packages are not what their __init__ makes of them, whose imports it does without.
CODE = """\
import sys
for name, path in (("multi", sys.argv[1]), ("multi.system", sys.argv[1] + "/system")):
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__path__ = [path]
from multi.system import child
child.serve(*map(int, sys.argv[2:]))
"""


def _spawn(callers_limits: tuple[int, int] | None, first: int) -> tuple[int, socket.socket]:
    """The launcher's pid and the socket to it; `first` is the number of the next launch. Raises `OSError`."""
    if not sys.executable:
        raise OSError(errno.ENOENT, "sys.executable does not say where Python is")
    # Nothing of the user's is to run in the launcher: no site, no PYTHON* but what a moved Python needs to find itself.
    options = ["-S", "-X", "utf8"]
    environ = {name: value for name, value in os.environb.items() if name and not name.startswith(b"PYTHON")}
    if "PYTHONHOME" in os.environ:
        environ[b"PYTHONHOME"] = os.environb[b"PYTHONHOME"]
    else:
        options += ["-I", "-E"]
    if sys.pycache_prefix:
        options += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    if sys.dont_write_bytecode:
        options.append("-B")
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.set_inheritable(True)
        numbers = map(str, (theirs.fileno(), first, *(callers_limits or ())))
        words = [sys.executable, *options, "-c", CODE, _PACKAGE, *numbers]
        try:
            # It lets the signals through when it leads a session of its own; until then Ctrl-C is not for it.
            pid = os.posix_spawn(sys.executable, words, environ, setsigmask=signal.valid_signals())
        except OSError:
            ours.close()
            raise
    ours.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
    return pid, ours
