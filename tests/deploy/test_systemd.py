"""The systemd units, checked by systemd's own tool and run under a real systemd with real Celery workers."""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from awkward import KNOTS, UNICODE, VALUES, exact
from multi.export import environment, sandbox
from multi.export.systemd import target
from multi.settings.envfile import parse_env_file
from private_machine import BIN, CHECKOUT, NO_LIMITS, STRANGER, STRANGER_ID, USER, USER_ID, Host, need
from real import WORKER, as_argv, stays, until
from system_machine import Booted, machine

pytestmark = pytest.mark.engine  # boots machines

UNITS = CHECKOUT / "config/systemd"
SERVICES = (
    *("multi.service", "multi@.service", "multi-run@.service", "multi-beat.service"),
    *("multi-ensure.service", "multi-ensure.timer", "multi.target"),
)
PROJECT = "/opt/celery"
# Workers that notice a stop within seconds: with this broker, a prefork pool takes longer to end than to start.
QUICK = "-P solo --without-gossip --without-mingle --without-heartbeat"
CONFIG = f"""\
# as in Celery's documentation
CELERYD_NODES="w1 w2"
CELERY_BIN="{BIN}/celery"
CELERY_APP="tasks"
CELERYD_OPTS="{QUICK}"
CELERYD_PID_FILE="/run/celery/%n.pid"
CELERYD_LOG_FILE="/var/log/celery/%n%I.log"
CELERYD_LOG_LEVEL="INFO"
CELERYBEAT_PID_FILE="/run/celery/beat.pid"
CELERYBEAT_LOG_FILE="/var/log/celery/beat.log"
"""
RACES = re.compile(
    r"PID file|not our child|does not belong|[Gg]uess|left-over|remains running|timed out", re.IGNORECASE
)


