"""The command line: raw words in, an order out; what is printed where, and the exit code.

The commands ride the real API on a machine that is made up, so nothing of this one is touched.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multi import __version__, api
from multi.api import RunOptions
from multi.cli import commands, main, order, serve
from multi.cli import help as manual
from multi.cli.completion import candidates
from multi.cli.order import Command, Option, split, take
from multi.cli.prose import prose
from multi.cli.screen import Screen
from multi.errors import ConfigError, NotPermittedError, UsageError
from multi.logs import LogLine, Query
from multi.machine import MachineError
from multi.settings.table import BY_FLAG, SETTINGS
from multi.testing.world import Entry, Fake, Nature, World

STUBBORN = Nature(ignores=frozenset({signal.SIGTERM}))
BROKEN = Nature(lives=0.5, status=1, prints=((0.1, b"boom\n"),))


def place(*running: str, config: str = "") -> World:
    """A machine on which a node is ``program NAME``, some of them running, perhaps with a configuration file."""
    world = World()
    world.environ = {
        "MULTI_PRESET": "exec",
        "MULTI_CMD": "program %n",
        "MULTI_PIDFILE": "/run/%n.pid",
        "MULTI_LOGFILE": "/log/%n.log",
        "MULTI_ROOT": "allow",
        "MULTI_STOP_SCHEDULE": "TERM/10/KILL/5",
    }
    if config:
        world.files["/multi.toml"] = Entry(config.encode())
    if running:
        assert run("start", *running, world=world).code == 0
    return world


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class Result:
    """What a person would see."""

    code: int
    out: str
    err: str


def run(
    *words: str,
    world: World | None = None,
    fake: Fake | None = None,
    terminal: bool = False,
    environ: dict[str, str] | None = None,
    system: str = "posix",
) -> Result:
    """One command line, in process."""
    out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    environ = {"TERM": "xterm"} if environ is None else environ
    ticks = iter(range(1_000_000))
    screen = Screen(out, err, environ, clock=lambda: float(next(ticks)))
    fake = fake or (world or place()).fake()
    code = serve(words, screen, environ, fake, system)
    fake.close()
    return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the API is asked to select: the command and the words; it is refused."""
    asked: list[tuple[str, ...]] = []

    def select(command: str, words: Sequence[str], **_: object) -> api.Selection:
        asked.append((command, *words))
        raise UsageError("select", "asked")

    monkeypatch.setattr(api, "select", select)
    return asked


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, RunOptions]]:
    """What the API is asked to run, and how; nothing happens."""
    requests: list[tuple[str, RunOptions]] = []

    def run(command: str, _selection: api.Selection, *, options: RunOptions, **_: object) -> tuple[()]:
        requests.append((command, options))
        return ()

    monkeypatch.setattr(api, "run", run)
    return requests


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ((), None, ())),
        (["start"], ((), "start", ())),
        (["start", "w1", "-c", "4", "--", "-x"], ((), "start", ("w1", "-c", "4", "--", "-x"))),
        (["-A", "proj", "start", "w1"], (("-A", "proj"), "start", ("w1",))),
        (["-Aproj", "start", "w1"], (("-Aproj",), "start", ("w1",))),
        (["--app=proj", "start", "w1"], (("--app=proj",), "start", ("w1",))),
        (["-A", "start", "start", "w1"], (("-A", "start"), "start", ("w1",))),
        (["-A", "run", "stop"], (("-A", "run"), "stop", ())),
        (["-q", "-C", "--skip-checks", "start", "w1"], (("-q", "-C", "--skip-checks"), "start", ("w1",))),
        (["-q", "strat", "w1"], (("-q",), "strat", ("w1",))),
        (["-Aproj", "strat", "w1"], (("-Aproj",), "strat", ("w1",))),
        (["--novel", "value", "start"], (("--novel=value",), "start", ())),
        (["-x", "value", "start"], (("-x", "value"), "start", ())),
        (["--rolling", "2", "restart", "w1"], (("--rolling=2",), "restart", ("w1",))),
        (["--novel", "start", "w1"], (("--novel",), "start", ("w1",))),
        (["--multi-config", "start", "status"], (("--multi-config", "start"), "status", ())),
        (["--json", "status"], (("--json",), "status", ())),
        (["-A", "proj"], (("-A", "proj"), None, ())),
        (["-A", "-q", "start"], (("-A", "-q"), "start", ())),
        (["--", "start"], (("--", "start"), None, ())),
        (["-A"], (("-A",), None, ())),
        (["", "start"], ((), "", ("start",))),
    ],
)
def test_split(words: list[str], parts: tuple[object, ...]) -> None:
    """The command is the first word that is neither an option nor the value of one."""
    assert split(words, commands.BY_NAME.__contains__) == parts


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--novel", "value", "start", "w1"), ("start", "--novel=value", "w1")),
        (("--novel=a", "--app", "b", "-x", "c", "start", "w1"), ("start", "--novel=a", "--app", "b", "-x", "c", "w1")),
        (("--novel", "--other", "", "start", "w1"), ("start", "--novel", "--other=", "w1")),
        (("-q", "--lines", "5", "logs", "w1"), ("logs", "w1")),
    ],
)
def test_values_before_the_command(
    words: tuple[str, ...], wanted: tuple[str, ...], asked: list[tuple[str, ...]]
) -> None:
    """G11: what an option before the command has taken stays its value, and does not become the name of a node."""
    run(*words)
    assert asked == [wanted]


@given(st.lists(st.text() | st.sampled_from(["start", "-A", "--", "-q", "--x"])))
def test_split_loses_no_word(words: list[str]) -> None:
    """G11: leading words, command and rest are the words, in order."""
    leading, command, rest = split(words, commands.BY_NAME.__contains__)
    found = [*leading, *([] if command is None else [command]), *rest]
    assert "".join(found).replace("=", "") == "".join(words).replace("=", "")


A = Option(flags=("--a", "-a"))
B = Option(flags=("--b",), metavar="N")
C = Option(flags=("--c",), metavar="N", optional=True)


@pytest.mark.parametrize(
    ("words", "left", "options"),
    [
        ([], (), {}),
        (["w1", "--a", "w2"], ("w1", "w2"), {"--a": None}),
        (["-a"], (), {"--a": None}),
        (["--a=1", "--a:w1", "-ab", "--aa"], ("--a=1", "--a:w1", "-ab", "--aa"), {}),
        (["--b", "5", "w1"], ("w1",), {"--b": "5"}),
        (["--b=5", "w1", "--b=6"], ("w1",), {"--b": "6"}),
        (["--b="], (), {"--b": ""}),
        (["--b", "--a"], (), {"--b": "--a"}),
        (["--c", "5"], ("5",), {"--c": None}),
        (["--c=5"], (), {"--c": "5"}),
        (["--", "--a", "--b"], ("--", "--a", "--b"), {}),
        (["--a", "--", "--a"], ("--", "--a"), {"--a": None}),
    ],
)
def test_take(words: list[str], left: tuple[str, ...], options: dict[str, str | None]) -> None:
    """Options are taken from anywhere before `--`; what only looks like one is the worker's."""
    assert take(words, (A, B, C)) == (left, options)


@pytest.mark.parametrize("words", [["--b"], ["--b", "--", "5"]])
def test_take_misses_a_value(words: list[str]) -> None:
    """A missing value is a mistake, and `--` is none."""
    with pytest.raises(UsageError) as caught:
        take(words, (B,))
    assert str(caught.value) == "--b: needs a value; write it like --b=N"


