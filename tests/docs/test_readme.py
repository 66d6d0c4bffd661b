"""What the documentation shows is what happens: its sessions are run, and each line of output is compared."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from real import Real

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 240.0  # seconds for a whole session on a busy machine
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_MARK = "=== next command ==="


def sessions(page: str) -> list[list[tuple[str, list[str]]]]:
    """The console blocks of a page: for each, its commands with the output shown under them."""
    found: list[list[tuple[str, list[str]]]] = []
    for block in _BLOCK.findall((ROOT / page).read_text()):
        steps: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
        found.append(steps)
    return found


def plain(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run: numbers, the host's name, paths of this place, the order of nodes."""
    out: list[str] = []
    for line in lines:
        text = re.sub(r"@[\w.-]+", "@HOST", line)
        text = re.sub(r"\S*/examples/\w+/", "/", text)
        text = re.sub(r"(?<![\w/])\d+(\.\d+)?(?=[smhMG%)]?(\W|$))", "N", text)
        out.append(" ".join(text.split()))
    return sorted(out)


@pytest.mark.engine
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(steps, id=f"{page} {number}")
        for page in ("README.md", "docs/operating.md")
        for number, steps in enumerate(sessions(page), start=1)
    ],
)
def test_sessions_of_the_pages(steps: list[tuple[str, list[str]]], tmp_path: Path) -> None:
    """G4, G5: pasted into a checkout, a session prints what the page shows under each command."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("data", "run", "log"))
    script = "".join(f"{command}\necho {_MARK!r}\n" for command, _ in steps)
    bin_directory = str(Path(sys.executable).parent)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MULTI_", "CELERY", "XDG_"))
    }
    environment |= {"PATH": f"{bin_directory}:{environment['PATH']}", "HOME": str(tmp_path), "C_FORCE_ROOT": "1"}
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    finally:
        subprocess.run(
            ["bash", "-c", "cd examples/celery_app; multi kill --pidfile=run/%n.pid; cd ../project; multi kill"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
    printed = done.stdout.split(_MARK + "\n")
    for (command, shown), output in zip(steps, printed, strict=False):
        assert plain(output.splitlines()) == plain(shown), command


STARTS = [
    (page, found)
    for page in ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
    for found in re.findall(r"^    multi start (.*)$", (ROOT / page).read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("page", "words"), STARTS)
def test_a_start_that_a_page_shows_is_understood(page: str, words: str, real: Real) -> None:
    """Each `multi start` of a page makes the nodes that it names, and nobody has to warn of a word in it."""
    told = shlex.split(words)
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), told))
    count = int(names[0]) if names[0].isdigit() else len(names)
    done = real.raw("show", *told).ok()
    assert (done.err, len(done.out.splitlines())) == ("", count), page


def test_every_command_is_in_the_readme() -> None:
    """The table of commands has a row for each command that `multi help` knows."""
    from multi.cli.commands import COMMANDS

    text = (ROOT / "README.md").read_text()
    for info in COMMANDS:
        assert re.search(rf"`{info.name}\b", text), f"README.md does not show '{info.name}'"
