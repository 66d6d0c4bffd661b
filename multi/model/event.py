"""What happened: the nouns that `act` yields and `report` folds into text, JSON and an exit code.

Every event names its node and, where there is one, the pid of its main process.
"""

from __future__ import annotations

from multi.typed import TYPE_CHECKING, TypeAlias
from multi.value import dataclass

if TYPE_CHECKING:
    from multi.model.work import ActiveTask, Work


KILLED_BY = "another command asked for KILL"  # and who that was


@dataclass(frozen=True, slots=True)
class Spawned:
    """The main process exists and is recorded. `source` says who says its command, see `Spawn`."""

    node: str
    pid: int
    argv: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Readied:
    """The node proved ready `after` seconds; `how` names the proof (``notify``, ``alive``, ``log:...``).

    `note` says what a user should know of it, such as that it is a fallback.
    """

    node: str
    pid: int
    after: float
    how: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """The node was watched for `after` seconds since it was ready, and nothing was wrong with it."""

    node: str
    pid: int
    after: float


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The node runs as it did before, because of `why`. `note` says what is not as before all the same."""

    node: str
    pid: int
    why: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Signalled:
    """`signum` was sent to `pid`, `after` seconds into the stop; `others` further processes of the tree got it too."""

    node: str
    pid: int
    signum: int
    after: float
    others: int = 0


@dataclass(frozen=True, slots=True)
class CutOff:
    """`signum`, a later signal than the first of the schedule, cut off `count` tasks, of which `tasks` are known.

    One with `acks_late` is redelivered by its broker, another one is lost.
    """

    node: str
    pid: int
    signum: int
    count: int
    tasks: tuple[ActiveTask, ...]


@dataclass(frozen=True, slots=True)
class Gone:
    """The whole tree is gone, `after` seconds after the first signal.

    `exit_code` is not 0 where it had to be killed, and the command exits with that. `by` is another command that has
    asked for KILL meanwhile.
    """

    node: str
    pid: int
    after: float
    exit_code: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class Survived:
    """The schedule has ended and these `pids` still run; `killed` when they were sent KILL."""

    node: str
    pid: int
    after: float
    pids: tuple[int, ...]
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Cleared:
    """The pidfile was removed; `why` is empty after a stop that was asked for."""

    node: str
    why: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The node is on record no more."""

    node: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """A process that had lost its files has them again."""

    node: str
    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class Drained:
    """The worker takes no new task; it still finishes `work`. `note` says what a user should know of it."""

    node: str
    pid: int
    work: Work | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The worker consumes again; `note` says why, or what a user should know of it."""

    node: str
    pid: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Updated:
    """The process runs on, and its new settings are on record: they changed in a way that needs no restart."""

    node: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """There was nothing to do. `met` is false when what was asked for is not true all the same."""

    node: str
    pid: int | None
    why: str
    met: bool = True


@dataclass(frozen=True, slots=True)
class Awaits:
    """The start of the node waits for `what` it needs or comes after; `why` is what a probe met with, or how that is.

    It is not `waited` for where it is a node that nobody asked for, and that is not on its way either.
    """

    node: str
    what: str
    why: str
    waited: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """What was asked for is not true of this node.

    `exit_status` is that of the main process where it ended: the code, or minus the signal's number. `log_tail` is what
    this start printed last. `exit_code` is the code that the command exits with.
    """

    node: str
    pid: int | None
    why: str
    exit_status: int | None = None
    log_tail: tuple[str, ...] = ()
    logfile: str = ""
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class Retrying:
    """The node has ended, or its start has failed, and it is started again `after` so many seconds.

    The other fields are those of `Failed`; nothing has failed yet.
    """

    node: str
    pid: int | None
    why: str
    after: float
    exit_status: int | None = None
    log_tail: tuple[str, ...] = ()
    logfile: str = ""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The node ends too often, and is not started again until somebody asks for that; with the fields of `Failed`."""

    node: str
    pid: int | None
    why: str
    exit_status: int | None = None
    log_tail: tuple[str, ...] = ()
    logfile: str = ""
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class Exited:
    """The node has ended by itself, with an exit status that is no failure, and is not started again."""

    node: str
    pid: int | None
    exit_status: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was touched; `why` names the file and the reason."""

    node: str
    why: str
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """The running node has failed its proof of liveness, as `why` says, and is to be restarted for it."""

    node: str
    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """The node works again; `why` says after what."""

    node: str
    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class Recycling:
    """The running node has reached a limit of its own, as `why` says, and is to be restarted for it."""

    node: str
    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class Hooked:
    """The hook that was told of an event of the node is over; `why` it failed, and what it printed last."""

    node: str
    hook: str
    why: str
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Lines that the node has printed, told `at` that second of the epoch; `node` has commas where nodes share a log.

    Bytes that are no UTF-8 are surrogates in `lines`. `pid` is None where it is not known.
    """

    node: str
    lines: tuple[str, ...]
    at: float
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """`run` was asked to end by `signum`, and stops its `nodes` by `schedule`, empty where theirs differ.

    With `kills` it was asked again, and KILLs them. `node` is empty: it is about all of them.
    """

    signum: int
    nodes: tuple[str, ...]
    schedule: str = ""
    kills: bool = False
    node: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Progress, not a fact: who is waited for. On a terminal this becomes the redrawn line.

    `since` is seconds waited so far; `next_signum` is due in `next_in` seconds, None when the wait ends there or has no
    end. `note` is what the node says of itself meanwhile, `work` what it has in hand.
    """

    node: str
    pid: int
    what: str  # as in `multi.act.waits.Wait`
    since: float
    next_signum: int | None = None
    next_in: float | None = None
    note: str = ""
    work: Work | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The command was interrupted by `signum`; nothing more is done."""

    signum: int


class Overheard(Interrupted):
    """The nodes of `run` have heard of a signal that is no reason to end. Only `run` itself sees it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Halted:
    """A rolling command ended early. Full names: `new` got ready, `failed` did not, `unfinished` were interrupted.

    `untouched` nodes, some of which may have failed, are as they were: those that ran run on with their old settings.
    Of those that failed, `rolled_back` run again as before; of those and of the unfinished, `down` do not run.
    """

    new: tuple[str, ...]
    failed: tuple[str, ...]
    unfinished: tuple[str, ...]
    untouched: tuple[str, ...]
    rolled_back: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


Event: TypeAlias = (
    Spawned
    | Readied
    | Settled
    | RolledBack
    | Signalled
    | CutOff
    | Gone
    | Survived
    | Cleared
    | Forgotten
    | Adopted
    | Drained
    | Resumed
    | Updated
    | Skipped
    | Awaits
    | Failed
    | Retrying
    | GaveUp
    | Exited
    | Refused
    | Unhealthy
    | Recovered
    | Recycling
    | Hooked
    | Output
    | Ending
    | Waiting
    | Interrupted
    | Halted
)