# --- without a machine ------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", SERVICES)
def test_units_are_clean(unit: str, tmp_path: Path) -> None:
    """systemd-analyze verify finds nothing in a unit, and does find something in a bad copy of it."""
    need("systemd-analyze")
    for name in SERVICES:
        (tmp_path / name).write_text((UNITS / name).read_text(encoding="utf-8"), encoding="utf-8")
    instance = tmp_path / unit.replace("@.", "@w1.")

    def verify() -> subprocess.CompletedProcess[str]:
        words = ["systemd-analyze", "verify", "--man=no", str(instance)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    done = verify()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    bad = tmp_path / unit
    swaps = {"Type=": "Tpye=", "OnCalendar=m": "OnCalendar=x", "WantedBy=multi-": "WantdBy=multi-"}
    text = bad.read_text(encoding="utf-8")
    for good, wrong in swaps.items():
        text = text.replace(good, wrong)
    bad.write_text(text, encoding="utf-8")
    assert unit.partition(".")[0] in verify().stderr


@pytest.mark.parametrize("unit", [name for name in SERVICES if name.endswith(".service")])
def test_units_take_away_what_workers_do_without(unit: str, tmp_path: Path) -> None:
    """The exposure of a shipped unit is below 5, and nodes that the timer starts have no more rights than others."""
    need("systemd-analyze", root=False)
    path = tmp_path / unit
    path.write_text((UNITS / unit).read_text(encoding="utf-8"), encoding="utf-8")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=50", "--no-pager", str(path)]
    rated = subprocess.run(words, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout
    lines = sandbox.lines(root=False, user_manager=False, keeps=True)[1:]
    assert set(lines) <= set(path.read_text(encoding="utf-8").splitlines())


def test_the_shipped_target_is_the_exported_one() -> None:
    """Shipped and exported units are started and stopped together."""
    assert (UNITS / "multi.target").read_text(encoding="utf-8") == target(user_manager=False)


# --- on a machine -----------------------------------------------------------------------------------------


@pytest.fixture
def booted() -> Iterator[Booted]:
    """Give a machine that systemd runs, with the units installed and configured; `celery` is the workers' user."""
    need("systemd-nspawn", "systemctl", "dbus-daemon", "nsenter", "setpriv")
    with machine() as made:
        for name in SERVICES:
            made.host.install(f"config/systemd/{name}", f"/etc/systemd/system/{name}", 0o644)
            # The pause before a restart is the only thing that the tests change.
            if "Restart=" in (UNITS / name).read_text(encoding="utf-8"):
                made.host.write(f"/etc/systemd/system/{name}.d/soon.conf", "[Service]\nRestartSec=0.5\n")
        made.host.install("config/systemd/tmpfiles.d/celery.conf", "/etc/tmpfiles.d/celery.conf", 0o644)
        made.host.write("/etc/conf.d/celery", CONFIG)
        made.host.app(PROJECT)
        made.host.run("systemd-tmpfiles", "--create", "celery.conf").ok()
        made.host.run("systemctl", "daemon-reload").ok()
        yield made


def show(host: Host, unit: str, what: str) -> str:
    """One property of a unit."""
    return host.run("systemctl", "show", "--value", f"--property={what}", unit).ok().out.strip()


def journal(host: Host) -> str:
    """Everything that was logged since the machine was made."""
    return host.run("journalctl", "--no-pager", "--output=cat").ok().out


def pid_of(host: Host, name: str) -> int:
    """The pid in a node's pidfile, 0 when there is none."""
    try:
        return host.pid(f"/run/celery/{name}.pid")
    except FileNotFoundError:
        return 0


def members(host: Host, unit: str) -> set[int]:
    """The processes in a unit's control group, as systemctl status lists them."""
    return set(map(int, re.findall(r"[├└]─ *(\d+) ", host.run("systemctl", "status", "--no-pager", unit).out)))


def kill(host: Host, pid: int) -> None:
    """End a process as the kernel does when memory runs out."""
    host.run("kill", "-KILL", str(pid)).ok()
    until(lambda: not host.alive(pid), f"pid {pid} is gone")


def runs(host: Host, name: str, *besides: int) -> bool:
    """Whether a node has a living process, none of `besides`."""
    pid = pid_of(host, name)
    return pid not in {0, *besides} and host.alive(pid)


def test_directories(booted: Booted) -> None:
    """tmpfiles.d makes the directories of the workers' user, again at every boot."""

    def owners() -> dict[str, tuple[int, int]]:
        places = [booted.host.path(place).stat() for place in ("/run/celery", "/var/log/celery", "/var/lib/celery")]
        return dict(zip(("run", "log", "lib"), ((at.st_uid, at.st_mode & 0o7777) for at in places), strict=True))

    expected = {"run": (USER_ID, 0o755), "log": (USER_ID, 0o755), "lib": (USER_ID, 0o750)}
    assert owners() == expected
    booted.reboot()
    assert owners() == expected


def test_one_node_a_unit(booted: Booted) -> None:
    """multi@: systemd knows the worker as the main process, through start, reload, restart, a crash and stop."""
    host = booted.host
    host.shell("rm -r /run/celery /var/log/celery").ok()  # the units make them
    host.run("systemctl", "start", "multi@w1", "multi@w2").ok()
    first = pid_of(host, "w1")
    assert show(host, "multi@w1", "MainPID") == str(first)
    assert host.status(first)["Uid"].split() == [str(USER_ID)] * 4
    status = host.run("systemctl", "status", "--no-pager", "multi@w1").ok().out
    assert "active (running)" in status
    assert f"Main PID: {first}" in status
    assert "ready after" in status, "the journal has what multi said"
    answer = host.shell(f"cd {PROJECT} && {BIN}/python drive.py call add 2 3", user=USER).ok()
    assert "= 5, by w" in answer.out

    host.run("systemctl", "reload", "multi@w1").ok()
    second = pid_of(host, "w1")
    assert second != first
    assert show(host, "multi@w1", "MainPID") == str(second)
    assert show(host, "multi@w1", "ActiveState") == "active"

    kill(host, second)
    until(lambda: runs(host, "w1", second), "systemd has started w1 again")
    until(lambda: show(host, "multi@w1", "ActiveState") == "active", "w1 is up again")
    third = pid_of(host, "w1")
    assert show(host, "multi@w1", "MainPID") == str(third)
    assert show(host, "multi@w1", "NRestarts") == "1"
    assert show(host, "multi@w2", "NRestarts") == "0"

    host.run("systemctl", "restart", "multi@w1").ok()
    assert pid_of(host, "w1") != third
    host.run("systemctl", "stop", "multi@w1").ok()
    assert runs(host, "w2"), "its files stay when another unit stops"
    host.run("systemctl", "stop", "multi.target").ok()  # which does not wait for its units
    until(lambda: host.processes() == [], "all are stopped")
    until(lambda: show(host, "multi@w2", "ActiveState") == "inactive", "multi has cleared its files")
    assert not host.exists("/run/celery/w1.pid")
    assert host.exists("/run/celery/w1.json"), "it stays on record"
    assert show(host, "multi@w1", "Result") == "success"
    assert show(host, "multi@w1", "ActiveState") == "inactive"
    assert "Warm shutdown" in host.read("/var/log/celery/w1.log")
    assert not RACES.findall(journal(host))


def test_a_pidfile_is_there_before_systemd_asks(booted: Booted) -> None:
    """Type=forking with PIDFile= and one node: over many quick starts systemd never waits, guesses or complains."""
    host = booted.host
    host.write(
        "/etc/systemd/system/quick.service",
        f"""\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=forking
PIDFile=/run/celery/quick.pid
User=celery
ExecStart={BIN}/multi start quick --preset=exec --cmd='sleep 1000' --startsecs=0 --pidfile=/run/celery/%%n.pid \\
    --logfile=/dev/null
ExecStop={BIN}/multi stopwait quick --preset=exec --pidfile=/run/celery/%%n.pid
Restart=always
RestartSec=0
""",
    )
    host.run("systemctl", "daemon-reload").ok()
    seen = set()
    for _ in range(10):
        host.run("systemctl", "restart", "quick").ok()
        pid = pid_of(host, "quick")
        assert show(host, "quick", "MainPID") == str(pid)
        assert members(host, "quick") == {pid}
        seen.add(pid)
    assert len(seen) == 10
    assert show(host, "quick", "NRestarts") == "0"
    for crash in range(1, 6):
        pid = pid_of(host, "quick")
        kill(host, pid)
        until(lambda: show(host, "quick", "NRestarts") == str(crash), "systemd has noticed")  # noqa: B023 -- asked in this turn only
        until(lambda: show(host, "quick", "ActiveState") == "active", "it is up again")
        assert show(host, "quick", "MainPID") == str(pid_of(host, "quick")) != str(pid)
    host.run("systemctl", "stop", "quick").ok()
    stays(lambda: not host.exists("/run/celery/quick.pid"), "it is down")
    assert not RACES.findall(journal(host))


def test_several_nodes_in_a_unit(booted: Booted) -> None:
    """multi.service: one node that dies or cannot start leaves the others alone; reload goes from node to node."""
    host = booted.host
    host.write(
        "/etc/conf.d/celery", CONFIG.replace('"w1 w2"', '"w1 w2 bad"').replace(QUICK, f"{QUICK} --cmd:bad=false")
    )
    host.run("systemctl", "start", "multi").ok()
    assert runs(host, "w1")
    assert runs(host, "w2")
    assert not runs(host, "bad")
    assert "bad@" in journal(host)
    assert "exited with status 1" in journal(host)
    host.write("/etc/conf.d/celery", CONFIG)

    first = {name: pid_of(host, name) for name in ("w1", "w2")}
    assert members(host, "multi") == set(first.values())
    kill(host, first["w1"])
    stays(lambda: show(host, "multi", "ActiveState") == "active", "the unit is up")
    assert members(host, "multi") == {first["w2"]}
    assert host.run("systemctl", "status", "multi").code == 0

    host.run("systemctl", "reload", "multi").ok()
    second = {name: pid_of(host, name) for name in ("w1", "w2")}
    assert members(host, "multi") == set(second.values())
    assert not set(first.values()) & set(second.values())
    lines = [line for line in journal(host).splitlines() if re.search(r"@.*: (sent TERM|started)", line)][-3:]
    assert [re.sub(r"@\S+:", "", line).split(",")[0].split(" to ")[0] for line in lines] == [
        "w1 started",
        "w2 sent TERM",
        "w2 started",
    ], "each is ready before the next is stopped"

    for pid in second.values():
        kill(host, pid)
    until(lambda: runs(host, "w1", second["w1"]) and runs(host, "w2", second["w2"]), "the unit has started again")
    until(lambda: show(host, "multi", "ActiveState") == "active", "the unit is up again")
    host.run("systemctl", "stop", "multi").ok()
    assert host.processes() == []
    assert show(host, "multi", "ActiveState") == "inactive"
    assert not RACES.findall(journal(host))

    host.write("/etc/conf.d/celery", CONFIG.replace(QUICK, "--cmd=false"))
    assert host.run("systemctl", "start", "multi").code != 0, "no node at all is a failure"


def test_an_init_script_as_a_unit(booted: Booted) -> None:
    """The unit that systemd makes of the init script, by its header, starts and stops the nodes."""
    need("su")
    host = booted.host
    for path in ("pam.d", "security", "login.defs"):
        host.copy(f"/etc/{path}")
    host.shell(NO_LIMITS.format(etc="/etc")).ok()
    host.install("scripts/init.d/multid", "/etc/init.d/multid")
    host.write("/etc/default/celeryd", f"{CONFIG}\nCELERYD_CHDIR={PROJECT}\n")
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", "multid").ok()
    assert show(host, "multid", "ActiveState") == "active"
    assert runs(host, "w1")
    assert runs(host, "w2")
    assert {pid_of(host, "w1"), pid_of(host, "w2")} <= members(host, "multid"), "they are in no login session"
    host.run("systemctl", "restart", "multid").ok()
    host.run("systemctl", "stop", "multid").ok()
    assert host.processes() == []
    assert "Celery workers" in show(host, "multid", "Description")


def test_a_dead_node_is_started_again_by_the_timer(booted: Booted) -> None:
    """multi-ensure.timer runs while multi.service does; what died lives again, in the unit, as the workers' user."""
    host = booted.host
    host.write("/etc/systemd/system/multi-ensure.timer.d/soon.conf", "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/1\n")
    host.write(
        "/etc/conf.d/celery",
        f"{CONFIG}\nPATH=/opt/evil:/usr/bin:/bin\nLD_PRELOAD=/opt/evil/no-such.so\n",
    )
    evil = (
        '#!/bin/sh\n[ "$(/usr/bin/id -u)" != 0 ] || echo "$0" >>/opt/evil/run-by-root\nexec "/usr/bin/${0##*/}" "$@"\n'
    )
    for name in ("busctl", "setpriv", "sh", "env"):
        host.write(f"/opt/evil/{name}", evil, mode=0o755, owner=USER_ID)
    host.run("systemctl", "enable", "multi-ensure.timer").ok()
    host.run("systemctl", "start", "multi").ok()
    until(lambda: show(host, "multi-ensure.timer", "ActiveState") == "active", "the timer runs, after multi.service")
    first = {name: pid_of(host, name) for name in ("w1", "w2")}
    said = journal(host)
    until(lambda: show(host, "multi-ensure", "ExecMainExitTimestampMonotonic") != "0", "the timer has called it once")

    def logged() -> str:
        return host.run("journalctl", "--unit=multi-ensure", "--output=cat", "--quiet").ok().out

    stays(lambda: not logged(), f"nothing is logged of what there was not to do: {logged()}", seconds=2)
    kill(host, first["w1"])
    until(lambda: runs(host, "w1", first["w1"]), "w1 lives again")
    again = pid_of(host, "w1")
    until(lambda: "consuming" in journal(host).removeprefix(said), "w1 is ready, and the journal says so")
    until(lambda: members(host, "multi") == {again, first["w2"]}, "the nodes, and only they, are in the unit")
    assert host.status(again)["Uid"].split() == [str(USER_ID)] * 4
    assert again not in members(host, "multi-ensure"), "where it would end with the command"
    assert not host.exists("/opt/evil/run-by-root")
    host.run("systemctl", "stop", "multi").ok()
    until(lambda: show(host, "multi-ensure.timer", "ActiveState") == "inactive", "the timer is stopped, too")
    stays(lambda: host.processes() == [], "what was stopped on purpose stays down", seconds=2)


@pytest.mark.parametrize(
    "settings",
    [
        f"User={STRANGER}\nGroup=\nWorkingDirectory=-/srv",
        f"User={STRANGER_ID}\nGroup={USER}\nWorkingDirectory=/srv",
        f"User={STRANGER}\nGroup={USER}\nWorkingDirectory=~",
    ],
)
def test_a_dead_node_of_another_user_is_started_again_by_the_timer(booted: Booted, settings: str) -> None:
    """Who changes user and directory of multi.service need not change them in multi-ensure.service again."""
    host = booted.host
    host.write("/etc/systemd/system/multi-ensure.timer.d/soon.conf", "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/1\n")
    host.write("/etc/systemd/system/multi.service.d/theirs.conf", f"[Service]\n{settings}\n")
    host.app("/srv/site", owner=STRANGER_ID)
    host.shell(f"mv /srv/site/* /srv; rm -r {PROJECT}; chown {STRANGER} /srv /run/celery /var/log/celery").ok()
    passwd = host.read("/etc/passwd")
    host.write("/etc/passwd", re.sub(rf"^({STRANGER}:.*):/nonexistent:", r"\1:/srv:", passwd, flags=re.MULTILINE))
    host.write("/etc/conf.d/celery", CONFIG.replace("/run/celery/%n", "../run/celery/%n"))
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "enable", "multi-ensure.timer").ok()
    host.run("systemctl", "start", "multi").ok()
    first = pid_of(host, "w1")
    kill(host, first)
    until(lambda: runs(host, "w1", first), "w1 lives again")
    found = host.status(pid_of(host, "w1"))
    assert found["Uid"].split() == [str(STRANGER_ID)] * 4
    assert found["Gid"].split() == [str(USER_ID if f"Group={USER}" in settings else STRANGER_ID)] * 4
    wanted = {"HOME=/srv", f"USER={STRANGER}", f"LOGNAME={STRANGER}"}
    environ = f"/proc/{pid_of(host, 'w1')}/environ"  # empty for a moment while it executes the worker
    until(lambda: wanted <= set(host.read(environ).split("\0")), "w1 has the variables of its user")


def test_a_reboot(booted: Booted) -> None:
    """What is enabled is stopped warm at shutdown and runs again after it, in whichever way; nothing else does."""
    host = booted.host
    host.run("systemctl", "enable", "--now", "multi", "multi@w3", "multi-run@w4", "multi-beat").ok()
    host.run("systemctl", "start", "multi@w5").ok()
    names = ("w1", "w2", "w3", "w4", "beat")
    assert all(runs(host, name) for name in names)
    booted.reboot()
    host = booted.host
    for name in names:
        until(lambda name=name: runs(host, name), f"{name} runs after the reboot")  # type: ignore[misc] # a lambda that keeps this turn's value
    assert not runs(host, "w5")
    for name in ("w1", "w2", "w3"):
        assert "Warm shutdown" in host.read(f"/var/log/celery/{name}.log")
    answer = host.shell(f"cd {PROJECT} && {BIN}/python drive.py call add 2 3", user=USER).ok()
    assert "= 5, by w" in answer.out
    assert (
        host.run("systemctl", "is-active", "multi", "multi@w3", "multi-run@w4", "multi-beat").ok().out.split()
        == ["active"] * 4
    )
    assert not RACES.findall(journal(host))


def test_a_node_in_the_foreground(booted: Booted) -> None:
    """multi-run@: systemd hears when the worker is ready, the journal has its log, multi stops it by schedule."""
    host = booted.host
    host.run("systemctl", "start", "multi-run@w1").ok()
    first = pid_of(host, "w1")
    main = int(show(host, "multi-run@w1", "MainPID"))
    assert main != first
    assert {main, first} <= members(host, "multi-run@w1")
    assert "/node-w1@" in host.shell("cat /proc/$(cat /run/celery/w1.pid)/cgroup").ok().out, "it has one of its own"
    assert show(host, "multi-run@w1", "StatusText") == "1 node running"
    assert "w1@" in journal(host)
    assert " ready." in journal(host), "the worker's own log"

    host.run("systemctl", "reload", "multi-run@w1").ok()
    until(lambda: journal(host).count(" ready.") == 2, "the worker has started again in place")
    assert pid_of(host, "w1") == first
    assert int(show(host, "multi-run@w1", "MainPID")) == main

    kill(host, first)
    until(lambda: runs(host, "w1", first), "systemd has started w1 again")
    until(lambda: show(host, "multi-run@w1", "ActiveState") == "active", "w1 is up again")
    assert "signal 9" in journal(host)
    second = pid_of(host, "w1")
    kill(host, int(show(host, "multi-run@w1", "MainPID")))
    until(lambda: runs(host, "w1", second), "systemd has ended what multi left and started again")
    until(lambda: show(host, "multi-run@w1", "ActiveState") == "active", "w1 is up again")
    assert not host.alive(second)

    host.run("systemctl", "stop", "multi-run@w1").ok()
    assert host.processes() == []
    assert "Warm shutdown" in journal(host)
    assert show(host, "multi-run@w1", "Result") == "success"

    host.write("/etc/conf.d/celery", CONFIG.replace("tasks", "no_such_app"))
    assert host.run("systemctl", "start", "multi-run@w1").code != 0
    assert "no_such_app" in journal(host)


def test_a_watchdog_of_systemd_s_is_answered(booted: Booted) -> None:
    """With `WatchdogSec=` a service that works is left alone, and one whose `multi run` hangs is started again."""
    host = booted.host
    command = f"{BIN}/multi run a --preset=exec --cmd='sleep 600' --pidfile=/run/celery/%%n.pid --startsecs=0"
    host.write(
        "/etc/systemd/system/watched.service",
        f"[Service]\nType=notify\nUser={USER}\nExecStart={command}\nWatchdogSec=3\nRestart=on-failure\nRestartSec=0.1\n"
        "KillMode=mixed\nTimeoutStopSec=5\n",
    )
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", "watched").ok()
    main = show(host, "watched", "MainPID")
    stays(lambda: show(host, "watched", "MainPID") == main, "it is left alone", 7)
    host.run("kill", "-STOP", main).ok()
    until(lambda: show(host, "watched", "NRestarts") == "1", "systemd starts it again", 60)
    assert "Watchdog timeout" in journal(host)
    host.run("systemctl", "kill", "-s", "CONT", "watched")
    host.run("systemctl", "stop", "watched")


def test_what_multi_run_tells_systemd(booted: Booted) -> None:
    """A reload is told, a stop may take longer than TimeoutStopSec, and failures have the priority of errors."""
    host = booted.host
    version = int(host.run("systemctl", "--version").ok().out.split()[1].partition(".")[0])
    reload = "Type=notify-reload" if version >= 253 else "Type=notify\nExecReload=/bin/kill -HUP $MAINPID"
    worker = shlex.join([sys.executable, "-I", "-S", WORKER, "--finish", "3", "--touch", "/run/celery/up"])
    said = f"run a --preset=exec --pidfile=/run/celery/%%n.pid --ready=file:/run/celery/up --cmd='{worker}'"
    unit = f"[Service]\n{reload}\nUser={USER}\nExecStart={BIN}/multi {said}\nTimeoutStopSec=1\nKillMode=mixed\n"
    host.write("/etc/systemd/system/slow.service", unit)
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", "slow").ok()

    def logged(*priority: str) -> str:
        return host.run("journalctl", "--unit=slow", "--output=cat", *priority).ok().out

    until(lambda: ": started," in logged("--priority=info..info"), "the journal has what it said")
    host.run("systemctl", "reload", "slow").ok()
    until(lambda: "no reload signal" in logged(), "it has reloaded")
    assert show(host, "slow", "ActiveState") == "active"
    main = show(host, "slow", "MainPID")
    host.run("systemctl", "kill", "--kill-whom=main", "--signal=HUP", "slow").ok()
    until(lambda: logged().count("no reload signal") == 2, "it has reloaded again")
    assert show(host, "slow", "MainPID") == main
    host.run("systemctl", "stop", "slow").ok()
    assert show(host, "slow", "Result") == "success"
    until(lambda: "stopped, pid" in logged(), "it had the time to say so")
    assert not RACES.findall(journal(host))

    stop = f"ExecStop={BIN}/multi stopwait a --pidfile=/run/celery/%%n.pid\nPIDFile=/run/celery/a.pid"
    forks = unit.replace(reload, f"Type=forking\nNotifyAccess=exec\n{stop}").replace("multi run", "multi start")
    host.write("/etc/systemd/system/slow.service", forks)
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", "slow").ok()
    host.run("systemctl", "stop", "slow").ok()
    assert show(host, "slow", "Result") == "success", "stopwait says, too, that it takes longer"

    host.write("/etc/systemd/system/slow.service", unit.replace(worker, "false"))
    host.run("systemctl", "daemon-reload").ok()
    assert host.run("systemctl", "start", "slow").code != 0
    until(lambda: "exited with status 1" in logged("--priority=err"), "its failure is an error")
    assert "started" not in logged("--priority=err")


def test_an_exported_unit(booted: Booted) -> None:
    """What multi export writes for a Celery node starts, says when it is ready, and can be stopped and started."""
    host = booted.host
    files = ("--pidfile=/run/celery/%n.pid", "--logfile=/var/log/celery/%n%I.log")
    who = ("--uid=celery", f"--workdir={PROJECT}")
    unit = host.run(str(BIN / "multi"), "export", "systemd", "w1", "-A", "tasks", *QUICK.split(), *files, *who).ok().out
    host.write("/etc/systemd/system/exported.service", unit)
    host.run("systemctl", "daemon-reload").ok()
    for _ in range(2):
        host.run("systemctl", "start", "exported").ok()
        main = int(show(host, "exported", "MainPID"))
        assert host.status(main)["Uid"].split() == [str(USER_ID)] * 4
        assert show(host, "exported", "StatusText").startswith("consuming")
        assert host.path("/var/log/celery/w1.log").stat().st_uid == USER_ID
        host.run("systemctl", "stop", "exported").ok()
        assert host.processes() == []


def test_g4_exported_units_wait_for_their_proofs(booted: Booted) -> None:
    """G4: a start succeeds when the node's own port accepts and what it needs is there, else it fails and says why."""
    host = booted.host
    code = "import socket, time; time.sleep(0.3); s = socket.create_server(('127.0.0.1', 8000)); time.sleep(600)"
    host.write("/opt/listen.py", code)
    listens = f"--cmd={sys.executable} -I -S /opt/listen.py"
    said = ("--preset=exec", f"--uid={USER}", "--workdir=/opt", "--cmd=sleep 600", "--ready-timeout=60")
    proofs = ("--ready:own=tcp:8000", "--ready:other=tcp:8000", "--needs:later=tcp:8000", "--needs:never=tcp:8001")
    limits = ("--ready-timeout:other=2", "--ready-timeout:never=2")
    names = ("own", "other", "later", "never")
    each = (listens.replace("--cmd", "--cmd:own"), *proofs, *limits, "--output=/etc/systemd/system")
    host.run(str(BIN / "multi"), "export", "systemd", *names, *said, *each).ok()
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", "multi-own", "multi-later").ok()
    assert host.run("systemctl", "start", "multi-other", "multi-never").code == 1
    until(lambda: "somebody else listens there" in journal(host), "the journal says whose port it is not")
    until(lambda: "it needs tcp:127.0.0.1:8001, which did not hold" in journal(host), "and what was missing")
    host.run("systemctl", "stop", *(f"multi-{name}" for name in names)).ok()
    assert host.processes() == []


def test_g11_a_unit_has_the_variables_of_its_env_file(booted: Booted) -> None:
    """G11: of made-up lines, those that `export` leaves to systemd have the same values there as in `multi`."""
    host, made = booted.host, random.Random(7)
    words = ("".join(made.choices("ab1 #;$%=&'\"\\~\u00e9,:/*?{`", k=made.randint(0, 7))) for _ in range(3000))
    lines = [f"V{number}={word}" for number, word in enumerate(words)]
    alike = [line for line in lines if environment.LINE.fullmatch(line)]
    assert 300 < len(alike) < len(lines)
    host.write("/opt/vars.env", "\n".join(alike))
    said = ("a", "--preset=exec", "--cmd=sh -c 'env -0 >/run/multi-a/out; exec sleep 600'", "--env-file=/opt/vars.env")
    ready = ("--ready=file:/run/multi-a/out", f"--uid={USER}", "--workdir=/", "--output=/etc/systemd/system")
    host.run(str(BIN / "multi"), "export", "systemd", *said, *ready).ok()
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", "multi-a").ok()
    pairs = (os.fsdecode(pair).partition("=") for pair in host.path("/run/multi-a/out").read_bytes().split(b"\0"))
    found = {name: value for name, _, value in pairs if re.fullmatch(r"V\d+", name)}
    assert found == dict(parse_env_file("\n".join(alike), "vars.env"))
    host.run("systemctl", "stop", "multi-a").ok()


def test_exported_units_share_a_target(booted: Booted) -> None:
    """multi.target starts nodes in their order, each after those before it lived for `startsecs`, and stops them all.

    Their user owns log and directory; a log that an earlier unit had opened as root stops no worker.
    """
    host = booted.host
    host.shell("rm -r /run/celery /var/log/celery").ok()
    said = ("a", "b", "--after:a=b", "--preset=exec", "--cmd=sh -c 'echo up; exec sleep 600'", "--startsecs=0.5")
    where = (f"--uid={USER}", "--workdir=/", "--logfile=/var/log/celery/%n.log")
    host.run(str(BIN / "multi"), "export", "systemd", *said, *where, "--output=/etc/systemd/system").ok()
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "enable", "multi-a", "multi-b").ok()
    host.run("systemctl", "start", "multi.target").ok()
    began = {name: int(show(host, f"multi-{name}", "ActiveEnterTimestampMonotonic")) for name in ("a", "b")}
    assert began["a"] - began["b"] > 500_000
    for path in ("/var/log/celery", "/var/log/celery/a.log"):
        assert host.path(path).stat().st_uid == USER_ID
    assert host.read("/var/log/celery/a.log") == "up\n"
    host.run("systemctl", "stop", "multi.target").ok()  # which does not wait for its units
    until(lambda: host.processes() == [], "all are stopped")

    host.shell("chown root: /var/log/celery/a.log").ok()
    host.run("systemctl", "start", "multi-a").ok()
    assert host.read("/var/log/celery/a.log") == "up\n"
    until(lambda: "Permission denied" in journal(host), "the journal says why it has the output")

    page = (CHECKOUT / "docs/howto/systemd.md").read_text(encoding="utf-8")
    given_back = re.findall(r"^    (.*)$", page.partition("This does (")[2].partition("\n## ")[0], re.MULTILINE)
    for lines, gone in (("", "1"), ("\n".join(given_back), "0")):
        host.write("/etc/systemd/system/multi-a.service.d/more.conf", f"{lines}\n")
        host.run("systemctl", "daemon-reload").ok()
        host.run("systemctl", "restart", "multi-a").ok()
        found = host.status(int(show(host, "multi-a", "MainPID")))
        assert (found["NoNewPrivs"], int(found["CapBnd"], 16) == 0) == (gone, gone == "1")
    host.run("systemctl", "stop", "multi.target").ok()  # which does not wait for its units
    until(lambda: host.processes() == [], "all are stopped")


