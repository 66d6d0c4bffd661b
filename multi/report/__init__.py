"""Events and views to text and exit codes.

`multi.report.json` makes JSON of them, `multi.report.table` the table of `status`, `multi.report.past` the text of a
history; only who needs one pays its import.
"""

from __future__ import annotations

from multi.report.status import STATUS_UNKNOWN, Style, state_word, status_code, status_exit_code
from multi.typed import TYPE_CHECKING

__all__ = [
    "LINE_EVERY",
    "STATUS_UNKNOWN",
    "Progress",
    "Style",
    "check_lines",
    "difference_lines",
    "event_code",
    "event_lines",
    "exit_code",
    "is_failure",
    "plan_exit_code",
    "route_line",
    "state_word",
    "status_code",
    "status_exit_code",
    "worst_code",
]

if TYPE_CHECKING:
    from multi.report.codes import event_code, exit_code, is_failure, plan_exit_code, worst_code
    from multi.report.lines import LINE_EVERY, Progress, check_lines, difference_lines, event_lines, route_line
else:

    def __getattr__(name: str) -> object:
        """What is said of events and steps: `status` has none."""
        if name not in __all__:
            raise AttributeError(name)
        from multi.report import codes, lines

        globals()[name] = found = getattr(codes if hasattr(codes, name) else lines, name)
        return found
