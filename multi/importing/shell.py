"""Assignments of a shell file that is sourced, as /etc/default/celeryd. Pure; no shell is run."""

from __future__ import annotations

import re
import shlex

from multi.errors import ConfigError
from multi.importing.form import variable
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LINE = re.compile(r"\s*(export\s+)?([A-Za-z_]\w*)=(.*)", re.DOTALL)
_REFERENCE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")


@dataclass(frozen=True, slots=True)
class Assigned:
    """The variables, those that are exported, and the lines that do something else."""

    values: Mapping[str, str]
    exported: frozenset[str]
    others: tuple[str, ...]


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that end where neither a backslash nor an open quote goes on, with the number where each begins."""
    pending, first, begins = "", 1, True
    for number, line in enumerate(text.splitlines(), start=1):
        first = number if begins else first
        goes_on = line.endswith("\\")
        pending += f"{line[:-1]} " if goes_on else line
        try:
            shlex.split(pending, comments=True)
        except ValueError:
            pending, begins = pending if goes_on else f"{pending}\n", False
            continue
        begins = not goes_on
        if begins:
            yield first, pending
            pending = ""
    if pending:
        yield first, pending.removesuffix("\n")


def assigned(text: str, path: str) -> Assigned:
    """What the file sets. Raises `ConfigError` where a value is made by a command."""
    values: dict[str, str] = {}
    exported: set[str] = set()
    others: list[str] = []
    for number, line in logical_lines(text):
        found = _LINE.fullmatch(line)
        if found is None:
            words = line.split()
            if words[:1] == ["export"] and all(re.fullmatch(r"\w+", word) for word in words[1:]):
                exported.update(words[1:])
            elif words and not line.lstrip().startswith("#"):
                others.append(line.strip())
            continue
        name, raw = found[2], found[3]
        if "`" in raw or "$(" in raw:
            raise ConfigError(
                path, f"{name} is made by a command, which is not run here", "write its value there first"
            )
        try:
            values[name] = _value(raw, values)
        except ValueError as error:
            raise ConfigError(f"{path}:{number}", f"{name}: {error}", "close the quote") from None
        if found[1]:
            exported.add(name)
    return Assigned(values, frozenset(exported), tuple(others))


def filled(raw: str, values: Mapping[str, str]) -> str:
    """A line with the variables before it; one that the file does not set is one of the environment."""
    quoted: list[str] = []

    def keep(found: re.Match[str]) -> str:
        quoted.append(found[0])
        return f"\ufdd3{len(quoted) - 1}\ufdd3"

    def reference(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        if found[2] is not None and not values.get(name):
            return found[2]
        return values[name] if name in values else variable(name)

    text = _REFERENCE.sub(reference, re.sub(r"'[^']*'(?=[^\"]*(?:\"[^\"]*\"[^\"]*)*$)", keep, raw))
    return re.sub("\ufdd3(\\d+)\ufdd3", lambda found: quoted[int(found[1])], text)


def _value(raw: str, values: Mapping[str, str]) -> str:
    text = filled(raw, values)
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    return next(iter(lexer), "")
