"""What is set for a node is what its worker finds: environment, directory, umask, limits, priority; at each start."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from real import Done, Real, alive, until

LOOK = """
import json, os, resource, sys, time
seen = {
    "environ": dict(os.environ), "cwd": os.getcwd(), "umask": os.umask(0), "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "pid": os.getpid(),
}
with open(sys.argv[1] + ".part", "w") as file:
    json.dump(seen, file)
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""
HEAD = 'preset = "exec"\npidfile = "run/%n.pid"\nlogfile = "log/%n.log"\nstartsecs = 0\n'


class Looker:
    """Nodes that write down what they find around them when they start."""

    def __init__(self, real: Real) -> None:
        """Nothing runs yet."""
        self.real = real
        self.command = real.shell_words(LOOK, f"{real.base}/seen-%n")

    def start(self, *words: str, env: dict[str, str] | None = None) -> Done:
        """Start nodes with that command."""
        self.forget()
        return self.real.raw(*self.real.start_words(*words, cmd=self.command), env=env).ok()

    def do(self, command: str, *words: str, env: dict[str, str] | None = None) -> Done:
        """Another command, and what was seen before does not count any more."""
        self.forget()
        return self.real.raw(command, f"--pidfile={self.real.run}/%n.pid", *words, env=env).ok()

    def configured(self, text: str) -> None:
        """A configuration whose nodes run that command."""
        said = f"[defaults]\n{HEAD}cmd = {json.dumps(self.command.replace('$', '$$'))}\n{text}"
        (self.real.base / "multi.toml").write_text(said, encoding="utf-8")

    def forget(self) -> None:
        """What is seen from now on is of a process that starts from now on."""
        for path in self.real.base.glob("seen-*"):
            path.unlink()

    def seen(self, name: str) -> dict[str, Any]:
        """What the node has seen."""
        path = self.real.base / f"seen-{name}"
        until(path.exists, f"{name} has looked around")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def environ(self, name: str) -> dict[str, str]:
        """The variables that the node has seen."""
        found: dict[str, str] = self.seen(name)["environ"]
        return found


@pytest.fixture
def looker(real: Real) -> Looker:
    """Give nodes that look around."""
    return Looker(real)


def put(real: Real, name: str, text: str) -> Path:
    """Write a file in the private place."""
    path = real.base / name
    path.write_text(text, encoding="utf-8")
    return path


def kill(real: Real, name: str) -> None:
    """End a node by hand."""
    pid = real.pid(name)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), f"{name} is gone")


