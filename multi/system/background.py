"""What would block runs in a thread."""

from __future__ import annotations

import socket
from threading import Thread

from multi.typed import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from multi.system.poll import Poller

A = TypeVar("A")


def begin(poller: Poller, name: str, work: Callable[[], A], done: Callable[[A | OSError], None]) -> Callable[[], None]:
    """Do `work` in a thread, then call `done` from the poller with its answer; what is returned gives that up.

    The thread tells by closing a socket that is its own, so it may be late without harm. It ends with the process at
    the latest. Raises `RuntimeError` where no thread can be started, and `OSError` where no descriptor is left.
    """
    listening, telling = socket.socketpair()
    answers: list[A | OSError] = []

    def run() -> None:
        with telling:
            try:
                answers.append(work())
            except OSError as error:
                answers.append(error)

    def end() -> None:
        poller.drop(listening.fileno())
        listening.close()

    def ended() -> None:
        end()
        for answer in answers:
            done(answer)

    poller.add(listening.fileno(), ended)
    try:
        Thread(target=run, daemon=True, name=name).start()
    except RuntimeError:
        end()
        telling.close()
        raise
    return end
