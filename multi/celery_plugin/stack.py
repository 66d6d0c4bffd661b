"""Where the consumer's loop is while it does not turn: in the library of its broker, or elsewhere.

A broker that hangs, or that the network has swallowed, closes no connection: Celery waits in a read, and nothing is
logged. The names of modules on the stack tell that from a loop that a task keeps.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from multi.celery_plugin.original import original

_BROKER = ("kombu.transport.", "kombu.connection", "amqp.")
_OURS = ("celery.", "billiard.")  # between a task, or a wait for a free process, and the broker that delivered it
_DEEPEST = 500


class Loop:
    """The thread, and where threads are green the greenlet, that this is made in."""

    def __init__(self) -> None:
        self._thread = original("_thread", "get_ident")()
        greenlet = sys.modules.get("greenlet")
        self._green: Any = greenlet.getcurrent() if greenlet is not None else None

    def in_broker(self) -> bool:
        """Whether it waits for an answer of its broker."""
        frame: FrameType | None = getattr(self._green, "gr_frame", None)  # None of a greenlet that runs
        if frame is None:
            frame = sys._current_frames().get(self._thread)  # noqa: SLF001 -- documented, for debuggers
        for _ in range(_DEEPEST):
            if frame is None:
                return False
            name = str(frame.f_globals.get("__name__", ""))
            if name.startswith(_OURS):
                return False
            if name.startswith(_BROKER):
                return True
            frame = frame.f_back
        return False
