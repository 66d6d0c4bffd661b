"""Settings: every value is typed or refused where it enters."""

from __future__ import annotations

import math
import shlex
import signal

import pytest
from celery.bin.celery import celery as celery_command
from celery.bin.worker import worker as worker_command
from hypothesis import given
from hypothesis import strategies as st

from multi.errors import ConfigError, MultiError, UsageError
from multi.model import proof
from multi.model.node import Node, Ready
from multi.model.schedule import FOREVER, Schedule, Stage
from multi.settings.scalars import UNLIMITED
from multi.settings.table import BY_FIELD, BY_FLAG, SETTINGS
from multi.settings.toml import Document
from multi.settings.values import from_document, from_text, from_toml, merge, split, to_toml

GOOD = [
    ("preset", "exec", "exec"),
    ("cmd", "celery worker", ("celery", "worker")),
    ("cmd", "python 'my worker.py' --name %n ''", ("python", "my worker.py", "--name", "%n", "")),
    ("executable", "/venv/bin/python", "/venv/bin/python"),
    ("append", "", ()),
    ("append", "high low", ("high", "low")),
    ("pidfile", "/run/%n.pid", "/run/%n.pid"),
    ("logfile", "/dev/stderr", "/dev/stderr"),
    ("workdir", "~/proj", "~/proj"),
    ("uid", "worker", "worker"),
    ("uid", "1000", "1000"),
    ("gid", "www-data", "www-data"),
    ("umask", "022", 0o022),
    ("umask", "0", 0),
    ("umask", "0o077", 0o077),
    ("umask", "0777", 0o777),
    ("nice", "-20", -20),
    ("nice", "+19", 19),
    ("nice", "0", 0),
    ("env", "A=1", (("A", "1"),)),
    ("env", "A=", (("A", ""),)),
    ("env", "A=b=c d", (("A", "b=c d"),)),
    ("env", "A-", (("A", None),)),
    ("env_file", "proj.env", ("proj.env",)),
    ("rlimit", "NOFILE=1024", (("NOFILE", 1024, 1024),)),
    ("rlimit", "nofile=1024:4096", (("NOFILE", 1024, 4096),)),
    ("rlimit", "RLIMIT_CORE=0:unlimited", (("CORE", 0, UNLIMITED),)),
    ("rlimit", "AS=2G", (("AS", 2 << 30, 2 << 30),)),
    ("rlimit", "core=64k:1M", (("CORE", 64 << 10, 1 << 20),)),
    ("rlimit", "CORE=infinity", (("CORE", UNLIMITED, UNLIMITED),)),
    ("stop_schedule", "TERM/30/KILL/5", Schedule((Stage(15, 30.0), Stage(9, 5.0)))),
    ("stop_schedule", "TERM/forever", Schedule((Stage(15, FOREVER),))),
    ("stop_schedule", "7", Schedule((Stage(15, 7.0), Stage(9, 7.0)))),
    ("kill_mode", "process", "process"),
    ("ready", "alive", Ready("alive")),
    ("ready", "notify", Ready("notify")),
    ("ready", "log:ready$", Ready("log", "ready$")),
    ("ready", "log:a:b", Ready("log", "a:b")),
    ("ready", "tcp:80", Ready("tcp", "127.0.0.1:80")),
    ("ready", "tcp:db.example:5432", Ready("tcp", "db.example:5432")),
    ("ready", "tcp:[::1]:80", Ready("tcp", "[::1]:80")),
    ("ready", "http:80/", Ready("http", "127.0.0.1:80/")),
    ("ready", "http:80", Ready("http", "127.0.0.1:80/")),
    ("ready", "http:db.example:80/up?deep=1", Ready("http", "db.example:80/up?deep=1")),
    ("ready", "http://localhost/a//b", Ready("http", "localhost:80/a//b")),
    ("ready", "http://localhost:81", Ready("http", "localhost:81/")),
    ("ready", "http://[::1]/", Ready("http", "[::1]:80/")),
    ("ready", "http:[::1]:80/x", Ready("http", "[::1]:80/x")),
    ("ready", "file:/run/%n.ready", Ready("file", "/run/%n.ready")),
    ("ready", "exec:curl -fs 'localhost:80'", Ready("exec", "curl -fs 'localhost:80'")),
    ("ready_timeout", "60", 60.0),
    ("startsecs", "0.5", 0.5),
    ("lock_timeout", "0", 0.0),
    ("restart", "on-failure", "on-failure"),
    ("exit_ok", "0, 143,0", (0, 143)),
    ("exit_ok", "", ()),
    ("restart_delay", "0.5", 0.5),
    ("restart_limit", "5/60s", (5, 60.0)),
    ("restart_limit", "10/1.5h", (10, 5400.0)),
    ("restart_limit", "none", (0, 0.0)),
    ("alive", "tcp:80", Ready("tcp", "127.0.0.1:80")),
    ("alive_every", "0.1", 0.1),
    ("alive_failures", "1", 1),
    ("max_memory", "512M", 512 << 20),
    ("max_memory", "1.5G", 1536 << 20),
    ("max_memory", "1048576", 1 << 20),
    ("max_age", "12h", 43200.0),
    ("max_age", "90", 90.0),
    ("after", "db, web@%h", ("db", "web@%h")),
    ("needs", "tcp:redis:6379 'exec:pg_isready -q'", (Ready("tcp", "redis:6379"), Ready("exec", "pg_isready -q"))),
    ("hooks", "gave_up=mail -s 'gave up' ops", (("gave_up", "mail -s 'gave up' ops"),)),
    ("root", "deny", "deny"),
    ("reload_signal", "HUP", 1),
    ("reload_signal", "SIGUSR2", signal.SIGUSR2),
    ("reload_signal", "1", 1),
]

