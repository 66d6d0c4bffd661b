"""A configuration that is broken keeps nobody from stopping, killing, signalling or looking: the records count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from real import Done, Real, alive, everything, place, standing, until

SOUND = """\
[defaults]
preset = "exec"
pidfile = "{base}/elsewhere/%n.pid"
logfile = "{base}/log/%n.log"
stop_schedule = "TERM/5/KILL/5"
startsecs = 0
[groups.front]
nodes = ["web", "mail"]
cmd = "sleep 500"
"""
BROKEN = {
    "no TOML": "oops = [\n",
    "no setting": "[nodes.web]\numsk = 3\n",
    "no worker option": '[nodes.web]\noptions = ["--pidfile=x"]\n',
    "no preset": '[nodes.web]\npreset = "nosuch"\n',
    "no template": '[nodes.web]\nlogfile = "%z"\n',
    "no file": "",
    "no preset of the user": "",
}
LOOKS = (
    ("status",),
    ("status", "web"),
    ("logs",),
    ("logs", "web"),
    ("wait", "--timeout=1"),
    ("kill", "web", "--dry-run"),
)
REFUSED = (("start",), ("start", "web"), ("restart", "web"), ("apply",), ("diff",), ("ensure",), ("check",))


class Broken:
    """Nodes of a configuration whose run directory nobody but that configuration says, and one beside them."""

    def __init__(self, real: Real) -> None:
        """Start them, in the directory of the configuration."""
        self.real = real
        self.config = real.base / "multi.toml"
        self.preset = real.base / "config" / "multi" / "presets" / "exec.toml"
        self.preset.parent.mkdir(parents=True)
        self.start()
        real.start("beside", "--multi-config=none").ok()

    def start(self) -> None:
        """Start what does not run, by the sound configuration."""
        self.preset.unlink(missing_ok=True)
        self.config.write_text(SOUND.format(base=self.real.base))
        self.real.raw("start").ok()
        self.sound = self.config.read_text()

    def multi(self, how: str, *words: str) -> Done:
        """One command beside a configuration that is broken in this way."""
        self.config.write_text(self.sound + BROKEN[how])
        env = {}
        if how == "no file":
            self.config.unlink()
            env = {"MULTI_CONFIG": str(self.config)}
        self.preset.unlink(missing_ok=True)
        if how == "no preset of the user":
            self.preset.write_text("oops = [\n")
        return self.real.raw(*words, env=env)

    def pid(self, name: str) -> int:
        """The pid of a node of the configuration."""
        return int((self.real.base / "elsewhere" / f"{name}.pid").read_text())


@pytest.fixture(scope="module")
def broken() -> Iterator[Broken]:
    """Give the nodes to all tests, in a directory that they share."""
    with place() as real:
        yield Broken(real)


@pytest.mark.parametrize("how", BROKEN)
def test_looking_goes_by_the_records(broken: Broken, how: str) -> None:
    """`status`, `logs` and `wait` find the nodes where they run, with one warning that names the mistake."""
    broken.start()
    for words in LOOKS:
        done = broken.multi(how, *words).ok()
        assert done.err.count("multi: warning: ") == 1, done
        assert "; until then what is on record counts\n" in done.err
    assert "web" in (shown := broken.multi(how, "status").out)
    assert "mail" in shown


@pytest.mark.parametrize("how", ["no TOML", "no worker option", "no file"])
def test_what_starts_something_needs_the_configuration(broken: Broken, how: str) -> None:
    """Exit 2, and nothing is touched: without the configuration something else would run."""
    broken.start()
    before = standing(broken.pid("web")), standing(broken.pid("mail"))
    broken.multi(how, "status")
    files = everything(broken.real.base / "elsewhere")
    for words in REFUSED:
        assert "warning" not in broken.multi(how, *words).exits(2).err
    assert everything(broken.real.base / "elsewhere") == files
    assert (standing(broken.pid("web")), standing(broken.pid("mail"))) == before


@pytest.mark.parametrize(
    ("how", "words", "ends"),
    [
        ("no TOML", ("stopwait", "web"), ("web",)),
        ("no setting", ("kill",), ("web", "mail")),
        ("no worker option", ("stop",), ("web", "mail")),
        ("no preset", ("stopwait",), ("web", "mail")),
        ("no template", ("signal", "KILL", "web"), ("web",)),
        ("no file", ("stopwait", "web", "nosuch"), ("web",)),
        ("no preset of the user", ("kill",), ("web", "mail")),
    ],
)
def test_stopping_goes_by_the_records(broken: Broken, how: str, words: tuple[str, ...], ends: tuple[str, ...]) -> None:
    """What is named ends, or all nodes of the configuration, and no other one."""
    broken.start()
    pids = {name: broken.pid(name) for name in ("web", "mail")}
    beside = broken.real.pid("beside")
    done = broken.multi(how, *words).ok()
    assert "; until then what is on record counts\n" in done.err
    for name in ends:
        until(lambda pid=pids[name]: not alive(pid), f"{name} is gone")  # type: ignore[misc]
    assert all(alive(pid) for name, pid in pids.items() if name not in ends)
    assert alive(beside)


@pytest.mark.parametrize("words", [("stop", "front"), ("stopwait", "wbe"), ("kill", "front")])
def test_a_name_that_no_record_has_may_be_a_groups(broken: Broken, words: tuple[str, ...]) -> None:
    """Then only the configuration could tell what it is, so it is no success that nothing of that name runs."""
    broken.start()
    broken.multi("no TOML", *words).exits(2)
    assert all(alive(broken.pid(name)) for name in ("web", "mail"))


def test_a_name_that_the_words_tell_all_about_is_down(broken: Broken) -> None:
    """An init script says pidfile and command itself: its stop of what is not there stays a success."""
    broken.multi("no TOML", "stop", "w1", f"--pidfile={broken.real.run}/%n.pid").ok()
    broken.multi("no TOML", "status", "w1", "-A", "proj").exits(3)


def test_a_misspelt_option_is_refused_all_the_same(broken: Broken) -> None:
    """G13: what is broken is no way around the rules."""
    broken.start()
    assert "did you mean --dry-run?" in broken.multi("no TOML", "kill", "web", "--dryrun").exits(2).err
    assert "does not exist" in broken.multi("no TOML", "kill", "--multi-config=mutli.toml").exits(2).err
    assert all(alive(broken.pid(name)) for name in ("web", "mail"))


def test_none_reads_no_configuration(broken: Broken) -> None:
    """`--multi-config=none` is the way around a configuration, for every command, and so is the variable."""
    where = f"--pidfile={broken.real.run}/%n.pid"
    assert broken.multi("no TOML", "status", "--multi-config=none", where).ok().err == ""
    broken.multi("no TOML", "start", "w1", "--multi-config=none", "--preset=exec", "--cmd=sleep 5", "--dry-run").ok()
    done = broken.real.raw("status", where, env={"MULTI_CONFIG": "none"})
    assert "beside" in done.out
    assert done.err == ""
