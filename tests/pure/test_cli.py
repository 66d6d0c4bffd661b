"""The command line: raw words in, an order out; what is printed where, and the exit code.

The line that the commands ride is a fake here, so nothing of the machine is touched.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import io
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multi import __version__
from multi.api import Difference, RunOptions, Selection, View
from multi.check import Obstacle
from multi.cli import commands, main, options, serve
from multi.cli.completion import SHELLS, Candidate, candidates
from multi.cli.manual import command_prose, prose
from multi.cli.order import Command
from multi.cli.screen import Screen
from multi.cli.words import LEADING_FLAGS, LEADING_WITH_VALUE, Option, Split, Taken, split, take
from multi.errors import ConfigError, NotPermittedError, UsageError
from multi.logs import LogLine, Unseen
from multi.machine import MachineError
from multi.model.event import Event, Failed, Gone, Interrupted, Readied, Refused, Signalled, Skipped, Spawned, Waiting
from multi.model.node import Known, Node
from multi.model.process import Proc
from multi.model.schedule import parse
from multi.model.state import Dead, Up
from multi.model.step import Refuse, Route, Spawn
from real import Real

ROOT = Path(__file__).parents[2]
PROC = Proc(4711, "boot:1")


def node(name: str, *argv: str) -> Node:
    """A complete node."""
    short, _, host = name.partition("@")
    return Node(
        name=name,
        short=short,
        host=host,
        preset="celery",
        command=Known(argv or ("python", "-m", "celery", "worker", "-n", name)),
        pidfile=f"/run/{short}.pid",
        logfile=f"/log/{short}.log",
        stop=parse("TERM/90/KILL/5"),
    )


W1, W2 = node("w1@host", "python", "-c", "print('a b')"), node("w2@host")


@dataclasses.dataclass
class FakeLine:
    """A line that leads nowhere: it keeps what it was asked, and answers what it was given."""

    nodes: tuple[Node, ...] = (W1, W2)
    views: tuple[View, ...] = ()
    routes: tuple[Route, ...] = ()
    differences: tuple[Difference, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    removed: tuple[Node, ...] = ()
    log: tuple[LogLine, ...] = ()
    unreadable: tuple[Unseen, ...] = ()
    files: tuple[str, ...] = ("nodes.conf",)
    events: Sequence[Event | BaseException] = ()
    warnings: tuple[str, ...] = ()
    error: Exception | None = None
    asked: list[tuple[object, ...]] = dataclasses.field(default_factory=list)
    manners: list[RunOptions] = dataclasses.field(default_factory=list)

    def select(self, command: str, words: Sequence[str], *, foreground: bool = False) -> Selection:
        """Whatever the words say."""
        if foreground:
            self.asked.append(("foreground",))
        self.asked.append(("select", command, *words))
        if self.error is not None:
            raise self.error
        return Selection(
            nodes=self.nodes,
            warnings=self.warnings,
            rundir="" if self.nodes else "/run/multi",
            removed=self.removed,
            sources={"w1@host": {"umask": "MULTI_UMASK"}},
            settings={"w1@host": {"umask": 18}},
        )

    def presets(self) -> tuple[str, ...]:
        """Some."""
        return ("celery", "exec")

    def look(self, selection: Selection) -> tuple[View, ...]:
        """The views."""
        self.asked.append(("look", len(selection.nodes)))
        return self.views

    def plan(self, command: str, selection: Selection) -> tuple[Route, ...]:
        """The routes."""
        self.asked.append(("plan", command, len(selection.nodes)))
        return self.routes

    def diff(self, selection: Selection) -> tuple[Difference, ...]:
        """The differences."""
        self.asked.append(("diff", len(selection.nodes)))
        return self.differences

    def check(self, selection: Selection) -> tuple[Obstacle, ...]:
        """The obstacles."""
        self.asked.append(("check", len(selection.nodes)))
        return self.obstacles

    def export(self, form: str, selection: Selection) -> Mapping[str, str]:
        """One file that says what it is of."""
        self.asked.append(("export", form, len(selection.nodes)))
        return dict.fromkeys(self.files, f"{form} of {len(selection.nodes)}\n")

    def export_mode(self, form: str, selection: Selection) -> int:
        """Nodes -> the permissions of these files."""
        self.asked.append(("export_mode", form, selection))
        return 0o600

    def save(self, files: Mapping[str, str], directory: str, mode: int) -> Iterator[str]:
        """The paths, with nothing written."""
        self.asked.append(("save", directory, mode, *files))
        for name in files:
            yield f"{directory}/{name}"

    def unreadable_logs(self, selection: Selection) -> tuple[Unseen, ...]:
        """The nodes with such logs."""
        self.asked.append(("unreadable_logs", len(selection.nodes)))
        return self.unreadable

    def logs(self, selection: Selection, *, lines: int, follow: bool) -> Iterator[LogLine]:
        """The lines of the logs."""
        self.asked.append(("logs", len(selection.nodes), lines, follow))
        yield from self.log

    def run(self, command: str, selection: Selection, *, options: RunOptions) -> Iterator[Event]:
        """The events; one that is an exception is raised in its place."""
        self.asked.append(("run", command, len(selection.nodes)))
        self.manners.append(options)
        for event in self.events:
            if isinstance(event, BaseException):
                raise event
            yield event


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


@dataclasses.dataclass(frozen=True)
class Result:
    """What a person would see."""

    code: int
    out: str
    err: str


def run(
    *words: str,
    line: FakeLine | None = None,
    terminal: bool = False,
    environ: dict[str, str] | None = None,
    system: str = "posix",
) -> Result:
    """One command line, in process."""
    out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    environ = {"TERM": "xterm"} if environ is None else environ
    ticks = iter(range(1_000_000))
    screen = Screen(out, err, environ, clock=lambda: float(next(ticks)))
    fake = FakeLine() if line is None else line
    code = serve(words, lambda: fake, screen, environ, system)
    return Result(code, out.getvalue(), err.getvalue())


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], Split((), None, ())),
        (["start"], Split((), "start", ())),
        (["start", "w1", "-c", "4", "--", "-x"], Split((), "start", ("w1", "-c", "4", "--", "-x"))),
        (["-A", "proj", "start", "w1"], Split(("-A", "proj"), "start", ("w1",))),
        (["-Aproj", "start", "w1"], Split(("-Aproj",), "start", ("w1",))),
        (["--app=proj", "start", "w1"], Split(("--app=proj",), "start", ("w1",))),
        (["-A", "start", "start", "w1"], Split(("-A", "start"), "start", ("w1",))),
        (["-A", "run", "stop"], Split(("-A", "run"), "stop", ())),
        (["-q", "-C", "--skip-checks", "start", "w1"], Split(("-q", "-C", "--skip-checks"), "start", ("w1",))),
        (["-q", "strat", "w1"], Split(("-q",), "strat", ("w1",))),
        (["-Aproj", "strat", "w1"], Split(("-Aproj",), "strat", ("w1",))),
        (["--novel", "value", "start"], Split(("--novel", "value"), "start", ())),
        (["-x", "value", "start"], Split(("-x", "value"), "start", ())),
        (["--rolling", "2", "restart", "w1"], Split(("--rolling", "2"), "restart", ("w1",))),
        (["--novel", "start", "w1"], Split(("--novel",), "start", ("w1",))),
        (["--multi-config", "start", "status"], Split(("--multi-config", "start"), "status", ())),
        (["--json", "status"], Split(("--json",), "status", ())),
        (["-A", "proj"], Split(("-A", "proj"), None, ())),
        (["-A", "-q", "start"], Split(("-A", "-q"), "start", ())),
        (["--", "start"], Split(("--", "start"), None, ())),
        (["-A"], Split(("-A",), None, ())),
        (["", "start"], Split((), "", ("start",))),
    ],
)
def test_split(words: list[str], parts: Split) -> None:
    """The command is the first word that is neither an option nor the value of one."""
    assert split(words, commands.is_command) == parts


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--novel", "value", "start", "w1"), ("start", "--novel=value", "w1")),
        (("--novel=a", "--app", "b", "-x", "c", "start", "w1"), ("start", "--novel=a", "--app", "b", "-x", "c", "w1")),
        (("--novel", "--other", "", "start", "w1"), ("start", "--novel", "--other=", "w1")),
        (("-q", "--lines", "5", "logs", "w1"), ("logs", "w1")),
    ],
)
def test_values_before_the_command(words: tuple[str, ...], asked: tuple[str, ...]) -> None:
    """G11: what an option before the command has taken stays its value, and does not become the name of a node."""
    line = FakeLine()
    run(*words, line=line)
    assert line.asked[0] == ("select", *asked)


@given(st.lists(st.text() | st.sampled_from(["start", "-A", "--", "-q", "--x"])))
def test_split_loses_no_word(words: list[str]) -> None:
    """G11: leading words, command and rest are the words, in order."""
    parts = split(words, commands.is_command)
    command = [] if parts.command is None else [parts.command]
    assert [*parts.leading, *command, *parts.rest] == words


def test_leading_options_are_celerys() -> None:
    """What may stand before `multi` on celery's command line is known here, with and without values."""
    celery = pytest.importorskip("celery.bin.celery").celery
    flags = {name for option in celery.params if option.is_flag for name in option.opts}
    valued = {name for option in celery.params if not option.is_flag for name in option.opts}
    assert flags <= LEADING_FLAGS
    assert valued <= LEADING_WITH_VALUE
    assert not LEADING_FLAGS & LEADING_WITH_VALUE


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
    assert take(words, (A, B, C)) == Taken(left, options)


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


