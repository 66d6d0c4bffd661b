"""Text for people: one function for each thing that several modules show. Pure, and cheap to import."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def printable(text: str) -> str:
    r"""`text` on one line and harmless to a terminal.

    Log lines, paths and the contents of pidfiles come from others. Colour sequences are removed, a tab becomes four
    blanks, any other control character and any undecodable byte becomes ``\x1b`` or ``\udcff`` in letters.
    """
    if text.isprintable():
        return text
    if "\x1b[" in text:
        import re

        text = re.sub(r"\x1b\[[0-9;:]*[mK]", "", text)
    text = text.replace("\t", "    ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str, length: int = 60) -> str:
    """`text` between single quotes, cut to `length`."""
    return repr(text if len(text) <= length else text[: length - 3] + "...")


def plural(number: int, noun: str) -> str:
    """``1 node``, ``2 nodes``, ``3 processes``."""
    if number != 1:
        noun += "es" if noun.endswith("s") else "s"
    return f"{number} {noun}"


def nearest(word: str, known: Iterable[str]) -> str:
    """What to try instead of `word`: the nearest known word, or all of them."""
    import difflib

    words = list(known)
    close = difflib.get_close_matches(word[:100], words, n=1)
    close += [item for item in words if item.replace("-", "_").lower() == word.replace("-", "_").lower()]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"it can be {', '.join(words)}" if words else "leave it out"


def duration(seconds: float) -> str:
    """Two significant units at most: ``1.2s``, ``78s``, ``5m 20s``, ``3h 12m``, ``4d 5h``; infinity is ``forever``."""
    if not isfinite(seconds):
        return "forever"
    seconds = max(seconds, 0.0)
    if seconds < 9.95:  # noqa: PLR2004 -- from here on it would round to ten
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole >= _DAY:
        return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"
    if whole >= _HOUR:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    if whole >= 2 * _MINUTE:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    return f"{whole}s"


def seconds_text(seconds: float) -> str:
    """Seconds as a setting is written and read again: exact, and never with an exponent; infinity is ``forever``."""
    if seconds == inf:
        return "forever"
    text = repr(seconds)
    if "e" in text:
        from decimal import Decimal

        return f"{Decimal(text):f}"
    return text.removesuffix(".0")


def flag_values(value: object) -> tuple[str, ...]:
    """What a flag is given to mean `value`, a value as in TOML: one text, or one for each time that the flag stands."""
    match value:
        case None:
            return ()
        case dict():
            return tuple(f"{key}-" if item is False else f"{key}={item}" for key, item in value.items())
        case tuple():
            return tuple(map(str, value))
        case float():
            return (seconds_text(value),)
        case _:
            return (str(value),)


def seconds_in(text: str) -> float | None:
    """Plain decimal seconds, at most one point between digits: no sign, no exponent, no ``nan``. None for any other."""
    whole, point, fraction = text.partition(".")
    plain = text.isascii() and whole.isdigit() and (fraction.isdigit() or not point)
    return float(text) if plain and len(whole) <= 12 else None  # noqa: PLR2004 -- 30,000 years


def size(count: int) -> str:
    """Bytes in powers of 1,024: ``512B``, ``48.0M``, ``1.2G``."""
    amount = float(count)
    for unit in ("B", "K", "M", "G"):
        if amount < 1023.95:  # noqa: PLR2004 -- from here on it would round to the next unit
            return f"{count}B" if unit == "B" else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:.1f}T"
