"""`apply` and `diff`: the machine becomes what the configuration says, and nothing more is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real import alive, environ_of, until

if TYPE_CHECKING:
    from real import Done, Real

ROOT = Path(__file__).resolve().parents[2]
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
        return {
            view["name"]: view["pid"] for view in views if view["pid"] and not view["found"]
        }  # others are other tests

    def verbs(self, *words: str) -> dict[str, str]:
        """What `diff` would have done."""
        found = json.loads(self.do("diff", "--json", *words).out)
        return {one["node"].partition("@")[0]: one["verb"] for one in found}


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


def test_json_tells_an_update_from_nothing_to_do(project: Project) -> None:
    """`apply --json` has an event for each, and ends with which nodes changed and which failed, for Ansible."""

    def apply(code: int) -> tuple[dict[str, str], dict[str, object]]:
        *events, last = project.do("apply", "--json").exits(code).events
        short = {name: sorted(str(one).partition("@")[0] for one in last[name]) for name in ("changed", "failed")}  # type: ignore[attr-defined]
        assert (last["event"], last["node"], last["pid"]) == ("summary", None, None)
        return {str(one["node"]).partition("@")[0]: str(one["event"]) for one in events}, dict(short)

    project.says("[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n")
    assert apply(0) == ({"a": "ready", "b": "ready"}, {"changed": ["a", "b"], "failed": []})
    assert apply(0) == ({"a": "skipped", "b": "skipped"}, {"changed": [], "failed": []})
    project.says("[nodes.a]\ncmd = 'sleep 600'\nstop_schedule = 'INT/7'\n[nodes.b]\ncmd = 'sleep 600'\n")
    assert apply(0) == ({"a": "updated", "b": "skipped"}, {"changed": ["a"], "failed": []})
    project.says("[nodes.a]\ncmd = 'nosuchprogram'\n[nodes.b]\ncmd = 'sh -c \"exit 3\"'\nstartsecs = 5\n")
    assert apply(1) == ({"a": "refused", "b": "failed"}, {"changed": ["b"], "failed": ["a", "b"]})
    project.says("")
    assert apply(0)[1] == {"changed": ["a", "b"], "failed": []}
    assert apply(0) == ({}, {"changed": [], "failed": []})


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


def test_a_variable_is_named_and_not_shown(project: Project) -> None:
    """What differs in the environment is told by name: its values may be secrets, and logs are read by many."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\nenv = { KEY = 'secret1', OLD = 'x', GONE = false }\n")
    project.do("apply").ok()
    project.says("[nodes.a]\ncmd = 'sleep 600'\numask = '027'\nenv = { KEY = 'secret2', NEW = 'y' }\n")
    (difference,) = json.loads(project.do("diff", "--json").out)
    assert difference["changes"] == {
        "umask": ["-", "027"],
        "env.KEY": ["a value", "another value"],
        "env.OLD": ["a value", "-"],
        "env.GONE": ["taken away", "-"],
        "env.NEW": ["-", "a value"],
    }
    shown = project.do("diff").out
    assert "    umask: - -> 027\n" in shown
    assert "secret" not in shown


def test_an_env_file_that_changed_is_a_change(project: Project) -> None:
    """The variables count, not the file's time."""
    file = project.real.base / "vars.env"
    file.write_text("A=1\n")
    project.says("[nodes.a]\ncmd = 'sleep 600'\nenv_file = 'vars.env'\n[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    file.write_text("# the same\nA=1\n")
    assert project.verbs() == {}
    file.write_text("A=2\n")
    assert project.verbs() == {"a": "restart"}
    project.do("apply").ok()
    assert environ_of(project.pids()["a"])["A"] == "2"


@pytest.mark.parametrize("command", ["start", "restart", "ensure", "apply"])
def test_env_files_are_read_by_all_that_starts(project: Project, command: str) -> None:
    """Whatever starts a configured node gives it what its env file says now; a second `apply` has nothing to do."""
    file = project.real.base / "vars.env"
    file.write_text("A=1\n")
    project.says("[nodes.a]\ncmd = 'sleep 600'\nenv_file = 'vars.env'\nenv = { B = '2' }\n")
    project.do("apply").ok()
    file.write_text("A=3\n")
    if command != "restart":
        pid = project.pids()["a"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), "it is gone")
    project.do(command, "--env=C=4").ok()
    variables = environ_of(project.pids()["a"])
    assert [variables.get(name) for name in "ABC"] == ["3", "2", "4"]
    if command == "ensure":
        project.do("restart").ok()
        project.do("diff").ok()


