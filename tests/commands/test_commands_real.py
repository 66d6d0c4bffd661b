"""`signal`, `reload`, `wait` and `check` on real processes."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from real import Done, Real, alive, descriptors, environ_of, stays, until

SOON = 90.0  # seconds in which what is to happen at once has happened on a busy machine


def tally(real: Real, name: str) -> list[str]:
    """What a tiny worker has heard, as ``PID SIGNAL``."""
    path = real.base / f"tally-{name}"
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []


def counting(real: Real, *options: str) -> str:
    """A worker that writes down its signals."""
    return real.worker("--tally", f"{real.base}/tally-%n", *options)


def heard(real: Real, name: str, *signals: str) -> None:
    """Wait until the node's main process, and nobody else, has heard exactly these."""
    expected = [f"{real.pid(name)} {one}" for one in signals]
    until(lambda: len(tally(real, name)) >= len(expected), f"{name} hears {signals}, not {tally(real, name)}")
    assert tally(real, name) == expected


def send(real: Real, word: str, *words: str) -> Done:
    """``multi signal SIG``, the signal in the place where it has to stand."""
    return real.raw("signal", word, f"--pidfile={real.run}/%n.pid", *words)


# --- signal -------------------------------------------------------------------------------------------------


def test_signal_by_any_spelling(real: Real) -> None:
    """The main process of each named node hears it once; it runs on, and nothing else is touched."""
    real.start("a", "b", "c", cmd=counting(real)).ok()
    before = {name: real.pid(name) for name in ("a", "b", "c")}
    for times, word in enumerate(("USR1", "SIGUSR1", "usr1", "-USR1", "-SIGUSR1", str(int(signal.SIGUSR1))), 1):
        done = send(real, word, "a", "b").ok()
        heard(real, "a", *["USR1"] * times)
        heard(real, "b", *["USR1"] * times)
        assert done.out.splitlines()[0].endswith(f"sent USR1 to pid {before['a']}")
    assert tally(real, "c") == []
    assert real.state("a", "b", "c") == dict.fromkeys(("a", "b", "c"), "running")
    assert {name: real.pid(name) for name in before} == before


def test_g6_signal_is_for_the_main_process_alone(real: Real) -> None:
    """G6: children do not hear it."""
    real.start("a", cmd=counting(real, "--child", "plain", "--child", "session")).ok()
    until(lambda: len(real.family()) == 3, "the children are there")
    family = set(real.family())
    send(real, "TERM", "a").ok()
    heard(real, "a", "TERM")
    assert set(real.family()) == family


def test_a_signal_that_ends_a_node_counts_as_its_death(real: Real) -> None:
    """`signal` is no stop: a node that dies of it is started again by `ensure`, as after any death."""
    real.start("a").ok()
    before = real.pid("a")
    send(real, "KILL", "a").ok()
    until(lambda: not alive(before), "a is gone")
    assert real.state("a") == {"a": "dead"}
    real.multi("ensure").ok()
    assert real.pid("a") != before


def test_signal_to_what_does_not_run(real: Real) -> None:
    """A node that is down is no success: it is named, exit 1; the others get the signal."""
    real.start("a", "b", cmd=counting(real)).ok()
    real.multi("stopwait", "b", "--stop-schedule=KILL/5").ok()
    done = send(real, "USR2", "a", "b").exits(1)
    heard(real, "a", "USR2")
    assert "b@" in done.out + done.err
    assert "not running" in done.out + done.err


def test_g9_a_signal_that_is_none(real: Real) -> None:
    """One line, exit 2, and nothing is sent."""
    real.start("a", cmd=counting(real)).ok()
    for words in ((), ("NOPE", "a"), ("0", "a"), ("99", "a"), ("-", "a"), ("--quiet",), ("--x=1", "USR1", "a")):
        done = real.raw("signal", *words, f"--pidfile={real.run}/%n.pid").exits(2)
        assert len(done.err.splitlines()) == 1, words
    assert tally(real, "a") == []


