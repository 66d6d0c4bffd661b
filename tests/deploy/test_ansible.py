"""The Ansible role, played by a real ansible-playbook against two private machines."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from private_machine import BIN, CHECKOUT, SYSTEM_PATH, Host, machine, need

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.timeout(600)]

ROLE = CHECKOUT / "examples/ansible"
# Ansible's way to a machine is ssh with options, a name and a line for sh. This one knows two names.
_SSH = """\
#!/usr/bin/python3
import os, sys
words = sys.argv[1:]
at = next(place for place, word in enumerate(words) if word in {hosts!r})
pid = {hosts!r}[words[at]]
os.execvp("nsenter", ["nsenter", f"--target={{pid}}", "--mount", "--pid", "--", "sh", "-c", " ".join(words[at + 1 :])])
"""


class Fleet:
    """Two machines, and Ansible beside them."""

    def __init__(self, base: Path, hosts: dict[str, Host]) -> None:
        """Make `multi` known on each; nothing is started."""
        self.base, self.hosts = base, hosts
        ssh = base / "ssh"
        ssh.write_text(_SSH.format(hosts={name: str(host.init) for name, host in hosts.items()}))
        ssh.chmod(0o755)
        (base / "hosts").write_text("[workers]\n" + "".join(f"{name}\n" for name in hosts))
        for host in hosts.values():
            host.path("/etc/multi").mkdir()

    def play(self, *extra: str) -> subprocess.CompletedProcess[str]:
        """Play the playbook of the example."""
        variables = (
            "ansible_ssh_executable=" + str(self.base / "ssh"), "ansible_ssh_transfer_method=piped",
            "ansible_python_interpreter=" + str(BIN / "python"), f"multi_command={BIN}/multi", *extra,
        )  # fmt: skip
        words = [str(BIN / "ansible-playbook"), "-i", str(self.base / "hosts"), str(ROLE / "site.yml")]
        for one in variables:
            words += ["-e", one]
        env = {"PATH": f"{BIN}:{SYSTEM_PATH}", "HOME": str(self.base), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOWS": "1"}
        return subprocess.run(words, env=env, cwd=self.base, capture_output=True, text=True, check=False, timeout=180)

    def changed(self, done: subprocess.CompletedProcess[str]) -> dict[str, int]:
        """How many tasks changed something on each machine, by Ansible's recap."""
        return {
            name: int(count)
            for name, count in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", done.stdout, re.MULTILINE)
        }

    def pids(self) -> dict[str, list[int | None]]:
        """The pids of each machine's nodes, null where one is down."""
        return {
            name: [
                one["pid"] for one in json.loads(host.run(str(BIN / "multi"), "status", "--json").out)
            ] for name, host in self.hosts.items()
        }  # fmt: skip


def test_a_role_brings_two_machines_to_what_is_configured(tmp_path: Path) -> None:
    """The first play starts all, the second changes nothing; a bad command is taken back and ends the deploy."""
    need("nsenter")
    if not (BIN / "ansible-playbook").exists():
        pytest.skip("ansible-core has no release for this Python")
    with machine() as one, machine() as two:
        fleet = Fleet(tmp_path, {"one": one, "two": two})
        try:
            first = fleet.play()
            assert first.returncode == 0, first.stdout + first.stderr
            assert fleet.changed(first) == {"one": 2, "two": 2}  # the file and the nodes
            started = fleet.pids()
            assert {name: len(list(filter(None, pids))) for name, pids in started.items()} == {"one": 2, "two": 2}

            assert fleet.changed(fleet.play()) == {"one": 0, "two": 0}
            assert fleet.pids() == started

            broken = fleet.play("multi_cmd='false'")
            assert broken.returncode != 0
            assert "rolled_back" in broken.stdout, broken.stdout
            assert fleet.changed(broken).get("two", 0) == 0  # the first machine's failure ends the deploy
            assert all(all(pids) for pids in fleet.pids().values())
        finally:
            for host in fleet.hosts.values():
                host.run(str(BIN / "multi"), "kill")
