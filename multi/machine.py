"""What the stages may ask of the machine, and what it reports.

`multi.system.System` is the real one. The tests have a fake, and one contract test runs on both. Everything that can be
slow or go wrong is said here in the types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from multi.model.process import Proc, ProcessInfo, ProcessTable
from multi.typed import TYPE_CHECKING, Protocol
from multi.value import dataclass

if TYPE_CHECKING:
    from multi.model.caller import Caller
    from multi.model.cgroup import Cgroups
    from multi.model.happening import Happening
    from multi.model.usage import Holdings

INSTANCE = "MULTI_INSTANCE"
INSTANCE_PID = "MULTI_INSTANCE_PID"
INSTANCE_NODE = "MULTI_INSTANCE_NODE"
INSTANCE_PIDFILE = "MULTI_INSTANCE_PIDFILE"
NO_SOCKET = "it has no socket"  # why a worker without the plug-in has not answered
INSTANCE_PROBE = "MULTI_INSTANCE_PROBE"


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: its content, owner, permissions, and time of last change in seconds of the wall clock."""

    data: bytes
    uid: int
    mode: int
    mtime: float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something is at that path, but it cannot or may not be read."""

    why: str
    hint: str = "look at it, and remove it"


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended: its exit status, minus the signal's number, and what it printed."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class FileWrite:
    """A file to write and who shall own it; None is whoever we are.

    Others may not read a `private` file. One that is `ours` too keeps its owner: that user's group may read it. A
    `mode` says the permissions by itself.
    """

    path: str
    data: bytes
    user: str | None
    group: str | None
    private: bool = False
    ours: bool = False
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What parsing and expanding need to know of where they happen. `cwd` is empty when it has been removed.

    `home_of` gives another user's home directory, None when there is no such user. `unusable` says why no directory can
    be at a path, or written to; then `spare` gives the private directory that takes its place (empty where there is
    none) and why others were passed over. `spares` are those that are there already. `recorded_as` gives the name that
    the records in a run directory have for it.
    """

    environ: Mapping[str, str]
    cwd: str
    home: str
    hostname: str
    python: str
    uid: int
    home_of: Callable[[str], str | None]
    unusable: Callable[[str], str] = lambda _: ""
    spare: Callable[[], tuple[str, str]] = lambda: ("", "")
    spares: tuple[str, ...] = ()
    recorded_as: Callable[[str], str] = lambda path: path


@dataclass(frozen=True, slots=True)
class Me:
    """Who asks: the effective user and our own pid."""

    uid: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything that one new process needs; the machine decides nothing about it.

    `env` is added to the caller's environment, None takes a variable away. The child itself adds `INSTANCE_PID`.
    Where `logfile` is a standard stream, that of the process `output` is meant rather than ours, as long as that one
    lives and the node's user may open it. The child makes the directory `cgroup` and moves itself there, before it
    becomes the node's user; where it cannot, it stays in ours.
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
    cgroup: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One word for the plug-in in the worker `proc`, at the socket `path`; within `seconds` there is an answer or none.

    Only a socket of the user `uid`, of root or of ours, on which this very process listens, is asked anything.
    """

    path: str
    word: str
    proc: Proc
    uid: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A command that is told of an `event` by `data` on its standard input, for `seconds` at most.

    `note` is called with why it failed and the last lines that it printed, also when we have ended meanwhile.
    """

    event: str
    command: str
    data: bytes
    launch: Launch
    seconds: float
    note: Callable[[str, tuple[str, ...]], None]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, as far as the lock file tells; empty when it does not."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The last stop that was typed for a node: by `who`, `at` that `now`. With `kills` it was a ``kill``."""

    who: str
    at: float
    kills: bool


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
    """What parsing and expanding need: no process, nothing that acts. What loads a file raises `OSError`."""

    def surroundings(self) -> Surroundings: ...
    def user_name(self, uid: int) -> str: ...  # the login name, or else the number
    def find(self, pattern: str) -> Iterable[str]: ...  # the paths that match it, as in glob(7)
    def load_as(self, path: str, uid: int) -> bytes: ...  # a file that a user named, as that user where we are root
    def peek(self, path: str) -> bytes: ...  # whoever wrote it: only to see whether it says anything of ours
    def load(self, path: str) -> bytes: ...  # configuration; `NotPermittedError` for a file that root must not believe
    def cannot_create(self, path: str) -> tuple[str, int]: ...  # why it, or what is above it, cannot be made; errno

    def cannot_have(self, path: str, user: str | None, group: str | None, *, ours: bool) -> tuple[str, int]:
        """The same for a file of a node of that user, which we make (`ours`) or the node opens; we make directories."""

    def kind(self, path: str, user: str | None = None, group: str | None = None) -> str:
        """``directory``, ``program`` (a file that we may execute), ``file``, ``other``; empty when nothing is there.

        With `user` or `group` root sees it as they do: a directory that they may not enter is none.
        """