LIMIT_HINT = "write how many ends in how long, like 5/60s or 10/1h, or none"
AROUND = "write sh -c '...', with exec before the last command; quote it if the program takes it"
BAD = [
    ("preset", "", "--preset: is empty; leave it out for the default"),
    ("cmd", "", "--cmd: names no program; leave it out for the preset's command"),
    ("cmd", "'' x", "--cmd: names no program; leave it out for the preset's command"),
    ("cmd", "a 'b", '--cmd: "a \'b" has a quote that is not closed; close it, or put a backslash before it'),
    ("cmd", "a && b", "--cmd: '&&' is for a shell, and none is used; " + AROUND),
    ("cmd", "a\0b", "--cmd: holds a NUL character; no path, word or variable can hold one; take it out"),
    ("pidfile", "", "--pidfile: is empty; leave it out for the default"),
    ("uid", "", "--uid: '' is not a user or group; write one name or one number"),
    ("uid", "a:b", "--uid: 'a:b' is not a user or group; write one name or one number"),
    ("uid", "-1", "--uid: '-1' is not a user or group; write one name or one number"),
    ("gid", "4294967295", "--gid: '4294967295' is not a user or group number; numbers end at 4294967294"),
    ("umask", "9", "--umask: '9' is not a file mode from 000 to 777; write it in octal, like \"022\""),
    ("umask", "1777", "--umask: '1777' is not a file mode from 000 to 777; write it in octal, like \"022\""),
    ("umask", "", "--umask: '' is not a file mode from 000 to 777; write it in octal, like \"022\""),
    ("nice", "20", "--nice: '20' is not a niceness; write a whole number from -20 to 19"),
    ("nice", "1.5", "--nice: '1.5' is not a niceness; write a whole number from -20 to 19"),
    ("env", "A", "--env: 'A' is not KEY=VALUE; write KEY= for an empty value, or KEY- to take the variable away"),
    ("env", "=x", "--env: '' cannot be the name of a variable; write it like KEY=VALUE"),
    (
        "env",
        "MULTI_INSTANCE=x",
        "--env: MULTI_INSTANCE belongs to multi, which marks a node's processes with it; use another name",
    ),
    ("rlimit", "NOFILE", "--rlimit: 'NOFILE' is not NAME=SOFT[:HARD]; write it like NOFILE=1024:4096"),
    ("rlimit", "NOFLE=1", "--rlimit: 'NOFLE' is not a resource limit of this system; did you mean 'NOFILE'?"),
    (
        "rlimit",
        "NOFILE=-1",
        "--rlimit: NOFILE: '-1' is not a number; write a whole number from 0, or unlimited",
    ),
    ("rlimit", "NOFILE=4K", "--rlimit: NOFILE: '4K' is not a number; write a whole number from 0, or unlimited"),
    ("rlimit", "AS=2T", "--rlimit: AS: '2T' is not a size; write a size like 512M, or unlimited"),
    ("rlimit", "AS=9999999999G", "--rlimit: AS: '9999999999G' is not a size; write a size like 512M, or unlimited"),
    ("rlimit", "AS=G", "--rlimit: AS: 'G' is not a size; write a size like 512M, or unlimited"),
    ("rlimit", "CORE=2:1", "--rlimit: CORE has a soft limit above its hard limit; write the smaller number first"),
    (
        "rlimit",
        "CORE=unlimited:1",
        "--rlimit: CORE has a soft limit above its hard limit; write the smaller number first",
    ),
    (
        "stop_schedule",
        "TERM",
        (
            "--stop-schedule: 'TERM' is not a stop schedule: every signal needs a number of seconds after it; "
            "write it like TERM/90/QUIT/10/KILL/5, or TERM/forever"
        ),
    ),
    ("kill_mode", "mixd", "--kill-mode: 'mixd' is not a mode; did you mean 'mixed'?"),
    ("restart", "onfailure", "--restart: 'onfailure' is not a policy; did you mean 'on-failure'?"),
    ("exit_ok", "0,256", "--exit-ok: '256' is not an exit status; write 0 to 255, like [0, 143]"),
    ("exit_ok", "TERM", "--exit-ok: 'TERM' is not an exit status; write 0 to 255, like [0, 143]"),
    *(
        ("restart_limit", text, f"--restart-limit: {text!r} is not a limit; {LIMIT_HINT}")
        for text in ("5", "0/60s", "5/0s", "/60", "5/", "-1/60", "5/60s/2", "2000/1s", "5/1w", "5/60 s", "5/-1")
    ),
    ("alive", "notify", f"--alive: 'notify' is not a probe; {proof.suggestion('alive')}"),
    ("alive_every", "0", "--alive-every: '0' is too short a time between two; write 0.1 at least"),
    ("alive_failures", "0", "--alive-failures: '0' is not a number of times; write a whole number from 1 to 1000"),
    ("max_memory", "1.5", "--max-memory: '1.5' is not a size; write it like 512M or 2G"),
    ("max_memory", "0.0001K", "--max-memory: '0.0001K' is not a size; write it like 512M or 2G"),
    ("max_memory", "0", "--max-memory: '0' is not a size; write it like 512M or 2G"),
    ("max_age", "12 h", "--max-age: '12 h' is not a time; write seconds, or a time like 90m, 12h or 7d"),
    ("after", "a/b", '--after: \'a/b\' cannot name a node or a group; write it like ["db", "web"]'),
    ("after", "a,", '--after: \'\' cannot name a node or a group; write it like ["db", "web"]'),
    ("needs", "tcp:80 redis", f"--needs: 'redis' is not a probe; {proof.suggestion('needs')}"),
    ("needs", "log:ready", f"--needs: 'log:ready' is not a probe; {proof.suggestion('needs')}"),
    ("hooks", "true", "--hooks: 'true' is not EVENT=COMMAND; write it like gave_up='notify-oncall workers'"),
    ("hooks", "gave-up=true", "--hooks: 'gave-up' is no event with a hook; did you mean 'gave_up'?"),
    ("hooks", "failed=", "--hooks: a hook names no program; leave it out for none"),
    ("hooks", "failed=a && b", "--hooks: '&&' is for a shell, and none is used; " + AROUND),
    ("root", "never", "--root: 'never' is not a policy; it can be allow, warn, deny"),
    (
        "ready",
        "yes",
        f"--ready: 'yes' is not a proof of readiness; {proof.suggestion()}",
    ),
    ("ready", "alive:x", "--ready: 'alive:x' says too much; write just alive"),
    (
        "ready",
        "log:(",
        (
            "--ready: '(' is not a regular expression: missing ), unterminated subpattern at position 0; "
            "put a backslash before a special character"
        ),
    ),
    ("ready", "log:", "--ready: log: needs a regular expression; write it like 'log:ready to serve'"),
    ("ready", "tcp:0", "--ready: 'tcp:0' names no port; write it like tcp:8000 or tcp:10.0.0.1:8000"),
    ("ready", "tcp:host:", "--ready: 'tcp:host:' names no port; write it like tcp:8000 or tcp:10.0.0.1:8000"),
    ("ready", "tcp:80/x", "--ready: 'tcp:80/x' names no port; write it like tcp:8000 or tcp:10.0.0.1:8000"),
    ("ready", "http:/x", "--ready: 'http:' names no port; write it like http:8000 or http:10.0.0.1:8000"),
    ("ready", "http:///x", "--ready: 'http::80' names no port; write it like http:8000 or http:10.0.0.1:8000"),
    ("ready", "http:web/x", "--ready: 'http:web' names no port; write it like http:8000 or http:10.0.0.1:8000"),
    ("ready", "https://localhost/", f"--ready: 'https://localhost/' is not a proof of readiness; {proof.suggestion()}"),
    ("ready", "tcp::80", "--ready: 'tcp::80' names no port; write it like tcp:8000 or tcp:10.0.0.1:8000"),
    ("ready", "tcp:::1:80", "--ready: 'tcp:::1:80' names no host; write an IPv6 address like tcp:[::1]:8000"),
    ("ready", "file:", "--ready: file: needs a path; write it like file:/run/%n.ready"),
    ("ready", "exec: ", "--ready: exec: needs a command; write it like exec:'curl -fs localhost:8000'"),
    ("ready_timeout", "-1", "--ready-timeout: '-1' is not a number of seconds; write a number from 0, like 60 or 0.5"),
    ("startsecs", "inf", "--startsecs: 'inf' is not a number of seconds; write a number from 0, like 60 or 0.5"),
    ("startsecs", "nan", "--startsecs: 'nan' is not a number of seconds; write a number from 0, like 60 or 0.5"),
    ("lock_timeout", "1_0", "--lock-timeout: '1_0' is not a number of seconds; write a number from 0, like 60 or 0.5"),
    ("reload_signal", "FOO", "--reload-signal: 'FOO' is not a signal of this system; write it like HUP or 1"),
    ("reload_signal", "0", "--reload-signal: '0' is not a signal of this system; write it like HUP or 1"),
]

