"""The rule of restarts: what becomes of a node that has ended and that nobody stopped. Pure.

`run` asks it when a node ends, and whenever a pause is over; `ensure` asks it each time that it runs. Both count the
ends on the record, so it makes no difference which of them was there.
"""

from __future__ import annotations

from multi.model.node import Node
from multi.model.record import RESTARTING, UP, WANTED_UP, Record
from multi.model.schedule import end_text
from multi.text import seconds_text
from multi.typed import Literal, TypeAlias
from multi.value import dataclass, replace

LIMIT_OF_RUN = (5, 60.0)  # where nobody says one; `ensure` then has none, since cron spaces its starts
STEADY = 600.0  # seconds after which a node that ran has proved that it can
_LONGEST = 300.0  # seconds that the pauses grow to
_SPREAD = 0.1  # of a pause, so that what ended together does not start together
_DOUBLINGS = 16

By: TypeAlias = Literal["run", "ensure"]


@dataclass(frozen=True, slots=True)
class Again:
    """Start it again `after` so many seconds, 0 for at once."""

    after: float = 0.0


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Do not start it again until somebody asks for it. `new` when that is to be put on record."""

    why: str
    new: bool = True


@dataclass(frozen=True, slots=True)
class Leave:
    """Its policy has no restart for this end; `well` when the end is no failure."""

    well: bool


Verdict: TypeAlias = Again | GivenUp | Leave


def counted(record: Record, wall: float, why: str, status: int | None = None) -> Record:
    """The record after an end that nobody asked for. A node that was up for ten minutes counts anew."""
    count, window = _limit(record.node, "run")
    near = [at for at in record.ends if abs(wall - at) < window]  # a clock that was set back makes ends of the future
    steady = record.phase == UP and wall - record.started > STEADY
    return replace(
        record,
        proc=None,
        cgroup=None,
        desired=WANTED_UP,
        failures=1 if steady else record.failures + 1,
        failed=wall,
        failure=why,
        ends=(*near[-count:], wall) if count else (),
        exit_status=status,
    )


def verdict(record: Record, status: int | None, wall: float, by: By) -> Verdict:
    """What is to be done about an end, which is on record already where the record names no process.

    `status` is that of an end that is not on record yet: the exit code, minus the signal's number, or None if nobody
    knows it, which counts as a failure.
    """
    if record.gave_up:
        return GivenUp(record.gave_up, new=False)
    if record.desired == RESTARTING:
        return Again()  # somebody asked for it, and was cut off between the stop and the start
    new, node = record.proc is not None, record.node
    after = counted(record, wall, "", status) if new else record
    policy = "on-failure" if by == "ensure" and node.restart == "no" else node.restart
    well = after.exit_status is not None and exit_code(after.exit_status) in node.exit_ok
    if policy == "no" or (policy == "on-failure" and well):
        return Leave(well)
    count, window = _limit(node, by)
    ends = [at for at in after.ends if abs(wall - at) < window]
    if count and len(ends) > count:
        text = f"it ended {len(ends)} times within {seconds_text(window)}s"
        return GivenUp(text if after.exit_status is None else f"{text}; the last time {end_text(after.exit_status)}")
    if new and by == "run":
        return Again(delay(after))
    # `ensure` came to see the end late, so the pause is that of the end before.
    return Again(min(delay(record), max(0.0, record.failed + delay(record) - wall)))


def refusal(record: Record, wall: float, by: By) -> str:
    """Why a node that runs must not be restarted for being unhealthy, which counts as an end; empty when it may."""
    count, window = _limit(record.node, by)
    ends = [at for at in record.ends if abs(wall - at) < window]
    if not count or len(ends) < count:
        return ""
    return f"not restarted, because it ended {len(ends)} times within {seconds_text(window)}s"


def delay(record: Record) -> float:
    """Seconds between the last end on record and the next start: doubled with each end in a row, and spread."""
    if not record.failures:
        return 0.0
    from binascii import crc32

    first = record.node.restart_delay
    full = min(max(first, _LONGEST), first * 2.0 ** min(record.failures - 1, _DOUBLINGS))
    dice = crc32(f"{record.node.name} {record.failed}".encode("utf-8", "replace")) / 2**32
    return full * (1 - _SPREAD * dice)


def exit_code(status: int) -> int:
    """The status of an end as a shell says it: 128+n for an end by signal n."""
    return 128 - status if status < 0 else status


def _limit(node: Node, by: By) -> tuple[int, float]:
    if node.restart_limit is not None:
        return node.restart_limit
    return LIMIT_OF_RUN if by == "run" else (0, 0.0)
