"""Text and TOML values -> typed values, or an error that says what is wrong; and back to TOML.

Nothing after this module sees an unchecked value. What a kind of setting accepts is one function here and one row of
`_READERS`; a kind whose typed value is not what TOML says has a row in `_WRITERS` too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigError, MultiError, UsageError
from multi.model import proof, schedule
from multi.model.node import Ready
from multi.settings.table import Setting
from multi.text import nearest, quoted, seconds_in

if TYPE_CHECKING:
    from multi.settings.toml import Document

UNLIMITED = -1
_FOR_A_SHELL = frozenset("&;|<>=")  # a command without them needs a shell only for a builtin
_BUILTINS = frozenset({"cd", "source", ".", "export", "exec", "ulimit", "eval"})
_LONGEST = 1e9  # seconds; 30 years, and no clock of any system overflows
_LAST_ID = 2**32 - 2  # (uid_t)-1 means "do not change" to setresuid(2)
_LAST_LIMIT = 2**63 - 1  # what every rlim_t can hold
_RESERVED = "MULTI_INSTANCE"  # the names that carry the instance token
# The names of getrlimit(2) on Linux, macOS and the BSDs, without RLIMIT_.
# fmt: off
LIMITS = (
    "AS", "CORE", "CPU", "DATA", "FSIZE", "KQUEUES", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE",
    "NPROC", "NPTS", "RSS", "RTPRIO", "RTTIME", "SBSIZE", "SIGPENDING", "STACK", "SWAP", "VMEM",
)
# fmt: on
IN_BYTES = frozenset({"AS", "CORE", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "RSS", "SBSIZE", "STACK", "SWAP", "VMEM"})
_UNITS = {"K": 10, "M": 20, "G": 30}  # powers of two, as `size` in multi.text shows them


class _BadValueError(MultiError):
    """A value that the setting cannot have; where it stands is for the caller to say."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__("", why, hint)


def from_text(setting: Setting, text: str | None, where: str) -> object:
    """Read what stood on the command line or in the environment; of a repeatable setting, one item.

    `where` is how the user named it: ``--umask``, ``--umask:w1``, ``MULTI_UMASK``. Raises `UsageError`.
    """
    if text is None:
        raise UsageError(where, "needs a value", f"write {where}={setting.metavar}")
    try:
        return _READERS[setting.kind](setting, text)
    except _BadValueError as error:
        raise UsageError(where, error.why, error.hint) from None


def from_toml(setting: Setting, value: object, where: str) -> object:
    """Read a TOML value; a string as on the command line, so a variable may hold a number. Raises `ConfigError`."""
    try:
        return _READERS[setting.kind](setting, value)
    except _BadValueError as error:
        raise ConfigError(where, error.why, error.hint) from None


def from_document(setting: Setting, value: object, document: Document, keys: tuple[str, ...]) -> object:
    """As `from_toml`, for what stands at `keys` of a document; errors name its line. A mode may be ``0o022`` there."""
    if setting.kind == "mode" and isinstance(value, int) and document.says_in_octal(keys, value):
        value = f"0o{value:o}"
    at, read = keys, _READERS[setting.kind]
    try:
        if isinstance(value, dict):
            for key, item in value.items():  # one by one, so that an error has the line of the item
                at = (*keys, key)
                read(setting, {key: item})
            at = keys
        return read(setting, value)
    except _BadValueError as error:
        raise document.error(at, error.why, error.hint) from None


def to_toml(setting: Setting, value: object) -> object:
    """Say a typed value as TOML would; `from_toml` reads it back. JSON can hold it too."""
    write = _WRITERS.get(setting.kind)
    return value if write is None or value is None else write(value)


def merge(setting: Setting, lower: object, higher: object) -> object:
    """`higher` over `lower`: a repeatable setting adds up, paths one by one and others key by key."""
    if not setting.repeatable or not isinstance(lower, tuple) or not isinstance(higher, tuple):
        return higher
    if setting.kind == "paths":
        return (*lower, *higher)
    named = {item[0]: item for item in lower}
    named.update({item[0]: item for item in higher})
    return tuple(named.values())


def _typename(value: object) -> str:
    """What TOML calls a value of this type (toml.io, v1.0.0)."""
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(value), "a date or time")


def _string(_: Setting, value: object) -> str:
    if not isinstance(value, str):
        raise _BadValueError(f"is {_typename(value)}, not a string", "put it in quotes")
    if not value:
        raise _BadValueError("is empty", "leave it out for the default")
    return _checked(value)