class LogFile(Protocol):
    """A file of a log, as it was when it was opened; its places count no holes. `packed` is read from its beginning."""

    size: int  # without holes; `length` with them
    length: int
    written: float  # the wall clock's second of its last change
    identity: str  # of the file, whatever it is called
    packed: bool

    def position(self, offset: int) -> int:
        """Where a byte of the file is when its holes are left out."""

    def read(self, at: int, limit: int) -> bytes:
        """What stands there. Raises `MachineError`."""


class Following(Protocol):
    """Files that others write. Raises `MachineError` for a log that is there and cannot be read."""

    def watch_sources(self, roots: Mapping[str, Sequence[str]]) -> None:
        """Report `Edited` from now on for each key below whose roots a file changes. Needs the package watchfiles."""

    def log_begin(self, key: str, path: str, limit: int, offset: int = 0) -> bytes:
        """Begin to read a log for this key: the last `limit` bytes behind `offset`. One that is not there is empty.

        One that ends before `offset` was truncated or replaced, so all of it stands behind.
        """

    def log_more(self, key: str, limit: int) -> bytes:
        """What was added since, at most `limit` bytes; empty when nothing was, or the log was not begun.

        A log that was moved away is read on until the one that took its name holds something; one that was truncated
        is read from its beginning. A line that was not finished before either ends there.
        """

    def follow(self, key: str, path: str, offset: int, *, bounded: bool) -> None:
        """Report as `Printed`, from now on and in whole lines, what is added to a log behind `offset`.

        Also when it is moved away or truncated. A line without its end is told after half a second, one that is very
        long in pieces. Of a `bounded` log, which is ours, the disk keeps the last megabyte or two of what was told. To
        release the key does not end it.
        """

    def printed(self, key: str) -> tuple[str, ...]:
        """What was added and is not told yet, an unfinished line too; told by this."""

    def log_files(self, key: str, path: str, *, rotated: bool = False) -> Sequence[LogFile]:
        """The log itself, or what was moved away from it, the newest first; open until the key is released."""

    def within(self, seconds: float, call: Callable[[], object]) -> object:
        """What the call returns. Raises `TimeoutError` after so many seconds of it; on the main thread only."""


