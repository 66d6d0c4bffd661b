"""What the stages may ask of the machine, a protocol for each capability; `Machine` joins them.

`multi.system.System` is the real one. The tests have a fake, and one contract test runs on both. Everything that can be
slow or go wrong is said here in the types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from multi.model.process import Proc, ProcessTable
from multi.value import dataclass

INSTANCE = "MULTI_INSTANCE"
INSTANCE_PID = "MULTI_INSTANCE_PID"
INSTANCE_NODE = "MULTI_INSTANCE_NODE"
INSTANCE_PIDFILE = "MULTI_INSTANCE_PIDFILE"
INSTANCE_PROBE = "MULTI_INSTANCE_PROBE"

# --- values -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class File:
    """The content of a regular file and what its inode says. `mtime` is wall-clock seconds."""

    data: bytes
    uid: int
    mode: int
    mtime: float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something is at that path, but it cannot or may not be read; `why` says so, `hint` what to try."""

    why: str
    hint: str = "look at it, and remove it"


@dataclass(frozen=True, slots=True)
class FileWrite:
    """A file that is to be: what shall stand at `path`, and who shall own it (None: whoever we are).

    One that is `private` is not for others to read. One that is `ours` too does not change its owner: that user's group
    may read it.
    """

    path: str
    data: bytes
    user: str | None
    group: str | None
    private: bool = False
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What parsing and expanding need to know of where they happen. `cwd` is empty when it has been removed."""

    environ: Mapping[str, str]
    cwd: str
    home: str
    hostname: str
    python: str
    uid: int


@dataclass(frozen=True, slots=True)
class Me:
    """Who asks: the effective user and our own pid."""

    uid: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything that one new process needs; the machine decides nothing about it.

    `env` is added to the caller's environment, None takes a variable away. The child itself adds
    `INSTANCE_PID`, since it alone knows its pid. Where `logfile` is a standard stream, that of the process `output` is
    meant rather than ours, as long as that one lives and the node's user may open it.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str | None], ...]
    logfile: str
    workdir: str | None = None
    uid: str | None = None
    gid: str | None = None
    umask: int | None = None
    nice: int | None = None
    rlimits: tuple[tuple[str, int, int], ...] = ()
    output: Proc | None = None


# --- what the machine reports while we wait -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """The new process stands at the gate: everything is set up, nothing is executed. It runs on `open_gate`."""

    key: str
    proc: Proc


@dataclass(frozen=True, slots=True)
class Executed:
    """The process has left the gate: from here on it runs the node's own program."""

    key: str


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """There is no process. `why` says at which step and for what reason; `hint` what to try; `errno` as in errno(3)."""

    key: str
    why: str
    hint: str
    errno: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A watched process is gone. `status`: exit code, minus the signal's number, or None if not ours to know."""

    key: str
    proc: Proc
    status: int | None


@dataclass(frozen=True, slots=True)
class Locked:
    """The lock that was held by somebody else is ours now."""

    key: str


@dataclass(frozen=True, slots=True)
class Notified:
    """A datagram on the node's notification address: the assignments it held, as in sd_notify(3)."""

    key: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Probed:
    """A readiness probe (``tcp``, ``exec``) has ended: `ok`, or `why` not, with the last line that it printed.

    `at` is the address and port that accepted, of ``tcp``.
    """

    key: str
    ok: bool
    why: str
    at: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Interruption:
    """We were asked to stop by `signum`. It concerns every key."""

    signum: int


Happening: TypeAlias = Prepared | Executed | LaunchFailed | Ended | Locked | Notified | Probed | Interruption


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, as far as the lock file tells; empty when it does not."""

    text: str = ""


class MachineError(Exception):
    """The machine could not do it: `what` was tried, `why` it failed, `hint` what to try. `errno` as in errno(3)."""

    def __init__(self, what: str, why: str, hint: str = "", errno: int = 0) -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint
        self.errno = errno

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" + (f"; {self.hint}" if self.hint else "")


class LocalHost(Protocol):
    """What parsing and expanding need: no process, nothing that acts."""

    def surroundings(self) -> Surroundings:
        """Where we are."""

    def home_of(self, user: str) -> str | None:
        """Another user's home directory, None when there is no such user."""

    def user_name(self, uid: int) -> str:
        """The login name of a user, or else the number."""

    def load(self, path: str) -> bytes:
        """A configuration file. Raises `OSError`, and `NotPermittedError` for one that root must not believe."""

    def load_as(self, path: str, uid: int) -> bytes:
        """A file that another user named, as that user where we are root. Raises `OSError`."""

    def peek(self, path: str) -> bytes:
        """The same of whatever anybody wrote, only to see whether it says anything of ours. Raises `OSError`."""

    def find(self, pattern: str) -> Iterable[str]:
        """The paths that match a pattern, as in glob(7)."""

    def kind(self, path: str) -> str:
        """``directory``, ``program`` (a file that we may execute), ``file``, ``other``; empty when nothing is there."""

    def cannot_create(self, path: str) -> str:
        """Why we could not create or write that file, directories above it included; empty when we could."""


