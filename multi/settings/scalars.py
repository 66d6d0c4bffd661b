"""Text and TOML values -> one typed word or number, or an error that says what is wrong.

What one kind of setting accepts is a function here; lists and tables of them are in `multi.settings.values`.
"""

from __future__ import annotations

from multi.errors import MultiError
from multi.model import schedule
from multi.settings.table import Setting
from multi.text import nearest, quoted, seconds_in, seconds_text

UNLIMITED = -1
_LONGEST = 1e9  # seconds; 30 years, and no clock of any system overflows
_LAST_ID = 2**32 - 2  # (uid_t)-1 means "do not change" to setresuid(2)
_LAST_LIMIT = 2**63 - 1  # what every rlim_t can hold
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST = 1000  # ends, or failed probes, that are counted
_SHORTEST = 0.1  # seconds between two probes
_UNITS = {"K": 10, "M": 20, "G": 30}  # powers of two, as `size` in multi.text shows them
# The names of getrlimit(2) on Linux, macOS and the BSDs, without RLIMIT_.
# fmt: off
LIMITS = (
    "AS", "CORE", "CPU", "DATA", "FSIZE", "KQUEUES", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE",
    "NPROC", "NPTS", "RSS", "RTPRIO", "RTTIME", "SBSIZE", "SIGPENDING", "STACK", "SWAP", "VMEM",
)
# fmt: on
IN_BYTES = frozenset({"AS", "CORE", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "RSS", "SBSIZE", "STACK", "SWAP", "VMEM"})


class BadValueError(MultiError):
    """A value that the setting cannot have; where it stands is for the caller to say."""

    def __init__(self, why: str, hint: str) -> None:
        """Say why, and what to try."""
        super().__init__("", why, hint)


def typename(value: object) -> str:
    """What TOML calls a value of this type (toml.io, v1.0.0)."""
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(value), "a date or time")


def string(_: Setting, value: object) -> str:
    """Text that is not empty."""
    if not isinstance(value, str):
        raise BadValueError(f"is {typename(value)}, not a string", "put it in quotes")
    if not value:
        raise BadValueError("is empty", "leave it out for the default")
    return checked(value)


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


def checked(text: str) -> str:
    """The text, which must be able to stand on a command line."""
    if not is_word(text):
        what = "a NUL character" if "\0" in text else "half a character"
        raise BadValueError(f"holds {what}", "no path, word or variable can hold one; take it out")
    return text


def limits(_: Setting, value: object) -> tuple[tuple[str, int, int], ...]:
    """Resource limits by name."""
    if isinstance(value, dict):
        named = {_limit_name(key): _limit(key, item) for key, item in value.items()}
    elif isinstance(value, str):
        key, equals, text = value.partition("=")
        if not equals:
            raise BadValueError(f"{quoted(value)} is not NAME=SOFT[:HARD]", "write it like NOFILE=1024:4096")
        named = {_limit_name(key): _limit(key, text)}
    else:
        raise BadValueError(f"is {typename(value)}, not a table", "write it like rlimit = { NOFILE = 4096 }")
    return tuple((name, soft, hard) for name, (soft, hard) in named.items())


def _limit_name(key: str) -> str:
    import resource

    name = key.upper().removeprefix("RLIMIT_")
    if name not in LIMITS or not hasattr(resource, f"RLIMIT_{name}"):
        known = [limit for limit in LIMITS if hasattr(resource, f"RLIMIT_{limit}")]
        raise BadValueError(f"{quoted(key)} is not a resource limit of this system", nearest(name, known))
    return name


def _limit(key: str, value: object) -> tuple[int, int]:
    """Soft and hard limit; one number is both, as in ulimit(1)."""
    text = as_text(value)
    if text is None:
        raise BadValueError(f"{key} is {typename(value)}, not a limit", "write it like NOFILE=1024:4096")
    soft_text, colon, hard_text = text.partition(":")
    soft = _limit_number(key, soft_text)
    hard = _limit_number(key, hard_text) if colon else soft
    if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
        raise BadValueError(f"{key} has a soft limit above its hard limit", "write the smaller number first")
    return soft, hard


def _limit_number(key: str, text: str) -> int:
    if text in {"unlimited", "infinity"}:
        return UNLIMITED
    in_bytes = key.upper().removeprefix("RLIMIT_") in IN_BYTES
    unit = _UNITS.get(text[-1:].upper(), 0) if in_bytes else 0
    number = whole(text[:-1] if unit else text)
    if number is None or number << unit > _LAST_LIMIT:
        what, like = ("size", "a size like 512M") if in_bytes else ("number", "a whole number from 0")
        raise BadValueError(f"{key}: {quoted(text)} is not a {what}", f"write {like}, or unlimited")
    return number << unit


