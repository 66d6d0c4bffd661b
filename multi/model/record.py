"""What `multi` keeps of a node beside its pidfile; the bytes of a pidfile and of a note by sd_notify(3).

The record says which process it is about, how the node was started and what was last asked of it; `multi.codec` makes
bytes of it.
"""

from __future__ import annotations

from multi.model.node import Node
from multi.model.process import Proc
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

# Beside STATUS (sd_notify(3)): what the process waits for that is no fault of its own, as "broker".
NOTIFY_WAITS = "X_MULTI_WAITS"
NOTIFY_TASKS = "X_MULTI_TASKS"  # what it has in hand, see `multi.model.work`
NOTIFY_LIMIT = 1 << 14  # bytes: a few lines
PIDFILE_LIMIT = 64  # bytes: a pid has at most ten digits
RECORD_LIMIT = 1 << 20  # bytes: far above what argv and settings of one node take
_PID_DIGITS = 10
MOST_DIGITS = 18  # of a time that somebody else wrote

LOG_BEGAN = "log"  # of `extra`: the file that this start logs to (device and inode), and where it began there
STARTING, UP = "starting", "up"  # phase
WANTED_UP, WANTED_STOPPED, RESTARTING = "up", "stopped", "restarting"  # desired
# The bytes of a record before and after the signal of a stop was sent: one digit, changed where it stands. Quotes
# inside a JSON string are escaped, so nothing that a user wrote can look like this.
UNSIGNALLED, SIGNALLED = b'"signalled": 0', b'"signalled": 1'
PHASES = frozenset({STARTING, UP})
DESIRED = frozenset({WANTED_UP, WANTED_STOPPED, RESTARTING})


class DamagedError(Exception):
    """The bytes are not what `multi` writes; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Settings of a node that were tried, and given up for those before: a digest of them, when and why."""

    digest: str
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The cgroup of one start, known by its directory and the inode number of that; see `multi.model.cgroup`."""

    path: str
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is kept of a node between two commands.

    `proc` is None when the last start failed, and when the node was stopped. `phase` is ``starting`` until somebody saw
    the node ready. `desired` is the last thing asked of it, `signalled` whether the signal of a stop that was asked for
    is sent. `stopped_at` is when the stop was asked for, or done, 0 where that is not known; `stopped_by` is who asked.
    Both, and `started`, are for people only; times are wall-clock seconds. `failures` counts the ends in a row that
    nobody asked for, `failed` is when the last one was, `exit_status` how it was (minus the signal's number, None if
    nobody knows), `ends` are the last ones within the window of `restart_limit`. `gave_up` says why the node is not
    started again until somebody asks for that. `runner` is the `multi run` that holds the node, as long as that one
    lives: what it prints to, the node prints to. `rejected` are the settings that it was to have in place of these,
    `former` what it goes back to if the start that this record is about fails, or does not last for `settle` seconds.
    `draining` is since when it takes no new task, 0 while it consumes. `cgroup` is that of `proc`, None where the node
    has none of its own.
    `owner` is the uid of the file that it was read from, None for a new one; no bytes hold it.
    """

    node: Node
    proc: Proc | None
    token: str = ""
    phase: str = UP
    desired: str = WANTED_UP
    signalled: bool = False
    started: float = 0.0
    restarts: int = 0
    failures: int = 0
    failed: float = 0.0
    failure: str = ""
    ends: tuple[float, ...] = ()
    exit_status: int | None = None
    gave_up: str = ""
    stopped_at: float = 0.0
    stopped_by: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    runner: Proc | None = None
    draining: float = 0.0
    rejected: Rejected | None = None
    former: Node | None = None
    settle: float = 0.0
    cgroup: Cgroup | None = None
    owner: int | None = field(default=None, compare=False)

    @property
    def stopped(self) -> bool:
        """Whether the node was stopped, and is kept on record so that it can be started again."""
        return self.desired == WANTED_STOPPED and self.proc is None

    def rejected_beside(self, node: Node) -> Rejected | None:
        """What stays rejected when the node is started: with other settings than on record it begins anew."""
        return self.rejected if replace(node, env_read=self.node.env_read) == self.node else None

    def given_up(self, former: Node, why: str, rejected: Rejected | None) -> Record:
        """What runs is to end, because of `why`, and the node to be started as it was, `former`."""
        asked = replace(self, node=former, phase=UP, desired=RESTARTING, signalled=False, failure=why)
        return replace(
            asked, stopped_at=0.0, stopped_by="", extra={}, rejected=rejected or self.rejected, former=None, settle=0.0
        )

    def requested(self, desired: str, proc: Proc, at: float, by: str) -> Record:
        """Ask something else of the node, which runs as `proc`."""
        phase, failure = (self.phase, self.failure) if proc == self.proc else (UP, "")
        at, by = (at, by) if desired == WANTED_STOPPED else (0.0, "")
        asked = replace(self, proc=proc, phase=phase, failure=failure, desired=desired, signalled=False)
        return replace(asked, stopped_at=at, stopped_by=by, cgroup=self.cgroup if proc == self.proc else None)

    def ended(self, at: float, by: str) -> Record:
        """The node is stopped, as `by` asked unless somebody did so before: what is kept of it."""
        return replace(
            self,
            proc=None,
            token="",
            phase=UP,
            desired=WANTED_STOPPED,
            signalled=False,
            failures=0,
            failed=0.0,
            failure="",
            ends=(),
            exit_status=None,
            gave_up="",
            stopped_at=at,
            stopped_by=self.stopped_by or by,
            extra={},
            draining=0.0,
            cgroup=None,
        )