# -- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("-A", "proj"), ("--", "start"), ("--json",)])
def test_no_command(words: tuple[str, ...]) -> None:
    """Without a command the usage goes to stderr, exit 2."""
    assert run(*words) == Result(
        2,
        "",
        "usage: multi COMMAND [NODES] [OPTIONS] [-- WORKER WORDS]\n"
        "'multi help' lists the commands, 'multi help COMMAND' tells about one\n",
    )


@pytest.mark.parametrize("words", [("strat", "w1"), ("-A", "proj", "strat"), ("help", "strat")])
def test_unknown_command(words: tuple[str, ...]) -> None:
    """G9: an unknown command is one line with the nearest one, exit 2."""
    hint = "did you mean 'start'? ('multi help' tells what each does)"
    assert run(*words) == Result(2, "", f"multi: strat: is not a command; {hint}\n")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("ls", "status"), ("ps", "status"), ("list", "status"), ("tail", "logs"), ("up", "apply"), ("down", "stopwait"),
     ("reread", "diff"), ("update", "apply"), ("top", "status"), ("monit", "status"), ("describe", "status --json")],
)  # fmt: skip
def test_a_command_of_another_supervisor(word: str, meant: str) -> None:
    """A command that other supervisors have is a mistake in one line, which names the one to use; nothing is done."""
    fake = place("w1").fake()
    result = run(word, "w1", fake=fake)
    assert (result.code, result.out, result.err.count("\n"), fake.calls) == (2, "", 1, [])
    assert result.err.startswith(f"multi: {word}: is not a command; '")
    assert f"multi {meant}" in result.err


def test_commands_of_other_supervisors_are_none_of_ours() -> None:
    """A command has no row among those of other supervisors, and each row leads to one that exists."""
    foreign = prose()["foreign"]
    assert set(foreign).isdisjoint(commands.BY_NAME)
    assert all(re.search(r"'multi (\w+)", hint)[1] in commands.BY_NAME for hint in foreign.values())  # type: ignore[index]


def test_interrupted_while_it_is_imported() -> None:
    """G9: Ctrl-C before the command line is there is one line and exit 130."""
    code = textwrap.dedent(
        """
        import sys

        class Interrupted:
            def find_spec(self, name, path=None, target=None):
                if name == "multi.cli":
                    raise KeyboardInterrupt

        sys.meta_path.insert(0, Interrupted())
        from multi.__main__ import main

        sys.exit(main())
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "multi: interrupted before anything was done\n")


def test_a_python_that_cannot_start_processes() -> None:
    """G9: PyPy, which has no posix_spawn, gets one line instead of a traceback."""
    code = "import os, sys; del os.posix_spawn; from multi.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    said = f"multi: {sys.implementation.name} has no os.posix_spawn; install multi with CPython\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_unknown_command_that_is_near_to_none() -> None:
    """Where no command is near, all are named."""
    result = run("xyzzy")
    assert result.code == 2
    assert result.err.startswith("multi: xyzzy: is not a command; it can be start, ")
    assert result.err.count("\n") == 1
    assert run("").err == result.err.replace("xyzzy", "''")


def test_export_prints_its_files() -> None:
    """One file is printed as it is; several, as units and their target, are told apart by a line with their names."""
    assert "# ---- " not in run("export", "procfile", "w1").out
    assert run("export", "systemd", "w1", "w2").out.count("# ---- ") == 3  # and a target


def test_export_writes_its_files_where_it_is_told(tmp_path: Path) -> None:
    """With --output the files are written, and their paths are what is printed."""
    assert run("export", "procfile", "w1", "--output", f"{tmp_path}/a").out == f"{tmp_path}/a/Procfile\n"
    assert json.loads(run("export", "procfile", "w1", "--output", f"{tmp_path}/b", "--json").out) == [
        f"{tmp_path}/b/Procfile"
    ]
    text = (tmp_path / "a" / "Procfile").read_text(encoding="utf-8")
    assert text == (tmp_path / "b" / "Procfile").read_text(encoding="utf-8")
    assert json.loads(run("export", "procfile", "w1", "--json").out) == {"Procfile": text}


def test_export_needs_a_form() -> None:
    """G9: `export` alone, or with a form that there is not, is one line and exit 2."""
    assert run("export").code == 2
    result = run("export", "systemdd", "w1")
    assert result.code == 2
    assert result.err == "multi: systemdd: is not a form that nodes can be exported to; did you mean 'systemd'?\n"


@pytest.mark.parametrize(
    ("form", "foreground"), [("systemd", True), ("compose", True), ("sysv", False), ("cron", False)]
)
def test_export_tells_who_takes_the_output(form: str, foreground: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that nobody named is the supervisor's own business, unless `multi` goes on doing the work."""
    asked: list[bool] = []
    real = api.select

    def select(command: str, words: Sequence[str], *, foreground: bool, **rest: object) -> api.Selection:
        asked.append(foreground)
        return real(command, words, foreground=foreground, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(api, "select", select)
    run("export", form, "w1")
    assert asked == [foreground]


def test_windows() -> None:
    """On Windows there is one sentence and exit 2, whatever was asked."""
    result = run("start", "w1", system="nt")
    assert result == Result(
        2, "", "multi: Windows: has no signals and no process groups, which multi needs; run it under WSL\n"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("get",), "get: needs a node; try 'multi get w1 w1 w2 -A proj'"),
        (("expand",), "expand: needs a template; try 'multi expand %n.log w1 w2'"),
        (("signal",), "signal: needs a signal; try 'multi signal USR1 w1'"),
        (
            ("signal", "USR9", "w1"),
            "USR9: is not a signal of this system; try -TERM, -SIGTERM, -term or -15; 'kill -l' lists them",
        ),
        (("restart", "--rolling=0"), "--rolling=0: is not a number of nodes; write it like --rolling=2"),
        (
            ("restart", "--rolling=two"),
            "--rolling=two: is not a number of nodes; write it like --rolling=2",
        ),
        (("restart", "--rolling="), "--rolling=: is not a number of nodes; write it like --rolling=2"),
        (("wait", "--timeout"), "--timeout: needs a value; write it like --timeout=SECONDS"),
        (
            ("wait", "--timeout=-1"),
            "--timeout=-1: is not a number of seconds; write it like --timeout=0.5",
        ),
        (("wait", "--up", "--down"), "--up --down: contradict each other; give one of them"),
        (("logs", "--lines=all"), "--lines=all: is not a number of lines; write it like --lines=2"),
        (
            ("help", "start", "stop"),
            "help start stop: tells about one command, not 2; try 'multi help start'",
        ),
        (
            ("signal", "", "w1"),
            "'': is not a signal of this system; try -TERM, -SIGTERM, -term or -15; 'kill -l' lists them",
        ),
        (("completion",), "completion: needs one shell, not 0; it can be bash, zsh, fish"),
        (("completion", "csh"), "csh: is not a shell that multi can teach; it can be bash, zsh, fish"),
    ],
)
def test_mistakes(words: tuple[str, ...], line: str) -> None:
    """G9: a mistake is one line that says what, why and what to try; exit 2; nothing was done."""
    world = place("w1")
    fake = world.fake()
    assert run(*words, fake=fake) == Result(2, "", f"multi: {line}\n")
    assert fake.effects() == []


@pytest.mark.parametrize("seconds", ["1e3", "nan", "inf", "", ".", "1.", "1 ", "٣", "0x1", "1_0", "9" * 13, "+1"])
def test_seconds_are_plain_digits(seconds: str) -> None:
    """What float() would read but nobody means is refused."""
    assert run("wait", "w1", f"--timeout={seconds}").code == 2


