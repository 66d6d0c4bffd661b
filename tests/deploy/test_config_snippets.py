"""What is shipped for logrotate, monit, supervisord and launchd, checked by these tools themselves and run by them."""

from __future__ import annotations

import configparser
import itertools
import plistlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchd import faults
from multi.model.schedule import Schedule
from multi.settings.presets import load
from private_machine import BIN, CHECKOUT, PROJECT, USER, USER_ID, Done, Host, machine, need
from real import until

QUICK = "-P solo --without-gossip --without-mingle --without-heartbeat"
NODES = f"""\
[defaults]
workdir = "{PROJECT}"
pidfile = "/run/celery/%n.pid"
logfile = "/var/log/celery/%n%I.log"

[groups.workers]
nodes = ["w1", "w2"]
options = "-A tasks -l INFO {QUICK}"

[nodes.ticker]
preset = "exec"
cmd = ["sh", "{PROJECT}/ticker"]
startsecs = 0.1
"""
TICKS = f"{PROJECT}/ticks"  # all of them, which nobody rotates
TICKER = f"""\
while :; do
    now=$(date +%s.%N)
    echo "$now" >>{TICKS}
    echo "$now"
    sleep 0.02
done
"""
PATIENCE = 180.0  # seconds; a deadline, not a wait


def shipped(path: str) -> str:
    """What is shipped, with this environment's multi in the place of the one of the example."""
    text = (CHECKOUT / "config" / path).read_text(encoding="utf-8")
    return text.replace("/opt/celery/venv/bin/multi", str(BIN / "multi"))


@pytest.fixture
def host() -> Iterator[Host]:
    """Give a machine with three nodes in /etc/multi/multi.toml and their directories."""
    need("unshare", "nsenter", "setpriv")
    with machine() as made:
        made.app()
        made.write("/etc/multi/multi.toml", NODES)
        made.write(f"{PROJECT}/ticker", TICKER)
        made.shell("install -d -o celery -g celery /run/celery /var/log/celery").ok()
        yield made


def multi(host: Host, *words: str) -> Done:
    """Run a command by hand, as the workers' user."""
    return host.run(str(BIN / "multi"), *words, user=USER, env={"MULTI_CONFIG": "/etc/multi/multi.toml"})


def pid(host: Host, name: str) -> int:
    """The pid in a node's pidfile, 0 when there is none: a start under way may take it away again."""
    try:
        return host.pid(f"/run/celery/{name}.pid")
    except FileNotFoundError:
        return 0


def runs(host: Host, name: str, *besides: int) -> bool:
    """Whether a node has a living process, none of `besides`."""
    found = pid(host, name)
    return found not in {0, *besides} and host.alive(found)


# --- what they say -------------------------------------------------------------------------------------


def test_nobody_is_less_patient_than_the_stop_schedule() -> None:
    """G6: whoever may send KILL waits longer than Celery's stop schedule takes, and than a start takes."""
    stop = load("celery").defaults["stop_schedule"]
    assert isinstance(stop, Schedule)
    whole, ready = stop.total, 60.0
    for unit in ("multi.service", "multi@.service", "multi-run@.service"):
        text = shipped(f"systemd/{unit}")
        assert _number(r"^TimeoutStopSec=(\d+)$", text) > whole
        assert _number(r"^TimeoutStartSec=(\d+)$", text) > whole + ready
    text = shipped("monit/multi")
    assert _number(r"stop program = .*\n.* with timeout (\d+) seconds", text) > whole
    assert _number(r" start program = .*\n.* with timeout (\d+) seconds", text) > whole + ready
    assert _number(r"restart program = .*\n.* with timeout (\d+) seconds", text) > 2 * whole + ready
    assert _number(r"^stopwaitsecs=(\d+)$", shipped("supervisord/multi.conf")) > whole
    assert plistlib.loads(shipped("launchd/org.celeryq.multi.plist").encode())["ExitTimeOut"] > whole


def _number(pattern: str, text: str) -> float:
    """The smallest number that the pattern finds."""
    return min(float(number) for number in re.findall(pattern, text, re.MULTILINE))


