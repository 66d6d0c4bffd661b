"""From the built wheel to nodes that survive a boot: `multi install` under a real systemd, cron and init."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import system_machine
from checkout import copy_sources
from private_machine import BIN, CHECKOUT, NO_LIMITS, STRANGER, STRANGER_ID, USER, USER_ID, Host, machine, need
from real import until

pytestmark = pytest.mark.engine  # boots machines, and a cron daemon looks at its tables once a minute

MULTI = "/srv/venv/bin/multi"
DEPENDENCIES = ("click", "filelock", "psutil", "tomli")
NODES = """\
[defaults]
preset = "exec"
cmd = "sleep 600"
startsecs = 0
[nodes.w1]
[nodes.w2]
after = ["w1"]
"""
THEIRS = NODES.replace("[nodes.w1]", f'uid = "{USER}"\n[nodes.w1]')
HOME = f"/home/{STRANGER}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel, built of a copy of this checkout."""
    base = tmp_path_factory.mktemp("wheel")
    copy_sources(base)
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", f"--wheel-dir={base}/dist", str(base)]
    subprocess.run(words, check=True, capture_output=True)
    (made,) = (base / "dist").iterdir()
    return made


def test_what_the_wheel_carries(wheel: Path) -> None:
    """All of config is in the package; manual pages and completions are where man and the shells find them."""
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    config = [path.relative_to(CHECKOUT / "config") for path in (CHECKOUT / "config").rglob("*") if path.is_file()]
    assert {f"multi/shipped/{path}" for path in config if path.parts[0] != "man"} <= names
    assert {"multi/shipped/init.d/multid", "multi/shipped/init.d/multibeat"} <= names
    shared = {name.partition(".data/data/share/")[2] for name in names if ".data/" in name}
    assert shared == {
        *("man/man1/multi.1", "man/man5/multi.toml.5", "bash-completion/completions/multi"),
        *("zsh/site-functions/_multi", "fish/vendor_completions.d/multi.fish"),
    }


def install(host: Host, wheel: Path) -> None:
    """Make a fresh environment with nothing but the wheel and what it depends on. There is no network inside."""
    host.run(f"{sys.base_prefix}/bin/python3", "-m", "venv", "--without-pip", "/srv/venv").ok()
    inside = f"/srv/{wheel.name}"
    shutil.copy(wheel, host.path(inside))
    pip = (str(BIN / "python"), "-m", "pip", "--python=/srv/venv/bin/python")
    host.run(*pip, "install", "-q", "--no-deps", "--no-index", "--root-user-action=ignore", inside).ok()
    source = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    (target,) = host.path("/srv/venv/lib").glob("python*/site-packages")
    for name in DEPENDENCIES:
        if (source / name).exists():
            shutil.copytree(source / name, target / name)


@pytest.mark.timeout(300)  # it builds a wheel, and an environment
def test_the_wheel_alone_has_all_that_it_needs(wheel: Path, tmp_path: Path) -> None:
    """What pip installs into a fresh environment finds each of its files there: nothing looks for a checkout."""
    need("groff", root=False)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", f"--python={venv}/bin/python", "--disable-pip-version-check"]
    words = ["install", "-q", "--no-deps", "--no-index", "--root-user-action=ignore", str(wheel)]
    subprocess.run([*pip, *words], check=True, capture_output=True)
    source = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    (target,) = venv.glob("lib/python*/site-packages")
    for name in DEPENDENCIES:
        for path in (*source.glob(name), *source.glob(f"{name}-*")):
            shutil.copytree(path, target / path.name)
    subprocess.run([*pip, "check"], check=True, capture_output=True)

    (tmp_path / "multi.toml").write_text(NODES, encoding="ascii")
    env = {"PATH": f"{venv}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path), "C_FORCE_ROOT": "1"}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"}
    for typed, shown in {
        "multi --version": "multi ",
        "python -m multi names 2": "celery1@",
        "multi run --multi-config=none x --preset=exec --startsecs=0 --pidfile=%n.pid --cmd='echo done' 2>&1": "done",
        "multi install --sysv --dry-run": "### BEGIN INIT INFO",
        "multi install --cron --dry-run": "bin/multi ensure ",
        ". venv/share/bash-completion/completions/multi; complete -p multi": " multi",
        "groff -man -Tutf8 -ww -P-cbou venv/share/man/man1/multi.1": "stopwait",
        "groff -man -Tutf8 -ww -P-cbou venv/share/man/man5/multi.toml.5": "stop_schedule",
    }.items():
        bash = ["bash", "-c", typed]
        done = subprocess.run(bash, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, shown in done.stdout, str(CHECKOUT) in done.stdout) == (0, True, False), done


def etc(host: Host) -> dict[str, str]:
    """Every file of /etc with its text, but for what changes by itself."""
    texts = {}
    for path in host.path("/etc").rglob("*"):
        if path.is_symlink():
            texts[str(path)] = str(path.readlink())
        elif path.is_file():
            texts[str(path)] = path.read_bytes().decode("utf-8", "replace")
    return {path.partition("/etc/")[2]: text for path, text in texts.items()}


def up(host: Host, user: int) -> bool:
    """Whether both nodes of a user run."""
    return host.processes(user=user).count(["sleep", "600"]) == 2


