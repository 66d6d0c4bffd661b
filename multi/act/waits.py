"""What a walk waits for: the nouns between `act`, `ready` and the loop that drives them."""

from __future__ import annotations

from multi.value import dataclass


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on at the next happening of this node, or when the machine's `now` reaches `until` (None: no end).

    The rest is for whoever watches: `what` is waited for (``ready``, ``end``, ``lock``), `since` when,
    `next_signum` at `next_at`; `note` is what the node last said of itself, or what its last probe met with.
    """

    until: float | None
    what: str
    pid: int
    since: float
    next_signum: int | None = None
    next_at: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class TableWait:
    """Go on with a process table that is not older than this request."""