def test_g10_signal_dry_run(real: Real) -> None:
    """G10: it is said, and not sent."""
    real.start("a", cmd=counting(real)).ok()
    done = send(real, "USR1", "a", "--dry-run").ok()
    assert "USR1" in done.out
    send(real, "USR2", "a").ok()
    heard(real, "a", "USR2")


# --- reload -------------------------------------------------------------------------------------------------


def test_reload_sends_what_the_node_was_started_with(real: Real) -> None:
    """The reload signal is on record; one that is typed goes before it; the process stays the same."""
    real.start("a", "--reload-signal=USR2", cmd=counting(real)).ok()
    before = real.pid("a")
    real.multi("reload", "a").ok()
    heard(real, "a", "USR2")
    real.multi("reload", "a", "--reload-signal=HUP").ok()
    heard(real, "a", "USR2", "HUP")
    real.multi("reload").ok()
    heard(real, "a", "USR2", "HUP", "USR2")
    assert real.pid("a") == before


def test_reload_where_there_is_no_signal_for_it(real: Real) -> None:
    """A plain command has none: nothing is sent, the reason and the way out are told, exit 1."""
    real.start("a", cmd=counting(real)).ok()
    done = real.multi("reload", "a").exits(1)
    assert "the preset 'exec' has no reload signal; set reload_signal, or use 'multi signal'" in done.err
    send(real, "USR1", "a").ok()
    heard(real, "a", "USR1")


def test_signal_dump_is_what_the_preset_says(real: Real) -> None:
    """The stack-dump signal is on record; a preset that has none is told, and a second signal is an error."""
    presets = real.base / "config" / "multi" / "presets"
    presets.mkdir(parents=True)
    (presets / "talker.toml").write_text('cmd = "true"\ndump_signal = "USR2"\n')
    real.start("a", "--preset=talker", cmd=counting(real)).ok()
    real.start("b", cmd=counting(real)).ok()
    assert send(real, "dump", "a").ok().out.splitlines()[0].endswith(f"sent USR2 to pid {real.pid('a')}")
    heard(real, "a", "USR2")
    done = send(real, "dump", "b").exits(1)
    assert "the preset 'exec' has no signal that dumps stacks; name the signal, as in 'multi signal USR1'" in done.err
    done = send(real, "dump", "a", "-9").exits(2)
    assert "-KILL: is a second signal beside 'dump'; give one of them" in done.err
    assert alive(real.pid("a"))


# --- wait ---------------------------------------------------------------------------------------------------


def test_wait_is_over_where_it_is_true_already(real: Real) -> None:
    """Up and running, or down and gone: exit 0 at once, and nothing is touched."""
    real.start("a").ok()
    before = real.pid("a")
    assert real.multi("wait", "a").ok().seconds < SOON
    assert real.multi("wait", "a", "--up", "--timeout=0").ok().seconds < SOON
    real.multi("wait", "b", "--down").ok()
    assert real.pid("a") == before
    assert sorted(path.name for path in real.run.glob("b.*")) == []


