"""What can be done about a node: the nouns that `decide` makes and `act` walks."""

from __future__ import annotations

from multi.model.node import Node
from multi.model.process import Proc
from multi.model.request import Turn
from multi.model.schedule import Schedule
from multi.typed import TypeAlias
from multi.value import dataclass


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing to do; `why` says so. `met` is false when what was asked for is not true all the same."""

    why: str
    met: bool = True


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing may be done; `why` names the file and the reason."""

    why: str


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the node and wait until it is ready.

    `source` says who says the command where nobody says it now: ``record``, or ``preset`` for a bare worker. It is
    ``former`` where the node goes back to what it was, ``same`` if that is the same command.
    """

    source: str = ""


@dataclass(frozen=True, slots=True)
class AwaitUp:
    """Wait until another command has started the node and seen it ready."""


@dataclass(frozen=True, slots=True)
class AwaitDown:
    """Wait until the process ends by itself."""

    proc: Proc


@dataclass(frozen=True, slots=True)
class AwaitReady:
    """Somebody else's start was cut off: wait until the process is ready."""

    proc: Proc


@dataclass(frozen=True, slots=True)
class Resume:
    """Resume the suspended process and its tree, so that it can work, or obey what comes next."""

    proc: Proc


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the worker take no new task. With `until_idle` wait for its last one."""

    proc: Proc
    until_idle: bool = False


@dataclass(frozen=True, slots=True)
class Consume:
    """Let the worker consume again."""

    proc: Proc


@dataclass(frozen=True, slots=True)
class Signal:
    """Send one signal to the main process. `stop` when it asks the node to end: the record then says so."""

    proc: Proc
    signum: int
    stop: bool = False


@dataclass(frozen=True, slots=True)
class AwaitEnd:
    """The first signal was sent earlier: wait for the end by `schedule` without sending that one again."""

    proc: Proc
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Stop:
    """Walk `schedule` until the whole tree is gone. `again` when a start follows: the record then says so.

    `why` says why where nobody asked for it.
    """

    proc: Proc
    schedule: Schedule
    again: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Kill:
    """KILL the whole tree and see that it is gone."""

    proc: Proc


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove the pidfile, and put the node on record as stopped. `why` is what made the pidfile stale.

    `why` is empty after a stop that was asked for. `keep` leaves the record as it is, because more follows: what it
    says must not be lost if that is cut off.
    """

    why: str = ""
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the record, and all else that is kept of the node beside its lock and its log."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Put the node's settings on record again; they changed in a way that needs no restart."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Write pidfile and record again for a process that lost them."""

    proc: Proc
    why: str


@dataclass(frozen=True, slots=True)
class PutOff:
    """Put an end that nobody asked for on record, and start the node again `after` so many seconds.

    `pid` is the process that ended, None where the end is on record already; `ended` and `status` say how.
    """

    after: float
    pid: int | None = None
    ended: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Put on record that the node ends too often, and is not started again until somebody asks for that.

    The other fields are those of `PutOff`.
    """

    why: str
    pid: int | None = None
    ended: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """Put on record that the node has ended by itself, as it may: it counts as stopped."""

    pid: int | None = None
    status: int = 0


@dataclass(frozen=True, slots=True)
class Take:
    """Hold a process that a `multi run` started which is no more."""

    proc: Proc


Step: TypeAlias = (
    Skip
    | Refuse
    | Spawn
    | AwaitReady
    | AwaitUp
    | AwaitDown
    | Resume
    | Drain
    | Consume
    | Signal
    | AwaitEnd
    | Stop
    | Kill
    | Clear
    | Forget
    | Rewrite
    | Adopt
    | PutOff
    | GiveUp
    | Finish
    | Take
)
Steps: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The steps of one node, in order. A step that fails ends the route.

    `turn` is foreseen where nodes take turns, `waits` is what it will wait for, in words.
    """

    node: Node
    steps: tuple[Step, ...]
    turn: Turn = Turn()
    waits: tuple[str, ...] = ()
