"""Text for people: harmless, short, in the singular and the plural."""

from __future__ import annotations

import math

import pytest

from multi import text as texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, and ünïcode 漢", "plain, and ünïcode 漢"),
        ("\x1b[1;31mred\x1b[0m\x1b[K", "red"),
        ("a\tb", "a    b"),
        ("bell\x07 return\r null\0", r"bell\x07 return\r null\x00"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("line\nbreak", r"line\nbreak"),
        ("bad byte \udcff", r"bad byte \udcff"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    """Colours are taken out, tabs are blanks, all else that a terminal might obey is spelled out."""
    assert texts.printable(text) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0.0s"),
        (0.0, "0.0s"),
        (0.04, "0.0s"),
        (1.25, "1.2s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (90.0, "90s"),
        (119.4, "119s"),
        (119.6, "2m 0s"),
        (3599.0, "59m 59s"),
        (3600.0, "1h 0m"),
        (7322.0, "2h 2m"),
        (86399.9, "1d 0h"),
        (90000.0, "1d 1h"),
        (math.inf, "forever"),
        (math.nan, "forever"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    """A duration has at most two units and never rounds to sixty of one."""
    assert texts.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0K"),
        (1024**2 - 1, "1.0M"),
        (50_331_648, "48.0M"),
        (1024**3, "1.0G"),
        (5 * 1024**4, "5.0T"),
    ],
)
def test_size(count: int, text: str) -> None:
    """Bytes are counted in powers of 1,024."""
    assert texts.size(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "1"), (1025, "1025"), (1536, "1536"), (200 << 20, "200M"), (3 << 30, "3G"), (1 << 40, "1024G")],
)
def test_exact_size(count: int, text: str) -> None:
    """A unit only where it says the same."""
    assert texts.exact_size(count) == text
    assert texts.exact_size(1 << 20, ("b", "k")) == "1024k"


@pytest.mark.parametrize(
    ("number", "noun", "shown"), [(0, "node", "0 nodes"), (1, "node", "1 node"), (2, "process", "2 processes")]
)
def test_plural(number: int, noun: str, shown: str) -> None:
    """A number stands with its noun."""
    assert texts.plural(number, noun) == shown