def test_wait_for_up(real: Real) -> None:
    """It ends when another command has started the node and seen it ready, not before."""
    go = real.base / "go"
    code = (
        f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    waiting = real.begin("wait", f"--pidfile={real.run}/%n.pid", "a", "--timeout=60")
    starting = real.begin(*real.start_words("a", "--ready=log:ready", cmd=real.shell_words(code)))
    until(lambda: real.pidfile("a").exists(), "the node runs")
    assert waiting.process.poll() is None
    go.touch()
    starting.done().ok()
    waiting.done().ok()
    assert real.state("a") == {"a": "running"}


def test_wait_for_down(real: Real) -> None:
    """The end of the process itself ends the wait."""
    real.start("a", "b").ok()
    waiting = real.begin("wait", f"--pidfile={real.run}/%n.pid", "a", "--down")
    real.multi("stopwait", "a").ok()
    waiting.done().ok()
    assert real.state("b") == {"b": "running"}


def test_wait_for_down_sees_a_death(real: Real) -> None:
    """However it ends: what is dead is down."""
    real.start("a").ok()
    waiting = real.begin("wait", f"--pidfile={real.run}/%n.pid", "a", "--down")
    os.kill(real.pid("a"), signal.SIGKILL)
    waiting.done().ok()


@pytest.mark.parametrize("way", ["--up", "--down"])
def test_wait_gives_up(real: Real, way: str) -> None:
    """After --timeout seconds, not sooner: the node is named with what is so, exit 1; it is left as it is."""
    if way == "--down":
        real.start("a").ok()
    done = real.multi("wait", "a", way, "--timeout=0.5").exits(1)
    assert done.seconds >= 0.5
    (line,) = done.err.splitlines()
    assert line.startswith("a@")
    assert "0.5s" in line
    assert real.state("a") == {"a": "running" if way == "--down" else "stopped"}


def test_g9_a_wait_longer_than_the_kernel_s_longest(real: Real) -> None:
    """G9: poll(2) cannot wait for 25 days at once; who asks for more gets more, and no traceback."""
    real.start("a").ok()
    begun = real.begin("wait", "a", "--down", "--timeout=3000000", "--quiet", f"--pidfile={real.run}/%n.pid")
    stays(lambda: begun.process.poll() is None, "it waits", 1)
    real.multi("stopwait", "a").ok()
    begun.done().ok()


def test_wait_is_for_all_of_them(real: Real) -> None:
    """One that is up does not make up for one that is not; the one that is missing is named."""
    real.start("a").ok()
    done = real.multi("wait", "a", "b", "--timeout=0.3").exits(1)
    assert "b@" in done.err
    assert "a@" not in done.err


@pytest.mark.parametrize("words", [("--up", "--down"), ("--timeout=x",), ("--timeout=-1",), ("--timeout=",)])
def test_g9_wait_for_nonsense(real: Real, words: tuple[str, ...]) -> None:
    """One line, exit 2."""
    assert len(real.multi("wait", "a", *words).exits(2).err.splitlines()) == 1


def test_wait_can_be_interrupted(real: Real) -> None:
    """Ctrl-C ends it with 130, and the node lives on."""
    real.start("a").ok()
    waiting = real.begin("wait", f"--pidfile={real.run}/%n.pid", "a", "--down", "--json")
    until(lambda: _holds_a_process(waiting.process.pid), "it waits")
    waiting.process.send_signal(signal.SIGINT)
    waiting.done().exits(130)
    assert real.state("a") == {"a": "running"}


def _holds_a_process(pid: int) -> bool:
    """Whether it has a pidfd, which it waits for."""
    return any("pidfd" in target for target in descriptors(pid).values())


# --- check --------------------------------------------------------------------------------------------------


def check_words(real: Real, *words: str) -> tuple[str, ...]:
    """A `check` of nodes with their files in the private place."""
    return ("check", f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log", "--preset=exec", *words)


def test_g10_check_of_what_is_well(real: Real) -> None:
    """G10: what is set for each node, with the place it is from; exit 0; nothing is made and nothing is run."""
    touched = real.base / "touched"
    config = real.base / "multi.toml"
    config.write_text(
        '[defaults]\npreset = "exec"\npidfile = "run/%n.pid"\nlogfile = "log/%n.log"\numask = "027"\n'
        f'[groups.g]\ncount = 2\nnice = 3\ncmd = "touch {touched}"\n[nodes.g2]\nstartsecs = 4\n',
        encoding="utf-8",
    )
    before = sorted(real.base.rglob("*"))
    done = real.raw("check", "--kill-mode=process", env={"MULTI_READY_TIMEOUT": "7"}).ok()
    assert sorted(real.base.rglob("*")) == before
    assert done.err == ""
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert str(config) in done.out
    for expected in (
        "umask = 027",
        "nice = 3",
        "startsecs = 4",
        "kill_mode = process",
        "ready_timeout = 7",
    ):
        assert [line for line in lines if line.startswith(expected)], (expected, done.out)
    for source in (
        "multi.toml [defaults]",
        "[groups.g]",
        "[nodes.g2]",
        "MULTI_READY_TIMEOUT",
        "command line",
    ):
        assert source in done.out, (source, done.out)
    assert "built in" not in done.out
    assert lines[-1] == "2 nodes, no problem"
    assert "built in" in real.raw("check", "--verbose").ok().out


def test_check_names_everything_that_a_start_would_fail_of(real: Real) -> None:
    """Not the first thing alone: program, directory and user, each with its node and what to try; exit 2."""
    (real.base / "file").touch()
    done = real.raw(
        *check_words(real, "a", "b", "c", "d"),
        "--cmd=sleep 600",
        "--cmd:a=no-such-program",
        f"--cmd:b={real.base}/file",
        f"--workdir:c={real.base}/nowhere",
        f"--pidfile:d={real.base}/file/d.pid",
    ).exits(2)
    lines = done.err.splitlines()
    for name, what in (
        ("a", "no-such-program is not found in PATH="),
        ("b", f"{real.base}/file is not an executable file"),
        ("c", f"{real.base}/nowhere is not a directory"),
        ("d", f"{real.base}/file is "),
    ):
        assert [line for line in lines if f"multi: {name}@" in line and what in line], (name, done.err)
    assert real.family() == []


def test_check_of_a_configuration_with_a_mistake(real: Real) -> None:
    """File, line, key and the nearest known key, on one line; exit 2."""
    (real.base / "multi.toml").write_text('[defaults]\npreset = "exec"\numsk = "027"\n', encoding="utf-8")
    (line,) = real.raw("check", "a").exits(2).err.splitlines()
    assert line.endswith("multi.toml:3: defaults.umsk: 'umsk' is not a setting; did you mean 'umask'?")


def test_check_as_json(real: Real) -> None:
    """One object: values as they are typed, their sources, and what is in the way."""
    found = json.loads(real.raw(*check_words(real, "a", "--json"), "--cmd=no-such-program").exits(2).out)
    text = json.dumps(found)
    assert "no-such-program" in text
    assert "command line" in text


@pytest.mark.root
def test_check_of_a_user_and_a_group_that_are_not_there(real: Real) -> None:
    """Both are found before anything is started, each in a line of its own."""
    told = ("a", "--cmd=sleep 600", "--uid=no-such-user", "--gid=no-such-group")
    lines = real.raw(*check_words(real, *told)).exits(2).err.splitlines()
    assert [line.partition(": uid")[2] or line.partition(": gid")[2] for line in lines] == [
        " no-such-user does not exist; check --uid and --gid",
        " no-such-group does not exist; check --uid and --gid",
    ]


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ("[defaults]", "[defaults]"),
        ('[nodes.a]\ncmd = "sleep 600"', "[nodes.a]"),
        ("[groups.g]\ncount = 1", "[groups.g]"),
    ],
)
def test_g9_a_preset_that_is_not_there_is_named_with_its_place(real: Real, table: str, place: str) -> None:
    """G9: the file and the table that name it are in the message."""
    config = real.base / "multi.toml"
    config.write_text(f'{table}\npreset = "exce"\n', encoding="utf-8")
    (line,) = real.raw("check", *(["a"] if place == "[defaults]" else [])).exits(2).err.splitlines()
    assert line.startswith(f"multi: {config} {place}: preset 'exce': does not exist; did you mean 'exec'?")
    (line,) = real.raw("check", "a", "--preset=exce").exits(2).err.splitlines()
    assert line.startswith("multi: preset 'exce': does not exist; did you mean 'exec'?")


def test_what_check_promises_start_keeps(real: Real) -> None:
    """What `check` finds nothing wrong with starts."""
    words = (
        "a",
        f"--cmd={sys.executable} -c 'import time; time.sleep(600)'",
        f"--workdir={real.base}",
        "--startsecs=0",
    )
    real.raw(*check_words(real, *words)).ok()
    real.raw("start", *check_words(real, *words)[1:]).ok()
    assert environ_of(real.pid("a"))["MULTI_INSTANCE"]
    assert Path(f"/proc/{real.pid('a')}/cwd").readlink() == real.base