TOML_GOOD = [
    ("cmd", ["python", "a b.py", ""], ("python", "a b.py", "")),
    ("append", [], ()),
    ("uid", 1000, "1000"),
    ("nice", -5, -5),
    ("env", {"A": "1", "B": False}, (("A", "1"), ("B", None))),
    ("env_file", ["a.env", "b.env"], ("a.env", "b.env")),
    ("env_file", "a.env", ("a.env",)),
    ("rlimit", {"NOFILE": 1024, "core": "0:unlimited"}, (("NOFILE", 1024, 1024), ("CORE", 0, UNLIMITED))),
    ("stop_schedule", 30, Schedule((Stage(15, 30.0), Stage(9, 30.0)))),
    ("ready_timeout", 5, 5.0),
    ("ready_timeout", 0.5, 0.5),
    ("ready_timeout", "5", 5.0),
    ("reload_signal", 1, 1),
]

TOML_BAD = [
    ("pidfile", 3, "m.toml:1: x: is an integer, not a string; put it in quotes"),
    (
        "cmd",
        3,
        (
            "m.toml:1: x: is an integer, not a command; "
            'write a shell-quoted string, or an array like ["python", "worker.py"]'
        ),
    ),
    ("cmd", [1], "m.toml:1: x: holds an integer where a string is needed; put it in quotes"),
    ("cmd", [], "m.toml:1: x: names no program; leave it out for the preset's command"),
    ("uid", True, "m.toml:1: x: is a boolean, not a name or number; write a name in quotes, or a number"),
    ("uid", -1, "m.toml:1: x: '-1' is not a user or group; write one name or one number"),
    ("umask", 22, 'm.toml:1: x: is an integer, which would be read as decimal; write it in octal, like "022" or 0o022'),
    ("nice", 2.0, "m.toml:1: x: '2.0' is not a niceness; write a whole number from -20 to 19"),
    ("nice", True, "m.toml:1: x: a boolean is not a niceness; write a whole number from -20 to 19"),
    ("env", ["A=1"], 'm.toml:1: x: is an array, not a table; write it like env = { KEY = "value" }'),
    (
        "env",
        {"A": 1},
        (
            "m.toml:1: x: 'A' is an integer, not a string; "
            "put its value in quotes, or write false to take the variable away"
        ),
    ),
    (
        "env",
        {"A": True},
        (
            "m.toml:1: x: 'A' is a boolean, not a string; "
            "put its value in quotes, or write false to take the variable away"
        ),
    ),
    ("rlimit", 3, "m.toml:1: x: is an integer, not a table; write it like rlimit = { NOFILE = 4096 }"),
    ("rlimit", {"CORE": [1]}, "m.toml:1: x: CORE is an array, not a limit; write it like NOFILE=1024:4096"),
    ("exit_ok", [0, True], "m.toml:1: x: a boolean is not an exit status; write 0 to 255, like [0, 143]"),
    ("restart_limit", 5, f"m.toml:1: x: is an integer, not a limit; {LIMIT_HINT}"),
    ("alive_failures", 1.0, "m.toml:1: x: '1.0' is not a number of times; write a whole number from 1 to 1000"),
    ("needs", 80, 'm.toml:1: x: is an integer, not an array of probes; write it like ["tcp:redis:6379"]'),
    ("needs", [80], f"m.toml:1: x: is an integer, not a probe; {proof.suggestion('needs')}"),
    (
        "hooks",
        ["a"],
        'm.toml:1: x: is an array, not a table; write it like hooks = { gave_up = "notify-oncall --channel workers" }',
    ),
    (
        "hooks",
        {"failed": 1},
        (
            "m.toml:1: x: is an integer, not a command; write a shell-quoted string, or an array "
            'like { gave_up = "notify-oncall --channel workers" }'
        ),
    ),
    ("startsecs", math.inf, "m.toml:1: x: 'inf' is not a number of seconds; write a number from 0, like 60 or 0.5"),
    ("startsecs", math.nan, "m.toml:1: x: 'nan' is not a number of seconds; write a number from 0, like 60 or 0.5"),
    ("kill_mode", 1, "m.toml:1: x: '1' is not a mode; it can be mixed, process"),
    ("reload_signal", 1.5, "m.toml:1: x: '1.5' is not a signal of this system; write it like HUP or 1"),
    (
        "ready",
        80,
        f"m.toml:1: x: is an integer, not a proof of readiness; {proof.suggestion()}",
    ),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_text_becomes_a_typed_value(name: str, text: str, value: object) -> None:
    """What can stand on the command line or in a variable has one typed value."""
    typed = from_text(SETTINGS[name], text, SETTINGS[name].flags[0])
    assert typed == value
    assert type(typed) is type(value) or isinstance(value, int)


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_wrong_text_is_refused_on_one_line(name: str, text: str, message: str) -> None:
    """The message names the flag, says why and what to try."""
    with pytest.raises(UsageError) as caught:
        from_text(SETTINGS[name], text, SETTINGS[name].flags[0])
    assert str(caught.value) == message


@pytest.mark.parametrize("name", SETTINGS)
def test_an_option_without_its_value_is_refused(name: str) -> None:
    """Every setting takes a value; where it is missing the message shows what to write."""
    setting = SETTINGS[name]
    with pytest.raises(UsageError) as caught:
        from_text(setting, None, setting.flags[0])
    assert str(caught.value) == f"{setting.flags[0]}: needs a value; write {setting.flags[0]}={setting.metavar}"


@pytest.mark.parametrize(("name", "value", "typed"), TOML_GOOD)
def test_toml_becomes_a_typed_value(name: str, value: object, typed: object) -> None:
    """TOML's own types are taken beside strings."""
    assert from_toml(SETTINGS[name], value, "m.toml:1: x") == typed


@pytest.mark.parametrize(("name", "value", "message"), TOML_BAD)
def test_wrong_toml_is_refused_on_one_line(name: str, value: object, message: str) -> None:
    """The message names the place, says why and what to try."""
    with pytest.raises(ConfigError) as caught:
        from_toml(SETTINGS[name], value, "m.toml:1: x")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "name", ["nice", "reload_signal", "rlimit", "startsecs", "stop_schedule", "uid", "umask", "kill_mode"]
)
def test_an_integer_that_python_will_not_print_is_refused(name: str) -> None:
    """A long hexadecimal number is TOML, and `str` raises for it."""
    value = 16**5000
    with pytest.raises(ConfigError, match=r"^m\.toml:1: x: .*an integer"):
        from_toml(SETTINGS[name], {"CORE": value} if name == "rlimit" else value, "m.toml:1: x")


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_toml_strings_read_as_on_the_command_line(name: str, text: str, value: object) -> None:
    """A substituted variable is a string, so every setting can be written as one."""
    assert from_toml(SETTINGS[name], text, "m.toml:1: x") == value