class Machine(LocalHost, Following, Protocol):
    """The one door. No method decides anything; every wait ends. What cannot be done raises `MachineError`."""

    def token(self) -> str: ...  # a fresh random word, 128 bits
    def now(self) -> float: ...  # seconds of CLOCK_MONOTONIC, for durations
    def wall(self) -> float: ...  # seconds since the epoch, for people and to compare with file times
    def make_room(self, nodes: int) -> int: ...  # how many nodes can be held at once, one at the least
    def release(self, key: str) -> None: ...  # all that is held for this key: lock, gate, watches, probe, log, socket

    def wait(self, until: float | None) -> Sequence[Happening]:
        """Sleep until something happens or until `now` is `until` (None: no end; in the past: only look)."""

    # Users and groups, each by name or number

    def me(self) -> Me: ...
    def caller(self) -> Caller: ...  # who asks for all this: a command asks it once
    def uid_of(self, user: str) -> int: ...
    def gid_of(self, group: str) -> int: ...
    def login_group(self, user: str) -> str: ...  # its name, or else its number

    # Files, read with suspicion and replaced atomically

    def size(self, path: str) -> int: ...  # 0 when it is not there or no regular file
    def make_directory(self, path: str, user: str | None, group: str | None) -> None: ...  # and what is missing above
    def remove(self, path: str) -> None: ...  # fine when it is not there

    def read(self, path: str, limit: int) -> File | Unreadable | None:
        """A regular file's content, no link followed, at most `limit` bytes; None when nothing is there."""

    def listing(self, directory: str, suffix: str) -> tuple[str, ...]:
        """Absolute paths of the entries that end in `suffix`, sorted; empty when there is no such directory."""

    def fingerprint(self, path: str) -> str:
        """A word for what lies at a path, links followed; another one once it is made anew or written to, or empty."""

    def watch_file(self, key: str, path: str) -> None:
        """Report `Changed` from now on, until the key is released."""

    def write(self, writes: Sequence[FileWrite]) -> Sequence[MachineError | None]:
        """Replace each file atomically: temporary file, fsync, rename, read back. They share the flushes.

        Files take their place in the order of the writes, and when this returns all are on disk. The answers have the
        same order: None, or why this file is as it was. One that is refused holds up no other.
        """

    def amend(self, path: str, old: bytes, new: bytes) -> None:
        """Put `new` in the place of `old`, of the same length and one byte different, in a file that holds it once.

        It is not flushed: for what means nothing any more after the machine has gone down. Fine when `old` is not
        there.
        """

    def append(self, path: str, lines: bytes, limit: int, user: str | None, group: str | None) -> None:
        """Add lines to a file that only that user may read, and that is made where there is none.

        Of one that would become longer than `limit` bytes the older half goes. It is neither flushed nor waited for.
        """

    # Processes, whoever started them

    def processes(self) -> ProcessTable: ...  # the whole of it
    def look(self, pid: int) -> ProcessInfo | None: ...  # one process but for what it carries; None when there is none

    def sketch(self) -> ProcessTable:
        """The process table as far as `reaching` was asked for it; at first all processes are only outlined."""

    def reaching(self, processes: ProcessTable, proc: Proc | None) -> ProcessTable:
        """A table that is as new and tells all of the processes that started with `proc` or later; None: of all."""

    def exists(self, pid: int) -> bool: ...  # even one that the process table does not show; EPERM is a yes
    def cmdline(self, pid: int) -> tuple[str, ...]: ...  # empty when it cannot be read

    def holdings(self, proc: Proc, *, pss: bool = False) -> Holdings | None: ...  # None when it is gone; `pss` is dear

    def executed(self, pid: int) -> tuple[str, ...]:
        """The words it was executed with; empty when it shows something else by now, as a title, or they are hidden."""

    def kernel_says(self, pid: int, since: float) -> str: ...  # how it ended what ran at that second of the wall clock
    def signal(self, proc: Proc, signum: int) -> str: ...  # ``sent``, ``gone``, or ``denied`` (EPERM: alive, not ours)
    def watch(self, key: str, proc: Proc) -> None: ...  # `Ended` follows, also when it is gone already

    # Locks of files, one for each key

    def lock(self, key: str, path: str, user: str | None, group: str | None, ends: str = "") -> Holder | None:
        """Take the lock now (None), or be told who holds it and get `Locked` later.

        With `ends`, ``stop`` or ``kill``, the file says at once who asks for that, whoever holds the lock.
        """

    def asked(self, key: str, path: str) -> Asked | None:
        """The last stop that the lock file tells, of another process of this boot."""

    def lock_directory(self, key: str, path: str, owners: Iterable[tuple[str | None, str | None]]) -> Holder | None:
        """The same for the lock of a run directory with nodes of these users and groups."""

    def holder(self, key: str) -> Holder: ...  # of the lock that is waited for; empty when no `multi` can be seen
    def unlock(self, key: str) -> None: ...  # or give the wait for it up
    def holds(self, key: str) -> bool: ...  # whether it is ours and excludes others: its file may have been replaced

    @property
    def cgroups(self) -> Cgroups: ...  # those of the nodes, where one is delegated to us

    # Processes that we start

    def expect_launches(self) -> None: ...  # soon: what that needs may come up meanwhile
    def may_launch(self, launch: Launch) -> None: ...  # raises for what only root could grant; nothing is done
    def launch(self, key: str, launch: Launch) -> None: ...  # `Prepared` or `LaunchFailed` follows, `Ended` in the end
    def open_gate(self, key: str) -> None: ...  # `Executed`, `LaunchFailed` or `Ended` follows
    def shut_gate(self, key: str) -> None: ...  # what is prepared executes nothing

    # How a node tells that it is ready

    def notify_address(self, key: str, token: str, *, keep: bool = False) -> str:
        """Open a notification socket for the node and return what belongs in NOTIFY_SOCKET.

        The address is made from the token alone where the system allows, so it can be opened again later. With `keep`
        it stays open when the key is released, until the key gets another.
        """

    def notifies(self, key: str, program: str, user: str | None, group: str | None) -> bool | None:
        """Whether a Celery that `program` runs, as that user, would load our entry point and tell when it is ready.

        None where another Python has to be asked: `Probed` follows, within half a minute. Each is asked once, as that
        user, for all keys that want to know it.
        """

    def probe(self, key: str, kind: str, what: str, launch: Launch) -> None: ...  # `Probed` follows; run as the node is
    def probe_says(self, key: str) -> str: ...  # the last line that it has printed so far, cut short
    def end_probe(self, key: str) -> None: ...  # a command with its process group; fine when there is none

    def hook(self, node: str, hook: Hook) -> None: ...  # `HookDone` follows; nobody waits for it, and it raises nothing

    def listens(self, procs: Sequence[Proc], at: tuple[str, int]) -> str:
        """Whether one of these processes has the socket that a connection to this address goes to.

        ``yes``; ``no``, somebody else has; ``away``, it is no address of this machine; ``unknown``, it cannot be told.
        """

    def taken(self, what: str) -> bool: ...  # whether somebody listens at HOST:PORT here, as far as can be told at once

    def ask(self, key: str, question: Question) -> None: ...  # `Answered` follows

    # Programs of the system, which tell it what we have done

    def ourselves(self) -> tuple[str, ...]: ...  # the words that run this `multi` from anywhere
    def which(self, name: str) -> str: ...  # where a program is on PATH, or where administrators' are; or empty
    def run(self, words: tuple[str, ...], data: str | None = None) -> Ran: ...  # to its end; `data` is its input

    # Whoever started us

    def terminal_gone(self) -> bool: ...  # whether the terminal that we had when we were made was hung up
    def tell(self, text: str) -> None: ...  # to NOTIFY_SOCKET as in sd_notify(3); nothing happens without one
    def answer_watchdog(self) -> None: ...  # from now on, by `wait`: whoever asks is told that we live, sd_notify(3)
    def extend_timeout(self) -> None: ...  # from now on, by `wait`: who waits for us is to wait on, sd_notify(3)
