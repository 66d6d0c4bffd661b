"""Chooses: from what is asked and what is observed to steps; nothing else in the program chooses.

`table` is (request, state) -> steps. `resolve` is what is said now and what is on record -> the node that runs.
`reconcile`, which only `apply` and `diff` need, is configuration and records -> tasks.
"""

from __future__ import annotations

from multi.decide.resolve import Said, half_said, resolve, says_anew, with_explicit
from multi.decide.table import COMMANDS, is_odd, needs_restart, proc_of, route

__all__ = [
    "COMMANDS",
    "Said",
    "half_said",
    "is_odd",
    "needs_restart",
    "proc_of",
    "resolve",
    "route",
    "says_anew",
    "with_explicit",
]
