"""From a current directory that was removed, as a deployment leaves it: only what is relative to it is refused."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from real import COMMAND_PATIENCE, Done, Real, alive

GONE = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'


def nowhere(real: Real, *words: str) -> Done:
    """``multi WORDS`` from a directory that is gone."""
    command = ["sh", "-c", GONE, "sh", sys.executable, "-m", "multi", *words]
    done = subprocess.run(
        command, env=real.env, cwd=real.base, capture_output=True, text=True, timeout=COMMAND_PATIENCE, check=False
    )
    return Done(words, done.returncode, done.stdout, done.stderr, 0.0)


def test_what_needs_no_directory(real: Real) -> None:
    """Nodes are started, looked at and stopped by whole paths; without a workdir they start there, and it is said."""
    where = f"--pidfile={real.run}/%n.pid"
    done = nowhere(real, *real.start_words("a", cmd=real.worker())).ok()
    assert "the current directory has been removed, and nodes without a workdir are started in it" in done.err
    assert str(Path(f"/proc/{real.pid('a')}/cwd").readlink()).endswith("/gone (deleted)")
    real.settle()
    assert [view["state"] for view in json.loads(nowhere(real, "status", where, "a", "--json").out)] == ["running"]
    before = real.pid("a")
    assert "removed" in nowhere(real, "restart", where, "a").ok().err
    assert not alive(before)
    for words in (("names", "2"), ("show", "2"), ("get", "a", "a"), ("logs", where, "a"), ("help",), ("--version",)):
        assert nowhere(real, *words).ok().err == "", words
    assert nowhere(real, "stopwait", where, "a").ok().err == ""
    assert real.family() == []


def test_a_workdir_is_enough(real: Real) -> None:
    """Where a workdir is given, all that is relative is relative to that, and there is nothing to say."""
    options = ("--pidfile=run/%n.pid", "--logfile=log/%n.log", "--preset=exec", "--startsecs=0", "--cmd=sleep 600")
    done = nowhere(real, "start", "a", f"--workdir={real.base}", *options).ok()
    assert "removed" not in done.err
    assert Path(f"/proc/{real.pid('a')}/cwd").readlink() == real.base


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("--pidfile=run/%n.pid", "--pidfile: run/a.pid"),
        ("--logfile=%n.log", "--logfile: a.log"),
        ("--workdir=sub", "--workdir: sub"),
        ("--cmd=./worker", "--cmd: ./worker"),
        ("--ready=file:ready", "--ready: ready"),
        ("--env-file=some.env", "--env-file: some.env"),
        ("--multi-config=multi.toml", "--multi-config 'multi.toml':"),
    ],
)
def test_g9_what_is_relative_to_nothing(real: Real, option: str, shown: str) -> None:
    """A relative path is refused, named, and nothing is done (G9)."""
    done = nowhere(real, *real.start_words("a", option)).exits(2)
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"multi: {shown}")
    assert "is relative, and the current directory has been removed" in done.err
    assert real.family() == []


def test_g9_an_export_needs_a_directory(real: Real) -> None:
    """A unit would have to name the directory (G9)."""
    done = nowhere(real, "export", "systemd", "a", "--preset=exec", "--cmd=/bin/sleep 600").exits(2)
    assert "multi: a: have no workdir, and the current directory has been removed" in done.err
    done = nowhere(real, "export", "systemd", "a", "--preset=exec", "--cmd=/bin/sleep 600", "--workdir=/srv").ok()
    assert "WorkingDirectory=/srv" in done.out


def test_a_configuration_in_a_directory_that_is_gone(real: Real) -> None:
    """None is found there, and the one of the user is read."""
    config = real.base / "config" / "multi" / "multi.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[nodes.a]\n", encoding="utf-8")
    assert nowhere(real, "names").ok().out.startswith("a@")
    assert shlex.quote(str(config)) in nowhere(real, "check").out + nowhere(real, "check").err
