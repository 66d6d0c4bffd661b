"""`multi ensure`, for cron: what was started and died comes back, with patience; what was stopped stays stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest

from real import Done, Real, alive, until


def ensure(real: Real, *words: str) -> Done:
    """One run, as cron does it."""
    return real.multi("ensure", *words)


def kill(real: Real, name: str, signum: int = signal.SIGKILL) -> None:
    """End a node by hand."""
    pid = real.pid(name)
    os.kill(pid, signum)
    until(lambda: not alive(pid), f"{name} is gone")


def change(real: Real, name: str, **facts: object) -> None:
    """Change what is on record of a node: time is not waited for here."""
    path = real.recordfile(name)
    path.write_text(json.dumps({**real.record(name), **facts}, indent=1) + "\n", encoding="ascii")


def note(real: Real, name: str) -> str:
    """The reason that `status` shows."""
    (view,) = json.loads(real.inside("status", "--json", name).out)
    return str(view["why"])


def silent(done: Done, code: int = 0) -> None:
    """Cron sends a mail for every line."""
    done.exits(code)
    assert (done.out, done.err) == ("", "")


# --- nothing to do ----------------------------------------------------------------------------------


def test_what_runs_is_left_alone_in_silence(real: Real) -> None:
    """No line, exit 0, the same process."""
    real.start("a", "b").ok()
    before = real.pid("a"), real.pid("b")
    silent(ensure(real))
    silent(ensure(real, "a"))
    assert (real.pid("a"), real.pid("b")) == before


@pytest.mark.root
def test_nobody_is_warned_of_root_every_minute(real: Real) -> None:
    """That a node runs as root is said when it is started, not by cron in a mail a minute."""
    real.env.pop("MULTI_FORCE_ROOT")
    assert "runs as root" in real.start("a").ok().err
    silent(ensure(real, "a"))
    silent(ensure(real))


def test_where_nothing_is_nothing_is_made(real: Real) -> None:
    """No run directory, no node: silence, and no directory afterwards."""
    silent(ensure(real))
    silent(ensure(real, "a"))
    assert not real.run.exists()


def test_what_was_never_started_stays_down(real: Real) -> None:
    """A configuration says what may run; `ensure` is about what did run."""
    config = real.base / "multi.toml"
    config.write_text(
        f'[defaults]\npreset = "exec"\ncmd = "sleep 600"\nstartsecs = 0\npidfile = "{real.run}/%n.pid"\n'
        f'logfile = "{real.log}/%n.log"\n[groups.all]\nnodes = ["a", "b"]\n',
        encoding="utf-8",
    )
    where = f"--multi-config={config}"
    silent(real.raw("ensure", where))
    real.raw("start", "a", where).ok()
    kill(real, "a")
    done = real.raw("ensure", where).ok()
    assert "a@" in done.out
    assert "b@" not in done.out
    assert not real.processes("b")


# --- what died ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_what_died_comes_back(real: Real, signum: int) -> None:
    """Also what was killed by hand: who wants it stopped says so to `multi`."""
    real.start("a", "b").ok()
    before = real.pid("b")
    kill(real, "a", signum)
    done = ensure(real).ok()
    assert "a@" in done.out
    assert "b@" not in done.out
    assert real.pid("b") == before
    assert real.state("a") == {"a": "running"}
    assert real.record("a")["restarts"] == 1
    silent(ensure(real))


def test_it_comes_back_as_it_was_started(real: Real) -> None:
    """Command and settings are on record; nothing has to be said again."""
    words = real.base / "words"
    worker = real.worker("--words", str(words), words=["a b", "", "$HOME", "%"])
    real.start("a", "--stop-schedule=TERM/1/KILL/5", "--env=COLOUR=blue", cmd=worker.replace("%", "%%")).ok()
    until(words.exists, "it runs")
    first = words.read_bytes()
    words.unlink()
    kill(real, "a")
    ensure(real).ok()
    until(words.exists, "it runs again")
    assert words.read_bytes() == first
    assert real.record("a")["settings"]["stop_schedule"] == "TERM/1/KILL/5"  # type: ignore[index]  # a JSON object


@pytest.mark.parametrize("what", ["its directory", "its interpreter"])
def test_what_cannot_even_run_is_left_alone_for_a_growing_while(real: Real, what: str) -> None:
    """A start that fails before the program runs counts as well: cron is not told of it every minute for ever."""
    place = real.base / "there"
    place.mkdir()
    program = place / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    program.chmod(0o755)
    real.start("a", f"--workdir={place}", cmd=str(program)).ok()
    kill(real, "a")
    if what == "its directory":
        place.rename(real.base / "elsewhere")
    else:
        program.write_text("#!/nonexistent/sh\n", encoding="ascii")
    began = time.time()
    ensure(real).exits(1)
    assert (real.record("a")["failures"], float(str(real.record("a")["failed"])) >= began - 1) == (2, True)
    change(real, "a", failed=time.time() + 7200)  # so that the pause is not over before it is looked at
    assert "'multi ensure' leaves it alone for" in real.multi("status", "a").out
    silent(ensure(real), 1)
    change(real, "a", failed=time.time() - 7200)
    assert ensure(real).exits(1).err
    assert real.record("a")["failures"] == 3
    change(real, "a", failed=time.time() + 7200)
    if what == "its directory":
        (real.base / "elsewhere").rename(place)
    else:
        program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    silent(ensure(real), 1)
    real.multi("start", "a", f"--workdir={place}", f"--cmd={program}", "--preset=exec").ok()
    assert real.record("a")["failures"] == 0


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("command", ["ensure", "restart"])
def test_a_preset_without_a_command_leaves_the_recorded_one(real: Real, command: str, named: bool) -> None:
    """`--preset=exec` says where a node's files are, not what it runs: a recorded exec node comes back as it was."""
    real.start("a", cmd="sleep 601").ok()
    before = real.pid("a")
    kill(real, "a")
    real.multi(command, *(["a"] if named else []), "--preset=exec").ok()
    assert real.pid("a") != before
    assert real.record("a")["command"] == ["sleep", "601"]


