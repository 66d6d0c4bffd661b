"""Everything that can be set for a node: its name, its flags, its kind, its default.

A setting arrives as text (command line, environment) or as a TOML value. Both become the same typed
value here, or an error that says what is wrong with it; nothing after this module sees an unchecked
value. The table `SETTINGS` is also what the reference in docs/settings.md and the JSON Schema in
config/multi.schema.json are made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from multi.errors import ConfigError, MultiError, UsageError
from multi.model import schedule
from multi.model.node import Ready
from multi.settings.toml import Document
from multi.text import nearest, quoted
from multi.value import dataclass

UNLIMITED = -1
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
_READY_EXAMPLE = "it can be alive, notify, log:REGEX, tcp:[HOST:]PORT, file:PATH or exec:COMMAND"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set.

    `flags` are its spellings on the command line, the first is the one that messages use. `kind`
    says how its text is read (see `from_text`), `metavar` how its value is shown in help, `example`
    is a value as TOML writes it. A `repeatable` setting adds up: key by key, or word by word, see
    `merge`. `default` is the built-in typed value, None when there is none; what a preset says goes
    before it.
    """

    name: str
    flags: tuple[str, ...]
    kind: str
    metavar: str
    help: str
    example: str
    default: object = None
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    takes_value: bool = True


