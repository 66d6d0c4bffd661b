"""INI files as supervisord and circus read them. Pure."""

from __future__ import annotations

from configparser import ParsingError, RawConfigParser

from multi.errors import ConfigError
from multi.importing.form import refuse_noncharacters
from multi.text import quoted
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def sections(text: str, path: str, comments: tuple[str, ...] = (";", "#")) -> dict[str, Mapping[str, str]]:
    """Section -> its values; `comments` are the characters that begin one behind a blank. Raises `ConfigError`."""
    refuse_noncharacters(text, path)
    parser = RawConfigParser(inline_comment_prefixes=comments, strict=False, delimiters=("=", ":"))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # a key may be the name of a variable
    try:
        parser.read_string(text)
    except ParsingError as error:
        number: int = getattr(error, "lineno", 0) or error.errors[0][0]
        why = f"{quoted(text.split(chr(10))[number - 1].strip())} is no line of an INI file"
        raise ConfigError(f"{path}:{number}", why, "write KEY = VALUE below a [section]") from None
    return {name: {key: value or "" for key, value in parser.items(name)} for name in parser.sections()}
