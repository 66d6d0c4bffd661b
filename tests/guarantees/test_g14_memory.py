"""G14 Nothing is forgotten: a node that was stopped stays on record, and is started from it."""

from __future__ import annotations

import getpass
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real import NOBODY, alive, environ_of, status, until, words_of

if TYPE_CHECKING:
    from real import Real

HEAD = """
[defaults]
preset = "exec"
pidfile = "run/%n.pid"
logfile = "log/%n.log"
startsecs = 0
"""


def stopped(real: Real, *names: str, cmd: str = "sleep 601") -> None:
    """Nodes that were started and stopped."""
    real.start(*names, cmd=cmd).ok()
    real.multi("stopwait", *names).ok()


def beside(real: Real, name: str) -> list[str]:
    """What lies in the run directory of a node."""
    return sorted(path.name for path in real.run.iterdir() if path.stem == name)


# --- stopped, and still there ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stop", "stopwait", "kill"])
def test_g14_a_stopped_node_stays_on_record(real: Real, command: str) -> None:
    """G14: whatever stops it, `status` shows it as stopped, when and by whom, and exits with 3."""
    real.start("a", cmd="sleep 601").ok()
    pid = real.pid("a")
    real.multi(command, "a").ok()
    until(lambda: not alive(pid), "it is gone")
    done = real.multi("status", "--json").exits(3)
    (view,) = json.loads(done.out)
    assert (view["name"], view["state"], view["pid"]) == ("a", "stopped", None)
    assert view["why"].startswith("stopped ")
    assert f" by {getpass.getuser()}" in view["why"]
    assert f"{command} --pidfile=" in view["why"]
    assert view["command"] == ["sleep", "601"]
    assert "stopped" in real.multi("status", "a").exits(3).out
    if command != "stop":
        assert beside(real, "a") == ["a.history", "a.json", "a.lock"]
        assert real.record("a")["pid"] is None


def test_g14_a_dead_node_that_is_stopped_is_on_record_as_stopped(real: Real) -> None:
    """G14: a stop of what has died already is remembered, and `ensure` leaves it alone from then on."""
    real.start("a", cmd=real.worker()).ok()
    os.kill(real.pid("a"), 9)
    until(lambda: real.state() == {"a": "dead"}, "it is dead")
    real.multi("stop", "a").ok()
    assert real.state() == {"a": "stopped"}
    assert real.multi("ensure").ok().out == ""
    assert real.state() == {"a": "stopped"}


# --- started from the record -------------------------------------------------------------------------------------


def test_g14_a_start_without_worker_words_starts_what_is_on_record(real: Real) -> None:
    """G14: `show`, `get`, `--dry-run` and the start itself say the recorded command; own settings are laid over it."""
    stopped(real, "a")
    assert real.multi("show", "a").ok().out == "sleep 601\n"
    assert real.multi("show").ok().out == "sleep 601\n"
    assert real.raw("get", "a", f"--pidfile={real.run}/%n.pid").ok().out == "sleep 601\n"
    assert "start as on record: sleep 601" in real.multi("start", "a", "--dry-run").ok().out
    done = real.multi("start", "a", "--umask=027").ok()
    assert "start as on record: sleep 601" in done.out
    assert words_of(real.pid("a")) == ["sleep", "601"]
    assert status(real.pid("a"))["Umask"] == "0027"
    assert real.record("a")["desired"] == "up"
    assert real.record("a")["stopped_by"] == ""
    assert "already running" in real.multi("start", "a").ok().out


