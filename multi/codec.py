"""Record <-> bytes: one JSON object (version 1); an inverse pair; touches no disk.

The node's settings stand there as a configuration file would say them, and are checked as if one did. A record is read
with suspicion: whatever is not exactly what `encode` writes is `DamagedError`.
"""

from __future__ import annotations

from functools import lru_cache

from multi.errors import MultiError
from multi.model.node import Command, Known, Node, Ready, Unknown
from multi.model.process import Proc
from multi.model.record import DESIRED, PHASES, RECORD_LIMIT, Cgroup, DamagedError, Record, Rejected
from multi.settings.scalars import is_word
from multi.settings.table import BY_FIELD, SETTINGS, Setting
from multi.settings.values import from_toml, to_toml
from multi.typed import TYPE_CHECKING, Any
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VERSION = 1
_SMALL = 1 << 14  # bytes: a record that is larger is not kept in memory
_LAST = 2**63 - 1  # the largest number that any system call of ours takes
_LAST_SECOND = 1e15  # no time of ours comes near
_SIGNAL = SETTINGS["reload_signal"]
_Raw = dict[str, object]


def encode(record: Record) -> bytes:
    """Record -> bytes."""
    import json

    node, proc, runner, rejected = record.node, record.proc, record.runner, record.rejected
    out: _Raw = {
        "version": VERSION,
        **_node_json(node),
        "pid": proc.pid if proc else None,
        "start_id": proc.start_id if proc else None,
        "runner_pid": runner.pid if runner else None,
        "runner_start_id": runner.start_id if runner else None,
        **{name: getattr(record, name) for name in _RECORD},
        "extra": dict(record.extra),
        "rejected": {name: getattr(rejected, name) for name in _REJECTED} if rejected else {},
        "former": _node_json(record.former) if record.former else {},
        "cgroup": {"path": record.cgroup.path, "inode": record.cgroup.inode} if record.cgroup else {},
        "signalled": int(record.signalled),
        "ends": record.ends,
        "exit_status": record.exit_status,
    }
    # ASCII with surrogates escaped: words of the command line that are no UTF-8 come back as they were. Each comma ends
    # a line, since the encoder that indents is ten times slower than the one that does not.
    text = json.JSONEncoder(separators=(",\n ", ": ")).encode(out)
    return f"{{\n {text[1:-1]}\n}}\n".encode("ascii")


def _node_json(node: Node) -> _Raw:
    command = node.command  # one that is not known is no list, so that no reader takes it for words
    return {
        **{name: getattr(node, name) for name in _NODE},
        "command": {"unknown": command.why} if isinstance(command, Unknown) else command.words,
        "settings": {setting.name: to_toml(setting, getattr(node, name)) for name, setting in BY_FIELD.items()},
        "dump_signal": to_toml(_SIGNAL, node.dump_signal),
        "hup_ends": node.hup_ends,
        "env_read": dict(node.env_read),
    }


def decode(data: bytes, owner: int | None = None) -> Record:
    """Bytes of a file of `owner` -> record. Raises `DamagedError`."""
    if len(data) > RECORD_LIMIT:
        raise DamagedError("it is too large")
    return _decode(data, owner) if len(data) <= _SMALL else _decode.__wrapped__(data, owner)


def forget() -> None:
    """Give back what the records that were read so far take, for a command that runs for months."""
    _decode.cache_clear()
    _same.cache_clear()


@lru_cache(maxsize=4096)  # one command reads a record several times
def _decode(data: bytes, owner: int | None) -> Record:
    try:
        raw = loads(data)
    except (ValueError, RecursionError):
        raise DamagedError("it is not JSON, or cut off") from None
    if not isinstance(raw, dict):
        raise DamagedError("it is not a JSON object")
    try:
        return _record(raw, owner)
    except MultiError as error:
        raise DamagedError(str(error)) from None


class _Scanner:
    """How the standard library's scanner of JSON is to read; the words that `parse_constant` gets are numbers to it."""

    strict, object_hook, object_pairs_hook, array_hook = True, None, None, None
    parse_float, parse_int, parse_constant = float, int, float


def loads(data: bytes) -> object:
    """`json.loads` without what `json` imports, as `re` and `enum`: that takes as long as a hundred records."""
    try:
        from _json import make_scanner

        text = data.decode("ascii")
        value, end = make_scanner(_Scanner)(text, 0)  # type: ignore[arg-type]  # typeshed takes only one of its own
        if not text[end:].strip(" \t\n\r"):
            return value
    except (ImportError, AttributeError, TypeError, ValueError, StopIteration):
        pass  # not CPython, or not what `encode` writes
    import json

    return json.loads(data)


def _record(raw: _Raw, owner: int | None) -> Record:
    if _get(raw, "version", _WHOLE) != VERSION:
        raise DamagedError(f"it is of version {raw['version']}, this multi reads version {VERSION}")
    former = _get(raw, "former", _Rule(dict))
    return Record(
        node=_node(raw),
        former=_node(former) if former else None,
        proc=_proc(raw, "", least=2),
        runner=_proc(raw, "runner_", least=1),
        signalled=_get(raw, "signalled", _WHOLE) == 1,
        rejected=_rejected(raw),
        cgroup=_cgroup(raw),
        ends=tuple(_get(raw, "ends", _MOMENTS)),
        owner=owner,
        exit_status=None if raw.get("exit_status") is None else _get(raw, "exit_status", _STATUS),
        **{name: _get(raw, name, rule) for name, rule in _RECORD.items()},
    )


