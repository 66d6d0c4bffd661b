"""Events and views to text and exit codes.

`multi.report.json` makes JSON of them, `multi.report.table` the table of `status`, `multi.report.past` the text of a
history; only who needs one pays its import.
"""

from __future__ import annotations

from multi.report.lines import LINE_EVERY, Progress, Style, check_lines, difference_lines, event_lines, route_line
from multi.report.status import (
    STATUS_UNKNOWN,
    event_code,
    exit_code,
    is_failure,
    plan_exit_code,
    state_word,
    status_code,
    status_exit_code,
    worst_code,
)

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
