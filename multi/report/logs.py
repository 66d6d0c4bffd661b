"""Lines of logs as text for a person. Pure but for the time zone of this process."""

from __future__ import annotations

from multi.report.status import PLAIN, Style
from multi.text import printable
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import re

    from multi.logs import LogLine

_LOG_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")


def log_line(line: LogLine, colour: int, style: Style = PLAIN, pattern: re.Pattern[str] | None = None) -> str:
    """One line of a log behind the names of its nodes; `colour` counts the logs. Tabs stay, for who cuts at them.

    On a terminal what the pattern has found is bold.
    """
    names = style.paint(_LOG_COLOURS[colour % len(_LOG_COLOURS)], f"{printable(line.names)} |")
    text = "\t".join(printable(part) for part in line.text.split("\t"))
    if pattern is not None and style.colour and (found := pattern.search(line.text)) and found[0]:
        at, end = found.span()
        if line.text.isprintable():  # else its places are not those of what is shown
            text = text[:at] + style.paint("bold", text[at:end]) + text[end:]
    return f"{names} {text}"


def moment_text(at: float | None) -> str:
    """The local time with its zone, to the millisecond: ``2026-11-21T22:37:41.123+01:00``; ``-`` is not known."""
    if at is None:
        return "-"
    from datetime import datetime

    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")
