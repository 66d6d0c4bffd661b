"""The nodes' logs: read, followed, and searched. Reads only."""

from __future__ import annotations

from multi.logs.read import LogLine, Query, Unseen, last_lines, read, unreadable

__all__ = ["LogLine", "Query", "Unseen", "last_lines", "read", "unreadable"]
