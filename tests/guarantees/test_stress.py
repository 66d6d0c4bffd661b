"""Commands and nodes killed at random, for a bounded time; the counts that must be zero are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import stress

if TYPE_CHECKING:
    from real import Real

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]  # long storms

_SECONDS = 12.0


@pytest.mark.parametrize("seed", [1, 2])
def test_g1_g2_g3_nothing_goes_wrong_in_a_storm(real: Real, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """G1, G2, G3: no wrong signal, no second instance, no orphan, no lost node, whatever is killed when."""
    account = stress.Storm(real, seed).run(_SECONDS)
    with capsys.disabled():
        print("", *account.lines(), sep="\n")  # noqa: T201 -- the counts are the result, and are to be seen
    assert account.commands_killed
    assert account.nodes_killed
    assert account.clean, "\n".join(account.lines())
    assert not account.remarks
