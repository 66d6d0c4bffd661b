"""What happened to a node: the noun of its history. `multi.history` makes lines of it and reads them again."""

from __future__ import annotations

from multi.model.caller import Caller
from multi.value import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One event of the past: when (seconds since the epoch), what, who asked, and the facts of its kind.

    `what` is the name of the event as ``--json`` has it. `after` is seconds, `signal` a name, `status` an exit status
    or minus the signal's number, `tail` the last lines of the log.
    """

    at: float
    what: str
    by: Caller | None = None
    pid: int | None = None
    after: float | None = None
    signal: str = ""
    why: str = ""
    status: int | None = None
    tail: tuple[str, ...] = ()
