"""The real machine, whole and with less to work with, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from multi.system import System

SYSTEMS: Mapping[str, Callable[[], System]] = {
    "real": System,
    "no pidfd": partial(System, pidfd=False),
    "portable": partial(System, pidfd=False, procfs=False),
}
