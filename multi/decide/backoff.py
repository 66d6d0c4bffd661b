"""The back-off of `ensure`: how long it leaves a node alone that ended again and again."""

from __future__ import annotations

from multi.model.record import UP, WANTED_UP, Record
from multi.value import replace

_FIRST, _LONGEST = 10.0, 3600.0  # seconds after the first failure, and at most
_STEADY = 600.0  # seconds after which a node that ran has proved that it can


def remaining(failures: int, ago: float) -> float:
    """Seconds that `ensure` still leaves a node alone: a capped exponential of its failures in a row."""
    if not failures:
        return 0.0
    pause = min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 16))
    # A clock that was set back must not make the pause longer than it is.
    return min(pause, max(0.0, pause - ago))


def after_failure(record: Record, wall: float, why: str) -> Record:
    """After an unexpected exit. A node that was up for ten minutes resets the failure count."""
    steady = record.phase == UP and wall - record.started > _STEADY
    return replace(
        record,
        proc=None,
        desired=WANTED_UP,
        failures=1 if steady else record.failures + 1,
        failed=wall,
        failure=why,
    )