class Clock(Protocol):
    """Two clocks: one for durations, one for people."""

    def now(self) -> float:
        """Seconds on a clock that only goes forward (CLOCK_MONOTONIC)."""

    def wall(self) -> float:
        """Seconds since the epoch: for people and for comparing with file times, never for durations."""


class Users(Protocol):
    """Who we are, and who others are."""

    def me(self) -> Me:
        """Who we are."""

    def uid_of(self, user: str) -> int:
        """User name or number -> uid. Raises `MachineError` for an unknown user."""

    def gid_of(self, group: str) -> int:
        """Group name or number -> gid. Raises `MachineError` for an unknown group."""


class Files(Protocol):
    """Files, read with suspicion and replaced atomically."""

    def read(self, path: str, limit: int) -> File | Unreadable | None:
        """A regular file's content, no link followed, at most `limit` bytes; None when nothing is there."""

    def listing(self, directory: str, suffix: str) -> tuple[str, ...]:
        """Absolute paths of the entries that end in `suffix`, sorted; empty when there is no such directory."""

    def size(self, path: str) -> int:
        """Bytes of a file, 0 when it is not there or no regular file."""

    def tail(self, path: str, offset: int, limit: int) -> bytes:
        """The last `limit` bytes of what stands after `offset` in a log; empty when it cannot be read."""

    def fingerprint(self, path: str) -> str:
        """A word for what lies at a path, links followed; another one once it is made anew or written to.

        Empty when nothing is there.
        """

    def make_directory(self, path: str, user: str | None, group: str | None) -> None:
        """Make `path` and what is missing above it, for that user. Raises `MachineError`."""

    def write(self, writes: Sequence[FileWrite]) -> Sequence[MachineError | None]:
        """Replace each file atomically: temporary file, fsync, rename, read back. They share the flushes.

        Files take their place in the order of the writes, and when this returns all are on disk. The answers have the
        same order: None, or why this file is as it was. One that is refused holds up no other.
        """

    def amend(self, path: str, old: bytes, new: bytes) -> None:
        """Put `new` in the place of `old`, of the same length and one byte different, in a file that holds it once.

        It is not flushed: for what means nothing any more after the machine has gone down. Fine when `old` is not
        there. Raises `MachineError`.
        """

    def remove(self, path: str) -> None:
        """Remove it; fine when it is not there. Raises `MachineError`."""


class Logs(Protocol):
    """Logs that others write, followed through rotation and truncation."""

    def log_begin(self, key: str, path: str, limit: int) -> bytes:
        """Begin to read a log for this key: its last `limit` bytes at most. One that is not there yet is empty.

        Raises `MachineError` for one that is there and cannot be read.
        """

    def log_more(self, key: str, limit: int) -> bytes:
        """What was added since, at most `limit` bytes; empty when nothing was. What is not begun stays empty.

        A log that was moved away is read on until the one that took its name holds something; one that was truncated
        is read from its beginning. A line that was not finished before either ends there.
        """


class ProcessList(Protocol):
    """What can be seen of processes."""

    def processes(self) -> ProcessTable:
        """Every process that can be seen, once."""

    def exists(self, pid: int) -> bool:
        """Whether a process with that pid exists, even one that the process table does not show. EPERM is a yes."""

    def cmdline(self, pid: int) -> tuple[str, ...]:
        """Its words; empty when they cannot be read."""

    def executed(self, pid: int) -> tuple[str, ...]:
        """The words it was executed with; empty when it shows something else by now, as a title, or they are hidden."""


