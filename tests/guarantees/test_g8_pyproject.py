"""As root, in somebody else's checkout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from real import Real

pytestmark = pytest.mark.root


def test_g8_a_pyproject_without_our_table_is_no_obstacle(real: Real) -> None:
    """G8: root may work in a checkout whose pyproject.toml others can write, as long as it says nothing of ours."""
    project = real.base / "pyproject.toml"
    project.write_text("[project]\nname = 'multi-something'\n")
    project.chmod(0o664)
    assert real.raw("names", "2").ok().out.count("\n") == 2


def test_g8_a_pyproject_with_our_table_must_be_roots_own(real: Real) -> None:
    """G8: one that does is refused with the reason."""
    project = real.base / "pyproject.toml"
    project.write_text("[tool.multi.nodes.a]\ncmd = 'true'\n")
    project.chmod(0o664)
    assert "can be written by others" in real.raw("names").exits(77).err


def test_g8_a_configuration_that_another_user_could_have_put_there(real: Real) -> None:
    """G8: root believes one only where nobody else can have moved anything on the way to it, links included."""
    shared = real.base / "shared"
    own = shared / "own"
    own.mkdir(parents=True)
    (own / "multi.toml").write_text("[nodes.a]\ncmd = 'true'\n")
    link = real.base / "linked.toml"
    link.symlink_to(own / "multi.toml")
    for path in (own / "multi.toml", link):
        for group, mode in ((65534, 0o777), (65534, 0o2775), (0, 0o775)):
            os.chown(shared, 0, group)
            shared.chmod(mode)
            done = real.raw("names", f"--multi-config={path}").exits(77)
            assert f"lies in {shared}, where another user could have put it" in done.err
        shared.chmod(0o1777)
        assert real.raw("names", f"--multi-config={path}").ok().out.startswith("a@")
