"""Bytes <-> pidfile and record: an inverse pair, and a reader that believes nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from multi import codec
from multi.codec import decode, encode
from multi.model import record as records
from multi.model.node import Known, Node, Ready, Unknown
from multi.model.process import Proc
from multi.model.record import Cgroup, DamagedError, Record, Rejected, decode_pid, encode_pid
from multi.model.schedule import FOREVER, Schedule, Stage
from multi.settings.table import BY_FIELD, EVENTS_WITH_HOOKS
from multi.testing.world import node_of
from multi.value import replace


def check_reason(error: DamagedError) -> None:
    """A reason is one line."""
    assert str(error)
    assert "\n" not in str(error)


# --- pidfiles ---------------------------------------------------------------------------------------------


def test_encode_pid() -> None:
    """A pidfile is the number and a newline, so that every other tool can read it."""
    assert encode_pid(4711) == b"4711\n"


@given(st.integers(0, 9_999_999_999))
def test_pid_round_trip(pid: int) -> None:
    """What is written is read."""
    assert decode_pid(encode_pid(pid)) == pid
    assert decode_pid(b" \t" + encode_pid(pid)) == pid


@given(st.integers(10, 9_999_999_999), st.data())
def test_half_a_pidfile(pid: int, data: st.DataObject) -> None:
    """No part of a pidfile is read as a pid: 47 is not 4711."""
    whole = encode_pid(pid)
    with pytest.raises(DamagedError):
        decode_pid(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=64))
@example(b"-1\n")
@example(b"1\n2\n")
@example(b"\n\n1\n")
@example("\u0661\n".encode())
def test_any_pidfile(data: bytes) -> None:
    """Any bytes are a number that may be a pid, or damage with a reason on one line."""
    try:
        pid = decode_pid(data)
    except DamagedError as error:
        check_reason(error)
        return
    assert 0 <= pid <= 9_999_999_999
    assert int(data) == pid
    assert data.endswith(b"\n")


def first_of(item: tuple[Any, ...]) -> object:
    """What a variable or a limit is called."""
    return item[0]


def sound(limits: Sequence[tuple[str, int, int]]) -> tuple[tuple[str, int, int], ...]:
    """No soft limit above its hard one."""

    def size(limit: int) -> float:
        return float("inf") if limit == -1 else limit

    return tuple((name, min(pair, key=size), max(pair, key=size)) for name, *pair in limits)


# --- records ------------------------------------------------------------------------------------------------

# Words as they come from a command line: any text, and bytes that are no UTF-8 as lone surrogates.
WORD = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")),
)
PATH = WORD.map("/run/{}".format)
SECONDS = st.one_of(st.integers(0, 10**6).map(float), st.floats(0, 1e9, allow_nan=False))
NUMBER = st.integers(0, 2**40)
NAME = WORD.filter(lambda word: word != "" and "=" not in word)
USER = st.sampled_from(["worker", "0", "4294967294", "www-data", "j\u00fcrgen"])
LIMIT = st.integers(-1, 2**63 - 1)
LIMITS = st.lists(st.tuples(st.sampled_from(["CORE", "NOFILE", "AS"]), LIMIT, LIMIT), unique_by=first_of).map(sound)
SIGNUM = st.sampled_from(sorted(map(int, signal.valid_signals())))
STAGE = st.builds(Stage, SIGNUM, st.sampled_from([0.0, 0.5, 90.0, 1234567.0]))
SCHEDULE = st.builds(
    lambda stages, endless: Schedule((*stages[:-1], Stage(stages[-1].signum, FOREVER)) if endless else tuple(stages)),
    st.lists(STAGE, min_size=1, max_size=4),
    st.booleans(),
)
READY = st.one_of(
    st.sampled_from([Ready("alive"), Ready("notify"), Ready("log", "^ready"), Ready("tcp", "127.0.0.1:80")]),
    st.sampled_from([Ready("tcp", "[::1]:8080"), Ready("file", "/run/ready"), Ready("exec", "ping 'a b'")]),
)
PROBE = READY.filter(lambda ready: ready.sign in {"answer", "path"})
COMMAND = st.builds(Known, st.lists(WORD, min_size=1, max_size=5).map(tuple)) | st.builds(Unknown, WORD)
NODE = st.builds(
    Node,
    name=WORD,
    short=WORD,
    host=WORD,
    preset=WORD,
    command=COMMAND,
    pidfile=PATH,
    logfile=PATH,
    workdir=st.none() | PATH,
    uid=st.none() | USER,
    gid=st.none() | USER,
    umask=st.none() | st.integers(0, 0o777),
    nice=st.none() | st.integers(-20, 19),
    env=st.lists(st.tuples(NAME, st.none() | WORD), max_size=3, unique_by=first_of).map(tuple),
    rlimits=LIMITS,
    stop=SCHEDULE,
    kill_mode=st.sampled_from(["mixed", "process"]),
    reload_signal=st.none() | SIGNUM,
    dump_signal=st.none() | SIGNUM,
    hup_ends=st.lists(WORD, max_size=2).map(tuple),
    ready=READY,
    ready_timeout=SECONDS,
    startsecs=SECONDS,
    startsecs_asked=st.booleans(),
    lock_timeout=SECONDS,
    restart=st.sampled_from(["no", "on-failure", "always"]),
    exit_ok=st.lists(st.integers(0, 255), max_size=3, unique=True).map(tuple),
    restart_delay=SECONDS,
    restart_limit=st.none() | st.just((0, 0.0)) | st.tuples(st.integers(1, 1000), st.sampled_from([0.5, 60.0, 3600.0])),
    alive=st.none() | PROBE,
    alive_every=st.sampled_from([0.1, 30.0]),
    alive_failures=st.integers(1, 1000),
    max_memory=st.none() | st.integers(1, 2**63 - 1),
    max_age=st.none() | st.sampled_from([0.5, 86400.0]),
    after=st.lists(st.sampled_from(["db", "web@%h", "ä"]), max_size=2, unique=True).map(tuple),
    needs=st.lists(PROBE, max_size=2).map(tuple),
    hooks=st.lists(
        st.tuples(st.sampled_from(EVENTS_WITH_HOOKS), st.just("mail -s 'a b' ops")), max_size=2, unique_by=first_of
    ).map(tuple),
    origin=WORD,
    env_files=st.lists(PATH, max_size=2).map(tuple),
    env_read=st.lists(st.tuples(NAME, WORD), max_size=2, unique_by=first_of).map(tuple),
)
RECORD = st.builds(
    Record,
    node=NODE,
    proc=st.none() | st.builds(Proc, st.integers(2, 2**31 - 1), WORD),
    token=WORD,
    phase=st.sampled_from([records.STARTING, records.UP]),
    desired=st.sampled_from([records.WANTED_UP, records.WANTED_STOPPED, records.RESTARTING]),
    signalled=st.booleans(),
    started=SECONDS,
    restarts=NUMBER,
    failures=NUMBER,
    failed=SECONDS,
    failure=WORD,
    ends=st.lists(SECONDS, max_size=3).map(tuple),
    exit_status=st.none() | st.integers(-64, 255),
    gave_up=WORD,
    extra=st.dictionaries(WORD, WORD, max_size=3),
    runner=st.none() | st.builds(Proc, st.integers(1, 2**31 - 1), WORD),
    rejected=st.none() | st.builds(Rejected, WORD, SECONDS, WORD),
    former=st.none() | NODE,
    settle=SECONDS,
    cgroup=st.none() | st.builds(Cgroup, PATH, NUMBER),
)


@given(RECORD)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_round_trip(record: Record) -> None:
    """Every record is read as it was written, with every word exactly as it was typed (G11)."""
    data = encode(record)
    assert decode(data) == record
    assert data.endswith(b"}\n")
    assert data.isascii()


@given(st.binary(max_size=200))
@example(b"")
@example(b"null")
@example(b"[]")
@example(b"{}")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"1" * 5000)
@example("{}".encode("utf-16"))
@example(b"\xef\xbb\xbf{}")
def test_any_bytes(data: bytes) -> None:
    """Any bytes at all are damage, with a reason on one line."""
    with pytest.raises(DamagedError) as caught:
        decode(data)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


SOUND = Record(
    node=node_of(uid="worker", umask=0o22, nice=5, env=(("A", "1"), ("B", None)), rlimits=(("NOFILE", 64, -1),)),
    proc=Proc(4000, "boot:1"),
    token="f" * 32,
    extra={"status": "fine"},
    runner=Proc(1, "boot:0"),
)
RAW: dict[str, Any] = json.loads(encode(SOUND))
KEYS = [(key,) for key in RAW] + [("settings", key) for key in RAW["settings"]]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.integers(10**30, 10**320),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def changed(path: tuple[str, ...], value: object) -> bytes:
    """A sound record with one value changed."""
    raw = json.loads(encode(SOUND))
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(raw).encode()


@given(st.sampled_from(KEYS), JSON)
@example(("started",), 10**400)
@example(("started",), -1)
@example(("failed",), float("nan"))
@settings(max_examples=400)
def test_any_value_anywhere(path: tuple[str, ...], value: object) -> None:
    """One value changed to anything else: a record all the same, or damage with a reason; nothing else happens."""
    try:
        record = decode(changed(path, value))
    except DamagedError as error:
        check_reason(error)
        return
    assert decode(encode(record)) == record


@given(st.integers(0, len(encode(SOUND)) - 1), st.integers(0, 255))
@settings(max_examples=300)
def test_any_byte_flipped(at: int, byte: int) -> None:
    """One byte changed to any other: a record or damage."""
    data = bytearray(encode(SOUND))
    data[at] = byte
    try:
        record = decode(bytes(data))
    except DamagedError:
        return
    assert decode(encode(record)) == record


def told(read: Callable[[bytes], object], data: bytes) -> str:
    """What is read, or the kind of failure."""
    try:
        return repr(read(data))
    except (ValueError, RecursionError) as error:
        return type(error).__name__


@given(st.one_of(st.binary(max_size=50), st.tuples(JSON, st.text(" \t\n\r\f,}1", max_size=3), st.booleans())))
@example(encode(SOUND))
@example(b'{"a": 1, "a": [NaN, -Infinity, 1e400, -0, 1.0], "b": "\\ud800"}\n')
@example(b'{"a": "\x01"}')
@example(b"{" + b'"a":[' * 100_000)
@example("{}".encode("utf-16-le"))
@example("{}".encode("utf-8-sig"))
def test_what_is_scanned_is_what_json_reads(what: bytes | tuple[object, str, bool]) -> None:
    """A record is read without the module `json`, and is the same as with it."""
    data = what if isinstance(what, bytes) else json.dumps(what[0], ensure_ascii=what[2]).encode() + what[1].encode()
    assert told(codec.loads, data) == told(json.loads, data)


def test_half_a_record() -> None:
    """No part of a record is a record, but for the newline at its end."""
    data = encode(SOUND)
    for size in range(len(data) - 1):
        with pytest.raises(DamagedError):
            decode(data[:size])
    assert decode(data[:-1]) == SOUND


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_every_key_counts(path: tuple[str, ...]) -> None:
    """A record without any one of its keys is damaged; the reason names the key."""
    raw = json.loads(encode(SOUND))
    inner = raw["settings"] if len(path) > 1 else raw
    unsaid = {setting.name for setting in BY_FIELD.values() if setting.default is None}
    optional = (unsaid | {"dump_signal"}) - {"logfile"}
    if path[-1].startswith("runner") or path[-1] == "exit_status":
        return
    del inner[path[-1]]
    data = json.dumps(raw).encode()
    if path[-1] in optional:
        assert getattr(decode(data).node, path[-1]) is None
        return
    with pytest.raises(DamagedError, match=path[-1]):
        decode(data)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("version",), 2, "version 2, this multi reads version 1"),
        (("version",), "1", "version"),
        (("version",), True, "version"),  # JSON's true is Python's 1
        (("command",), [], "command is empty"),
        (("command",), ["a\0b"], "command"),
        (("command",), ["\ud800"], "command"),
        (("command",), "sleep 1", "command"),
        (("pid",), 0, "pid"),
        (("pid",), 1, "pid"),
        (("pid",), -1, "pid"),
        (("pid",), 2**31, "pid"),
        (("pid",), 4000.5, "pid"),
        (("start_id",), None, "start_id"),
        (("phase",), "zombie", "phase"),
        (("desired",), "dead", "desired"),
        (("pidfile",), "relative.pid", "not an absolute path"),
        (("settings", "logfile"), "w1.log", "not an absolute path"),
        (("settings", "stop_schedule"), "TERM/soon", "stop schedule"),
        (("settings", "kill_mode"), "none", "kill_mode"),
        (("settings", "logfile"), None, "logfile"),
        (("settings", "workdir"), "work", "not an absolute path"),
        (("settings", "env_file"), ["/run/env", "env"], "not an absolute path"),
        (("settings", "env"), {"A=B": "c"}, "env"),
        (("settings", "env"), {"": "c"}, "env"),
        (("settings", "env"), {"A": "\0"}, "env"),
        (("settings", "env"), {"A": "\ud800"}, "env"),
        (("settings", "env"), {"MULTI_INSTANCE": "forged"}, "belongs to multi"),
        (("settings", "env"), [["A", "1"]], "env"),
        (("env_read",), {"A": 1}, "env_read"),
        (("env_read",), {"A\0": "1"}, "env_read"),
        (("settings", "rlimit"), {"NOFILE": "1:"}, "rlimit"),
        (("settings", "rlimit"), {"NOFILE": f"1:{2**64}"}, "rlimit"),
        (("settings", "rlimit"), {"NOFILE": True}, "rlimit"),
        (("settings", "umask"), "1000", "umask"),
        (("settings", "umask"), 0o22, "umask"),
        (("settings", "umask"), "-1", "umask"),
        (("settings", "nice"), 2**70, "nice"),
        (("settings", "reload_signal"), 4711, "reload_signal"),
        (("dump_signal",), 0, "dump_signal"),
        (("settings", "ready"), "magic", "ready"),
        (("settings", "ready"), "log:(", "ready"),
        (("settings", "ready"), "tcp:nowhere", "ready"),
        (("settings", "ready"), "tcp:localhost:99999", "ready"),
        (("settings", "ready"), "exec:'", "ready"),
        (("settings", "ready"), "file:relative", "ready"),
        (("settings", "ready_timeout"), -1, "ready_timeout"),
        (("settings", "startsecs"), 10**400, "startsecs"),
        (("settings", "lock_timeout"), float("inf"), "lock_timeout"),
        (("started",), 1e300, "started"),
        (("restarts",), -1, "restarts"),
        (("failures",), -1, "failures"),
        (("extra",), {"status": 1}, "extra"),
        (("failure",), "a\0b", "failure"),
        (("name",), "w1\ud800", "name"),
    ],
)
def test_values_that_nothing_of_ours_writes(path: tuple[str, ...], value: object, why: str) -> None:
    """What could only break later, in the middle of a command, is damage at once; the reason names the place."""
    with pytest.raises(DamagedError) as caught:
        decode(changed(path, value))
    assert why in str(caught.value)


def test_too_large() -> None:
    """A record beyond all measure is not even parsed."""
    with pytest.raises(DamagedError, match="too large"):
        decode(b" " * (records.RECORD_LIMIT + 1))


def test_unknown_keys_are_let_by() -> None:
    """A key that a later multi adds is no damage."""
    assert decode(changed(("later",), 1)) == SOUND


def test_signalled_can_be_amended() -> None:
    """That the signal is sent is one digit, which stands in the record once whatever a user wrote into it."""
    tricky = replace(SOUND, failure=records.UNSIGNALLED.decode(), extra={records.UNSIGNALLED.decode(): "x"})
    for record in (SOUND, tricky):
        data = encode(record)
        assert data.count(records.UNSIGNALLED) == 1
        assert decode(data.replace(records.UNSIGNALLED, records.SIGNALLED)) == replace(record, signalled=True)


# --- what is asked --------------------------------------------------------------------------------------------


def test_asking() -> None:
    """What is asked of the node changes; that it was signalled is not true of the new wish."""
    starting = replace(SOUND, signalled=True, phase=records.STARTING)
    assert starting.proc is not None
    asked = starting.requested(records.WANTED_STOPPED, starting.proc, 7.0, "root (multi)")
    stopping = replace(starting, signalled=False, desired=records.WANTED_STOPPED)
    assert asked == replace(stopping, stopped_at=7.0, stopped_by="root (multi)")
    again = asked.requested(records.RESTARTING, starting.proc, 8.0, "root (multi)")
    assert again == replace(starting, desired=records.RESTARTING, signalled=False), "nobody stopped it for good"


def test_g14_what_is_kept_of_a_node_that_was_stopped() -> None:
    """How it was started and who stopped it stay; what was true of its process goes; who asked first counts (G14)."""
    failed = replace(SOUND, failures=3, failed=1.0, failure="it died", extra={"status": "busy"}, signalled=True)
    stopped = failed.ended(9.0, "root (multi stop w1)")
    assert stopped.stopped
    assert (stopped.node, stopped.proc, stopped.token) == (SOUND.node, None, "")
    assert (stopped.failures, stopped.failure, stopped.extra) == (0, "", {})
    assert (stopped.stopped_at, stopped.stopped_by) == (9.0, "root (multi stop w1)")
    assert replace(failed, stopped_by="joe (multi stop)").ended(9.0, "root (multi)").stopped_by == "joe (multi stop)"
    assert decode(encode(stopped)) == replace(stopped, owner=None)


def test_asking_another_process() -> None:
    """A record of an earlier process is about the one that is asked now, and forgets how that one fared."""
    other = Proc(4001, "boot:2")
    failed = replace(SOUND, proc=None, phase=records.STARTING, failure="it died")
    asked = failed.requested(records.RESTARTING, other, 7.0, "root (multi)")
    assert asked == replace(failed, proc=other, phase=records.UP, failure="", desired=records.RESTARTING)