def failing(error: Exception) -> Fake:
    """A machine on which nobody can even see where he is."""

    def surroundings() -> None:
        raise error

    fake = place().fake()
    fake.surroundings = surroundings  # type: ignore[assignment, method-assign]
    return fake


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("w1", "why", "hint"), 2, "multi: w1: why; hint"),
        (ConfigError("multi.toml:3", "is\nwrong"), 2, r"multi: multi.toml:3: is\nwrong"),
        (NotPermittedError("/run", "not yours"), 77, "multi: /run: not yours"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/etc/multi/multi.toml"),
            77,
            "multi: /etc/multi/multi.toml: Permission denied",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "multi: No space left on device"),
        (
            ImportError("x.so: cannot open shared object file: Too many open files"),
            1,
            "multi: Too many open files; raise 'ulimit -n'",
        ),
        (MachineError("read /proc", "is not mounted", "mount it"), 1, "multi: read /proc: is not mounted; mount it"),
        (MachineError("open /run/x", "denied", errno=errno.EACCES), 77, "multi: open /run/x: denied"),
    ],
)
def test_errors_of_the_line(error: Exception, code: int, line: str) -> None:
    """G9: what the user or the machine got wrong is one line on stderr with a documented exit code.

    Of `status` every such code is 4, the state is unknown; as a plugin it says so on stdout, and exits 3.
    """
    for words in (("start", "w1"), ("names",), ("show", "--json")):
        assert run(*words, fake=failing(error)) == Result(code, "", f"{line}\n")
    for typed in ("status", "status --format=openmetrics", "status --health", "-q status nagios"):
        assert run(*typed.split(), fake=failing(error)) == Result(4, "", f"{line}\n")
    said = line.replace("multi: ", "MULTI UNKNOWN: ", 1)
    for typed in ("status --format=nagios", "status w1 --format nagios"):
        assert run(*typed.split(), fake=failing(error)) == Result(3, f"{said}\n", "")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), OSError(errno.EBADF, "Bad file descriptor"), ImportError("no module named x")]
)
def test_bugs_are_not_hidden(error: Exception) -> None:
    """A bug is a plain traceback: nobody else could put it right. So is an error of the kernel that nothing refused."""
    with pytest.raises(type(error)):
        run("start", fake=failing(error))


# -- orders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("start", "w1", "-c", "4"), ("start", "w1", "-c", "4")),
        (("-A", "proj", "start", "w1"), ("start", "-A", "proj", "w1")),
        (("start", "w1", "--", "--json", "-q", "--help"), ("start", "w1", "--", "--json", "-q", "--help")),
        (("start", "-q", "w1", "--nosplash", "--verbose", "--no-color"), ("start", "w1")),
        (("--quiet", "--json", "start", "w1"), ("start", "w1")),
        (("start", "w1", "-c:seq", "4", "-qx"), ("start", "w1", "-c:seq", "4", "-qx")),
        (("start", "w1", "--quiet=yes"), ("start", "w1", "--quiet=yes")),
        (("start", "w1", "--strict", "--multi-config", "x"), ("start", "w1", "--strict", "--multi-config", "x")),
        (("start", "w1", "-h", "localhost"), ("start", "w1", "-h", "localhost")),
        (("start", "w1", "--timeout", "5"), ("start", "w1", "--timeout", "5")),
        (("start", "w1", ""), ("start", "w1", "")),
        (("stop_verify", "w1", "-QUIT"), ("stopwait", "w1", "-QUIT")),
        (("show", "w1", "--dry-run"), ("show", "w1")),
        (("signal", "USR1", "w1"), ("signal", f"-{signal.SIGUSR1.value}", "w1")),
        (("signal", "-usr1", "w1"), ("signal", f"-{signal.SIGUSR1.value}", "w1")),
        (("signal", "w1", "-USR1"), ("signal", "w1", "-USR1")),
        (("-A", "proj", "get", "w1", "w1", "w2"), ("get", "-A", "proj", "w1", "w2")),
        (("get", "--json", "w1", "3"), ("get", "3")),
        (("expand", "%n", "w1"), ("expand", "w1")),
        (("expand", "-%n", "w1"), ("expand", "w1")),
    ],
)
def test_words_reach_the_grammar(words: tuple[str, ...], wanted: tuple[str, ...], asked: list[tuple[str, ...]]) -> None:
    """G11: the node grammar gets the raw words, without what is multi's own, leading words first."""
    run(*words)
    assert asked == [wanted]


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (("start",), "start"),
        (("stop",), "stop"),
        (("stopwait",), "stopwait"),
        (("stop_verify",), "stopwait"),
        (("restart",), "restart"),
        (("kill",), "kill"),
        (("reload",), "reload"),
        (("signal", "HUP"), "signal"),
        (("signal", "dump"), "dump"),
        (("wait",), "up"),
        (("wait", "--up"), "up"),
        (("wait", "--down"), "down"),
    ],
)
def test_what_is_asked_of_nodes(words: tuple[str, ...], request_: str, requests: list[tuple[str, RunOptions]]) -> None:
    """A command that acts asks this of its nodes."""
    says = "the stacks are in the logs: multi logs -n 100 w1\n" if "dump" in words else ""
    assert run(*words, "w1") == Result(0, says, "")
    assert [asked for asked, _ in requests] == [request_]


@pytest.mark.parametrize(
    ("words", "terminal", "options"),
    [
        (("start",), False, RunOptions(progress=30.0, signals=True)),
        (("start",), True, RunOptions(progress=1.0, signals=True)),
        (("start", "--quiet"), True, RunOptions(signals=True)),
        (("start", "--json"), True, RunOptions(signals=True)),
        (("start", "--keep-unready", "-q"), False, RunOptions(keep_unready=True, signals=True)),
        (("restart", "-q", "--rolling"), False, RunOptions(width=1, signals=True)),
        (("restart", "-q", "--rolling=3"), False, RunOptions(width=3, signals=True)),
        (("restart", "-q", "--canary"), False, RunOptions(width=1, canaries=1, signals=True)),
        (
            ("restart", "-q", "--canary=2", "--rolling=3", "--settle", "1.5", "--rollback", "--again"),
            False,
            RunOptions(width=3, canaries=2, settle=1.5, rollback=True, again=True, signals=True),
        ),
        (("restart", "-q", "--settle=9"), False, RunOptions(settle=9.0, signals=True)),
        (("wait", "-q", "--timeout", "1.5"), False, RunOptions(timeout=1.5, signals=True)),
    ],
)
def test_options(
    words: tuple[str, ...], terminal: bool, options: RunOptions, requests: list[tuple[str, RunOptions]]
) -> None:
    """How it is to be done is handed on; nobody who is not watched is woken for progress."""
    run(*words, "w1", terminal=terminal)
    assert [how for _, how in requests] == [options]


# -- what is printed where -----------------------------------------------------------------------------------------


def half_done() -> World:
    """A machine on which w1 runs, w2 takes long to get ready, and w3 ends at once."""
    world = place("w1")
    world.environ |= {"MULTI_READY": "file:/up-%n", "MULTI_READY_TIMEOUT": "60"}
    world.natures = {"w2@host": Nature(makes=((31.5, "/up-w2"),)), "w3@host": BROKEN}
    return world


STORY = ("start", "w1", "w2", "w3")


def test_events_as_text() -> None:
    """Results go to stdout, failures to stderr, the exit code is that of the ledger."""
    assert run(*STORY, world=half_done()) == Result(
        1,
        "w1@host: already running, pid 1003\nw2@host: started, pid 1006, ready after 32s\n",
        "w3@host: failed: it exited with status 1 (pid 1007)\n    | boom\n    log: /log/w3.log\n"
        "waiting for 1 node to be ready: w2 | 30s\n",
    )


def test_events_with_verbose() -> None:
    """--verbose adds the commands that are run, and how a node proved ready."""
    result = run(*STORY, "--verbose", world=half_done())
    assert "w2@host: pid 1006 runs program w2\n" in result.out
    assert "ready after 32s (file:/up-w2)\n" in result.out


