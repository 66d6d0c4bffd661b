r"""bytes <-> pidfile and record; an inverse pair; touches no disk.

The pidfile holds exactly ``PID\n``. The record is one JSON object (version 1) that says which process
it is about, how the node was started and what was last asked of it. Both are read with suspicion:
whatever is not exactly what `encode` writes is `DamagedError`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from multi.errors import MultiError
from multi.model import schedule
from multi.model.node import Command, Known, Node, Ready, Unknown
from multi.model.process import Proc
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
# Beside STATUS (sd_notify(3)): what the process waits for that is no fault of its own, as "broker".
NOTIFY_WAITS = "X_MULTI_WAITS"
NOTIFY_LIMIT = 1 << 14  # bytes: a few lines
PIDFILE_LIMIT = 64  # bytes: a pid has at most ten digits
RECORD_LIMIT = 1 << 20  # bytes: far above what argv and settings of one node take
_PID_DIGITS = 10
_MOST_DIGITS = 18  # of a time that somebody else wrote
_LAST_PID, _LAST_PORT = 2**31 - 1, 65535
_LAST = 2**63 - 1  # the largest number that any system call of ours takes
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 3600.0  # seconds that `ensure` waits after the first failure, and at most
_STEADY = 600.0  # seconds after which a node that ran has proved that it can

STARTING, UP = "starting", "up"  # phase
WANTED_UP, WANTED_STOPPED, RESTARTING = "up", "stopped", "restarting"  # desired
# The bytes of a record before and after the signal of a stop was sent: one digit, changed where it stands. Quotes
# inside a JSON string are escaped, so nothing that a user wrote can look like this.
UNSIGNALLED, SIGNALLED = b'"signalled": 0', b'"signalled": 1'
_PHASES = frozenset({STARTING, UP})
_DESIRED = frozenset({WANTED_UP, WANTED_STOPPED, RESTARTING})


class DamagedError(Exception):
    """The bytes are not what `multi` writes; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is kept of a node between two commands.

    `proc` is None when the last start failed. `phase` is ``starting`` until somebody saw the node ready. `desired` is
    the last thing asked of it, `signalled` whether the signal of a stop that was asked for is sent. `started` is
    wall-clock seconds, for people only. `failures` counts the ends in a row that nobody asked for, `failed` is the last
    one's wall-clock second. `runner` is the `multi run` that started it first: what it prints to, the node prints to.
    `owner` is the uid of the file that it was read from, None for a new one; no bytes hold it.
    """

    node: Node
    proc: Proc | None
    token: str = ""
    phase: str = UP
    desired: str = WANTED_UP
    signalled: bool = False
    started: float = 0.0
    restarts: int = 0
    failures: int = 0
    failed: float = 0.0
    failure: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    runner: Proc | None = None
    owner: int | None = field(default=None, compare=False)

    def backoff(self, wall: float) -> float:
        """Seconds that `ensure` still leaves the node alone: a capped exponential of its failures in a row."""
        if not self.failures:
            return 0.0
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.failures - 1, 16))
        # A clock that was set back must not make the pause longer than it is.
        return min(pause, max(0.0, self.failed + pause - wall))

    def after_failure(self, wall: float, why: str) -> Record:
        """The same after an end that nobody asked for. One that ran well for long begins to count anew."""
        steady = self.phase == UP and wall - self.started > _STEADY
        return replace(
            self,
            proc=None,
            desired=WANTED_UP,
            failures=1 if steady else self.failures + 1,
            failed=wall,
            failure=why,
        )

    def requested(self, desired: str, proc: Proc) -> Record:
        """The same, with something else asked of the node, which runs as `proc`."""
        phase, failure = (self.phase, self.failure) if proc == self.proc else (UP, "")
        return replace(self, proc=proc, phase=phase, failure=failure, desired=desired, signalled=False)


def encode_pid(pid: int) -> bytes:
    """Pid -> the bytes of a pidfile."""
    return b"%d\n" % pid


def decode_pid(data: bytes) -> int:
    """The bytes of a pidfile -> pid. Blanks around the number are allowed, its newline is not optional.

    A number without its newline may be the first half of another number. Raises `DamagedError`.
    """
    if not data.strip():
        raise DamagedError("it is empty")
    if not data.endswith(b"\n"):
        raise DamagedError("it does not end in a newline, so it may be half written")
    digits = data.strip(b" \t\r\n")
    if not digits.isdigit() or len(digits) > _PID_DIGITS or data.count(b"\n") > 1:
        raise DamagedError("it does not hold a pid")
    return int(digits)


@dataclass(frozen=True, slots=True)
class Word:
    """What a process has left of what it said by sd_notify(3), for a command that did not hear it.

    `waits` is what it waits for that is no fault of its own. `ready_at` is when it said that it is ready, in the
    machine's own clock, None while it has not.
    """

    status: str = ""
    waits: str = ""
    ready_at: float | None = None

    def settled_at(self, node: Node) -> float | None:
        """When it counts as ready, None while it has not said that it is."""
        if self.ready_at is None:
            return None
        return self.ready_at + (node.startsecs if node.startsecs_asked else 0.0)


def decode_word(data: bytes, token: str) -> Word | None:
    """The bytes of what a process has left -> what it said; None for what is cut off or of another start."""
    if not data.endswith(b"\n") or b"\0" in data:
        return None
    lines = (line.partition("=") for line in data.decode("utf-8", "replace").split("\n"))
    said = {name: value for name, equals, value in lines if equals}
    if not token or said.get("MULTI_INSTANCE") != token:
        return None
    usec = said.get("MONOTONIC_USEC", "")
    moment = int(usec) / 1e6 if usec.isascii() and usec.isdigit() and len(usec) <= _MOST_DIGITS else None
    return Word(said.get("STATUS", ""), said.get(NOTIFY_WAITS, ""), moment if said.get("READY") == "1" else None)


def encode(record: Record) -> bytes:
    """Record -> bytes."""
    import json

    node = record.node
    out: dict[str, object] = {
        "version": VERSION,
        "name": node.name,
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
        "command": _command_json(node.command),
        "settings": {
            "short": node.short,
            "host": node.host,
            "preset": node.preset,
            "pidfile": node.pidfile,
            "logfile": node.logfile,
            "workdir": node.workdir,
            "uid": node.uid,
            "gid": node.gid,
            "umask": node.umask,
            "nice": node.nice,
            "env": [list(pair) for pair in node.env],
            "env_files": list(node.env_files),
            "env_read": [list(pair) for pair in node.env_read],
            "rlimits": [list(limit) for limit in node.rlimits],
            "stop_schedule": str(node.stop),
            "kill_mode": node.kill_mode,
            "reload_signal": node.reload_signal,
            "dump_signal": node.dump_signal,
            "hup_ends": list(node.hup_ends),
            "ready": [node.ready.kind, node.ready.what],
            "ready_timeout": node.ready_timeout,
            "startsecs": node.startsecs,
            "startsecs_asked": int(node.startsecs_asked),
            "lock_timeout": node.lock_timeout,
            "origin": node.origin,
        },
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


@lru_cache(maxsize=4096)
def decode(data: bytes) -> Record:
    """Bytes -> record. Raises `DamagedError`."""
    import json

    if len(data) > RECORD_LIMIT:
        raise DamagedError("it is too large")
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        raise DamagedError("it is not JSON, or cut off") from None
    if not isinstance(raw, dict):
        raise DamagedError("it is not a JSON object")
    try:
        return _from_json(_Fields(raw))
    except MultiError as error:
        raise DamagedError(str(error)) from None


class _Fields:
    """Typed access to a JSON object; every miss is a `DamagedError` that names the key."""

    def __init__(self, raw: Mapping[str, object]) -> None:
        self.raw = raw

    def _get(self, key: str, kinds: tuple[type, ...]) -> object:
        value = self.raw.get(key)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise DamagedError(f"its {key!r} is missing or of the wrong type")
        return value

    def text(self, key: str) -> str:
        value = str(self._get(key, (str,)))
        if not _is_word(value):
            raise DamagedError(f"its {key!r} holds a character that no word can hold")
        return value

    def text_or_none(self, key: str) -> str | None:
        return None if self.raw.get(key) is None else self.text(key)

    def whole(self, key: str, least: int = 0, most: int = _LAST) -> int:
        value = self._get(key, (int,))
        if not isinstance(value, int) or not least <= value <= most:
            raise DamagedError(f"its {key!r} is out of range")
        return value

    def whole_or_none(self, key: str, least: int = 0, most: int = _LAST) -> int | None:
        return None if self.raw.get(key) is None else self.whole(key, least, most)

    def signal_or_none(self, key: str) -> int | None:
        signum = self.whole_or_none(key)
        if signum is not None and schedule.find_signal(str(signum)) is None:
            raise DamagedError(f"its {key!r} is no signal of this system")
        return signum

    def number(self, key: str) -> float:
        value = self._get(key, (int, float))
        if not isinstance(value, (int, float)) or not 0 <= value < 1e15:  # noqa: PLR2004 -- no time of ours comes near
            raise DamagedError(f"its {key!r} is out of range")
        return float(value)

    def one_of(self, key: str, choices: frozenset[str]) -> str:
        value = self.text(key)
        if value not in choices:
            raise DamagedError(f"its {key!r} is {value!r}")
        return value

    def items(self, key: str) -> list[object]:
        return list(self._get(key, (list,)))  # type: ignore[call-overload, no-any-return]  # _get proved the type

    def words(self, key: str) -> tuple[str, ...]:
        words = self.items(key)
        if not all(isinstance(word, str) and _is_word(word) for word in words):
            raise DamagedError(f"its {key!r} holds something else than words")
        return tuple(str(word) for word in words)

    def fields(self, key: str) -> _Fields:
        value = self._get(key, (dict,))
        assert isinstance(value, dict)  # noqa: S101 -- _get proved it; this is for the type checker
        return _Fields(value)


def _from_json(raw: _Fields) -> Record:
    if raw.whole("version") != VERSION:
        raise DamagedError(f"it is of version {raw.whole('version')}, this multi reads version {VERSION}")
    node = _node(raw.text("name"), _command(raw), raw.fields("settings"))
    proc = _proc(raw, "pid", "start_id", 2)
    extra = raw.fields("extra")
    return Record(
        node=node,
        proc=proc,
        token=raw.text("token"),
        phase=raw.one_of("phase", _PHASES),
        desired=raw.one_of("desired", _DESIRED),
        signalled=raw.whole("signalled") == 1,
        started=raw.number("started"),
        restarts=raw.whole("restarts"),
        failures=raw.whole("failures"),
        failed=raw.number("failed"),
        failure=raw.text("failure"),
        extra={key: extra.text(key) for key in extra.raw},
        runner=_proc(raw, "runner_pid", "runner_start_id", 1),
    )


def _command(raw: _Fields) -> Command:
    if isinstance(raw.raw.get("command"), dict):
        return Unknown(raw.fields("command").text("unknown"))
    words = raw.words("command")
    if not words:
        raise DamagedError("its command is empty")
    return Known(words)


def _proc(raw: _Fields, pid_key: str, start_id_key: str, least: int) -> Proc | None:
    pid, start_id = raw.whole_or_none(pid_key, least, _LAST_PID), raw.text_or_none(start_id_key)
    if (pid is None) != (start_id is None):
        raise DamagedError(f"it has a {pid_key} without a {start_id_key}, or the other way round")
    return None if pid is None or start_id is None else Proc(pid, start_id)


def _node(name: str, command: Command, raw: _Fields) -> Node:
    return Node(
        name=name,
        short=raw.text("short"),
        host=raw.text("host"),
        preset=raw.text("preset"),
        command=command,
        pidfile=_absolute(raw, "pidfile"),
        logfile=_absolute(raw, "logfile"),
        workdir=raw.text_or_none("workdir"),
        uid=raw.text_or_none("uid"),
        gid=raw.text_or_none("gid"),
        umask=raw.whole_or_none("umask", 0, 0o777),
        nice=raw.whole_or_none("nice", -20, 19),
        env=tuple(_pair(item) for item in raw.items("env")),
        env_files=raw.words("env_files"),
        env_read=tuple(_digest(item) for item in raw.items("env_read")),
        rlimits=tuple(_limit(item) for item in raw.items("rlimits")),
        stop=schedule.parse(raw.text("stop_schedule")),
        kill_mode=raw.one_of("kill_mode", frozenset({"mixed", "process"})),
        reload_signal=raw.signal_or_none("reload_signal"),
        dump_signal=raw.signal_or_none("dump_signal"),
        hup_ends=raw.words("hup_ends"),
        ready=_ready(raw.words("ready")),
        ready_timeout=raw.number("ready_timeout"),
        startsecs=raw.number("startsecs"),
        startsecs_asked=raw.whole_or_none("startsecs_asked") == 1,  # a record of before it does not have it
        lock_timeout=raw.number("lock_timeout"),
        origin=raw.text("origin"),
    )


def _absolute(raw: _Fields, key: str) -> str:
    path = raw.text(key)
    if not path.startswith("/"):
        raise DamagedError(f"its {key!r} is not an absolute path")
    return path


def _pair(item: object) -> tuple[str, str | None]:
    match item:
        case [str() as name, str() | None as value] if name and "=" not in name and _is_word(name + (value or "")):
            return name, value
    raise DamagedError("its 'env' holds something else than pairs")


def _digest(item: object) -> tuple[str, str]:
    match item:
        case [str() as name, str() as digest] if _is_word(name + digest):
            return name, digest
    raise DamagedError("its 'env_read' holds something else than names and digests")


def _limit(item: object) -> tuple[str, int, int]:
    match item:
        case [str() as name, int() as soft, int() as hard] if _is_word(name) and all(
            type(limit) is int and -1 <= limit <= _LAST for limit in (soft, hard)
        ):
            return name, soft, hard
    raise DamagedError("its 'rlimits' holds something else than limits")


def _ready(words: tuple[str, ...]) -> Ready:
    match words:
        case (("alive" | "notify" | "log" | "tcp" | "file" | "exec") as kind, what) if _can_be_probed(kind, what):
            return Ready(kind, what)
    raise DamagedError("its 'ready' is no readiness")


def _can_be_probed(kind: str, what: str) -> bool:
    match kind:
        case "log":
            return _is_regex(what)
        case "tcp":
            host, _, port = what.rpartition(":")
            return bool(host) and port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _LAST_PORT
        case "file":
            return what.startswith("/")
        case "exec":
            return _is_command(what)
        case _:
            return not what


def _is_regex(what: str) -> bool:
    import re

    try:
        re.compile(what)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _is_command(what: str) -> bool:
    import shlex

    try:
        return bool(shlex.split(what))
    except ValueError:
        return False


def _is_word(text: str) -> bool:
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