def test_unknown_command_that_is_near_to_none() -> None:
    """Where no command is near, all are named."""
    result = run("xyzzy")
    assert result.code == 2
    assert result.err.startswith("multi: xyzzy: is not a command; it can be start, ")
    assert result.err.count("\n") == 1
    assert run("").err == result.err.replace("xyzzy", "''")


def test_export_prints_its_files() -> None:
    """One file is printed as it is; several are told apart by a line with their names."""
    assert run("export", "systemd", "w1").out == "systemd of 2\n"
    assert run("export", "systemd", "w1", line=FakeLine(files=("a", "b"))).out == (
        "# ---- a\nsystemd of 2\n# ---- b\nsystemd of 2\n"
    )


def test_export_writes_its_files_where_it_is_told() -> None:
    """With --output the files are written, and their paths are what is printed."""
    line = FakeLine()
    assert run("export", "cron", "w1", "--output", "there", line=line).out == "there/nodes.conf\n"
    assert json.loads(run("export", "cron", "w1", "--output", "there", "--json").out) == ["there/nodes.conf"]
    assert json.loads(run("export", "cron", "w1", "--json").out) == {"nodes.conf": "cron of 2\n"}
    assert ("save", "there", 0o600, "nodes.conf") in line.asked


def test_export_needs_a_form() -> None:
    """G9: `export` alone, or with a form that there is not, is one line and exit 2."""
    assert run("export").code == 2
    result = run("export", "systemdd", "w1")
    assert result.code == 2
    assert result.err == "multi: systemdd: is not a form that nodes can be exported to; did you mean 'systemd'?\n"


@pytest.mark.parametrize(
    ("form", "foreground"), [("systemd", True), ("compose", True), ("sysv", False), ("cron", False)]
)
def test_export_tells_who_takes_the_output(form: str, foreground: bool) -> None:
    """A log that nobody named is the supervisor's own business, unless `multi` goes on doing the work."""
    line = FakeLine()
    run("export", form, "w1", line=line)
    assert (("foreground",) in line.asked) is foreground


def test_windows() -> None:
    """On Windows there is one sentence and exit 2, whatever was asked."""
    result = run("start", "w1", system="nt")
    assert result == Result(
        2, "", "multi: Windows: has no signals and no process groups, which multi needs; run it under WSL\n"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("get",), "get: no node is named; try 'multi get w1 w1 w2 -A proj'"),
        (("expand",), "expand: no template is given; try 'multi expand /var/log/%n.log w1 w2'"),
        (("signal",), "signal: no signal is named; try 'multi signal USR1 w1'"),
        (
            ("signal", "USR9", "w1"),
            "USR9: is not a signal of this system; try -TERM, -SIGTERM, -term or -15; 'kill -l' lists them",
        ),
        (("restart", "--rolling=0"), "--rolling=0: is not a number of nodes; write it like --rolling or --rolling=2"),
        (
            ("restart", "--rolling=two"),
            "--rolling=two: is not a number of nodes; write it like --rolling or --rolling=2",
        ),
        (("restart", "--rolling="), "--rolling=: is not a number of nodes; write it like --rolling or --rolling=2"),
        (("wait", "--timeout"), "--timeout: needs a value; write it like --timeout=SECONDS"),
        (
            ("wait", "--timeout=-1"),
            "--timeout=-1: is not a number of seconds; write it like --timeout=30 or --timeout=0.5",
        ),
        (("wait", "--up", "--down"), "--up --down: contradict each other; give one of them"),
        (("logs", "--lines=all"), "--lines=all: is not a number of lines; write it like --lines=100"),
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
    fake = FakeLine()
    assert run(*words, line=fake) == Result(2, "", f"multi: {line}\n")
    assert [asked for asked in fake.asked if asked[0] != "select"] == []


