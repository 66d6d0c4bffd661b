"""What can be true of a node: the nouns that `observe` makes and `decide` reads."""

from __future__ import annotations

from multi.model.process import Proc
from multi.typed import TYPE_CHECKING, TypeAlias
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from multi.model.record import Record

HELD = "held by 'multi run'"
SUSPENDED = "suspended by SIGSTOP; 'multi start' resumes it"


STOPPED_BY = "stopped by "  # the beginning of why a node is down that somebody stopped without `multi`


@dataclass(frozen=True, slots=True)
class End:
    """An end that nobody asked for, for the rule of restarts: what is on record, and the wall clock's second now.

    `status` is what the kernel still tells of an end that is not on record. `held` when a living `multi run` has the
    node.
    """

    record: Record
    wall: float
    status: int | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Down:
    """No process, and no file that says there should be one.

    With `on_record` the node was stopped, `since` so many seconds (None is unknown), as `by` asked.
    """

    on_record: bool = False
    since: float | None = field(default=None, compare=False)
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Up:
    """The process runs. `ready` is false until somebody has seen it ready (state ``starting``).

    `waits` is what it then says that it waits for, empty when it waits for nothing but itself. `suspended`, here and
    below: a signal stopped it, and it does nothing until it is resumed. `ends_on_hup`: another tool started it in a way
    that HUP ends it, instead of starting it again in place. `orphan`: it was started by a `multi run` that is no more.
    """

    proc: Proc
    ready: bool = True
    suspended: bool = False
    waits: str = ""
    ends_on_hup: bool = False
    orphan: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Stopping:
    """The process runs, but a stop was asked for. `sent` is false when whoever asked was cut off before the signal.

    `again` when the stop is the first half of a restart.
    """

    proc: Proc
    sent: bool = True
    suspended: bool = False
    again: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Dead:
    """A pidfile or record is left; its process is gone or is somebody else's.

    `on_purpose` when the last thing asked of the node was to stop: its state is then ``stopped``, with `since` and `by`
    as for `Down`; `asked` when that was not asked of `multi`, but of the process itself, which has told. `end` is
    for the rule of restarts, None where nothing is on record. `cause` is what the kernel did to the process, as far as
    that is known.
    """

    why: str
    on_purpose: bool = False
    end: End | None = field(default=None, compare=False)
    since: float | None = field(default=None, compare=False)
    by: str = field(default="", compare=False)
    asked: bool = False
    cause: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """Our process runs, but its pidfile or record is gone. `why` says which; `orphan` as for `Up`."""

    proc: Proc
    why: str
    suspended: bool = False
    orphan: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Unsure:
    """Unreadable, foreign or untrusted: nothing may be touched. `why` names the file."""

    why: str


State: TypeAlias = Down | Up | Stopping | Dead | Lost | Unsure


def is_nothing(state: State) -> bool:
    """Whether neither runs anything nor should it."""
    return isinstance(state, Down)


def proc_of(state: State) -> Proc | None:
    """The node's process, where one was proved."""
    return state.proc if isinstance(state, (Up, Stopping, Lost)) else None


def is_meant_to_be_down(state: State) -> bool:
    """Whether nothing runs, and nothing should."""
    return isinstance(state, Down) or (isinstance(state, Dead) and state.on_purpose)


def died(state: State) -> bool:
    """Whether the node is gone although nobody asked it to end."""
    return isinstance(state, Dead) and not state.on_purpose


def runs(state: State) -> bool:
    """Whether it is up."""
    return isinstance(state, (Up, Lost))


def is_starting(state: State) -> bool:
    """Whether nobody has seen it ready yet."""
    return isinstance(state, Up) and not state.ready


def is_suspended(state: State) -> bool:
    """Whether its process does nothing until it is resumed."""
    return isinstance(state, (Up, Stopping, Lost)) and state.suspended


def has_news(state: State, heartbeat: str) -> bool:
    """Whether its heartbeat says of a stop what was not seen yet."""
    return heartbeat == "stopping" and not isinstance(state, Stopping)


def aged(state: State, seconds: float) -> State:
    """The same so many seconds later, if nothing has happened."""
    match state:
        case Down(since=float(since)):
            return replace(state, since=since + seconds)
        case Dead(end=end, since=since):
            end = None if end is None else replace(end, wall=end.wall + seconds)
            return replace(state, end=end, since=None if since is None else since + seconds)
        case _:
            return state


def is_odd(state: State) -> bool:
    """Whether a state may only seem so, because another command changes the files of the node meanwhile."""
    return isinstance(state, (Dead, Lost, Unsure))
