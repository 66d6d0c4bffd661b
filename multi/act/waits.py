"""What a walk is, and what it may wait for: the nouns between walks and the loop that drives them."""

from __future__ import annotations

from multi.model.event import Waiting
from multi.model.process import ProcessTable
from multi.model.schedule import FOREVER
from multi.typed import TYPE_CHECKING, TypeAlias
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Generator

    from multi.machine import FileWrite
    from multi.model.event import Event
    from multi.model.happening import Happening
    from multi.model.work import Work


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on at the next happening of this node, or when the machine's `now` reaches `until` (None: no end).

    The other fields are for progress: `what` is waited for (``ready``, ``end``, ``lock``, ``need``, ``health``,
    ``idle``, ``answer``), `since` when, `next_signum` at `next_at`; `note` is what the node last said of itself, or
    what its last probe met with, `work` what it said at `work_at` that it has in hand. With `hears` it goes on at a
    signal that the command is deaf to.
    """

    until: float | None
    what: str
    pid: int
    since: float
    next_signum: int | None = None
    next_at: float | None = None
    note: str = ""
    work: Work | None = None
    work_at: float = 0.0
    hears: bool = False

    def progress(self, node: str, now: float) -> Waiting:
        """The same for people."""
        left = None if self.next_at is None or self.next_at == FOREVER else max(0.0, self.next_at - now)
        work = None if self.work is None else self.work.aged(now - self.work_at)
        return Waiting(node, self.pid, self.what, now - self.since, self.next_signum, left, self.note, work)


class InterruptedWalk(Exception):  # noqa: N818 -- nobody's error: the user has ended the command
    """Thrown into a walk that was interrupted: it may say what it takes back, and ends."""


@dataclass(frozen=True, slots=True)
class TableWait:
    """Go on with a process table that is not older than this request."""


@dataclass(frozen=True, slots=True)
class WriteWait:
    """Go on when these files are on disk. If one is refused, the walk gets its `MachineError` instead."""

    writes: tuple[FileWrite, ...]


Want: TypeAlias = "Event | Wait | TableWait | WriteWait"
Answer: TypeAlias = "Happening | ProcessTable | None"
Walk: TypeAlias = "Generator[Want, Answer, bool]"  # returns whether what was asked for is true of the node


def process_table() -> Generator[Want, Answer, ProcessTable]:
    """Wait for a process table that is not older than this request."""
    processes = yield TableWait()
    assert isinstance(processes, ProcessTable)  # noqa: S101 -- the loop answers a TableWait with nothing else
    return processes
