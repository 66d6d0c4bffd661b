"""What pytest loads where `multi` is installed: the fixture `multi_nodes` and its mark. It imports nothing else."""

from __future__ import annotations

import pytest

from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multi.testing import Nodes


def pytest_configure(config: pytest.Config) -> None:
    """Tell of the mark."""
    about = "multi_nodes(*names, options=..., **settings): nodes that are ready when the test begins"
    config.addinivalue_line("markers", about)


@pytest.fixture
def multi_nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Give the nodes of a test, those of its mark ready; when it ends they are proved gone. See `multi.testing`."""
    from multi.testing import Nodes

    with Nodes(tmp_path_factory.mktemp("multi")) as nodes:
        for mark in request.node.iter_markers("multi_nodes"):
            nodes.start(*mark.args, **mark.kwargs)
        yield nodes