@pytest.mark.parametrize(
    "words", [("--preset=exec", "--cmd=sleep 602"), ("--preset=exec", "--", "602")], ids=["cmd", "words"]
)
def test_g14_worker_words_replace_the_recorded_command_whole(real: Real, words: tuple[str, ...]) -> None:
    """G14: `--preset`, `--cmd` or words of a worker leave nothing of what is on record; a preset alone is one, too."""
    stopped(real, "a")
    done = real.multi("start", "a", f"--logfile={real.log}/%n.log", "--startsecs=0", *words)
    if "--cmd=sleep 602" in words:
        assert "on record" not in done.ok().out
        assert words_of(real.pid("a")) == ["sleep", "602"]
    else:
        assert "preset exec has no command of its own" in done.exits(2).err
        assert real.record("a")["command"] == ["sleep", "601"]


def test_g14_a_configuration_replaces_the_recorded_command(real: Real) -> None:
    """G14: a configured node is started as the configuration says, and one that it lacks as its record says."""
    (real.base / "multi.toml").write_text(f'{HEAD}[nodes.a]\ncmd = "sleep 603"\n')
    stopped(real, "a", "b")
    assert real.raw("show", "a", "b").ok().out == "sleep 603\nsleep 601\n"
    real.raw("start", "a", "b").ok()
    assert [words_of(real.pid(name)) for name in ("a", "b")] == [["sleep", "603"], ["sleep", "601"]]


def test_g14_a_start_without_names_starts_all_on_record(real: Real) -> None:
    """G14: stopped or dead alike; with the words of a worker and no name it is not known which nodes are meant."""
    real.start("a", "b", "c", cmd=real.worker()).ok()
    kept, dead = real.pid("c"), real.pid("b")
    real.multi("stopwait", "a").ok()
    os.kill(dead, 9)
    until(lambda: real.state() == {"a": "stopped", "b": "dead", "c": "running"}, "one is dead")
    assert "there are no nodes" in real.multi("start", "--preset=exec", "--cmd=sleep 9").exits(2).err
    done = real.multi("start").ok()
    assert real.state() == {"a": "running", "b": "running", "c": "running"}
    assert "c@" in done.out
    assert "already running" in done.out
    assert real.pid("c") == kept


def test_g14_a_restart_of_all_leaves_alone_what_was_stopped_on_purpose(real: Real) -> None:
    """G14: with a configuration and without one; who names it means it."""
    real.start("a", "b").ok()
    real.multi("stopwait", "a").ok()
    before = real.pid("b")
    done = real.multi("restart").ok()
    assert "stopped on purpose" in done.out
    assert real.state() == {"a": "stopped", "b": "running"}
    assert real.pid("b") != before
    (real.base / "multi.toml").write_text(f'{HEAD}[groups.all]\nnodes = ["a", "b"]\ncmd = "sleep 600"\n')
    real.raw("restart").ok()
    assert real.state() == {"a": "stopped", "b": "running"}
    real.multi("restart", "a").ok()
    assert real.state() == {"a": "running", "b": "running"}


def test_g14_a_name_without_a_record_is_a_bare_worker(real: Real) -> None:
    """G14: as in celery multi, and said aloud; a start that fails leaves nothing on record."""
    for command in ("start", "restart"):
        done = real.multi(command, "w1", "--dry-run").ok()
        assert "nothing is on record, so start a bare worker: " in done.out
        assert " -m celery worker -n w1@" in done.out


def test_g14_env_files_are_read_at_each_start(real: Real) -> None:
    """G14: no value of theirs is on record, and one that cannot be read is said before anything is done."""
    file = real.base / "secrets.env"
    file.write_text("VALUE_OF_MINE=first\n")
    real.start("a", f"--env-file={file}", cmd=real.worker()).ok()
    real.multi("stopwait", "a").ok()
    assert "first" not in real.recordfile("a").read_text()
    file.write_text("VALUE_OF_MINE=second\n")
    real.multi("start", "a").ok()
    assert environ_of(real.pid("a"))["VALUE_OF_MINE"] == "second"
    real.multi("stopwait", "a").ok()
    file.unlink()
    assert "secrets.env" in real.multi("start", "a").exits(2).err
    assert real.state() == {"a": "stopped"}


