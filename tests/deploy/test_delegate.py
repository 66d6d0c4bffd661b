"""``Delegate=yes`` under a real systemd: each node of a service has a cgroup of its own, whoever is at work on it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

import psutil
import pytest

from cgroups import DELEGATE, delegated, entered, members, nodes_in
from multi.model.cgroup import PREFIX
from private_machine import BIN, USER, Host, need
from real import WORKER, Real, until
from system_machine import machine

pytestmark = pytest.mark.engine  # boots a machine, and makes a container

CGROUPS = "/sys/fs/cgroup/system.slice/nodes.service"
PIDFILE = "--pidfile=/run/nodes/%n.pid"
UNIT = f"""\
[Service]
Type=notify
User={USER}
RuntimeDirectory=nodes
RuntimeDirectoryPreserve=yes
WorkingDirectory=/
Delegate=yes
KillMode=mixed
Environment=MULTI_PIDFILE=/run/nodes/%%n.pid
ExecStart={BIN}/multi run w1 w2 --preset=exec --restart=always --restart-delay=0.1 --startsecs=0 \\
    --logfile=/dev/null --stop-schedule=TERM/10/KILL/10 \\
    --cmd='{BIN}/python -I -S {WORKER} --child lost'
ExecReload={BIN}/multi restart w1
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Give a machine with the service."""
    need("systemd-nspawn", "systemctl", "dbus-daemon", "nsenter", "setpriv")
    with machine() as made:
        made.host.write("/etc/systemd/system/nodes.service", UNIT)
        made.host.run("systemctl", "daemon-reload").ok()
        yield made.host


def groups(host: Host) -> dict[str, set[int]]:
    """The cgroups of the service that hold processes, each by its name; a node's by that of the node."""
    found: dict[str, set[int]] = {}
    for line in host.shell(f"cd {CGROUPS} && grep . cgroup.procs */cgroup.procs").out.splitlines():
        path, _, pid = line.partition(":")
        name = re.sub(rf"{PREFIX}(\w+)@.*", r"\1", path.rpartition("/")[0])
        found.setdefault(name, set()).add(int(pid))
    return found


def pid_of(host: Host, name: str) -> int:
    """The main process of a node; 0 while it has none."""
    return int(host.read(f"/run/nodes/{name}.pid") or 0)


def both(host: Host) -> bool:
    """Whether each node is in its cgroup with its child, alone."""
    found = groups(host)
    return found.keys() == {"supervisor", "w1", "w2"} and all(
        len(found[name]) == 2 and pid_of(host, name) in found[name] for name in ("w1", "w2")
    )


def test_g5_each_node_has_a_cgroup(host: Host) -> None:
    """G5: what hides is ended by `run`, by root and by the user from elsewhere, by a reload, and by systemctl stop."""
    host.run("systemctl", "start", "nodes").ok()
    until(lambda: both(host), "each has its cgroup")
    assert host.processes()
    before = groups(host)

    host.run("kill", "-KILL", str(pid_of(host, "w1"))).ok()
    until(lambda: both(host) and not groups(host)["w1"] & before["w1"], "run has started it again, its child is gone")
    assert groups(host)["w2"] == before["w2"]

    before = groups(host)
    host.run(f"{BIN}/multi", "restart", "w1", PIDFILE, f"--uid={USER}").ok()
    until(lambda: both(host) and not groups(host)["w1"] & before["w1"], "root's restart leaves it in the service")
    host.run(f"{BIN}/multi", "kill", "w1", PIDFILE, user=USER).ok()
    assert groups(host).keys() == {"supervisor", "w2"}
    host.run("systemctl", "reload", "nodes").ok()
    until(lambda: both(host), "the reload has put it into a cgroup of the service")
    host.run(f"{BIN}/multi", "kill", "w1", PIDFILE, f"--uid={USER}").ok()
    assert groups(host).keys() == {"supervisor", "w2"}
    assert groups(host)["w2"] == before["w2"]
    host.run("systemctl", "stop", "nodes").ok()
    assert host.processes() == []
    assert not host.exists(CGROUPS)


IN_A_CONTAINER = """
umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"
"""  # a cgroup namespace shows its own tree only where it is mounted anew


def test_g5_in_a_container(real: Real) -> None:
    """As PID 1 of a container whose cgroup is its own, where MULTI_CGROUP says so aloud: divided, and left empty."""
    need("unshare")
    with delegated() as folder:
        os.removexattr(folder, DELEGATE)
        touched = real.base / "touched"
        _, *rest = real.start_words("a", cmd=real.worker("--child", "lost", "--touch", str(touched)))
        words = (sys.executable, "-m", "multi", "run", *rest)
        apart = ("unshare", "--cgroup", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", IN_A_CONTAINER, "sh")
        container = real.popen(*entered(folder, *apart, *words), env={"MULTI_CGROUP": "delegated"})
        until(touched.exists, "it runs")
        (cgroup,) = nodes_in(folder)
        assert len(members(cgroup)) == 2
        (first,) = psutil.Process(container.pid).children()
        assert first.pid in members(folder / "supervisor")
        assert real.record("a")["cgroup"]["path"] == f"/sys/fs/cgroup/{cgroup.name}"  # type: ignore[index] # JSON
        first.terminate()
        assert container.wait(60) == 0
        assert nodes_in(folder) == []
