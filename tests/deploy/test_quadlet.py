"""`multi export quadlet`: Podman's generator makes a service of it that runs the exact words.

What a unit says is read here by the rules of systemd.syntax(7) and podman-systemd.unit(5), and run by `test_podman`.
What Podman's own generator makes of it is held against that. It came with Podman 4.4, and Debian 12 has 4.3: there it
is taken out of the package of Debian 13, if that can be had.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from awkward import KNOTS, UNICODE, VALUES
from multi import api as pipeline
from multi.errors import UsageError
from multi.export import FORMS, Wanted
from quadlet import Unit, as_systemd_reads, of_debian_13
from real import Real, current_directory

TOLD = [word for word in (*UNICODE, *KNOTS) if word]
SLEEP = ("--preset=exec", "--cmd=sleep 600", "--image=app:1")
# Of Podman 4.4; a file with any other is refused as a whole.
KEYS = frozenset({
    "ContainerName", "Image", "Environment", "EnvironmentFile", "EnvironmentHost", "Exec", "NoNewPrivileges",
    "DropCapability", "AddCapability", "ReadOnly", "RemapUsers", "RemapUid", "RemapGid", "RemapUidSize", "Notify",
    "ExposeHostPort", "PublishPort", "User", "Group", "Volume", "PodmanArgs", "Label", "Annotation", "RunInit",
    "VolatileTmp", "Timezone", "SeccompProfile", "AddDevice", "Network",
})  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("MULTI_") and name != "MULTI_TEST_ALL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with current_directory(tmp_path):
        yield


def exported(*said: str, **wanted: object) -> Mapping[str, str]:
    """The files."""
    selection = pipeline.select("export", said, foreground=FORMS["quadlet"].foreground)
    return pipeline.export("quadlet", selection, Wanted(image="app:1", **wanted))  # type: ignore[arg-type] # fields of it


def only(*said: str, **wanted: object) -> Unit:
    """The one unit."""
    (text,) = exported(*said, **wanted).values()
    return Unit(text)


EXACT = (
    *("w1", "--preset=exec", "--cmd=sleep 600", "--uid=1000", "--gid=1001", "--workdir=/srv/$x 5%"),
    *("--rlimit=NOFILE=64:128", "--stop-schedule=TERM/30/KILL/5"),
    *(f"--env={name}={value}" for name, value in VALUES.items()),
)


def test_g11_quadlet_has_the_exact_words(tmp_path: Path) -> None:
    """G11: read as Quadlet reads it and then as systemd does, words, variables and paths are what was typed."""
    file = tmp_path / "my $vars 5.env"
    file.write_text("TOKEN=hunter2\n", encoding="ascii")
    words = only(*EXACT, f"--env-file={file}", "--", *TOLD, cpu=500, memory=512 << 20).podman()
    (cmd,) = (word.removeprefix("--cmd=") for word in words if word.startswith("--cmd="))
    assert [*shlex.split(cmd), *words[words.index("--") + 1 :]] == ["sleep", "600", *TOLD]
    assert words[words.index("app:1") + 1 :][:4] == ["multi", "run", "w1", "--preset=exec"]
    env = dict(value.split("=", 1) for word, value in pairwise(words) if word == "--env")
    assert env == VALUES
    assert words[words.index("--env-file") + 1] == str(file)
    options = ["--workdir=/srv/$x 5%", "--ulimit=nofile=64:128", "--stop-timeout=40", "--cpus=0.5", "--memory=512m"]
    assert set(options) < set(words)
    assert words[words.index("--user") + 1] == "1000:1001"
    assert "hunter2" not in " ".join(words)


@pytest.mark.parametrize("said", [("--uid=www", "--gid=web"), ("--uid=www",), ("--uid=root",), ("--uid=0",), ()])
def test_g8_a_user_by_name_or_by_number(said: tuple[str, ...]) -> None:
    """G8: Podman 4.4 has numbers alone as keys, so a name is an option; without either it is the image's user."""
    words = only("a", *SLEEP[:2], *said).podman()
    found = (
        [word for word in words if word.startswith("--user=")] or words[words.index("--user") :][1:2] if said else []
    )
    assert (
        found
        == {"www": ["--user=www:web" if len(said) > 1 else "--user=www"], "root": ["0"], "0": ["0"], "": []}[
            said[0].partition("=")[2] if said else ""
        ]
    )
    assert not (not said and any(word.startswith("--user") for word in words))


