"""When a line was written, by the line itself. Pure but for the time zone of this process.

Known are ISO 8601 (``2026-11-21T22:37:41.123Z``, with a blank or slashes too, and in brackets, as Celery, Dramatiq,
huey and Gunicorn write it) and syslog's ``Nov 21 22:37:41``. A time of day without a date says too little.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_ISO = re.compile(
    rb"\[?(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?: ?(Z|[+-]\d\d:?\d\d))?(?!\d)"
)
_SYSLOG = re.compile(rb"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)(?!\d)")
_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_DAY = 86400
_LONGEST = 64  # bytes in which a time may stand


class Times:
    """Reads the times of lines; many lines are of the same minute."""

    def __init__(self, now: float) -> None:
        """`now` tells the year of a line of syslog: it is not of the future."""
        self._now = now
        self._minute: tuple[tuple[int, ...], bytes | None, float] = ((), None, 0.0)

    def of(self, line: bytes) -> float | None:
        """Seconds of the epoch, None for a line that does not begin with a time."""
        begin = line[:_LONGEST].lstrip(b"\0")
        try:
            if found := _ISO.match(begin):
                *date, second, fraction, zone = found.groups()
                whole = self._begin(tuple(map(int, date)), zone)
                return whole + int(second) + (float(b"0." + fraction) if fraction else 0.0)
            if found := _SYSLOG.match(begin):
                return self._of_syslog(*found.groups())
        except (ValueError, OverflowError, KeyError):
            return None  # the 99th of a month
        return None

    def _begin(self, minute: tuple[int, ...], zone: bytes | None) -> float:
        """When a minute begins: local time where the line has no zone."""
        if (minute, zone) != self._minute[:2]:
            year, month, day, hour, number = minute
            then = datetime(year, month, day, hour, number, tzinfo=_zone(zone))
            self._minute = minute, zone, then.timestamp()
        return self._minute[2]

    def _of_syslog(self, month: bytes, day: bytes, hour: bytes, minute: bytes, second: bytes) -> float:
        year = datetime.fromtimestamp(self._now).year  # noqa: DTZ006 -- syslog writes the local time
        rest = _MONTHS[month], int(day), int(hour), int(minute)
        try:
            at = self._begin((year, *rest), None) + int(second)
        except ValueError:  # the 29th of February, of another year
            return self._begin((year - 1, *rest), None) + int(second)
        return at if at <= self._now + _DAY else self._begin((year - 1, *rest), None) + int(second)


def _zone(text: bytes | None) -> timezone | None:
    if text is None:
        return None
    if text == b"Z":
        return timezone.utc
    digits = text[1:].replace(b":", b"")
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-ahead if text[:1] == b"-" else ahead)
