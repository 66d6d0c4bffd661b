"""What a start would fail of for certain is found out before a working node is stopped for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from real import alive

if TYPE_CHECKING:
    from real import Real

HEAD = """
[defaults]
preset = "exec"
pidfile = "{base}/run/%n.pid"
logfile = "{base}/log/%n.log"
startsecs = 0
"""
SOUND = "[nodes.a]\ncmd = 'sleep 600'\n"
# What the node is to have instead, the exit code, and what is said.
BROKEN = [
    ("cmd = '/nosuch/program'\n", 1, "/nosuch/program is not an executable file; correct cmd or executable"),
    ("cmd = 'nosuchprogram'\n", 1, "nosuchprogram is not found in PATH="),
    ("cmd = 'sleep 601'\nworkdir = '/nosuch/dir'\n", 1, "/nosuch/dir is not a directory; create it"),
    ("cmd = 'sleep 601'\nworkdir = 'nosuch'\n", 1, "/nosuch is not a directory; create it"),
    ("cmd = 'sleep 601'\nuid = 'nosuchuser'\n", 1, "nosuchuser"),
    ("cmd = 'sleep 601'\ngid = 'nosuchgroup'\n", 1, "nosuchgroup"),
    ("cmd = 'sleep 601'\nenv_file = 'nosuch.env'\n", 2, "nosuch.env: cannot be read: No such file or directory"),
    ("cmd = 'sleep 601'\nenv_file = 'bad.env'\n", 2, "bad.env:1: 'what' is not KEY=VALUE"),
    ("cmd = 'sleep 601'\nlogfile = 'taken'\n", 1, "taken is a directory; make it writable, or correct logfile"),
    ("cmd = 'sleep 601'\nstop_schedul = 'TERM/1'\n", 2, "stop_schedul"),
    ("cmd = 'sleep 601'\npreset = 'nosuch'\n", 2, "nosuch"),
    ("cmd = 'sleep\n", 2, "multi.toml"),
]


def configure(real: Real, text: str) -> None:
    """Write the configuration."""
    (real.base / "multi.toml").write_text(HEAD.format(base=real.base) + text, encoding="utf-8")


@pytest.fixture
def running(real: Real) -> int:
    """The pid of a node that works, with the mistakes that `BROKEN` names around it."""
    (real.base / "bad.env").write_text("what\n", encoding="utf-8")
    (real.base / "taken").mkdir()
    configure(real, SOUND)
    real.raw("apply", "--quiet").ok()
    return real.pid("a")


@pytest.mark.parametrize("words", [("apply",), ("apply", "--rolling"), ("restart", "a"), ("restart", "--rolling")])
def test_a_working_node_is_not_stopped_for_a_start_that_must_fail(
    real: Real, running: int, words: tuple[str, ...]
) -> None:
    """Whatever is wrong with its next start, the node works on, nothing is written, and it is said."""
    before = real.recordfile("a").read_bytes()
    for text, code, why in BROKEN:
        configure(real, f"[nodes.a]\n{text}")
        done = real.inside_raw(*words).exits(code)
        assert why in done.err, text
        assert done.out == "", text
    assert real.pid("a") == running
    assert alive(running)
    assert real.recordfile("a").read_bytes() == before


def test_it_is_what_check_says(real: Real, running: int) -> None:
    """`check` and the refusal have the same words, and tell everything that is wrong."""
    configure(real, "[nodes.a]\ncmd = 'nosuchprogram'\nworkdir = '/nosuch'\n")
    told = [line.partition("@")[2].partition(": ")[2] for line in real.inside_raw("check").exits(2).err.splitlines()]
    assert len(told) == 2
    refused = real.inside_raw("restart").exits(1).err
    assert all(one in refused for one in told)
    (event,) = (one for one in real.inside_raw("restart", "--json").exits(1).events if one["event"] == "refused")
    assert all(one in str(event["why"]) for one in told)
    assert real.pid("a") == running


def test_a_program_that_was_removed(real: Real) -> None:
    """`restart` without a configuration goes by the record: a worker whose program is gone works on."""
    program = real.base / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    program.chmod(0o755)
    real.start("a", "b", cmd=f"{program}").ok()
    before = real.pid("a")
    program.unlink()
    done = real.multi("restart", "a", "b").exits(1)
    assert done.err.count(f"{program} is not an executable file") == 2
    assert (real.pid("a"), alive(before)) == (before, True)


def test_its_neighbours_are_restarted(real: Real, running: int) -> None:
    """One bad node never stops the others; exit 1."""
    configure(real, f"{SOUND}[nodes.b]\ncmd = 'sleep 600'\n")
    real.raw("apply", "--quiet").ok()
    neighbour = real.pid("b")
    configure(real, "[nodes.a]\ncmd = 'nosuchprogram'\n[nodes.b]\ncmd = 'sleep 601'\n")
    real.raw("apply").exits(1)
    assert (real.pid("a"), alive(neighbour)) == (running, False)
    assert alive(real.pid("b"))


def test_a_bad_release_of_all_nodes_stops_none(real: Real, running: int) -> None:
    """A rolling command ends at the first refusal; every node is as it was."""
    configure(real, f"{SOUND}[nodes.b]\ncmd = 'sleep 600'\n")
    real.raw("apply", "--quiet").ok()
    before = real.pid("b")
    configure(real, "[nodes.a]\ncmd = 'nosuchprogram'\n[nodes.b]\ncmd = 'nosuchprogram'\n")
    assert "b@" in real.raw("apply", "--rolling").exits(1).err.partition("as before: ")[2]
    assert (real.pid("a"), real.pid("b")) == (running, before)
    assert alive(running)
    assert alive(before)


@pytest.mark.parametrize("rolling", [(), ("--rolling",)])
def test_a_node_whose_pidfile_moved(real: Real, running: int, rolling: tuple[str, ...]) -> None:
    """It is stopped under its old pidfile for a start under the new one; where that must fail, it works on."""
    configure(real, "[nodes.a]\ncmd = 'nosuchprogram'\npidfile = 'elsewhere/%n.pid'\n")
    done = real.raw("apply", *rolling).exits(1)
    assert "refused: left as it is" in done.err
    assert "nosuchprogram is not found" in done.err
    assert (real.pid("a"), alive(running)) == (running, True)


def test_a_pidfile_that_another_node_gets(real: Real, running: int) -> None:
    """A node that the file has no more is not stopped for another one that must fail in its place."""
    configure(real, "[nodes.c]\ncmd = 'nosuchprogram'\npidfile = 'run/a.pid'\n")
    assert "because a start of c@" in real.raw("apply").exits(1).err
    assert alive(running)
    configure(real, "[nodes.c]\ncmd = 'nosuchprogram'\n")  # it stands in nobody's way
    real.raw("apply").exits(1)
    assert not alive(running)


def test_a_dry_run_says_so(real: Real, running: int) -> None:
    """`--dry-run` tells that the command would be refused, exit 1; of a node that is down it tells the steps."""
    configure(real, "[nodes.a]\ncmd = 'nosuchprogram'\n[nodes.b]\ncmd = 'nosuchprogram'\n")
    for words in (("apply",), ("restart", "a", "b")):
        done = real.inside_raw(*words, "--dry-run").exits(1)
        assert "refused: left as it is, because a start of a@" in done.out
        assert "start: nosuchprogram" in done.out
    assert (real.pid("a"), alive(running)) == (running, True)


def test_paths_in_path_are_relative_to_the_directory_of_the_node(real: Real) -> None:
    """A program is looked for as the node itself would: in its own PATH, from its own directory."""
    tool = real.base / "there" / "bin" / "tool"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    tool.chmod(0o755)
    configure(real, "[nodes.a]\ncmd = 'tool'\nworkdir = 'there'\nenv = { PATH = 'bin:/bin:/usr/bin' }\n")
    real.raw("apply").ok()
    before = real.pid("a")
    real.inside_raw("restart").ok()
    assert real.pid("a") != before
    (real.base / "there" / "vars.env").write_text("PATH=/nosuch\n", encoding="ascii")
    configure(real, "[nodes.a]\ncmd = 'tool'\nworkdir = 'there'\nenv_file = 'vars.env'\n")
    before = real.pid("a")
    assert "tool is not found in PATH=/nosuch" in real.inside_raw("restart").exits(1).err
    assert real.pid("a") == before
    assert json.loads(real.inside_raw("check", "--json").exits(2).out)["obstacles"]


# What a node of nobody's has, and what `check` says of it; `closed` is root's alone, `theirs` another user's.
DENIED = [
    ("logfile = '{base}/rooted/a.log'\n", "rooted/a.log cannot be made in {base}/rooted: Permission denied, as nobody"),
    ("logfile = '{base}/rooted/old.log'\n", "rooted/old.log cannot be written: Permission denied, as nobody"),
    ("logfile = '{base}/closed/x/a.log'\n", "closed/x/a.log cannot be made in {base}/closed: Permission denied"),
    ("pidfile = '{base}/theirs/a.pid'\n", "theirs/a.pid cannot be made: {base}/theirs belongs to uid 12345"),
    ("workdir = '{base}/closed'\n", "closed may not be entered by nobody; let that user enter it"),
    ("cmd = '{base}/closed/program'\n", "closed/program may not be executed by nobody; let that user execute it"),
]


@pytest.mark.root
@pytest.mark.parametrize(("text", "why"), DENIED)
def test_what_the_user_of_the_node_may_not_do(real: Real, text: str, why: str) -> None:
    """Root's `check` says what the node's user cannot open or enter, `start` fails, and nothing is made."""
    for name, mode in (("rooted", 0o755), ("closed", 0o700), ("theirs", 0o755)):
        (real.base / name).mkdir(mode)
    os.chown(real.base / "theirs", 12345, 12345)
    (real.base / "rooted" / "old.log").touch(0o644)
    shutil.copy("/bin/sleep", real.base / "closed" / "program")
    before = sorted(real.base.rglob("*"))
    text = text.format(base=real.base)
    (real.base / "multi.toml").write_text(
        f"[nodes.a]\npreset = 'exec'\nuid = 'nobody'\nstartsecs = 0\n{text}"
        + "".join(
            f"{name} = {value!r}\n"
            for name, value in (
                ("cmd", "sleep 600"),
                ("pidfile", f"{real.run}/%n.pid"),
                ("logfile", f"{real.log}/%n.log"),
            )
            if not text.startswith(name)
        ),
        encoding="utf-8",
    )
    assert why.format(base=real.base) in real.inside_raw("check").exits(2).err
    assert sorted({*real.base.rglob("*")} - {real.base / "multi.toml"}) == before
    assert real.raw("start").code != 0


@pytest.mark.root
def test_what_root_makes_for_the_user_of_the_node(real: Real) -> None:
    """Directories that are missing, a pidfile in root's directory, a log of its own: no obstacle, and it starts."""
    (real.base / "rooted").mkdir(0o755)
    (real.base / "rooted" / "old.log").touch()
    shutil.chown(real.base / "rooted" / "old.log", "nobody")
    (real.base / "multi.toml").write_text(
        "[defaults]\npreset = 'exec'\ncmd = 'sleep 600'\nuid = 'nobody'\nstartsecs = 0\n"
        f"pidfile = '{real.base}/rooted/%n.pid'\n"
        f"[nodes.a]\nlogfile = '{real.base}/new/deep/%n.log'\n[nodes.b]\nlogfile = '{real.base}/rooted/old.log'\n",
        encoding="utf-8",
    )
    assert real.inside_raw("check").ok().err == ""
    real.raw("start").ok()
    real.raw("kill").ok()


@pytest.mark.root
@pytest.mark.parametrize("missing", ["setuid", "setgid"])
def test_a_root_that_cannot_become_the_user(real: Real, missing: str) -> None:
    """As in a container that drops capabilities: it is said, and nothing else is guessed."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    configure(real, "[nodes.a]\ncmd = 'sleep 600'\nuid = 'nobody'\n")
    words = ("setpriv", f"--bounding-set=-{missing}", sys.executable, "-m", "multi", "check", "--quiet")
    done = subprocess.run(words, cwd=real.base, env=real.env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot become nobody: Operation not permitted; give multi CAP_SETUID and CAP_SETGID" in done.stderr
    assert done.stderr.count("\n") == 1
