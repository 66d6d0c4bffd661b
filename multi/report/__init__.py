"""Events and views to text and exit codes. `multi.report.json` makes JSON of them; only ``--json`` pays its import."""

from __future__ import annotations

from multi.report.lines import (
    PLAIN,
    Style,
    check_lines,
    difference_lines,
    event_lines,
    is_failure,
    log_line,
    route_line,
)
from multi.report.progress import LINE_EVERY, Progress
from multi.report.status import (
    STATUS_UNKNOWN,
    Ledger,
    exit_code,
    plan_exit_code,
    state_word,
    status_code,
    status_exit_code,
    status_table,
)

__all__ = [
    "LINE_EVERY",
    "PLAIN",
    "STATUS_UNKNOWN",
    "Ledger",
    "Progress",
    "Style",
    "check_lines",
    "difference_lines",
    "event_lines",
    "exit_code",
    "is_failure",
    "log_line",
    "plan_exit_code",
    "route_line",
    "state_word",
    "status_code",
    "status_exit_code",
    "status_table",
]
