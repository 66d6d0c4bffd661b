"""A worker that was asked for: a frozen `Node`, every path and command final.

It holds no template, no default and no relative path. A command is a tuple of words, never a joined string. The
fields that hold a setting are named by the rows of `multi.settings.table`.
"""

from __future__ import annotations

from multi.model.proof import KINDS
from multi.model.schedule import Schedule
from multi.typed import TypeAlias
from multi.value import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """A probe: how a node proves that it is ready or alive, or what it needs.

    `kind` is a row of `multi.model.proof`; `what` is the argument that belongs to it, empty for a kind without one.
    """

    kind: str = "alive"
    what: str = ""

    def __str__(self) -> str:
        """The notation of the setting: ``alive``, ``tcp:127.0.0.1:80``."""
        return f"{self.kind}:{self.what}" if self.what else self.kind

    @property
    def sign(self) -> str:
        """What shows that the node is ready, see `multi.model.proof.Kind`."""
        return KINDS[self.kind].sign

    @property
    def path(self) -> str:
        """The path, empty for a kind without one."""
        return self.what if KINDS[self.kind].argument == "PATH" else ""

    @property
    def command(self) -> str:
        """The shell-quoted command, empty for a kind without one."""
        return self.what if KINDS[self.kind].argument == "COMMAND" else ""

    @property
    def port(self) -> str:
        """``HOST:PORT`` of the TCP port that the node is to have, empty for a kind without one."""
        return self.what.partition("/")[0] if KINDS[self.kind].listens else ""

    @property
    def page(self) -> str:
        """What is asked of that port by HTTP, ``/health``; empty for a kind that asks nothing."""
        return self.what.removeprefix(self.port) if self.port else ""


@dataclass(frozen=True, slots=True)
class Known:
    """One word at least. The first is the program, looked up in the node's PATH when it holds no slash."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """No command is known, so nothing may be run. `why` is a clause for people."""

    why: str


Command: TypeAlias = Known | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One worker that was asked for; at most one process at any moment.

    `name` is the full name ``w1@host``, `short` is ``w1``. `pidfile` and `logfile` are absolute, or, for the log, one
    of the descriptors of ours that `multi.system` knows (``/dev/stderr`` and its like).
    `env` holds what is added to the caller's environment; a value None takes the variable away. What `env_files` hold
    is added at each start, behind `env`, and kept nowhere: `env_read` has the names, each with a digest of its value.
    `hup_ends` are words or beginnings of command lines of workers that another tool started so that HUP ends them.
    Durations are seconds. With `startsecs_asked` somebody has said `startsecs`, and they count from the moment it is
    ready; else from its start. `umask` and the limits are None or empty when inherited. `origin` is the configuration
    file that the node is from, empty when it was named on the command line alone.

    `exit_ok` has 128+N for an end by signal N. `restart_limit` is (ends, seconds), None when nobody said one, and
    (0, 0) for none at all. `max_memory` is in bytes. `hooks` are pairs of an event and a shell-quoted command.
    """

    name: str
    short: str
    host: str
    preset: str
    command: Command
    pidfile: str
    logfile: str
    workdir: str | None = None
    uid: str | None = None
    gid: str | None = None
    umask: int | None = None
    nice: int | None = None
    env: tuple[tuple[str, str | None], ...] = ()
    env_files: tuple[str, ...] = ()
    env_read: tuple[tuple[str, str], ...] = ()
    rlimits: tuple[
        tuple[str, int, int], ...
    ] = ()  # (name as in getrlimit(2) without RLIMIT_, soft, hard); -1 is infinity
    stop: Schedule
    kill_mode: str = "mixed"
    reload_signal: int | None = None
    dump_signal: int | None = None
    hup_ends: tuple[str, ...] = ()
    ready: Ready = Ready()
    ready_timeout: float = 60.0
    startsecs: float = 1.0
    startsecs_asked: bool = False
    lock_timeout: float = 120.0
    restart: str = "no"
    exit_ok: tuple[int, ...] = (0,)
    restart_delay: float = 1.0
    restart_limit: tuple[int, float] | None = None
    alive: Ready | None = None
    alive_every: float = 30.0
    alive_failures: int = 3
    max_memory: int | None = None
    max_age: float | None = None
    after: tuple[str, ...] = ()
    needs: tuple[Ready, ...] = ()
    hooks: tuple[tuple[str, str], ...] = ()
    origin: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a known command. Raises `ValueError` for an unknown one."""
        match self.command:
            case Known(words):
                return words
            case Unknown(why):
                raise ValueError(f"{self.name}: {why}")

    @property
    def watched(self) -> bool:
        """Whether it can be restarted although it runs: it proves its liveness, or has a limit."""
        return self.alive is not None or self.max_memory is not None or self.max_age is not None

    @property
    def stem(self) -> str:
        """The pidfile's path without its last suffix; record and lock are named after it."""
        head, slash, last = self.pidfile.rpartition("/")
        name, dot, _ = last.rpartition(".")
        return head + slash + (name if dot and name else last)

    @property
    def recordfile(self) -> str:
        """Path of the JSON record beside the pidfile."""
        return self.stem + ".json"

    @property
    def lockfile(self) -> str:
        """Path of the lock beside the pidfile."""
        return self.stem + ".lock"

    @property
    def notifyfile(self) -> str:
        """Path where the process leaves what it said by sd_notify(3), for a command that did not hear it."""
        return self.stem + ".notify"

    @property
    def heartbeatfile(self) -> str:
        """Path where a worker writes, every few seconds, that its loop turns, and what it works on."""
        return self.stem + ".heartbeat"

    @property
    def socketfile(self) -> str:
        """Path of the socket where a worker answers questions about its tasks."""
        return self.stem + ".sock"

    @property
    def healthfile(self) -> str:
        """Path of what was learnt of its liveness, a line an answer."""
        return self.stem + ".health"

    @property
    def historyfile(self) -> str:
        """Path of what happened to the node, a line an event."""
        return self.stem + ".history"

    @property
    def outputfile(self) -> str:
        """Path of the log that `run` gives it while it shows what all print, where nobody named another one."""
        return self.stem + ".output"

    @property
    def logs_to_file(self) -> bool:
        """Whether the log is a file that can be read again; a terminal, a pipe or the journal is none."""
        in_memory = self.logfile.startswith("/dev/shm/")  # noqa: S108 -- a file system like any other
        return in_memory or not self.logfile.startswith(("/dev/", "/proc/"))

    @property
    def rundir(self) -> str:
        """The directory that holds pidfile, record and lock."""
        return self.pidfile.rpartition("/")[0] or "/"
