"""G13 Words cannot hurt: a misspelt option or name never acts. Nodes that run go on, and no file changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from multi.cli.commands import COMMANDS
from real import Real, everything, place, standing

CONFIG = """\
[defaults]
preset = "exec"
pidfile = "{run}/%n.pid"
logfile = "{log}/%n.log"
startsecs = 0
[groups.front]
nodes = ["web", "mail"]
cmd = "sleep 500"
[nodes.cron]
cmd = "sleep 500"
"""
FIRST = {"signal": ("HUP",), "expand": ("%n",), "get": ("web",), "export": ("systemd",)}
NODES = tuple(row.name for row in COMMANDS if row.takes_nodes)
ACTING = ("start", "stop", "stopwait", "restart", "kill", "signal", "reload", "ensure", "apply", "run")


class Running:
    """Two nodes that run, one of them of a configuration."""

    def __init__(self, real: Real) -> None:
        """Start them."""
        self.real = real
        self.config = real.base / "conf" / "multi.toml"
        self.config.parent.mkdir()
        self.config.write_text(CONFIG.format(run=real.run, log=real.log))
        real.raw("start", "web", f"--multi-config={self.config}").ok()
        real.start("jobs", cmd="sleep 500").ok()

    def _state(self) -> object:
        return [standing(self.real.pid(name)) for name in ("web", "jobs")], everything(self.real.base)

    def refuses(self, *words: str, config: bool = False) -> str:
        """The one line by which a command is refused; nothing was touched."""
        command, *rest = words
        where = f"--multi-config={self.config}" if config else "--multi-config=none"
        before = self._state()  # of this moment: what one test has changed must not fail all that come after it
        done = self.real.inside_raw(command, *FIRST.get(command, ()), *rest, where, f"--pidfile={self.real.run}/%n.pid")
        assert done.exits(4 if command == "status" else 2).out == ""  # a state that is unknown has a code of its own
        assert self._state() == before, words
        (line,) = done.err.splitlines()
        return line


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Give the nodes to all tests: no test changes them."""
    with place() as real:
        yield Running(real)


@pytest.mark.parametrize("command", NODES)
def test_g13_a_misspelt_option_never_acts(running: Running, command: str) -> None:
    """G13: on every command a near miss of one of multi's own flags is exit 2, with the flag that is meant."""
    for typed, meant in (
        ("--dryrun", "--dry-run"),
        ("--dry", "--dry-run"),
        ("--dry_run", "--dry-run"),
        ("--josn", "--json"),
        ("--roling", "--rolling"),
        ("--ready-timout=5", "--ready-timeout"),
    ):
        line = running.refuses(command, "web", "jobs", typed, config=command in {"apply", "diff"})
        said = f"multi: {typed.partition('=')[0]}: is not an option of multi; did you mean {meant}"
        assert line.startswith((f"{said}?", f"{said} of 'multi ")), "of another command, which it names"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("kill", "web", "--dry-run=yes"), "--dry-run: takes no value"),
        (("kill", "web", "jobs", "--dry-run:web"), "--dry-run: takes no scope"),
        (("stop", "--all"), "leave it out: all nodes are meant if none is named"),
        (("restart", "--all"), "leave it out: all nodes are meant if none is named"),
        (("stop", "web", "--follow"), "--follow: is an option of 'multi logs', and none of stop"),
        (("stopwait", "web", "--rolling"), "and none of stopwait"),
        (("status", "--version"), "--version: is no option of status"),
        (("kill", "web", "-h"), "-h: is no option of kill; 'multi help kill' tells about it"),
        (("start", "new", "-dry-run"), "did you mean --dry-run?"),
        (("kill", "web", "\N{EM DASH}dry-run"), "is not the dash of an option"),
        (("ensure", "-A", "proj"), "-A: is the worker's, and ensure takes no word of the worker's"),
        (("ensure", "--", "x"), "--: is the worker's, and ensure takes no word of the worker's"),
        (("stpo", "web"), "stpo: is not a command; did you mean 'stop'?"),
        (("kill", "web", "-TREM"), "-TREM: is not a signal of this system; try -TERM; 'kill -l' lists them"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_g13_a_word_that_means_nothing_there_never_acts(running: Running, words: tuple[str, ...], says: str) -> None:
    """G13: nor does a flag with a value or scope that it cannot have, or the flag of another command."""
    assert says in running.refuses(*words)


@pytest.mark.parametrize(
    "words", [("apply", "--dryrun"), ("apply", "-c", "4"), ("diff", "--", "-c"), ("apply", "--app=x")]
)
def test_g13_apply_and_diff_take_no_word_but_multis(running: Running, words: tuple[str, ...]) -> None:
    """G13: the configuration says everything else, so nothing is restarted for a word of the worker's."""
    running.refuses(*words, config=True)


@pytest.mark.parametrize("command", [name for name in NODES if name not in {"names", "expand", "export"}])
def test_g13_a_misspelt_name_never_acts(running: Running, command: str) -> None:
    """G13: a name that is neither in the configuration nor on record is exit 2, with the nearest name."""
    for typed, meant in (("wbe", "web"), ("frnt", "front"), ("crno", "cron")):
        line = running.refuses(command, typed, config=True)
        assert f"{typed}: is neither in multi.toml nor on record; did you mean '{meant}'?" in line
    assert "there are front, cron, web, mail" in running.refuses(command, "nosuch", config=True)


@pytest.mark.parametrize("command", ACTING)
def test_g13_one_misspelt_name_of_several_stops_all(running: Running, command: str) -> None:
    """G13: the nodes that are named well beside it are left alone, too."""
    running.refuses(command, "web", "mial", config=True)


def test_g13_a_name_on_record_is_no_mistake(running: Running) -> None:
    """G13: a node that was started without the configuration is known by its record."""
    done = running.real.inside("status", "jobs", f"--multi-config={running.config}")
    assert done.ok().err == ""


def test_g13_with_words_about_a_command_it_is_a_new_node(running: Running) -> None:
    """G13: a first start, and what an init script hands to status and stop, go on working beside a configuration."""
    for command, code in (("start", 0), ("status", 3), ("stop", 0), ("show", 0)):
        words = (command, "fresh", "--cmd=sleep 5", "-c", "2", "--dry-run", f"--multi-config={running.config}")
        done = running.real.inside(*words).exits(code)
        assert "warning: fresh: neither in multi.toml nor on record" in done.err


def test_g13_the_nearest_name_may_be_on_record(running: Running) -> None:
    """G13: a node that was started without the configuration may be meant, too."""
    assert "did you mean 'jobs'?" in running.refuses("kill", "jbos", config=True)


def test_g13_without_a_configuration_a_near_miss_is_a_warning(running: Running) -> None:
    """G13: any name may be new then; those of a family, like w1 and w2, are no misspellings of one another."""
    for command in ("start", "stopwait", "kill", "status"):
        done = running.real.inside(command, "wbe", "--multi-config=none", "--dry-run")
        assert "warning: wbe is not on record; did you mean 'web'?" in done.err
    done = running.real.inside("status", "web2", "other", "--multi-config=none").exits(3)
    assert done.err == ""


def test_g13_logs_of_nobody_are_an_error(running: Running) -> None:
    """G13: a name without record and log has no logs."""
    line = running.refuses("logs", "jbos")
    assert "jbos: is not on record, and has no log" in line
    assert line.endswith("did you mean 'jobs'?")
