"""A host, an empty configuration and a short way from words to nodes, for the tests of the grammar."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from multi.settings import presets
from multi.settings.config import EMPTY, Layer
from multi.words import expand
from multi.words import grammar as parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.settings.config import Config
    from multi.words.expand import Expansion
    from multi.words.spec import Spec

PRESETS = {name: presets.load(name) for name in ("celery", "celery-beat", "dramatiq", "exec", "gunicorn", "rq")}
GRAMMAR = parse.Grammar(PRESETS["celery"])
SIGNALS = parse.Grammar(PRESETS["celery"], signals=True)
ROOT = expand.Host(
    name=socket.gethostname(),
    root=True,
    home="/root",
    state_dir="/root/.local/state",
    cwd="/cwd",
    python="/usr/bin/python3",
    home_of={"celery": "/home/celery"}.get,
)
NO_VARIABLES = Layer("environment")


def listed(words: str | Sequence[str]) -> Sequence[str]:
    """A text stands for its words."""
    return words.split() if isinstance(words, str) else words


def read(text: str | Sequence[str], *, signals: bool = False) -> Spec:
    """Words -> Spec, by the preset that they name."""
    words = listed(text)
    preset = PRESETS[parse.opening(words).preset or "celery"]
    return parse.parse(words, parse.Grammar(preset, signals=signals))


def expand_words(
    words: str | Sequence[str],
    *,
    config: Config = EMPTY,
    host: expand.Host = ROOT,
    environment: Layer = NO_VARIABLES,
    strict: bool = False,
    starts: bool = True,
) -> Expansion:
    """Words -> nodes, as root on this host."""
    return expand.expand(read(words), config, host, PRESETS.__getitem__, environment, strict=strict, starts=starts)