def is_word(text: str) -> bool:
    """Whether it can be a word of a command line: no NUL, and no surrogate but those that stand for a byte."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _checked(text: str) -> str:
    if not is_word(text):
        what = "a NUL character" if "\0" in text else "half a character"
        raise _BadValueError(f"holds {what}", "no path, word or variable can hold one; take it out")
    return text


def split(text: str) -> tuple[str, ...]:
    """Shell-quoted words -> words. Raises `ValueError` for a quote that is not closed."""
    import shlex

    return tuple(shlex.split(text))


def _split(text: str) -> tuple[str, ...]:
    try:
        return split(_checked(text))
    except ValueError:
        raise _BadValueError(
            f"{quoted(text)} has a quote that is not closed", "close it, or put a backslash before it"
        ) from None


def _words(setting: Setting, value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        words = tuple(_word(item) for item in value)
    elif isinstance(value, str):
        words = _split(value)
        if setting.name == "cmd" and (not (_BUILTINS.isdisjoint(words[:1]) and _FOR_A_SHELL.isdisjoint(value))):
            from multi.settings import shell

            found = shell.mistake(value, _BUILTINS)
            if found is not None:
                raise _BadValueError(*found)
    else:
        raise _BadValueError(
            f"is {_typename(value)}, not a command", f"write a shell-quoted string, or an array like {setting.example}"
        )
    if setting.name == "cmd" and (not words or not words[0]):
        raise _BadValueError("names no program", "leave it out for the preset's command")
    return words


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise _BadValueError(f"holds {_typename(value)} where a string is needed", "put it in quotes")
    return _checked(value)


def _env(_: Setting, value: object) -> tuple[tuple[str, str | None], ...]:
    if isinstance(value, dict):
        return tuple((_variable(key), _env_value(key, item)) for key, item in value.items())
    if not isinstance(value, str):
        raise _BadValueError(f"is {_typename(value)}, not a table", 'write it like env = { KEY = "value" }')
    key, equals, text = value.partition("=")
    if equals:
        return ((_variable(key), _checked(text)),)
    if len(key) > 1 and key.endswith("-"):
        return ((_variable(key.removesuffix("-")), None),)
    raise _BadValueError(
        f"{quoted(value)} is not KEY=VALUE", "write KEY= for an empty value, or KEY- to take the variable away"
    )


def _env_value(key: str, value: object) -> str | None:
    if value is False:
        return None
    if not isinstance(value, str):
        raise _BadValueError(
            f"{quoted(key)} is {_typename(value)}, not a string",
            "put its value in quotes, or write false to take the variable away",
        )
    return _checked(value)


def _variable(key: str) -> str:
    if not key or "=" in key or not is_word(key):
        raise _BadValueError(f"{quoted(key)} cannot be the name of a variable", "write it like KEY=VALUE")
    if key.startswith(_RESERVED):
        raise _BadValueError(f"{key} belongs to multi, which marks a node's processes with it", "use another name")
    return key


def _paths(setting: Setting, value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(_string(setting, item) for item in items)


def _limits(_: Setting, value: object) -> tuple[tuple[str, int, int], ...]:
    if isinstance(value, dict):
        named = {_limit_name(key): _limit(key, item) for key, item in value.items()}
    elif isinstance(value, str):
        key, equals, text = value.partition("=")
        if not equals:
            raise _BadValueError(f"{quoted(value)} is not NAME=SOFT[:HARD]", "write it like NOFILE=1024:4096")
        named = {_limit_name(key): _limit(key, text)}
    else:
        raise _BadValueError(f"is {_typename(value)}, not a table", "write it like rlimit = { NOFILE = 4096 }")
    return tuple((name, soft, hard) for name, (soft, hard) in named.items())


def _limit_name(key: str) -> str:
    import resource

    name = key.upper().removeprefix("RLIMIT_")
    if name not in LIMITS or not hasattr(resource, f"RLIMIT_{name}"):
        known = [limit for limit in LIMITS if hasattr(resource, f"RLIMIT_{limit}")]
        raise _BadValueError(f"{quoted(key)} is not a resource limit of this system", nearest(name, known))
    return name


def _limit(key: str, value: object) -> tuple[int, int]:
    """Soft and hard limit; one number is both, as in ulimit(1)."""
    text = _as_text(value)
    if text is None:
        raise _BadValueError(f"{key} is {_typename(value)}, not a limit", "write it like NOFILE=1024:4096")
    soft_text, colon, hard_text = text.partition(":")
    soft = _limit_number(key, soft_text)
    hard = _limit_number(key, hard_text) if colon else soft
    if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
        raise _BadValueError(f"{key} has a soft limit above its hard limit", "write the smaller number first")
    return soft, hard


def _limit_number(key: str, text: str) -> int:
    if text in {"unlimited", "infinity"}:
        return UNLIMITED
    in_bytes = key.upper().removeprefix("RLIMIT_") in IN_BYTES
    unit = _UNITS.get(text[-1:].upper(), 0) if in_bytes else 0
    number = _whole(text[:-1] if unit else text)
    if number is None or number << unit > _LAST_LIMIT:
        what, like = ("size", "a size like 512M") if in_bytes else ("number", "a whole number from 0")
        raise _BadValueError(f"{key}: {quoted(text)} is not a {what}", f"write {like}, or unlimited")
    return number << unit


def _whole(text: str) -> int | None:
    """A plain decimal number without a sign; short enough for `int`."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None  # noqa: PLR2004 -- 64 bits