def log_began(record: Record) -> tuple[str, int] | None:
    """The file that the start on record logs to, and where it began there."""
    file, _, offset = record.extra.get(LOG_BEGAN, "").partition(" ")
    return (file, int(offset)) if offset.isascii() and offset.isdigit() and len(offset) <= MOST_DIGITS else None


def encode_pid(pid: int) -> bytes:
    """Pid -> the bytes of a pidfile."""
    return b"%d\n" % pid


def decode_pid(data: bytes) -> int:
    """The bytes of a pidfile -> pid. Blanks around the number are allowed, its newline is not optional.

    A number without its newline may be the first half of another number. Raises `DamagedError`.
    """
    if not data.strip():
        raise DamagedError("it is empty")
    if not data.endswith(b"\n"):
        raise DamagedError("it does not end in a newline, so it may be half written")
    digits = data.strip(b" \t\r\n")
    if not digits.isdigit() or len(digits) > _PID_DIGITS or data.count(b"\n") > 1:
        raise DamagedError("it does not hold a pid")
    return int(digits)


@dataclass(frozen=True, slots=True)
class Word:
    """What a process has left of what it said by sd_notify(3), for a command that did not hear it.

    `waits` is what it waits for that is no fault of its own. `ready_at` is when it said that it is ready, in the
    machine's own clock, None while it has not.
    """

    status: str = ""
    waits: str = ""
    ready_at: float | None = None

    def settled_at(self, node: Node) -> float | None:
        """When it counts as ready, None while it has not said that it is."""
        if self.ready_at is None:
            return None
        return self.ready_at + (node.startsecs if node.startsecs_asked else 0.0)


def decode_word(data: bytes, token: str) -> Word | None:
    """The bytes that a process left -> what it said; None when they are cut off or of another start."""
    fields = said(data, token)
    if fields is None:
        return None
    usec = fields.get("MONOTONIC_USEC", "")
    moment = int(usec) / 1e6 if usec.isascii() and usec.isdigit() and len(usec) <= MOST_DIGITS else None
    return Word(fields.get("STATUS", ""), fields.get(NOTIFY_WAITS, ""), moment if fields.get("READY") == "1" else None)


def said(data: bytes, token: str) -> Mapping[str, str] | None:
    """Lines ``NAME=value`` that the process with this token left; None when they are cut off or of another start."""
    if not data.endswith(b"\n") or b"\0" in data:
        return None
    lines = (line.partition("=") for line in data.decode("utf-8", "replace").split("\n"))
    fields = {name: value for name, equals, value in lines if equals}
    return fields if token and fields.get("MULTI_INSTANCE") == token else None
