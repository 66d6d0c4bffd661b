"""A TOML text -> its values, the line on which each key stands, and the variables named in its strings.

The parser of the standard library says where a text is not TOML, but not where a key stands that is TOML and still
wrong. That line is found by parsing a valid text again, statement by statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from multi.errors import ConfigError
from multi.text import nearest, quoted
from multi.value import dataclass

_DEEPEST = 8  # no key that means something lies deeper
_BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_ENDS = ("]", "}", '"""', "'''")  # what ends a value of several lines


@dataclass(frozen=True, slots=True)
class Statement:
    """A header, or a key with its value: its first line, from 1, and its text."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """One TOML file. `values` is what the parser made of `text`; nobody may change it."""

    path: str
    text: str
    values: dict[str, object]

    def says_in_octal(self, keys: tuple[str, ...], value: int) -> bool:
        """Whether `value`, which stands at `keys`, is written there as ``0o22``."""
        if "0o" not in self.text:
            return False
        import re

        statement = statements(self.text).get(keys)
        return statement is not None and value in {
            int(digits, 8) for digits in re.findall(r"\b0o([0-7][0-7_]*)", statement.text)
        }

    def error(self, keys: tuple[str, ...], why: str, hint: str = "") -> ConfigError:
        """Build the error about the value at `keys`: ``multi.toml:12: defaults.umask: WHY; HINT``.

        The line is that of the nearest table around a key which has none of its own.
        """
        found = statements(self.text)
        lines = (found[keys[:length]].line for length in range(len(keys), 0, -1) if keys[:length] in found)
        return ConfigError(f"{self.path}:{next(lines, 1)}: {dotted(keys)}", why, hint)

    def unknown(self, keys: tuple[str, ...], known: Iterable[str], what: str) -> ConfigError:
        """Build the error for a key that means nothing here, naming the nearest of `known`."""
        return self.error(keys, f"{quoted(keys[-1])} is not {what}", nearest(keys[-1], known))

    def string(self, keys: tuple[str, ...], value: object) -> str:
        """`value`, which stands at `keys`, where it must be a string. Raises `ConfigError`."""
        if not isinstance(value, str):
            raise self.error(keys, "is not a string", "put it in quotes")
        return value

    def strings(self, keys: tuple[str, ...], value: object, like: str) -> tuple[str, ...]:
        """The same for an array of strings; `like` is an example."""
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(keys, "is not an array of strings", f"write it like {like}")
        return tuple(value)

    def table(self, keys: tuple[str, ...], value: object) -> dict[str, object]:
        """The same for a table."""
        if not isinstance(value, dict):
            raise self.error(keys, "is not a table", f"write it under a line [{dotted(keys)}]")
        return value


def dotted(keys: tuple[str, ...]) -> str:
    """A key path as TOML writes it: ``nodes."w1@host".umask``."""
    return ".".join(key if key and _BARE.issuperset(key) else '"' + key.replace('"', '\\"') + '"' for key in keys)


def read(text: bytes | str, path: str) -> Document:
    """TOML (toml.io, v1.0.0), after a byte order mark or not -> `Document`. Raises `ConfigError` with file and line."""
    if isinstance(text, bytes):
        text = decoded(text, path)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    try:
        values = _loads()(text)
    except RecursionError:
        raise ConfigError(path, "is nested too deeply", "write it with fewer brackets") from None
    except ValueError as error:
        raise _not_toml(path, text, str(error)) from None
    return Document(path, text, values)


def decoded(data: bytes, path: str) -> str:
    """Bytes -> text. Raises `ConfigError` with file and line for bytes that are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}", "is not UTF-8 text", "save the file as UTF-8") from None


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

    The default, plain text up to the first ``}``, is taken when the variable is unset or empty, as in the shell. Any
    other ``$`` stays, so that a regular expression may end in one. Raises `ConfigError`.
    """
    import re

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if not found["end"]:
            raise ConfigError(quoted(found[0]), "has no closing }", "write $$ for a plain dollar sign")
        return _variable(found["inside"], environ)

    return re.sub(r"\$(\$|\{(?P<inside>[^}]*)(?P<end>\}?))", value, text)


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


def statements(text: str) -> dict[tuple[str, ...], Statement]:
    """Every key and table of a valid TOML text -> the statement that says it first.

    Keys of inline tables are included, what lies inside arrays is not. An array of tables counts as
    one table. A path ends after eight keys.
    """
    loads = _loads()
    found: dict[tuple[str, ...], Statement] = {}
    table: tuple[str, ...] = ()
    first, written = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        begun = bool(written)
        written += line + "\n"
        if begun and not any(end in line for end in _ENDS):
            continue
        try:
            values = loads(written)
        except ValueError:  # it goes on in the next line
            continue
        except RecursionError:  # nested nearly too deep for the parser: what was found so far
            break
        paths = list(_paths(values))
        if written.lstrip().startswith("["):
            table = paths[-1]
        else:
            paths = [table + path for path in paths]
        for path in paths:
            if len(path) <= _DEEPEST:
                found.setdefault(path, Statement(first, written))
        first, written = number + 1, ""
    return found


def _paths(values: Mapping[str, object], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        path = (*above, key)
        yield path
        if isinstance(value, dict) and len(path) < _DEEPEST:
            yield from _paths(value, path)
