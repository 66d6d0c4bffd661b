"""The crontab, under a real cron daemon whose clock runs faster, with real Celery workers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import datetime

import pytest

from private_machine import BIN, CHECKOUT, PROJECT, USER, USER_ID, Host, machine, need
from real import stays, until

pytestmark = pytest.mark.engine  # a cron daemon looks at its tables once a minute

SNIPPET = "config/cron.d/multi"
NODES = f"""\
[defaults]
workdir = "{PROJECT}"
pidfile = "{PROJECT}/run/%n.pid"
logfile = "{PROJECT}/log/%n.log"

[groups.workers]
nodes = ["w1", "w2"]
options = "-A tasks -l INFO -P solo --without-gossip --without-mingle --without-heartbeat"
"""
PROGRAM = "/srv/bin/multi"
CALLS = "/srv/calls/words"
SAID = "/srv/calls/said"
FASTER = 20  # so that a minute takes three seconds
PATIENCE = 180.0  # seconds; a deadline, not a wait


@pytest.fixture
def host() -> Iterator[Host]:
    """Give a machine with the crontab as shipped, but for the place of multi, where a script writes down the calls."""
    need("cron", "faketime", "unshare", "nsenter", "setpriv")
    with machine() as made:
        made.app()
        made.write("/etc/multi/multi.toml", NODES)
        text = (CHECKOUT / SNIPPET).read_text(encoding="utf-8")
        assert text.count("/opt/celery/venv/bin/multi ") == 3
        made.write("/etc/cron.d/multi", text.replace("/opt/celery/venv/bin/multi ", f"{PROGRAM} "))
        for other in made.path("/etc/cron.d").iterdir():
            if other.name != "multi":
                other.unlink()
        made.write("/etc/crontab", "")
        made.write(CALLS, "", owner=USER_ID)
        made.write(SAID, "", owner=USER_ID)
        made.write(
            PROGRAM,
            f"""\
#!/bin/sh
{BIN}/multi "$@" >>{SAID} 2>&1
code=$?
echo "$code $* $(env | grep -v -e ^_= -e ^PWD= -e ^SHLVL= -e ^OLDPWD= | cut -d= -f1 | sort | tr '\\n' ' ')" >>{CALLS}
exit $code
""",
            mode=0o755,
        )
        yield made


@contextlib.contextmanager
def cron(host: Host, at: str) -> Iterator[None]:
    """Run the daemon. It believes that it is `at`, and that time passes faster."""
    with host.daemon("faketime", "-f", f"@2026-01-05 {at} x{FASTER}", "cron", "-f"):
        yield


def calls(host: Host, *words: str) -> list[str]:
    """The calls of multi that have ended, whose first words are `words`: exit code, words, names of variables."""
    pattern = re.compile(r"\d+ " + re.escape(" ".join(words)) + " ")
    return [line for line in host.read(CALLS).splitlines() if pattern.match(line)]


def pid(host: Host, name: str) -> int:
    """The pid in a node's pidfile, 0 when there is none."""
    pidfile = f"{PROJECT}/run/{name}.pid"
    try:
        return host.pid(pidfile)
    except FileNotFoundError:
        return 0


def runs(host: Host, name: str, *besides: int) -> bool:
    """Whether a node has a living process, none of `besides`."""
    found = pid(host, name)
    return found not in {0, *besides} and host.alive(found)


def multi(host: Host, *words: str) -> None:
    """Run a command by hand, as the workers' user."""
    host.run(str(BIN / "multi"), *words, user=USER, env={"MULTI_CONFIG": "/etc/multi/multi.toml"}).ok()


def test_cron_starts_and_keeps(host: Host) -> None:
    """At boot the nodes start, every minute what died does; what was stopped on purpose is left; silence is kept."""
    with cron(host, "12:00:30"):
        until(lambda: calls(host, "start", "--quiet"), "cron has started the nodes", PATIENCE)
        (started,) = calls(host, "start", "--quiet")
        assert started.split()[0] == "0"
        assert set(started.split()[3:]) <= {"HOME", "LOGNAME", "MAILTO", "MULTI_CONFIG", "PATH", "SHELL", "USER"}
        assert runs(host, "w1")
        assert runs(host, "w2")
        assert host.status(pid(host, "w1"))["Uid"].split() == [str(USER_ID)] * 4

        until(lambda: len(calls(host, "ensure")) >= 2, "cron has called ensure twice", PATIENCE)
        assert {line.split()[0] for line in calls(host, "ensure")} == {"0"}
        assert host.read(SAID) == "", "nothing was said, so no mail was sent"

        multi(host, "stopwait", "w2")
        died = pid(host, "w1")
        host.run("kill", "-KILL", str(died)).ok()
        until(lambda: runs(host, "w1", died), "cron has started w1 again", PATIENCE)
        until(lambda: "w1@" in host.read(SAID), "and says so", PATIENCE)
        again = len(calls(host, "ensure"))
        until(lambda: len(calls(host, "ensure")) >= again + 2, "cron has called ensure twice more", PATIENCE)
        assert not runs(host, "w2"), "it was stopped on purpose"
        assert "w2@" not in host.read(SAID)


def test_cron_restarts_at_night(host: Host) -> None:
    """At night each node gets a fresh process, one after the other, and nothing is said of it."""
    multi(host, "start")
    first = {name: pid(host, name) for name in ("w1", "w2")}
    with cron(host, "04:15:40"):
        until(lambda: calls(host, "restart", "--rolling", "--quiet"), "cron has restarted the nodes", PATIENCE)
        stays(lambda: len(calls(host, "restart")) == 1, "once a night")
    (restarted,) = calls(host, "restart", "--rolling", "--quiet")
    assert restarted.split()[0] == "0"
    assert runs(host, "w1", first["w1"])
    assert runs(host, "w2", first["w2"])
    assert not any(map(host.alive, first.values()))
    assert host.read(SAID) == ""
    first_ready = _stamp(host.read(f"{PROJECT}/log/w1.log"), r"\[(.*?): INFO/MainProcess\] w1@\S+ ready\.")
    second_began = _stamp(host.read(f"{PROJECT}/log/w2.log"), r"\[(.*?): WARNING/MainProcess\] No hostname")
    assert first_ready < second_began


def _stamp(log: str, pattern: str) -> datetime:
    """When the last line that matches was written."""
    return datetime.strptime(re.findall(pattern, log)[-1], "%Y-%m-%d %H:%M:%S,%f")  # noqa: DTZ007 -- both are of one clock


def test_the_crontab_holds_no_bare_percent_sign() -> None:
    """In a crontab a percent sign ends the command, so there is none."""
    lines = (CHECKOUT / SNIPPET).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "%" in line and not line.startswith("#")] == []
