"""scripts/demo, which a newcomer runs first, holds its claims."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.engine
@pytest.mark.timeout(400)  # twenty commands and a build of the package, on a machine with ten times its load
def test_the_demo_holds_its_claims(tmp_path: Path) -> None:
    """It exits 0, says so in its last line, and removes what it made.

    Its environment finds the packages of the tests' one, so that only `multi` itself is built and installed.
    """
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "outer.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    done = subprocess.run(
        [ROOT / "scripts/demo"], env={**os.environ, "MULTI_DEMO_VENV": str(venv), "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=380,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "demo: every claim held"
    assert (site / "multi/__init__.py").exists(), "it is the copy that has run, not the checkout"
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]
