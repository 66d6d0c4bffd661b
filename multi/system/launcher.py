"""The client of the launcher: asks it for processes, speaks with them at their gates, hears their ends.

`server` is the other end of its socket, and says why there is a launcher.
"""

from __future__ import annotations

import marshal
import os
import select
import socket
import sys
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from multi.machine import Ended, Executed, Launch, LaunchFailed, MachineError, Prepared
from multi.model.process import Proc
from multi.system import limits, server
from multi.system.child import GO
from multi.system.limits import FORK_HINTS, files_hint
from multi.value import dataclass

if TYPE_CHECKING:
    from multi.system.child import Request
    from multi.system.poll import Poller
    from multi.system.processes import Processes
    from multi.system.users import Users
    from multi.system.watch import Watches


@dataclass(slots=True)
class _Child:
    """A process that our launcher forks, from the request on. A bundle of state, not a value."""

    key: str
    gate: socket.socket | None = None
    proc: Proc | None = None
    opened: bool = False
    failed: bool = False
    ended: bool = False
    status: int | None = None


class Launcher:
    """The children of the launcher, with their gates and ends."""

    def __init__(
        self, poller: Poller, users: Users, processes: Processes, watches: Watches, files: limits.OpenFiles
    ) -> None:
        self._poller = poller
        self._users = users
        self._processes = processes
        self._watches = watches
        self._channel = _Channel(poller, processes, files, self)
        self._children: dict[int, _Child] = {}
        self._current: dict[str, int] = {}  # the id of each key's launch
        self._born: dict[Proc, int] = {}  # which of the children it is
        self._next = 1
        watches.parent = self._tells

    def pids(self, key: str) -> set[int]:
        child = self._child_of(key)
        return set() if child is None or child.proc is None else {child.proc.pid}

    def _child_of(self, key: str) -> _Child | None:
        return self._children.get(self._current.get(key, 0))

    # -- requests --------------------------------------------------------------------------------

    def launch(self, key: str, launch: Launch) -> None:
        """Ask the launcher for a process. It forks while we go on: nobody waits here until it takes the request."""
        try:
            payload = marshal.dumps(self._request(launch))
            self._channel.open()
        except MachineError as error:
            self._poller.queue.append(LaunchFailed(key, f"{error.what}: {error.why}", error.hint, error.errno))
            return
        except OSError as error:
            code = error.errno or 0
            hint = FORK_HINTS.get(code, "") or files_hint(code)
            self._poller.queue.append(LaunchFailed(key, f"cannot start a process: {error.strerror}", hint, code))
            return
        ident = self._current[key] = self._next
        self._next += 1
        self._children[ident] = _Child(key)
        self._channel.send(ident, payload)

    def _request(self, launch: Launch) -> Request:
        env, identity = self._users.setting(launch)
        # How a start id is told depends on the system, and only Linux opens the descriptors of others.
        output = launch.output if self._processes.procfs else None
        return (
            [os.fsencode(word) for word in launch.argv],
            env,
            launch.logfile,
            launch.workdir,
            identity,
            launch.umask,
            launch.nice,
            [limits.number(*limit) for limit in launch.rlimits],
            None if output is None else (output.pid, output.start_id),
        )

    def make_gate(self, ident: int) -> tuple[socket.socket, socket.socket] | None:
        """Our end of a gate and the node's; None when its launch was given up, or no descriptor is left."""
        child = self._children.get(ident)
        if child is None or child.failed:
            return None
        try:
            return socket.socketpair()
        except OSError as error:
            code = error.errno or 0
            self._fail(child, f"cannot start a process: {error.strerror}", files_hint(code), code)
            return None

    def taken(self, ident: int, gate: socket.socket) -> None:
        """The launcher has the request and the node's end of its gate."""
        self._children[ident].gate = gate
        self._poller.add(gate.fileno(), partial(self._gate_speaks, ident))

    def _fail(self, child: _Child, why: str, hint: str, code: int) -> None:
        child.failed = True
        self._poller.queue.append(LaunchFailed(child.key, why, hint, code))

    # -- gates -----------------------------------------------------------------------------------

    def open_gate(self, key: str) -> None:
        """Let the prepared process execute."""
        child = self._child_of(key)
        if child is None or child.gate is None:
            return
        child.opened = True
        try:
            child.gate.send(GO)
        except OSError:
            return  # it has ended; its `Ended` is on the way

    def shut_gate(self, key: str) -> None:
        """Send the prepared process away."""
        child = self._child_of(key)
        if child is None:
            return
        self._close_gate(child)
        if child.proc is None:
            child.failed = True  # a request that the launcher has not taken yet is not sent any more

    def _close_gate(self, child: _Child) -> None:
        if child.gate is not None:
            self._poller.drop(child.gate.fileno())
            child.gate.close()
            child.gate = None

    def _gate_speaks(self, ident: int) -> None:
        child = self._children[ident]
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
            case ("prepared", int() as pid):
                self._prepared(ident, child, pid)
            case ("failed", str() as why, str() as hint, int() as code):
                self._fail(child, why, hint, code)

    def _prepared(self, ident: int, child: _Child, pid: int) -> None:
        try:
            start_id = self._processes.platform.start_id(pid)
        except OSError as error:
            code = error.errno or 0
            self._fail(child, f"cannot look at process {pid}: {os.strerror(code)}", files_hint(code), code)
            return
        if start_id is not None:
            child.proc = Proc(pid, start_id)
            self._born[child.proc] = ident
            self._poller.queue.append(Prepared(child.key, child.proc))

    # -- ends ------------------------------------------------------------------------------------

    def _tells(self, key: str, proc: Proc) -> bool:
        """Whether the launcher tells this key the end of that process, or has told it."""
        ident = self._born.get(proc)
        child = self._children.get(ident) if ident is not None else None
        if ident is None or child is None:
            return False
        child.key = key
        self._current[key] = ident
        if child.ended and child.status is not None:
            self._poller.queue.append(Ended(key, proc, child.status))
        return not child.ended or child.status is not None

    def ended(self, kind: bytes, ident: int, status: int) -> None:
        """The launcher says so."""
        child = self._children.get(ident)
        if child is None:
            return
        if child.gate is not None:
            self._gate_speaks(ident)  # what it still had to say comes before its end
        child.ended, child.status = True, status
        if not child.key:
            return  # nobody asks at the moment; `watch` finds it
        if kind != server.KIND_ENDED:
            why = f"cannot fork: {os.strerror(status)}"
            self._poller.queue.append(LaunchFailed(child.key, why, FORK_HINTS.get(status, ""), status))
        elif child.proc is not None:
            self._poller.queue.append(Ended(child.key, child.proc, status))
        elif not child.failed:
            self._poller.queue.append(LaunchFailed(child.key, _ended_early(status), "look at the kernel's log", 0))

    def died(self, code: int) -> None:
        """Somebody killed the launcher, or it gave up with that errno: the exit statuses of its children are lost."""
        why = f"the launcher gave up: {os.strerror(code)}" if code else "the launcher was killed"
        hint = (files_hint(code) if code else "") or "try again"
        if code == server.ELSEWHERE:
            code, why = 0, "processes that multi starts would be in another pid namespace than multi is"
            hint = "give --fork to 'unshare --pid', and no --no-fork to nsenter"
        for child in self._children.values():
            if child.ended:
                continue
            child.ended = True
            if child.proc is None:
                self._poller.queue.append(LaunchFailed(child.key, why, hint, code))
            elif child.key:
                self._watches.hold(child.key, child.proc)

    # -- life ------------------------------------------------------------------------------------

    def release(self, key: str) -> None:
        """Shut the gate; a child that runs is kept in mind, since somebody may watch it again."""
        ident = self._current.pop(key, 0)
        child = self._children.get(ident)
        if child is None:
            return
        self._close_gate(child)
        child.key = ""
        if child.ended or child.proc is None:
            del self._children[ident]
            if child.proc is not None:
                del self._born[child.proc]

    def close(self) -> None:
        """The nodes live on; the launcher does not."""
        for key in list(self._current):
            self.release(key)
        self._channel.close()