def test_g14_show_says_what_is_inherited(real: Real) -> None:
    """G14: what a recorded node would have from the shell that starts it is named, and is what a start gives it."""
    real.start("a", "--umask=022", f"--workdir={real.base}", f"--cmd={real.worker()}").ok()
    real.start("b", f"--cmd={real.worker()}").ok()
    real.multi("stopwait", "a", "b").ok()
    done = real.multi("show", "a", "b").ok()
    assert "a: on record; it inherits environment of the shell that starts it" in done.err
    assert "b: on record; it inherits directory, umask and environment of the shell that starts it" in done.err
    shown = json.loads(real.multi("show", "--json").ok().out)
    assert [one["inherits"] for one in shown] == [["environment"], ["directory", "umask", "environment"]]
    real.begin("start", f"--pidfile={real.run}/%n.pid", "a", "b", env={"SEEN_HERE": "1"}).done().ok()
    assert [environ_of(real.pid(name)).get("SEEN_HERE") for name in ("a", "b")] == ["1", "1"]
    assert Path(f"/proc/{real.pid('b')}/cwd").readlink() == real.base


@pytest.mark.parametrize("words", [(), ("--preset=exec", "--cmd=/nonexistent/program")], ids=["record", "words"])
def test_g14_a_start_that_fails_loses_no_record(real: Real, words: tuple[str, ...]) -> None:
    """G14, G3: what is on record stays; what was stopped is not started later with a command nobody asked for."""
    program = real.base / "program"
    program.write_text("#!/bin/sh\nexec sleep 604\n")
    program.chmod(0o755)
    stopped(real, "a", cmd=str(program))
    program.unlink()
    real.multi("start", "a", *words).exits(1)
    assert real.record("a")["command"] == [str(program)]
    assert real.state() == {"a": "stopped" if words else "dead"}


# --- forget -----------------------------------------------------------------------------------------------------


def test_g14_forget(real: Real) -> None:
    """G14: off the record with all that was kept beside it; lock and log stay; what runs or is dead is refused."""
    real.start("a", "b", "c", "d", cmd=real.worker()).ok()
    real.multi("stopwait", "a", "d").ok()
    os.kill(real.pid("c"), 9)
    until(lambda: real.state()["c"] == "dead", "it is dead")
    for suffix in ("history", "heartbeat", "health", "sock", "notify"):
        (real.run / f"a.{suffix}").write_text("")
    done = real.multi("forget", "a", "b", "c").exits(1)
    assert "a@" in done.out
    assert "forgotten" in done.out
    assert "it runs; 'multi stopwait b' stops it" in done.err
    assert "it is dead, not stopped" in done.err
    assert beside(real, "a") == ["a.lock"]
    assert real.logfile("a").exists()
    assert real.state() == {"b": "running", "c": "dead", "d": "stopped"}
    real.multi("forget").ok()
    assert real.state() == {"b": "running", "c": "dead"}
    assert "not on record" in real.multi("forget", "a").ok().out


def test_g14_apply_forgets_what_it_removes(real: Real) -> None:
    """G14: running or stopped, a node that the configuration has no more is off the record afterwards."""
    config = real.base / "multi.toml"
    config.write_text(f'{HEAD}[groups.all]\nnodes = ["a", "b", "c"]\ncmd = "sleep 600"\n')
    real.raw("apply").ok()
    real.raw("stopwait", "b").ok()
    config.write_text(f'{HEAD}[groups.all]\nnodes = ["c"]\ncmd = "sleep 600"\n')
    diff = json.loads(real.raw("diff", "--json").exits(1).out)
    assert [(one["node"][0], one["verb"]) for one in diff] == [("a", "stop"), ("b", "forget")]
    real.raw("apply").ok()
    assert (beside(real, "a"), beside(real, "b")) == (["a.lock"], ["b.lock"])
    assert sorted(path.name for path in real.run.glob("*.json")) == ["c.json"]
    real.raw("diff").ok()