def test_g3_an_exported_unit_is_never_given_up(booted: Booted) -> None:
    """A node that fails at once is tried more often than systemd's own limit of starts, and comes up when it can."""
    host = booted.host
    host.write("/srv/worker", "#!/bin/sh\ntest -e /srv/go && exec sleep 600\n", mode=0o755)
    said = ("a", "--preset=exec", "--cmd=/srv/worker", "--logfile=/dev/stderr", f"--uid={USER}", "--workdir=/")
    host.run(str(BIN / "multi"), "export", "systemd", *said, "--output=/etc/systemd/system").ok()
    assert "RestartSec=10\n" in host.read("/etc/systemd/system/multi-a.service")
    host.write("/etc/systemd/system/multi-a.service.d/soon.conf", "[Service]\nRestartSec=0.1\n")
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", "multi-a")
    until(lambda: int(show(host, "multi-a", "NRestarts")) > 8, "systemd goes on trying", 60)
    host.write("/srv/go", "")
    until(lambda: show(host, "multi-a", "SubState") == "running", "it runs", 30)
    host.run("systemctl", "stop", "multi-a").ok()
    _a_unit_ends_as_its_node(host)


ENDS = {  # how the unit of the worker itself is after a stop, and that of a `multi run` of it
    "signal": ("--cmd=sleep 600", "inactive", ""),
    "quit": ("--cmd=sleep 600 --stop-schedule=QUIT/30/KILL/5", "inactive", ""),
    "same": ("--cmd=/srv/ends 143", "inactive", "inactive"),
    "other": ("--cmd=/srv/ends 5", "failed", "inactive"),
    "fine": ("--cmd=/srv/ends 5 --exit-ok=0,5", "inactive", ""),
    "stuck": ("--cmd=/srv/ends '' --stop-schedule=TERM/1/KILL/5", "failed", "failed"),
}


