"""Record <-> bytes: one JSON object (version 1); an inverse pair; touches no disk.

The node's settings stand there as a configuration file would say them, and are checked as if one did. A record is read
with suspicion: whatever is not exactly what `encode` writes is `DamagedError`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from multi.errors import MultiError
from multi.model.node import Command, Known, Node, Unknown
from multi.model.process import Proc
from multi.model.record import DESIRED, PHASES, RECORD_LIMIT, DamagedError, Record
from multi.settings.table import BY_FIELD, SETTINGS, Setting
from multi.settings.values import from_toml, is_word, to_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
_SMALL = 1 << 14  # bytes: a record that is larger is not kept in memory
_LAST_PID = 2**31 - 1
_LAST = 2**63 - 1  # the largest number that any system call of ours takes
_SIGNAL = SETTINGS["reload_signal"]
_Type = TypeVar("_Type")


def encode(record: Record) -> bytes:
    """Record -> bytes."""
    import json

    node = record.node
    out: dict[str, object] = {
        "version": VERSION,
        "name": node.name,
        "short": node.short,
        "host": node.host,
        "pidfile": node.pidfile,
        "origin": node.origin,
        "pid": record.proc.pid if record.proc else None,
        "start_id": record.proc.start_id if record.proc else None,
        "runner_pid": record.runner.pid if record.runner else None,
        "runner_start_id": record.runner.start_id if record.runner else None,
        "token": record.token,
        "phase": record.phase,
        "desired": record.desired,
        "signalled": int(record.signalled),
        "started": record.started,
        "restarts": record.restarts,
        "failures": record.failures,
        "failed": record.failed,
        "failure": record.failure,
        "preset": node.preset,
        "command": _command_json(node.command),
        "settings": {setting.name: to_toml(setting, getattr(node, name)) for name, setting in BY_FIELD.items()},
        "startsecs_asked": node.startsecs_asked,
        "dump_signal": to_toml(_SIGNAL, node.dump_signal),
        "hup_ends": list(node.hup_ends),
        "env_read": dict(node.env_read),
        "extra": dict(record.extra),
    }
    # ASCII with surrogates escaped: words of the command line that are no UTF-8 come back as they were. A line for each
    # key is written here, since the encoder that indents is ten times slower than the one that does not.
    encoded = json.JSONEncoder().encode
    return ("{\n" + ",\n".join(f" {encoded(key)}: {encoded(value)}" for key, value in out.items()) + "\n}\n").encode(
        "ascii"
    )


def _command_json(command: Command) -> object:
    """Words are a list. A command that is not known is an object, so that no reader takes it for words."""
    match command:
        case Known(words):
            return list(words)
        case Unknown(why):
            return {"unknown": why}


def decode(data: bytes) -> Record:
    """Bytes -> record. Raises `DamagedError`."""
    if len(data) > RECORD_LIMIT:
        raise DamagedError("it is too large")
    return _decode_once(data) if len(data) <= _SMALL else _decode(data)


@lru_cache(maxsize=4096)
def _decode_once(data: bytes) -> Record:
    """One command reads a record several times."""
    return _decode(data)


def _decode(data: bytes) -> Record:
    import json

    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        raise DamagedError("it is not JSON, or cut off") from None
    if not isinstance(raw, dict):
        raise DamagedError("it is not a JSON object")
    try:
        return _record(_Fields(raw))
    except MultiError as error:
        raise DamagedError(str(error)) from None


class _Fields:
    """Typed access to a JSON object; every miss is a `DamagedError` that names the key."""

    __slots__ = ("raw",)

    def __init__(self, raw: Mapping[str, object]) -> None:
        self.raw = raw

    def get(self, key: str, kind: type[_Type]) -> _Type:
        value = self.raw.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DamagedError(f"its {key!r} is missing or of the wrong type")
        return value

    def text(self, key: str) -> str:
        value = self.get(key, str)
        if not is_word(value):
            raise DamagedError(f"its {key!r} holds a character that no word can hold")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        words = self.get(key, list)
        if not all(isinstance(word, str) and is_word(word) for word in words):
            raise DamagedError(f"its {key!r} holds something else than words")
        return tuple(words)

    def texts(self, key: str) -> dict[str, str]:
        fields = _Fields(self.get(key, dict))
        if not all(is_word(name) for name in fields.raw):
            raise DamagedError(f"its {key!r} holds a character that no word can hold")
        return {name: fields.text(name) for name in fields.raw}

    def whole(self, key: str, least: int = 0, most: int = _LAST) -> int:
        value = self.get(key, int)
        if not least <= value <= most:
            raise DamagedError(f"its {key!r} is out of range")
        return value

    def seconds(self, key: str) -> float:
        value = self.get(key, float)
        if not 0 <= value < 1e15:  # noqa: PLR2004 -- no time of ours comes near
            raise DamagedError(f"its {key!r} is out of range")
        return value

    def one_of(self, key: str, choices: frozenset[str]) -> str:
        value = self.text(key)
        if value not in choices:
            raise DamagedError(f"its {key!r} is {value!r}")
        return value

    def path(self, key: str) -> str:
        value = self.text(key)
        if not value.startswith("/"):
            raise DamagedError(f"its {key!r} is not an absolute path")
        return value

    def proc(self, pid_key: str, start_id_key: str, least: int) -> Proc | None:
        if self.raw.get(pid_key) is None and self.raw.get(start_id_key) is None:
            return None
        return Proc(self.whole(pid_key, least, _LAST_PID), self.text(start_id_key))

    def setting(self, setting: Setting, key: str) -> Any:  # noqa: ANN401 -- of the type of the node's field
        value = self.raw.get(key)
        if value is None and setting.default is None and setting.name != "logfile":  # a node always has a log
            return None
        typed = from_toml(setting, value, f"its {key!r}")
        if setting.kind in {"path", "paths"}:
            paths = typed if isinstance(typed, tuple) else (typed,)
        elif key == "ready" and getattr(typed, "kind", "") == "file":
            paths = (getattr(typed, "what", ""),)
        else:
            return typed
        if not all(path.startswith("/") for path in paths):
            raise DamagedError(f"its {key!r} is not an absolute path")
        return typed


def _record(raw: _Fields) -> Record:
    if raw.whole("version") != VERSION:
        raise DamagedError(f"it is of version {raw.whole('version')}, this multi reads version {VERSION}")
    settings = _Fields(raw.get("settings", dict))
    node = Node(
        name=raw.text("name"),
        short=raw.text("short"),
        host=raw.text("host"),
        pidfile=raw.path("pidfile"),
        origin=raw.text("origin"),
        preset=raw.text("preset"),
        command=_command(raw),
        startsecs_asked=raw.get("startsecs_asked", bool),
        dump_signal=raw.setting(_SIGNAL, "dump_signal"),
        hup_ends=raw.words("hup_ends"),
        env_read=tuple(raw.texts("env_read").items()),
        **{name: settings.setting(setting, setting.name) for name, setting in BY_FIELD.items()},
    )
    return Record(
        node=node,
        proc=raw.proc("pid", "start_id", 2),
        token=raw.text("token"),
        phase=raw.one_of("phase", PHASES),
        desired=raw.one_of("desired", DESIRED),
        signalled=raw.whole("signalled") == 1,
        started=raw.seconds("started"),
        restarts=raw.whole("restarts"),
        failures=raw.whole("failures"),
        failed=raw.seconds("failed"),
        failure=raw.text("failure"),
        extra=raw.texts("extra"),
        runner=raw.proc("runner_pid", "runner_start_id", 1),
    )


def _command(raw: _Fields) -> Command:
    if isinstance(raw.raw.get("command"), dict):
        return Unknown(_Fields(raw.get("command", dict)).text("unknown"))
    words = raw.words("command")
    if not words:
        raise DamagedError("its command is empty")
    return Known(words)
