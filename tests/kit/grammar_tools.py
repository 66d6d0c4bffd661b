"""A host, an empty configuration and a short way from words to nodes, for the tests of the grammar."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from multi.machine import Surroundings
from multi.model.request import traits
from multi.settings import presets
from multi.settings.config import EMPTY, Layer
from multi.words import expand
from multi.words import grammar as parse
from multi.words.spec import Selection, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.settings.config import Config
    from multi.settings.presets import Preset

PRESETS = {name: presets.load(name) for name in ("celery", "celery-beat", "dramatiq", "exec", "gunicorn", "rq")}
GRAMMAR = parse.Grammar(PRESETS["celery"])
SIGNALS = parse.Grammar(PRESETS["celery"], signals=True)
ROOT = Surroundings(
    environ={},
    hostname=socket.gethostname(),
    uid=0,
    home="/root",
    cwd="/cwd",
    python="/usr/bin/python3",
    home_of={"celery": "/home/celery"}.get,
)
NO_VARIABLES = Layer("environment")


def unreadable(path: str) -> bytes:
    """No env file can be read."""
    raise FileNotFoundError(path)


def listed(words: str | Sequence[str]) -> Sequence[str]:
    """A text stands for its words."""
    return words.split() if isinstance(words, str) else words


def read(text: str | Sequence[str], *, signals: bool = False) -> Spec:
    """Words -> Spec, by the preset that they name."""
    words = listed(text)
    preset = PRESETS[parse.opening(words).preset or "celery"]
    return parse.parse(words, parse.Grammar(preset, signals=signals))


def expand_words(
    words: str | Sequence[str] | Spec,
    *,
    config: Config = EMPTY,
    here: Surroundings = ROOT,
    environment: Layer = NO_VARIABLES,
    strict: bool = False,
    command: str = "start",
    recorded: bool = False,
    preset: Callable[[str], Preset] = PRESETS.__getitem__,
    load: Callable[[str], bytes] = unreadable,
) -> Selection:
    """Words -> nodes, as root on this host."""
    spec = words if isinstance(words, Spec) else read(words)
    return expand.expand(
        spec,
        config,
        here,
        preset,
        environment,
        traits=traits(command),
        load=load,
        strict=strict,
        recorded=recorded,
    )
