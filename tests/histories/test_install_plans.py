"""What `install` and `uninstall` write and run, on the made-up machine: every refusal, every undoing, every KILL."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from multi import api
from multi.cli import serve
from multi.cli.screen import Screen
from multi.install import Asked, Starter, stamp
from multi.machine import MachineError, Ran
from multi.testing.world import Entry, Fake, KilledError, World

CONFIG = '[defaults]\npreset = "exec"\ncmd = "sleep 60"\n[nodes.a]\n[nodes.b]\n'
UNITS = "/etc/systemd/system"
DIRECTORIES = (
    *(
        "/etc",
        "/etc/systemd",
        UNITS,
        "/etc/cron.d",
        "/etc/init.d",
        "/etc/default",
        "/etc/logrotate.d",
        "/etc/tmpfiles.d",
    ),
    *("/run/systemd", "/run/systemd/system", "/var", "/var/run", "/var/log", "/home", "/home/worker"),
)


@dataclass
class Box:
    """A machine with systemd, cron and an init, and what its programs were asked."""

    world: World = field(default_factory=World)
    table: str | None = None
    fails: str = ""
    ran: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Furnish it."""
        for path in DIRECTORIES:
            self.world.files[path] = Entry(kind="directory", mode=0o755)
        self.config(CONFIG)
        self.world.files["/usr/bin/multi"] = Entry(b"#!", mode=0o755)
        for name in ("systemctl", "systemd-tmpfiles", "update-rc.d", "runuser", "loginctl", "install"):
            self.world.programs[name] = self._program(name)
        self.world.programs["crontab"] = self._crontab

    def config(self, text: str, path: str = "/multi.toml") -> None:
        """Write a configuration."""
        self.world.files[path] = Entry(text.encode(), mode=0o644)

    def _program(self, name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- a closure of two arguments
        def run(words: tuple[str, ...], _: str | None) -> Ran:
            self.ran.append((name, *words))
            failed = self.fails and self.fails in " ".join((name, *words))
            return Ran(1, "", "it cannot\n") if failed else Ran(0, "", "")

        return run

    def _crontab(self, words: tuple[str, ...], data: str | None) -> Ran:
        if words == ("-l",):
            return Ran(1, "", "no crontab for worker\n") if self.table is None else Ran(0, self.table, "")
        self.ran.append(("crontab", *words))
        self.table = None if words == ("-r",) else data
        return Ran(0, "", "")

    def files(self) -> dict[str, bytes]:
        """All files but those of the run directory and the programs."""
        kept = ((path, entry) for path, entry in self.world.files.items() if entry.kind == "file")
        return {path: entry.data for path, entry in kept if path.startswith(("/etc", "/home/worker/.config"))}

    def text(self, path: str) -> str:
        """A file's text."""
        return self.world.files[path].data.decode()

    def multi(self, *words: str, uid: int = 0) -> tuple[int, str, str]:
        """A command: exit code, and what it printed."""
        out, err = io.StringIO(), io.StringIO()
        machine = self.world.fake(uid=uid)
        code = serve([*words], Screen(out, err, {}), {}, machine)
        machine.close()
        return code, out.getvalue(), err.getvalue()

    def steps(
        self, command: str, *words: str, starter: Starter | None = None, trap: Fake | None = None
    ) -> Iterator[object]:
        """The steps of a command, as they are done."""
        machine = trap or self.world.fake()
        selection = api.select(command, words, machine=machine)
        names = tuple(node.short for node in selection.nodes) if words else ()
        return api.installed(command, selection, Asked(starter=starter, names=names), machine=machine)


@pytest.fixture
def box() -> Box:
    """Give a machine."""
    return Box()


def ok(done: tuple[int, str, str]) -> str:
    """What a command printed that went well."""
    assert done[0] == 0, done
    return done[1]


# --- what is put there -------------------------------------------------------------------------------------


def test_systemd_is_taken_where_it_runs(box: Box) -> None:
    """Without a word there are units of `multi run`, enabled, with the configuration and multi by their full paths."""
    said = ok(box.multi("install"))
    units = [f"{UNITS}/multi-a.service", f"{UNITS}/multi-b.service", f"{UNITS}/multi.target"]
    assert sorted(box.files()) == ["/etc/logrotate.d/multi", *units]
    unit = box.text(f"{UNITS}/multi-a.service")
    assert "ExecStart=/usr/bin/multi run a --multi-config=/multi.toml --pidfile=/var/run/multi/%%n.pid" in unit
    assert " --logfile=/var/log/multi/%%n%%I.log\n" in unit, "where it is for 'multi start', so 'multi logs' finds it"
    assert "Type=notify\nNotifyAccess=main\n" in unit
    assert "TimeoutStopSec=110\n" in unit, "longer than TERM/90/KILL/5"
    assert box.ran == [
        ("systemctl", "daemon-reload"),
        ("systemctl", "enable", "multi-a.service", "multi-b.service", "multi.target"),
    ]
    assert "to start them now: systemctl start multi-a.service multi-b.service" in said


def test_now_starts_them_at_once(box: Box) -> None:
    """With `--now` systemd starts the units, and where that fails the rest stays: exit 1."""
    ok(box.multi("install", "--now"))
    assert box.ran[-1] == ("systemctl", "start", "multi-a.service", "multi-b.service")
    box.fails = "systemctl start"
    code, _, err = box.multi("install", "--now")
    assert code == 1
    assert "systemctl start" in err
    assert err.endswith("what was installed stays\n")
    assert len(box.files()) == 4


def test_a_user_of_the_node_runs_multi(box: Box) -> None:
    """What root installs runs `multi` as the node's user; systemd-tmpfiles makes what that user cannot make."""
    box.config(CONFIG.replace("[nodes.a]", 'uid = "worker"\nlogfile = "/var/log/proj/%n.log"\n[nodes.a]'))
    ok(box.multi("install"))
    assert "\nUser=worker\n" in box.text(f"{UNITS}/multi-a.service")
    made = box.text("/etc/tmpfiles.d/multi.conf").splitlines()[1:]
    assert made == ["d /run/multi 0755 worker worker -"]
    assert box.ran[:2] == [
        ("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/multi.conf"),
        ("install", "-d", "-m", "755", "-o", "worker", "-g", "worker", "/var/log/proj"),
    ]
    rotated = box.text("/etc/logrotate.d/multi")
    assert "that user rotates (su)" in rotated
    assert "/var/log/proj/a.log\n/var/log/proj/b.log\n{\n    # The dir" in rotated
    assert "    su worker worker\n    daily\n" in rotated


def test_cron(box: Box) -> None:
    """Root's table is in /etc/cron.d: directories and a start at boot, and `ensure` each minute."""
    box.config(CONFIG.replace("[nodes.a]", 'uid = "worker"\n[nodes.a]'))
    ok(box.multi("install", "--cron"))
    boot, minute = (line for line in box.text("/etc/cron.d/multi").splitlines() if line[0] in "@*")
    made = "[ -d /var/run/multi ] || { mkdir -p -m 755 /var/run/multi && chown -h worker: /var/run/multi; } && "
    assert boot.startswith(f"@reboot root {made}")
    files = r"--multi-config=/multi.toml --pidfile=/var/run/multi/\%n.pid --logfile=/var/log/multi/\%n\%I.log"
    assert boot.endswith(f" && /usr/bin/runuser -u worker -- /usr/bin/multi --quiet start {files}")
    assert minute == f"* * * * * worker /usr/bin/multi ensure {files}"
    assert box.ran == []


def test_sysv(box: Box) -> None:
    """An init script, with links, and a file of variables that is the administrator's from then on."""
    ok(box.multi("install", "--sysv"))
    assert "su" not in box.text("/etc/logrotate.d/multi").replace("such", "").split(), "root rotates its own"
    script = box.text("/etc/init.d/multi")
    assert script.startswith("#!/bin/sh\n# Written by 'multi install' for /multi.toml; ")
    assert "# Provides:          multi\n" in script
    assert "[ ! -r /etc/default/multi ] || . /etc/default/multi\n" in script
    assert box.world.files["/etc/init.d/multi"].mode == 0o755
    assert box.ran == [("update-rc.d", "multi", "defaults")]
    box.world.files["/etc/default/multi"].data += b"MULTI_NICE=5\n"
    assert box.text("/etc/default/multi").startswith("# Written by 'multi install' for /multi.toml; yours to change (")
    assert "left /etc/default/multi: it is yours" in ok(box.multi("install", "--sysv"))
    ok(box.multi("uninstall"))
    assert sorted(box.files()) == ["/etc/default/multi"], "it was changed by hand"
    assert box.ran[-1] == ("update-rc.d", "-f", "multi", "remove")


@pytest.mark.parametrize(("cmd", "kept"), [("sleep 60", ""), ("sh -c 'cd /x; node-x $PORT'", "/opt/node/bin:")])
def test_of_the_caller_s_path_what_the_nodes_need(box: Box, cmd: str, kept: str) -> None:
    """A file is the same from whichever shell: the usual PATH, and where words of the nodes are programs."""
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    box.config(CONFIG.replace('cmd = "sleep 60"', f'cmd = "{cmd}"'))
    box.world.environ["PATH"] = f"/root/.pyenv/shims:/opt/node/bin:.:{usual}"
    box.world.programs["/opt/node/bin/node-x"] = box.world.programs["install"]
    for starter, path in (("--cron", "/etc/cron.d/multi"), ("--sysv", "/etc/default/multi")):
        ok(box.multi("install", starter))
        lines = box.text(path).splitlines()
        at = lines.index(f"PATH={kept}{usual}")
        assert ("# PATH" in "".join(lines[:at])) == bool(kept or starter == "--sysv"), "says why"
        ok(box.multi("uninstall"))


def test_the_crontab_of_a_user(box: Box) -> None:
    """A part of the user's crontab, and nothing else of it, is written, written again and taken away."""
    mine = "# mine\n0 1 * * * backup\n"
    box.table = mine
    for _ in range(2):
        ok(box.multi("install", "--cron", uid=1000))
        assert box.table is not None
        assert box.table.startswith(mine)
        assert box.table.count("@reboot /usr/bin/multi --quiet start") == 1
    ok(box.multi("uninstall", uid=1000))
    assert box.table == mine
    box.table = None
    ok(box.multi("install", "--cron", uid=1000))
    ok(box.multi("uninstall", uid=1000))
    assert box.table is None


def test_a_user_s_own_manager(box: Box) -> None:
    """For an ordinary user: units of that user's manager, which is to start at boot; it is found by a variable."""
    box.world.files["/run/user/1000/systemd/private"] = Entry(kind="file")
    asked: list[tuple[str, ...]] = []

    def run(words: tuple[str, ...], _: str | None) -> Ran:
        asked.append(words)
        return Ran(0, "", "")

    box.world.programs["env"] = run
    ok(box.multi("install", uid=1000))
    directory = "/home/worker/.config/systemd/user"
    unit = box.text(f"{directory}/multi-a.service")
    assert "WantedBy=default.target" in unit
    assert "User=" not in unit
    runtime = "XDG_RUNTIME_DIR=/run/user/1000"
    units = ("multi-a.service", "multi-b.service", "multi.target")
    assert asked == [
        (runtime, "/usr/bin/systemctl", "--user", "daemon-reload"),
        (runtime, "/usr/bin/systemctl", "--user", "enable", *units),
        (runtime, "/usr/bin/loginctl", "enable-linger"),
    ]
    ok(box.multi("uninstall", "--now", uid=1000))
    assert f"{directory}/multi-a.service" not in box.world.files
    stopped, disabled, _ = asked[3:]
    assert stopped == (runtime, "/usr/bin/systemctl", "--user", "stop", *units[:2])
    assert disabled == (runtime, "/usr/bin/systemctl", "--user", "disable", *units)


def test_nodes_on_record_are_written_down_whole(box: Box) -> None:
    """What no configuration says is told by options, with variables in the unit, which only root may read."""
    del box.world.files["/multi.toml"]
    ok(box.multi("install", "w", "--preset=exec", "--cmd=sleep 60", "--env=TOKEN=s3cret", "--nice=3"))
    unit = box.text(f"{UNITS}/multi-w.service")
    assert "--preset=exec" in unit
    assert "'--cmd" not in unit
    assert '"--cmd=sleep 60"' in unit
    assert "\nEnvironment=TOKEN=s3cret\n" in unit
    assert "s3cret" not in next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert box.world.files[f"{UNITS}/multi-w.service"].mode == 0o600


def test_a_node_on_record_is_installed_as_it_runs(box: Box) -> None:
    """Without words and configuration the nodes on record are installed; a name that is nowhere is refused."""
    del box.world.files["/multi.toml"]
    ok(box.multi("start", "w", "--preset=exec", "--cmd=sleep 60", "--nice=3"))
    ok(box.multi("install"))
    assert "--nice=3" in box.text(f"{UNITS}/multi-w.service")
    assert "for nodes on record; " in box.text(f"{UNITS}/multi-w.service")
    code, _, err = box.multi("install", "x")
    assert (code, "x: is neither configured nor on record" in err) == (2, True)


# --- again, and back ---------------------------------------------------------------------------------------


def test_twice_is_the_same(box: Box) -> None:
    """A second `install` changes no file, and tells the system of them again; a second `uninstall` is a success."""
    ok(box.multi("install"))
    before = box.files()
    assert "wrote" not in ok(box.multi("install"))
    assert box.files() == before
    ok(box.multi("uninstall"))
    assert box.files() == {}
    assert ok(box.multi("uninstall")) == "nothing of /multi.toml is installed\n"


@pytest.mark.parametrize("starter", ["--systemd", "--cron", "--sysv"])
def test_uninstall_takes_back_what_install_put_there(box: Box, starter: str) -> None:
    """Exactly that: files of others are as they were."""
    box.world.files["/etc/cron.d/multi-other"] = Entry(b"# another's\n")
    before = box.files()
    ok(box.multi("install", starter))
    assert box.files() != before
    ok(box.multi("uninstall"))
    assert box.files() == before


def test_a_node_that_is_no_more_configured_goes(box: Box) -> None:
    """An `install` of the whole configuration disables and removes the units of nodes that it has no more."""
    ok(box.multi("install"))
    box.config(CONFIG.replace("[nodes.b]\n", ""))
    said = ok(box.multi("install"))
    assert f"removed {UNITS}/multi-b.service" in said
    assert ("systemctl", "disable", "multi-b.service") in box.ran
    assert f"{UNITS}/multi-a.service" in box.files()


def test_named_nodes_alone(box: Box) -> None:
    """Names install and take back those nodes, and nothing else."""
    ok(box.multi("install"))
    ok(box.multi("uninstall", "a"))
    assert sorted(box.files())[1:] == [f"{UNITS}/multi-b.service", f"{UNITS}/multi.target"]
    ok(box.multi("install", "a"))
    assert f"{UNITS}/multi-b.service" in box.files()


def test_named_nodes_have_directories_of_their_own(box: Box) -> None:
    """A named node does not take the others out of the file for all; without one it has its own, which goes with it."""
    text = CONFIG.replace("[nodes.a]", 'uid = "worker"\n[nodes.a]')
    box.config(text)
    ok(box.multi("install", "a"))
    assert [path for path in box.files() if "tmpfiles" in path] == ["/etc/tmpfiles.d/multi-a.conf"]
    ok(box.multi("install"))
    assert [path for path in box.files() if "tmpfiles" in path] == ["/etc/tmpfiles.d/multi.conf"]
    before = box.files()
    ok(box.multi("install", "a"))
    assert box.files() == before
    ok(box.multi("uninstall", "a"))
    assert "/etc/tmpfiles.d/multi.conf" in box.files()
    ok(box.multi("uninstall", "b"))
    assert box.files() == {}, "it was the last"


def test_a_target_that_was_put_there_by_hand_stays(box: Box) -> None:
    """The shipped multi.target is the one that `install` would write; it is neither refused nor removed."""
    ok(box.multi("install"))
    path = f"{UNITS}/multi.target"
    text = box.text(path).partition("\n")[2]
    ok(box.multi("uninstall"))
    box.world.files[path] = Entry(text.encode())
    ok(box.multi("install"))
    ok(box.multi("uninstall"))
    assert box.text(path) == text


def test_a_node_that_runs_is_not_started_a_second_time(box: Box) -> None:
    """With `--now` a node that was started from a shell is left alone, and how to hand it over is said."""
    ok(box.multi("start", "a"))
    said = ok(box.multi("install", "--now"))
    assert box.ran[-1] == ("systemctl", "start", "multi-b.service")
    assert "multi stopwait a && systemctl start multi-a.service" in said


def test_two_configurations(box: Box) -> None:
    """Each has files of its own; a unit of the same name is refused, and what is of the other one is named."""
    ok(box.multi("install"))
    box.config(CONFIG.replace("nodes.a", "nodes.c").replace("[nodes.b]\n", ""), "/srv/shop/multi.toml")
    box.world.files |= {path: Entry(kind="directory") for path in ("/srv", "/srv/shop")}
    ok(box.multi("install", "--cron", "--multi-config=/srv/shop/multi.toml"))
    assert "/etc/cron.d/multi-srv-shop" in box.files()
    ok(box.multi("uninstall"))
    assert sorted(box.files()) == ["/etc/cron.d/multi-srv-shop", "/etc/logrotate.d/multi-srv-shop"]
    assert "there is something of /srv/shop/multi.toml" in ok(box.multi("uninstall"))
    ok(box.multi("uninstall", "--multi-config=/srv/shop/multi.toml"))
    ok(box.multi("install"))
    box.config(CONFIG, "/srv/shop/multi.toml")
    code, _, err = box.multi("install", "--systemd", "--multi-config=/srv/shop/multi.toml")
    assert (code, "is there already, for /multi.toml" in err) == (2, True)


def test_a_dry_run_shows_all_and_changes_nothing(box: Box) -> None:
    """G10: each file with its text, each program, and no file, directory or lock is made."""
    before = {path: (entry.kind, entry.data) for path, entry in box.world.files.items()}
    for words in (("install",), ("install", "--cron"), ("install", "--sysv"), ("uninstall",)):
        ok(box.multi(*words, "--dry-run"))
    assert {path: (entry.kind, entry.data) for path, entry in box.world.files.items()} == before
    assert box.ran == []
    shown = ok(box.multi("install", "--dry-run"))
    written = ok(box.multi("install")) and box.text(f"{UNITS}/multi-a.service")
    assert written in shown
    assert "+ /usr/bin/systemctl enable multi-a.service" in shown
    steps = [json.loads(line) for line in ok(box.multi("uninstall", "--dry-run", "--json")).splitlines()]
    assert [each["step"] for each in steps] == ["run", "remove", "remove", "remove", "run", "remove"]
    ok(box.multi("uninstall"))
    assert ok(box.multi("uninstall", "--dry-run")).startswith("nothing of ")
    assert ok(box.multi("uninstall", "--dry-run", "--quiet")) == ""


@pytest.mark.parametrize(("word", "uid"), [("--systemd", 0), ("--user", 1000)])
def test_units_are_shown_where_systemd_does_not_run(box: Box, word: str, uid: int) -> None:
    """`--dry-run` is good on a machine that only builds: it prints the units, and says why here they cannot be put."""
    del box.world.files["/run/systemd/system"]
    before = box.files()
    code, out, err = box.multi("install", word, "--dry-run", uid=uid)
    assert (code, "ExecStart=/usr/bin/multi run a" in out, "enable" in out) == (2, True, True)
    assert err.startswith(f"multi: {word}: systemd does not run this machine; give --cron")
    assert (box.files(), box.ran) == (before, [])


@pytest.mark.parametrize(
    ("uid", "gid", "said"),
    [
        ("65534", "", "nobody"),
        ("0", "", "root"),
        ("4242", "", "--uid=4242: is a number without a name"),
        ("worker", "4242", "--gid=4242: is a number without a name"),
    ],
)
@pytest.mark.parametrize("starter", ["cron", "sysv"])
def test_a_user_of_a_number_is_installed_by_name(box: Box, starter: str, uid: str, gid: str, said: str) -> None:
    """Cron and runuser(1) look names up, and nothing else: a number would start nothing at boot."""
    group = f'gid = "{gid}"\n' if gid else ""
    box.config(CONFIG.replace("[nodes.a]", f'uid = "{uid}"\n{group}[nodes.a]'))
    code, out, err = box.multi("install", f"--{starter}", "--dry-run")
    if "--" in said:
        assert (code, err.startswith(f"multi: {said}")) == (2, True)
        return
    assert code == 0
    assert f"-u {said} --" in out or f"* {said} " in out
    assert f"-u {uid}" not in out
    assert not re.search(rf"\* {uid} |chown -h '?{uid}:|su {uid} ", out)


# --- what is refused, with nothing done --------------------------------------------------------------------


def no_systemd(box: Box) -> None:
    """Systemd is not what runs this machine."""
    del box.world.files["/run/systemd/system"]


def no_crontab(box: Box) -> None:
    """There is no cron."""
    del box.world.programs["crontab"]


def no_init(box: Box) -> None:
    """Nothing makes links of run levels."""
    del box.world.programs["update-rc.d"]


def by_hand(box: Box) -> None:
    """A unit was installed and then changed."""
    ok(box.multi("install"))
    box.world.files[f"{UNITS}/multi-b.service"].data += b"# my line\n"


def of_another(box: Box) -> None:
    """A unit of that name is there, and is somebody else's."""
    box.world.files[f"{UNITS}/multi-b.service"] = Entry(b"[Unit]\n")


def table_by_hand(box: Box) -> None:
    """The part of the crontab was changed."""
    ok(box.multi("install", "--cron", uid=1000))
    assert box.table is not None
    box.table = box.table.replace("--quiet", "--verbose")


def closed_config(box: Box) -> None:
    """The nodes' user cannot read the configuration."""
    box.config(CONFIG.replace("[nodes.a]", 'uid = "worker"\n[nodes.a]'))
    box.world.files["/multi.toml"].mode = 0o600


def broken_config(box: Box) -> None:
    """The configuration is no TOML, and there is a node on record."""
    ok(box.multi("start", "a"))
    box.config("[nodes")


def in_cron(box: Box) -> None:
    """Cron has the nodes already."""
    ok(box.multi("install", "--cron"))


def in_a_crontab(box: Box) -> None:
    """A user's cron has the nodes already."""
    ok(box.multi("install", "--cron", uid=1000))
    box.world.files["/run/user/1000/systemd/private"] = Entry(kind="file")


def of_several_users(box: Box) -> None:
    """Two users are to have one directory."""
    box.config(CONFIG.replace("[nodes.b]", '[nodes.b]\nuid = "worker"'))


def nothing_special(box: Box) -> None:
    """Nothing is done."""


REFUSED = [
    (no_systemd, 0, ("install",), 2, "systemd does not run this machine, so say what starts the nodes at boot; give"),
    (no_systemd, 0, ("install", "--systemd"), 2, "--systemd: systemd does not run this machine; give --cron or --sysv"),
    (
        no_systemd,
        0,
        ("install", "--user"),
        2,
        "--user: systemd does not run this machine; give --cron or --sysv instead",
    ),
    (no_systemd, 1000, ("install", "--user"), 2, "--user: systemd does not run this machine; give --cron instead"),
    (no_systemd, 1000, ("install",), 2, "so say what starts the nodes at boot; give --cron"),
    (no_crontab, 1000, ("install", "--cron"), 2, "--cron: there is no crontab(1) on PATH"),
    (no_init, 0, ("install", "--sysv"), 2, "--sysv: there is none of update-rc.d"),
    (nothing_special, 1000, ("install", "--sysv"), 77, "--sysv: changes what belongs to root; run it as root"),
    (nothing_special, 1000, ("install", "--systemd"), 77, "run it as root, or add --user"),
    (nothing_special, 1000, ("install", "--user"), 2, "--user: worker has no running systemd manager"),
    (nothing_special, 1000, ("install",), 2, "worker has no running systemd manager, so say what starts"),
    (nothing_special, 0, ("install", "--cron", "--sysv"), 2, "--cron --sysv: contradict each other"),
    (nothing_special, 0, ("install", "--user", "--cron"), 2, "--user --cron: contradict each other"),
    (
        by_hand,
        0,
        ("install",),
        2,
        "was changed by hand since multi wrote it; put your changes into 'systemctl edit multi-b",
    ),
    (by_hand, 0, ("uninstall",), 2, "'systemctl disable multi-b.service', and remove it, then do this again"),
    (of_another, 0, ("install",), 2, "multi-b.service: is there, and multi did not write it"),
    (table_by_hand, 1000, ("install", "--cron"), 2, "crontab: the part for /multi.toml was changed by hand"),
    (table_by_hand, 1000, ("uninstall",), 2, "crontab: the part for /multi.toml was changed by hand"),
    (
        of_several_users,
        0,
        ("install",),
        2,
        "a and to worker for b; set another pidfile for those of one user, like /var/run/multi-worker/%n.pid",
    ),
    (
        in_cron,
        0,
        ("install",),
        2,
        "/etc/cron.d/multi: has these nodes already, and so would systemd; 'multi uninstall'",
    ),
    (in_a_crontab, 1000, ("install",), 2, "crontab: has these nodes already, and so would systemd"),
    (broken_config, 0, ("install",), 2, "/multi.toml:1: is not TOML"),
    (closed_config, 0, ("install",), 2, "/multi.toml: worker, who is to run multi, cannot read it: Permission denied"),
]


@pytest.mark.parametrize(("prepare", "uid", "words", "code", "why"), REFUSED)
def test_g9_refusals(box: Box, prepare, uid: int, words: Sequence[str], code: int, why: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001, PLR0917 -- a row
    """G9: one line that says what and why, the exit code of its kind, and nothing is changed."""
    prepare(box)
    before, table, ran = box.files(), box.table, list(box.ran)
    done, out, err = box.multi(*words, uid=uid)
    assert (done, out) == (code, ""), err
    assert why in err
    assert err.count("\n") == 1
    assert (box.files(), box.table, box.ran) == (before, table, ran)


# --- failures and KILL in the middle -----------------------------------------------------------------------


@pytest.mark.parametrize("fails", ["daemon-reload", "systemctl enable", "systemd-tmpfiles"])
@pytest.mark.parametrize("installed", [False, True])
def test_a_failure_in_the_middle_is_undone(box: Box, fails: str, installed: bool) -> None:
    """All or nothing: files are as they were before, and the exit code is 1."""
    text = CONFIG.replace("[nodes.a]", 'uid = "worker"\n[nodes.a]')
    if installed:
        box.config(text.replace("[nodes.b]\n", ""))
        ok(box.multi("install"))
    before = box.files()
    box.config(text)
    box.fails = fails
    code, _, err = box.multi("install")
    assert (code, "it cannot" in err) == (1, True)
    assert box.files() == before


def test_what_does_not_stop_is_not_taken_away(box: Box) -> None:
    """With `--now` an init script that cannot stop its nodes stays, with its links."""
    ok(box.multi("install", "--sysv"))
    before = box.files()
    box.world.programs["multi"] = lambda words, _: Ran(1, "", f"it does not {words[0]}")  # /etc/init.d/multi
    code, _, err = box.multi("uninstall", "--now")
    assert (code, "it does not stop" in err) == (1, True)
    assert box.files() == before
    assert box.ran[-1] == ("update-rc.d", "multi", "defaults")


def test_a_full_disk_is_undone(box: Box) -> None:
    """The same where a file cannot be written."""
    machine = box.world.fake()

    def full(_: int, words: tuple[str, ...]) -> None:
        if words == ("write", f"{UNITS}/multi.target"):
            raise MachineError("cannot write it", "No space left on device")

    machine.trap = full
    with pytest.raises(MachineError, match="all is as it was"):
        list(box.steps("install", trap=machine))
    assert box.files() == {}


@pytest.mark.parametrize("starter", ["systemd", "cron", "sysv"])
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_g3_a_kill_in_the_middle_is_mended(starter: Starter, command: str) -> None:
    """G3: `install` or `uninstall` dies at every call; the next of either kind leaves what it would have left alone."""
    for number in itertools.count(1):
        box = Box()
        if command == "uninstall":
            list(box.steps("install", starter=starter))
        machine = box.world.fake()
        machine.trap = lambda call, _: machine.die() if call == number else None  # noqa: B023 -- called in this turn
        try:
            list(box.steps(command, starter=starter if command == "install" else None, trap=machine))
            break
        except KilledError:
            pass
        list(box.steps("install", starter=starter))
        clean = Box()
        list(clean.steps("install", starter=starter))
        assert box.files() == clean.files(), number
        list(box.steps("uninstall"))
        assert box.files() == {}, number
    assert number > 5


# --- stamps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a\n", "#!/bin/sh\nexit\n", "no end", "#!/bin/sh"])
def test_stamps(text: str) -> None:
    """What was stamped is read back; any change of it, also of the line itself, is noticed."""
    made = stamp.stamped(text, "/srv/ä b\n/multi.toml")
    found = stamp.read(made)
    assert found is not None
    assert found.intact
    assert found.rest.rstrip("\n") == text.rstrip("\n")
    for at in range(len(made)):
        changed = made[:at] + "\x7f" + made[at + 1 :]
        again = stamp.read(changed)
        assert again is None or not again.intact, at


def test_a_part_of_a_table() -> None:
    """A part is found, replaced and taken away; one without its end counts as changed by hand."""
    table = stamp.with_part("mine", "one\n", "/x")
    assert table.startswith("mine\n# BEGIN multi install for /x; ")
    assert stamp.with_part(table, "two\n", "/y").startswith(table)
    again = stamp.with_part(table, "three\n", "/x")
    part = stamp.in_table(again, "/x")
    assert part is not None
    assert (part.intact, part.rest) == (True, "three\n")
    assert stamp.with_part(again, "", "/x") == "mine\n"
    cut = stamp.in_table(table.replace("# END multi install for /x\n", ""), "/x")
    assert cut is not None
    assert not cut.intact
