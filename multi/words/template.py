"""``%n %h %d %i %I %%`` in a string become text.

The codes are those of ``celery multi``. A worker may know some of them too: Celery's own worker
replaces ``%i`` and ``%I`` by the number of a pool process, so they are kept in what it gets, and
filled in as for its main process in a path that `multi` opens itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KNOWN = "known are %n (short name), %h (full name), %d (host), %i, %I and %% (a percent sign)"
# Stand-ins while a path is being made. No path and no word holds a NUL, so they cannot be mistaken for text.
_PERCENT, _INDEX, _DASHED_INDEX = "\0p", "\0i", "\0I"


def expand(text: str, *, name: str, short: str, host: str, for_path: bool = False, where: str = "") -> str:  # noqa: PLR0913 -- the codes of a node, each by its name
    """Fill in the codes of one node: full name `name`, `short` name and `host`.

    ``%i`` and ``%I`` stay as they are for the worker; with `for_path` they become ``0`` and nothing.
    `where` names the option in the `UsageError` that an unknown ``%x`` raises. A ``%`` before
    anything but a letter, a digit, ``_`` or ``%`` is just itself.
    """
    index, dashed = ("0", "") if for_path else ("%i", "%I")
    return _fill(text, _codes(name, short, host, index, dashed), where)


def path(text: str, *, name: str, short: str, host: str, where: str = "") -> str:
    """Fill in the codes of a pidfile's or log's path; `opened` and `handed` finish it.

    Such a path is filled in twice, because with ``celery multi`` the worker fills it in a second
    time. So ``%%n``, as people copy it from systemd units, is the name and not ``%n``.
    """
    name, short, host = (part.replace("%", _PERCENT) for part in (name, short, host))
    codes = _codes(name, short, host, _INDEX, _DASHED_INDEX)
    return _fill(_fill(text, codes, where), codes, where)


def opened(made: str) -> str:
    """The path that `multi` itself opens, from the result of `path`."""
    return made.replace(_INDEX, "0").replace(_DASHED_INDEX, "").replace(_PERCENT, "%")


def handed(made: str) -> str:
    """The same path as a template for a worker that fills in codes itself: only ``%i`` and ``%I`` are left for it."""
    text = made.replace(_PERCENT, "%").replace("%", "%%")
    return text.replace(_INDEX, "%i").replace(_DASHED_INDEX, "%I")


def literal(text: str) -> str:
    """`text` as a template that says exactly `text`."""
    return text.replace("%", "%%")


def literal_path(text: str) -> str:
    """`text` as a template that says exactly `text` to `path`, which fills in twice."""
    return literal(literal(text))


def _codes(name: str, short: str, host: str, index: str, dashed: str) -> Mapping[str, str]:
    # %N is the short name too: celery multi knows it, though no page says so.
    return {"n": short, "N": short, "h": name, "p": name, "d": host, "i": index, "I": dashed, "%": "%"}


def _is_code(character: str) -> bool:
    return character.isalnum() or character in "_%"


def _fill(text: str, codes: Mapping[str, str], where: str) -> str:
    position = text.find("%")
    if position < 0:
        return text
    parts: list[str] = []
    start = 0
    while 0 <= position < len(text) - 1:
        code = text[position + 1]
        if _is_code(code):
            value = codes.get(code)
            if value is None:
                raise UsageError(where or text, f"%{code} in {text!r} means nothing", f"{_KNOWN}")
            parts += [text[start:position], value]
            start = position + 2
            position += 1
        position = text.find("%", position + 1)
    parts.append(text[start:])
    return "".join(parts)