@pytest.mark.parametrize("seconds", ["1e3", "nan", "inf", "", ".", "1.", "1 ", "٣", "0x1", "1_0", "9" * 13, "+1"])
def test_seconds_are_plain_digits(seconds: str) -> None:
    """What float() would read but nobody means is refused."""
    assert run("wait", f"--timeout={seconds}").code == 2


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
    """G9: what the user or the machine got wrong is one line on stderr with a documented exit code."""
    for words in (("start", "w1"), ("status",), ("names",), ("show", "--json")):
        assert run(*words, line=FakeLine(error=error)) == Result(code, "", f"{line}\n")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), OSError(errno.EBADF, "Bad file descriptor"), ImportError("no module named x")]
)
def test_bugs_are_not_hidden(error: Exception) -> None:
    """A bug is a plain traceback: nobody else could put it right. So is an error of the kernel that nothing refused."""
    with pytest.raises(type(error)):
        run("start", line=FakeLine(error=error))


# -- orders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "asked"),
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
def test_words_reach_the_grammar(words: tuple[str, ...], asked: tuple[str, ...]) -> None:
    """G11: the node grammar gets the raw words, without what is multi's own, leading words first."""
    line = FakeLine()
    run(*words, line=line)
    assert line.asked[0] == ("select", *asked)


@pytest.mark.parametrize(
    ("words", "loop"),
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
def test_rides(words: tuple[str, ...], loop: str) -> None:
    """A command that acts rides to the end."""
    line = FakeLine()
    assert run(*words, line=line) == Result(0, "", "")
    assert line.asked[1:] == [("run", loop, 2)]


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
        (("wait", "-q", "--timeout", "1.5"), False, RunOptions(timeout=1.5, signals=True)),
    ],
)
def test_manners(words: tuple[str, ...], terminal: bool, options: RunOptions) -> None:
    """What was said about how to ride is handed on; nobody who is not watched is woken for progress."""
    line = FakeLine()
    run(*words, line=line, terminal=terminal)
    assert line.manners == [options]


# -- what is printed where -----------------------------------------------------------------------------------------

STORY: tuple[Event, ...] = (
    Skipped("w1@host", 7, "already running"),
    Spawned("w2@host", 8, ("python",)),
    Waiting("w2@host", 8, "ready", 1.0, None, 59.0),
    Readied("w2@host", 8, 1.5, "notify"),
    Failed("w3@host", 9, "it exited with status 1", 1, ("boom",), "/log/w3.log"),
)


def test_events_as_text() -> None:
    """Results go to stdout, failures to stderr, the exit code is that of the ledger."""
    assert run("start", line=FakeLine(events=STORY)) == Result(
        1,
        "w1@host: already running, pid 7\n"
        "waiting for 1 node to be ready: w2 | 1s | giving up in 59s\n"
        "w2@host: started, pid 8, ready after 1.5s\n",
        "w3@host: failed: it exited with status 1 (pid 9)\n    | boom\n    log: /log/w3.log\n",
    )


def test_events_with_verbose() -> None:
    """--verbose adds the commands that are run, and how a node proved ready."""
    result = run("start", "--verbose", line=FakeLine(events=STORY))
    assert "w2@host: pid 8 runs python\n" in result.out
    assert "ready after 1.5s (notify)\n" in result.out


def test_events_with_quiet() -> None:
    """--quiet prints failures only."""
    result = run("start", "--quiet", line=FakeLine(events=STORY, warnings=("careful",)))
    assert result.out == ""
    assert result.err.startswith("w3@host: failed: it exited with status 1")
    assert "careful" not in result.err


def test_events_as_json() -> None:
    """--json prints one event a line on stdout, failures too, and no progress."""
    result = run("start", "--json", line=FakeLine(events=STORY), terminal=True)
    facts = [json.loads(line) for line in result.out.splitlines()]
    assert [(fact["event"], fact["node"]) for fact in facts] == [
        ("skipped", "w1@host"),
        ("spawned", "w2@host"),
        ("ready", "w2@host"),
        ("failed", "w3@host"),
    ]
    assert result.err == ""
    assert result.code == 1


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ((), 0),
        ((Gone("w1@host", 1, 1.0),), 0),
        ((Failed("w1@host", 1, "held", exit_code=75),), 75),
        ((Refused("w1@host", "not yours", exit_code=77),), 77),
        ((Interrupted(signal.SIGINT),), 130),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--json",), ("--quiet",), ("--verbose",)])
def test_exit_codes(events: tuple[Event, ...], code: int, flags: tuple[str, ...]) -> None:
    """The exit code is the same however it is printed."""
    assert run("stopwait", *flags, line=FakeLine(events=events)).code == code


def test_interrupt_that_nobody_caught() -> None:
    """An interrupt that reaches the command line is a sentence and 130, never a traceback."""
    result = run("stopwait", line=FakeLine(events=(Signalled("w1@host", 1, 15, 0.0), KeyboardInterrupt())))
    assert result.code == 130
    assert result.out == "w1@host: sent TERM to pid 1\n"
    assert result.err == "multi: interrupted: nothing more is done; 'multi status' tells what runs\n"


def test_warnings() -> None:
    """Warnings go to stderr, each on a line of its own that is harmless to a terminal."""
    result = run("names", line=FakeLine(warnings=("first\x07", "second")))
    assert result.out == "w1@host\nw2@host\n"
    assert result.err == "multi: warning: first\\x07\nmulti: warning: second\n"


