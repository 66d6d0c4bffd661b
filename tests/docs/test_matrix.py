"""`scripts/matrix` says which Pythons it cannot use, and exits 1."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_python_that_is_missing_or_too_old(tmp_path: Path) -> None:
    """A sentence each, and none is counted as passed."""
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3.9.18\nexit 1\n", encoding="ascii")
    old.chmod(0o755)
    words = [str(ROOT / "scripts/matrix"), "--oldest", str(old), "no-such-python"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"matrix: {old}: 3.9.18 is older than 3.10",
        "matrix: no-such-python: no such Python on this machine",
        f"matrix: failed: {old} no-such-python",
    ]
