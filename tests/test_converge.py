"""`apply` and `diff`: the machine becomes what the configuration says, and nothing more is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real import until

if TYPE_CHECKING:
    from real import Done, Real

ROOT = Path(__file__).resolve().parent.parent
HEAD = """
[defaults]
preset = "exec"
pidfile = "run/%n.pid"
logfile = "log/%n.log"
startsecs = 0
"""


class Project:
    """A directory with a multi.toml, where commands are run."""

    def __init__(self, real: Real) -> None:
        """Nothing is written yet."""
        self.real = real

    def says(self, text: str) -> None:
        """Write the configuration."""
        (self.real.base / "multi.toml").write_text(HEAD + text)

    def do(self, *words: str) -> Done:
        """A command in that directory, with nothing named but by the file."""
        return self.real.raw(*words)

    def pids(self) -> dict[str, int]:
        """Short name -> pid of what runs."""
        views = json.loads(self.do("status", "--json").out)
        return {view["name"]: view["pid"] for view in views if view["pid"]}

    def verbs(self) -> dict[str, str]:
        """What `diff` would have done."""
        return {one["node"].partition("@")[0]: one["verb"] for one in json.loads(self.do("diff", "--json").out)}


@pytest.fixture
def project(real: Real) -> Project:
    """An empty project."""
    return Project(real)


def test_what_is_missing_is_started_once(project: Project) -> None:
    """`diff` says it, `apply` does it, and a second time there is nothing to do."""
    project.says("[groups.web]\ncount = 2\ncmd = 'sleep 600'\n[nodes.one]\ncmd = 'sleep 601'\n")
    assert project.verbs() == {"web1": "start", "web2": "start", "one": "start"}
    project.do("diff").exits(1)
    project.do("apply").ok()
    before = project.pids()
    assert set(before) == {"web1", "web2", "one"}
    project.do("diff").ok()
    assert "as configured" in project.do("apply").ok().out
    assert project.pids() == before


def test_only_what_changed_is_restarted(project: Project) -> None:
    """Another command or environment needs a restart; the neighbours go on."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n[nodes.c]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    before = project.pids()
    project.says(
        "[nodes.a]\ncmd = 'sleep 601'\n[nodes.b]\ncmd = 'sleep 600'\nenv = { X = '1' }\n[nodes.c]\ncmd = 'sleep 600'\n"
    )
    assert project.verbs() == {"a": "restart", "b": "restart"}
    assert "sleep 600 -> sleep 601" in project.do("diff").out
    project.do("apply").ok()
    after = project.pids()
    assert after["a"] != before["a"]
    assert after["b"] != before["b"]
    assert after["c"] == before["c"]


def test_a_change_that_needs_no_restart_is_put_on_record(project: Project) -> None:
    """Another stop schedule counts from now on, and the process goes on."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    before = project.pids()
    project.says("[nodes.a]\ncmd = 'sleep 600'\nstop_schedule = 'INT/7/KILL/3'\n")
    assert project.verbs() == {"a": "update"}
    project.do("apply").ok()
    assert project.pids() == before
    assert project.verbs() == {}
    assert json.loads((project.real.run / "a.json").read_text())["settings"]["stop_schedule"] == "INT/7/KILL/3"


def test_what_was_removed_is_stopped(project: Project) -> None:
    """What this file started and has no more ends; what somebody started by hand beside it does not."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    project.real.start("byhand").ok()
    project.says("[nodes.a]\ncmd = 'sleep 600'\n")
    assert project.verbs() == {"b": "stop"}
    project.do("apply").ok()
    assert set(project.pids()) == {"a"}
    assert project.real.processes("byhand")
    assert not project.real.processes("b")


def test_a_dry_run_says_and_does_nothing(project: Project) -> None:
    """G10: the steps are printed, nobody is touched."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    before = project.pids()
    project.says("[nodes.a]\ncmd = 'sleep 601'\n")
    assert "start: sleep 601" in project.do("apply", "--dry-run").ok().out
    assert project.pids() == before


def test_a_rolling_apply_stops_at_the_first_failure(project: Project) -> None:
    """A bad change takes one node down, not all of them; exit 1."""
    nodes = ("a", "b", "c")
    project.says("".join(f"[nodes.{name}]\ncmd = 'sleep 600'\n" for name in nodes))
    project.do("apply").ok()
    before = project.pids()
    project.says("".join(f"[nodes.{name}]\ncmd = 'sh -c \"exit 3\"'\nstartsecs = 0.5\n" for name in nodes))
    done = project.do("apply", "--rolling").exits(1)
    assert "status 3" in done.err
    after = project.pids()
    assert {name for name in nodes if after.get(name) == before[name]} == {"b", "c"}


def test_without_a_configuration(project: Project) -> None:
    """G9: one line, exit 2."""
    assert "needs a configuration" in project.do("apply").exits(2).err


def test_the_example_project(real: Real) -> None:
    """`examples/project` comes up, changes and goes down, as its README says."""
    shutil.copytree(ROOT / "examples", real.base / "examples", ignore=shutil.ignore_patterns("data", "run", "log"))
    there = real.base / "examples" / "project"
    words = (f"--multi-config={there / 'multi.toml'}",)
    config = (there / "multi.toml").read_text().replace('"run/', f'"{real.run}/').replace('"log/', f'"{real.log}/')
    config = config.replace("../plain_worker", str(real.base / "examples" / "plain_worker"))
    (there / "multi.toml").write_text(config)
    real.raw("diff", *words).exits(1)
    real.raw("apply", *words).ok()
    real.raw("diff", *words).ok()
    first = {name: real.pid(name) for name in ("web1", "web2", "inbox", "outbox")}
    (there / "multi.toml").write_text(config.replace("count = 2", "count = 3").replace("0.5", "0.4"))
    real.raw("apply", *words).ok()
    assert real.pid("web1") == first["web1"]
    assert real.pid("inbox") != first["inbox"]
    assert real.processes("web3")
    real.raw("stopwait", *words).ok()
    until(lambda: not real.family(), "all are gone")