def test_g9_a_preset_that_is_another_one(real: Real) -> None:
    """G9: a preset without a command says nothing of a node that is recorded with another preset."""
    real.start("a", "--preset=rq", "--ready=alive", cmd=real.worker()).ok()
    done = real.multi("restart", "a", "--preset=exec").exits(2)
    assert "has no recorded command to start again" in done.err
    assert real.state("a") == {"a": "running"}


def test_g9_half_a_command_is_no_command(real: Real) -> None:
    """G9: words that say the command anew, and do not say it, are a mistake: one line, exit 2, nothing is done."""
    real.start("a").ok()
    kill(real, "a")
    done = ensure(real, "a", "--preset=exec", "--append=x").exits(2)
    assert done.err.endswith(
        ": has no recorded command to start again: nobody said what command it is; "
        "give the worker's options, as for 'multi start'\n"
    )
    assert real.state("a") == {"a": "dead"}


def test_after_a_reboot(real: Real) -> None:
    """Records that survived it name processes of another boot, also where the pid is in use again."""
    real.start("a").ok()
    kill(real, "a")
    stranger = real.popen("sleep", "600")
    real.pidfile("a").write_text(f"{stranger.pid}\n", encoding="ascii")
    change(real, "a", pid=stranger.pid, start_id="00000000-0000-0000-0000-000000000000:1234")
    ensure(real).ok()
    assert real.state("a") == {"a": "running"}
    assert stranger.poll() is None


def test_g3_a_restart_that_was_cut_off_is_finished(real: Real) -> None:
    """`restart` was killed when the old process had ended: the node was wanted, so it comes back."""
    real.start("a", cmd=real.worker("--finish", "0.5")).ok()
    old = real.pid("a")
    begun = real.begin("restart", f"--pidfile={real.run}/%n.pid", "a")
    until(lambda: real.record("a")["signalled"], "it is asked to stop")
    begun.process.kill()
    begun.process.wait(20)
    until(lambda: not alive(old), "it has ended")
    ensure(real).ok()
    assert real.state("a") == {"a": "running"}


def test_g2_two_at_once_are_one(real: Real) -> None:
    """Cron's last run may not be over when the next begins."""
    real.start("a", cmd=real.worker()).ok()
    kill(real, "a")
    begun = [real.begin("ensure", f"--pidfile={real.run}/%n.pid") for _ in range(4)]
    for one in begun:
        one.done().ok()
    assert real.processes("a") == [real.pid("a")]


def test_in_the_environment_of_cron(real: Real) -> None:
    """Nearly empty: HOME, LOGNAME, PATH, SHELL and nothing else."""
    real.start("a").ok()
    kill(real, "a")
    kept = ("HOME", "PATH", "PYTHONPATH", "MULTI_TEST_MARK")
    real.env = {name: value for name, value in real.env.items() if name in kept}
    ensure(real, "--root=allow").ok()
    assert real.state("a") == {"a": "running"}


# --- what was stopped on purpose ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stop", "stopwait", "kill"])
def test_what_was_stopped_stays_stopped(real: Real, command: str) -> None:
    """However it was stopped, and however often cron comes by; `start` wants it again."""
    real.start("a").ok()
    real.multi(command, "a").ok()
    until(lambda: not real.processes("a"), "a is gone")
    for _ in range(2):
        silent(ensure(real))
        silent(ensure(real, "a"))
    assert real.state("a") == {"a": "stopped"}
    real.start("a").ok()
    kill(real, "a")
    ensure(real).ok()
    assert real.state("a") == {"a": "running"}


