"""``"TERM/30/KILL/5"`` <-> a timeline: which signal at which second, when to give up.

The notation is that of ``start-stop-daemon --retry`` (start-stop-daemon(8)): signals and numbers of seconds, separated
by ``/``. A lone number ``N`` is short for ``TERM/N/KILL/N``. ``forever`` as the last number: that wait has no end.
"""

from __future__ import annotations

import math
from functools import lru_cache

from multi.errors import UsageError
from multi.text import near_misses, seconds_in, seconds_text
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the same numbers; to make an enumeration of them takes each command a millisecond

FOREVER = math.inf
HUP, KILL, TERM = int(signal.SIGHUP), int(signal.SIGKILL), int(signal.SIGTERM)
_NUMBERS: dict[str, int] = {
    name: number for name, number in sorted(vars(signal).items()) if name.startswith("SIG") and name[3:4] != "_"
}
_NAMES = {number: name.removeprefix("SIG") for name, number in reversed(_NUMBERS.items())}  # of several the first
_EXAMPLE = "write it like TERM/90/QUIT/10/KILL/5, or TERM/forever"


@dataclass(frozen=True, slots=True)
class Stage:
    """Send `signum`, then wait up to `seconds` (may be `FOREVER`)."""

    signum: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Moment:
    """`signum` is due `at` seconds after the first signal."""

    at: float
    signum: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The stages of a stop, in order; never empty."""

    stages: tuple[Stage, ...]

    @property
    def first(self) -> int:
        """The signal that a graceful stop begins with."""
        return self.stages[0].signum

    @property
    def total(self) -> float:
        """Seconds from the first signal until the stop is given up (may be `FOREVER`)."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def timeline(self) -> tuple[Moment, ...]:
        """Which signal is due at which second."""
        moments: list[Moment] = []
        at = 0.0
        for stage in self.stages:
            moments.append(Moment(at, stage.signum))
            at += stage.seconds
        return tuple(moments)

    def starting_with(self, signum: int) -> Schedule:
        """The same schedule with another first signal, as ``-SIG`` asks for."""
        return Schedule((Stage(signum, self.stages[0].seconds), *self.stages[1:]))

    def within(self, first: float) -> Schedule:
        """The same schedule with a first stage that is no longer than that."""
        stage = self.stages[0]
        return Schedule((Stage(stage.signum, min(stage.seconds, first)), *self.stages[1:]))

    def __str__(self) -> str:
        """The notation that `parse` reads."""
        return "/".join(f"{signal_name(stage.signum)}/{seconds_text(stage.seconds)}" for stage in self.stages)


def signal_name(signum: int) -> str:
    """Name of a signal without ``SIG``: 15 -> ``TERM``; real-time signals as ``RTMIN+n``."""
    if signum in _NAMES:
        return _NAMES[signum]
    rtmin = _NUMBERS.get("SIGRTMIN")
    if rtmin is not None and rtmin < signum < signal.SIGRTMAX:
        return f"RTMIN+{signum - rtmin}"
    return str(signum)


def end_text(status: int | None, cause: str = "") -> str:
    """How a process ended, for people, and what the kernel did to it."""
    why = f" ({cause})" if cause else ""
    if status is None:
        return f"it has ended, with an exit status that is not known{why}"
    if status < 0:
        return f"it was killed by signal {-status} ({signal_name(-status)}){why}"
    return f"it exited with status {status}{why}"


def parse_signal(word: str) -> int:
    """``TERM``, ``SIGTERM``, ``term``, ``15`` or any of them after a ``-`` -> 15. Raises `UsageError`."""
    found = find_signal(word)
    if found is None:
        raise UsageError(word or "''", "is not a signal of this system", _hint(word))
    return found


def _hint(word: str) -> str:
    plain = word.upper().lstrip("-").removeprefix("SIG")
    names = (name.removeprefix("SIG") for name in _NUMBERS)
    near = near_misses(plain, (name for name in names if not plain.startswith(name.rstrip("0123456789"))))
    if not near:
        return "try -TERM, -SIGTERM, -term or -15; 'kill -l' lists them"
    return f"try {'-' if word.startswith('-') else ''}{near[0]}; 'kill -l' lists them"


def find_signal(word: str) -> int | None:
    """Like `parse_signal`, but None for what is no signal."""
    text = word.removeprefix("-")
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) < 4 else 0  # noqa: PLR2004 -- no signal has four digits
        return number if number in signal.valid_signals() else None
    upper = text.upper()
    if not upper.startswith("SIG"):
        upper = "SIG" + upper
    if upper in _NUMBERS:
        return _NUMBERS[upper]
    if upper.startswith("SIGRTMIN+") and hasattr(signal, "SIGRTMIN"):
        offset = upper.removeprefix("SIGRTMIN+")
        if offset.isascii() and offset.isdigit() and len(offset) < 3:  # noqa: PLR2004 -- at most 64 signals
            number = signal.SIGRTMIN + int(offset)
            return number if number <= signal.SIGRTMAX else None
    return None


@lru_cache(maxsize=64)
def parse(text: str) -> Schedule:
    """``"TERM/30/KILL/5"`` -> `Schedule`.

    Raises `UsageError` for an unknown signal, a negative or missing number, a ``forever`` that is
    not last, or an empty text.
    """
    words = [word.strip() for word in text.split("/")]
    seconds = seconds_in(words[0])
    if len(words) == 1 and seconds is not None:
        return Schedule((Stage(TERM, seconds), Stage(KILL, seconds)))
    if len(words) % 2:
        raise UsageError(text, "is not a stop schedule: every signal needs a number of seconds after it", _EXAMPLE)
    stages: list[Stage] = []
    for position in range(0, len(words), 2):
        name, seconds_word = words[position], words[position + 1]
        signum = find_signal(name)
        if signum is None:
            raise UsageError(text, f"is not a stop schedule: {name!r} is not a signal", _EXAMPLE)
        stages.append(Stage(signum, _parse_seconds(text, seconds_word, last=position + 2 == len(words))))
    return Schedule(tuple(stages))


def _parse_seconds(text: str, word: str, *, last: bool) -> float:
    if word == "forever":
        if not last:
            raise UsageError(text, "is not a stop schedule: nothing can come after 'forever'", _EXAMPLE)
        return FOREVER
    seconds = seconds_in(word)
    if seconds is None:
        raise UsageError(text, f"is not a stop schedule: {word!r} is not a number of seconds", _EXAMPLE)
    return seconds
