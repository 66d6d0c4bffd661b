"""A machine changes from celery multi to multi, and back, while its workers run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import private_machine
from private_machine import BIN, PROJECT, USER, USER_ID, Host, need
from real import Real, alive, stat, until

pytestmark = pytest.mark.engine  # workers of two programs, started and stopped in turn

EXAMPLE = Path(__file__).parents[2] / "examples/celery_app"
APP = ("-A", "tasks", "-l", "INFO")
# Workers that notice a stop within seconds: with this broker, a prefork pool takes longer to end than to start.
QUICK = ("-P", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat")
PATIENCE = 180.0  # seconds; a deadline, not a wait


@pytest.fixture
def live(real: Real) -> Iterator[Real]:
    """Give a place with the example app in it. What celery multi starts is ended, too."""
    shutil.copytree(EXAMPLE, real.base / "app", ignore=shutil.ignore_patterns("data", "run", "log", "__pycache__"))
    real.env.pop("PYTHONWARNINGS")  # Celery's own are none of ours
    real.env.update(PYTHONPATH=str(real.base / "app"), CELERY_APP_DATA=str(real.base / "data"), C_FORCE_ROOT="1")
    real.run.mkdir()
    real.log.mkdir()
    yield real
    for pid in real.family():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not real.family(), "every worker is gone")


def celery(live: Real, *words: str) -> str:
    """Run ``celery WORDS`` to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", *words],
        env=live.env,
        cwd=live.base,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


def celery_multi(live: Real, command: str, *words: str) -> str:
    """Run ``celery multi COMMAND`` on w1 and w2, with the files that `multi` is told of."""
    return celery(live, "multi", command, "w1", "w2", f"--pidfile={live.run}/%n.pid", *words)


def started_by_celery(live: Real) -> dict[str, int]:
    """Two workers under celery multi that are ready; name -> pid."""
    celery_multi(live, "start", *APP, f"--logfile={live.log}/%n.log", *QUICK)
    until(lambda: readies(live) == [1, 1], "both are ready", PATIENCE)
    return {name: live.pid(name) for name in ("w1", "w2")}


def said(live: Real, name: str) -> str:
    """The log of a node."""
    path = live.logfile(name)
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def readies(live: Real) -> list[int]:
    """How often each of the two workers has said that it is ready."""
    return [said(live, name).count(" ready.") for name in ("w1", "w2")]


