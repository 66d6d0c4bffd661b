"""What a wheel is built of, apart from the checkout: a build writes manual pages and more into the tree."""

from __future__ import annotations

import shutil
from pathlib import Path

from private_machine import CHECKOUT

_FILES = ("pyproject.toml", "README.md", "LICENSE")
_FOLDERS = ("multi", "config", "docs", "scripts")


def copy_sources(to: Path) -> None:
    """Copy all that the build reads into a directory that is there."""
    for name in _FILES:
        shutil.copy(CHECKOUT / name, to / name)
    for name in _FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, to / name, symlinks=True, ignore=ignored)
