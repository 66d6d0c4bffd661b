"""`multi run --procfile`: a Procfile as it is, on real processes."""

from __future__ import annotations

import signal
import sys

import pytest

from real import Real, until
from terminal import Session


def place(real: Real, text: str, env: str = "") -> list[str]:
    """Write the Procfile; the words that run it."""
    (real.base / "Procfile").write_text(text, encoding="utf-8")
    if env:
        (real.base / ".env").write_text(env, encoding="utf-8")
    return ["run", "--procfile", "Procfile", f"--pidfile={real.run}/%n.pid", "--startsecs=0"]


@pytest.mark.parametrize("columns", [60, 160])
def test_a_procfile_on_a_terminal(real: Real, columns: int) -> None:
    """Names, `.env`, PORT and a pipeline: as honcho shows it; Ctrl-C ends all of it."""
    words = place(
        real,
        "web: echo web $PORT $GREETING; exec sleep 1000\nworker: cd / && pwd && yes | sleep 1000\n",
        'GREETING="hello world"\nPORT=7000\n',
    )
    command = [sys.executable, "-m", "multi", *words, "--formation=worker=2"]
    with Session(command, real.env, columns, cwd=str(real.base)) as run:
        run.sees("started", count=3)
        run.sees(" /\n", count=2)
        run.sees("hello world")
        run.type(b"\x03")
        assert run.ends() == 0
    assert "web      | web 7000 hello world" in run.lines
    assert {"worker.1 | /", "worker.2 | /"} <= set(run.lines)
    assert real.family() == []


def test_a_stop_reaches_what_the_shell_runs(real: Real) -> None:
    """A command behind `&&` gets the TERM too, has its time, and its exit status is the node's."""
    worker = real.worker("--finish", "0.3", "--touch", f"{real.base}/set", "--print", "here")
    begun = real.begin(*place(real, f"a: cd {real.base} && {worker}\nb: sleep 1000\n"))
    until((real.base / "set").exists, "it is set up")
    until(lambda: set(real.state("a", "b").values()) == {"running"}, "both run")
    real.settle()
    begun.process.send_signal(signal.SIGTERM)
    done = begun.done().ok()
    assert "sent KILL" not in done.out
    assert "a | here" in done.out
    assert real.family() == []


def test_the_end_of_one_ends_all(real: Real) -> None:
    """As with honcho and foreman; the exit status is in the message."""
    done = real.begin(*place(real, "a: sleep 0.5; (exit 7)\nb: sleep 1000\n")).done().exits(1)
    assert "exited with status 7" in done.err
    assert real.family() == []


def test_two_procfiles_have_nodes_of_their_own(real: Real) -> None:
    """Both have a `web`: each has a run directory of its own, where other commands find it."""
    begun = []
    for project in ("one", "two"):
        (real.base / project).mkdir()
        (real.base / project / "Procfile").write_text("web: sleep 1000\n", encoding="utf-8")
        words = ("run", f"--procfile={real.base}/{project}/Procfile", "--startsecs=0")
        begun.append(real.begin(*words))
    for project in ("one", "two"):
        config = f"--multi-config=procfile:{real.base}/{project}/Procfile"
        until(lambda config=config: real.raw("status", config).code == 0, f"{project} runs")  # type: ignore[misc]
    real.settle()
    for each in begun:
        each.process.send_signal(signal.SIGTERM)
        each.done().ok()
    assert real.family() == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--procfile", "nope"), "cannot be read"),
        (("--procfile", "Procfile", "wbe"), "did you mean 'web'?"),
        (("--procfile", "Procfile", "--multi-config=x.toml"), "contradict each other"),
        (("--procfil", "Procfile"), "did you mean --procfile"),
        (("--formation=web=2",), "add --procfile"),
    ],
)
def test_mistakes_start_nothing(real: Real, words: tuple[str, ...], text: str) -> None:
    """Each is one line, exit 2."""
    place(real, "web: sleep 1000\n")
    done = real.raw("run", *words).exits(2)
    assert text in done.err
    assert len(done.err.splitlines()) == 1
    assert real.family() == []