class Locks(Protocol):
    """Locks of files, one for each key."""

    def lock(self, key: str, path: str, user: str | None, group: str | None) -> Holder | None:
        """Take the lock now (None), or be told who holds it and get `Locked` later. Raises `MachineError`.

        See `holder` for who it is in the end.
        """

    def holder(self, key: str) -> Holder:
        """Who holds the lock that is waited for, now; empty when it is no `multi` that can be seen."""

    def holds(self, key: str) -> bool:
        """Whether the lock is ours and still excludes anybody: somebody may have removed or replaced its file."""

    def unlock(self, key: str) -> None:
        """Give the lock back, or the wait for it up."""


class Processes(Protocol):
    """Processes that are started, signalled and watched."""

    def may_launch(self, launch: Launch) -> None:
        """Raise `MachineError` for what of it only root could grant, and we are not root. Nothing is done."""

    def launch(self, key: str, launch: Launch) -> None:
        """Ask for a process: `Prepared` or `LaunchFailed` follows. Its end is reported as `Ended` with a status."""

    def open_gate(self, key: str) -> None:
        """Let a prepared process execute: `Executed`, `LaunchFailed` or `Ended` follows."""

    def shut_gate(self, key: str) -> None:
        """Send a prepared process away; it executes nothing."""

    def signal(self, proc: Proc, signum: int) -> str:
        """Signal exactly this process: ``sent``, ``gone``, or ``denied`` (EPERM: alive and not ours)."""

    def watch(self, key: str, proc: Proc) -> None:
        """Report the `Ended` of this process, also when it is gone already."""


class Probes(Protocol):
    """How a node tells that it is ready."""

    def notify_address(self, key: str, token: str) -> str:
        """Open a notification socket for the node and return what belongs in NOTIFY_SOCKET. Raises `MachineError`.

        The address is made from the token alone where the system allows, so it can be opened again later.
        """

    def notifies(self, key: str, program: str, user: str | None, group: str | None) -> bool | None:
        """Whether a Celery that `program` runs, as that user, would load our entry point and tell when it is ready.

        None where another Python has to be asked: `Probed` follows, within half a minute. Each is asked once, as that
        user, for all keys that want to know it. Raises `MachineError` for an unknown user.
        """

    def probe(self, key: str, kind: str, what: str, launch: Launch) -> None:
        """Begin one ``tcp`` or ``exec`` probe: `Probed` follows. A command runs as the node does, see `launch`."""

    def probe_says(self, key: str) -> str:
        """The last line that the ``exec`` probe under way has printed, cut short; empty when there is none."""

    def end_probe(self, key: str) -> None:
        """End the probe under way, a command with its process group; fine when there is none."""

    def listens(self, procs: Sequence[Proc], at: tuple[str, int]) -> str:
        """Whether one of these processes has the socket that a connection to this address goes to.

        ``yes``; ``no``, somebody else has; ``away``, it is no address of this machine; ``unknown``, it cannot be told.
        """

    def taken(self, what: str) -> bool:
        """Whether somebody listens at ``HOST:PORT`` of this machine, as far as that can be told at once."""


class Parent(Protocol):
    """Whoever started us."""

    def terminal_gone(self) -> bool:
        """Whether we had a controlling terminal when we were made, and have lost it since: it was hung up."""

    def tell(self, text: str) -> None:
        """Notify whoever started us and gave us a NOTIFY_SOCKET (sd_notify(3)); nothing happens without one."""

    def answer_watchdog(self) -> None:
        """From now on, `wait` also tells whoever started us that we live, when they ask (sd_watchdog_enabled(3)).

        What hangs elsewhere than in `wait` says nothing. Nothing happens where nobody asks.
        """


class Machine(LocalHost, Clock, Users, Files, Logs, ProcessList, Locks, Processes, Probes, Parent, Protocol):
    """The one door. No method decides anything; every wait ends."""

    def token(self) -> str:
        """A fresh random word, 128 bits."""

    def make_room(self, nodes: int) -> int:
        """Get ready to hold so many nodes at once; how many there is room for, one at the least."""

    def release(self, key: str) -> None:
        """Forget all that is held for this key: watches, gate, notification socket, probes, log, lock."""

    def wait(self, until: float | None) -> Sequence[Happening]:
        """Sleep until something happens or until `now` is `until` (None: no end; in the past: only look)."""