def test_an_env_file_that_is_given_with_restart(real: Real) -> None:
    """It is read, and read again by the next `restart`, which does not name it; so are those named before it."""
    one, two = real.base / "one.env", real.base / "two.env"
    one.write_text("A=1\n")
    two.write_text("B=2\n")
    real.start("a", f"--env-file={one}").ok()
    real.multi("restart", "a", f"--env-file={two}").ok()
    assert [environ_of(real.pid("a")).get(name) for name in "AB"] == ["1", "2"]
    two.write_text("B=3\n")
    real.multi("restart", "a").ok()
    assert [environ_of(real.pid("a")).get(name) for name in "AB"] == ["1", "3"]
    real.multi("restart", "a", f"--env-file={two}", "--preset=exec", "--cmd=sleep 601", "--startsecs=0").ok()
    assert [environ_of(real.pid("a")).get(name) for name in "AB"] == [None, "3"]


@pytest.mark.parametrize("command", ["ensure", "restart"])
def test_a_command_that_only_start_was_told(project: Project, command: str) -> None:
    """A configured node whose command the file does not say comes back with the one on record, else as configured."""
    project.says("[nodes.a]\numask = '027'\nenv = { X = '1' }\n[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("start", "--cmd:a=sleep 601").ok()
    before = project.pids()
    project.says("[nodes.a]\numask = '027'\nenv = { X = '2' }\n[nodes.b]\ncmd = 'sleep 600'\n")
    if command == "ensure":
        os.kill(before["a"], signal.SIGKILL)
        until(lambda: not alive(before["a"]), "it is gone")
    project.do(command).ok()
    after = project.pids()
    assert after["a"] != before["a"]
    assert project.real.record("a")["command"] == ["sleep", "601"]
    assert environ_of(after["a"])["X"] == "2"
    assert (after["b"] == before["b"]) is (command == "ensure")


def test_a_node_without_any_command_is_not_started_again(project: Project) -> None:
    """Neither the file nor a record says what it is, so `ensure` says that and touches nothing."""
    project.says("[nodes.a]\n")
    project.real.run.mkdir(exist_ok=True)
    project.real.pidfile("a").write_text("4194000\n", encoding="ascii")
    assert "nobody said what command it is" in project.do("ensure").exits(1).err
    assert project.real.pidfile("a").exists()


def test_a_node_whose_pidfile_was_moved_is_not_two(project: Project) -> None:
    """G2: the process with the old pidfile is stopped before one with the new pidfile is started."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    before = project.pids()
    project.says("[nodes.a]\ncmd = 'sleep 600'\npidfile = 'elsewhere/%n.pid'\n[nodes.b]\ncmd = 'sleep 600'\n")
    found = json.loads(project.do("diff", "--json").out)
    assert [one["verb"] for one in found] == ["start", "stop"]
    assert "its pidfile is" in found[1]["why"]
    assert "elsewhere/a.pid now" in found[1]["why"]
    project.do("apply", "a").ok()
    after = project.pids()
    assert not alive(before["a"])
    assert after["b"] == before["b"]
    assert len(project.real.family()) == 2
    project.do("diff").ok()


def test_one_that_does_not_leave_its_old_pidfile_is_not_started_again(project: Project) -> None:
    """G2: it outlives its schedule, so the new one has to wait; exit 1."""
    worker = project.real.worker("--ignore", "TERM").replace("'", "\\'")
    project.says(f"[nodes.a]\ncmd = {json.dumps(worker)}\nstop_schedule = 'TERM/0.3'\nstartsecs = 0.3\n")
    project.do("apply").ok()
    before = project.pids()["a"]
    moved = f"[nodes.a]\ncmd = {json.dumps(worker)}\nstop_schedule = 'TERM/0.3'\npidfile = 'elsewhere/%n.pid'\n"
    project.says(moved)
    done = project.do("apply").exits(1)
    assert f"still runs with {project.real.pidfile('a')}" in done.err
    assert alive(before)
    assert len(project.real.family()) == 1


def test_pidfiles_that_were_moved_are_moved_one_after_another(project: Project) -> None:
    """With --rolling a node leaves its old pidfile when it is its turn, so a bad release takes no other one down."""
    project.says("[groups.web]\ncount = 3\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    before = project.pids()
    project.says("[groups.web]\ncount = 3\ncmd = 'false'\nstartsecs = 5\npidfile = 'elsewhere/%n.pid'\n")
    done = project.do("apply", "--rolling").exits(1)
    assert "web2@" in done.err.partition("as before: ")[2]
    assert [alive(before[name]) for name in ("web1", "web2", "web3")] == [False, True, True]
    project.says("[groups.web]\ncount = 3\ncmd = 'sleep 601'\npidfile = 'elsewhere/%n.pid'\n")
    events = project.do("apply", "--rolling", "--json").ok().events
    order = [(one["event"], str(one["node"]).partition("@")[0]) for one in events if one["event"] in {"gone", "ready"}]
    assert order == [("ready", "web1"), ("gone", "web2"), ("ready", "web2"), ("gone", "web3"), ("ready", "web3")]
    assert len(project.real.family()) == 3
    project.do("diff").ok()


@pytest.mark.parametrize(
    "rolling", [pytest.param((), id="at once"), pytest.param(("--rolling",), id="rolling", marks=pytest.mark.engine)]
)
@pytest.mark.parametrize(
    ("text", "verbs"),
    [
        ("[nodes.a]\npidfile = 'run/b.pid'\n[nodes.b]\npidfile = 'run/a.pid'\n", {"a": "stop", "b": "stop"}),
        ("[nodes.a]\npidfile = 'run/b.pid'\n[nodes.b]\npidfile = 'run/c.pid'\n", {"a": "stop", "b": "stop"}),
        ("[nodes.c]\npidfile = 'run/a.pid'\n[nodes.b]\n", {"c": "start", "a": "stop"}),
    ],
    ids=["swapped", "one after the other", "another name"],
)
def test_pidfiles_that_other_nodes_had(
    project: Project, text: str, verbs: dict[str, str], rolling: tuple[str, ...]
) -> None:
    """G2: who has a pidfile that another node is to have leaves it first, and is then one process, not two."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    before = project.pids()
    project.says(text.replace("\n[", "\ncmd = 'sleep 600'\n[") + "cmd = 'sleep 600'\n")
    assert project.verbs() == verbs
    assert "Refuse" not in project.do("apply", "--dry-run", *rolling).ok().out
    project.do("apply", *rolling).ok()
    after = project.pids()
    assert len(project.real.family()) == len(after) == 2
    assert [name for name in before if before[name] in after.values()] == ([] if "c" not in after else ["b"])
    project.do("diff").ok()


def test_a_pidfile_that_its_node_does_not_leave(project: Project) -> None:
    """G2: where the node that has it outlives its schedule, the one that is to have it is skipped; exit 1."""
    worker = project.real.worker("--ignore", "TERM").replace("'", "\\'")
    project.says(f"[nodes.a]\ncmd = {json.dumps(worker)}\nstop_schedule = 'TERM/0.3'\nstartsecs = 0.3\n")
    project.do("apply").ok()
    before = project.pids()["a"]
    project.says("[nodes.b]\ncmd = 'sleep 600'\npidfile = 'run/a.pid'\n")
    assert re.search(r"b@\S+: skipped: a@\S+ still runs with \S+/run/a\.pid", project.do("apply").exits(1).err)
    assert alive(before)
    assert len(project.real.family()) == 1


def test_the_file_by_another_name_is_the_same_file(project: Project) -> None:
    """However the configuration is named, its nodes are known again."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("apply", "--multi-config=./home/../multi.toml").ok()
    project.says("[nodes.a]\ncmd = 'sleep 600'\n")
    for where in ((), ("--multi-config=multi.toml",), (f"--multi-config={project.real.base}//multi.toml",)):
        assert project.verbs(*where) == {"b": "stop"}, where


def test_each_node_with_a_directory_of_its_own(project: Project) -> None:
    """Nodes that are gone from the file are found although no directory holds all pidfiles."""
    own = "pidfile = 'run/%n/pid'\n"
    project.says(f"[nodes.a]\ncmd = 'sleep 600'\n{own}[nodes.b]\ncmd = 'sleep 600'\n{own}")
    project.do("apply").ok()
    project.says(f"[nodes.a]\ncmd = 'sleep 600'\n{own}")
    assert project.verbs() == {"b": "stop"}
    project.do("apply").ok()
    assert len(project.real.family()) == 1


def test_names_limit_it(project: Project) -> None:
    """Only the named nodes are looked at; what was removed waits for an `apply` of all."""
    project.says("[groups.web]\ncount = 2\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    before = project.pids()
    project.says("[groups.web]\ncount = 2\ncmd = 'sleep 601'\n[nodes.c]\ncmd = 'sleep 600'\n")
    project.do("apply", "web1").ok()
    after = project.pids()
    assert after["web1"] != before["web1"]
    assert after["web2"] == before["web2"]
    assert alive(before["b"])
    assert "c" not in after
    assert project.verbs() == {"web2": "restart", "c": "start", "b": "stop"}
    project.do("apply").ok()
    assert project.verbs() == {}
    assert set(project.pids()) == {"web1", "web2", "c"}


def test_by_hand_and_then_in_the_file(project: Project) -> None:
    """A node that was started by hand as the file has it now is taken over as it is."""
    project.says("[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("start", "a", "--cmd=sleep 600").ok()
    before = project.real.pid("a")
    project.says("[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n")
    assert project.verbs() == {"a": "update", "b": "start"}
    project.do("apply").ok()
    assert project.pids()["a"] == before
    project.says("[nodes.b]\ncmd = 'sleep 600'\n")
    assert project.verbs() == {"a": "stop"}


def test_a_removed_node_that_is_gone_already_is_cleared(project: Project) -> None:
    """What is left of it is said to be cleared, not stopped."""
    project.says("[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    os.kill(project.pids()["b"], signal.SIGKILL)
    project.says("[nodes.a]\ncmd = 'sleep 600'\n")
    until(lambda: project.verbs() == {"b": "clear"}, "b is dead")
    project.do("apply").ok()
    assert project.verbs() == {}


def test_what_was_stopped_or_died_is_started(project: Project) -> None:
    """The file says that it runs, whoever stopped it."""
    project.says("[groups.web]\ncount = 2\ncmd = 'sleep 600'\n")
    project.do("apply").ok()
    os.kill(project.pids()["web1"], signal.SIGKILL)
    project.do("stopwait", "web2").ok()
    assert project.verbs() == {"web1": "start", "web2": "start"}
    project.do("apply").ok()
    assert set(project.pids()) == {"web1", "web2"}


def test_without_a_configuration(project: Project) -> None:
    """G9: one line, exit 2."""
    assert "needs a configuration" in project.do("apply").exits(2).err


@pytest.mark.engine
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
