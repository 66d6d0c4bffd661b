"""A machine that systemd runs: this one's programs, booted in a container with an /etc, /var and /run of its own.

    with machine() as host:
        host.run("systemctl", "start", "multi@w1").ok()
        host.reboot()

systemd-nspawn makes the container; nothing is registered or started outside, and nothing outside changes. The machine
that runs the tests need not run systemd itself, it only has to have it installed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from private_machine import CHECKOUT, PATIENCE, Host, write_users
from real import until

_CGROUPS = Path("/sys/fs/cgroup")
_REBOOT = 133  # what systemd-nspawn --keep-unit exits with when the container reboots
_SPACES = ("--mount", "--pid", "--uts", "--ipc", "--net")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib32": "usr/lib32", "lib64": "usr/lib64"}


@dataclass(slots=True)
class Booted:
    """The container. What it has in /etc and /var stays over a `reboot`."""

    root: Path
    group: str
    process: subprocess.Popen[bytes] | None = None
    host: Host = field(default_factory=lambda: Host(0, _SPACES))

    def boot(self) -> None:
        """Start it, and wait until systemd has come up."""
        outside = {Path(sys.base_prefix), Path(sys.prefix), CHECKOUT}
        outside |= {path.resolve() for path in outside}
        with (self.root.parent / "console").open("ab") as console:
            self.process = subprocess.Popen(
                [
                    *("unshare", "--mount", "sh", "-c", _ENTER, "sh", self.group),
                    *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"),
                    *(f"--directory={self.root}", f"--machine={self.group}", "--console=pipe", "--bind-ro=/usr"),
                    *(f"--bind-ro={path}" for path in sorted(outside) if not str(path).startswith("/usr/")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        self.host = Host(
            until(self._init, f"the container runs: {self.root.parent}/console", seconds=PATIENCE), _SPACES
        )
        until(lambda: self.host.exists("/run/systemd/private"), "systemd answers", seconds=PATIENCE)
        self.host.run("systemctl", "is-system-running", "--wait").ok()

    def _init(self) -> int:
        assert self.process is not None
        assert self.process.poll() is None, (self.root.parent / "console").read_text(errors="replace")
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.name() == "systemd" and child.status() != psutil.STATUS_ZOMBIE:
                    return child.pid
        return 0

    def reboot(self) -> None:
        """Shut down in order and boot again."""
        assert self.process is not None
        self.host.run("systemctl", "reboot").ok()
        assert self.process.wait(3 * PATIENCE) == _REBOOT
        self.boot()

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.kill()
            self.process.wait(PATIENCE)
        for top in (_CGROUPS, _CGROUPS / "systemd", _CGROUPS / "unified"):
            folder = top / self.group
            if folder.exists():
                until(lambda folder=folder: _remove(folder), f"{folder} is empty")  # type: ignore[misc] # a lambda that keeps this turn's value


_ENTER = """
for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e $tree/cgroup.procs ]; then mkdir $tree/$1; echo $$ >$tree/$1/cgroup.procs; fi
done
shift
mount -t tmpfs -o mode=755 tmpfs /run
exec "$@"
"""
# A place of its own in each tree of control groups, because the container makes its own below under a fixed name; and
# a /run of its own, because systemd-nspawn leaves something there.


def _remove(folder: Path) -> bool:
    """Remove a tree of control groups, whose files are no files; False while a process is in it."""
    try:
        for below, _, _ in os.walk(folder, topdown=False):
            Path(below).rmdir()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def machine() -> Iterator[Booted]:
    """Boot one; it is gone when the block is left."""
    base = Path(tempfile.mkdtemp(prefix="multi-systemd-"))
    made = Booted(base / "root", f"multi-test-{secrets.token_hex(4)}")
    try:
        _furnish(made.root)
        made.boot()
        yield made
    finally:
        made.end()
        shutil.rmtree(base)


def _furnish(root: Path) -> None:
    for name in ("etc", "var", "usr", "root", "tmp", "run", "proc", "sys", "dev", "opt"):
        (root / name).mkdir(parents=True)
    root.chmod(0o755)
    for name, target in _LINKS.items():
        if (Path("/") / target).exists():
            (root / name).symlink_to(target)
    shutil.copy("/etc/os-release", root / "etc/os-release")
    (root / "etc/machine-id").touch()
    write_users(root / "etc")
