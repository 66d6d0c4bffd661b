"""A TOML text <-> its values, the line on which each key stands, and the variables named in its strings.

The parser of the standard library says where a text is not TOML, but not where a key stands that is
TOML and still wrong. `Document.position` finds that line by walking over a text that was parsed before,
so it may trust its form.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping

from multi.errors import ConfigError
from multi.text import nearest, quoted
from multi.value import dataclass

_DEEPEST = 8  # no key that means something lies deeper
_BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a key stands: its line, from 1, and its value as it was written (empty for a table)."""

    line: int
    written: str


@dataclass(frozen=True, slots=True)
class Document:
    """One TOML file. `values` is what the parser made of `text`; nobody may change it."""

    path: str
    text: str
    values: dict[str, object]

    def position(self, keys: tuple[str, ...]) -> Position | None:
        """Where the key or table `keys` stands; None when the text does not hold it."""
        return positions(self.text).get(keys)

    def where(self, keys: tuple[str, ...], shown: tuple[str, ...] | None = None) -> str:
        """``multi.toml:12: defaults.umask``: the first field of an error about `keys`.

        The line is that of the nearest table around a key which has none of its own. `shown` is what
        the user is told when it differs from `keys`.
        """
        found = positions(self.text)
        line = 1
        for length in range(len(keys), 0, -1):
            position = found.get(keys[:length])
            if position is not None:
                line = position.line
                break
        return f"{self.path}:{line}: {dotted(keys if shown is None else shown)}"

    def error(self, keys: tuple[str, ...], why: str, hint: str = "") -> ConfigError:
        """Build the error that says what is wrong with the value at `keys`."""
        return ConfigError(self.where(keys), why, hint)

    def unknown(self, keys: tuple[str, ...], known: Iterable[str], what: str) -> ConfigError:
        """Build the error for a key that means nothing here, naming the nearest of `known`."""
        return self.error(keys, f"{quoted(keys[-1])} is not {what}", nearest(keys[-1], known))


def dotted(keys: tuple[str, ...]) -> str:
    """A key path as TOML writes it: ``nodes."w1@host".umask``."""
    return ".".join(key if key and _BARE.issuperset(key) else '"' + key.replace('"', '\\"') + '"' for key in keys)


def read(text: bytes | str, path: str) -> Document:
    """TOML -> `Document`.

    A UTF-8 byte order mark, which some editors write, is skipped. Raises `ConfigError` with file and
    line for bytes that are not UTF-8 and for a text that is not TOML (toml.io, v1.0.0).
    """
    loads = _loads()
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}:{line}", "is not UTF-8 text", "save the file as UTF-8") from None
    text = text.removeprefix("\ufeff")
    try:
        values = loads(text)
    except RecursionError:
        raise ConfigError(path, "is nested too deeply", "write it with fewer brackets") from None
    except ValueError as error:
        raise _not_toml(path, text, str(error)) from None
    return Document(path, text.replace("\r\n", "\n"), values)


def _not_toml(path: str, text: str, message: str) -> ConfigError:
    """Turn ``Expected '=' (at line 3, column 5)`` into file, line and reason."""
    why, _, position = message.rpartition(" (at ")
    if not why:
        why, position = message, ""
    number = position.removeprefix("line ").partition(",")[0]
    if position.startswith("end of document"):
        number = str(text.count("\n") + 1)
    word = f"{path}:{number}" if number.isdigit() else path
    return ConfigError(word, f"is not TOML: {why[:1].lower()}{why[1:]}", "strings need quotes; see toml.io")


def _loads() -> Callable[[str], dict[str, object]]:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """``${NAME}`` and ``${NAME:-default}`` -> the variable's value, ``$$`` -> ``$``.

    The default is taken when the variable is unset or empty, as in the shell; it is plain text up to
    the first ``}``. Any other ``$`` stays, so that a regular expression may end in one. Raises
    `ConfigError` for a variable that is unset and has no default, and for a ``${`` without ``}``.
    """
    parts: list[str] = []
    rest = text
    while True:
        before, dollar, after = rest.partition("$")
        parts.append(before)
        if not dollar:
            return "".join(parts)
        if after.startswith("$"):
            parts.append("$")
            rest = after[1:]
        elif after.startswith("{"):
            inside, end, rest = after[1:].partition("}")
            if not end:
                raise ConfigError(quoted("$" + after), "has no closing }", "write $$ for a plain dollar sign")
            parts.append(_variable(inside, environ))
        else:
            parts.append("$")
            rest = after