def _node(raw: _Raw) -> Node:
    settings = _get(raw, "settings", _Rule(dict))
    fields = {name: _get(raw, name, rule) for name, rule in _NODE.items()}
    fields |= {name: _setting(settings, setting, setting.name) for name, setting in BY_FIELD.items()}
    return Node(
        command=_command(raw),
        dump_signal=_setting(raw, _SIGNAL, "dump_signal"),
        hup_ends=tuple(_get(raw, "hup_ends", _WORDS)),
        env_read=tuple(_get(raw, "env_read", _TEXTS).items()),
        **fields,
    )


def _command(raw: _Raw) -> Command:
    said = raw.get("command")
    if isinstance(said, dict):
        return Unknown(_get(said, "unknown", _TEXT))
    words = _get(raw, "command", _WORDS)
    if not words:
        raise DamagedError("its command is empty")
    return Known(tuple(words))


def _proc(raw: _Raw, prefix: str, least: int) -> Proc | None:
    pid, start_id = f"{prefix}pid", f"{prefix}start_id"
    if raw.get(pid) is None and raw.get(start_id) is None:
        return None
    return Proc(_get(raw, pid, _Rule(int, range(least, 2**31).__contains__)), _get(raw, start_id, _TEXT))


def _rejected(raw: _Raw) -> Rejected | None:
    said = _get(raw, "rejected", _Rule(dict))
    return Rejected(**{name: _get(said, name, rule) for name, rule in _REJECTED.items()}) if said else None


def _cgroup(raw: _Raw) -> Cgroup | None:
    said = _get(raw, "cgroup", _Rule(dict))
    return Cgroup(_get(said, "path", _PATH), _get(said, "inode", _WHOLE)) if said else None


def _setting(raw: _Raw, setting: Setting, key: str) -> Any:  # noqa: ANN401 -- of the type of the node's field
    value = raw.get(key)
    if value is None and setting.default is None and setting.name != "logfile":  # a node always has a log
        return None
    if value in ([], {}):  # which have no hash
        return _same(setting.name, key, type(value))
    if setting.kind == "path" or not isinstance(value, (str, float, int)):
        return _typed(setting, key, value)
    return _same(setting.name, key, value)


@lru_cache(maxsize=1024, typed=True)  # nodes differ in few of them
def _same(name: str, key: str, value: object) -> Any:  # noqa: ANN401 -- as above
    return _typed(SETTINGS[name], key, value() if isinstance(value, type) else value)


def _typed(setting: Setting, key: str, value: object) -> Any:  # noqa: ANN401 -- as above
    typed = from_toml(setting, value, f"its {key!r}")
    several = typed if isinstance(typed, tuple) else (typed,)
    if setting.kind in {"path", "paths"}:
        paths = several
    else:
        paths = tuple(each.path for each in several if isinstance(each, Ready) and each.path)
    if not all(path.startswith("/") for path in paths):
        raise DamagedError(f"its {key!r} is not an absolute path")
    return typed


@dataclass(frozen=True, slots=True)
class _Rule:
    """What JSON must hold for a field: a value of `kind` that is `sound`, or else `why` says what it is."""

    kind: type
    sound: Callable[[Any], bool] = lambda _: True
    why: str = "is out of range"


def _get(raw: _Raw, key: str, rule: _Rule) -> Any:  # noqa: ANN401 -- of the type that the rule says
    value = raw.get(key)
    if type(value) is not rule.kind:
        raise DamagedError(f"its {key!r} is missing or of the wrong type")
    if not rule.sound(value):
        raise DamagedError(f"its {key!r} {rule.why}")
    return value


def _are_words(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) and is_word(value) for value in values)


_BAD = "holds a character that no word can hold"
_TEXT = _Rule(str, is_word, _BAD)
_PATH = _Rule(str, lambda path: is_word(path) and path.startswith("/"), "is not an absolute path")
_WORDS = _Rule(list, _are_words, "holds something else than words")
_TEXTS = _Rule(dict, lambda texts: _are_words([*texts, *texts.values()]), "holds something else than words")
_STATUS = _Rule(int, range(-128, 256).__contains__)
_WHOLE = _Rule(int, lambda number: 0 <= number <= _LAST)
_MOMENTS = _Rule(list, lambda ends: all(type(at) is float and 0 <= at < _LAST_SECOND for at in ends), "holds no times")
_SECONDS = _Rule(float, lambda seconds: 0 <= seconds < _LAST_SECOND)
# The fields of `Node` that are no settings, and those of `Record`, that JSON holds as they are.
_NODE = {
    "name": _TEXT,
    "short": _TEXT,
    "host": _TEXT,
    "preset": _TEXT,
    "pidfile": _PATH,
    "origin": _TEXT,
    "startsecs_asked": _Rule(bool),
}
_REJECTED = {"digest": _TEXT, "at": _SECONDS, "why": _TEXT}
_RECORD = {
    "token": _TEXT,
    "phase": _Rule(str, PHASES.__contains__, "is no phase"),
    "desired": _Rule(str, DESIRED.__contains__, "is nothing that can be asked"),
    "started": _SECONDS,
    "restarts": _WHOLE,
    "failures": _WHOLE,
    "failed": _SECONDS,
    "failure": _TEXT,
    "settle": _SECONDS,
    "gave_up": _TEXT,
    "stopped_at": _SECONDS,
    "stopped_by": _TEXT,
    "draining": _SECONDS,
    "extra": _TEXTS,
}