def test_systemd_from_the_wheel_to_the_next_boot(wheel: Path) -> None:
    """Four commands: pip install, a multi.toml, multi install, a reboot; as root, and as a user who lingers.

    What `uninstall` leaves in /etc is what was there before.
    """
    need("systemd-nspawn", "systemctl", "dbus-daemon", "nsenter", "setpriv")
    with system_machine.machine() as booted:
        host = booted.host
        for path in ("pam.d", "security", "login.defs"):
            host.copy(f"/etc/{path}")
        host.shell(NO_LIMITS.format(etc="/etc")).ok()
        passwd = host.read("/etc/passwd").replace(f"{STRANGER_ID}::/nonexistent", f"{STRANGER_ID}::{HOME}")
        host.write("/etc/passwd", passwd)
        host.write(f"{HOME}/multi.toml", NODES, owner=STRANGER_ID)
        host.shell(f"chown {STRANGER} {HOME}; loginctl enable-linger {STRANGER}").ok()
        theirs = {"HOME": HOME}

        install(host, wheel)
        host.write("/srv/app/multi.toml", THEIRS)
        before = etc(host)
        said = host.shell(f"cd /srv/app && {MULTI} install").ok()
        assert "w1 and w2 start at every boot" in said.out
        until(lambda: host.exists(f"/run/user/{STRANGER_ID}/systemd/private"), "the user's manager runs")
        host.shell(f"cd {HOME} && {MULTI} install --user", user=STRANGER, env=theirs).ok()
        assert host.processes() == [], "not before the boot"

        booted.reboot()
        host = booted.host
        host.shell(f"cd /srv/app && {MULTI} wait --timeout=60 && {MULTI} status && {MULTI} diff").ok()
        assert (
            host.run("systemctl", "is-active", "multi-w1", "multi-w2", "multi.target").ok().out.split()
            == ["active"] * 3
        )
        until(lambda: up(host, STRANGER_ID), "the user's nodes run")
        host.shell(f"cd {HOME} && {MULTI} wait --timeout=60", user=STRANGER, env=theirs).ok()
        assert up(host, USER_ID)
        host.shell(f"cd {HOME} && {MULTI} uninstall --now", user=STRANGER, env=theirs).ok()
        host.shell(f"cd /srv/app && {MULTI} uninstall --now && {MULTI} uninstall").ok()
        until(lambda: not up(host, STRANGER_ID) and host.processes() == [], "they have been stopped")
        after = etc(host)
        assert {name: text for name, text in after.items() if before.get(name) != text} == {}
        assert not list(host.path(f"{HOME}/.config").rglob("multi*"))


def test_cron_from_the_wheel_to_the_next_boot(wheel: Path) -> None:
    """A cron daemon that starts, as at boot, starts the nodes of root's table and of a user's, and keeps them up."""
    need("cron", "crontab", "faketime", "unshare", "nsenter", "setpriv")
    with machine() as host:
        install(host, wheel)
        for other in host.path("/etc/cron.d").iterdir():
            other.unlink()
        host.write("/etc/crontab", "")
        host.shell("mkdir -p /var/spool/cron/crontabs; chmod 1730 /var/spool/cron/crontabs").ok()
        passwd = host.read("/etc/passwd").replace(f"{STRANGER_ID}::/nonexistent", f"{STRANGER_ID}::/srv/home")
        host.write(
            "/etc/passwd",
            passwd.replace(f":{STRANGER_ID}::/srv/home:/usr/sbin/nologin", f":{STRANGER_ID}::/srv/home:/bin/sh"),
        )
        host.write("/srv/app/multi.toml", THEIRS)
        host.write("/srv/home/multi.toml", NODES, owner=STRANGER_ID)
        host.shell(f"chown {STRANGER} /srv/home; chgrp crontab /var/spool/cron/crontabs").ok()
        host.shell(f"cd /srv/app && {MULTI} install --cron").ok()
        host.shell(f"cd /srv/home && {MULTI} install --cron", user=STRANGER, env={"HOME": "/srv/home"}).ok()
        assert host.processes() == []
        with host.daemon("faketime", "-f", "@2026-01-05 12:00:30 x20", "cron", "-f"):
            until(lambda: up(host, USER_ID), "cron has started root's nodes", 90)
            until(lambda: up(host, STRANGER_ID), "and the user's", 90)
            first = host.pid("/run/multi/w1.pid")
            host.run("kill", "-KILL", str(first)).ok()
            until(lambda: not host.alive(first), "it is gone")
            host.shell(f"cd /srv/app && {MULTI} wait w1 --timeout=60").ok()
        host.shell(f"cd /srv/app && {MULTI} uninstall && {MULTI} stopwait").ok()
        host.shell(
            f"cd /srv/home && {MULTI} uninstall && {MULTI} stopwait", user=STRANGER, env={"HOME": "/srv/home"}
        ).ok()
        assert not list(host.path("/etc/cron.d").iterdir())
        assert not list(host.path("/var/spool/cron/crontabs").iterdir())


def test_an_init_script_from_the_wheel_to_the_next_boot(wheel: Path) -> None:
    """The links of the run levels start the nodes, as init does at boot, and stop them at shutdown."""
    need("update-rc.d", "runuser", "unshare", "nsenter", "setpriv")
    with machine() as host:
        install(host, wheel)
        host.write("/srv/app/multi.toml", THEIRS)
        before = etc(host)
        host.shell(f"cd /srv/app && {MULTI} install --sysv").ok()
        host.shell("for script in /etc/rc2.d/S*multi*; do $script start || exit; done").ok()
        assert up(host, USER_ID)
        host.run("/etc/init.d/multi-srv-app", "status").ok()
        (stop,) = host.path("/etc/rc0.d").iterdir()
        assert stop.readlink() == Path("../init.d/multi-srv-app"), "it stops them at shutdown, too"
        host.shell(f"cd /srv/app && {MULTI} uninstall --now").ok()
        assert host.processes() == []
        assert etc(host) == before