def test_splash_is_for_terminals() -> None:
    """Name and version are printed to a person, never into `x=$(multi start w1)`."""
    splash = f"multi v{__version__}\n"
    assert run("start", terminal=True).out == splash
    assert run("start").out == ""
    for flag in ("--nosplash", "--quiet", "-q", "--json"):
        assert run("start", flag, terminal=True).out == ""
    assert run("names", terminal=True).out == "w1@host\nw2@host\n"


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
    line = FakeLine(
        views=(View(node=W1, state=Up(PROC)),),
        events=(Failed("w1@host", 1, "why"), Gone("w1@host", 1, 1.0)),
        routes=(Route(W1, (Refuse("why"),)),),
    )
    for words in (("status",), ("stopwait", "--nosplash"), ("stop", "--nosplash", "--dry-run")):
        result = run(*words, *flags, line=line, terminal=True, environ=environ)
        assert ("\x1b[" in result.out + result.err) == coloured
        assert "\x1b" not in run(*words, *flags, line=line, environ=environ).out


def test_progress_is_redrawn_on_a_terminal() -> None:
    """On a terminal one line is drawn again and again, stays below what is said, and is gone at the end."""
    events = (
        Signalled("w1@host", 1, 15, 0.0),
        Signalled("w2@host", 2, 15, 0.0),
        Waiting("w1@host", 1, "end", 1.0, signal.SIGKILL, 89.0),
        Waiting("w2@host", 2, "end", 1.0, signal.SIGKILL, 89.0),
        Gone("w1@host", 1, 1.5),
        Gone("w2@host", 2, 2.5),
    )
    result = run("stopwait", "--nosplash", "--no-color", line=FakeLine(events=events), terminal=True)
    erase = "\r\x1b[K"
    both = "waiting for 2 nodes to end: w1 w2 | 1s | next: KILL in 89s"
    assert result.out == (
        "w1@host: sent TERM to pid 1\n"
        "w2@host: sent TERM to pid 2\n"
        f"{erase}{both}{erase}{both}"
        f"{erase}w1@host: stopped, pid 1 gone after 1.5s\n{both}"
        f"{erase}w2@host: stopped, pid 2 gone after 2.5s\n"
    )


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
    """In a log file the wait is plain lines now and then, without a control character."""
    events = [Waiting("w1@host", 1, "end", float(second), 9, 90.0 - second) for second in range(65)]
    result = run("stopwait", line=FakeLine(events=[*events, Gone("w1@host", 1, 65.0)]))
    assert result.out == (
        "waiting for 1 node to end: w1 | 1s | next: KILL in 89s\n"
        "waiting for 1 node to end: w1 | 31s | next: KILL in 59s\n"
        "waiting for 1 node to end: w1 | 61s | next: KILL in 29s\n"
        "w1@host: stopped, pid 1 gone after 65s\n"
    )


# -- looking -------------------------------------------------------------------------------------------------------


def test_names() -> None:
    """`names` prints the full names, a line each."""
    assert run("names", "3") == Result(0, "w1@host\nw2@host\n", "")
    assert json.loads(run("names", "--json").out) == ["w1@host", "w2@host"]


