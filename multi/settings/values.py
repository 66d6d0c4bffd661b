"""Text and TOML values -> typed values, or an error that says what is wrong; and back to TOML.

Nothing after this module sees an unchecked value. What a kind of setting accepts is one function here and one row of
`_READERS`; a kind whose typed value is not what TOML says has a row in `_WRITERS` too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from multi.errors import ConfigError, MultiError, UsageError
from multi.model import proof, schedule
from multi.model.node import Ready
from multi.settings import scalars
from multi.settings.scalars import BadValueError, as_text, checked, is_word, shown, typename, whole
from multi.settings.table import Setting
from multi.text import nearest, quoted
from multi.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multi.settings.toml import Document

_FOR_A_SHELL = frozenset("&;|<>=")  # a command without them needs a shell only for a builtin
_RUN = frozenset({"cmd", "hooks"})  # commands that no shell is used for
_BUILTINS = frozenset({"cd", "source", ".", "export", "exec", "ulimit", "eval"})
_RESERVED = "MULTI_INSTANCE"  # the names that carry the instance token
_OURS = frozenset("/:, \t")  # no name of a node or a group holds one


def from_text(setting: Setting, text: str | None, where: str) -> object:
    """Read what stood on the command line or in the environment; of a repeatable setting, one item.

    `where` is how the user named it: ``--umask``, ``--umask:w1``, ``MULTI_UMASK``. Raises `UsageError`.
    """
    if text is None:
        raise UsageError(where, "needs a value", f"write {where}={setting.metavar}")
    try:
        return _READERS[setting.kind](setting, text)
    except BadValueError as error:
        raise UsageError(where, error.why, error.hint) from None


def from_toml(setting: Setting, value: object, where: str) -> object:
    """Read a TOML value; a string as on the command line, so a variable may hold a number. Raises `ConfigError`."""
    try:
        return _READERS[setting.kind](setting, value)
    except BadValueError as error:
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
    except BadValueError as error:
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


_QUOTING = frozenset("'\"\\")


def split(text: str) -> tuple[str, ...]:
    """Shell-quoted words -> words. Raises `ValueError` for a quote that is not closed."""
    if text.isascii() and text.isprintable() and not _QUOTING & {*text}:  # nothing is quoted, mostly
        return tuple(text.split())
    import shlex

    return tuple(shlex.split(text))


def _split(text: str) -> tuple[str, ...]:
    try:
        return split(checked(text))
    except ValueError:
        raise BadValueError(
            f"{quoted(text)} has a quote that is not closed", "close it, or put a backslash before it"
        ) from None


def _words(setting: Setting, value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        words = tuple(_word(item) for item in value)
    elif isinstance(value, str):
        words = _split(value)
        if setting.name in _RUN and (not (_BUILTINS.isdisjoint(words[:1]) and _FOR_A_SHELL.isdisjoint(value))):
            from multi.settings import shell

            found = shell.mistake(value, _BUILTINS)
            if found is not None:
                raise BadValueError(*found)
    else:
        raise BadValueError(
            f"is {typename(value)}, not a command", f"write a shell-quoted string, or an array like {setting.example}"
        )
    if setting.name == "cmd" and (not words or not words[0]):
        raise BadValueError("names no program", "leave it out for the preset's command")
    return words


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise BadValueError(f"holds {typename(value)} where a string is needed", "put it in quotes")
    return checked(value)


def _env(_: Setting, value: object) -> tuple[tuple[str, str | None], ...]:
    if isinstance(value, dict):
        return tuple((_variable(key), _env_value(key, item)) for key, item in value.items())
    if not isinstance(value, str):
        raise BadValueError(f"is {typename(value)}, not a table", 'write it like env = { KEY = "value" }')
    key, equals, text = value.partition("=")
    if equals:
        return ((_variable(key), checked(text)),)
    if len(key) > 1 and key.endswith("-"):
        return ((_variable(key.removesuffix("-")), None),)
    raise BadValueError(
        f"{quoted(value)} is not KEY=VALUE", "write KEY= for an empty value, or KEY- to take the variable away"
    )


def _env_value(key: str, value: object) -> str | None:
    if value is False:
        return None
    if not isinstance(value, str):
        raise BadValueError(
            f"{quoted(key)} is {typename(value)}, not a string",
            "put its value in quotes, or write false to take the variable away",
        )
    return checked(value)


def _variable(key: str) -> str:
    if not key or "=" in key or not is_word(key):
        raise BadValueError(f"{quoted(key)} cannot be the name of a variable", "write it like KEY=VALUE")
    if key.startswith(_RESERVED):
        raise BadValueError(f"{key} belongs to multi, which marks a node's processes with it", "use another name")
    return key


def _paths(setting: Setting, value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(scalars.string(setting, item) for item in items)


def _schedule(_: Setting, value: object) -> schedule.Schedule:
    text = as_text(value)
    if text is None:
        raise BadValueError(f"is {typename(value)}, not a stop schedule", 'write it like "TERM/90/KILL/5"')
    try:
        return schedule.parse(text)
    except MultiError as error:
        raise BadValueError(f"{quoted(text)} {error.why}", error.hint) from None


def _ready(setting: Setting, value: object) -> Ready:
    if not isinstance(value, str):
        why = f"is {typename(value)}, not {proof.PURPOSES[setting.name]}"
        raise BadValueError(why, proof.suggestion(setting.name))
    try:
        return Ready(*proof.parse(checked(value), setting.name))
    except MultiError as error:
        raise BadValueError(error.why, error.hint) from None


def _probes(setting: Setting, value: object) -> tuple[Ready, ...]:
    items = (_split(value) if value else ()) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise BadValueError(f"is {typename(value)}, not an array of probes", f"write it like {setting.example}")
    return tuple(_ready(setting, item) for item in items)


def _statuses(setting: Setting, value: object) -> tuple[int, ...]:
    found = []
    for item in _listed(value):
        number = whole(as_text(item) or "")
        if number is None or number > 255:  # noqa: PLR2004 -- the last exit status, see wait(2)
            raise BadValueError(f"{shown(item)} is not an exit status", f"write 0 to 255, like {setting.example}")
        found.append(number)
    return tuple(dict.fromkeys(found))


def _listed(value: object) -> list[object]:
    """The items of an array, of a text with commas, or the one value that stands alone."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")] if value.strip() else []
    return value if isinstance(value, list) else [value]


