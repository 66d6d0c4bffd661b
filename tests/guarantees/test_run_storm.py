"""`multi run`, its nodes and other commands killed at random, for a bounded time; the counts that must be zero are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import run_storm

if TYPE_CHECKING:
    from real import Real

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]  # a long storm


def test_g2_g3_nothing_goes_wrong_in_a_storm_against_run(real: Real, capsys: pytest.CaptureFixture[str]) -> None:
    """G2, G3: no second instance, no orphan, no lost node, no restart against the policy, whatever is killed when."""
    storm = run_storm.RunStorm(real, 3)
    account = storm.run(20.0)
    with capsys.disabled():
        print("", *storm.lines(), sep="\n")  # noqa: T201 -- the counts are the result, and are to be seen
    assert account.clean, "\n".join(storm.lines())
    assert not storm.against_policy
    assert not account.remarks
