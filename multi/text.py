"""Text for people: one function for each thing that several modules show. Pure, and cheap to import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, isfinite

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONGEST = 100  # letters of a word that may be a misspelling


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


def listed(words: Sequence[str], most: int = 5) -> str:
    """``a, b and c``, or ``a, b, c and 7 more``."""
    shown = [*words[:most], *([f"{len(words) - most} more"] if len(words) > most else [])]
    return " and ".join((", ".join(shown[:-1]), shown[-1])) if len(shown) > 1 else "".join(shown)


def some(words: Sequence[str], most: int = 10) -> str:
    """``a b c``, or ``a b ...``: as many names as still help in one line."""
    return " ".join(words[:most]) + (" ..." if len(words) > most else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """What to try instead of `word`: the one that begins so, or the nearest known word, or all of them."""
    words, plain = list(known), _plain(word)
    begun = [one for one in words if plain and _plain(one).startswith(plain)]
    close = begun if len(begun) == 1 else near_misses(word, words)
    if not close:
        import difflib

        close = difflib.get_close_matches(word[:_LONGEST], words, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"it can be {', '.join(words)}" if words else "leave it out"


def near_misses(word: str, known: Iterable[str]) -> list[str]:
    """Those of `known` that `word` may be a misspelling of, the nearest first (G13).

    Near is one edit for what has up to five letters and two for what has more; two neighbours that changed places are
    one. Capitals, dashes in front, and `_` for `-` are no edit. Near, too, is what begins with the three letters or
    more of `word`.
    """
    plain = _plain(word)
    if len(plain) > _LONGEST:
        return []
    found: list[tuple[int, str]] = []
    for one in known:
        other = _plain(one)
        most = 1 if len(other) <= 5 else 2  # noqa: PLR2004 -- letters; see above
        edits = _edits(plain, other, most)
        if edits <= most:
            found.append((edits, one))
        elif len(plain) > 2 and other.startswith(plain):  # noqa: PLR2004 -- three letters
            found.append((most + 1, one))
    return [one for _, one in sorted(found, key=lambda each: each[0])]


def _plain(word: str) -> str:
    return word.lstrip("-").replace("_", "-").lower()


def _edits(one: str, other: str, most: int) -> int:
    """Letters added, left out, replaced or swapped with a neighbour (optimal string alignment), up to `most` + 1."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        here = [row]
        for column, wanted in enumerate(other, start=1):
            edits = min(above[column] + 1, here[-1] + 1, above[column - 1] + (letter != wanted))
            if before and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                edits = min(edits, before[column - 2] + 1)
            here.append(edits)
        before, above = above, here
    return min(above[-1], most + 1)


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


def exact_size(count: int, units: tuple[str, ...] = ("", "K", "M", "G")) -> str:
    """Bytes in the greatest unit that says them exactly: ``512M``, ``1025``."""
    for unit in units[:-1]:
        if count % 1024:
            return f"{count}{unit}"
        count //= 1024
    return f"{count}{units[-1]}"


def size(count: int) -> str:
    """Bytes in powers of 1,024: ``512B``, ``48.0M``, ``1.2G``."""
    amount = float(count)
    for unit in ("B", "K", "M", "G"):
        if amount < 1023.95:  # noqa: PLR2004 -- from here on it would round to the next unit
            return f"{count}B" if unit == "B" else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:.1f}T"