def _names(setting: Setting, value: object) -> tuple[str, ...]:
    for item in (names := _listed(value)):
        if not isinstance(item, str) or not item or item.startswith("-") or not item.isprintable() or set(item) & _OURS:
            raise BadValueError(f"{shown(item)} cannot name a node or a group", f"write it like {setting.example}")
    return tuple(dict.fromkeys(checked(str(name)) for name in names))


def _hooks(setting: Setting, value: object) -> tuple[tuple[str, str], ...]:
    if isinstance(value, dict):
        return tuple((_event(setting, key), _hook(setting, item)) for key, item in value.items())
    if not isinstance(value, str):
        raise BadValueError(f"is {typename(value)}, not a table", f"write it like hooks = {setting.example}")
    key, equals, text = value.partition("=")
    if not equals:
        raise BadValueError(f"{quoted(value)} is not EVENT=COMMAND", "write it like gave_up='notify-oncall workers'")
    return ((_event(setting, key), _hook(setting, text)),)


def _event(setting: Setting, key: str) -> str:
    if key not in setting.choices:
        near = nearest(key.replace("-", "_").lower(), setting.choices)
        raise BadValueError(f"{quoted(key)} is no event with a hook", near)
    return key


def _hook(setting: Setting, value: object) -> str:
    words = _words(setting, value)
    if not words or not words[0]:
        raise BadValueError("a hook names no program", "leave it out for none")
    if isinstance(value, str):
        return value
    import shlex

    return shlex.join(words)


def _joined(probes: tuple[Ready, ...]) -> str:
    if not probes:
        return ""
    import shlex

    return shlex.join(map(str, probes))


_READERS: Mapping[str, Callable[[Setting, object], object]] = {
    "age": scalars.age,
    "choice": scalars.choice,
    "count": scalars.count,
    "env": _env,
    "hooks": _hooks,
    "interval": scalars.interval,
    "limits": scalars.limits,
    "mode": scalars.mode,
    "names": _names,
    "nice": scalars.nice,
    "path": scalars.string,
    "paths": _paths,
    "probe": _ready,
    "probes": _probes,
    "rate": scalars.rate,
    "ready": _ready,
    "schedule": _schedule,
    "seconds": scalars.seconds,
    "signal": scalars.signal,
    "size": scalars.size,
    "statuses": _statuses,
    "text": scalars.string,
    "user": scalars.user,
    "words": _words,
}
_WRITERS: Mapping[str, Callable[[Any], object]] = {
    "env": lambda pairs: {key: False if text is None else text for key, text in pairs},
    "limits": lambda limits: {
        name: f"{scalars.limit_text(soft)}:{scalars.limit_text(hard)}" for name, soft, hard in limits
    },
    "hooks": dict,
    "mode": "{:03o}".format,
    "names": ",".join,
    "probe": str,
    "probes": _joined,
    "rate": scalars.rate_text,
    "ready": str,
    "schedule": lru_cache(maxsize=64)(str),
    "signal": schedule.signal_name,
    "statuses": lambda statuses: ",".join(map(str, statuses)),
}