def test_events_with_quiet() -> None:
    """--quiet prints failures only."""
    result = run(*STORY, "--quiet", "-c:w9", "4", world=half_done())
    assert result.out == ""
    assert result.err.startswith("w3@host: failed: it exited with status 1")


def test_events_as_json() -> None:
    """--json prints one event a line on stdout, failures too, and no progress."""
    result = run(*STORY, "--json", world=half_done(), terminal=True)
    facts = [json.loads(line) for line in result.out.splitlines()]
    assert {("skipped", "w1@host"), ("ready", "w2@host"), ("failed", "w3@host")} <= {
        (fact["event"], fact["node"]) for fact in facts
    }
    assert "waiting" not in {fact["event"] for fact in facts}
    assert result.err == ""
    assert result.code == 1


def locked() -> Fake:
    """w1 runs, and another `multi` holds its lock."""
    world = place("w1")
    world.environ["MULTI_LOCK_TIMEOUT"] = "1"
    world.fake().lock("w1", "/run/w1.lock", None, None)
    return world.fake()


def denied() -> Fake:
    """w1 runs, and its lock is not ours to take."""

    def trap(_number: int, words: tuple[str, ...]) -> None:
        if words[0] == "lock":
            raise MachineError("lock /run/w1.lock", "Permission denied", errno=errno.EACCES)

    fake = place("w1").fake()
    fake.trap = trap
    return fake


def interrupted() -> Fake:
    """w1 does not end, and somebody presses Ctrl-C."""
    world = place()
    world.natures["w1@host"] = STUBBORN
    run("start", "w1", world=world)
    fake = world.fake()
    world.after(1.0, partial(fake.interrupt, signal.SIGINT))
    return fake


