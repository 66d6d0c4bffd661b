"""What `multi run` shows of its nodes' output, on real terminals and elsewhere."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from real import Real, alive, environ_of, until
from terminal import Session

# Prints what stands in a file as it is, then stays; a second time when the file is replaced.
PRINTER = """
import os, sys, time
name, base = sys.argv[1:]
for number in range(1000):
    path = f"{base}/{name}.{number}"
    while not os.path.exists(path):
        time.sleep(0.005)
    with open(path, "rb") as file:
        os.write(1 if number % 2 else 2, file.read())
"""


def say(real: Real, name: str, data: bytes) -> None:
    """Let the node print that."""
    number = len(list(real.base.glob(f"{name}.[0-9]*")))
    written = real.base / f"{name}.new"
    written.write_bytes(data)
    written.rename(real.base / f"{name}.{number}")


def words(real: Real, *more: str) -> list[str]:
    """``multi run`` of nodes that print what they are told to."""
    code = real.base / "printer.py"
    code.write_text(PRINTER, encoding="utf-8")
    place = (f"--pidfile={real.run}/%n.pid", "--preset=exec", "--startsecs=0", "--stop-schedule=TERM/5/KILL/5")
    return ["run", *place, f"--cmd={sys.executable} {code} %n {real.base}", *more]


def session(real: Real, *more: str, columns: int = 80, env: dict[str, str] | None = None) -> Session:
    """The same on a terminal."""
    command = [sys.executable, "-m", "multi", *words(real, *more)]
    return Session(command, {**real.env, **(env or {})}, columns, cwd=str(real.base))


def behind(lines: list[str], name: str) -> list[str]:
    """What stands behind that name."""
    return [line.partition("| ")[2] for line in lines if re.match(rf"{name} +\|", line)]


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_whole_lines_behind_names(real: Real, columns: int) -> None:
    """Each node has its name and a colour of its own; lines that come in pieces at the same time are never mixed."""
    with session(real, "web", "worker", columns=columns) as run:
        run.sees("started", count=2)
        for _ in range(20):
            say(real, "web", b"a" * 20)
            say(real, "worker", b"b" * 20)
            say(real, "web", b"a" * 20 + b"\n")
            say(real, "worker", b"b" * 20 + b"\n")
        say(real, "worker", b"end\n")
        say(real, "web", b"end\n")
        run.sees(" end", count=2)
        assert "\x1b[36mweb    |\x1b[0m " in run.text
        assert "\x1b[33mworker |\x1b[0m " in run.text
        run.type(b"\x03")
        assert run.ends() == 0
    assert "".join(behind(run.lines, "web")) == "a" * 800 + "end"
    assert "".join(behind(run.lines, "worker")) == "b" * 800 + "end"
    assert not any("ab" in line or "ba" in line for line in run.lines)
    assert real.family() == []


def test_what_a_second_ctrl_c_does_is_said_at_the_first(real: Real) -> None:
    """The first says whom it stops, how, and that another one kills; the other one does, and speaks of no other."""
    deaf = real.worker("--ignore", "TERM", "--touch", f"{real.base}/%n.up")
    ready = f"--ready=file:{real.base}/%n.up"
    place = (f"--pidfile={real.run}/%n.pid", "--preset=exec", f"--cmd={deaf}", ready)
    with Session(
        [sys.executable, "-m", "multi", "run", *place, "--cmd:c=sleep 60", "--ready:c=alive", "a", "b", "c"],
        real.env,
        80,
        cwd=str(real.base),
    ) as run:
        run.sees("started", count=3)
        run.type(b"\x03")
        run.sees("multi: INT: stopping 3 nodes; Ctrl-C again kills them")
        run.sees("sent TERM", count=3)
        run.sees("stopped, pid")
        run.type(b"\x03")
        run.sees("INT again: killing 2 nodes")
        run.sees("sent KILL", count=2)
        assert run.ends() == 137
    assert "not running" not in run.text
    assert real.family() == []


def test_one_node_alone_is_as_it_is(real: Real) -> None:
    """It has the terminal itself: no name, no copy, every byte."""
    with session(real, "web") as run:
        run.sees("started")
        say(real, "web", b"\xff\x1b[35mraw\x1b[0m\n")
        run.sees("\\xff\x1b[35mraw\x1b[0m\n")
        assert Path(f"/proc/{real.pid('web')}/fd/2").readlink().match("/dev/pts/*")
        run.type(b"\x03")
        assert run.ends() == 0
    assert not list(real.run.glob("*.output"))


@pytest.mark.parametrize(("given", "variable"), [("--no-color", ""), ("", "1")])
def test_no_colours_where_none_are_wanted(real: Real, given: str, variable: str) -> None:
    """--no-color and NO_COLOR leave the names without a colour."""
    with session(real, "a", "b", *filter(None, [given]), env={"NO_COLOR": variable}) as run:
        run.sees("started", count=2)
        say(real, "a", b"hello\n")
        run.sees("a | hello\n")
        run.type(b"\x03")
        assert run.ends() == 0
    assert "\x1b[3" not in run.text


def test_without_names_and_with_times(real: Real) -> None:
    """--no-prefix leaves whole lines, --timestamps puts the time before them."""
    with session(real, "a", "b", "--no-prefix", "--timestamps") as run:
        run.sees("started", count=2)
        say(real, "a", b"from a\n")
        run.sees("from a\n")
        run.type(b"\x03")
        assert run.ends() == 0
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} from a", line) for line in run.lines)


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_a_log_that_is_named_is_followed(real: Real, names: tuple[str, ...]) -> None:
    """It stays the log; what it held before is not shown, and rotation is noticed."""
    log = real.log / "a.log"
    real.log.mkdir(exist_ok=True)
    log.write_text("old\n", encoding="utf-8")
    with session(real, *names, f"--logfile={real.log}/%n.log") as run:
        run.sees("started", count=len(names))
        say(real, "a", b"one\n")
        run.sees("one\n")
        log.rename(real.log / "a.log.1")
        say(real, "a", b"two\n")
        run.sees("two\n")
        log.write_text("three\n", encoding="utf-8")
        run.sees("three\n")
        run.type(b"\x03")
        assert run.ends() == 0
    assert "old" not in run.text
    assert ("a | one" in run.lines) == (len(names) > 1)
    assert (real.log / "a.log.1").read_text(encoding="utf-8") == "old\none\ntwo\n"


def test_what_a_node_says_while_it_dies_comes_before_its_end(real: Real) -> None:
    """It is shown once, as it came, also without the end of its line."""
    with session(real, "a", "b", "--cmd:a=sh -c 'sleep 60 & sleep 0.3; printf \"no such table\"; exit 3'") as run:
        assert run.ends() == 1
    assert "cleared" not in run.text, "of an end that was told"
    shown = [line for line in run.lines if "no such table" in line]
    assert shown == ["a | no such table"]
    assert run.lines.index("a | no such table") < next(n for n, line in enumerate(run.lines) if "status 3" in line)


def test_elsewhere_nothing_stands_between_a_node_and_its_stream(real: Real) -> None:
    """In a pipe, as in a container or a unit, the nodes write to the stream themselves; progress is on stderr."""
    begun = real.begin(*words(real, "a", "b"))
    until(lambda: all(real.pidfile(name).exists() for name in "ab"), "both run")
    real.settle()
    say(real, "a", b"hello\n")
    assert not list(real.run.glob("*.output"))
    begun.process.send_signal(signal.SIGTERM)
    done = begun.done().ok()
    assert done.err.splitlines().count("hello") <= 1
    assert "a second signal kills them" in done.out


def test_json_has_the_lines_as_events(real: Real) -> None:
    """Each line is an object on stdout, among the other events; nothing of it is on stderr."""
    begun = real.begin(*words(real, "a", "--json"))
    until((real.run / "a.output").exists, "it has its log")
    until(lambda: real.pidfile("a").exists() and real.state("a") == {"a": "running"}, "it is ready")
    say(real, "a", b"hello\n\xff\n")
    until(lambda: (real.run / "a.output").read_bytes() == b"hello\n\xff\n", "it has printed")
    begun.process.send_signal(signal.SIGTERM)
    done = begun.done().ok()
    assert done.err == "" or "hello" not in done.err
    said = [json.loads(line) for line in done.out.splitlines()]
    (pid,) = {each["pid"] for each in said if each["event"] == "spawned"}
    printed = [(each["text"], each["pid"]) for each in said if each["event"] == "output"]
    assert printed == [("hello", pid), ("\ufffd", pid)]
    assert {"spawned", "ready", "ending", "gone"} <= {each["event"] for each in said}


def test_g3_nodes_live_on_when_run_is_killed_and_the_next_run_shows_them(real: Real) -> None:
    """G3: a node neither dies of SIGPIPE nor waits for a reader; the next `run` takes it and shows what is new."""
    with session(real, "a", "b") as run:
        run.sees("started", count=2)
        pids = {name: real.pid(name) for name in "ab"}
        assert environ_of(pids["a"])["PYTHONUNBUFFERED"] == "1"
        run.process.kill()
        run.process.wait(20)
    say(real, "a", b"unseen\n" + b"x" * (1 << 18) + b"\n")  # four times what a pipe holds
    until(lambda: (real.run / "a.output").stat().st_size > 1 << 18, "it is printed")
    with session(real, "a", "b") as run:
        run.sees("adopted", count=2)
        assert {name: real.pid(name) for name in "ab"} == pids
        say(real, "a", b"seen\n")
        run.sees("seen\n")
        run.type(b"\x03")
        assert run.ends() == 0
    assert "unseen" not in run.text
    assert not any(map(alive, pids.values()))


def test_another_command_restarts_a_node_and_its_lines_go_on(real: Real) -> None:
    """`restart` from another shell: `run` shows the new process too, and `logs` reads the same."""
    with session(real, "a", "b") as run:
        run.sees("started", count=2)
        say(real, "a", b"before\n")
        run.sees("before\n")
        for path in real.base.glob("a.[0-9]*"):
            path.unlink()
        real.multi("restart", "a").ok()
        say(real, "a", b"after\n")
        run.sees("after\n")
        assert "after" in real.multi("logs", "a").ok().out
        run.type(b"\x03")
        assert run.ends() == 0
    assert (real.run / "a.output").exists()
    real.multi("forget", "a").ok()
    assert not (real.run / "a.output").exists()


def test_a_configured_node_keeps_the_log_that_run_shows(real: Real) -> None:
    """Beside `run` there is nothing to apply; `restart` and `logs` take the same log, and its first line is shown."""
    code = "import os, time; print('from', os.getpid(), flush=True); time.sleep(600)"
    (real.base / "multi.toml").write_text(
        f"[defaults]\npreset = 'exec'\nstartsecs = 0\npidfile = '{real.run}/%n.pid'\n"
        f"cmd = ['{sys.executable}', '-c', \"{code}\"]\n[nodes.a]\n[nodes.b]\n",
        encoding="utf-8",
    )
    with Session([sys.executable, "-m", "multi", "run"], {**real.env, "NO_COLOR": "1"}, 80, cwd=str(real.base)) as run:
        run.sees("started", count=2)
        run.sees(f"a | from {real.pid('a')}")
        real.raw("diff").ok()
        real.raw("restart", "a").ok()
        run.sees(f"a | from {real.pid('a')}")
        assert f"from {real.pid('a')}" in real.raw("logs", "a").ok().out
        run.type(b"\x03")
        assert run.ends() == 0
    assert real.family() == []