def _variable(inside: str, environ: Mapping[str, str]) -> str:
    name, has_default, default = inside.partition(":-")
    if not name.isascii() or not name.isidentifier():
        shown = quoted("${" + inside + "}")
        raise ConfigError(shown, "does not name a variable", "write ${NAME} or ${NAME:-default}, and $$ for a dollar")
    value = environ.get(name)
    if has_default:
        return value or default
    if value is None:
        raise ConfigError(f"${{{name}}}", "is not set in the environment", f"set it, or write ${{{name}:-default}}")
    return value


def positions(text: str) -> dict[tuple[str, ...], Position]:
    """Every key and table of a valid TOML text -> where it stands first.

    Keys of inline tables are included, what lies inside arrays is not. An array of tables counts as
    one table. A path ends after eight keys.
    """
    walk = _Walk(text)
    with contextlib.suppress(RecursionError):  # nested nearly too deep for the parser: what was found so far
        walk.run()
    return walk.found


class _Walk:
    """One pass over a text, position by position."""

    __slots__ = ("at", "found", "newlines", "text")

    def __init__(self, text: str) -> None:
        self.text = text + "\n"  # so that every token has an end
        self.at = 0
        self.found: dict[tuple[str, ...], Position] = {}
        self.newlines = [position for position, char in enumerate(text) if char == "\n"]

    def run(self) -> None:
        table: tuple[str, ...] = ()
        while self._next(" \t\r\n"):
            start = self.at
            if self.text[self.at] == "[":
                self._skip("[")
                table = self._key()
                self._keep((), table, start, "")
                self._skip(" \t]")
            else:
                self._pair(table)

    def _pair(self, table: tuple[str, ...] | None) -> None:
        """``key = value``; `table` is None inside an array, where keys have no path of their own."""
        start = self.at
        key = self._key()
        self._skip(" \t=")
        value = self.at
        self._value(None if table is None else table + key)
        if table is not None:
            self._keep(table, key, start, self.text[value : self.at].strip())

    def _keep(self, table: tuple[str, ...], key: tuple[str, ...], start: int, written: str) -> None:
        line = bisect_right(self.newlines, start - 1) + 1
        path = (table + key)[:_DEEPEST]
        for length in range(min(len(table), _DEEPEST) + 1, len(path)):
            self.found.setdefault(path[:length], Position(line, ""))
        self.found.setdefault(path, Position(line, written if len(table) + len(key) == len(path) else ""))

    def _key(self) -> tuple[str, ...]:
        """A bare, quoted or dotted key, up to what comes after it."""
        parts: list[str] = []
        while True:
            self._skip(" \t")
            start = self.at
            if self.text[self.at] in "\"'":
                self._string()
                parts.append(str(_loads()("key = " + self.text[start : self.at])["key"]))
            else:
                while self.text[self.at] in _BARE:
                    self.at += 1
                parts.append(self.text[start : self.at])
            self._skip(" \t")
            if self.text[self.at] != ".":
                return tuple(parts)
            self.at += 1

    def _value(self, path: tuple[str, ...] | None) -> None:
        first = self.text[self.at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._items("]", None)
        elif first == "{":
            self._items("}", path)
        else:
            while self.text[self.at] not in ",]}#\r\n":
                self.at += 1

    def _items(self, end: str, path: tuple[str, ...] | None) -> None:
        """What lies between brackets; `path` is that of an inline table."""
        self.at += 1
        while self._next(" \t\r\n,"):
            if self.text[self.at] == end:
                self.at += 1
                return
            if end == "]":
                self._value(None)
            else:
                self._pair(path)

    def _string(self) -> None:
        quote = self.text[self.at]
        fence = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(fence)
        while not self.text.startswith(fence, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(fence)
        if len(fence) > 1:  # up to two quotes may stand before the fence: they belong to the text
            self._skip(quote)

    def _next(self, blank: str) -> bool:
        """Go to the next token, over `blank` and comments; False at the end."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                self.at = self.text.index("\n", self.at)
            elif self.text[self.at] not in blank:
                return True
            else:
                self.at += 1
        return False

    def _skip(self, chars: str) -> None:
        while self.text[self.at] in chars:
            self.at += 1