def test_show_is_for_a_shell() -> None:
    """G11: what `show` prints runs in a shell as it is."""
    result = run("show", "w1")
    assert result.out.splitlines()[0] == """python -c 'print('"'"'a b'"'"')'"""
    done = subprocess.run(
        ["sh", "-c", result.out.splitlines()[0]], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "a b\n"
    assert json.loads(run("show", "--json").out)[0] == {"node": "w1@host", "command": list(W1.words)}


def test_get() -> None:
    """`get` takes short and full names, and exits 1 on a miss, naming what there is."""
    assert run("get", "w2", "w1", "w2") == Result(0, "python -m celery worker -n w2@host\n", "")
    assert run("get", "w2@host", "w1", "w2") == run("get", "w2", "w1", "w2")
    assert run("get", "w9", "w1", "w2") == Result(1, "", "multi: w9: there is no such node; the nodes are: w1 w2\n")
    assert run("get", "", "w1", "w2") == Result(1, "", "multi: '': there is no such node; the nodes are: w1 w2\n")
    assert json.loads(run("get", "w1", "w1", "--json").out) == {"node": "w1@host", "command": list(W1.words)}


def test_get_names_a_few_of_many_nodes() -> None:
    """A miss among a thousand nodes is still a line that one can read."""
    many = FakeLine(nodes=tuple(node(f"n{i}@host") for i in range(1000)))
    assert run("get", "w9", "1000", line=many).err.endswith("n18 n19 ...\n")


def test_expand() -> None:
    """`expand` fills a template in for each node."""
    assert run("expand", "/log/%n-%d%%", "2") == Result(0, "/log/w1-host%\n/log/w2-host%\n", "")
    assert json.loads(run("expand", "%h", "2", "--json").out) == ["w1@host", "w2@host"]
    assert run("expand", "%x", "2").code == 2


VIEWS = (View(node=W1, state=Up(PROC), uptime=5.0), View(node=W2, state=Dead("pid 7 is gone")))


def test_status() -> None:
    """`status` prints a table and exits as the LSB says."""
    result = run("status", line=FakeLine(views=VIEWS))
    assert [line.split()[:3] for line in result.out.splitlines()] == [
        ["NODE", "STATE", "PID"],
        ["w1@host", "running", "4711"],
        ["w2@host", "dead", "-"],
    ]
    assert (result.code, result.err) == (1, "")
    assert run("status", line=FakeLine(views=VIEWS[:1])).code == 0


def test_status_json_is_one_array() -> None:
    """`status --json` is one array, with the same exit code."""
    result = run("status", "--json", line=FakeLine(views=VIEWS))
    assert [(one["name"], one["state"]) for one in json.loads(result.out)] == [("w1", "running"), ("w2", "dead")]
    assert result.code == 1
    empty = run("status", "--json", line=FakeLine(nodes=()))
    assert (empty.code, empty.out) == (3, "[]\n")


def test_status_quiet() -> None:
    """`status --quiet` prints the nodes that do not run, and nothing when all do."""
    result = run("status", "--quiet", line=FakeLine(views=VIEWS))
    assert "w2@host" in result.out
    assert "w1@host" not in result.out
    assert run("status", "-q", line=FakeLine(views=VIEWS[:1])) == Result(0, "", "")


NOBODY = (
    "multi: there are no nodes: none is named, none is configured, none is recorded in /run/multi; "
    "name some, as in 'multi {} w1 w2', or say with --pidfile where they are\n"
)


def test_status_of_nobody() -> None:
    """Where there is no node at all, `status` says where it looked and exits 3."""
    assert run("status", line=FakeLine(nodes=())) == Result(3, "", NOBODY.format("status"))


@pytest.mark.parametrize("command", ["stop", "stopwait", "kill"])
def test_nobody_to_stop(command: str) -> None:
    """To stop nobody is done at once: init scripts stop what is not there."""
    assert run(command, line=FakeLine(nodes=())) == Result(0, "", NOBODY.format(command))
    assert run(command, "--quiet", line=FakeLine(nodes=())) == Result(0, "", "")


@pytest.mark.parametrize("words", [("start",), ("restart",), ("reload",), ("signal", "HUP"), ("wait",)])
def test_nobody_to_start(words: tuple[str, ...]) -> None:
    """To start nobody is a mistake, exit 2."""
    line = FakeLine(nodes=())
    assert run(*words, line=line) == Result(2, "", NOBODY.format(words[0]))


def test_nobody_is_down() -> None:
    """To wait until nobody is left is done at once."""
    assert run("wait", "--down", line=FakeLine(nodes=())).code == 0


def test_dry_run() -> None:
    """G10: --dry-run rides as far as the plan, prints it, and exits as the command would."""
    line = FakeLine(routes=(Route(W2, (Spawn(),)), Route(W1, (Refuse("/run/w1.pid is a FIFO"),))))
    result = run("start", "--dry-run", line=line)
    assert result.out == (
        "w2@host: start: python -m celery worker -n w2@host\nw1@host: refused: /run/w1.pid is a FIFO\n"
    )
    assert result.code == 1
    assert [asked[0] for asked in line.asked] == ["select", "plan"]
    facts = [json.loads(text) for text in run("start", "--dry-run", "--json", line=line).out.splitlines()]
    assert [fact["node"] for fact in facts] == ["w2@host", "w1@host"]


def test_commands_that_run_dry() -> None:
    """Each command that changes something and comes back has --dry-run."""
    dry = {info.name for info in commands.COMMANDS if options.DRY_RUN in info.options}
    assert dry >= {"start", "stop", "stopwait", "restart", "kill", "signal", "reload", "ensure", "apply"}


DIFFERENCES = (
    Difference("w1@host", "restart", "", (("argv", "python -c 1", "python -c 2"),)),
    Difference("w9@host", "stop", "it is not configured any more"),
)


def test_diff() -> None:
    """`diff` says what `apply` would do and exits 1; nothing to do is 0 and one sentence."""
    assert run("diff", line=FakeLine(differences=DIFFERENCES)) == Result(
        1,
        "w1@host: restart\n    argv: python -c 1 -> python -c 2\nw9@host: stop (it is not configured any more)\n",
        "",
    )
    assert run("diff") == Result(0, "nothing to do: the machine is as the configuration says\n", "")
    assert run("diff", "--quiet") == Result(0, "", "")


def test_diff_json() -> None:
    """`diff --json` is one array with these keys."""
    result = run("diff", "--json", line=FakeLine(differences=DIFFERENCES))
    assert json.loads(result.out) == [
        {
            "node": "w1@host",
            "verb": "restart",
            "why": None,
            "changes": {"argv": ["python -c 1", "python -c 2"]},
        },
        {"node": "w9@host", "verb": "stop", "why": "it is not configured any more", "changes": {}},
    ]
    assert result.code == 1
    assert run("diff", "--json") == Result(0, "[]\n", "")


OBSTACLE = Obstacle("w1@host", "/srv/none", "is no directory", "create it, or correct workdir")


def test_check() -> None:
    """`check` shows each setting and where it is from; what a start would fail of goes to stderr, exit 2."""
    result = run("check", line=FakeLine(nodes=(W1,), obstacles=(OBSTACLE,)))
    assert result.out == (
        "configuration: none was found\n"
        "w1@host\n"
        """    command = python -c 'print('"'"'a b'"'"')'\n"""
        "    umask = 022  (MULTI_UMASK)\n"
    )
    assert result.err == "multi: w1@host: /srv/none is no directory; create it, or correct workdir\n"
    assert result.code == 2
    assert run("check", "--quiet", line=FakeLine(nodes=(W1,))) == Result(0, "", "")


def test_check_json() -> None:
    """`check --json` is one object with these keys."""
    result = run("check", "--json", line=FakeLine(nodes=(W1,), obstacles=(OBSTACLE,)))
    assert json.loads(result.out) == {
        "config": None,
        "nodes": [
            {"node": "w1@host", "command": list(W1.words), "settings": {"umask": ["022", "MULTI_UMASK"]}},
        ],
        "obstacles": [
            {
                "node": "w1@host",
                "what": "/srv/none",
                "why": "is no directory",
                "hint": "create it, or correct workdir",
            }
        ],
    }
    assert result.code == 2


def test_ensure_is_silent_about_what_is_well() -> None:
    """`ensure` says what it did, and nothing of nodes that were well: cron mails every word."""
    line = FakeLine(events=(Skipped("w1@host", 7, "already running"),))
    assert run("ensure", line=line) == Result(0, "", "")
    assert run("ensure", line=FakeLine(nodes=())) == Result(0, "", "")
    line = FakeLine(events=(Skipped("w1@host", 7, "already running"), Readied("w2@host", 8, 1.0, "notify")))
    assert run("ensure", line=line).out == "w2@host: started, pid 8, ready after 1.0s\n"


def test_apply_stops_the_last_node_too() -> None:
    """A configuration without any node left still has to stop what it started."""
    line = FakeLine(nodes=(), removed=(W1,))
    assert run("apply", line=line).code == 0
    assert line.asked[-1] == ("run", "apply", 0)


LOG = (LogLine("w1", "plain"), LogLine("w2,w3", "shared \x1b[2Jlog\x07"), LogLine("w1", "\x1b[31mred\x1b[0m\ttab"))


def test_logs() -> None:
    """`logs` prints each line behind the names of its nodes, harmless to a terminal."""
    result = run("logs", line=FakeLine(log=LOG))
    assert result == Result(0, "w1 | plain\nw2,w3 | shared \\x1b[2Jlog\\x07\nw1 | red\ttab\n", "")


def test_logs_in_colour() -> None:
    """On a terminal each log has a colour and keeps it; there are more logs than colours."""
    log = tuple(LogLine(f"w{number}", "text") for number in (*range(7), 0))
    lines = run("logs", line=FakeLine(log=log), terminal=True).out.splitlines()
    colours = [line.partition("mw")[0] for line in lines]
    assert all(colour.startswith("\x1b[") for colour in colours)
    assert colours[0] == colours[7]
    assert len(set(colours[:5])) == 5


def test_logs_json() -> None:
    """`logs --json` is one object a line, the text exactly as it was logged."""
    result = run("logs", "--json", line=FakeLine(log=LOG))
    assert [json.loads(line) for line in result.out.splitlines()] == [
        {"nodes": ["w1"], "text": LOG[0].text},
        {"nodes": ["w2", "w3"], "text": LOG[1].text},
        {"nodes": ["w1"], "text": LOG[2].text},
    ]


@pytest.mark.parametrize(
    ("words", "lines", "follow"),
    [((), 10, False), (("--lines=3",), 3, False), (("--lines", "0", "--follow"), 0, True)],
)
def test_logs_options(words: tuple[str, ...], lines: int, follow: bool) -> None:
    """How many lines, and whether to go on, is handed on."""
    line = FakeLine()
    run("logs", *words, line=line)
    assert line.asked[-1] == ("logs", 2, lines, follow)


def test_logs_that_cannot_be_read() -> None:
    """Where nothing will be seen of a log, that is said; a plain failure hides a lack of permission."""
    why = "logs to /dev/stderr, which cannot be read again"
    result = run("logs", line=FakeLine(unreadable=(Unseen(W1, why),), log=LOG[:1]))
    assert result == Result(1, "w1 | plain\n", "multi: w1@host: logs to /dev/stderr, which cannot be read again\n")
    later, denied = Unseen(W1, "has no log yet", 0), Unseen(W2, "Permission denied", 77)
    assert run("logs", line=FakeLine(unreadable=(later,))).code == 0
    assert run("logs", "--follow", line=FakeLine(unreadable=(later, denied))).code == 77
    assert run("logs", line=FakeLine(unreadable=(denied, Unseen(W1, why)))).code == 1
    assert run("logs", line=FakeLine(nodes=())).code == 2


def test_logs_end_with_their_reader() -> None:
    """`multi logs --follow | head -1` ends once nobody reads."""

    class Gone(io.StringIO):
        """A pipe whose reader has gone away."""

        def write(self, _text: str) -> int:
            """Refuse."""
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    screen = Screen(Gone(), None, {})
    fake = FakeLine()
    told = []

    def endless() -> Iterator[LogLine]:
        for number in range(1000):
            told.append(number)
            yield LogLine("w1", "line")

    fake.logs = lambda *_, **__: endless()  # type: ignore[method-assign]
    assert serve(["logs", "--follow"], lambda: fake, screen, {}) == 0
    assert told == [0]


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
    for example in command_prose(info.name).get("examples", ()):
        assert f"\n  {example}\n" in page.out
    line = FakeLine()
    for words in ((info.name, "--help"), (info.name, "-h"), ("--help", info.name), ("-h", info.name)):
        assert run(*words, line=line) == page
    assert run(info.name, "w1", "-c", "4", "--help", line=line) == page
    assert line.asked == []
    assert info.takes_nodes == ("--stop-schedule" in page.out) == ("--json" in page.out)


@pytest.mark.parametrize(
    "flag", ["--hostname, -n=", "--suffix=", "--prefix=", "--range-prefix=", "--strict", "--multi-config="]
)
def test_page_has_what_the_node_grammar_keeps(flag: str) -> None:
    """The page of a command with nodes has each option that no worker gets: all others, it says, are the worker's."""
    for info in commands.COMMANDS:
        page = run("help", info.name).out
        assert info.takes_nodes == (f"\n  {flag}" in page) == ("Every other option" in page)


def test_the_prose_is_that_of_the_table() -> None:
    """help.toml has each command and each option, and no other."""
    every = {value.name for value in vars(options).values() if isinstance(value, Option)}
    said = {table: set(cast("Mapping[str, object]", found)) for table, found in prose().items()}
    assert said == {"commands": {info.name for info in commands.COMMANDS}, "options": every}


@pytest.mark.parametrize("info", commands.COMMANDS, ids=lambda info: info.name)
def test_examples_of_the_help_are_orders(info: Command) -> None:
    """Each example is a command line that is understood, of its own command."""
    assert command_prose(info.name).get("examples", ())
    for example in command_prose(info.name).get("examples", ()):
        assert f"multi {info.name}" in example


def test_version() -> None:
    """`--version` before any command prints name and version; after one it is the worker's."""
    assert run("--version") == Result(0, f"multi {__version__}\n", "")
    assert run("--version", "start") == Result(0, f"multi {__version__}\n", "")
    line = FakeLine()
    run("start", "--version", line=line)
    assert line.asked[0] == ("select", "start", "--version")


# -- any words at all ----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [name for info in commands.COMMANDS for name in (info.name, *info.aliases)]
    + [flag for option in (*options.GLOBAL, options.VERSION, options.SHORT_HELP) for flag in option.flags]
    + ["--dry-run", "--rolling", "--rolling=2", "--timeout=1", "--up", "--down", "--", "-A", "proj", "w1", "3"]
    + ["-c:w1", "%n", "%x", "TERM", "-9", "", "\udcff", "--multi-config", "bash"]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(WORDS | st.text(max_size=4), max_size=6), st.booleans(), st.booleans())