def test_a_bare_integer_is_a_mode_only_when_written_in_octal() -> None:
    """``umask = 22`` would silently be 0o026, so only ``0o022`` or a string is taken."""
    octal = Document("m.toml", "umask = 0o0_27", {"umask": 0o27})
    assert from_document(SETTINGS["umask"], 0o27, octal, ("umask",)) == 0o27
    decimal = Document("m.toml", "umask = 22", {"umask": 22})
    with pytest.raises(ConfigError, match=r"^m\.toml:1: umask: is an integer, which would be read as decimal"):
        from_document(SETTINGS["umask"], 22, decimal, ("umask",))


def test_examples_and_defaults_are_values_of_their_setting() -> None:
    """The example of each setting is TOML that the setting takes, and its default is a typed value."""
    from multi.settings.toml import read

    for setting in SETTINGS.values():
        document = read(f"x = {setting.example}", "example")
        typed = from_document(setting, document.values["x"], document, ("x",))
        if setting.default is not None:
            assert type(setting.default) is type(typed), setting.name


def test_every_setting_of_a_node_comes_back_from_toml() -> None:
    """A field of `Node` holds it; its example and default are said as TOML, in JSON's types, and read back the same."""
    import json

    from multi.settings.toml import read

    assert {*BY_FIELD} < {*Node.__annotations__}
    for setting in BY_FIELD.values():
        document = read(f"x = {setting.example}", "example")
        typed = from_document(setting, document.values["x"], document, ("x",))
        for value in (typed,) if setting.default is None else (typed, setting.default):
            said = json.loads(json.dumps(to_toml(setting, value)))
            assert from_toml(setting, said, "x") == value, setting.name


