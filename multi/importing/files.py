"""The files that are imported, read through the machine, and what is made of them: checked as multi.toml is read."""

from __future__ import annotations

import posixpath

from multi.errors import ConfigError, UsageError
from multi.importing import Source, toml_of
from multi.settings.config import parse_config
from multi.settings.toml import decoded
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.machine import LocalHost

_LIMIT = 1 << 22  # bytes: far above what people write


class _Any(dict[str, str]):
    """An environment that has every variable: what they are is nobody's business here."""

    def get(self, key: str, default: object = None) -> str:  # noqa: ARG002 -- there is no default
        return "x"


def read(paths: Sequence[str], form: str | None, local: LocalHost) -> str:
    """The text of one multi.toml for all of them. Raises `MultiError`."""
    here = local.surroundings()
    text = toml_of([_source(posixpath.join(here.cwd, path), path, local) for path in paths], form, here.hostname)
    try:
        parse_config(text, "", _Any(), local.load)
    except ConfigError as error:  # whose line is one of a text that nobody sees
        where = error.word.lstrip(":0123456789 ")
        raise ConfigError(f"{', '.join(paths)}: {where}".removesuffix(": "), error.why, error.hint) from None
    return text


def _source(whole: str, path: str, local: LocalHost) -> Source:
    home = posixpath.dirname(whole)

    def beside(name: str) -> str | None:
        path = posixpath.join(home, name)
        try:
            return _text(path, local.peek)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ConfigError(path, f"cannot be read: {error.strerror or error}", "make it readable") from None

    def matching(pattern: str) -> list[Source]:
        found = sorted(local.find(posixpath.join(home, pattern)))
        return [_source(each, each, local) for each in found if each != whole and local.kind(each) != "directory"]

    try:
        text = _text(whole, local.peek)
    except OSError as error:
        hint = "make it readable" if isinstance(error, PermissionError) else "name the file of a configuration"
        raise UsageError(path, f"cannot be read: {error.strerror or error}", hint) from None
    return Source(path, text, home, beside, matching)


def _text(path: str, load: Callable[[str], bytes]) -> str:
    data = load(path)
    if len(data) > _LIMIT:
        raise ConfigError(path, f"is {len(data)} bytes long", "name the file of a configuration")
    return decoded(data, path)
