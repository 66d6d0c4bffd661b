"""The command line as a process: pipes, terminals and closed streams, a full disk, and shells that complete."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from multi import __version__
from multi.cli.completion import SHELLS
from real import Real, until

MULTI = (sys.executable, "-m", "multi")
Talk = Callable[..., str]


def sh(real: Real, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A line of shell in which ``"$@"`` is `multi` with these words."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *MULTI, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=real.env,
        cwd=real.base,
    )


@pytest.mark.parametrize(
    ("words", "code"), [(["status", "2000"], 3), (["names", "--json", "10000"], 0), (["help", "start"], 0)]
)
def test_reader_that_goes_away(real: Real, words: list[str], code: int) -> None:
    """`multi status | head -1` shows no traceback, and the exit code is what is true, not what was read."""
    process = subprocess.Popen(
        [*MULTI, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=real.env, cwd=real.base
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == code
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_command_goes_on_without_a_reader(real: Real) -> None:
    """A reader that goes away does not stop a command between the stop and the start of a node."""
    names = ("a", "b", "c")
    real.start(*names).ok()
    before = {real.pid(name) for name in names}
    sh(real, '"$@" 2>/dev/null | head -1', "restart", f"--pidfile={real.run}/%n.pid", "--verbose")
    until(lambda: real.state() == dict.fromkeys(names, "running"), "all run again")
    assert before.isdisjoint({real.pid(name) for name in names})


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"])
def test_closed_streams(real: Real, redirection: str) -> None:
    """G9: a command whose streams were closed by the caller does its work, and writes into no file by accident."""
    done = sh(real, f'"$@" {redirection}', *real.start_words("w1"))
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    assert real.state() == {"w1": "running"}
    assert real.logfile("w1").read_bytes() == b""
    for path in real.run.iterdir():
        assert b"started, pid" not in path.read_bytes()


def test_full_disk(real: Real) -> None:
    """Results that could not be written are not passed over: one line, exit 1."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = sh(real, '"$@" >/dev/full', "names", "w1")
    assert done.returncode == 1
    assert done.stderr == "multi: standard output: No space left on device; what it was to show is lost\n"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", b"w\xff\xc3\xa9\n"), ("ascii", b"w\\udcff\\xe9\n")])
def test_undecodable_words_come_back_as_they_were(real: Real, encoding: str, shown: bytes) -> None:
    """G11: a word that is no UTF-8 leaves as the bytes that came in; a narrow locale loses nothing silently."""
    words = [*MULTI, "expand", "w\udcff\u00e9", "w1"]
    env = {**real.env, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    done = subprocess.run(words, env=env, cwd=real.base, capture_output=True, check=True, timeout=60)
    assert done.stdout == shown


def test_output_is_flushed_line_by_line(real: Real) -> None:
    """A line can be read as soon as it is said, also through a pipe."""
    real.start("a").ok()
    words = real.start_words("a", "b", f"--ready=file:{real.base}/there", "--ready-timeout=60")
    process = subprocess.Popen([*MULTI, *words], stdout=subprocess.PIPE, text=True, env=real.env, cwd=real.base)
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 60)
    assert readable
    assert process.stdout.readline().endswith(f": already running, pid {real.pid('a')}\n")

    def ended() -> bool:
        (real.base / "there").touch()  # a proof is a file that is newer than the node
        return process.poll() is not None

    until(ended, "b is ready")
    assert ": started, pid " in process.stdout.read()
    process.stdout.close()
    assert process.returncode == 0


def on_terminal(real: Real, *words: str, columns: int = 80) -> tuple[int, str]:
    """The exit code of a command on a terminal, and what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*MULTI, *words], stdout=theirs, stderr=theirs, env={**real.env, "TERM": "xterm"}, cwd=real.base
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError as error:
        if error.errno != errno.EIO:  # this is how Linux says that the other side is closed
            raise
    finally:
        os.close(ours)
    return process.wait(60), seen.decode()


def test_terminal_gets_a_line_of_its_width(real: Real) -> None:
    """On a real terminal the redrawn line keeps to the width of the terminal, and no splash comes before it."""
    words = real.start_words("w1", f"--ready=file:{real.base}/never", "--ready-timeout=1.5")
    code, seen = on_terminal(real, *words, columns=30)
    assert code == 1
    assert f"multi v{__version__}" not in seen
    assert "waiting for 1 node to be read\x1b" in seen
    assert "waiting for 1 node to be ready" not in seen


# -- real shells ---------------------------------------------------------------------------------------------------


@pytest.fixture
def talk(real: Real) -> Talk:
    """A way to talk with a real shell, where `multi` is on PATH and w1 and w2 are configured."""
    path = real.base / "bin" / "multi"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m multi "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    (real.base / "multi.toml").write_text("[defaults]\npreset = 'exec'\ncmd = 'sleep 600'\n[nodes]\nw1 = {}\nw2 = {}\n")

    def say(shell: str, *words: str) -> str:
        found = shutil.which(shell)
        if found is None:
            pytest.skip(f"{shell} is not installed")
        environ = {**real.env, "PATH": f"{path.parent}:{real.env['PATH']}", "HOME": str(real.base)}
        done = subprocess.run(
            [found, *words], env=environ, cwd=real.base, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.stderr == ""
        return done.stdout

    return say


def test_bash_completes(talk: Talk) -> None:
    """In a real bash the script completes commands and nodes."""
    script = """
        eval "$(multi completion bash)"
        complete -p multi
        COMP_WORDS=(multi stop im); COMP_CWORD=2; _multi_completion multi; echo "${COMPREPLY[*]}"
        COMP_WORDS=(multi stop "w"); COMP_CWORD=2; COMPREPLY=(); _multi_completion multi; echo "${COMPREPLY[*]}"
        COMP_WORDS=(multi restart --rol); COMP_CWORD=2; COMPREPLY=(); _multi_completion multi; echo "${COMPREPLY[*]}"
    """
    assert talk("bash", "--norc", "-c", script).splitlines() == [
        "complete -o nosort -F _multi_completion multi",
        "",
        "w1 w2",
        "--rolling --rollback",
    ]


def test_zsh_completes(talk: Talk) -> None:
    """In a real zsh the script loads, and its question gets the nodes for an answer."""
    script = """
        autoload -Uz compinit && compinit -u -D
        eval "$(multi completion zsh)"
        print -r -- ${_comps[multi]}
        words=(multi stop w); CURRENT=3
        export COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1))
        _MULTI_COMPLETE=zsh_complete multi
    """
    assert talk("zsh", "-f", "-c", script).split() == [
        "_multi_completion",
        "plain",
        "w1",
        "_",
        "plain",
        "w2",
        "_",
    ]


def test_fish_completes(talk: Talk) -> None:
    """In a real fish the script completes commands and nodes."""
    script = "multi completion fish | source; complete -C 'multi stop w'; complete -C 'multi resta'; "
    script += "complete -C 'multi statu'"
    lines = talk("fish", "--no-config", "-c", script).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["w1", "w2", "restart", "status"]
    assert lines[-1].endswith(", note"), "a description is whole, with its commas"


def test_every_shell_is_tested() -> None:
    """The shells that are promised are those that are tested here."""
    assert SHELLS == ("bash", "zsh", "fish")