def _a_unit_ends_as_its_node(host: Host) -> None:
    """The signal of a stop, and its status, is success after a stop, and by itself none; KILL never is."""
    host.write("/srv/ends", '#!/bin/sh\ntrap "${1:+exit $1}" TERM\nwhile :; do sleep 600 & wait; done\n', mode=0o755)
    common = ("--preset=exec", "--logfile=/dev/stderr", "--workdir=/", "--restart-delay=0.1", "--startsecs=0")
    wanted = {}
    for name, (said, itself, run) in ENDS.items():
        words = [name, *common, *re.findall("--.*?(?= --|$)", said)]
        multi = shlex.join([str(BIN / "multi"), "run", *words, "--pidfile=/run/celery/%%n.pid"])
        text = f"[Service]\nType=notify\nUser={USER}\nKillMode=mixed\nExecStart={multi}\n"
        exported = host.run(str(BIN / "multi"), "export", "systemd", *words, f"--uid={USER}").ok().out
        for unit, lines, state in ((name, exported, itself), (f"{name}-run", text, run)):
            if state:
                host.write(f"/etc/systemd/system/{unit}.service", lines)
                wanted[unit] = state
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", *wanted).ok()
    for count, by in ((1, "TERM"), (2, "KILL")):
        for unit in ("signal", "same"):
            host.run("systemctl", "kill", "--kill-whom=main", f"--signal={by}", unit).ok()
            until(lambda: int(show(host, unit, "NRestarts")) >= count, f"{unit} is started again")  # noqa: B023 -- asked in this turn only
            until(lambda: show(host, unit, "ActiveState") == "active", f"{unit} is up again")  # noqa: B023 -- the same
    host.run("systemctl", "stop", *wanted)
    assert {unit: show(host, unit, "ActiveState") for unit in wanted} == wanted