# --- what it must not change --------------------------------------------------------------------------------------


def test_g14_a_foreign_pidfile_beats_a_stopped_record(real: Real) -> None:
    """G14, G1: what another tool has started since runs; a restart that would need its command is refused as before."""
    stopped(real, "a", cmd=real.worker(words=["a"]))
    other = real.own_worker()
    real.pidfile("a").write_text(f"{other.pid}\n")
    record = real.recordfile("a").read_bytes()
    assert real.state("a")["a"] in {"running", "unsure"}
    assert "a pidfile but no record" in real.multi("restart", "a").exits(2).err
    for command in ("restart", "stopwait", "ensure"):
        real.multi(command)
        assert alive(other.pid), command
    assert real.recordfile("a").read_bytes() == record


def test_g14_a_node_that_lost_its_record_is_remembered_as_the_kernel_tells_it(real: Real) -> None:
    """G14, G9: a record that cannot be read is made again of the process, and that one is kept."""
    real.start("a", cmd="sleep 601").ok()
    pid = real.pid("a")
    real.recordfile("a").write_bytes(real.recordfile("a").read_bytes().replace(b'"pid"', b'"dip"'))
    real.multi("stopwait", "a").ok()
    assert not alive(pid)
    assert real.record("a")["command"] == ["sleep", "601"]
    assert real.state() == {"a": "stopped"}


@pytest.mark.root
def test_g14_g8_a_users_stopped_record_runs_things_as_that_user(real: Real) -> None:
    """G14, G8: root's `start` of what a user has on record runs the user's words as that user, with no more rights."""
    for path in (real.run, real.log):
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
    real.start("a", "--uid=nobody").ok()
    real.multi("stopwait", "a", "--uid=nobody").ok()
    record = real.record("a")
    settings = record["settings"]
    assert isinstance(settings, dict)
    planted = {**record, "command": ["sleep", "611"], "settings": {**settings, "gid": "root", "nice": -5}}
    real.recordfile("a").unlink()
    real.recordfile("a").write_text(json.dumps(planted))
    os.chown(real.recordfile("a"), NOBODY, NOBODY)
    assert shlex.join(["sleep", "611"]) in real.multi("show", "a").ok().out
    real.multi("start", "a").ok()
    seen = status(real.pid("a"))
    assert words_of(real.pid("a")) == ["sleep", "611"]
    assert seen["Uid"].split() == seen["Gid"].split() == [str(NOBODY)] * 4
    assert int(seen["CapEff"], 16) == 0
    assert os.getpriority(os.PRIO_PROCESS, real.pid("a")) == os.getpriority(os.PRIO_PROCESS, 0)
    assert real.recordfile("a").stat().st_uid == NOBODY
    real.multi("stopwait", "a", "--uid=nobody").ok()
    assert real.recordfile("a").stat().st_uid == NOBODY, "and so it stays that user's word"


@pytest.mark.root
@pytest.mark.parametrize("uid", ["root", "daemon", None])
def test_g14_g8_a_users_stopped_record_names_no_other_user(real: Real, uid: str | None) -> None:
    """G14, G8: a record of a user's that names somebody else is no record for root."""
    for path in (real.run, real.log):
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
    real.start("a", "--uid=nobody").ok()
    real.multi("stopwait", "a", "--uid=nobody").ok()
    record = real.record("a")
    settings = record["settings"]
    assert isinstance(settings, dict)
    real.recordfile("a").unlink()
    planted = {**record, "command": ["sleep", "612"], "settings": {**settings, "uid": uid}}
    real.recordfile("a").write_text(json.dumps(planted))
    os.chown(real.recordfile("a"), NOBODY, NOBODY)
    for words in (("start",), ("start", "a"), ("restart", "a")):
        done = real.multi(*words)
        assert "Traceback" not in done.err
        assert not [pid for pid in real.family() if words_of(pid) == ["sleep", "612"]], words
