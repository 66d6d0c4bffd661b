"""Codes in a string become text, for the worker and for the paths that multi opens."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multi.errors import UsageError
from multi.words import template

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def filled(text: str) -> str:
    """For the node w1@box."""
    return template.expand(text, "w1@box", "--opt")


def filled_by_worker(text: str) -> str:
    """As the worker's main process fills in what is left for it."""
    return re.sub("%([%iI])", lambda found: {"%": "%", "i": "0", "I": ""}[found[1]], text)


def made(text: str, name: str = "w1@box") -> str:
    """A path of the node, still to be opened or handed on."""
    return template.path(text, name, "--pidfile")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("%n", "w1"),
        ("%N", "w1"),
        ("%h", "w1@box"),
        ("%p", "w1@box"),
        ("%d", "box"),
        ("%%", "%"),
        ("%%n", "%n"),
        ("%%%n", "%w1"),
        ("%n%n", "w1w1"),
        ("%nn", "w1n"),
        ("a%i-b%I", "a%i-b%I"),
        ("100%", "100%"),
        ("100% sure", "100% sure"),
        ("%-%/%.", "%-%/%."),
        ("%", "%"),
        ("%%%", "%%"),
        ("é%né", "éw1é"),
    ],
)
def test_codes_become_text(text: str, expected: str) -> None:
    """`%i` and `%I` stay for the worker, and a lone `%` is just itself."""
    assert filled(text) == expected


@pytest.mark.parametrize("code", ["x", "H", "4", "_", "é", "٣"])
def test_an_unknown_code_is_an_error(code: str) -> None:
    """It names the option and all codes; what counts as a code is what Celery's pattern takes for one."""
    with pytest.raises(UsageError) as caught:
        filled(f"a%{code}b")
    assert str(caught.value).startswith(f"--opt: %{code} in 'a%{code}b' means nothing; known are %n")


def test_an_error_without_an_option_names_the_text() -> None:
    """As for the command `expand TEMPLATE`."""
    with pytest.raises(UsageError) as caught:
        template.expand("%x", "a@b")
    assert caught.value.word == "%x"


@pytest.mark.parametrize(
    ("text", "opened", "handed"),
    [
        ("/l/%n%I.log", "/l/w1.log", "/l/w1%I.log"),
        ("/l/%n-%i.log", "/l/w1-0.log", "/l/w1-%i.log"),
        ("/l/%%n.pid", "/l/w1.pid", "/l/w1.pid"),
        ("/l/%%i.log", "/l/0.log", "/l/%i.log"),
        ("/l/100%%.log", "/l/100%.log", "/l/100%%.log"),
        ("/l/100%/%n", "/l/100%/w1", "/l/100%%/w1"),
        ("/l/%%%%n", "/l/%n", "/l/%%n"),
    ],
)
def test_a_path_is_filled_in_twice(text: str, opened: str, handed: str) -> None:
    """As with celery multi, whose worker fills it in once more; what is handed on means the same file to the worker."""
    assert template.opened(made(text)) == opened
    assert template.handed(made(text)) == handed


def test_a_percent_sign_in_a_name_stays_one() -> None:
    """Whatever stands behind it in the path, in both passes."""
    assert template.opened(made("/l/%nn.pid", "50%@box")) == "/l/50%n.pid"
    assert template.handed(made("/l/%nn%I", "50%@box")) == "/l/50%%n%I"


@given(WORDS)
def test_a_literal_says_exactly_its_text(text: str) -> None:
    """Once for an option, twice for a path."""
    assert filled(template.literal(text)) == text
    assert template.opened(made(template.literal_path(text))) == text


@given(WORDS)
def test_a_handed_path_is_the_opened_one_to_the_worker(text: str) -> None:
    """The worker's main process fills in what it gets, and opens the file that multi opens."""
    try:
        path = made(text)
    except UsageError:
        return
    assert filled_by_worker(template.handed(path)) == template.opened(path)


@given(WORDS)
def test_any_text_is_filled_in_or_refused(text: str) -> None:
    """Never another exception (G9)."""
    try:
        filled(text)
    except UsageError as error:
        assert "%" in text
        assert "\n" not in str(error)  # noqa: PT017 -- the property is about both outcomes