def test_g11_an_exported_unit_has_the_exact_words(booted: Booted) -> None:
    """G11: a real systemd gives the worker words, variables, umask, limits and directory as they were typed."""
    host = booted.host
    odd = '/opt/my program\'s \\ "name" $HOME 100%'
    host.path(odd).symlink_to(sys.executable)
    worker = [odd, "-I", "-S", WORKER]
    command = shlex.join([*worker, "--words", "/opt/words", "--touch", "/opt/touched", "--tally", "/opt/tally", "--"])
    unit = host.run(
        *(str(BIN / "multi"), "export", "systemd", "a", "--preset=exec", "--output=/etc/systemd/system"),
        f"--cmd={command.replace('%', '%%')}",
        *(f"--env={name}={value}" for name, value in VALUES.items()),
        *("--env=PATH-", "--umask=027", "--nice=3", "--rlimit=NOFILE=64:128", f"--workdir={PROJECT}"),
        *("--reload-signal=USR2", "--stop-schedule=INT/3/KILL/5", "--logfile=/var/log/a.log", "--", *UNICODE, *KNOTS),
    )
    assert unit.ok().out == "/etc/systemd/system/multi-a.service\n"
    host.run("systemctl", "daemon-reload").ok()
    host.run("systemctl", "start", "multi-a").ok()
    until(lambda: host.exists("/opt/touched"), "the worker is up")
    assert as_argv(host.path("/opt/words").read_bytes()) == exact([*UNICODE, *KNOTS])
    main = int(show(host, "multi-a", "MainPID"))
    assert int(host.read("/opt/touched")) == main
    pairs = (os.fsdecode(pair).partition("=") for pair in host.path(f"/proc/{main}/environ").read_bytes().split(b"\0"))
    environ = {name: value for name, _, value in pairs}
    assert {name: environ.get(name) for name in VALUES} == VALUES
    assert "PATH" not in environ
    assert host.status(main)["Umask"] == "0027"
    assert re.search(r"^Max open files +64 +128 ", host.read(f"/proc/{main}/limits"), re.MULTILINE)
    assert str(host.path(f"/proc/{main}/cwd").readlink()) == PROJECT
    host.run("systemctl", "reload", "multi-a").ok()
    until(lambda: host.read("/opt/tally") == f"{main} USR2\n", "it hears the reload signal")
    host.run("systemctl", "stop", "multi-a").ok()
    assert not host.alive(main)
