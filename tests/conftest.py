"""Fixtures that all tests share: real processes in a private place, and what needs root says so."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from real import Real, place

# Two busy cores are no reason to fail a property, and a failure is to be seen again on the next machine.
settings.register_profile("multi", deadline=None, print_blob=True)
settings.load_profile("multi")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, plainly, what cannot be done without root; where everything is to be tested, let it fail instead."""
    if os.geteuid() == 0 or os.environ.get("MULTI_TEST_ALL"):
        return
    for item in items:
        if item.get_closest_marker("root") is not None:
            item.add_marker(pytest.mark.skip(reason="needs root: it changes users, owners or mounts"))


@pytest.fixture
def real() -> Iterator[Real]:
    """Give a private place for real processes. See `real.Real`; what a test leaves behind fails it."""
    with place() as made:
        yield made
