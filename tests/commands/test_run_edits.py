"""`multi run --restart-on-change` on real processes: what is edited is restarted, and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from real import Real, alive
from terminal import Session

HERE = importlib.util.find_spec("watchfiles") is not None
watched = pytest.mark.skipif(not HERE, reason="the package watchfiles is missing")
STAYS = "import time\nprint({word!r}, flush=True)\ntime.sleep(600)\n"
DEAF = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint({word!r}, flush=True)\ntime.sleep(600)\n"
)


def edit(real: Real, name: str, text: str) -> Path:
    """Write a file as an editor does: beside it, then over it."""
    path = real.base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".swp")
    beside.write_text(text, encoding="utf-8")
    return beside.rename(path)


def session(real: Real, *words: str) -> Session:
    """Two nodes, each with a directory and an `app.py` of its own."""
    for name in "ab":
        edit(real, f"{name}/app.py", STAYS.format(word=f"{name} one"))
    place = (f"--pidfile={real.run}/%n.pid", "--preset=exec", "--startsecs=0", f"--cmd={sys.executable} app.py")
    dirs = (f"--workdir:a={real.base}/a", f"--workdir:b={real.base}/b")
    command = [sys.executable, "-m", "multi", "run", *place, *dirs, *words, "a", "b"]
    return Session(command, {**real.env, "NO_COLOR": "1"}, 80, cwd=str(real.base))


@watched
def test_what_changed_files_belong_to_is_restarted(real: Real) -> None:
    """A node is restarted for its own sources; a syntax error keeps the old process; who died waits for an edit."""
    with session(real, "--restart-on-change") as run:
        run.sees(" one", count=2)
        run.sees("restarted when files below", count=2)
        first = {name: real.pid(name) for name in "ab"}
        edit(real, "a/app.py", STAYS.format(word="a two"))
        run.sees("app.py changed")
        run.sees("a | a two")
        second = real.pid("a")
        assert second != first["a"]
        edit(real, "b/app.py", "def (\n")
        run.sees("runs on as it was (app.py, line 1: invalid syntax)")
        assert alive(first["b"])
        edit(real, "b/app.py", "import sys\nsys.exit('no table')\n")
        run.sees("b | no table")
        run.sees("it exited with status 1; it is started again when its files change")
        edit(real, "b/notes.txt", "no source")
        edit(real, "b/app.py", "import x y\n")
        run.sees("is not started (app.py, line 1: invalid syntax)")
        edit(real, "b/app.py", STAYS.format(word="b three"))
        run.sees("b | b three")
        assert real.pid("a") == second
        run.type(b"\x03")
        assert run.ends() == 0
    assert "notes.txt" not in run.text
    assert real.family() == []


@watched
def test_paths_and_a_short_first_stage(real: Real) -> None:
    """With PATHS any file below them counts, in each node's directory; a deaf node has five seconds, not ninety."""
    edit(real, "a/pages/index.html", "one")
    edit(real, "b/pages/index.html", "one")
    with session(real, "--restart-on-change=pages") as run:
        run.sees(" one", count=2)
        run.sees("restarted when files below", count=2)
        edit(real, "a/app.py", DEAF.format(word="a deaf"))
        edit(real, "a/pages/index.html", "two")
        run.sees("a | a deaf")
        edit(real, "a/app.py", STAYS.format(word="a again"))
        edit(real, "a/pages/index.html", "three")
        run.sees("sent KILL")
        run.sees("a | a again")
        run.type(b"\x03")
        assert run.ends() == 0
    assert run.text.count("index.html changed") == 2


@watched
@pytest.mark.parametrize(
    ("word", "cwd", "text"),
    [("=nope", "", "No such file or directory"), ("", "/", "would watch all of /"), ("=", "", "names no path")],
)
def test_mistakes_start_nothing(real: Real, word: str, cwd: str, text: str) -> None:
    """What cannot be watched is found before anything is started: one line."""
    words = (f"--restart-on-change{word}", "--preset=exec", "--cmd=sleep 600", *([f"--workdir={cwd}"] if cwd else []))
    done = real.multi("run", "a", *words)
    assert done.code in {1, 2}
    assert text in done.err
    assert "Traceback" not in done.err
    assert real.family() == []


def test_without_the_package_it_says_what_to_type(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command, exit 2; nothing is started."""
    find = importlib.util.find_spec

    def missing(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "watchfiles" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    done = real.inside("run", "a", "--preset=exec", "--cmd=sleep 600", "--restart-on-change").exits(2)
    assert "needs the package watchfiles" in done.err
    assert "-m pip install 'multi-supervisor[watch]'" in done.err
    assert real.family() == []
