"""A node whose command nobody can tell: looked at, signalled and stopped like any other, never started or recorded."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext

import pytest

from multi import api as pipeline
from multi.errors import UsageError
from multi.model.process import ProcessTable
from multi.testing.world import Nature, World
from real import Real, alive, until, words_of

TITLES = ["[worker: busy] -x w1", pytest.param("busy", marks=pytest.mark.engine)]


@pytest.fixture(params=TITLES)
def titled(real: Real, request: pytest.FixtureRequest) -> tuple[Real, int]:
    """A node of a worker that shows a title, and that has lost its record."""
    ready = real.base / "ready"
    tally = real.base / "tally"
    real.start("w1", cmd=real.worker("--title", request.param, "--tally", str(tally), "--touch", str(ready))).ok()
    until(ready.exists, "it shows its title")
    pid = real.pid("w1")
    assert words_of(pid)[:1] == [request.param]
    real.recordfile("w1").unlink()
    return real, pid


def test_g9_a_title_is_not_started_again(titled: tuple[Real, int]) -> None:
    """G9: `restart` says why it cannot and what to try, and leaves the worker alone; exit 2."""
    real, pid = titled
    for words in (("w1",), ("w1", "--rolling"), ("w1", "--startsecs=0")):
        done = real.multi("restart", *words).exits(2)
        assert done.err.endswith(
            f": has no recorded command to start again: no record tells its command, and pid {pid} shows a title in "
            "its place; give the worker's options, as for 'multi start'\n"
        )
    done = real.multi("restart").exits(1)  # nobody named it, so it keeps no other node from its restart
    assert "no record tells its command" in done.err
    assert alive(pid)
    replaced = ("--preset=exec", "--cmd=sleep 600", "--startsecs=0", "--stop-schedule=KILL/5")
    real.multi("restart", "w1", *replaced).exits(0)
    assert real.record("w1")["command"] == ["sleep", "600"]


@pytest.mark.parametrize(
    ("command", "preset"),
    [
        ("signal -WINCH", ()),
        ("signal -WINCH", ("--preset=exec",)),
        ("stop", ()),
        ("stop", ("--preset=exec",)),
        ("ensure", ()),
        ("ensure", ("--preset=exec",)),
        ("start", ()),
    ],
)
def test_a_title_is_not_recorded(titled: tuple[Real, int], command: str, preset: tuple[str, ...]) -> None:
    """What works on the process goes on working, and puts no made-up command on record for the next `restart`."""
    real, pid = titled
    real.pidfile("w1").unlink()
    for _ in range(2):
        real.multi(*command.split(), "w1", *preset).ok()
        assert not real.recordfile("w1").exists()
        assert real.pidfile("w1").read_text(encoding="ascii") == f"{pid}\n"
    (view,) = json.loads(real.multi("status", "w1", "--json").out)
    assert (view["state"], view["pid"], view["command"]) == ("lost", pid, None)
    real.multi("restart", "w1", *preset).exits(2)
    assert alive(pid)
    real.multi("kill", "w1").ok()
    assert not alive(pid)
    assert not real.pidfile("w1").exists()


@pytest.mark.parametrize("command", ["stopwait", "kill"])
def test_g5_a_title_is_stopped(real: Real, command: str) -> None:
    """G5: a node whose command is not known is stopped with its whole tree, also without any of its files."""
    ready = real.base / "ready"
    real.start("w1", cmd=real.worker("--title", "busy", "--child", "orphan", "--touch", str(ready))).ok()
    until(ready.exists, "its family is complete")
    real.recordfile("w1").unlink()
    real.pidfile("w1").unlink()
    real.multi(command, "w1").ok()
    assert real.family() == []


def test_words_that_are_still_shown_are_started_again(real: Real) -> None:
    """A process that lost its record and shows what it was executed with is restarted with that."""
    real.start("w1", cmd="sleep 601").ok()
    real.recordfile("w1").unlink()
    real.multi("restart", "w1", "--ready=alive", "--startsecs=0").ok()
    assert words_of(real.pid("w1")) == ["sleep", "601"]
    assert real.record("w1")["command"] == ["sleep", "601"]


@pytest.mark.parametrize("command", ["status", "stop", "kill"])
def test_g9_one_word_in_a_foreign_pidfile(real: Real, command: str) -> None:
    """G9: a process of one word, and a preset that tells no command: nobody knows whose it is, so it is left alone."""
    os.mkfifo(real.base / "fifo")
    stranger = real.popen("sh", "-c", 'exec cat <>"$0"', str(real.base / "fifo"))
    until(lambda: words_of(stranger.pid) == ["cat"], "it shows its one word")
    real.run.mkdir(exist_ok=True)
    real.pidfile("w1").write_text(f"{stranger.pid}\n", encoding="ascii")
    done = real.multi(command, "w1", "--preset=exec").exits(4 if command == "status" else 1)
    assert "which does not look like w1@" in done.out + done.err
    assert stranger.poll() is None


@pytest.mark.parametrize("lost", [True, False])
def test_choosing_reads_the_process_table_once(lost: bool) -> None:
    """However many nodes have no record, their commands are looked for in one table."""
    world = World()
    world.nature = Nature(title="busy")
    words = [*(f"w{number}" for number in range(50)), "--pidfile=/run/%n.pid", "--logfile=/log/%n.log"]
    fake = world.fake()
    if lost:
        started = [*words, "--preset=exec", "--cmd=program", "--startsecs=0"]
        list(pipeline.run("start", pipeline.select("start", started, machine=fake), machine=fake))
        for number in range(50):
            del world.files[f"/run/w{number}.json"]
    looks = 0
    processes = fake.processes

    def counted() -> ProcessTable:
        nonlocal looks
        looks += 1
        return processes()

    fake.processes = counted  # type: ignore[method-assign]  # counted, else the same
    with pytest.raises(UsageError, match="shows a title") if lost else nullcontext():
        pipeline.select("restart", words, machine=fake)
    assert looks == 1