class _BadValueError(Exception):
    """A value that the setting cannot have: why, and what to try."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why, hint)
        self.why = why
        self.hint = hint


def _table(*settings: Setting) -> Mapping[str, Setting]:
    return MappingProxyType({setting.name: setting for setting in settings})


SETTINGS: Mapping[str, Setting] = _table(
    Setting(
        "preset",
        ("--preset",),
        "text",
        "NAME",
        "worker type: `celery`, `celery-beat`, `rq`, `dramatiq`, `huey`, `gunicorn`, one of your own, or `exec` for "
        "a bare command",
        '"exec"',
        default="celery",
    ),
    Setting(
        "cmd",
        ("--cmd",),
        "words",
        "COMMAND",
        "the worker's command: a shell-quoted string or an array; a program, or `-m MODULE` for the Python of "
        "`executable`; of the preset when not given",
        '["python", "worker.py"]',
    ),
    Setting(
        "executable",
        ("--executable",),
        "path",
        "PATH",
        "the Python that runs `-m` commands; the one that runs `multi` when not given",
        '"/srv/proj/venv/bin/python"',
    ),
    Setting(
        "append",
        ("--append",),
        "words",
        "WORDS",
        "words at the very end of the command: a shell-quoted string or an array",
        '["proj.wsgi:app"]',
        default=(),
    ),
    Setting(
        "pidfile",
        ("--pidfile", "-p"),
        "path",
        "PATH",
        "holds the main process's pid; record and lock lie beside it; root: `/var/run/celery/%n.pid` (`multi` instead "
        "of `celery` for other presets), others: below the user's state directory",
        '"/run/proj/%n.pid"',
    ),
    Setting(
        "logfile",
        ("--logfile", "-f"),
        "path",
        "PATH",
        "gets stdout and stderr, and the worker's own log where it writes one; root: `/var/log/celery/%n%I.log` "
        "(`multi` instead of `celery` for other presets), others: below the user's state directory",
        '"/var/log/proj/%n%I.log"',
    ),
    Setting(
        "workdir",
        ("--workdir",),
        "path",
        "PATH",
        "directory that the node starts in; relative paths of other settings are below it; the caller's when not given",
        '"/srv/proj"',
    ),
    Setting(
        "uid",
        ("--uid",),
        "user",
        "USER",
        "user, by name or number, that the node runs as; needs root; the caller when not given",
        '"worker"',
    ),
    Setting(
        "gid",
        ("--gid",),
        "user",
        "GROUP",
        "group, by name or number, that the node runs as; needs root; the login group of `uid` when not given",
        '"worker"',
    ),
    Setting(
        "umask",
        ("--umask",),
        "mode",
        "OCTAL",
        "permissions that the node's new files do not get, in octal; in TOML a string or `0o022`; the caller's when "
        "not given",
        '"027"',
    ),
    Setting(
        "nice",
        ("--nice",),
        "nice",
        "NUMBER",
        "scheduling priority from -20 (most) to 19 (least); below the caller's needs root; the caller's when not given",
        "5",
    ),
    Setting(
        "env",
        ("--env",),
        "env",
        "KEY=VALUE",
        "adds to the caller's environment; `KEY-` (`KEY = false` in TOML) takes a variable away; adds up key by key",
        '{ DJANGO_SETTINGS_MODULE = "proj.settings", DEBUG = false }',
        default=(),
        repeatable=True,
    ),
    Setting(
        "env_file",
        ("--env-file",),
        "paths",
        "PATH",
        "reads variables from a file of `KEY=VALUE` lines (dotenv); `env` goes before it; of several files the last "
        "goes first",
        '["proj.env", "secrets.env"]',
        default=(),
        repeatable=True,
    ),
    Setting(
        "rlimit",
        ("--rlimit",),
        "limits",
        "NAME=SOFT[:HARD]",
        "resource limits by their name in getrlimit(2); a number or `unlimited`; one number is both; adds up name by "
        "name",
        '{ NOFILE = "1024:4096", CORE = 0 }',
        default=(),
        repeatable=True,
    ),
    Setting(
        "stop_schedule",
        ("--stop-schedule", "--retry"),
        "schedule",
        "SIGNAL/SECONDS/...",
        "which signal to stop with, how many seconds until the next, and so on; `TERM/forever` waits without end; a "
        "lone number N is `TERM/N/KILL/N`",
        '"TERM/90/QUIT/10/KILL/5"',
        default=schedule.parse("TERM/90/KILL/5"),
    ),
    Setting(
        "kill_mode",
        ("--kill-mode",),
        "choice",
        "MODE",
        "`mixed`: the main process is stopped by the schedule, then what is left of its tree is killed; `process`: "
        "the main process only",
        '"mixed"',
        default="mixed",
        choices=("mixed", "process"),
    ),
    Setting(
        "ready",
        ("--ready",),
        "ready",
        "PROOF",
        "how a started node proves that it works: `alive`, `notify` (sd_notify), `log:REGEX`, `tcp:[HOST:]PORT`, "
        "`file:PATH`, `exec:COMMAND`",
        '"tcp:8000"',
        default=Ready(),
    ),
    Setting(
        "ready_timeout",
        ("--ready-timeout",),
        "seconds",
        "SECONDS",
        "how long a started node may take to prove it",
        "60",
        default=60.0,
    ),
    Setting(
        "startsecs",
        ("--startsecs",),
        "seconds",
        "SECONDS",
        "how long a started node must stay alive to count as started: from the moment it is ready where this is said, "
        "else from its start",
        "1",
        default=1.0,
    ),
    Setting(
        "lock_timeout",
        ("--lock-timeout",),
        "seconds",
        "SECONDS",
        "how long to wait for another `multi` that is at work on the same node; then exit 75",
        "120",
        default=120.0,
    ),
    Setting(
        "root",
        ("--root",),
        "choice",
        "POLICY",
        "what to do when a node would run as root: `allow`, `warn` or `deny`; MULTI_FORCE_ROOT or C_FORCE_ROOT in the "
        "environment mean `allow`",
        '"deny"',
        default="warn",
        choices=("allow", "warn", "deny"),
    ),
    Setting(
        "reload_signal",
        ("--reload-signal",),
        "signal",
        "SIGNAL",
        "what `reload` sends to the main process; of the preset when not given",
        '"HUP"',
    ),
)

BY_FLAG: Mapping[str, Setting] = MappingProxyType(
    {flag: setting for setting in SETTINGS.values() for flag in setting.flags}
)


def from_text(setting: Setting, text: str | None, where: str) -> object:
    """Read what stood on the command line or in the environment.

    `where` is how the user named the setting: ``--umask``, ``--umask:w1``, ``MULTI_UMASK``. The value
    of a repeatable setting is a tuple of one item. Raises `UsageError`.
    """
    if text is None:
        raise UsageError(where, "needs a value", f"write {where}={setting.metavar}")
    try:
        return _typed(setting, text)
    except _BadValueError as error:
        raise UsageError(where, error.why, error.hint) from None


def from_toml(setting: Setting, value: object, where: str) -> object:
    """Read a TOML value.

    A string is read as on the command line, so that a number may be written as a string (which is
    what a substituted variable is). Raises `ConfigError`.
    """
    try:
        return _typed(setting, value)
    except _BadValueError as error:
        raise ConfigError(where, error.why, error.hint) from None


def from_document(setting: Setting, value: object, document: Document, keys: tuple[str, ...]) -> object:
    """Read the TOML value that stands at `keys` of a document; `from_toml` with the line in its errors.

    A mode may stand there as ``0o022``. Raises `ConfigError`.
    """
    if setting.kind == "mode" and isinstance(value, int):
        position = document.position(keys)
        if position is not None and position.written.startswith("0o"):
            value = position.written.replace("_", "")
    at = keys
    try:
        if isinstance(value, dict):
            for key, item in value.items():  # one by one, so that an error has the line of the item
                at = (*keys, key)
                _typed(setting, {key: item})
            at = keys
        return _typed(setting, value)
    except _BadValueError as error:
        raise document.error(at, error.why, error.hint) from None


def merge(setting: Setting, lower: object, higher: object) -> object:
    """Join the values of two layers, of which `higher` goes first.

    ``env`` and ``rlimit`` add up key by key, ``env_file`` adds files that are read later. Any other
    setting is the higher one alone.
    """
    if not setting.repeatable or not isinstance(lower, tuple) or not isinstance(higher, tuple):
        return higher
    if setting.kind == "paths":
        return (*lower, *higher)
    named = {item[0]: item for item in lower}
    named.update({item[0]: item for item in higher})
    return tuple(named.values())


def _typed(setting: Setting, value: object) -> object:  # noqa: C901, PLR0911, PLR0912 -- a table, a row a kind
    match setting.kind:
        case "words":
            return _words(setting, value)
        case "env":
            return _env(value)
        case "paths":
            return _paths(value)
        case "limits":
            return _limits(value)
        case "mode":
            return _mode(value)
        case "nice":
            return _nice(value)
        case "seconds":
            return _seconds(value)
        case "user":
            return _user(value)
        case "signal":
            return _signal(value)
        case "schedule":
            return _schedule(value)
        case "choice":
            return _choice(setting, value)
        case "ready":
            return _ready(value)
        case _:  # "text" and "path"
            return _string(value)


def _typename(value: object) -> str:
    """What TOML calls a value of this type (toml.io, v1.0.0)."""
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(value), "a date or time")


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise _BadValueError(f"is {_typename(value)}, not a string", "put it in quotes")
    if not value:
        raise _BadValueError("is empty", "leave it out for the default")
    return _no_nul(value)


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise _BadValueError("holds a NUL character", "no path, word or variable can hold one; take it out")
    return text


def split(text: str) -> tuple[str, ...]:
    """Shell-quoted words -> words. Raises `ValueError` for a quote that is not closed."""
    import shlex

    return tuple(shlex.split(text))


def _split(text: str) -> tuple[str, ...]:
    try:
        return split(_no_nul(text))
    except ValueError:
        raise _BadValueError(
            f"{quoted(text)} has a quote that is not closed", "close it, or put a backslash before it"
        ) from None


def _words(setting: Setting, value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        words = tuple(_word(item) for item in value)
    elif isinstance(value, str):
        words = _split(value)
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
    return _no_nul(value)


def _env(value: object) -> tuple[tuple[str, str | None], ...]:
    if isinstance(value, dict):
        return tuple((_variable(key), _env_value(key, item)) for key, item in value.items())
    if not isinstance(value, str):
        raise _BadValueError(f"is {_typename(value)}, not a table", 'write it like env = { KEY = "value" }')
    key, equals, text = value.partition("=")
    if equals:
        return ((_variable(key), _no_nul(text)),)
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
    return _no_nul(value)


def _variable(key: str) -> str:
    if not key or "=" in key or "\0" in key:
        raise _BadValueError(f"{quoted(key)} cannot be the name of a variable", "write it like KEY=VALUE")
    if key.startswith(_RESERVED):
        raise _BadValueError(f"{key} belongs to multi, which marks a node's processes with it", "use another name")
    return key


def _paths(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(_string(item) for item in items)


def _limits(value: object) -> tuple[tuple[str, int, int], ...]:
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
    number = _whole(text)
    if number is None or number > _LAST_LIMIT:
        raise _BadValueError(
            f"{key}: {quoted(text)} is not a number", "write a whole number from 0, or unlimited; bytes have no suffix"
        )
    return number


def _whole(text: str) -> int | None:
    """A plain decimal number without a sign; short enough for `int`."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None  # noqa: PLR2004 -- 64 bits