def _mode(_: Setting, value: object) -> int:
    hint = 'write it in octal, like "022"'
    if not isinstance(value, str):
        raise _BadValueError(f"is {_typename(value)}, which would be read as decimal", f"{hint} or 0o022")
    text = value.lower().removeprefix("0o")
    if not text or len(text) > 4 or not set(text) <= set("01234567") or int(text, 8) > 0o777:  # noqa: PLR2004 -- 0777
        raise _BadValueError(f"{quoted(value)} is not a file mode from 000 to 777", hint)
    return int(text, 8)


def _nice(_: Setting, value: object) -> int:
    text = _as_text(value) or ""
    size = _whole(text[1:] if text.startswith(("-", "+")) else text)
    number = -size if size is not None and text.startswith("-") else size
    if number is None or not -20 <= number <= 19:  # noqa: PLR2004 -- the range of setpriority(2)
        raise _BadValueError(f"{_shown(value)} is not a niceness", "write a whole number from -20 to 19")
    return number


def _shown(value: object) -> str:
    text = _as_text(value)
    return _typename(value) if text is None else quoted(text)


def _as_text(value: object) -> str | None:
    """A string or number as text; None for any other type, and for an integer of more than 64 bits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int) and value.bit_length() > 64:  # noqa: PLR2004 -- str() refuses the very long ones
        return None
    return str(value)


def _seconds(_: Setting, value: object) -> float:
    number = seconds_in(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= _LONGEST:  # or nan
        raise _BadValueError(f"{_shown(value)} is not a number of seconds", "write a number from 0, like 60 or 0.5")
    return float(number)


def _user(_: Setting, value: object) -> str:
    text = _as_text(value)
    if text is None:
        raise _BadValueError(f"is {_typename(value)}, not a name or number", "write a name in quotes, or a number")
    if (_whole(text) or 0) > _LAST_ID:
        raise _BadValueError(f"{quoted(text)} is not a user or group number", f"numbers end at {_LAST_ID}")
    if not text or text.startswith("-") or not text.isprintable() or set(text) & set(":/ ,"):
        raise _BadValueError(f"{quoted(text)} is not a user or group", "write one name or one number")
    return text


def _signal(_: Setting, value: object) -> int:
    text = _as_text(value)
    found = None if text is None or text.startswith("-") else schedule.find_signal(text)
    if not found:
        raise _BadValueError(f"{_shown(value)} is not a signal of this system", "write it like HUP or 1")
    return found


def _schedule(_: Setting, value: object) -> schedule.Schedule:
    text = _as_text(value)
    if text is None:
        raise _BadValueError(f"is {_typename(value)}, not a stop schedule", 'write it like "TERM/90/KILL/5"')
    try:
        return schedule.parse(text)
    except MultiError as error:
        raise _BadValueError(f"{quoted(text)} {error.why}", error.hint) from None


def _choice(setting: Setting, value: object) -> str:
    if not isinstance(value, str) or value not in setting.choices:
        word = value if isinstance(value, str) else ""
        raise _BadValueError(
            f"{_shown(value)} is not a {setting.metavar.lower()}", nearest(word.lower(), setting.choices)
        )
    return value


def _ready(_: Setting, value: object) -> Ready:
    if not isinstance(value, str):
        raise _BadValueError(f"is {_typename(value)}, not a proof of readiness", proof.SUGGESTION)
    try:
        return Ready(*proof.parse(_checked(value)))
    except MultiError as error:
        raise _BadValueError(error.why, error.hint) from None


def _limit_text(number: int) -> str:
    return "unlimited" if number == UNLIMITED else str(number)


_READERS: Mapping[str, Callable[[Setting, object], object]] = {
    "choice": _choice,
    "env": _env,
    "limits": _limits,
    "mode": _mode,
    "nice": _nice,
    "path": _string,
    "paths": _paths,
    "ready": _ready,
    "schedule": _schedule,
    "seconds": _seconds,
    "signal": _signal,
    "text": _string,
    "user": _user,
    "words": _words,
}
_WRITERS: Mapping[str, Callable[[Any], object]] = {
    "env": lambda pairs: {key: False if text is None else text for key, text in pairs},
    "limits": lambda limits: {name: f"{_limit_text(soft)}:{_limit_text(hard)}" for name, soft, hard in limits},
    "mode": "{:03o}".format,
    "ready": str,
    "schedule": str,
    "signal": schedule.signal_name,
}