def test_all_settings_are_found_inside_and_again_after_a_restart(looker: Looker) -> None:
    """Typed once: the worker has them, and has them again after `restart` and `ensure`, without their being typed."""
    real = looker.real
    there = real.base / "there"
    there.mkdir()
    file = put(real, "vars.env", "FROM_FILE='a b'\nOVER=file\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(hard, 512) if hard >= 0 else 512
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 3
    looker.start(
        "a",
        "--env=GREETING=it's 100% $HOME",
        "--env=OVER=said",
        f"--env-file={file}",
        "--umask=027",
        f"--workdir={there}",
        f"--rlimit=NOFILE={limit - 1}:{limit}",
        "--rlimit=CORE=0",
        f"--nice={nice}",
    )

    def right() -> int:
        found = looker.seen("a")
        env = found["environ"]
        assert (env["GREETING"], env["FROM_FILE"], env["OVER"]) == ("it's 100% $HOME", "a b", "said")
        assert (found["umask"], found["cwd"], found["nice"]) == (0o027, str(there), nice)
        assert (found["nofile"], found["core"]) == ([limit - 1, limit], [0, 0])
        assert found["pid"] == real.pid("a")
        return int(found["pid"])

    first = right()
    looker.do("restart", "a")
    second = right()
    kill(real, "a")
    looker.do("ensure", "a")
    assert len({first, second, right()}) == 3
    assert (soft, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_each_node_has_its_own(looker: Looker) -> None:
    """Scoped settings reach their node and no other; what is set for no node is the caller's."""
    looker.start("a", "b", "--umask:a=077", "--env:a=ONE=1", "--env:b=TWO=2", "--nice:b=4")
    one, two = looker.seen("a"), looker.seen("b")
    umask = os.umask(0)
    os.umask(umask)
    assert (one["umask"], two["umask"]) == (0o077, umask)
    assert "TWO" not in one["environ"]
    assert "ONE" not in two["environ"]
    assert (one["environ"]["ONE"], two["environ"]["TWO"]) == ("1", "2")
    assert (one["nice"], two["nice"]) == (os.getpriority(os.PRIO_PROCESS, 0), 4)
    assert one["cwd"] == two["cwd"] == str(looker.real.base)


def test_from_a_configuration(looker: Looker) -> None:
    """Defaults, group and node add up in the worker's environment, variable by variable."""
    looker.configured(
        '[defaults.env]\nA = "defaults"\nB = "defaults"\nC = "defaults"\n'
        '[groups.g]\nnodes = ["a", "b"]\numask = "027"\nworkdir = "home"\nnice = 2\nrlimit = { CORE = 0 }\n'
        'pidfile = "../run/%n.pid"\nlogfile = "../log/%n.log"\n'
        '[groups.g.env]\nB = "group"\nC = "group"\n[nodes.a.env]\nC = "node"\nGONE = false\n'
    )
    looker.real.raw("start", env={"GONE": "here"}).ok()
    one, two = looker.seen("a"), looker.seen("b")
    assert [one["environ"][name] for name in "ABC"] == ["defaults", "group", "node"]
    assert [two["environ"][name] for name in "ABC"] == ["defaults", "group", "group"]
    assert "GONE" not in one["environ"]
    assert two["environ"]["GONE"] == "here"
    assert (one["umask"], one["cwd"], one["core"], one["nice"]) == (0o027, str(looker.real.base / "home"), [0, 0], 2)


@pytest.mark.parametrize("command", ["restart", "ensure", "start"])
def test_the_environment_is_that_of_whoever_starts_it_now(looker: Looker, command: str) -> None:
    """The caller's plus what is configured, never a copy from an earlier start."""
    real = looker.real
    looker.start("a", "--env=MINE=configured", env={"CALLER": "first", "ONLY_THEN": "1", "MINE": "first"})
    first = looker.environ("a")
    assert (first["CALLER"], first["ONLY_THEN"], first["MINE"]) == ("first", "1", "configured")
    again = {"CALLER": "second", "MINE": "second"}
    if command == "start":
        looker.do("stopwait", "a")
        looker.start("a", "--env=MINE=configured", env=again)
    else:
        if command == "ensure":
            kill(real, "a")
        looker.do(command, "a", env=again)
    second = looker.environ("a")
    assert (second["CALLER"], second["MINE"]) == ("second", "configured")
    assert "ONLY_THEN" not in second
    assert second["MULTI_INSTANCE"] != first["MULTI_INSTANCE"]
    assert "first" not in real.recordfile("a").read_text(), "what was the caller's is on no record"


def test_a_variable_that_is_taken_away(looker: Looker) -> None:
    """``--env=KEY-`` takes it from the caller's environment; after a restart it is still away."""
    looker.start("a", "--env=SECRET-", env={"SECRET": "x", "OTHER": "y"})
    assert "SECRET" not in looker.environ("a")
    assert looker.environ("a")["OTHER"] == "y"
    looker.do("restart", "a", env={"SECRET": "x"})
    assert "SECRET" not in looker.environ("a")


@pytest.mark.parametrize("command", ["restart", "ensure", "apply"])
def test_an_env_file_is_read_at_each_start(looker: Looker, command: str) -> None:
    """What it holds now is what the worker gets; a variable that is gone from it is gone from the worker."""
    real = looker.real
    file = put(real, "vars.env", "KEY=one\nOLD=x\n")
    if command == "apply":
        looker.configured('[nodes.a]\nenv_file = "vars.env"\n')
        real.raw("apply").ok()
    else:
        looker.start("a", f"--env-file={file}")
    assert (looker.environ("a")["KEY"], looker.environ("a")["OLD"]) == ("one", "x")
    file.write_text("KEY=two\nNEW=y\n", encoding="utf-8")
    if command == "ensure":
        kill(real, "a")
    if command == "apply":
        looker.forget()
        real.raw("apply").ok()
    else:
        looker.do(command, "a")
    env = looker.environ("a")
    assert (env["KEY"], env["NEW"]) == ("two", "y")
    assert "OLD" not in env


@pytest.mark.parametrize("command", ["start", "restart", "ensure", "apply"])
def test_g14_what_an_env_file_holds_is_not_on_record(looker: Looker, command: str) -> None:
    """G14: the worker and its probe get the value; the record, the log and what is printed never hold it."""
    real = looker.real
    file = put(real, "vars.env", "KEY=hunter2\nOTHER=x\n")
    ready = "--ready=exec:sh -c 'test -n \"$KEY\"'"
    told: list[Done] = []
    if command == "apply":
        looker.configured(f'[nodes.a]\nenv_file = "vars.env"\nready = {json.dumps(ready[8:])}\n')
    else:
        told.append(looker.start("a", f"--env-file={file}", ready))
    if command == "ensure":
        kill(real, "a")
    if command != "start":
        looker.forget()
        told.append(real.raw("apply", "--json") if command == "apply" else real.multi(command, "a", "--json"))
    assert looker.environ("a")["KEY"] == "hunter2"
    told += [real.multi(*words) for words in (("status", "--json"), ("stop", "a", "--json"))]
    assert not [done for done in told if done.code or "hunter2" in done.out + done.err]
    until(lambda: not real.processes("a"), "it has ended")
    held = [path for path in (*real.run.iterdir(), *real.log.iterdir()) if b"hunter2" in path.read_bytes()]
    assert held == []
    assert list(real.record("a")["env_read"]) == ["KEY", "OTHER"]  # type: ignore[call-overload]  # a JSON object


def test_g9_an_env_file_that_is_gone(looker: Looker) -> None:
    """A restart that could not start again does not stop: the node lives on, one line names the file, exit 2."""
    real = looker.real
    file = put(real, "vars.env", "KEY=one\n")
    looker.start("a", f"--env-file={file}")
    before = looker.seen("a")["pid"]
    file.unlink()
    done = real.multi("restart", "a").exits(2)
    assert str(file) in done.err
    assert len(done.err.splitlines()) == 1
    assert real.pid("a") == before
    assert alive(before)


def test_g9_limits_that_cannot_be_had(looker: Looker) -> None:
    """G4: A node that cannot get what is set for it does not run without it; the message names the setting."""
    real = looker.real
    done = real.raw(*real.start_words("a", f"--workdir={real.base}/nowhere", cmd=looker.command)).exits(1)
    assert f"{real.base}/nowhere" in done.err
    assert not real.pidfile("a").exists()
    assert not list(real.base.glob("seen-*"))