def _mode(value: object) -> int:
    hint = 'write it in octal, like "022"'
    if not isinstance(value, str):
        raise _BadValueError(f"is {_typename(value)}, which would be read as decimal", f"{hint} or 0o022")
    text = value.lower().removeprefix("0o")
    if not text or len(text) > 4 or not set(text) <= set("01234567") or int(text, 8) > 0o777:  # noqa: PLR2004 -- 0777
        raise _BadValueError(f"{quoted(value)} is not a file mode from 000 to 777", hint)
    return int(text, 8)


def _nice(value: object) -> int:
    number = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        sign = -1 if value.startswith("-") else 1
        size = _whole(value[1:] if value.startswith(("-", "+")) else value)
        number = None if size is None else sign * size
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


def _seconds(value: object) -> float:
    number = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        whole, dot, fraction = value.partition(".")
        if _whole(whole) is not None and (not dot or _whole(fraction) is not None):
            number = float(value)
    if number is None or not 0 <= number <= _LONGEST:  # nan is outside of every range
        raise _BadValueError(f"{_shown(value)} is not a number of seconds", "write a number from 0, like 60 or 0.5")
    return float(number)


def _user(value: object) -> str:
    text = _as_text(value)
    if text is None:
        raise _BadValueError(f"is {_typename(value)}, not a name or number", "write a name in quotes, or a number")
    number = _whole(text)
    if number is not None and number > _LAST_ID:
        raise _BadValueError(f"{quoted(text)} is not a user or group number", f"numbers end at {_LAST_ID}")
    if not text or text.startswith("-") or not text.isprintable() or set(text) & set(":/ ,"):
        raise _BadValueError(f"{quoted(text)} is not a user or group", "write one name or one number")
    return text


