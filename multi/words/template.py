"""``%n %h %d %i %I %%`` in a string become text.

The codes are those of ``celery multi``. Celery's worker replaces ``%i`` and ``%I`` by the number of a pool process, so
they are kept in what it gets, and filled in as for its main process in a path that `multi` opens itself.
"""

from __future__ import annotations

from multi.errors import UsageError
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_KNOWN = "known are %n (short name), %h (full name), %d (host), %i, %I and %% (a percent sign)"
# Stand-ins while a path is being made. No path and no word holds a NUL, so they cannot be mistaken for text.
_PERCENT, _INDEX, _DASHED_INDEX = "\0p", "\0i", "\0I"


def expand(text: str, name: str, where: str = "") -> str:
    """Fill in the codes of the node with the full name `name`; ``%i`` and ``%I`` stay as they are for the worker.

    `where` names the option in the `UsageError` that an unknown ``%x`` raises. A ``%`` before anything but a letter, a
    digit, ``_`` or ``%`` is just itself.
    """
    return _fill(text, _codes(name, "%i", "%I"), where)


def path(text: str, name: str, where: str = "") -> str:
    """Fill in the codes of a pidfile's or log's path; `opened` and `handed` finish it.

    Such a path is filled in twice, because with ``celery multi`` the worker fills it in a second time. So ``%%n``, as
    people copy it from systemd units, is the name and not ``%n``.
    """
    codes = _codes(name.replace("%", _PERCENT), _INDEX, _DASHED_INDEX)
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


def _codes(name: str, index: str, dashed: str) -> Mapping[str, str]:
    short, _, host = name.partition("@")
    # %N is the short name too: celery multi knows it, though no page says so.
    return {"n": short, "N": short, "h": name, "p": name, "d": host, "i": index, "I": dashed, "%": "%"}


def _fill(text: str, codes: Mapping[str, str], where: str) -> str:
    parts: list[str] = []
    rest = text
    while rest:
        before, filled, rest = rest.partition("%")
        code = rest[:1]
        if code.isalnum() or code in {"_", "%"}:
            if code not in codes:
                raise UsageError(where or text, f"%{code} in {text!r} means nothing", _KNOWN)
            filled, rest = codes[code], rest[1:]
        parts += [before, filled]
    return "".join(parts)
