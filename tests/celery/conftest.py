"""What the tests of the plug-in share."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_stage import PATIENCE, Ear, Stage


@pytest.fixture
def ear() -> Iterator[Ear]:
    """Listen on a name of its own."""
    ear = Ear(f"@multi-test-{secrets.token_hex(8)}")
    yield ear
    ear.socket.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Give a stage, and leave no process of it."""
    stage = Stage(tmp_path)
    yield stage
    for process in stage.processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
