"""INI files as supervisord and circus read them. Pure."""

from __future__ import annotations

from configparser import Error, RawConfigParser

from multi.errors import ConfigError
from multi.importing.form import refuse_noncharacters
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Cased(RawConfigParser):
    """Keys are as they are written: they may be names of variables."""

    def optionxform(self, optionstr: str) -> str:
        """The key."""
        return optionstr


def sections(text: str, path: str, comments: tuple[str, ...] = (";", "#")) -> dict[str, Mapping[str, str]]:
    """Section -> its values; `comments` are the characters that begin one behind a blank. Raises `ConfigError`."""
    refuse_noncharacters(text, path)
    parser = _Cased(inline_comment_prefixes=comments, strict=False, delimiters=("=", ":"))
    try:
        parser.read_string(text)
    except Error as error:
        raise ConfigError(path, " ".join(str(error).split()), "it is no INI file") from None
    return {name: {key: value or "" for key, value in parser.items(name)} for name in parser.sections()}
