"""`--canary --settle --rollback` on real nodes: a release that fails ends with all on the old one, or says so."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from real import Real, alive, stays, until, words_of

NAMES = ("n1", "n2", "n3")
CONFIG = """
[groups.n]
count = 3
preset = "exec"
pidfile = "run/%n.pid"
logfile = "log/%n.log"
startsecs = 0.1
stop_schedule = "TERM/5/KILL/5"
"""
CAREFUL = ("--canary", "--settle=1", "--rollback")
GOOD = "import time; time.sleep(600)"
DIES = """import pathlib, sys, time
while '"phase": "up"' not in pathlib.Path(f"run/{sys.argv[1]}.json").read_text():  # until it is on record as ready
    time.sleep(0.01)
sys.exit("bad release")
"""
NEVER = "import sys; sys.exit('bad release')"
LATER = "import os, sys, time\nwhile not os.path.exists('bad'): time.sleep(0.01)\nsys.exit('bad release')"


def says_file(real: Real, command: str, more: str = "") -> None:
    """The configuration: three nodes that run this command."""
    text = f"{CONFIG}workdir = {str(real.base)!r}\ncmd = {command!r}\n{more}"
    (real.base / "multi.toml").write_text(text, encoding="utf-8")


def released(real: Real, name: str, code: str, more: str = "") -> None:
    """The configuration: three nodes that run a release of their own file."""
    (real.base / f"{name}.py").write_text(code, encoding="utf-8")
    says_file(real, f"{sys.executable} {name}.py %n", more)


def pids(real: Real) -> dict[str, int]:
    """Short name -> pid, of what runs."""
    views = json.loads(real.raw("status", "--json", *NAMES).out)
    return {view["name"]: view["pid"] for view in views if view["pid"]}


def running(real: Real) -> list[str]:
    """The releases of the three nodes."""
    found = pids(real)
    return ["".join(words_of(found.get(name, 0))[1:2]).removesuffix(".py") for name in NAMES]


@pytest.fixture
def old(real: Real) -> Real:
    """Three nodes run the old release."""
    released(real, "old", GOOD)
    real.raw("apply").ok()
    assert running(real) == ["old"] * 3
    return real


@pytest.mark.parametrize(("code", "why"), [(DIES, "after it was ready"), (NEVER, "it exited with status 1")])
def test_a_broken_release_ends_with_all_on_the_old_command(old: Real, code: str, why: str) -> None:
    """It dies while it is watched, or is never ready: one node goes back, the others are not touched, exit 1."""
    before = pids(old)
    released(old, "new", code)
    done = old.raw("apply", *CAREFUL).exits(1)
    host = done.out.partition("n1@")[2].partition(":")[0]
    assert "bad release" in done.err
    assert f"n1@{host}: rolled back: it exited with status 1" in done.out
    said, hint = done.err.splitlines()[-2:]
    assert said == f"multi: stopped at the first failure; rolled back: n1@{host}; as before: n2@{host} n3@{host}"
    assert hint.endswith("then type: multi apply --canary --settle=1 --rollback --again")
    assert running(old) == ["old"] * 3
    after = pids(old)
    assert {name for name in NAMES if before[name] != after[name]} == {"n1"}
    told = old.raw("why", "n1").ok().out
    assert "was rolled back to what it was before" in told
    assert why in told
    # A plain `apply` leaves them alone and says so; `diff` shows it; a restart and cron's `ensure` keep the old one.
    plain = old.raw("apply").exits(1)
    assert f"n1@{host}: left as on record: what is configured was rejected" in plain.err
    assert f"n2@{host}: left as on record: n1@{host} has rejected what is configured" in plain.err
    shown = old.raw("diff").exits(1).out
    assert f"n1@{host}: hold (what is configured was rejected" in shown
    assert "old.py" in shown
    assert pids(old) == after
    noted = [
        line for line in old.raw("status", *NAMES).ok().out.splitlines() if "went back from other settings" in line
    ]
    assert [line.partition("@")[0].strip() for line in noted] == ["n1"]
    assert why in noted[0]
    old.raw("restart").ok()
    assert running(old) == ["old"] * 3
    # The configuration changes.
    released(old, "newer", GOOD)
    old.raw("apply", *CAREFUL).ok()
    assert running(old) == ["newer"] * 3
    old.raw("diff").ok()


def test_events_of_a_rollback(old: Real) -> None:
    """``--json`` has `rolled_back` as an event, and in the summary; `--again` tries the release again."""
    released(old, "new", NEVER)
    events = old.raw("apply", *CAREFUL, "--json").exits(1).events
    (back,) = (one for one in events if one["event"] == "rolled_back")
    assert str(back["why"]).startswith("it exited with status 1")
    *_, halted, summary = events
    name = back["node"]
    assert (halted["rolled_back"], halted["down"], summary["rolled_back"]) == ([name], [], [name])
    (old.base / "new.py").write_text(GOOD, encoding="utf-8")
    old.raw("apply").exits(1)
    settled = old.raw("apply", *CAREFUL, "--again", "--json").ok().events
    assert [one["node"] for one in settled if one["event"] == "settled"] == [name]
    assert running(old) == ["new"] * 3


def test_the_way_back_is_gone(old: Real) -> None:
    """The old program was deleted: the node is down, and the last lines say that, and why."""
    released(old, "new", NEVER)
    program = old.base / "python"
    program.symlink_to(sys.executable)
    says_file(old, f"{program} old.py %n")
    old.raw("apply").ok()
    program.unlink()
    released(old, "new", NEVER)
    done = old.raw("apply", *CAREFUL).exits(1)
    assert "refused: it is not rolled back: " in done.err
    assert "is not an executable file" in done.err
    assert "; down: n1@" in done.err.splitlines()[-2]
    assert running(old)[0] == ""


def test_values_of_env_files_are_those_of_today(real: Real) -> None:
    """The old values are nowhere on record: it goes back with those of now, and says which."""
    envfile = real.base / "proj.env"
    envfile.write_text("COLOUR=red\n", encoding="utf-8")
    more = "env_file = ['proj.env']\n"
    released(real, "old", GOOD, more)
    real.raw("apply").ok()
    envfile.write_text("COLOUR=blue\n", encoding="utf-8")
    released(real, "new", NEVER, more)
    done = real.raw("apply", *CAREFUL).exits(1)
    assert "runs as before, with what its env files hold now: COLOUR changed since" in done.out


def test_the_order_is_said_before_anything_is_done(old: Real) -> None:
    """`diff` and ``--dry-run`` say who comes first, who is a canary and who is watched."""
    released(old, "new", GOOD)
    shown = old.raw("diff", *CAREFUL).exits(1).out
    assert next(line for line in shown.splitlines() if "@" in line).endswith(
        ": restart, turn 1, canary, watched for 1.0s"
    )
    planned = old.raw("apply", *CAREFUL, "--dry-run").ok().out.splitlines()
    assert [line.split(": ")[1] for line in planned] == ["turn 1, canary, watched for 1.0s", "turn 2", "turn 3"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_g3_cut_off_while_a_canary_is_watched(old: Real, signum: int) -> None:
    """Ctrl-C, or KILL, of `multi` while it watches: the canary lives on, and the next one knows the way back."""
    before = pids(old)
    released(old, "new", LATER)
    begun = old.begin("apply", "--canary", "--settle=60", "--rollback")
    until(lambda: running(old)[0] == "new" and old.state("n1") == {"n1": "running"}, "the canary is watched")
    begun.process.send_signal(signum)
    done = begun.done().exits(130 if signum == signal.SIGINT else -signum)
    canary = pids(old)["n1"]
    if signum == signal.SIGINT:
        assert "stopped before the end; under way: n1@" in done.err
    (old.base / "bad").touch()
    until(lambda: not alive(canary), "the release has died")
    assert {name: pid for name, pid in pids(old).items() if name != "n1"} == {n: before[n] for n in ("n2", "n3")}
    (old.base / "new.py").write_text(NEVER, encoding="utf-8")
    done = old.raw("ensure").exits(1)
    assert "rolled back" in done.out
    assert running(old) == ["old"] * 3


def test_g2_two_deploys_at_once(old: Real) -> None:
    """Both want the broken release: one tries it, the other then reads that it was rejected."""
    released(old, "new", DIES)
    begun = [old.begin("apply", *CAREFUL, "--json") for _ in range(2)]
    done = [one.done().exits(1) for one in begun]
    backs = [one for each in done for one in each.events if one["event"] == "rolled_back"]
    assert len(backs) == 1
    assert running(old) == ["old"] * 3
    stays(lambda: all(len(old.processes(name)) == 1 for name in NAMES), "one process each")


def test_a_restart_with_words(real: Real) -> None:
    """Without a configuration: words typed for a release, and the record is the way back."""
    real.start("n1", "n2", cmd=real.shell_words(GOOD)).ok()
    before = {name: real.pid(name) for name in ("n1", "n2")}
    bad = real.start_words("n1", "n2", cmd=real.shell_words(NEVER))[1:]
    done = real.raw("restart", *bad, *CAREFUL).exits(1)
    assert "rolled back: n1@" in done.err
    assert real.pid("n2") == before["n2"]
    assert words_of(real.pid("n1"))[-1] == GOOD


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--rollback",), "add --rolling or --canary"),
        (("--rolling", "--rollback", "--keep-unready"), "contradict"),
        (("--canary=0",), "is not a number of nodes"),
        (("--settle",), "needs a value"),
        (("--settle=-1",), "is not a number of seconds"),
        (("--canari",), "did you mean --canary?"),
        (("--settel=3",), "did you mean --settle?"),
        (("--roll-back",), "did you mean --rollback?"),
        (("--agian",), "did you mean --again?"),
    ],
)
def test_g9_options_that_cannot_be(old: Real, options: tuple[str, ...], why: str) -> None:
    """What is misspelt or makes no sense is exit 2, and nothing is done."""
    before = pids(old)
    released(old, "new", NEVER)
    for command in ("apply", "restart"):
        assert why in old.raw(command, *options).exits(2).err
    assert pids(old) == before
