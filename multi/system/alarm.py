"""A bound for what holds the processor and cannot be waited for, as a search for a pattern."""

from __future__ import annotations

import signal
import threading

from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def within(seconds: float, call: Callable[[], object]) -> object:
    """What `call` returns. Raises `TimeoutError`; in another thread than the main one there is no bound.

    The interpreter looks for signals while it searches.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    before = signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _late(_: int, __: FrameType | None) -> None:
    raise TimeoutError
