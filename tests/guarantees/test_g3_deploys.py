"""G3 for deploys: KILL hits `multi` at each step of a canary that fails and goes back; the old release comes back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from bystander import reaping
from fault import killed
from real import Real, environ_of, until, words_of

SCHEDULE = "--stop-schedule=TERM/5/KILL/5"
OLD = "sh -c 'exec sleep 601'"
STRIDE = 3  # every call is met on the made-up machine (tests/histories/test_rollout.py); here steps of the kernel are
BROKEN = "sh -c 'exit 3'"


@pytest.fixture(autouse=True)
def reaped() -> Iterator[None]:
    """What a killed command leaves becomes our child, so we see when it is gone."""
    with reaping():
        yield


def running(real: Real) -> list[int]:
    """The main processes of the node."""
    return [pid for pid in real.processes("a") if environ_of(pid).get("MULTI_INSTANCE")]


def reap() -> None:
    """Reap what was left to us."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_g3_killed_at_each_step_of_a_rollback(real: Real) -> None:
    """One process at most at any time, and whoever starts the node next ends with the old release."""
    where = f"--pidfile={real.run}/%n.pid"
    number, hit = 1 - STRIDE, True
    while hit:
        number += STRIDE
        real.inside_raw(*real.start_words("a", SCHEDULE, cmd=OLD)).ok()
        words = real.start_words("a", SCHEDULE, cmd=BROKEN)[1:]
        hit = killed(real.env, number, "restart", *words, "--canary", "--settle=0.3", "--rollback", code=1)
        until(lambda: len(running(real)) <= 1, "the gate of a killed command is shut")
        reap()
        # Its record may name the broken release, which then is tried once more, and goes back.
        following = real.inside_raw(("start", "restart", "ensure")[number // STRIDE % 3], where, "a", SCHEDULE)
        assert following.code in {0, 1}, (number, following)
        until(lambda: ["sleep", "601"] in map(words_of, running(real)), "the old release runs")
        assert running(real) == [real.pid("a")], number
        assert real.state("a") == {"a": "running"}, number
        real.inside_raw("stopwait", where, "a", SCHEDULE).ok()
        reap()
    assert number > 30