def test_names_and_flags_are_unique() -> None:
    """No two settings share a flag, and each setting has a long flag made of its name."""
    flags = [flag for setting in SETTINGS.values() for flag in setting.flags]
    assert len(flags) == len(set(flags)) == len(BY_FLAG)
    for name, setting in SETTINGS.items():
        assert setting.name == name
        assert setting.flags[0] == "--" + name.replace("_", "-")


def test_flags_collide_with_celery_only_where_celery_means_the_same() -> None:
    """A flag of ours hides a worker's option, so only the daemon options may be shared."""
    theirs = {
        option
        for command in (worker_command, celery_command)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    shared = {"--pidfile", "--logfile", "-f", "--workdir", "--uid", "--gid", "--umask", "--executable"}
    assert set(BY_FLAG) & theirs == shared


def test_repeatable_settings_add_up() -> None:
    """``env`` and ``rlimit`` add up key by key, ``env_file`` file by file; others are replaced."""
    env = SETTINGS["env"]
    assert merge(env, (("A", "1"), ("B", "2")), (("B", None), ("C", "3"))) == (("A", "1"), ("B", None), ("C", "3"))
    assert merge(SETTINGS["rlimit"], (("CORE", 0, 0),), (("CORE", 1, 2),)) == (("CORE", 1, 2),)
    assert merge(SETTINGS["env_file"], ("a", "b"), ("b", "c")) == ("a", "b", "b", "c")
    assert merge(SETTINGS["append"], ("a",), ("b",)) == ("b",)
    assert merge(SETTINGS["nice"], 1, 2) == 2


@given(st.sampled_from(sorted(SETTINGS)), st.text() | st.none())
def test_any_text_is_typed_or_refused(name: str, text: str | None) -> None:
    """Never another exception, and the message is one line."""
    message = ""
    try:
        from_text(SETTINGS[name], text, "--flag")
    except UsageError as error:
        message = str(error)
    assert "\n" not in message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)


