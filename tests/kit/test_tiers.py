"""Each test is of one tier, and a pure test that is not quick fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = {
    "pure/test_p.py": "import time\ndef test_pure(): pass\n"
    "def test_slow():\n    end = time.process_time() + 0.6\n    while time.process_time() < end: pass\n",
    "histories/test_h.py": "def test_history(): pass\n",
    "machine/test_m.py": "import pytest\ndef test_machine(): pass\n@pytest.mark.engine\ndef test_engine(): pass\n",
}


@pytest.mark.engine  # each case is a pytest of its own
@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["--quick"], {"pure", "history"}),
        ([], {"pure", "history", "machine"}),
        (["--engines"], {"engine"}),
        (["--all"], {"pure", "history", "machine", "engine"}),
        (["machine/test_m.py"], {"machine", "engine"}),
    ],
    ids=["quick", "default", "engines", "all", "by path"],
)
def test_which_tests_run(tmp_path: Path, words: list[str], passed: set[str]) -> None:
    """Without a tier all but the engines run, unless their file is named; a slow pure test is told with its time."""
    for name, text in TEXT.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="ascii")
    fixed = (
        "-c",
        str(CHECKOUT / "pyproject.toml"),
        "--rootdir=.",
        "-o",
        "testpaths=.",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "-rA",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", *fixed, *words],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{CHECKOUT}/tests:{CHECKOUT}/tests/kit"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert set(re.findall(r"^PASSED .*::test_(\w+)", done.stdout, re.MULTILINE)) == passed, done
    slow = re.search(r"^FAILED .*::test_slow - Failed: took 0\.[6-9]\ds of processor time", done.stdout, re.MULTILINE)
    assert (slow is not None) == ("pure" in passed), done