def test_never_a_traceback(words: list[str], terminal: bool, empty: bool) -> None:
    """G9: any words give a documented exit code and, where it is 2, one line that says why."""
    line = FakeLine(nodes=() if empty else (W1, W2), views=() if empty else VIEWS, events=STORY)
    result = run(*words, line=line, terminal=terminal)
    assert result.code in {0, 1, 2, 3}
    if result.code == 2:
        lines = result.err.splitlines()
        assert lines[-1].startswith(("multi: ", "'multi help' lists"))
        assert all(text.isprintable() for text in lines)


# -- completion ----------------------------------------------------------------------------------------------------


def complete(*words: str, nodes: Sequence[str] = ("w1@host", "w2@host", "image@host")) -> list[str]:
    """The candidates for the last word."""
    return [
        one.value
        for one in candidates(words[:-1], words[-1], lambda _: nodes, lambda: ("celery", "celery-beat", "exec"))
    ]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("st",), ["start", "stop", "stopwait", "status"]),
        (("-A", "proj", "sta"), ["start", "status"]),
        (("--no",), ["--nosplash", "--no-color"]),
        (("--vers",), ["--version"]),
        (("start", ""), ["w1", "w2", "image"]),
        (("start", "w"), ["w1", "w2"]),
        (("start", "w1", "w"), ["w2"]),
        (("start", "w1", "w1@"), ["w1@host"]),
        (("stop_verify", "i"), ["image"]),
        (("start", "-c:w"), ["-c:w1", "-c:w2"]),
        (("start", "--pidfile:i"), ["--pidfile:image"]),
        (("start", "--dr"), ["--dry-run"]),
        (("start", "--stop-s"), ["--stop-schedule"]),
        (("start", "--range"), ["--range-prefix"]),
        (("restart", "--roll"), ["--rolling"]),
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
        (("export", "s"), ["supervisord", "systemd", "sysv"]),
        (("export", "systemd", "im"), ["image"]),
        (("start", "--preset", "celery"), ["celery", "celery-beat"]),
        (("--preset", "exe"), ["exec"]),
        (("help", "rest"), ["restart"]),
        (("help", "restart", ""), []),
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
    assert candidates(words[:-1], words[-1], lambda _: (), lambda: ()) == [Candidate("x", kind="file")]
    assert candidates(["start", "--workdir"], "x", lambda _: (), lambda: ()) == [Candidate("x", kind="dir")]


