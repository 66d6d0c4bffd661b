"""The one door to the machine: processes, signals, files, locks, sockets, clocks. It decides nothing.

`System` keeps the contract of `multi.machine.Machine`. On Linux a process is held by a pidfd
(pidfd_open(2), Linux 5.3): the descriptor is opened first and the identity verified after, so what is
signalled or waited for is the process that was proved, however often its pid is used again. Where there
is no pidfd, the identity is verified immediately before each signal and ends are found by looking.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from multi.machine import (
    Ended,
    Executed,
    File,
    FileWrite,
    Happening,
    Holder,
    Interruption,
    Launch,
    LaunchFailed,
    Locked,
    MachineError,
    Me,
    Notified,
    Prepared,
    Probed,
    Unreadable,
)
from multi.model.process import Proc, ProcessInfo, ProcessTable
from multi.system import files
from multi.system.local import Local
from multi.system.trusted_path import Owner
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import FrameType, TracebackType

    from multi.system.child import Request
    from multi.system.logs import Log

LINUX = sys.platform == "linux"
_LOOK_FIRST, _LOOK_MOST = 0.01, 0.1  # seconds between two looks where the kernel cannot wake us
_CLOCK_SLACK = 1.0  # seconds that the wall clock may be off by between two looks at it
_FILES_A_NODE = 4  # open files while we work on a node: lock, gate, notification socket or probe, pidfd
_FILES_A_TREE = 64  # the same while we end it with its children, each held by a pidfd; more where the limit allows
_FILES_BESIDE = 160  # what is open besides: what our caller left us, and files being written
_LONGEST_SLEEP = float(1 << 20)  # seconds at once: poll(2) counts milliseconds in an int
_USEC_DIGITS = 15  # thirty years, which a float counts exactly
_ID_DIGITS, _NO_ID = 10, (1 << 32) - 1
_SOME_OUTPUT, _WHOLE_PIPE = 1 << 16, 1 << 20  # bytes of what a probe prints that are read at once; a pipe holds less
_KEPT_OUTPUT = 4096  # bytes of it that its last line is looked for in
_LONGEST_LINE = 200  # characters of that line that are shown


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


@dataclass(slots=True)
class _Lock:
    path: str
    fd: int
    user: str | None
    group: str | None
    held: bool = False
    given_up: bool = False
    arrived: bool = False  # the thread that waited for it has it, and nobody has heard of that yet
    turn: AbstractContextManager[object] | None = None  # held to change the two above, once there is such a thread


@dataclass(slots=True)
class _Held:
    """What is kept open for one key."""

    watches: dict[Proc, int] = field(default_factory=dict)  # identity -> pidfd, or -1 where there is none
    child: int | None = None  # id of the launch
    notify: socket.socket | None = None
    notify_path: str = ""
    lock: _Lock | None = None
    probe: _Probe | None = None
    log: Log | None = None


@dataclass(slots=True)
class _Probe:
    what: str
    sockets: list[socket.socket] = field(default_factory=list)  # one for each address that has not answered yet
    refusals: list[str] = field(default_factory=list)  # what the others have answered
    lookup: int = -1  # a pipe that ends when the addresses of a name are known
    process: _Process | None = None
    pidfd: int = -1
    output: int = -1  # the pipe that it prints to
    printed: bytes = b""  # the end of what it has printed


@dataclass(slots=True)
class _Asking:
    """A Python that is asked whether it has our plug-in, until when, and the keys that want to know."""

    until: float
    waiting: list[str] = field(default_factory=list)
    answer: bool | None = None


if TYPE_CHECKING:
    from subprocess import Popen

    _Process = Popen[bytes]
    _Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
    _Addresses: TypeAlias = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, _Address]]


class System(Local):
    """The real machine.

    `pidfd` False does without pidfds, `procfs` False without Linux's /proc, although the kernel could do better; the
    tests run them all.
    `signals` arrive as `Interruption` instead of ending us. As PID 1 it also reaps what the kernel hands to PID 1.
    Close it, or use it as a context manager: then the launcher is gone when the block is left.
    """

    def __init__(self, *, pidfd: bool = True, procfs: bool = True, signals: Sequence[int] = ()) -> None:
        """Open nothing yet; what is needed is opened when it is needed."""
        # A start id has to be the same for all who read a record, so how it is told depends on the system alone.
        self._procfs = procfs and LINUX
        self._pidfd = pidfd and self._procfs and _has_pidfds()
        self._poller: select.poll | select.epoll | None = None
        self._sources: dict[int, Callable[[], None]] = {}
        self._on_terminal = False
        self._held: dict[str, _Held] = {}
        self._children: dict[int, _Child] = {}
        self._born: dict[Proc, int] = {}  # which of the children it is
        self._pidfds: dict[Proc, int] = {}  # one for each process that is watched
        self._next_child = 1
        self._control: socket.socket | None = None
        self._control_buffer = b""
        self._requests: deque[tuple[int, bytes]] = deque()  # launches that the launcher has not taken yet
        self._unsent = b""  # the rest of one that it has taken half
        self._launcher = 0
        self._given_up = 0  # errno(3) that the launcher ended of
        self._queue: list[Happening] = []
        self._looking = _LOOK_FIRST
        self._wake: tuple[int, int] | None = None
        self._old_handlers: dict[int, object] = {}
        self._homes: dict[tuple[str | None, str | None], tuple[int, int, list[int], str, str]] = {}
        self._locked_by_thread: list[tuple[str, _Lock]] = []
        self._watchdog = 0.0  # seconds between two signs of life that whoever started us wants, 0 for none
        self._sign_due = 0.0  # when the next one is due
        self._asked: dict[str, _Asking] = {}  # other Pythons, by the key of the probe that asks
        self._limits: tuple[int, int] | None = None  # of open files, as our caller gave them, once we raised them
        if signals:
            self._catch(signals)

    # -- life ------------------------------------------------------------------------------------

    def __enter__(self) -> System:  # noqa: PYI034 -- typing.Self is Python 3.11
        """Nothing to do; `close` is what matters."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Give everything back. The nodes live on; the launcher does not."""
        for key in list(self._held):
            self.release(key)
        self._dismiss_launcher()
        if self._old_handlers:
            signal.set_wakeup_fd(-1)
            for signum, handler in self._old_handlers.items():
                signal.signal(signum, handler)  # type: ignore[arg-type]  # it is what signal.signal returned
            self._old_handlers = {}
        if self._wake is not None:
            self._drop_source(self._wake[0])
            for fd in self._wake:
                os.close(fd)
            self._wake = None
        if isinstance(self._poller, select.epoll):
            self._poller.close()
        self._poller = None
        if self._limits is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
            self._limits = None

    def _dismiss_launcher(self) -> None:
        if self._control is not None:
            self._drop_source(self._control.fileno())
            self._control.close()
            self._control = None
        if self._launcher:
            try:
                os.waitpid(self._launcher, 0)
            except ChildProcessError:
                pass  # somebody who embeds us reaps all children
            self._launcher = 0

    def _catch(self, signals: Sequence[int]) -> None:
        self._on_terminal = _has_terminal()
        wake = self._wake_pipe()
        if os.getpid() == 1:
            self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        for signum in signals:
            if signal.getsignal(signum) is signal.SIG_IGN:
                continue  # as under nohup: who ignores it wants it ignored

            def interrupted(number: int, _frame: FrameType | None) -> None:
                self._queue.append(Interruption(number))

            self._old_handlers[signum] = signal.signal(signum, interrupted)
        signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)

    def _wake_pipe(self) -> tuple[int, int]:
        if self._wake is None:
            self._wake = os.pipe()
            for fd in self._wake:
                os.set_blocking(fd, False)
            self._add_source(self._wake[0], self._woken)
        return self._wake

    def _woken(self) -> None:
        if self._wake is not None:
            try:
                os.read(self._wake[0], 4096)
            except BlockingIOError:
                return
        if os.getpid() == 1:
            self._reap_orphans()
        while self._locked_by_thread:
            self._lock_arrived(*self._locked_by_thread.pop(0))

    def _reap_orphans(self) -> None:
        """As PID 1, orphans become our children (credentials(7)). Our own are waited for by who started them."""
        own = {self._launcher}
        own |= {held.probe.process.pid for held in self._held.values() if held.probe and held.probe.process}
        for pid, info in self.processes().by_pid.items():
            if info.ppid == 1 and info.gone and pid not in own:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue

    @property
    def _poll(self) -> select.poll | select.epoll:
        """Who waits for all at once; epoll(7) at a cost that does not grow with their number."""
        if self._poller is None:
            self._poller = select.epoll() if LINUX else select.poll()
        return self._poller

    def _poll_for(self, left: float | None) -> list[tuple[int, int]]:
        """What is ready within that many seconds; None: as soon as anything is."""
        left = None if left is None else min(left, _LONGEST_SLEEP)
        if LINUX:
            return self._poll.poll(-1 if left is None else left)
        return self._poll.poll(None if left is None else left * 1000)

    def _add_source(self, fd: int, handle: Callable[[], None], events: int = select.POLLIN) -> None:
        self._sources[fd] = handle
        self._poll.register(fd, events)  # the numbers mean the same to both

    def _drop_source(self, fd: int) -> None:
        if self._sources.pop(fd, None) is not None:
            self._poll.unregister(fd)

    # -- looking ---------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds on CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def me(self) -> Me:
        """Effective user and own pid."""
        return Me(uid=os.geteuid(), pid=os.getpid())

    def uid_of(self, user: str) -> int:
        """User name or number -> uid. Raises `MachineError`."""
        return self._identity(user, None)[0]

    def gid_of(self, group: str) -> int:
        """Group name or number -> gid. Raises `MachineError`."""
        return self._identity(None, group)[1]

    def read(self, path: str, limit: int) -> File | Unreadable | None:
        """See `files.read`."""
        return files.read(path, limit)

    def listing(self, directory: str, suffix: str) -> tuple[str, ...]:
        """Paths in a directory that end in `suffix`, sorted."""
        try:
            names = os.listdir(directory)
        except OSError:
            return ()
        return tuple(sorted(f"{directory}/{name}" for name in names if name.endswith(suffix) and name[0] != "."))

    def processes(self) -> ProcessTable:
        """Every process that can be seen. We and what we forked carry nothing, whatever we were started from."""
        at, wall = time.monotonic(), time.time()
        if self._procfs:
            from multi.system import linux

            _prove_procfs()
            infos, settled = linux.table(time.clock_gettime(time.CLOCK_BOOTTIME))
        else:
            from multi.system import portable

            infos, settled = portable.table()
        ours = {os.getpid(), self._launcher} - {0}
        outer = os.environ.get("MULTI_INSTANCE", "")
        for pid, info in infos.items():
            # Before it executes, a node still has our environment. If we run inside another node, that is the other's.
            # Other tokens stay: orphans of a node become our children where we are process 1, as in a container.
            inherited = info.instance is not None and info.instance.token == outer and info.ppid in ours
            if pid in ours or inherited:
                infos[pid] = replace(info, instance=None)
        return ProcessTable(at, wall, infos, settled)

    def _start_id(self, pid: int) -> str | None:
        if self._procfs:
            from multi.system import linux

            return linux.start_id(pid)
        from multi.system import portable

        return portable.start_id(pid)

    def exists(self, pid: int) -> bool:
        """Whether there is such a process, seen or not."""
        if pid <= 0:
            return False
        if LINUX:
            from multi.system import linux

            if linux.is_thread(pid):
                return False
        try:
            os.kill(pid, 0)  # signal 0 sends nothing, kill(2)
        except PermissionError:
            return True
        except (OSError, OverflowError):
            return False
        return True

    def cmdline(self, pid: int) -> tuple[str, ...]:
        """The words of a process."""
        if self._procfs:
            from multi.system import linux

            return linux.cmdline(pid)
        from multi.system import portable

        return portable.cmdline(pid)

    def executed(self, pid: int) -> tuple[str, ...]:
        """The words of a process that shows no title."""
        if self._procfs:
            from multi.system import linux

            return linux.executed(pid)
        from multi.system import portable

        return portable.executed(pid)

    def size(self, path: str) -> int:
        """See `files.size`."""
        return files.size(path)

    def tail(self, path: str, offset: int, limit: int) -> bytes:
        """See `files.tail`."""
        return files.tail(path, offset, limit)

    def mark(self, path: str) -> str:
        """See `files.mark`."""
        return files.mark(path)

    def log_begin(self, key: str, path: str, limit: int) -> bytes:
        """See `logs.Log`."""
        from multi.system.logs import Log

        held = self._of(key)
        if held.log is not None:
            held.log.close()
        held.log = Log(path)
        return held.log.begin(limit)

    def log_more(self, key: str, limit: int) -> bytes:
        """See `logs.Log`."""
        held = self._held.get(key)
        return b"" if held is None or held.log is None else held.log.more(limit)

    def notifies(self, key: str, program: str, user: str | None, group: str | None) -> bool | None:
        """See `entry.answer`. A Python that is asked may be the node's user's own, so root does not run it itself."""
        from multi.system import plugin as entry

        answer = entry.answer(program)
        if isinstance(answer, bool):
            return answer
        if os.geteuid() != 0:
            user = group = None
        self._identity(user, group)  # raises for an unknown user
        question = f"{answer} as {user}:{group}"
        requested = self._asked.get(question)
        if requested is None:
            import shlex

            requested = self._asked[question] = _Asking(time.monotonic() + entry.PATIENCE)
            setting = Launch(argv=(answer,), env=(), logfile="", workdir="/", uid=user, gid=group)
            self.probe(question, "exec", shlex.join((answer, "-c", entry.QUESTION)), setting)
        if requested.answer is None:
            requested.waiting.append(key)
        return requested.answer

    def _say(self, probed: Probed) -> None:
        """Report what a probe has answered, to all who want to know it."""
        requested = self._asked.get(probed.key)
        if requested is None:
            self._queue.append(probed)
            return
        requested.answer = probed.ok
        self._queue += [Probed(key, ok=probed.ok, why=probed.why) for key in requested.waiting]
        requested.waiting.clear()

    def _give_up_asking(self) -> None:
        for question, requested in self._asked.items():
            if requested.answer is None and time.monotonic() >= requested.until:
                self.end_probe(question)
                self._say(Probed(question, ok=False, why=f"{question}: it did not answer in time"))

    def token(self) -> str:
        """128 random bits."""
        return os.urandom(16).hex()

    # -- users -----------------------------------------------------------------------------------

    def _identity(self, user: str | None, group: str | None) -> tuple[int, int, list[int], str, str]:
        """Uid, gid, groups, login name, home. Looked up once; never in a forked child, where NSS may hang."""
        found = self._homes.get((user, group))
        if found is None:
            found = self._homes[(user, group)] = _look_up(user, group)
        return found

    def _owner(self, user: str | None, group: str | None) -> Owner | None:
        if os.geteuid() != 0 or (user is None and group is None):
            return None
        uid, gid, *_ = self._identity(user, group)
        return Owner(uid, gid)

    # -- files -----------------------------------------------------------------------------------

    def make_directory(self, path: str, user: str | None, group: str | None) -> None:
        """See `files.make_directory`."""
        files.make_directory(path, self._owner(user, group))

    def write(self, writes: Sequence[FileWrite]) -> Sequence[MachineError | None]:
        """See `files.write`."""
        answers: dict[int, MachineError | None] = {}
        known: list[int] = []
        pages: list[files.Page] = []
        for number, write in enumerate(writes):
            try:
                owner = self._owner(write.user, write.group)
                pages.append(files.Page(write.path, write.data, owner, write.private, write.ours))
                known.append(number)
            except MachineError as error:
                answers[number] = error
        answers.update(zip(known, files.write(pages), strict=True))
        return [answers[number] for number in range(len(writes))]

    def amend(self, path: str, old: bytes, new: bytes) -> None:
        """See `files.amend`."""
        files.amend(path, old, new)

    def remove(self, path: str) -> None:
        """See `files.remove`."""
        files.remove(path)

    def lock(self, key: str, path: str, user: str | None, group: str | None) -> Holder | None:
        """Take the lock, or wait for it in the background."""
        owner = self._owner(user, group)
        while True:
            fd = files.open_lock(path, owner)
            try:
                won = files.take_lock(fd)
            except OSError as error:
                os.close(fd)
                raise MachineError(f"cannot lock {path}", error.strerror or str(error), "", error.errno or 0) from error
            if not won or files.is_current(fd, path):
                break
            os.close(fd)  # the file was replaced between open and lock: that lock excludes nobody
        lock = _Lock(path, fd, user, group, held=won)
        self._of(key).lock = lock
        if won:
            self._sign(lock)
            return None
        self._wait_for_lock(key, lock)
        return self.holder(key)

    def holder(self, key: str) -> Holder:
        """What the lock file says of its holder, as long as that is true: flock(1) writes nothing."""
        held = self._held.get(key)
        if held is None or held.lock is None:
            return Holder()
        fd = held.lock.fd
        text = os.pread(fd, 200, 0).decode("utf-8", "replace").strip()
        pid = text.removeprefix("pid ").partition(":")[0]
        if not (pid.isascii() and pid.isdecimal()) or not self.exists(int(pid)):
            return Holder()
        info = self.process_info(int(pid))  # none where others may not see it
        born_later = info is not None and self.wall() - info.age > os.fstat(fd).st_mtime + _CLOCK_SLACK
        return Holder() if born_later else Holder(text)

    def _sign(self, lock: _Lock) -> None:
        """Say in the file who holds it, for the message of whoever waits. The lock itself is the kernel's."""
        text = f"pid {os.getpid()}: {' '.join(['multi', *sys.argv[1:4]])}"[:200] + "\n"
        try:
            os.ftruncate(lock.fd, 0)
            os.pwrite(lock.fd, text.encode("utf-8", "replace"), 0)
        except OSError:
            return  # a full disk must not stop us here: the text is a courtesy

    def _wait_for_lock(self, key: str, lock: _Lock) -> None:
        """Let the kernel wake us: a thread sleeps in flock(2). It ends with the process at the latest."""
        import fcntl
        from threading import Lock, Thread

        wake = self._wake_pipe()
        turn = lock.turn = Lock()

        def sleep_in_flock() -> None:
            try:
                fcntl.flock(lock.fd, fcntl.LOCK_EX)
            except OSError:
                return
            with turn:
                if lock.given_up:
                    os.close(lock.fd)
                    return
                lock.arrived = True
                self._locked_by_thread.append((key, lock))
                try:
                    os.write(wake[1], b"l")
                except OSError:
                    return

        try:
            Thread(target=sleep_in_flock, daemon=True, name=f"multi waits for {lock.path}").start()
        except RuntimeError as error:
            self._of(key).lock = None
            os.close(lock.fd)
            code = errno.EAGAIN
            why = "another multi has it, and no thread can be started to wait for it"
            raise MachineError(f"cannot lock {lock.path}", why, _FORK_HINTS[code], code) from error

    def _lock_arrived(self, key: str, lock: _Lock) -> None:
        held = self._held.get(key)
        if held is None or held.lock is not lock:
            return  # it was given up since, and given back by that
        if files.is_current(lock.fd, lock.path):
            lock.held = True
            self._sign(lock)
            self._queue.append(Locked(key))
            return
        # The file was replaced while we slept, so begin again with the new one.
        os.close(lock.fd)
        held.lock = None
        try:
            if self.lock(key, lock.path, lock.user, lock.group) is None:
                self._queue.append(Locked(key))
        except MachineError:
            return  # its directory is gone; the caller's time-out tells

    def holds(self, key: str) -> bool:
        """Whether the lock is ours and its file still the one at its path."""
        held = self._held.get(key)
        lock = held.lock if held is not None else None
        return lock is not None and lock.held and files.is_current(lock.fd, lock.path)

    def unlock(self, key: str) -> None:
        """Give the lock back, or the wait for it up."""
        held = self._held.get(key)
        if held is None or held.lock is None:
            return
        lock, held.lock = held.lock, None
        if lock.held:
            os.close(lock.fd)  # closing the last descriptor of an open file gives its lock back, flock(2)
        elif lock.turn is not None:
            with lock.turn:
                lock.given_up = True
                if lock.arrived:
                    os.close(lock.fd)  # else the thread that sleeps in flock does

    # -- starting --------------------------------------------------------------------------------

    def may_launch(self, launch: Launch) -> None:
        """Raise `MachineError` for what of it only root could grant: another user, a group, limits, a niceness."""
        if os.geteuid() == 0:
            return
        import resource

        self._setting(launch)
        for name, soft, most_wanted in launch.rlimits:
            which, _, hard = _limit(name, soft, most_wanted)
            most = resource.getrlimit(which)[1]
            if most != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or hard > most):
                why = f"only root can raise the hard limit, which is {most}"
                raise MachineError(f"cannot set the limit {name}", why, "run multi as root, or lower it", errno.EPERM)
        if launch.nice is not None and launch.nice < self._least_niceness():
            why = "only root can go below the current one"
            hint = "run multi as root, or give a higher --nice"
            raise MachineError(f"cannot set the niceness {launch.nice}", why, hint, errno.EPERM)

    @staticmethod
    def _least_niceness() -> int:
        """The current one, or where the limit of niceness is, setpriority(2)."""
        import resource

        here = os.getpriority(os.PRIO_PROCESS, 0)
        limit = getattr(resource, "RLIMIT_NICE", None)
        if limit is None:
            return here
        granted = resource.getrlimit(limit)[0]
        return min(here, -20 if granted == resource.RLIM_INFINITY else 20 - granted)

    def launch(self, key: str, launch: Launch) -> None:
        """Ask the launcher for a process. It forks while we go on: nobody waits here until it takes the request."""
        import marshal

        from multi.system.child import HEADER

        try:
            payload = marshal.dumps(self._request(launch))
            self._start_launcher()
        except MachineError as error:
            self._queue.append(LaunchFailed(key, f"{error.what}: {error.why}", error.hint, error.errno))
            return
        except OSError as error:
            code = error.errno or 0
            hint = _FORK_HINTS.get(code, "") or files_hint(code)
            self._queue.append(LaunchFailed(key, f"cannot start a process: {error.strerror}", hint, code))
            return
        ident = self._next_child
        self._next_child += 1
        self._children[ident] = _Child(key)
        self._of(key).child = ident
        self._requests.append((ident, HEADER.pack(len(payload), ident) + payload))
        self._send_requests()

    def _send_requests(self) -> None:
        """Hand over as much as the launcher takes now."""
        control = self._control
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
            self._poll.modify(control.fileno(), select.POLLIN | select.POLLOUT)
            return
        except OSError:
            self._launcher_died()
            return
        if waiting:
            self._poll.modify(control.fileno(), select.POLLIN)

    def _send_first(self, control: socket.socket) -> None:
        """Send the first request and the node's end of its gate. Raises `OSError` when they are not taken."""
        import socket

        ident, data = self._requests[0]
        child = self._children.get(ident)
        if child is None or child.failed:  # it was given up meanwhile
            self._requests.popleft()
            return
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._requests.popleft()
            child.failed = True
            why = f"cannot start a process: {error.strerror}"
            self._queue.append(LaunchFailed(child.key, why, files_hint(error.errno or 0), error.errno or 0))
            return
        with theirs:
            try:
                sent = socket.send_fds(control, [data], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        self._requests.popleft()
        self._unsent = data[sent:]
        child.gate = ours
        self._add_source(ours.fileno(), lambda: self._gate_speaks(ident))

    def _request(self, launch: Launch) -> Request:
        env, identity = self._setting(launch)
        return (
            [os.fsencode(word) for word in launch.argv],
            env,
            launch.logfile,
            launch.workdir,
            identity,
            launch.umask,
            launch.nice,
            [_limit(*limit) for limit in launch.rlimits],
            # How a start id is told depends on the system, and only Linux opens the descriptors of others.
            (launch.output.pid, launch.output.start_id) if launch.output is not None and self._procfs else None,
        )

    def _setting(self, launch: Launch) -> tuple[dict[bytes, bytes], tuple[int, int, list[int]] | None]:
        """The environment of a node, and uid, gid and groups where it is to change them. Raises `MachineError`."""
        identity: tuple[int, int, list[int]] | None = None
        additions = dict(launch.env)
        if launch.uid is not None or launch.gid is not None:
            uid, gid, groups, login, home = self._identity(launch.uid, launch.gid)
            if os.geteuid() not in {0, uid}:
                raise MachineError(
                    f"cannot start as {launch.uid or launch.gid}",
                    "only root can start a node as another user",
                    "run multi as root, or leave --uid and --gid out",
                    errno.EPERM,
                )
            if os.geteuid() != 0 and gid not in {os.getegid(), *os.getgroups()}:
                raise MachineError(
                    f"cannot start with the group {launch.gid or gid}",
                    "only root can give a node a group that its user is not in",
                    "run multi as root, or give a --gid that this user has",
                    errno.EPERM,
                )
            if os.geteuid() == 0 or gid != os.getegid():
                identity = (uid, gid, groups)
            if os.geteuid() == 0 and launch.uid is not None:
                for name, value in (("HOME", home), ("USER", login), ("LOGNAME", login)):  # as systemd's User= does
                    additions.setdefault(name, value)
        env = dict(os.environb)
        env.pop(b"", None)  # a caller may have a variable without a name; Python executes nothing with it
        for name, text in additions.items():
            if text is None:
                env.pop(os.fsencode(name), None)
            else:
                env[os.fsencode(name)] = os.fsencode(text)
        return env, identity

    def _start_launcher(self) -> None:
        import socket

        if self._control is not None:
            return
        import warnings

        from multi.system import child as launcher

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
            launcher.serve(theirs, self._limits)
        theirs.close()
        ours.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
        self._launcher, self._control = pid, ours
        self._add_source(ours.fileno(), self._launcher_speaks)

    def _launcher_speaks(self) -> None:
        """Hear what it has to say, and hand over what it can take."""
        from multi.system.child import ENDED, KIND_GIVEN_UP

        if self._control is None:
            return
        try:
            data = self._control.recv(1 << 16)
        except BlockingIOError:
            self._send_requests()
            return
        except ConnectionError:
            data = b""
        if not data:
            self._launcher_died()
            return
        data = self._control_buffer + data
        whole = len(data) // ENDED.size * ENDED.size
        self._control_buffer = data[whole:]
        for kind, ident, status in ENDED.iter_unpack(data[:whole]):
            if kind == KIND_GIVEN_UP:
                self._given_up = status
                continue
            self._child_ended(kind, ident, status)
        self._send_requests()

    def _child_ended(self, kind: bytes, ident: int, status: int) -> None:
        from multi.system.child import KIND_ENDED

        child = self._children.get(ident)
        if child is None:
            return
        if child.gate is not None:
            self._gate_speaks(ident)  # what it still had to say comes before its end
        child.ended, child.status = True, status
        if not child.key:
            return  # nobody asks at the moment; `watch` finds it
        if kind != KIND_ENDED:
            why = f"cannot fork: {os.strerror(status)}"
            self._queue.append(LaunchFailed(child.key, why, _FORK_HINTS.get(status, ""), status))
        elif child.proc is not None:
            self._queue.append(Ended(child.key, child.proc, status))
        elif not child.failed:
            self._queue.append(LaunchFailed(child.key, _ended_early(status), "look at the kernel's log", 0))

    def _launcher_died(self) -> None:
        """Somebody killed it, or it has run out of descriptors. The nodes go on, only their exit statuses are lost."""
        self._requests.clear()
        self._unsent = b""
        if self._control is not None:
            self._drop_source(self._control.fileno())
            self._control.close()
            self._control = None
        from multi.system.child import ELSEWHERE

        code = self._given_up
        why = f"the launcher gave up: {os.strerror(code)}" if code else "the launcher was killed"
        hint = (files_hint(code) if code else "") or "try again"
        if code == ELSEWHERE:
            code, why = 0, "processes that multi starts would be in another pid namespace than multi is"
            hint = "give --fork to 'unshare --pid', and no --no-fork to nsenter"
        for child in self._children.values():
            if child.ended:
                continue
            child.ended = True
            if child.proc is None:
                self._queue.append(LaunchFailed(child.key, why, hint, code))
            elif child.key:
                self._watch_by_kernel(child.key, child.proc)

    def _gate_speaks(self, ident: int) -> None:
        import marshal
        import socket

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
                self._queue.append(Executed(child.key))
            return
        match marshal.loads(data):  # noqa: S302 -- written by our own child before it executed anything
            case ("prepared", int() as pid):
                try:
                    start_id = self._start_id(pid)
                except OSError as error:
                    child.failed, code = True, error.errno or 0
                    why = f"cannot look at process {pid}: {os.strerror(code)}"
                    self._queue.append(LaunchFailed(child.key, why, files_hint(code), code))
                    return
                if start_id is not None:
                    child.proc = Proc(pid, start_id)
                    self._born[child.proc] = ident
                    self._queue.append(Prepared(child.key, child.proc))
            case ("failed", str() as why, str() as hint, int() as code):
                child.failed = True
                self._queue.append(LaunchFailed(child.key, why, hint, code))

    def _close_gate(self, child: _Child) -> None:
        if child.gate is not None:
            self._drop_source(child.gate.fileno())
            child.gate.close()
            child.gate = None

    def _child_of(self, key: str) -> _Child | None:
        held = self._held.get(key)
        return self._children.get(held.child) if held is not None and held.child is not None else None

    def open_gate(self, key: str) -> None:
        """Let the prepared process execute."""
        from multi.system.child import GO

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

    # -- signals and ends ------------------------------------------------------------------------

    def _open_pidfd(self, proc: Proc) -> int | None:
        """A descriptor for exactly this process; None when it is gone. Raises `MachineError`."""
        try:
            fd = os.pidfd_open(proc.pid)
        except ProcessLookupError:
            return None
        except OSError as error:
            raise MachineError(
                f"cannot hold process {proc.pid}",
                error.strerror or str(error),
                files_hint(error.errno or 0),
                error.errno or 0,
            ) from error
        # Opened first, verified after: from here on the descriptor cannot come to mean another process.
        try:
            same = self._is(proc)
        except MachineError:
            os.close(fd)
            raise
        if not same:
            os.close(fd)
            return None
        return fd

    def _is(self, proc: Proc) -> bool:
        """Whether it runs. Raises `MachineError` where that cannot be told just now: then it is not gone."""
        try:
            return self._start_id(proc.pid) == proc.start_id
        except OSError as error:
            code = error.errno or 0
            raise MachineError(
                f"cannot look at process {proc.pid}", os.strerror(code), files_hint(code), code
            ) from error

    def signal(self, proc: Proc, signum: int) -> str:
        """Signal exactly this process."""
        if proc.pid <= 1 or proc.pid == os.getpid():
            return "denied"
        if not self._pidfd:
            if not self._is(proc):
                return "gone"
            return _sent(proc, partial(os.kill, proc.pid, signum))
        known = self._pidfds.get(proc)
        if known is not None:
            return _sent(proc, partial(signal.pidfd_send_signal, known, signum))
        fd = self._open_pidfd(proc)
        if fd is None:
            return "gone"
        try:
            return _sent(proc, partial(signal.pidfd_send_signal, fd, signum))
        finally:
            os.close(fd)

    def watch(self, key: str, proc: Proc) -> None:
        """Report the end of this process. Our launcher tells it for its own children."""
        ident = self._born.get(proc)
        child = self._children.get(ident) if ident is not None else None
        if ident is not None and child is not None:
            child.key = key
            self._of(key).child = ident
            if not child.ended:
                return
            if child.status is not None:
                self._queue.append(Ended(key, proc, child.status))
                return
        self._watch_by_kernel(key, proc)

    def _watch_by_kernel(self, key: str, proc: Proc) -> None:
        held = self._of(key)
        if proc in held.watches:
            return
        if not self._pidfd:
            held.watches[proc] = -1
            self._looking = _LOOK_FIRST
            return
        fd = self._open_pidfd(proc)
        if fd is None:
            self._queue.append(Ended(key, proc, None))
            return
        held.watches[proc] = fd
        self._pidfds.setdefault(proc, fd)
        self._add_source(fd, lambda: self._watched_ended(key, proc))

    def _let_go(self, proc: Proc, pidfd: int) -> None:
        if pidfd < 0:
            return
        if self._pidfds.get(proc) == pidfd:
            del self._pidfds[proc]
        self._drop_source(pidfd)
        os.close(pidfd)

    def _watched_ended(self, key: str, proc: Proc) -> None:
        held = self._held.get(key)
        self._let_go(proc, held.watches.pop(proc, -1) if held is not None else -1)
        self._queue.append(Ended(key, proc, None))

    def _look_for_ends(self) -> None:
        """The portable way: look at each watched process."""
        for key, held in list(self._held.items()):
            for proc, fd in list(held.watches.items()):
                try:
                    if fd < 0 and not self._is(proc):
                        self._watched_ended(key, proc)
                except MachineError:
                    continue  # the next look may tell
            if held.probe is not None and held.probe.process is not None and held.probe.process.poll() is not None:
                self._exec_answered(key)

    # -- readiness -------------------------------------------------------------------------------

    def notify_address(self, key: str, token: str) -> str:
        """Open the node's notification socket. On Linux its name is abstract (unix(7)), so no file is left.

        It takes the place of the one before: a node that is stopped and started again speaks twice.
        """
        import socket

        held = self._of(key)
        self._close_notify(held)
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                address, held.notify_path = self._bind(listener, token)
            except OSError:
                listener.close()
                raise
        except OSError as error:
            raise MachineError(
                f"cannot listen for what {key} says", error.strerror or str(error), files_hint(error.errno or 0)
            ) from error
        listener.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
        held.notify = listener
        self._add_source(listener.fileno(), lambda: self._notified(key))
        return address

    @staticmethod
    def _bind(listener: socket.socket, token: str) -> tuple[str, str]:
        """Address for NOTIFY_SOCKET, and the file to remove afterwards."""
        import socket

        if LINUX:
            listener.bind(f"\0multi-{token}")
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            return f"@multi-{token}", ""
        import tempfile

        address = f"{tempfile.mkdtemp(prefix='multi-')}/notify"
        listener.bind(address)
        return address, address

    def _notified(self, key: str) -> None:
        import socket

        held = self._held.get(key)
        if held is None or held.notify is None:
            return
        while True:
            try:
                data, ancillary, _, _ = held.notify.recvmsg(1 << 16, 256, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
            except OSError:
                return
            _close_received(ancillary)  # FDSTORE=1 keeps nothing here; BARRIER=1 waits for exactly this, sd_notify(3)
            if self._may_notify(key, ancillary):
                fields = dict(
                    line.partition("=")[::2] for line in data.decode("utf-8", "replace").split("\n") if "=" in line
                )
                self._queue.append(Notified(key, fields))

    def _may_notify(self, key: str, ancillary: list[tuple[int, int, bytes]]) -> bool:
        """An abstract address can be written by anyone, so the kernel's word on the sender counts (unix(7))."""
        import socket

        if not LINUX:
            return True
        import struct

        child = self._child_of(key)
        mains = {proc.pid for proc in self._of(key).watches}
        if child is not None and child.proc is not None:
            mains.add(child.proc.pid)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, _ = struct.unpack("=iII", data[:12])
                if uid in {0, os.geteuid()} or pid in mains:
                    return True
                info = self.process_info(pid)
                return info is not None and info.ppid in mains
        return False

    def process_info(self, pid: int) -> ProcessInfo | None:
        """One process."""
        if self._procfs:
            from multi.system import linux

            try:
                return linux.look(pid, time.clock_gettime(time.CLOCK_BOOTTIME))
            except OSError:
                return None  # it cannot be told just now
        from multi.system import portable

        return portable.look(pid)

    def probe(self, key: str, kind: str, what: str, launch: Launch) -> None:
        """Begin one probe; its end is `Probed`."""
        self.end_probe(key)
        if kind == "tcp":
            self._probe_tcp(key, what)
        else:
            self._probe_exec(key, what, launch)

    def listens(self, procs: Sequence[Proc], at: tuple[str, int]) -> str:
        """See `ports.whose`."""
        from multi.system import ports

        return ports.whose(procs, at, self._is, procfs=self._procfs)

    def taken(self, what: str) -> bool:
        """See `ports.taken`."""
        from multi.system import ports

        return ports.taken(what)

    def _probe_tcp(self, key: str, what: str) -> None:
        import socket

        host, _, port = what.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        self._of(key).probe = probe = _Probe(what)
        try:
            name = host.encode() if host.isascii() else host.encode("idna")
            look_up = partial(socket.getaddrinfo, name, int(port), type=socket.SOCK_STREAM)
            try:
                addresses = look_up(flags=socket.AI_NUMERICHOST)
            except socket.gaierror:
                self._look_up_host(key, probe, look_up)
            else:
                self._connect(key, probe, addresses)
        except (OSError, ValueError, RuntimeError) as error:  # it can be no name, or no descriptor or thread is left
            self._refused(key, probe, error)

    def _look_up_host(self, key: str, probe: _Probe, look_up: Callable[[], _Addresses]) -> None:
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
            Thread(target=ask, daemon=True, name=f"multi looks up {probe.what}").start()
        except RuntimeError:
            os.close(listening)
            os.close(telling)
            raise
        probe.lookup = listening
        self._add_source(listening, lambda: self._host_found(key, probe, answers))

    def _host_found(self, key: str, probe: _Probe, answers: list[_Addresses | OSError]) -> None:
        if self._of(key).probe is not probe or not answers:
            return
        self._close_lookup(probe)
        (answer,) = answers
        if isinstance(answer, OSError):
            self._refused(key, probe, answer)
        else:
            self._connect(key, probe, answer)

    def _connect(self, key: str, probe: _Probe, addresses: _Addresses) -> None:
        """Try all addresses at once: one that gives no answer must not hide another one that does."""
        import socket

        for family, kind, protocol, _, address in addresses:
            try:
                one = socket.socket(family, kind, protocol)
            except OSError as error:  # the kernel has no such addresses, or no descriptor is left
                probe.refusals.append(_reason(error))
                continue
            one.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
            code = one.connect_ex(address)
            if code in {0, errno.EINPROGRESS}:
                probe.sockets.append(one)
                self._add_source(one.fileno(), partial(self._tcp_answered, key, probe, one), select.POLLOUT)
            else:
                one.close()
                probe.refusals.append(os.strerror(code))
        if not probe.sockets:
            self._refused(key, probe)

    def _tcp_answered(self, key: str, probe: _Probe, one: socket.socket) -> None:
        import socket

        if self._of(key).probe is not probe or one not in probe.sockets:
            return
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
            self.end_probe(key)
            self._say(Probed(key, ok=True, why="", at=at))
            return
        self._drop_source(one.fileno())
        one.close()
        probe.sockets.remove(one)
        probe.refusals.append(os.strerror(code))
        if not probe.sockets:
            self._refused(key, probe)

    def _refused(self, key: str, probe: _Probe, error: Exception | None = None) -> None:
        """No address is left to try, or none was found."""
        reasons = [*probe.refusals, *([] if error is None else [_reason(error)])]
        self.end_probe(key)
        self._say(Probed(key, ok=False, why=f"{probe.what}: {', '.join(dict.fromkeys(reasons))}"))

    def _probe_exec(self, key: str, what: str, launch: Launch) -> None:
        """Run it as the node's user and where the node runs: root must not run what another user may have written."""
        import shlex
        import subprocess

        try:
            env, identity = self._setting(launch)
            uid, gid, groups = identity or (None, None, None)
            process = subprocess.Popen(  # noqa: S603 -- the user's own words, run without a shell
                shlex.split(what),
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
            self._say(Probed(key, ok=False, why=f"{what}: {error}"))
            return
        probe = self._of(key).probe = _Probe(what, process=process)
        assert process.stdout is not None  # noqa: S101 -- it is a pipe
        probe.output = process.stdout.fileno()
        os.set_blocking(probe.output, False)
        self._add_source(probe.output, lambda: self._hear_output(probe, _SOME_OUTPUT))
        self._looking = _LOOK_FIRST
        if self._pidfd:
            probe.pidfd = os.pidfd_open(process.pid)  # our own child, unreaped: the pid cannot be used again
            self._add_source(probe.pidfd, lambda: self._exec_answered(key))

    def _hear_output(self, probe: _Probe, limit: int) -> None:
        """Read what a probe prints, so that it is never held up, and keep the end of it."""
        if probe.output < 0:
            return
        try:
            data = os.read(probe.output, limit)
        except BlockingIOError:
            return
        probe.printed = (probe.printed + data)[-_KEPT_OUTPUT:]
        if not data:
            self._close_output(probe)

    def _exec_answered(self, key: str) -> None:
        probe = self._of(key).probe
        if probe is None or probe.process is None:
            return
        status = probe.process.wait()
        # Once: a child that has the pipe from it may print for ever.
        self._hear_output(probe, _WHOLE_PIPE)
        self.end_probe(key)
        said = _last_line(probe.printed)
        why = f"{probe.what}: {_end_of(status)}" + (f": {said}" if said else "")
        self._say(Probed(key, ok=status == 0, why="" if status == 0 else why))

    def probe_says(self, key: str) -> str:
        """The last line that the probe has printed so far."""
        held = self._held.get(key)
        return "" if held is None or held.probe is None else _last_line(held.probe.printed)

    def end_probe(self, key: str) -> None:
        """End the probe under way."""
        held = self._held.get(key)
        if held is None or held.probe is None:
            return
        probe, held.probe = held.probe, None
        self._close_lookup(probe)
        for one in probe.sockets:
            self._drop_source(one.fileno())
            one.close()
        if probe.pidfd >= 0:
            self._drop_source(probe.pidfd)
            os.close(probe.pidfd)
        if probe.process is not None and probe.process.returncode is None:
            try:
                os.killpg(probe.process.pid, signal.SIGKILL)  # what a hanging shell waits for goes with it
            except PermissionError:
                probe.process.returncode = 0  # another user's by now, as of sudo(8): not ours to end, nor to wait for
            probe.process.wait()
        self._close_output(probe)

    def _close_lookup(self, probe: _Probe) -> None:
        if probe.lookup >= 0:
            self._drop_source(probe.lookup)
            os.close(probe.lookup)
            probe.lookup = -1

    def _close_output(self, probe: _Probe) -> None:
        if probe.output >= 0 and probe.process is not None and probe.process.stdout is not None:
            self._drop_source(probe.output)
            probe.process.stdout.close()
            probe.output = -1

    def terminal_gone(self) -> bool:
        """Whether the terminal that we caught signals on was hung up."""
        return self._on_terminal and not _has_terminal()

    def tell(self, text: str) -> None:
        """sd_notify(3), without a library. What cannot be told is not worth an error."""
        import socket

        address = os.environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return
        if address[0] == "@":
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(text.encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            return

    def answer_watchdog(self) -> None:
        """Twice as often as is asked for, as sd_watchdog_enabled(3) has it."""
        asked, whose = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        if asked.isascii() and asked.isdigit() and len(asked) <= _USEC_DIGITS and whose in {"", str(os.getpid())}:
            self._watchdog = int(asked) / 2e6

    def _show_life(self) -> None:
        if self._watchdog and time.monotonic() >= self._sign_due:
            self.tell("WATCHDOG=1")
            self._sign_due = time.monotonic() + self._watchdog

    # -- waiting ---------------------------------------------------------------------------------

    def make_room(self, nodes: int) -> int:
        """Raise the soft limit of open files as far as it must and may; the nodes get the caller's own."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES_BESIDE + nodes * _FILES_A_TREE
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return nodes
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        except (OSError, ValueError):  # macOS has a lower limit of its own that it does not tell, setrlimit(2)
            limit = soft
        else:
            self._limits = self._limits or (soft, hard)
        return max(1, min(nodes, (limit - _FILES_BESIDE) // _FILES_A_NODE))

    def _of(self, key: str) -> _Held:
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held()
        return held

    def release(self, key: str) -> None:
        """Forget everything that is held for this key."""
        for requested in self._asked.values():
            if key in requested.waiting:
                requested.waiting.remove(key)
        held = self._held.get(key)
        if held is None:
            return
        self.unlock(key)
        self.end_probe(key)
        for proc, fd in held.watches.items():
            self._let_go(proc, fd)
        if held.child is not None:
            child = self._children.get(held.child)
            if child is not None:
                self._close_gate(child)
                child.key = ""
                if child.ended or child.proc is None:
                    del self._children[held.child]
                    if child.proc is not None:
                        del self._born[child.proc]
        if held.log is not None:
            held.log.close()
        self._close_notify(held)
        del self._held[key]

    def _close_notify(self, held: _Held) -> None:
        if held.notify is None:
            return
        self._drop_source(held.notify.fileno())
        held.notify.close()
        held.notify = None
        if held.notify_path:
            files.remove(held.notify_path)
            os.rmdir(os.path.dirname(held.notify_path))

    def wait(self, until: float | None) -> Sequence[Happening]:
        """Sleep until something happens or it is `until`."""
        self._show_life()
        while not self._queue:
            asked = [requested.until for requested in self._asked.values() if requested.answer is None]
            ends = [at for at in (until, self._sign_due if self._watchdog else None, *asked) if at is not None]
            left = max(0.0, min(ends) - time.monotonic()) if ends else None
            looking = self._must_look()
            if looking:
                left = self._looking if left is None else min(left, self._looking)
            for fd, _ in self._poll_for(left):
                handle = self._sources.get(fd)
                if handle is not None:  # one that was handled before may have dropped it
                    handle()
            self._give_up_asking()
            if looking:
                self._look_for_ends()
                self._looking = min(self._looking * 1.5, _LOOK_MOST)
            self._show_life()
            if until is not None and time.monotonic() >= until:
                break
        happenings, self._queue = self._queue, []
        return happenings

    def _must_look(self) -> bool:
        if self._pidfd:
            return False
        return any(held.watches or (held.probe and held.probe.process) for held in self._held.values())


def _prove_procfs() -> None:
    """Raise `MachineError` where /proc does not show the processes whose pids are ours to use (pid_namespaces(7)).

    To one that shows none, each node would be gone; in one of another namespace, a pid is another process.
    """
    try:
        ours = os.readlink("/proc/self")
    except OSError:
        ours = ""
    if ours != str(os.getpid()):
        why = "it shows those of another pid namespace" if ours else "it is not mounted"
        raise MachineError("cannot look at processes in /proc", why, "try 'mount -t proc proc /proc'")


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


def _close_received(ancillary: list[tuple[int, int, bytes]]) -> None:
    """Close the descriptors that came with a datagram."""
    import socket

    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = memoryview(data[: len(data) // 4 * 4]).cast("i")
            for fd in numbers:
                os.close(fd)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _last_line(printed: bytes) -> str:
    """The last line that says anything, fit to stand within another one."""
    from multi.text import printable

    lines = [line.strip() for line in printed.decode("utf-8", "replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    shown = printable(last[:_LONGEST_LINE])
    return shown + "..." if len(last) > _LONGEST_LINE else shown


def _end_of(status: int) -> str:
    from multi.model.schedule import signal_name

    return f"exit status {status}" if status >= 0 else f"killed by {signal_name(-status)}"


def _limit(name: str, soft: int, hard: int) -> tuple[int, int, int]:
    import resource

    which = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if which is None:
        raise MachineError(
            f"cannot set the limit {name}", "this system does not have it", "see getrlimit(2)", errno.EINVAL
        )
    infinity = resource.RLIM_INFINITY
    return which, infinity if soft < 0 else soft, infinity if hard < 0 else hard


def _id_number(word: str) -> int | None:
    """A uid or gid in digits; None for a name. The highest number is no id: to setresuid(2) it means "as it is"."""
    if not word.isascii() or not word.isdecimal() or len(word) > _ID_DIGITS:
        return None
    return int(word) if int(word) < _NO_ID else None


def _look_up(user: str | None, group: str | None) -> tuple[int, int, list[int], str, str]:
    import grp
    import pwd

    hint = "check --uid and --gid"
    if user is None:
        uid, gid, login, home = os.geteuid(), os.getegid(), "", ""
        groups = os.getgroups()
    else:
        number = _id_number(user)
        try:
            entry = pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
        except (KeyError, ValueError):
            if number is None:
                raise MachineError(f"cannot find the user {user!r}", "there is none", hint, errno.ENOENT) from None
            uid, gid, login, home, groups = number, number, user, "/", [number]
        else:
            uid, gid, login, home = entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir
            groups = os.getgrouplist(login, gid)  # what initgroups(3) would set
    if group is not None:
        number = _id_number(group)
        try:
            gid = grp.getgrnam(group).gr_gid if number is None else number
        except (KeyError, ValueError):
            raise MachineError(f"cannot find the group {group!r}", "there is none", hint, errno.ENOENT) from None
        groups = sorted({gid, *groups})
    return uid, gid, groups, login, home


def files_hint(code: int) -> str:
    """What to try when the kernel refuses a descriptor or a process."""
    return "raise 'ulimit -n', or name fewer nodes at once" if code in {errno.EMFILE, errno.ENFILE} else ""


_FORK_HINTS = {
    errno.EAGAIN: "the user's limit of processes is reached: raise 'ulimit -u' or pids.max, or start fewer nodes",
    errno.ENOMEM: "the machine is out of memory",
}


def _ended_early(status: int) -> str:
    from multi.model.schedule import signal_name

    return f"it was killed by {signal_name(-status)} before it ran" if status < 0 else "it ended before it ran"