@pytest.mark.parametrize("command", ["stop", "stopwait", "kill"])
def test_what_another_tool_started_meanwhile_stays_stopped(real: Real, command: str) -> None:
    """The record is of an earlier process of ours, as it is when celery multi has restarted the node since."""
    real.start("a").ok()
    kill(real, "a")
    other = real.popen("sleep", "600")
    real.pidfile("a").write_text(f"{other.pid}\n", encoding="ascii")
    assert real.state("a") == {"a": "running"}
    real.multi(command, "a").ok()
    other.wait()
    silent(ensure(real))
    assert not real.processes("a")
    assert real.state("a") == {"a": "stopped"}


def test_what_is_being_stopped_is_left_alone(real: Real) -> None:
    """A slow end is none of cron's business."""
    real.start("a", cmd=real.worker("--finish", "1")).ok()
    real.multi("stop", "a").ok()
    assert real.state("a") == {"a": "stopping"}
    silent(ensure(real))
    until(lambda: not real.processes("a"), "a is gone")
    silent(ensure(real))


# --- what keeps dying -----------------------------------------------------------------------------------


def fails(real: Real) -> None:
    """A node that was started well, and whose release is broken since."""
    code = f"import os, sys, time; os.path.exists({str(real.base / 'good')!r}) or sys.exit(4); time.sleep(600)"
    (real.base / "good").touch()
    real.start("a", "--restart-delay=10", cmd=real.shell_words(code), startsecs=0.2).ok()
    (real.base / "good").unlink()
    kill(real, "a")


def test_it_backs_off(real: Real) -> None:
    """After a failure it is left alone for `restart_delay`, then longer, five minutes at most; test_restart has all."""
    fails(real)
    done = ensure(real).exits(1)
    assert "it exited with status 4" in done.err
    silent(ensure(real), 1)
    assert real.record("a")["failures"] == 2  # its end, and the start that failed
    for failures, pause in ((1, 10), (3, 40), (500, 300)):
        change(real, "a", failures=failures, failed=time.time() - 0.9 * pause + 30)
        if pause >= 40:
            silent(ensure(real), 1)
            assert re.search(r"leaves it alone for [2-6]\ds", note(real, "a"))
        change(real, "a", failures=failures, failed=time.time() - pause - 1)
        done = ensure(real).exits(1)
        assert "it exited with status 4" in done.err, failures
        assert real.record("a")["failures"] == failures + 1
    assert "'multi ensure' leaves it alone for " in real.inside("status", "a").out


def test_a_clock_that_is_set_back_is_no_reason_to_wait_longer(real: Real) -> None:
    """The pause never gets longer than it is."""
    fails(real)
    ensure(real).exits(1)
    change(real, "a", failed=time.time() + 1e6)
    assert re.search(r"leaves it alone for (18|19|20)s", note(real, "a"))


def test_the_bad_release_is_mended(real: Real) -> None:
    """When the pause is over and the node starts well, it runs; `start` and `restart` need not wait for that."""
    fails(real)
    ensure(real).exits(1)
    (real.base / "good").touch()
    silent(ensure(real), 1)
    change(real, "a", failed=time.time() - 3600)
    ensure(real).ok()
    assert real.state("a") == {"a": "running"}
    assert real.record("a")["failures"] == 2, "it has not proved yet that it lives"
    kill(real, "a")
    change(real, "a", failed=time.time() - 21)
    ensure(real).ok()
    assert real.record("a")["failures"] == 3
    real.multi("restart", "a").ok()
    assert real.record("a")["failures"] == 0


def test_who_ran_well_for_long_begins_anew(real: Real) -> None:
    """After ten minutes of life a death is a first one."""
    real.start("a").ok()
    change(real, "a", failures=7, failed=time.time() - 3700, started=time.time() - 700)
    kill(real, "a")
    ensure(real).ok()
    assert real.record("a")["failures"] == 1


def test_a_start_that_failed_is_tried_again(real: Real) -> None:
    """`start` said that it failed; the node is wanted all the same."""
    good = real.base / "good"
    code = f"import os, sys, time; os.path.exists({str(good)!r}) or sys.exit(4); time.sleep(600)"
    real.start("a", "--restart-delay=10", cmd=real.shell_words(code), startsecs=0.2).exits(1)
    silent(ensure(real), 1)
    good.touch()
    change(real, "a", failed=time.time() - 11)
    ensure(real).ok()
    assert real.state("a") == {"a": "running"}


def test_one_that_fails_holds_up_no_other(real: Real) -> None:
    """Each node has a patience of its own."""
    fails(real)
    real.start("b").ok()
    kill(real, "b")
    done = ensure(real).exits(1)
    assert "a@" in done.err
    assert "b@" in done.out
    assert real.state("a", "b") == {"a": "dead", "b": "running"}


def test_dry_run_says_it_and_does_nothing(real: Real) -> None:
    """`--dry-run`: what would be started, what is left alone and for how long."""
    real.start("a", "b").ok()
    kill(real, "a")
    done = real.multi("ensure", "--dry-run").ok()
    assert "start: sleep 600" in done.out
    assert not real.processes("a")
    change(real, "a", failures=5, failed=time.time())
    done = real.multi("ensure", "--dry-run").exits(1)
    assert "left alone for" in done.out
