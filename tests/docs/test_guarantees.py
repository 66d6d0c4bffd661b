"""Each guarantee cites tests; that they are there is checked for all pages in test_readme.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "explanation" / "guarantees.md").read_text()


@pytest.mark.parametrize("number", [*range(1, 12), 13, 14])
def test_each_guarantee_cites_tests(number: int) -> None:
    """Each section says what proves it."""
    section = re.search(rf"^## G{number} .*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert re.search(r"^\*\*Tests\.\*\*(?=.*`tests/)", section.group(), re.MULTILINE | re.DOTALL)
