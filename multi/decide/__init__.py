"""Chooses: from what is asked and what is observed to steps; nothing else in the program chooses.

`table` is (request, state) -> steps. `resolve` is what is said now and what is on record -> the node that runs.
Only who needs them imports `order`, what comes before what, and `reconcile`: configuration and records -> tasks.
"""

from __future__ import annotations

from multi.decide.resolve import resolve_again, resolve_lost
from multi.model.state import died, is_meant_to_be_down, is_odd, proc_of
from multi.typed import TYPE_CHECKING

__all__ = [
    "ALREADY_RUNNING",
    "COMMANDS",
    "died",
    "is_meant_to_be_down",
    "is_odd",
    "proc_of",
    "resolve_again",
    "resolve_lost",
    "route",
    "spawn_again",
]

if TYPE_CHECKING:
    from multi.decide.table import ALREADY_RUNNING, COMMANDS, route, spawn_again
else:

    def __getattr__(name: str) -> object:
        """What chooses steps: who only looks chooses none."""
        if name not in __all__:
            raise AttributeError(name)
        from multi.decide import table

        globals()[name] = found = getattr(table, name)
        return found