def test_quadlet_has_what_an_expert_would_write() -> None:
    """Only keys that each Podman knows; no root, no capability; systemd waits for ready, and longer than the stop."""
    files = exported("w1", "w2", "-A", "proj", "-c", "4", "--after:w2=w1", "--restart=always", "--max-age=12h")
    assert set(files) == {"multi-w1.container", "multi-w2.container"}
    first, second = map(Unit, files.values())
    assert {key for key, _ in first.section("Container")} <= KEYS
    told = dict(first.section("Container"))
    assert told["Exec"] == "multi run w1 -A proj -c 4 --max-age=43200 --multi-config=none"
    assert (told["Notify"], told["ReadOnly"], told["DropCapability"], told["NoNewPrivileges"]) == (
        "true", "true", "all", "true",
    )  # fmt: skip
    words = first.podman()
    assert {"--tmpfs=/tmp", "--stop-timeout=110", "--stop-signal=SIGTERM", "--hostname=this"} < set(words)
    assert '--health-cmd=["multi", "status", "w1", "--health", "--multi-config=none"]' in words
    service = dict(first.section("Service"))
    assert (service["TimeoutStopSec"], service["Restart"]) == ("125", "always")
    assert "RuntimeMaxSec" not in service
    assert dict(first.section("Install")) == {"WantedBy": "multi-user.target default.target"}
    unit = dict(second.section("Unit"))
    assert (unit["After"], unit["Wants"]) == ("multi-w1.service", "multi-w1.service")


def test_counted_nodes_have_a_file_each(real: Real) -> None:
    """A unit is one container: replicas are refused, exit 2, and so is an empty word, where Quadlet ends a command."""
    assert len(exported("3", "-A", "proj")) == 3
    assert "--hostname=this" not in only("w1@example.com", "-A", "proj").podman()
    done = real.raw("export", "quadlet", "w1", "-A", "proj", "--replicas=2").exits(2)
    assert "cannot be said to Quadlet, which has one container a file; 'multi export quadlet 3' has three" in done.err
    with pytest.raises(UsageError, match="one alone in a project"):
        exported("2", "--preset=celery-beat", "-A", "proj")
    with pytest.raises(UsageError, match="empty word"):
        exported("a", *SLEEP[:2], "--", "x", "")


def generators(cache: pytest.Cache) -> list[str]:
    """Every `quadlet` that is here; QUADLET names others. Where none is, that of Debian 13."""
    places = (
        "/usr/libexec/podman/quadlet",
        "/usr/lib/podman/quadlet",
        *os.environ.get("QUADLET", "").split(":"),
    )
    return [found for place in places if place and (found := shutil.which(place))] or of_debian_13(
        cache.mkdir("quadlet")
    )


@pytest.mark.engine
def test_g11_podmans_own_generator_makes_the_same(tmp_path: Path, cache: pytest.Cache) -> None:
    """G11: the command of the service that Podman makes of the unit, as systemd reads it, is the one of the reader."""
    file = tmp_path / "my $vars 5.env"
    file.write_text("TOKEN=hunter2\n", encoding="ascii")
    units = tmp_path / "units"
    units.mkdir()
    files = exported(*EXACT, f"--env-file={file}", "--", *TOLD, cpu=500, memory=512 << 20)
    for name, text in files.items():
        (units / name).write_text(text, encoding="utf-8")
    mine = Unit(*files.values()).podman()
    for quadlet in generators(cache):
        words = [quadlet, "-dryrun"]
        done = subprocess.run(words, env={"QUADLET_UNIT_DIRS": str(units)}, capture_output=True, check=False)
        assert done.returncode == 0, done
        (line,) = re.findall(r"^ExecStart=(.*)$", done.stdout.decode(), re.MULTILINE)
        made = as_systemd_reads(line)
        assert made[made.index("app:1") :] == mine[mine.index("app:1") :]
        assert _parts(mine[: mine.index("app:1")]) <= _parts(made)


def _parts(words: Sequence[str]) -> set[str]:
    """Options and values, whether they are one word or two."""
    return {part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])}
