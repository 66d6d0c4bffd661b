"""The pages that cite tests cite such as there are, and each guarantee has some."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGES = TESTS.parent / "docs" / "explanation"
PAGE = (PAGES / "guarantees.md").read_text()
CITED = sorted(set(re.findall(r"`tests/(?:\w+/)?(\w+\.py)(?:::(\w+))?`", PAGE + (PAGES / "security.md").read_text())))


@pytest.mark.parametrize(("file", "test"), CITED)
def test_each_cited_test_is_there(file: str, test: str) -> None:
    """A citation names a file and a function that exist."""
    (path,) = TESTS.glob(f"**/{file}")
    text = path.read_text()
    assert not test or re.search(rf"^def {test}\(", text, re.MULTILINE), f"{file} has no {test}"


@pytest.mark.parametrize("number", [*range(1, 12), 13, 14])
def test_each_guarantee_cites_tests(number: int) -> None:
    """Each section says what proves it."""
    section = re.search(rf"^## G{number} .*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert re.search(r"^\*\*Tests\.\*\*(?=.*`tests/)", section.group(), re.MULTILINE | re.DOTALL)