@pytest.mark.parametrize(
    ("fake", "code"),
    [
        (lambda: place().fake(), 0),
        (lambda: place("w1").fake(), 0),
        (locked, 75),
        (denied, 77),
        (interrupted, 130),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--json",), ("--quiet",), ("--verbose",)])
def test_exit_codes(fake: Callable[[], Fake], code: int, flags: tuple[str, ...]) -> None:
    """The exit code is the same however it is printed."""
    assert run("stopwait", "w1", *flags, fake=fake()).code == code


def test_interrupt_that_nobody_caught() -> None:
    """An interrupt that reaches the command line is a sentence and 130, never a traceback."""

    def trap(_number: int, words: tuple[str, ...]) -> None:
        if words[0] == "wait" and fake.effects("signal"):
            raise KeyboardInterrupt

    fake = place("w1").fake()
    fake.trap = trap
    result = run("stopwait", fake=fake)
    assert result.code == 130
    assert result.out == "w1@host: sent TERM to pid 1003\n"
    assert result.err == "multi: interrupted: nothing more is done; 'multi status' tells what runs\n"


def test_warnings() -> None:
    """Warnings go to stderr, each on a line of its own that is harmless to a terminal."""
    result = run("names", "w1", "-c:w8\x07", "4", "-c:w9", "4")
    assert result.out == "w1@host\n"
    lines = result.err.splitlines()
    assert [line.partition(": no node")[0] for line in lines] == [
        "multi: warning: -c:w8\\x07",
        "multi: warning: -c:w9",
    ]
    assert run("names", "w1", "-c:w9", "4", "--quiet") == Result(0, "w1@host\n", "")


def test_splash_is_for_who_asks() -> None:
    """Name and version are printed with --verbose on a terminal alone, never before the output of a plain command."""
    world = place("w1")
    splash = f"multi v{__version__}\n"
    assert run("start", "w1", "--verbose", world=world, terminal=True).out.startswith(splash)
    assert splash not in run("start", "w1", "--verbose", world=world).out
    for flags in ((), ("--nosplash", "--verbose"), ("--quiet", "--verbose"), ("-q",), ("--json", "--verbose")):
        assert splash not in run("start", "w1", *flags, world=world, terminal=True).out
    assert run("names", "w1", terminal=True).out == "w1@host\n"
    announced = [row.name for row in commands.COMMANDS if row.announced]
    assert " ".join(announced) == "start stop stopwait restart kill apply"


@pytest.mark.parametrize(
    ("flags", "environ", "coloured"),
    [
        ((), {"TERM": "xterm"}, True),
        ((), {"TERM": "xterm", "NO_COLOR": ""}, True),
        ((), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (("--no-color",), {"TERM": "xterm"}, False),
        ((), {"TERM": "dumb"}, False),
        ((), {}, False),
    ],
)
def test_colour(flags: tuple[str, ...], environ: dict[str, str], coloured: bool) -> None:
    """Colour is for terminals that know it, unless NO_COLOR or --no-color says no."""
    for words in (("status",), ("stop", "--nosplash", "--dry-run"), ("start", "w1", "w3", "--nosplash")):
        world = place("w1")
        world.natures["w3@host"] = BROKEN
        result = run(*words, *flags, world=world, terminal=True, environ=environ)
        assert bool(re.search(r"\x1b\[[0-9]*m", result.out + result.err)) == coloured
        assert "\x1b" not in run(*words, *flags, world=place("w1"), environ=environ).out


def test_g12_a_failure_costs_the_same_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of each of many nodes that fail is not made of the words of the whole command line."""
    quoted: list[str] = []
    quote = shlex.quote

    def counting(word: str) -> str:
        quoted.append(word)
        return quote(word)

    monkeypatch.setattr(shlex, "quote", counting)
    counted = []
    for names in ([f"w{number}" for number in range(count)] for count in (5, 20)):
        world = place()
        world.natures = {f"{name}@host": BROKEN for name in names}
        assert run("start", *names, world=world).code == 1
        counted.append(len(quoted))
        quoted.clear()
    assert counted[1] <= 4 * counted[0]


def test_progress_is_redrawn_on_a_terminal() -> None:
    """On a terminal one line is drawn again and again, stays below what is said, and is gone at the end."""
    world = place()
    for name, after in (("w1@host", 1.5), ("w2@host", 2.5)):
        world.natures[name] = Nature(ends={signal.SIGTERM: (after, 0)})
    run("start", "w1", "w2", world=world)
    result = run("stopwait", "--nosplash", "--no-color", world=world, terminal=True)
    erase = "\r\x1b[K"
    both = "waiting for 2 nodes to end: w1 w2 | 1s | next: KILL in 9s"
    last = "waiting for 1 node to end: w2 | 2s | next: KILL in 8s"
    assert result.out == (
        "w1@host: sent TERM to pid 1003\n"
        "w2@host: sent TERM to pid 1004\n"
        f"{erase}{both}{erase}{both}"
        f"{erase}w1@host: stopped, pid 1003 gone after 1.5s\n{both}"
        f"{erase}{last}"
        f"{erase}w2@host: stopped, pid 1004 gone after 2.5s\n"
    )


def test_the_journal_gets_priorities(tmp_path: Path) -> None:
    """sd-daemon(3): where stderr is the stream that systemd made for the journal, each line says how bad it is."""
    path = tmp_path / "stream"
    with path.open("w", encoding="utf-8") as stream:
        found = os.fstat(stream.fileno())
        for told in (f"{found.st_dev}:{found.st_ino}", f"{found.st_dev}:1", "", "no:stream"):
            screen = Screen(io.StringIO(), stream, {"JOURNAL_STREAM": told})
            screen.remark("w1: no", "warning: w2")
            screen.complain("w3: failed\n  its last line")
    bad = ["<3>multi: w1: no", "<4>multi: warning: w2", "<3>w3: failed", "<3>  its last line"]
    assert path.read_text(encoding="utf-8").splitlines() == bad + [line[3:] for line in bad] * 3


def test_failures_do_not_tear_the_redrawn_line() -> None:
    """A line on stderr begins on an empty line, and the redrawn one comes back after it."""
    out = err = Terminal()
    screen = Screen(out, err, {"TERM": "xterm"}, clock=lambda: 0.0)
    screen.redraw("waiting")
    screen.complain("failed")
    screen.wipe()
    assert out.getvalue() == "\r\x1b[Kwaiting\r\x1b[Kfailed\n\r\x1b[Kwaiting\r\x1b[K"


def test_redraws_are_rare() -> None:
    """A thousand events in a moment are one drawing."""
    out = Terminal()
    now = [0.0]
    screen = Screen(out, None, {"TERM": "xterm"}, clock=lambda: now[0])
    drawn = 0
    for now[0] in (0.0, 0.01, 0.05, 0.11, 0.12, 0.3):
        if screen.wants_redraw():
            screen.redraw(str(now[0]))
            drawn += 1
    assert drawn == 3


def test_progress_in_a_log_is_plain_lines() -> None:
    """In a log file the wait is plain lines on stderr now and then, without a control character."""
    world = place()
    world.nature = Nature(ends={signal.SIGTERM: (65.0, 0)})
    run("start", "w1", world=world)
    done = run("stopwait", "--stop-schedule=TERM/90/KILL/5", world=world)
    assert done.err == (
        "waiting for 1 node to end: w1 | 30s | next: KILL in 60s\n"
        "waiting for 1 node to end: w1 | 60s | next: KILL in 30s\n"
    )
    assert done.out == "w1@host: sent TERM to pid 1003\nw1@host: stopped, pid 1003 gone after 65s\n"


# -- looking -------------------------------------------------------------------------------------------------------


def test_names() -> None:
    """`names` prints the full names, a line each."""
    assert run("names", "w1", "w2") == Result(0, "w1@host\nw2@host\n", "")
    assert json.loads(run("names", "w1", "w2", "--json").out) == ["w1@host", "w2@host"]


BY_WORDS = {"recorded": False, "inherits": ["directory", "umask", "environment"]}


def test_show_is_for_a_shell() -> None:
    """G11: what `show` prints runs in a shell as it is."""
    argv = [sys.executable, "-c", "print('a b')"]
    words = ("show", "w1", f"--cmd={shlex.join(argv)}")
    result = run(*words)
    done = subprocess.run(["sh", "-c", result.out], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "a b\n"
    assert json.loads(run(*words, "--json").out) == [{"node": "w1@host", "command": argv, **BY_WORDS}]


def test_get() -> None:
    """`get` takes short and full names, and exits 1 on a miss, naming what there is."""
    assert run("get", "w2", "w1", "w2") == Result(0, "program w2\n", "")
    assert run("get", "w2@host", "w1", "w2") == run("get", "w2", "w1", "w2")
    assert run("get", "w9", "w1", "w2") == Result(1, "", "multi: w9: there is no such node; the nodes are: w1 w2\n")
    assert run("get", "", "w1", "w2") == Result(1, "", "multi: '': there is no such node; the nodes are: w1 w2\n")
    expected = {"node": "w1@host", "command": ["program", "w1"], **BY_WORDS}
    assert json.loads(run("get", "w1", "w1", "--json").out) == expected


def test_get_names_a_few_of_many_nodes() -> None:
    """A miss among a hundred nodes is still a line that one can read."""
    assert run("get", "w9", "100").err.endswith(" celery19 celery20 ...\n")


def test_expand() -> None:
    """`expand` fills a template in for each node."""
    assert run("expand", "/log/%n-%d%%", "w1", "w2") == Result(0, "/log/w1-host%\n/log/w2-host%\n", "")
    assert json.loads(run("expand", "%h", "w1", "w2", "--json").out) == ["w1@host", "w2@host"]
    assert run("expand", "%x", "2").code == 2


def half_dead() -> World:
    """w1 runs, w2 is dead."""
    world = place("w1", "w2")
    (body,) = world.mains("/run/w2.pid")
    world.end(body, 0)
    return world


def test_status() -> None:
    """`status` prints a table and exits as the LSB says."""
    result = run("status", world=half_dead())
    assert [line.split()[:3] for line in result.out.splitlines()] == [
        ["NODE", "STATE", "PID"],
        ["w1@host", "running", "1003"],
        ["w2@host", "dead", "-"],
    ]
    assert (result.code, result.err) == (1, "")
    assert run("status", world=place("w1")).code == 0


def test_status_json_is_one_array() -> None:
    """`status --json` is one array, with the same exit code."""
    result = run("status", "--json", world=half_dead())
    assert [(one["name"], one["state"]) for one in json.loads(result.out)] == [("w1", "running"), ("w2", "dead")]
    assert result.code == 1
    empty = run("status", "--json")
    assert (empty.code, empty.out) == (3, "[]\n")


def test_status_quiet() -> None:
    """`status --quiet` prints the nodes that do not run, and nothing when all do."""
    result = run("status", "--quiet", world=half_dead())
    assert "w2@host" in result.out
    assert "w1@host" not in result.out
    assert run("status", "-q", world=place("w1")) == Result(0, "", "")


NOBODY = (
    "multi: there are no nodes: none is named, none is configured, none is recorded in /run; "
    "name some, as in 'multi {} w1 w2', or say with --pidfile where they are\n"
)


def test_status_of_nobody() -> None:
    """Where there is no node at all, `status` says where it looked and exits 3."""
    assert run("status") == Result(3, "", NOBODY.format("status"))


@pytest.mark.parametrize("command", ["stop", "stopwait", "kill"])
def test_nobody_to_stop(command: str) -> None:
    """To stop nobody is done at once: init scripts stop what is not there."""
    assert run(command) == Result(0, "", NOBODY.format(command))
    assert run(command, "--quiet") == Result(0, "", "")


@pytest.mark.parametrize("words", [("restart",), ("reload",), ("signal", "HUP"), ("wait",)])
def test_nobody_to_start(words: tuple[str, ...]) -> None:
    """To start nobody is a mistake, exit 2."""
    assert run(*words) == Result(2, "", NOBODY.format(words[0]))
    assert run("start").code == 2


def test_nobody_is_down() -> None:
    """To wait until nobody is left is done at once."""
    assert run("wait", "--down").code == 0


def test_dry_run() -> None:
    """G10: --dry-run goes as far as the plan, prints it, and exits as the command would."""
    world = place()
    world.files["/run/w1.pid"] = Entry(kind="FIFO")
    fake = world.fake()
    result = run("start", "w1", "w2", "--dry-run", fake=fake)
    lines = result.out.splitlines()
    assert lines[0].startswith("w1@host: refused: ")
    assert lines[1:] == ["w2@host: start: program w2"]
    assert result.code == 1
    assert fake.effects() == []
    facts = [json.loads(text) for text in run("start", "w1", "w2", "--dry-run", "--json", world=world).out.splitlines()]
    assert [fact["node"] for fact in facts] == ["w1@host", "w2@host"]


def test_commands_that_run_dry() -> None:
    """Each command that changes something and comes back has --dry-run."""
    dry = {row.name for row in commands.COMMANDS if order.DRY_RUN in row.options}
    assert dry >= {"start", "run", "stop", "stopwait", "restart", "kill", "signal", "reload", "ensure", "apply"}
    assert not dry & {"status", "wait", "diff", "logs", "names", "help"}


CONFIG = "[nodes]\nw1 = {}\nw2 = {}\n"


def changed() -> World:
    """A machine that was started from a configuration, which has another w1 now, and no w2."""
    world = place(config=CONFIG)
    run("apply", world=world)
    world.files["/multi.toml"] = Entry(b"[nodes]\nw1 = {cmd = 'program other'}\n")
    del world.environ["MULTI_CMD"]
    return world


def test_diff() -> None:
    """`diff` says what `apply` would do and exits 1; nothing to do is 0 and one sentence."""
    world = changed()
    result = run("diff", world=world)
    assert (result.code, result.err) == (1, "")
    assert "w1@host: restart\n    command: program w1 -> program other\n" in result.out
    assert "w2@host: stop" in result.out
    assert run("apply", world=world).code == 0
    assert run("diff", world=world) == Result(0, "nothing to do: the machine is as the configuration says\n", "")
    assert run("diff", "--quiet", world=world) == Result(0, "", "")


def test_diff_json() -> None:
    """`diff --json` is one array with these keys."""
    result = run("diff", "--json", world=changed())
    first, second = json.loads(result.out)
    assert first == {
        "node": "w1@host",
        "verb": "restart",
        "why": None,
        "changes": {"command": ["program w1", "program other"]},
    }
    assert (second["node"], second["verb"], second["changes"]) == ("w2@host", "stop", {})
    assert result.code == 1
    world = place(config=CONFIG)
    run("apply", world=world)
    assert run("diff", "--json", world=world) == Result(0, "[]\n", "")


def test_status_shows_what_nobody_asked_about() -> None:
    """Without names it shows what runs elsewhere, too; not with names, `--pidfile` or `--quiet`; the code stays."""
    world = place(config=CONFIG)
    for name in ("MULTI_PIDFILE", "MULTI_CMD"):
        del world.environ[name]
    assert run("start", "x", "--cmd=program", "--pidfile=/srv/run/%n.pid", world=world).code == 0
    text = "in /srv/run: add --pidfile=/srv/run/%n.pid"
    shown = run("status", "--json", world=world)
    assert [(one["name"], one["found"]) for one in json.loads(shown.out)] == [("w1", None), ("w2", None), ("x", text)]
    assert shown.code == 3
    assert f"also on this machine (--all lists them):\n  1 running (x) {text}\n" in run("status", world=world).out
    for words in (("w1",), ("--pidfile=/none/%n.pid",), ("--quiet",)):
        assert text not in run("status", *words, world=world).out
    assert run("status", "--all", "--pidfile=/none/%n.pid", world=world).out.count(text) == 1


OBSTACLE = ("w1@host", "/srv/none", "is not a directory", "create it, or correct workdir")


def test_check() -> None:
    """`check` shows what is set, where it is from, and a verdict; what a start would fail of goes to stderr, exit 2."""
    result = run("check", "w1", "--workdir=/srv/none", "--executable=/usr/bin/python3")
    assert result.out.startswith("configuration: none was found\nw1@host\n    command = program w1\n")
    assert "    pidfile       = /run/w1.pid  (MULTI_PIDFILE)\n" in result.out
    assert " umask " not in result.out
    assert result.out.endswith("\n1 node, 1 problem\n")
    assert "    umask          = -  (built in)\n" in run("check", "w1", "--verbose").out
    assert "multi: {}: {} {}; {}\n".format(*OBSTACLE) in result.err
    assert result.code == 2
    assert run("check", "w1", "--cmd=/usr/bin/program", "--quiet") == Result(0, "", "")


def test_check_json() -> None:
    """`check --json` is one object with these keys."""
    result = run("check", "w1", "--cmd=/usr/bin/program", "--workdir=/srv/none", "--umask=022", "--json")
    found = json.loads(result.out)
    (node,) = found["nodes"]
    assert (found["config"], node["node"], node["command"]) == (None, "w1@host", ["/usr/bin/program"])
    assert node["settings"]["umask"] == ["022", "command line"]
    assert found["obstacles"] == [dict(zip(("node", "what", "why", "hint"), OBSTACLE, strict=True))]
    assert result.code == 2


def test_ensure_is_silent_about_what_is_well() -> None:
    """`ensure` says what it did, and nothing of nodes that were well: cron mails every word."""
    assert run("ensure") == Result(0, "", "")
    assert run("ensure", world=place("w1")) == Result(0, "", "")
    result = run("ensure", world=half_dead())
    assert result.code == 0
    assert "w2@host: started, pid " in result.out
    assert "w1@host" not in result.out


def test_apply_stops_the_last_node_too() -> None:
    """A configuration without any node left still has to stop what it started."""
    world = place(config=CONFIG)
    run("apply", world=world)
    world.files["/multi.toml"] = Entry(b"[nodes]\n")
    assert run("apply", world=world).code == 0
    assert not world.mains("/run/w1.pid")


def logging(**logs: bytes) -> World:
    """Nodes that run and have these logs."""
    world = place(*logs)
    for name, data in logs.items():
        world.files[f"/log/{name}.log"].data = data
    return world


LOGS = {"w1": b"plain\n\x1b[31mred\x1b[0m\ttab\n", "w2": b"from w2 \x1b[2Jlog\x07\n"}


def test_logs() -> None:
    """`logs` prints each line behind the names of its nodes, harmless to a terminal."""
    result = run("logs", world=logging(**LOGS))
    assert result == Result(0, "w1 | plain\nw1 | red\ttab\nw2 | from w2 \\x1b[2Jlog\\x07\n", "")


def test_logs_in_colour() -> None:
    """On a terminal each log has a colour and keeps it; there are more logs than colours."""
    world = logging(**{f"w{number}": b"text\ntext\n" for number in range(7)})
    lines = run("logs", world=world, terminal=True).out.splitlines()
    colours = [line.partition("mw")[0] for line in lines]
    assert all(colour.startswith("\x1b[") for colour in colours)
    assert colours[0] == colours[1]
    assert len(set(colours[:10])) == 5


def test_logs_json() -> None:
    """`logs --json` is one object a line, the text exactly as it was logged."""
    result = run("logs", "--json", world=logging(**LOGS))
    assert [json.loads(line) for line in result.out.splitlines()] == [
        {"nodes": ["w1"], "text": "plain"},
        {"nodes": ["w1"], "text": "\x1b[31mred\x1b[0m\ttab"},
        {"nodes": ["w2"], "text": "from w2 \x1b[2Jlog\x07"},
    ]


@pytest.mark.parametrize(
    ("words", "lines"),
    [((), 10), (("--lines=3",), 3), (("--lines", "0"), 0), (("-n", "3"), 3), (("-n3",), 3), (("w1", "-n", "3"), 3)],
)
def test_lines_of_logs(words: tuple[str, ...], lines: int) -> None:
    """The last ten lines of each log, or as many as was said."""
    assert run("logs", *words, world=logging(w1=b"line\n" * 20)).out == "w1 | line\n" * lines


def test_logs_that_are_followed() -> None:
    """--follow goes on with what is added, until it is interrupted."""
    world = logging(w1=b"old\n")
    fake = world.fake()
    world.after(1.0, lambda: setattr(world.files["/log/w1.log"], "data", b"old\nnew\n"))
    world.after(2.0, partial(fake.interrupt, signal.SIGINT))
    assert run("logs", "--follow", "--lines=0", fake=fake) == Result(0, "w1 | new\n", "")


@pytest.mark.parametrize("word", ["-n", "-nx", "-n=x", "-n+3", "--lines=x"])
def test_lines_are_a_number(word: str) -> None:
    """G9: what is no number of lines is one line, exit 2."""
    result = run("logs", word, world=logging(w1=b"old\n"))
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)


def test_logs_are_followed_as_by_tail() -> None:
    """After `logs`, -f is --follow and -n N is --lines=N, as in tail(1); before it, -f is Celery's --logfile."""
    world = logging(w1=b"old\n")
    fake = world.fake()
    world.after(1.0, lambda: setattr(world.files["/log/w1.log"], "data", b"old\nnew\n"))
    world.after(2.0, partial(fake.interrupt, signal.SIGINT))
    assert run("logs", "-f", "w1", "-n0", fake=fake) == Result(0, "w1 | new\n", "")
    assert run("-f", "/log/%n.log", "logs", "w1", world=logging(w1=b"old\n")) == Result(0, "w1 | old\n", "")
    assert run("start", "w1", "-n", "there", "-f", "/log/x", world=place()).code == 0


def test_all_lines_of_a_log() -> None:
    """With None for the number of lines the whole log is read, however little it is searched."""
    fake = logging(w1=b"".join(b"%d\n" % number for number in range(20))).fake()
    found = api.logs(api.select("logs", ["w1"], machine=fake), Query(lines=None), machine=fake)
    assert [line.text for line in found if isinstance(line, LogLine)] == [str(number) for number in range(20)]


def test_logs_that_cannot_be_read() -> None:
    """Where nothing will be seen of a log, that is said; a plain failure hides a lack of permission."""

    def tried(*errors: int) -> Result:
        names = [f"w{number}" for number in range(1, len(errors) + 2)]
        world = logging(**dict.fromkeys(names, b"text\n"))
        fake = world.fake()
        begin, files = fake.log_begin, fake.log_files

        def refuse(path: str) -> None:
            number = int(path.removeprefix("/log/w").removesuffix(".log")) - 2
            if number >= 0 and errors[number]:
                raise MachineError(f"cannot read {path}", "no", errno=errors[number])

        def log_begin(key: str, path: str, limit: int, offset: int = 0) -> bytes:
            refuse(path)
            return begin(key, path, limit, offset)

        def log_files(key: str, path: str, *, rotated: bool = False) -> object:
            refuse(path)
            return files(key, path, rotated=rotated)

        fake.log_begin = log_begin  # type: ignore[method-assign]
        fake.log_files = log_files  # type: ignore[method-assign, assignment]
        return run("logs", fake=fake)

    denied = "multi: w2@host: cannot read /log/w2.log: no\n"
    assert tried(errno.EACCES) == Result(77, "w1 | text\n", denied)
    assert tried(errno.EACCES, errno.EIO).code == 1
    world = logging(w1=b"text\n")
    del world.files["/log/w1.log"]
    assert run("logs", world=world) == Result(0, "", "multi: w1@host: has no log yet at /log/w1.log\n")
    result = run("logs", "w2", "--logfile=/dev/stderr", world=world)
    assert result == Result(1, "", "multi: w2@host: logs to /dev/stderr, which cannot be read again\n")
    assert run("logs").code == 2


def test_logs_end_with_their_reader() -> None:
    """`multi logs --follow | head -1` ends once nobody reads."""

    class Gone(io.StringIO):
        """A pipe whose reader has gone away."""

        def write(self, _text: str) -> int:
            """Refuse."""
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    fake = logging(w1=b"line\n" * 20).fake()
    assert serve(["logs", "--follow"], Screen(Gone(), None, {}), {}, fake) == 0


# -- help ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("help",), ("--help",), ("-h",), ("-A", "proj", "--help"), ("help", "--json")])
def test_overview(words: tuple[str, ...]) -> None:
    """`help` lists every command, on stdout, exit 0."""
    result = run(*words)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Usage: multi COMMAND [NODES] [OPTIONS] [-- WORKER WORDS]\n")
    for info in commands.COMMANDS:
        assert f"\n  {', '.join((info.name, *info.aliases))}  " in result.out


@pytest.mark.parametrize("info", commands.COMMANDS, ids=lambda info: info.name)
def test_page(info: Command) -> None:
    """The page of each command has its usage, its options and its examples; every way to ask for it is the same."""
    page = run("help", info.name)
    assert page.code == 0
    assert page.out.startswith(f"Usage: multi {info.name} ")
    for option in info.options:
        assert f"\n  {option.name}" in page.out
    for example in prose()["commands"][info.name].get("examples", ()):
        assert f"\n  {example}\n" in page.out
    fake = place().fake()
    for words in ((info.name, "--help"), (info.name, "-h"), ("--help", info.name), ("-h", info.name)):
        assert run(*words, fake=fake) == page
    assert run(info.name, "w1", "-c", "4", "--help", fake=fake) == page
    assert fake.calls == []
    assert info.takes_nodes == ("--json" in page.out) == ("More: 'multi help options'" in page.out)


@pytest.mark.parametrize("info", commands.COMMANDS, ids=lambda info: info.name)
def test_page_fits_a_screen(info: Command) -> None:
    """The page of a command has 40 lines at most, of what shows nodes in many ways 60.

    No line is wider than the terminal but for what is to be copied.
    """
    assert len(manual.page(info).splitlines()) <= (60 if info.name in {"status", "logs"} else 40)
    for width in (60, 80, 200):
        copied = {f"  {example}" for example in prose()["commands"][info.name].get("examples", ())}
        lines = set(manual.page(info, width).splitlines()[1:]) - copied
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [60, 80, 200])
def test_overview_and_topics_fit_the_terminal(width: int) -> None:
    """No line is longer than the terminal is wide, but for what is to be copied."""
    said = prose()
    copied = {f"  {line}" for each in (said["overview"], *said["topics"].values()) for line in each.get("examples", ())}
    pages = (manual.overview(width), *(manual.topic(name, width, place().fake()) for name in manual.TOPICS))
    for page in pages:
        lines = set(page.splitlines()[1:]) - copied
        assert max(map(len, lines)) <= width


def test_topics() -> None:
    """`help TOPIC` prints what the topic is about: each setting, each option, each preset, each code."""
    said = {name: run("help", name) for name in manual.TOPICS}
    assert {(result.code, result.err) for result in said.values()} == {(0, "")}
    assert set(said) == set(prose()["topics"])
    assert all(f"\n  {setting.flags[0]}" in said["settings"].out for setting in SETTINGS.values())
    assert all(f"\n  {option.name}" in said["options"].out for option in (*order.GLOBAL, *order.GRAMMAR))
    assert all(f"\n  {name} " in said["presets"].out for name in ("celery", "exec", "gunicorn"))
    assert "\n  77 " in said["exit-codes"].out
    assert "\n  %n " in said["templates"].out


def test_options_of_a_page_exist() -> None:
    """The options that a page names are flags of multi or settings."""
    flags = {flag for option in (*order.GLOBAL, *order.GRAMMAR) for flag in option.flags} | set(BY_FLAG)
    assert all(flags.issuperset(said.get("options", ())) for said in prose()["commands"].values())


def test_the_prose_is_that_of_the_table() -> None:
    """help.toml has each command and each option, and no other."""
    every = {value.name for value in vars(order).values() if isinstance(value, Option)}
    said = {table: set(found) for table, found in prose().items() if table not in {"overview", "foreign", "topics"}}
    theirs = {f"{info.name} {option.name}" for info in commands.COMMANDS for option in info.options}
    of_commands = said["options"] & theirs  # where an option means something of its own
    assert {name for name in every if name not in said["options"]} == {"--output"}, "each command says what it writes"
    said["options"] = said["options"] - of_commands | {name.partition(" ")[2] for name in of_commands}
    assert said == {"commands": {info.name for info in commands.COMMANDS}, "options": every}


@pytest.mark.parametrize("info", commands.COMMANDS, ids=lambda info: info.name)
def test_examples_of_the_help_are_orders(info: Command) -> None:
    """Each example is a command line that is understood, of its own command."""
    assert prose()["commands"][info.name].get("examples", ())
    for example in prose()["commands"][info.name].get("examples", ()):
        assert f"multi {info.name}" in example


def test_version() -> None:
    """`--version` before any command prints name and version; after one it is the worker's."""
    assert run("--version") == Result(0, f"multi {__version__}\n", "")
    assert run("--version", "start") == Result(0, f"multi {__version__}\n", "")
    assert run("start", "--version").err.startswith("multi: there are no nodes")


# -- any words at all ----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [name for info in commands.COMMANDS for name in (info.name, *info.aliases)]
    + [flag for option in (*order.GLOBAL, order.VERSION, order.SHORT_HELP) for flag in option.flags]
    + ["--dry-run", "--rolling", "--rolling=2", "--timeout=1", "--up", "--down", "--", "-A", "proj", "w1", "3"]
    + ["-c:w1", "%n", "%x", "TERM", "-9", "", "\udcff", "--multi-config", "bash"]
)


@settings(deadline=None, max_examples=150)
@given(st.lists(WORDS | st.text(max_size=4), max_size=6), st.booleans(), st.booleans())
def test_never_a_traceback(words: list[str], terminal: bool, empty: bool) -> None:
    """G9: any words give a documented exit code and, where it is 2, one line that says why."""
    world = place() if empty else half_dead()
    fake = world.fake()
    world.after(200.0, partial(fake.interrupt, signal.SIGINT))  # of what waits for ever
    result = run(*words, fake=fake, terminal=terminal)
    assert result.code in {0, 1, 2, 3, 4, 130}
    if result.code == 2:
        lines = result.err.splitlines()
        assert lines[-1].startswith(("multi: ", "'multi help' lists"))
        assert all(text.isprintable() for text in lines)


# -- completion ----------------------------------------------------------------------------------------------------


def complete(*words: str, world: World | None = None) -> list[str]:
    """The candidates for the last word."""
    world = world or place("w1", "w2", "image")
    return [one.value for one in candidates(words[:-1], words[-1], world.fake())]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("st",), ["start", "stop", "stopwait", "status"]),
        (("-A", "proj", "sta"), ["start", "status"]),
        (("--no",), ["--nosplash", "--no-color"]),
        (("--vers",), ["--version"]),
        (("start", ""), ["image", "w1", "w2"]),
        (("start", "w"), ["w1", "w2"]),
        (("start", "w1", "w"), ["w2"]),
        (("start", "w1", "w1@"), ["w1@host"]),
        (("stop_verify", "i"), ["image"]),
        (("start", "-c:w"), ["-c:w1", "-c:w2"]),
        (("start", "--pidfile:i"), ["--pidfile:image"]),
        (("start", "--dr"), ["--dry-run"]),
        (("start", "--stop-s"), ["--stop-schedule"]),
        (("start", "--range"), ["--range-prefix"]),
        (("restart", "--roll"), ["--rolling", "--rollback"]),
        (("start", "--roll"), []),
        (("start", "--kill-mode", ""), ["mixed", "process"]),
        (("start", "--kill-mode:w1", "p"), ["process"]),
        (("start", "--", "w"), []),
        (("signal", "USR"), ["USR1", "USR2"]),
        (("signal", "USR1", "im"), ["image"]),
        (("get", "im"), ["image"]),
        (("get", "image", "im"), ["image"]),
        (("expand", ""), []),
        (("expand", "%n", "im"), ["image"]),
        (("export", "s"), ["supervisord", "systemd", "systemd-user", "sysv"]),
        (("export", "systemd", "im"), ["image"]),
        (("start", "--preset", "celery"), ["celery", "celery-beat"]),
        (("--preset", "exe"), ["exec"]),
        (("help", "rest"), ["restart"]),
        (("help", "restart", ""), []),
        (("help", "ex"), ["expand", "export", "exit-codes"]),
        (("logs", "-f", "im"), ["image"]),
        (("logs", "-n", "im"), []),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("unknown", ""), []),
    ],
)
def test_candidates(words: tuple[str, ...], values: list[str]) -> None:
    """What can stand in the place of the last word is offered: commands, nodes, flags, scopes, values."""
    assert complete(*words) == values


