"""G3, G8, G11: the launcher is an interpreter of its own. It takes no code, no locale and no signals of its caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multi.machine import Launch
from multi.model.happening import LaunchFailed, Prepared
from multi.system import System, launcher
from real import Real, run, words_of

ROOT = Path(__file__).parents[2]
MULTI = (sys.executable, "-m", "multi")

PLANTED = "import pathlib\npathlib.Path({said!r}).touch()\n"


@pytest.mark.parametrize("home", [False, True])
def test_g8_the_launcher_runs_no_code_of_its_callers(real: Real, home: bool) -> None:
    """G8: neither the current directory, PYTHONPATH nor a start-up file brings a module into the launcher.

    A Python that finds itself by PYTHONHOME alone finds itself there, too.
    """
    planted, said = real.base / "planted", real.base / "said"
    planted.mkdir()
    for name in ("child", "trusted_path", "program", "value", "sitecustomize", "usercustomize"):
        (planted / f"{name}.py").write_text(PLANTED.format(said=str(said)))
    python = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from multi.cli import main; sys.exit(main())"
    env = {"PYTHONPATH": str(planted), "PYTHONSTARTUP": str(planted / "child.py"), "PYTHONINSPECT": "1"}
    if home:
        env["PYTHONHOME"] = f"{sys.base_prefix}:{sys.base_exec_prefix}"
    # The command itself is not what is asked about: it takes none of these.
    code = f"import os; os.environ.update({env!r}); {python}"
    done = subprocess.run(
        [sys.executable, "-c", code, *real.start_words("a")],
        env=real.env,
        cwd=planted,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert words_of(real.pid("a")) == ["sleep", "600"]
    assert not said.exists()


def test_g11_paths_are_bytes(real: Real) -> None:
    """G11: a log and a workdir get the bytes that were typed, in whatever locale `multi` runs and its launcher does."""
    directory = os.fsencode(real.base) + b"/w\xe9rk-\xc3\xa9"
    Path(os.fsdecode(directory)).mkdir()
    env = {**real.env, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    options = (b"--workdir=" + directory, b"--logfile=" + directory + b"/l\xe9g")
    words = [*MULTI, *real.start_words("a"), *map(os.fsdecode, options)]
    done = run(words, env)
    assert done.returncode == 0, done
    (log,) = Path(os.fsdecode(directory)).iterdir()
    assert os.fsencode(log) == directory + b"/l\xe9g"
    assert Path(f"/proc/{real.pid('a')}/cwd").readlink() == log.parent


def test_g9_python_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """G9: where our own Python was removed meanwhile, as by an upgrade under `run`, a start says which one that was."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with System() as system:
        system.launch("a", Launch(argv=("true",), env=(), logfile="/dev/null"))
        (failed,) = system.wait(time.monotonic())
        assert isinstance(failed, LaunchFailed)
        assert failed.why == "cannot execute /nonexistent/python: No such file or directory"


def test_g3_signals_while_the_launcher_comes_up(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """G3: what is sent to the whole foreground group before it leads a session of its own does not end it."""
    fifo = real.base / "fifo"
    os.mkfifo(fifo)
    monkeypatch.setattr(launcher, "CODE", f"open({str(fifo)!r}).read()\n{launcher.CODE}")
    with System() as system:
        system.expect_launches()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
            os.kill(system.looker.launcher, signum)
        fifo.write_bytes(b"")
        system.launch("a", Launch(argv=("true",), env=(), logfile="/dev/null"))
        (prepared,) = system.wait(time.monotonic() + 30)
        assert isinstance(prepared, Prepared), prepared