class _Channel:
    """The launcher itself, forked when it is first needed, and the socket to it."""

    def __init__(self, poller: Poller, processes: Processes, files: limits.OpenFiles, children: Launcher) -> None:
        self._poller = poller
        self._processes = processes
        self._files = files
        self._children = children
        self._socket: socket.socket | None = None
        self._received = b""
        self._requests: deque[tuple[int, bytes]] = deque()  # launches that the launcher has not taken yet
        self._unsent = b""  # the rest of one that it has taken half
        self._given_up = 0  # errno(3) that the launcher ended of

    def open(self) -> None:
        """Fork the launcher, unless it is there. Raises `OSError`."""
        if self._socket is not None:
            return
        import warnings

        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python 3.12 warns when an embedding program has threads; the launcher touches no lock of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                theirs.close()
                raise
        if pid == 0:
            ours.close()
            server.serve(theirs, self._files.callers)
        theirs.close()
        ours.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
        self._processes.launcher, self._socket = pid, ours
        self._poller.add(ours.fileno(), self._hear)

    def send(self, ident: int, payload: bytes) -> None:
        self._requests.append((ident, server.HEADER.pack(len(payload), ident) + payload))
        self._send()

    def _send(self) -> None:
        """Hand over as much as the launcher takes now."""
        control = self._socket
        if control is None:
            return
        waiting = bool(self._requests or self._unsent)
        try:
            while self._requests or self._unsent:
                if self._unsent:
                    self._unsent = self._unsent[control.send(self._unsent) :]
                else:
                    self._send_first(control)
        except BlockingIOError:
            self._poller.change(control.fileno(), select.POLLIN | select.POLLOUT)
            return
        except OSError:
            self._died()
            return
        if waiting:
            self._poller.change(control.fileno(), select.POLLIN)

    def _send_first(self, control: socket.socket) -> None:
        """Send the first request and the node's end of its gate. Raises `OSError` when they are not taken."""
        ident, data = self._requests[0]
        gate = self._children.make_gate(ident)
        if gate is None:
            self._requests.popleft()
            return
        ours, theirs = gate
        with theirs:
            try:
                sent = socket.send_fds(control, [data], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        self._requests.popleft()
        self._unsent = data[sent:]
        self._children.taken(ident, ours)

    def _hear(self) -> None:
        """Hear what the launcher has to say, and hand over what it can take."""
        if self._socket is None:
            return
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            self._send()
            return
        except ConnectionError:
            data = b""
        if not data:
            self._died()
            return
        data = self._received + data
        whole = len(data) // server.ENDED.size * server.ENDED.size
        self._received = data[whole:]
        for kind, ident, status in server.ENDED.iter_unpack(data[:whole]):
            if kind == server.KIND_GIVEN_UP:
                self._given_up = status
            else:
                self._children.ended(kind, ident, status)
        self._send()

    def _died(self) -> None:
        self._requests.clear()
        self._unsent = b""
        self._close()
        self._children.died(self._given_up)

    def close(self) -> None:
        """End the launcher."""
        self._close()
        if self._processes.launcher:
            try:
                os.waitpid(self._processes.launcher, 0)
            except ChildProcessError:
                pass  # somebody who embeds us reaps all children
            self._processes.launcher = 0

    def _close(self) -> None:
        if self._socket is not None:
            self._poller.drop(self._socket.fileno())
            self._socket.close()
            self._socket = None


def _ended_early(status: int) -> str:
    from multi.model.schedule import signal_name

    return f"it was killed by {signal_name(-status)} before it ran" if status < 0 else "it ended before it ran"
