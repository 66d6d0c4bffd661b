"""`status --watch` on real terminals and pipes: it draws in place, hears keys and signals, and leaves all as it was."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real import PATIENCE, alive, everything, stat, until, words_of
from terminal import Emulator

if TYPE_CHECKING:
    from real import Real

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
SHOW_CURSOR, WRAP = b"\x1b[?25h", b"\x1b[?7h"
LOOKS, MOST = 10, 2.0  # of the measurement, and what one may cost, in yardsticks
BUSY = "import time\nend = time.monotonic() + 600\nwhile time.monotonic() < end: pass"


def words(real: Real, *more: str) -> list[str]:
    """The command, with nodes of this test alone."""
    return [sys.executable, "-m", "multi", "status", "--watch=0.2", f"--pidfile={real.run}/%n.pid", *more]


def second_look(text: str) -> bool:
    """Whether it tells of an interval."""
    return re.search(r"CPU \d", text) is not None


def started(real: Real, count: int) -> None:
    """So many nodes."""
    real.start(*(f"n{number}" for number in range(1, count + 1)), cmd="sleep 600").ok()


def left_as_it_was(terminal: Emulator) -> bool:
    """Whether the other screen, the cursor, wrapping and the modes are what they were."""
    said = terminal.said
    return (
        said.count(ENTER) == said.count(LEAVE)
        and said.rindex(LEAVE) > said.rindex(ENTER)
        and said.rindex(SHOW_CURSOR) > said.rindex(b"\x1b[?25l")
        and said.rindex(WRAP) > said.rindex(b"\x1b[?7l")
        and terminal.is_cooked
    )


def test_sizes_keys_and_the_way_out(real: Real) -> None:
    """It fits every size, also one that changes; keys sort, filter, widen, scroll and help; q leaves all as it was."""
    started(real, 20)
    with Emulator(words(real), real.env, 80, 12) as terminal:
        text = terminal.until(second_look, "two looks")
        assert "20 nodes: 20 running" in text
        assert "1-9 of 20, by order" in text
        assert not terminal.shows_cursor
        assert not terminal.is_cooked
        terminal.type("s")
        assert "n2@" in terminal.until(lambda text: "by name" in text, "sorted").splitlines()[3]
        terminal.type("r")
        assert "n20@" in terminal.until(lambda text: "reversed" in text, "the other way").splitlines()[2]
        terminal.type("\x1b[F")
        assert "n1@" in terminal.until(lambda text: "12-20 of 20" in text, "the end").splitlines()[10]
        terminal.resize(160, 30)
        terminal.type("w")
        text = terminal.until(lambda text: "B/s" in text, "a second look at what they hold")
        assert {"PSS", "THREADS", "FILES", "READ", "WRITTEN", "TASKS", "ALIVE"} < set(text.splitlines()[1].split())
        terminal.resize(40, 10)
        text = terminal.until(lambda text: "WRITTEN" not in text and "of 20" in text, "40 columns")
        assert text.splitlines()[1].split() == ["NODE", "STATE", "CPU", "MEMORY", "TASKS"]
        terminal.type("/")
        terminal.until(lambda text: "filter: _" in text, "a filter is typed")
        terminal.type("n1q\x7f9\r")
        text = terminal.until(lambda text: "1 node with 'n19'" in text, "filtered; q is a letter here")
        assert sum("running" in line for line in text.splitlines()[2:]) == 1
        terminal.type("?")
        assert "quit" in terminal.until(lambda text: "keys of" in text, "help")
        terminal.type("q")
        assert terminal.end() == 0
        assert left_as_it_was(terminal)


@pytest.mark.parametrize("how", ["Ctrl-C", "TERM", "HUP", "QUIT"])
def test_signals_leave_all_as_it_was(real: Real, how: str) -> None:
    """Whatever signal ends it, it exits with 0, and the terminal is as it was."""
    started(real, 1)
    with Emulator(words(real), real.env, 80) as terminal:
        terminal.until(second_look, "two looks")
        if how == "Ctrl-C":
            terminal.type("\x03")
        else:
            terminal.process.send_signal(getattr(signal, f"SIG{how}"))
        assert terminal.end() == 0
        assert left_as_it_was(terminal)
        assert b"Traceback" not in terminal.said


@pytest.mark.parametrize(("keys", "stopped"), [("", False), ("/abc", False), ("", True)])
def test_a_terminal_that_is_gone(real: Real, keys: str, stopped: bool) -> None:
    """It ends with 0, and complains of nothing, when the window is closed. Who is stopped hears two signals at once."""
    started(real, 1)
    errors = real.base / "errors"
    command = shlex.join(words(real))
    with Emulator(["sh", "-c", f"exec {command} 2>{errors}"], real.env, 80) as terminal:
        terminal.until(second_look, "two looks")
        terminal.type(keys)
        if stopped:
            watching = terminal.process.pid
            terminal.process.send_signal(signal.SIGSTOP)
            until(lambda: (found := stat(watching)) is not None and found.state == "T", "it is stopped")
        terminal.hang_up()
        ended = terminal.process.wait(PATIENCE)
    assert (ended, errors.read_text(encoding="utf-8")) == (0, "")


def test_an_exception_leaves_all_as_it_was(real: Real) -> None:
    """A bug ends it with a traceback, on a terminal that is as it was."""
    started(real, 1)
    broken = (
        "import sys, multi.watch\n"
        "def bug(self, **_):\n    self.n = getattr(self, 'n', 0) + 1\n    return look(self) if self.n < 3 else 1 / 0\n"
        "look = multi.watch.Watch.look\nmulti.watch.Watch.look = bug\n"
        "from multi.cli import main\nsys.exit(main())\n"
    )
    command = words(real)
    with Emulator([sys.executable, "-c", broken, *command[3:]], real.env, 80) as terminal:
        assert terminal.end() == 1
        assert left_as_it_was(terminal)
        assert terminal.said.index(LEAVE) < terminal.said.index(b"ZeroDivisionError")


def test_suspended_and_resumed(real: Real) -> None:
    """Ctrl-Z gives the shell a terminal that is as it was; with fg it draws again, also after a STOP from elsewhere."""
    started(real, 2)
    with Emulator(["sh", "-i"], {**real.env, "PS1": "prompt> "}, 80) as terminal:
        terminal.until(lambda text: "prompt>" in text, "a shell")
        terminal.type(" ".join(words(real)) + "\n")
        terminal.until(second_look, "it draws")
        for count in (1, 2):
            terminal.type("\x1a")
            terminal.heard(LEAVE, count)
            terminal.until(lambda _: terminal.is_cooked, "the modes are the shell's")
            terminal.type("fg\n")
            terminal.heard(ENTER, count + 1)
            terminal.until(lambda text: second_look(text) and "2 nodes" in text, "it draws again")
        (watching,) = (pid for pid in real.family() if "--watch=0.2" in words_of(pid))
        os.kill(watching, signal.SIGSTOP)
        until(lambda: (found := stat(watching)) is not None and found.state == "T", "it is stopped")
        terminal.type("echo 40$((1+1))2\n")
        terminal.heard(b"4022")
        terminal.type("fg\n")
        terminal.until(lambda text: second_look(text) and "402" not in text, "all is drawn again")
        terminal.type("q")
        terminal.until(lambda _: not alive(watching), "it ended")
        terminal.type("exit\n")
        assert terminal.end() == 0
        assert terminal.said.rindex(LEAVE) > terminal.said.rindex(ENTER)


def test_what_happens_is_seen(real: Real) -> None:
    """A node that begins, works, is suspended, dies or is forgotten is so on the screen; so is a broken file."""
    config = real.base / "multi.toml"
    head = f'[defaults]\npreset = "exec"\nstartsecs = 0\npidfile = "{real.run}/%n.pid"\nlogfile = "{real.log}/%n.log"\n'
    config.write_text(f"{head}[nodes.calm]\ncmd = 'sleep 600'\n", encoding="utf-8")
    real.raw("start", f"--multi-config={config}").ok()
    command = [sys.executable, "-m", "multi", "status", "--watch=0.2", f"--multi-config={config}"]
    command.append(f"--pidfile={real.run}/%n.pid")  # said so, it shows no nodes of other tests
    with Emulator(command, real.env, 100, 20) as terminal:
        terminal.until(lambda text: "calm@" in text and second_look(text), "one node")
        config.write_text(
            f"{head}[nodes.calm]\ncmd = 'sleep 600'\n[nodes.busy]\ncmd = ['{sys.executable}', '-c', '''{BUSY}''']\n",
            encoding="utf-8",
        )
        terminal.until(lambda text: re.search(r"busy@\S+ +stopped", text), "one is configured anew")
        real.raw("start", f"--multi-config={config}").ok()
        terminal.until(lambda text: re.search(r"busy@.* [1-9]\d*\.\d%", text), "it uses processor time")
        pid = real.pid("busy")
        os.kill(pid, signal.SIGSTOP)
        terminal.until(lambda text: "suspended by SIGSTOP" in text, "it is suspended")
        os.kill(pid, signal.SIGCONT)
        terminal.until(lambda text: "suspended" not in text, "it is resumed")
        config.write_text("[nodes.calm\n", encoding="utf-8")
        terminal.until(lambda text: "multi.toml" in text and "busy@" in text, "the configuration is broken")
        os.kill(pid, signal.SIGKILL)
        terminal.until(lambda text: re.search(r"busy@\S+ +dead", text), "it died")
        terminal.type("q")
        assert terminal.end() == 0
        assert left_as_it_was(terminal)


def test_on_a_pipe(real: Real) -> None:
    """A table each time, or an array a line with --json; it ends with 0 when its reader goes away, or on TERM."""
    started(real, 2)
    piped = ["sh", "-c", f"{shlex.join(words(real, '--sort=name'))} | head -8"]
    done = subprocess.run(piped, env=real.env, capture_output=True, text=True, check=True, timeout=PATIENCE)
    lines = done.stdout.splitlines()
    assert "2 nodes: 2 running" in lines[0]
    assert lines[1].split()[:3] == ["NODE", "STATE", "PID"]
    assert lines[4] == ""
    assert re.search(r"CPU \d+\.\d%", lines[5])
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    process = subprocess.Popen(words(real, "--json"), env=real.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    process.stdout.close()
    assert [each["name"] for each in first] == ["n1", "n2"]
    assert first[0]["usage"]["cpu_percent"] is None
    assert second[0]["usage"]["cpu_percent"] == 0.0
    assert second[0]["usage"]["seconds"] == pytest.approx(0.2, abs=5)
    assert second[0]["usage"]["files"] >= 3
    assert second[0]["state"] == "running"


def test_g10_watching_changes_nothing(real: Real) -> None:
    """It makes no file and no directory and touches none, wide or not, whatever state the nodes are in (G10)."""
    started(real, 2)
    os.kill(real.pid("n2"), signal.SIGKILL)
    before = everything(real.base)
    process = subprocess.Popen(words(real, "--json"), env=real.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    process.stdout.close()
    assert [each["state"] for each in told[-1]] == ["running", "dead"]
    assert everything(real.base) == before


def test_words_that_contradict(real: Real) -> None:
    """What makes no sense with --watch is refused, and nothing is drawn."""
    for more, said in (
        (("--health",), "contradict each other"),
        (("--format=openmetrics",), "contradict each other"),
        (("--sort=nothing",), "is nothing to sort by"),
        (("--watch=0.01",), "is too often"),
        (("--watch=soon",), "is not a number of seconds"),
        (("--all", "n1"), "shows all nodes"),
    ):
        done = real.raw("status", "--watch", f"--pidfile={real.run}/%n.pid", *more).exits(4)
        assert said in done.err
        assert done.out == ""
    assert "--watch" in real.raw("status", "--sort=cpu").exits(4).err


def yardstick() -> float:
    """Seconds of processor time of a fixed piece of work: 5 ms, half a percent of a second, where the bar was set."""
    begun, total = time.process_time(), 0
    for number in range(100_000):
        total += number % 7
    return time.process_time() - begun


@pytest.mark.engine
def test_g12_watching_is_cheap(real: Real) -> None:
    """50 nodes at one look a second take less than one percent of a core, of one as fast as a yardstick says."""
    started(real, 50)
    command = [sys.executable, "-m", "multi", "status", "--watch", f"--pidfile={real.run}/%n.pid"]
    with Emulator(command, real.env, 120, 60) as terminal:
        terminal.until(second_look, "two looks")
        pid = terminal.process.pid

        def spent() -> float:
            return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9

        yards: list[float] = []
        begun, before = time.monotonic(), spent()
        while len(yards) < LOOKS:
            while time.monotonic() < begun + 1 + len(yards):
                terminal.read(0.5)
            yards.append(yardstick())  # in between: what slows the machine down slows both
        each = (spent() - before) / (time.monotonic() - begun)
        terminal.type("q")
        assert terminal.end() == 0
    assert each < MOST * statistics.median(yards), (each, yards)