def test_candidates_look_where_the_words_say() -> None:
    """Nodes are looked for where the options that were typed say that they are recorded."""
    asked: list[Sequence[str]] = []

    def nodes(places: Sequence[str]) -> Sequence[str]:
        asked.append(list(places))
        return ()

    candidates(["--multi-config", "m.toml", "stop", "w1", "-c", "4", "--pidfile=/run/%n.pid"], "", nodes, tuple)
    assert asked == [["--multi-config", "m.toml", "--pidfile=/run/%n.pid"]]


@given(st.lists(WORDS | st.text(max_size=4), max_size=5), st.text(max_size=4) | WORDS)
def test_candidates_fit(words: list[str], incomplete: str) -> None:
    """Any words can be completed, and whatever is offered begins with what was typed."""
    for one in candidates(words, incomplete, lambda _: ("w1@host",), tuple):
        assert one.value.startswith(incomplete)


def ask(question: str, words: str, cword: str, monkeypatch: pytest.MonkeyPatch, line: FakeLine | None = None) -> Result:
    """What a shell's script gets for an answer."""
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", cword)
    return run(environ={"_MULTI_COMPLETE": question}, line=line)


def test_answers_to_the_shells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shell is answered in its own way, through click."""
    assert ask("bash_complete", "multi stop w", "2", monkeypatch) == Result(0, "plain,w1\nplain,w2\n", "")
    assert ask("zsh_complete", "multi stop w", "2", monkeypatch) == Result(0, "plain\nw1\n_\nplain\nw2\n_\n", "")
    assert ask("fish_complete", "multi stop w", "w", monkeypatch).out.startswith("plain,w1")


@pytest.mark.parametrize("error", [UsageError("multi.toml", "is wrong"), PermissionError(errno.EACCES, "no")])
def test_completion_is_silent_about_mistakes(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell would show an error in the middle of the user's line: there are then no nodes to offer."""
    assert ask("bash_complete", "multi stop ", "2", monkeypatch, FakeLine(error=error)) == Result(0, "", "")


