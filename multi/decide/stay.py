"""What `run` does about a node of its own; between its first start and the end it asks nothing else."""

from __future__ import annotations

from multi.decide import restart
from multi.decide.table import STOPPED_ON_PURPOSE, given_up
from multi.model import record as records
from multi.model.state import Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.model.step import AwaitDown, PutOff, Refuse, Skip, Spawn, Step
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.model.process import Proc
    from multi.model.record import Record

NOT_OURS = "another command started it"


def stay(state: State, record: Record | None, runner: Proc | None) -> Step:  # noqa: PLR0911 -- one return a case
    """The step of `run`, which is `runner`, at first and whenever the record may have changed.

    It stays with its process (`AwaitDown`), starts what a restart that was cut off has stopped and what the rule of
    restarts lets start now, waits where it says so (`PutOff`), and leaves alone what was stopped or is somebody else's.
    """
    match state:
        case Up() | Stopping() | Lost() if record is not None and record.runner != runner:
            return Skip(NOT_OURS)
        case Up(proc) | Stopping(proc) | Lost(proc):
            return AwaitDown(proc)
        case Unsure(why) if record is None:
            return Refuse(why)
        case _ if record is None or record.desired == records.WANTED_STOPPED:
            return Skip(STOPPED_ON_PURPOSE)
        case _ if record.desired == records.RESTARTING:
            return Spawn()
        case _ if record.proc is not None:
            return AwaitDown(record.proc)  # it ended just now: its status will be told
        case Down():
            return Refuse("it is down")
        case Dead(why) | Unsure(why):
            return _after_end(state, record, why)


def _after_end(state: Dead | Unsure, record: Record, why: str) -> Step:
    """What the rule of restarts says of an end, or of a failed start, that is on record."""
    if not isinstance(state, Dead) or state.end is None:
        return Refuse(why)
    match restart.verdict(record, None, state.end.wall, "run"):
        case restart.Again(after) if after > 0:
            return PutOff(after)
        case restart.GivenUp(text, new=False):
            return Skip(given_up(text, record.node))
        case restart.Again() | restart.GivenUp():
            return Spawn()  # the rule is asked again under the lock
        case restart.Leave():
            return Refuse(why)