@pytest.mark.parametrize("words", [("start", "--multi-config", "x"), ("--multi-config", "x"), ("start", "-p", "x")])
def test_candidates_that_the_shell_knows_better(words: tuple[str, ...]) -> None:
    """Files and directories are the shell's own business."""
    (path,) = candidates(words[:-1], words[-1], place().fake())
    assert (path.value, path.type) == ("x", "file")
    (path,) = candidates(["start", "--workdir"], "x", place().fake())
    assert (path.value, path.type) == ("x", "dir")


def test_groups_are_candidates() -> None:
    """A group of the configuration is offered among its nodes, as a name and as a scope."""
    world = place(config="[groups.web]\nnodes = ['a', 'b']\n[groups.mail]\ncount = 2\n")
    assert complete("stop", "", world=world) == ["a", "b", "mail1", "mail2", "web", "mail"]
    assert complete("stop", "a", "m", world=world) == ["mail1", "mail2", "mail"]
    assert complete("start", "-c:we", world=world) == ["-c:web"]


def test_candidates_look_where_the_words_say() -> None:
    """Nodes are looked for where the options that were typed say that they are recorded."""
    world = place()
    run("start", "w1", "--pidfile=/other/%n.pid", world=world)
    assert complete("stop", "-c", "4", "", world=world) == []
    assert complete("stop", "-c", "4", "--pidfile=/other/%n.pid", "", world=world) == ["w1"]
    assert complete("stop", "-c", "4", "--pidfile", "/other/%n.pid", "", world=world) == ["w1"]
    world.files["/there.toml"] = Entry(CONFIG.encode())
    assert complete("--multi-config", "/there.toml", "stop", "", world=world) == ["w1", "w2"]