def test_launchd_property_list() -> None:
    """It is a property list whose keys and types are those of launchd.plist(5); on macOS plutil agrees."""
    path = CHECKOUT / "config/launchd/org.celeryq.multi.plist"
    found = plistlib.loads(path.read_bytes())
    assert faults(found) == []
    assert found["Label"] == path.stem
    assert found["ProgramArguments"][1:] == ["run", "--multi-config=/etc/multi/multi.toml"]
    if sys.platform == "darwin":
        subprocess.run(["plutil", "-lint", str(path)], check=True)


def test_monit_control_file(tmp_path: Path) -> None:
    """Monit finds no fault in its control file, and does find one in a bad copy."""
    need("monit")
    path = tmp_path / "monitrc"

    def check(text: str) -> int:
        path.write_text(f"set daemon 30\nset idfile {tmp_path}/id\nset statefile {tmp_path}/state\n{text}")
        path.chmod(0o600)
        return subprocess.run(["monit", "-t", "-c", str(path)], capture_output=True, check=False).returncode

    text = shipped("monit/multi").replace('"celery" and gid "celery"', '"daemon" and gid "daemon"')  # who is there
    assert check(text) == 0
    assert check(text.replace("with pidfile", "with pidifle")) != 0


def test_logrotate_configuration(tmp_path: Path) -> None:
    """Logrotate finds no fault in its configuration, and does find one in a bad copy."""
    need("logrotate")
    path = tmp_path / "multi"

    def check(text: str) -> tuple[int, str]:
        path.write_text(text)
        path.chmod(0o600)
        words = ["/usr/sbin/logrotate", "--debug", "--state", str(tmp_path / "state"), str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, "\n".join(line for line in done.stderr.splitlines() if "error" in line)

    text = re.sub("su celery celery", "su daemon daemon", shipped("logrotate.d/multi"))  # a user that is there
    assert check(text) == (0, "")
    code, errors = check(text.replace("copytruncate\n", "copytruncat\n"))
    assert code != 0 or errors


# --- what they do ---------------------------------------------------------------------------------------


@pytest.mark.engine
def test_logrotate_rotates_under_running_nodes(host: Host) -> None:
    """A log is rotated while it is written: no hole, and nothing lost but what was written meanwhile."""
    need("logrotate")
    host.write("/etc/logrotate.d/multi", shipped("logrotate.d/multi"))
    multi(host, "start", "w1", "ticker").ok()
    before = {name: pid(host, name) for name in ("w1", "ticker")}
    until(lambda: host.read("/var/log/celery/ticker.log").count("\n") > 10, "the ticker ticks")
    rotate = ("logrotate", "--force", "--state", "/var/spool/state", "/etc/logrotate.d/multi")
    began = time.time()
    host.run(*rotate).ok()
    ended = time.time()
    until(lambda: host.read("/var/log/celery/ticker.log").count("\n") > 10, "the ticker ticks on in the same log")
    assert {name: pid(host, name) for name in before} == before
    assert all(map(host.alive, before.values()))
    assert " ready." in host.read("/var/log/celery/w1.log.1")
    assert " ready." not in host.read("/var/log/celery/w1.log")
    kept = _lines(host.read("/var/log/celery/ticker.log.1")) + _lines(host.read("/var/log/celery/ticker.log"))
    assert kept == sorted(kept)
    for tick, following in itertools.pairwise(_lines(host.read(TICKS))):
        if tick not in kept and following <= kept[-1]:
            # Written before the next one was thought of, so not before logrotate began.
            assert float(following) >= began
            assert float(tick) <= ended
    assert host.path("/var/log/celery/ticker.log.1").stat().st_uid == USER_ID

    host.run("kill", "-HUP", str(before["w1"])).ok()
    until(lambda: " ready." in host.read("/var/log/celery/w1.log"), "the worker writes to the new log", PATIENCE)
    assert "\0" not in host.read("/var/log/celery/w1.log") + host.read("/var/log/celery/ticker.log")
    host.run(*rotate).ok()
    assert host.exists("/var/log/celery/w1.log.2.gz")


def _lines(text: str) -> list[str]:
    """The whole lines of the ticker: its last one may be under way."""
    return [line for line in text.split("\n")[:-1] if re.fullmatch(r"\d{10}\.\d{9}", line)]


@pytest.mark.engine
def test_monit_starts_and_keeps_nodes(host: Host) -> None:
    """Monit starts the nodes as the workers' user, starts again what died, and stops them whole."""
    need("monit")
    host.write(
        "/etc/monitrc",
        "set daemon 1\nset log /var/log/monit.log\nset idfile /run/monit.id\nset statefile /run/monit.state\n"
        "set httpd unixsocket /run/monit.sock\n    allow root:root\n" + shipped("monit/multi"),
        mode=0o600,
    )
    with host.daemon("monit", "-I", "-c", "/etc/monitrc"):
        until(lambda: runs(host, "w1") and runs(host, "w2"), "monit has started the nodes", PATIENCE)
        first = {name: pid(host, name) for name in ("w1", "w2")}
        assert host.status(first["w1"])["Uid"].split() == [str(USER_ID)] * 4
        assert host.status(first["w1"])["Gid"].split() == [str(USER_ID)] * 4
        log = "/var/log/monit.log"
        until(lambda: host.read(log).count("process is running") >= 2, "monit sees that they run", PATIENCE)
        host.run("kill", "-KILL", str(first["w1"])).ok()
        until(lambda: runs(host, "w1", first["w1"]), "monit has started w1 again", PATIENCE)
        assert pid(host, "w2") == first["w2"]
        host.run("monit", "-c", "/etc/monitrc", "-g", "celery", "stop").ok()
        until(lambda: not host.processes(), "monit has stopped the nodes", PATIENCE)
        # The pidfile of the last goes a moment after it; 3 is worse than 0, but not than 1.
        until(lambda: multi(host, "status", "w1", "w2").code == 3, "nothing is left of them", PATIENCE)


@pytest.mark.engine
def test_supervisord_runs_nodes(host: Host) -> None:
    """Supervisord runs each node through multi, starts again what died, and stops a node by its schedule."""
    need("supervisord", "supervisorctl")
    host.write(
        "/etc/supervisord.conf",
        "[supervisord]\nnodaemon=true\nlogfile=/var/log/supervisord.log\npidfile=/run/supervisord.pid\nuser=root\n"
        "[unix_http_server]\nfile=/run/supervisor.sock\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        "[supervisorctl]\nserverurl=unix:///run/supervisor.sock\n"
        + re.sub(r"^startsecs=\d+$", "startsecs=1", shipped("supervisord/multi.conf"), flags=re.MULTILINE),
    )

    def control(*words: str) -> str:
        return host.run("supervisorctl", "-c", "/etc/supervisord.conf", *words, seconds=PATIENCE).out

    with host.daemon("supervisord", "-n", "-c", "/etc/supervisord.conf"):
        until(lambda: control("status").count("RUNNING") == 2, "supervisord runs both nodes", PATIENCE)
        until(lambda: runs(host, "w1") and runs(host, "w2"), "both nodes run", PATIENCE)
        first = {name: pid(host, name) for name in ("w1", "w2")}
        assert host.status(first["w1"])["Uid"].split() == [str(USER_ID)] * 4
        until(lambda: multi(host, "status", "w1", "w2").code == 0, "multi sees them as everywhere", PATIENCE)
        host.run("kill", "-KILL", str(first["w1"])).ok()
        until(lambda: runs(host, "w1", first["w1"]), "supervisord has started w1 again", PATIENCE)
        assert pid(host, "w2") == first["w2"]
        began = time.monotonic()
        control("stop", "celery:*")
        assert host.processes() == []
        assert time.monotonic() - began < PATIENCE
        assert "STOPPED" in control("status")
        assert multi(host, "status", "w1", "w2").code == 3


def test_supervisord_configuration() -> None:
    """Its sections and options are those of supervisord, which says nothing of ones that it does not know."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(shipped("supervisord/multi.conf"))
    known = {
        *("process_name", "numprocs", "numprocs_start", "command", "user", "directory", "autorestart", "exitcodes"),
        *("startsecs", "startretries", "stopsignal", "stopwaitsecs", "stopasgroup", "killasgroup", "redirect_stderr"),
        "stdout_logfile",
    }
    assert parser.sections() == ["program:celery"]
    assert set(parser["program:celery"]) <= known