def _signal(value: object) -> int:
    text = _as_text(value)
    found = None if text is None or text.startswith("-") else schedule.find_signal(text)
    if not found:
        raise _BadValueError(f"{_shown(value)} is not a signal of this system", "write it like HUP or 1")
    return found


def _schedule(value: object) -> schedule.Schedule:
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


def _ready(value: object) -> Ready:
    if not isinstance(value, str):
        raise _BadValueError(f"is {_typename(value)}, not a proof of readiness", _READY_EXAMPLE)
    kind, colon, what = _no_nul(value).partition(":")
    match kind:
        case "alive" | "notify":
            if colon:
                raise _BadValueError(f"{quoted(value)} says too much", f"write just {kind}")
        case "log":
            _regex(what)
        case "tcp":
            what = _address(what)
        case "file":
            if not what:
                raise _BadValueError("file: needs a path", "write it like file:/run/%n.ready")
        case "exec":
            if not _split(what):
                raise _BadValueError("exec: needs a command", "write it like exec:'curl -fs localhost:8000'")
        case _:
            raise _BadValueError(f"{quoted(value)} is not a proof of readiness", _READY_EXAMPLE)
    return Ready(kind, what)


def _regex(pattern: str) -> None:
    import re
    import warnings

    if not pattern:
        raise _BadValueError("log: needs a regular expression", "write it like 'log:ready to serve'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pattern that a later Python may read in another way is valid today
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise _BadValueError(
            f"{quoted(pattern)} is not a regular expression: {error}", "put a backslash before a special character"
        ) from None


def _address(what: str) -> str:
    """``8000`` -> ``127.0.0.1:8000``; a host, or ``[::1]``, may stand before the port."""
    host, colon, port_text = what.rpartition(":")
    port = _whole(port_text)
    if port is None or not 0 < port <= 65535 or (colon and not host):  # noqa: PLR2004 -- the last port there is
        raise _BadValueError(f"{quoted('tcp:' + what)} names no port", "write it like tcp:8000 or tcp:10.0.0.1:8000")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise _BadValueError(f"{quoted('tcp:' + what)} names no host", "write an IPv6 address like tcp:[::1]:8000")
    return f"{host or '127.0.0.1'}:{port}"