def whole(text: str) -> int | None:
    """A plain decimal number without a sign; short enough for `int`."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None  # noqa: PLR2004 -- 64 bits


def mode(_: Setting, value: object) -> int:
    """A file mode in octal."""
    hint = 'write it in octal, like "022"'
    if not isinstance(value, str):
        raise BadValueError(f"is {typename(value)}, which would be read as decimal", f"{hint} or 0o022")
    text = value.lower().removeprefix("0o")
    if not text or len(text) > 4 or not set(text) <= set("01234567") or int(text, 8) > 0o777:  # noqa: PLR2004 -- 0777
        raise BadValueError(f"{quoted(value)} is not a file mode from 000 to 777", hint)
    return int(text, 8)


def nice(_: Setting, value: object) -> int:
    """A priority of setpriority(2)."""
    text = as_text(value) or ""
    size = whole(text[1:] if text.startswith(("-", "+")) else text)
    number = -size if size is not None and text.startswith("-") else size
    if number is None or not -20 <= number <= 19:  # noqa: PLR2004 -- the range of setpriority(2)
        raise BadValueError(f"{shown(value)} is not a niceness", "write a whole number from -20 to 19")
    return number


def shown(value: object) -> str:
    """The value in quotes, or what type it is where it is neither text nor a number."""
    text = as_text(value)
    return typename(value) if text is None else quoted(text)


def as_text(value: object) -> str | None:
    """A string or number as text; None for any other type, and for an integer of more than 64 bits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int) and value.bit_length() > 64:  # noqa: PLR2004 -- str() refuses the very long ones
        return None
    return str(value)


def seconds(_: Setting, value: object) -> float:
    """Seconds from 0, with a point or without."""
    number = seconds_in(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= _LONGEST:  # or nan
        raise BadValueError(f"{shown(value)} is not a number of seconds", "write a number from 0, like 60 or 0.5")
    return float(number)


def user(_: Setting, value: object) -> str:
    """A name or a number of a user or group."""
    text = as_text(value)
    if text is None:
        raise BadValueError(f"is {typename(value)}, not a name or number", "write a name in quotes, or a number")
    if (whole(text) or 0) > _LAST_ID:
        raise BadValueError(f"{quoted(text)} is not a user or group number", f"numbers end at {_LAST_ID}")
    if not text or text.startswith("-") or not text.isprintable() or set(text) & set(":/ ,"):
        raise BadValueError(f"{quoted(text)} is not a user or group", "write one name or one number")
    return text


def signal(_: Setting, value: object) -> int:
    """A signal by name or number."""
    text = as_text(value)
    found = None if text is None or text.startswith("-") else schedule.find_signal(text)
    if not found:
        raise BadValueError(f"{shown(value)} is not a signal of this system", "write it like HUP or 1")
    return found


def choice(setting: Setting, value: object) -> str:
    """One of the words that the setting knows."""
    if not isinstance(value, str) or value not in setting.choices:
        word = value if isinstance(value, str) else ""
        raise BadValueError(
            f"{shown(value)} is not a {setting.metavar.lower()}", nearest(word.lower(), setting.choices)
        )
    return value


def count(_: Setting, value: object) -> int:
    """A whole number from 1."""
    number = None if isinstance(value, float) else whole(as_text(value) or "")
    if not number or number > _MOST:
        raise BadValueError(f"{shown(value)} is not a number of times", f"write a whole number from 1 to {_MOST}")
    return number


def interval(setting: Setting, value: object) -> float:
    """Seconds between two, not so few that nothing else is done."""
    number = seconds(setting, value)
    if number < _SHORTEST:
        raise BadValueError(f"{shown(value)} is too short a time between two", f"write {_SHORTEST:g} at least")
    return number


def size(_: Setting, value: object) -> int:
    """Bytes, or a number of K, M or G of them, as 1.5G."""
    text = as_text(value) or ""
    unit = _UNITS.get(text[-1:].upper(), 0)
    number = seconds_in(text[:-1]) if unit else whole(text)
    found = int((number or 0) * (1 << unit))
    if not 0 < found <= _LAST_LIMIT:
        raise BadValueError(f"{shown(value)} is not a size", "write it like 512M or 2G")
    return found


def _time_in(text: str) -> float | None:
    unit = _TIMES.get(text[-1:], 0)
    number = seconds_in(text[:-1] if unit else text)
    return None if number is None or number * (unit or 1) > _LONGEST else number * (unit or 1)


def age(_: Setting, value: object) -> float:
    """Seconds, or a number of s, m, h or d."""
    number = _time_in(as_text(value) or "")
    if not number:
        raise BadValueError(f"{shown(value)} is not a time", "write seconds, or a time like 90m, 12h or 7d")
    return number


def rate(_: Setting, value: object) -> tuple[int, float]:
    """How many in how many seconds; (0, 0) for `none`."""
    hint = "write how many ends in how long, like 5/60s or 10/1h, or none"
    if value == "none":
        return 0, 0.0
    if not isinstance(value, str):
        raise BadValueError(f"is {typename(value)}, not a limit", hint)
    left, _slash, right = value.partition("/")
    count, window = whole(left), _time_in(right)
    if not count or count > _MOST or not window:
        raise BadValueError(f"{quoted(value)} is not a limit", hint)
    return count, window


def limit_text(*numbers: int) -> str:
    """One limit as `limits` reads it."""
    return ":".join("unlimited" if number == UNLIMITED else str(number) for number in numbers)


def rate_text(rate: tuple[int, float]) -> str:
    """What `rate` reads."""
    return f"{rate[0]}/{seconds_text(rate[1])}s" if rate[0] else "none"
