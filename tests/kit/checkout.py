"""What a wheel is built of, apart from the checkout: a build writes manual pages and more into the tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from private_machine import CHECKOUT


def copy_sources(to: Path) -> None:
    """Copy all that the build reads into a directory that is there, as scripts/demo and scripts/bench do."""
    words = ["bash", "-ec", '. scripts/environment; copy_sources "$1"', "copy_sources", str(to)]
    subprocess.run(words, cwd=CHECKOUT, check=True)
