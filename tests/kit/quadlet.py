"""A unit of Podman's Quadlet, read as Podman and then systemd read it (podman-systemd.unit(5), systemd.syntax(7))."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

_ESCAPES = {**dict(zip("abfnrtvs", "\a\b\f\n\r\t\v ", strict=True)), "\\": "\\", '"': '"', "'": "'"}
_ESCAPE = re.compile(r"\\(?:x(..)|u(.{4})|U(.{8})|(.))", re.DOTALL)
_SPECIFIERS = {"%": "%", "H": "this", "t": "/run", "N": "unit", "n": "unit.service"}  # Quadlet has the last three
_OPTIONS = {
    "ReadOnly": "--read-only", "NoNewPrivileges": "--security-opt=no-new-privileges", "Notify": "--sdnotify=container",
}  # fmt: skip


def split(text: str) -> list[str]:
    """The words of a line: quotes and C escapes are taken away. Fails for an empty word, where Quadlet stops."""
    words = []
    for match in re.finditer(r"""(?:"((?:[^"\\]|\\.)*)"|([^\s"'\\]+))(?:\s+|$)|(.)""", text):
        assert match[3] is None, f"{match[3]!r} in {text!r}"
        words.append(match[2] or _ESCAPE.sub(_character, match[1] or ""))
        assert words[-1], f"an empty word in {text!r}"
    return words


def _character(match: re.Match[str]) -> str:
    number = match[1] or match[2] or match[3]
    if match[1]:
        assert int(number, 16) < 0x80, "a byte beyond ASCII, which Quadlet takes for a character"
    return chr(int(number, 16)) if number else _ESCAPES[match[4]]


def expand(word: str) -> str:
    """What systemd makes of a word of a command; no variable is ever meant."""
    found = re.sub(r"%(.)", lambda match: _SPECIFIERS[match[1]], word)
    assert not re.search(r"(?<!\$)(?:\$\$)*\$(?!\$)", found), f"a variable in {word!r}"
    return found.replace("$$", "$")


def as_systemd_reads(line: str) -> list[str]:
    """The words of a line ``ExecStart=`` that Quadlet made."""
    return [expand(word) for word in split(line)]


class Unit:
    """One file."""

    def __init__(self, text: str) -> None:
        """Read it."""
        self._lines: list[tuple[str, str, str]] = []
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line[1:-1]
            elif line and not line.startswith("#"):
                key, equals, value = line.partition("=")
                assert equals
                self._lines.append((section, key, value))

    def section(self, name: str) -> list[tuple[str, str]]:
        """The keys and values of a section."""
        return [(key, value) for section, key, value in self._lines if section == name]

    def podman(self) -> list[str]:
        """The words behind `podman run` that come of it."""
        told = self.section("Container")
        one = dict(told)
        words = [option for key, option in _OPTIONS.items() if one.get(key) == "true"]
        words += [f"--cap-drop={one['DropCapability']}"] if "DropCapability" in one else []
        words += ["--user", ":".join(one[key] for key in ("User", "Group") if key in one)] if "User" in one else []
        for key, value in told:
            option = {"Environment": "--env", "EnvironmentFile": "--env-file"}.get(key)
            words += [word for each in split(value) for word in (option, each)] if option else []
            words += split(value) if key == "PodmanArgs" else []
        return [expand(word) for word in (*words, one["Image"], *split(one["Exec"]))]


_APT = """\
Dir::Etc::sourcelist "{at}/list"; Dir::Etc::sourceparts "-"; Dir::State "{at}"; Dir::State::status "{at}/status";
Dir::Cache "{at}"; Acquire::Languages "none"; Acquire::Retries "0"; Acquire::http::Timeout "20";
APT::Sandbox::User "root";
"""
_KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TAKE = """\
set -e
cd "$1"
mkdir -p lists/partial archives/partial
: >status
apt-get -qq update
apt-get -qq download podman
dpkg-deb --fsys-tarfile podman_*.deb >podman.tar
tar -x -f podman.tar ./usr/libexec/podman/quadlet
mv usr/libexec/podman/quadlet .  # last, so that it is whole
rm -r podman* usr lists archives
"""


def of_debian_13(directory: Path) -> list[str]:
    """The generator of Debian 13's Podman, 5.4, in the directory; it needs no other library than Debian 12 has.

    apt-get looks there alone, at lists and sources of its own. Skips where apt-get cannot have it.
    """
    if not (directory / "quadlet").exists():
        (directory / "list").write_text(f"deb [signed-by={_KEY}] http://deb.debian.org/debian trixie main\n")
        (directory / "conf").write_text(_APT.format(at=directory))
        env = {**os.environ, "APT_CONFIG": str(directory / "conf")}
        done = subprocess.run(["sh", "-c", _TAKE, "sh", directory], env=env, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"needs Podman's generator 'quadlet', 4.4 or later: {done.stderr.decode()[-300:]}")
    return [str(directory / "quadlet")]
