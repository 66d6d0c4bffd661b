"""`multi.testing`: the fixture that comes with `multi`, as another project's tests use it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from multi.errors import UsageError
from multi.testing import NodeFailedError, Nodes
from real import WORKER, alive, until

SLEEP = ["sleep", "600"]
PAGE = Path(__file__).resolve().parents[2] / "docs/howto/test-your-nodes.md"


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine that runs the tests counts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    monkeypatch.chdir(tmp_path)


@pytest.mark.multi_nodes("a", "b", preset="exec", cmd=SLEEP, startsecs=0)
def test_nodes_of_a_mark_are_ready(multi_nodes: Nodes) -> None:
    """They run when the test begins, have files of their own, and can be stopped and looked at."""
    pid = multi_nodes.pid("a")
    assert alive(pid)
    assert (multi_nodes.directory / "run/a.pid").read_text(encoding="ascii") == f"{pid}\n"
    multi_nodes.stop("a")
    assert not alive(pid)
    with pytest.raises(NodeFailedError, match="a does not run"):
        multi_nodes.pid("a")
    assert alive(multi_nodes.pid("b"))


def test_settings_are_those_of_multi_toml(multi_nodes: Nodes) -> None:
    """Values are as TOML has them; a name that is no setting is a mistake."""
    worker = ["python3", "-I", "-S", WORKER, "--print", "hello"]
    multi_nodes.start("w", preset="exec", cmd=worker, env={"A": "b"}, ready="log:hello", stop_schedule="TERM/1/KILL/5")
    assert "hello" in multi_nodes.log("w")
    (view,) = multi_nodes.look("w")
    assert dict(view.node.env)["A"] == "b"
    with pytest.raises(NodeFailedError, match="v is not on record"):
        multi_nodes.log("v")
    with pytest.raises(UsageError, match="startsec: is not a setting; did you mean 'startsecs'"):
        multi_nodes.start("x", startsec=0)


def test_what_fails_is_told(multi_nodes: Nodes) -> None:
    """A node that does not get ready fails the test, with its last lines."""
    with pytest.raises(NodeFailedError, match=r"(?s)exited with status 3.*no luck") as told:
        multi_nodes.start("w", preset="exec", cmd=["sh", "-c", "echo no luck; exit 3"])
    assert told.value.events


def test_they_are_gone_when_the_test_ends(tmp_path: Path) -> None:
    """What ignores TERM, and its children in other sessions, are gone behind the block, also where the block fails."""
    pids: list[int] = []
    worker = ["python3", "-I", "-S", WORKER, "--ignore", "TERM", "--child", "session"]

    def fails() -> None:
        with Nodes(tmp_path / "own") as nodes:
            nodes.start("w", preset="exec", cmd=worker, startsecs=0.2)
            until(lambda: len(nodes.look("w")[0].processes) > 1, "it has its child")
            pids.extend(info.proc.pid for info in nodes.look("w")[0].processes)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert len(pids) > 1
    assert not any(map(alive, pids))


def test_the_page_shows_tests_that_pass(tmp_path: Path) -> None:
    """The examples of docs/howto/test-your-nodes.md, as another project's tests."""
    blocks = re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [name for name, _ in blocks] == ["test_mail.py", "test_plans.py"]
    for name, code in blocks:
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-o", "addopts="]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