@given(st.sampled_from(sorted(SETTINGS)), VALUES)
def test_any_toml_value_is_typed_or_refused(name: str, value: object) -> None:
    """Never another exception, and the message is one line."""
    message = ""
    try:
        from_toml(SETTINGS[name], value, "m.toml:1: x")
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message


CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
BYTES = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)  # as words hold bytes that are no UTF-8


@given(st.lists(st.text(CHARACTERS | BYTES)))
def test_words_survive_quoting(words: list[str]) -> None:
    """G11: whatever the shell can quote arrives as it was meant."""
    import shlex

    assert split(shlex.join(words)) == tuple(words)
    assert from_toml(SETTINGS["append"], words, "m.toml:1: x") == tuple(words)


@pytest.mark.parametrize("text", ["notify", "alive", "log:x", "redis"])
@pytest.mark.parametrize("purpose", ["alive", "needs"])
def test_a_probe_has_to_serve_its_purpose(purpose: str, text: str) -> None:
    """What only a start can prove is no proof later, nor of another; one text says so for all."""
    with pytest.raises(UsageError) as caught:
        proof.parse(text, purpose)
    assert caught.value.why == f"{text!r} is not a probe"
    assert caught.value.hint == proof.suggestion(purpose)
    for good in ("tcp:1", "http:1/", "exec:true", "file:/x"):
        assert proof.parse(good, purpose) == proof.parse(good)


@given(st.text(alphabet="loghttpfile:/exec alivenotify0123456789[].*+?()", max_size=30))
def test_a_readiness_reads_back_from_its_own_notation(text: str) -> None:
    """What `Ready` prints is what `ready` reads."""
    try:
        typed = from_text(SETTINGS["ready"], text, "--ready")
    except MultiError:
        return
    assert isinstance(typed, Ready)
    assert from_text(SETTINGS["ready"], str(typed), "--ready") == typed


@given(st.text(alphabet="ab -'\"\\#\t\n\x1f;$é\u00a0", max_size=12))
def test_split_is_that_of_the_standard_library(text: str) -> None:
    """What quotes nothing comes apart without `shlex`, and in the same way."""
    try:
        expected = tuple(shlex.split(text))
    except ValueError:
        with pytest.raises(ValueError, match="No"):
            split(text)
    else:
        assert split(text) == expected