@given(st.lists(WORDS | st.text(max_size=4), max_size=5), st.text(max_size=4) | WORDS)
def test_candidates_fit(words: list[str], incomplete: str) -> None:
    """Any words can be completed, and whatever is offered begins with what was typed."""
    for one in candidates(words, incomplete, place("w1").fake()):
        assert one.value.startswith(incomplete)


def ask(question: str, words: str, cword: str, monkeypatch: pytest.MonkeyPatch, fake: Fake | None = None) -> Result:
    """What a shell's script gets for an answer."""
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", cword)
    return run(environ={"_MULTI_COMPLETE": question}, fake=fake or place("w1", "w2").fake())


def test_answers_to_the_shells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shell is answered in its own way, through click."""
    assert ask("bash_complete", "multi stop w", "2", monkeypatch) == Result(0, "plain,w1\nplain,w2\n", "")
    assert ask("zsh_complete", "multi stop w", "2", monkeypatch) == Result(0, "plain\nw1\n_\nplain\nw2\n_\n", "")
    assert ask("fish_complete", "multi stop w", "w", monkeypatch).out.startswith("plain,w1")


@pytest.mark.parametrize("error", [UsageError("multi.toml", "is wrong"), PermissionError(errno.EACCES, "no")])
def test_completion_is_silent_about_mistakes(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell would show an error in the middle of the user's line: there are then no nodes to offer."""
    assert ask("bash_complete", "multi stop ", "2", monkeypatch, failing(error)) == Result(0, "", "")


def test_completion_asked_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question without its variables is no traceback."""
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert run(environ={"_MULTI_COMPLETE": "bash_complete"}) == Result(1, "", "")
    assert run(environ={"_MULTI_COMPLETE": "tcsh_complete"}).code == 2


def test_main_reads_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`main` without arguments takes those of the process."""
    monkeypatch.setattr(sys, "argv", ["multi", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"multi {__version__}\n"
    assert main(["strat"]) == 2