def test_completion_asked_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question without its variables is no traceback."""
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert run(environ={"_MULTI_COMPLETE": "bash_complete"}) == Result(1, "", "")
    assert run(environ={"_MULTI_COMPLETE": "tcsh_complete"}).code == 2


# -- a real process ------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
sys.path[:0] = [{root!r}, {tests!r}, {kit!r}]
import test_cli
from multi.cli import serve
from multi.cli.screen import Screen
import os
line = test_cli.FakeLine(**{given})
sys.exit(serve(sys.argv[1:], lambda: line, Screen(sys.stdout, sys.stderr, os.environ), os.environ))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """`multi` as a program on PATH, with a fake line below it; STORY is what happens."""
    path = tmp_path / "bin" / "multi"
    path.parent.mkdir()
    given = "dict(events=test_cli.STORY * 2000, views=test_cli.VIEWS * 5000)"
    text = PROGRAM.format(
        root=str(ROOT), tests=str(Path(__file__).parent), kit=str(ROOT / "tests" / "kit"), given=given
    )
    path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("words", [["status"], ["start"], ["start", "--json"], ["help", "start"]])
def test_reader_that_goes_away(program: Path, words: list[str]) -> None:
    """`multi status | head -1` shows no traceback, and the exit code is what is true, not what was read."""
    process = subprocess.Popen([program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == (0 if words[0] == "help" else 1)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_ride_goes_on_without_a_reader(tmp_path: Path, program: Path) -> None:
    """A reader that goes away does not stop a command half way: every event still happens."""
    done = tmp_path / "done"
    text = program.read_text(encoding="utf-8").replace(
        "line = ",
        textwrap.dedent(f"""
        def story():
            yield from test_cli.STORY * 2000
            open({str(done)!r}, "w").close()
        test_cli.FakeLine.run = lambda *_, **__: story()
        line = """),
    )
    program.write_text(text, encoding="utf-8")
    subprocess.run(
        ["sh", "-c", f"{program} restart 2>/dev/null | head -1"], check=True, timeout=60, capture_output=True
    )
    assert done.exists()


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"])
def test_closed_streams(real: Real, redirection: str) -> None:
    """G9: a command whose streams were closed by the caller does its work, and writes into no file by accident."""
    words = [sys.executable, "-m", "multi", *real.start_words("w1")]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=real.env,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    assert real.state() == {"w1": "running"}
    assert real.logfile("w1").read_bytes() == b""
    for path in real.run.iterdir():
        assert b"started, pid" not in path.read_bytes()


def test_full_disk(program: Path) -> None:
    """Results that could not be written are not passed over: one line, exit 1."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = subprocess.run(
        ["sh", "-c", f"{program} names >/dev/full"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "multi: standard output: No space left on device; what it was to show is lost\n"


def test_undecodable_words_come_back_as_they_were(program: Path) -> None:
    """G11: a word that is no UTF-8 leaves as the bytes that came in; a narrow locale loses nothing silently."""
    text = program.read_text(encoding="utf-8").replace("dict(", "dict(nodes=(test_cli.node('w\\udcff\\u00e9@host'),), ")
    program.write_text(text, encoding="utf-8")
    utf8 = subprocess.run(
        [program, "names"], env={**os.environ, "PYTHONIOENCODING": "utf-8"}, capture_output=True, check=True, timeout=60
    )
    assert utf8.stdout == b"w\xff\xc3\xa9@host\n"
    narrow = subprocess.run(
        [program, "names"], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=True, timeout=60
    )
    assert narrow.stdout == b"w\\udcff\\xe9@host\n"


def test_output_is_flushed_line_by_line(program: Path) -> None:
    """A line can be read as soon as it is said, also through a pipe."""
    text = program.read_text(encoding="utf-8").replace(
        "line = ",
        textwrap.dedent("""
        def story():
            yield test_cli.STORY[0]
            sys.stdin.readline()
        test_cli.FakeLine.run = lambda *_, **__: story()
        line = """),
    )
    program.write_text(text, encoding="utf-8")
    process = subprocess.Popen([program, "start"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 60)
    assert readable
    assert process.stdout.readline() == "w1@host: already running, pid 7\n"
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_interrupt_of_a_real_process(program: Path) -> None:
    """Ctrl-C is 130 and one sentence."""
    text = program.read_text(encoding="utf-8").replace(
        "line = ",
        textwrap.dedent("""
        def story():
            yield test_cli.STORY[0]
            sys.stdin.readline()
        test_cli.FakeLine.run = lambda *_, **__: story()
        line = """),
    )
    program.write_text(text, encoding="utf-8")
    process = subprocess.Popen(
        [program, "start"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "multi: interrupted: nothing more is done; 'multi status' tells what runs\n"


def test_terminal_gets_colour_and_splash(program: Path) -> None:
    """On a real terminal there is a splash and colour, and the width is the terminal's."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [program, "stop", "--dry-run"], stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    seen = _everything(ours)
    assert process.wait(60) == 0
    assert seen.startswith(f"multi v{__version__}\r\n")


def test_width_of_a_real_terminal(program: Path) -> None:
    """The redrawn line keeps to the width of the terminal, whatever it is."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
    process = subprocess.Popen([program, "start"], stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = _everything(ours)
    assert process.wait(60) == 1
    assert "waiting for 1 node to be read\x1b" in seen
    assert "waiting for 1 node to be ready" not in seen


def _everything(descriptor: int) -> str:
    """What is written to a terminal until its other side is closed."""
    seen = b""
    try:
        while chunk := os.read(descriptor, 65536):
            seen += chunk
    except OSError as error:
        if error.errno != errno.EIO:  # this is how Linux says that the other side is closed
            raise
    finally:
        os.close(descriptor)
    return seen.decode()


def test_main_reads_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`main` without arguments takes those of the process."""
    monkeypatch.setattr(sys, "argv", ["multi", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"multi {__version__}\n"
    assert main(["strat"]) == 2


def test_python_m_multi() -> None:
    """`python -m multi` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "multi", "--version"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"multi {__version__}\n"


EXPENSIVE = {"asyncio", "click", "difflib", "filelock", "json", "psutil", "socket", "subprocess", "tomllib"}


@pytest.mark.parametrize(
    ("words", "paid"),
    [
        (["--version"], set[str]()),
        (["names", "10"], set[str]()),
        (["start", "w1"], set[str]()),
        (["status"], set[str]()),
        (["status", "--json"], {"json"}),
        (["strat"], {"difflib"}),
        (["help"], {"click", "tomllib"} if sys.version_info >= (3, 11) else {"click"}),
    ],
)
def test_imports_are_paid_by_who_needs_them(words: list[str], paid: set[str]) -> None:
    """G12: the command line itself imports nothing expensive that the command does not use."""
    text = """
import sys
class Line:
    def select(self, command, words, **_):
        from multi.api import Selection
        return Selection(nodes=())
from multi.cli import serve
from multi.cli.screen import Screen
before = set(sys.modules)
serve(sys.argv[1:], Line, Screen(None, None, {}), {})
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", text, *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    imported = set(done.stdout.split()) & EXPENSIVE
    if "click" in paid:
        assert "click" in imported
    else:
        assert imported == paid


# -- real shells ---------------------------------------------------------------------------------------------------


def shell(name: str) -> str:
    """Where that shell is; the test is skipped where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_bash_completes(program: Path) -> None:
    """In a real bash the script completes commands and nodes."""
    talk = """
        eval "$(multi completion bash)"
        complete -p multi
        COMP_WORDS=(multi stop im); COMP_CWORD=2; _multi_completion multi; echo "${COMPREPLY[*]}"
        COMP_WORDS=(multi stop "w"); COMP_CWORD=2; COMPREPLY=(); _multi_completion multi; echo "${COMPREPLY[*]}"
        COMP_WORDS=(multi restart --rol); COMP_CWORD=2; COMPREPLY=(); _multi_completion multi; echo "${COMPREPLY[*]}"
    """
    assert _talk([shell("bash"), "--norc", "-c", talk], program).splitlines() == [
        "complete -o nosort -F _multi_completion multi",
        "",
        "w1 w2",
        "--rolling",
    ]


def test_zsh_completes(program: Path) -> None:
    """In a real zsh the script loads, and its question gets the nodes for an answer."""
    talk = """
        autoload -Uz compinit && compinit -u -D
        eval "$(multi completion zsh)"
        print -r -- ${_comps[multi]}
        words=(multi stop w); CURRENT=3
        export COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1))
        _MULTI_COMPLETE=zsh_complete multi
    """
    assert _talk([shell("zsh"), "-f", "-c", talk], program).split() == [
        "_multi_completion",
        "plain",
        "w1",
        "_",
        "plain",
        "w2",
        "_",
    ]


def test_fish_completes(program: Path) -> None:
    """In a real fish the script completes commands and nodes."""
    talk = "multi completion fish | source; complete -C 'multi stop w'; complete -C 'multi resta'"
    lines = _talk([shell("fish"), "--no-config", "-c", talk], program).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["w1", "w2", "restart"]


def _talk(command: list[str], program: Path) -> str:
    environ = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(program.parent)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return done.stdout


def test_every_shell_is_tested() -> None:
    """The shells that are promised are those that are tested here."""
    assert SHELLS == ("bash", "zsh", "fish")
