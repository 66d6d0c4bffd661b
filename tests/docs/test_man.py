"""The manual pages, which the build makes from the tables of help."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multi.cli.commands import COMMANDS
from multi.settings import toml
from multi.settings.table import SETTINGS
from private_machine import need

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with the pages, made by a Python that has nothing but what a build requires."""
    folder = tmp_path_factory.mktemp("man")
    missing = "import sys, runpy; sys.modules.update(dict.fromkeys(('click', 'psutil', 'filelock', 'celery')));"
    run = "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [sys.executable, "-c", f"{missing} {run}", str(ROOT / "scripts/man"), str(folder)]
    subprocess.run(words, check=True, timeout=60)
    return folder


def test_every_command_and_setting_has_its_place(pages: Path) -> None:
    """multi(1) has a section for each command, multi.toml(5) a paragraph for each setting."""
    first = (pages / "multi.1").read_text(encoding="utf-8")
    assert {row.name for row in COMMANDS if f"\n.SS {row.name}" not in first} == set()
    fifth = (pages / "multi.toml.5").read_text(encoding="utf-8")
    assert {name for name in SETTINGS if f"\n\\fB{name}\\fR = " not in fifth} == set()


def test_the_manual_says_all_that_the_pages_of_commands_say(pages: Path) -> None:
    """Each heading, item and cell of multi/cli/manual.toml is in multi(1), and each table there is a command's."""
    tables: dict[str, Any] = dict(toml.read((ROOT / "multi/cli/manual.toml").read_bytes(), "manual.toml").values)
    assert set(tables) <= {row.name for row in COMMANDS}
    said = re.sub(r"\\f.|\\\(..|\W", "", (pages / "multi.1").read_text(encoding="utf-8"))
    for name, table in tables.items():
        text = re.sub(r"\]\([^)]*\)", "", table.get("details", ""))
        for part in re.split(r"\n\n|\n- |\n?\| | \| ", text):
            assert re.sub(r"\W", "", part) in said, f"{name}: {part}"


@pytest.mark.parametrize("name", ["multi.1", "multi.toml.5"])
def test_groff_has_nothing_to_say_against_them(pages: Path, name: str) -> None:
    """The pages hold no macro that groff does not know, and no line that it cannot set."""
    need("groff", root=False)
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", pages / name], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