def drive(live: Real, *words: str) -> str:
    """Send a task to the workers, or ask for its result; see the example."""
    done = subprocess.run(
        [sys.executable, str(live.base / "app/drive.py"), *words],
        env=live.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout.strip()


def logged(live: Real) -> str:
    """The option that says where the logs are."""
    return f"--logfile={live.log}/%n.log"


# --- from celery multi to multi -------------------------------------------------------------------------


def test_what_celery_multi_started_is_seen_and_left_alone(live: Real) -> None:
    """Status shows the workers of celery multi, start finds them running, and nothing is written by looking."""
    pids = started_by_celery(live)
    before = sorted(path.name for path in live.run.iterdir())
    status = live.multi("status", "w1", "w2", "--json").ok()
    assert {view["name"]: (view["state"], view["pid"]) for view in json.loads(status.out)} == {
        name: ("running", pid) for name, pid in pids.items()
    }
    assert sorted(path.name for path in live.run.iterdir()) == before
    done = live.multi("start", "w1", "w2", *APP, logged(live), *QUICK).ok()
    assert done.out.count("already running") == 2
    assert {name: live.pid(name) for name in pids} == pids
    assert all(alive(pid) for pid in pids.values())
    unnamed = live.multi("status").exits(3)
    assert f"{live.run} holds pidfiles of other tools, which are left alone unless named: w1 w2" in unnamed.err


def test_what_celery_multi_started_is_restarted_warm(live: Real) -> None:
    """Restart, with the words that started them, lets the running task finish and takes the nodes over for good."""
    pids = started_by_celery(live)
    task = drive(live, "begin", "sleep_for", "3")
    live.multi("restart", "w1", "w2", *APP, logged(live), *QUICK).ok()
    assert not any(alive(pid) for pid in pids.values())
    assert drive(live, "result", task, "--timeout", "5").startswith(f"{task} = ")
    assert live.state() == {"w1": "running", "w2": "running"}
    assert not {live.pid(name) for name in pids} & set(pids.values())
    first = live.pid("w1")
    live.multi("restart", "w1").ok()
    assert live.pid("w1") != first, "from now on the words are on record"
    live.multi("kill").ok()


def test_a_restart_without_words_does_not_lose_them(live: Real) -> None:
    """G9: what celery multi started has no record, so a restart without options is refused before anything is done."""
    pids = started_by_celery(live)
    done = live.multi("restart", "w1", "w2").exits(2)
    assert "has a pidfile but no record of its command, because another tool started it" in done.err
    assert all(alive(pid) for pid in pids.values())


def test_g6_what_celery_multi_started_is_not_ended_by_a_reload(live: Real) -> None:
    """G6: HUP ends a worker that celery multi started, so a reload is refused and says so; a signal is a signal."""
    pids = started_by_celery(live)
    for words in (("reload", "w1", "w2"), ("reload", "--dry-run", "w1", "w2")):
        done = live.multi(*words).exits(1)
        assert (done.out + done.err).count("HUP would end it") == 2
    assert all(alive(pid) for pid in pids.values())
    live.multi("restart", "w1", *APP, logged(live), *QUICK).ok()
    live.multi("reload", "w1").ok()
    live.multi("signal", "-HUP", "w2").ok()
    live.multi("wait", "--down", "--timeout=60", "w2").ok()
    live.multi("kill", "w1").ok()


def test_what_celery_multi_started_is_stopped_whole(live: Real) -> None:
    """G5: stopwait ends the workers of celery multi with their pool processes, and clears their pidfiles."""
    celery_multi(live, "start", *APP, logged(live), "-c", "2")
    until(lambda: readies(live) == [1, 1], "both are ready", PATIENCE)
    assert len(live.family()) == 6
    live.multi("stop", "w1").ok()
    live.multi("stopwait", "w1", "w2").ok()
    assert live.family() == []
    assert list(live.run.glob("*.pid")) == []
    live.multi("status", "w1", "w2").exits(3)


def test_what_celery_multi_started_can_be_signalled_and_killed(live: Real) -> None:
    """A signal reaches the main process, and kill ends the whole tree, of a worker that celery multi started."""
    celery_multi(live, "start", *APP, logged(live), "-c", "2")
    until(lambda: readies(live) == [1, 1], "both are ready", PATIENCE)
    first = live.pid("w1")
    live.multi("signal", "-QUIT", "w1").ok()
    live.multi("wait", "--down", "--timeout=60", "w1").ok()
    assert not alive(first)
    live.multi("kill", "w1", "w2").ok()
    assert live.family() == []
    assert list(live.run.glob("*.pid")) == []


def test_a_detached_beat_is_taken_over(live: Real) -> None:
    """Beat, which Celery detached by itself, is known by the pidfile that it was told to write."""
    pidfile = live.pidfile("beat")
    files = (f"--pidfile={pidfile}", f"--logfile={live.logfile('beat')}")
    celery(live, *APP[:2], "beat", *APP[2:], "--detach", *files, "-s", str(live.base / "schedule"))
    until(lambda: pidfile.exists() and pidfile.read_text(), "beat has written its pidfile", PATIENCE)
    pid = live.pid("beat")
    until(lambda: "beat: Starting" in said(live, "beat"), "beat has started", PATIENCE)
    status = live.multi("status", "beat", "--preset=celery-beat", "--json").ok()
    assert json.loads(status.out)[0]["pid"] == pid
    words = ("--preset=celery-beat", *APP, logged(live), "-s", str(live.base / "schedule"))
    live.multi("restart", "beat", *words).ok()
    assert not alive(pid)
    assert alive(live.pid("beat"))
    live.multi("stopwait", "beat").ok()
    assert live.family() == []


# --- from multi to what was there before ------------------------------------------------------------------


def started_by_multi(live: Real) -> dict[str, int]:
    """Two ready workers under `multi`; name -> pid."""
    live.multi("start", "w1", "w2", *APP, logged(live), *QUICK).ok()
    return {name: live.pid(name) for name in ("w1", "w2")}


def test_celery_multi_stops_what_multi_started(live: Real) -> None:
    """The pidfiles of multi are as good to celery multi as its own; multi sees the truth afterwards and goes on."""
    pids = started_by_multi(live)
    celery_multi(live, "stopwait")
    assert not any(alive(pid) for pid in pids.values())
    assert set(live.state("w1", "w2").values()) <= {"stopped", "dead"}
    live.multi("status", "w1", "w2")
    again = started_by_multi(live)
    assert not set(again.values()) & set(pids.values())
    live.multi("kill").ok()
    assert live.family() == []


def test_celery_multi_restarts_what_multi_started(live: Real) -> None:
    """After celery multi has restarted the nodes, multi knows the new processes, despite its records of the old."""
    pids = started_by_multi(live)
    celery_multi(live, "restart", *APP, logged(live), *QUICK)
    until(lambda: readies(live) == [2, 2], "both are ready again", PATIENCE)
    again = {name: live.pid(name) for name in pids}
    assert not set(again.values()) & set(pids.values())
    assert live.state("w1", "w2") == {"w1": "running", "w2": "running"}
    live.multi("stopwait", "w1", "w2").ok()
    assert live.family() == []


def test_celery_multi_kills_what_multi_started(live: Real) -> None:
    """Celery's kill finds the process; multi then says dead, exit 1, and starts it again."""
    pids = started_by_multi(live)
    celery_multi(live, "kill")
    until(lambda: not any(alive(pid) for pid in pids.values()), "both are dead")
    live.multi("status", "w1", "w2").exits(1)
    live.multi("start", "w1", "w2", *APP, logged(live), *QUICK).ok()
    live.multi("kill").ok()


def test_pidfiles_are_what_other_tools_expect(live: Real) -> None:
    """A shell, pgrep and start-stop-daemon read the pidfile of multi and mean the worker by it."""
    need("start-stop-daemon", "pgrep", root=False)
    pid = started_by_multi(live)["w1"]
    pidfile = live.pidfile("w1")

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        tool = private_machine.find(words[0]) or words[0]
        return subprocess.run([tool, *words[1:]], capture_output=True, text=True, check=False, timeout=PATIENCE)

    assert ask("sh", "-c", f'kill -0 "$(cat {pidfile})"').returncode == 0
    assert ask("pgrep", "-F", str(pidfile)).stdout.split() == [str(pid)]
    assert ask("start-stop-daemon", "--status", "--pidfile", str(pidfile)).returncode == 0
    stop = ask("start-stop-daemon", "--stop", "--retry=TERM/60/KILL/5", "--pidfile", str(pidfile))
    assert stop.returncode == 0, stop
    found = stat(pid)
    assert found is None or found.state == "Z"
    assert live.state("w1", "w2") == {"w1": "dead", "w2": "running"}
    live.multi("kill").ok()


# --- init scripts -------------------------------------------------------------------------------------------


@pytest.fixture
def host() -> Iterator[Host]:
    """Give a machine with multid, configured as for Celery's script."""
    need("unshare", "nsenter", "setpriv", "su")
    with private_machine.machine() as made:
        made.install("scripts/init.d/multid", "/etc/init.d/multid")
        made.app()
        made.write(
            "/etc/default/celeryd",
            f'CELERYD_NODES="w1 w2"\nCELERY_BIN="{BIN}/celery"\nCELERY_APP=tasks\nCELERYD_CHDIR={PROJECT}\n'
            f'CELERYD_OPTS="{" ".join(QUICK)}"\n',
        )
        yield made


def celerys_script(host: Host, command: str) -> None:
    """Do what Celery's script does: become the user by su, and call celery multi."""
    files = "--pidfile=/var/run/celery/%n.pid --logfile=/var/log/celery/%n%I.log --loglevel=INFO"
    line = f"{BIN}/celery multi {command} w1 w2 --workdir={PROJECT} {files} --app=tasks {' '.join(QUICK)}"
    host.run("su", "-s", "/bin/sh", USER, "-c", line).ok()


def test_the_init_scripts_change_places(host: Host) -> None:
    """The script multid takes over what Celery's script started as the workers' user, and the other way round."""

    def pids() -> dict[str, int]:
        return {name: host.pid(f"/run/celery/{name}.pid") for name in ("w1", "w2")}

    def multid(verb: str) -> private_machine.Done:
        return host.run("/etc/init.d/multid", verb)

    multid("create-paths").ok()
    celerys_script(host, "start")
    logs = [f"/var/log/celery/{name}.log" for name in ("w1", "w2")]
    until(lambda: all(" ready." in host.read(log) for log in logs), "both are ready", PATIENCE)
    first = pids()
    multid("status").ok()
    multid("start").ok()
    assert pids() == first
    multid("restart").ok()
    second = pids()
    assert not set(second.values()) & set(first.values())
    assert not any(host.alive(pid) for pid in first.values())
    celerys_script(host, "stopwait")
    assert host.processes(user=USER_ID) == []
    assert multid("status").code in {1, 3}
    multid("start").ok()
    multid("stop").ok()
    multid("status").exits(3)
