"""Files that somebody edits, told once they are at rest: by the package watchfiles, in a thread."""

from __future__ import annotations

import os
import threading
from collections import deque

from multi.model.happening import Edited
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.system.poll import Poller

_QUIET, _LONGEST = 200, 1600  # milliseconds without a change until changes are told, and how long at most
_ASK_AGAIN = 60_000  # milliseconds after which the thread looks whether it is still wanted, at the latest
_SET_UP = 10.0  # seconds that it may take to watch all of them; what is edited until then may be missed


class _Over(threading.Event):
    """Whether the thread is to end. watchfiles asks that only once it watches all, which `watching` tells."""

    def __init__(self) -> None:
        super().__init__()
        self.watching = threading.Event()

    def is_set(self) -> bool:
        self.watching.set()
        return super().is_set()


class Sources:
    """The directories and files that are watched, by key. The thread ends with the process, or when it is closed."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._roots: Mapping[str, Sequence[str]] = {}
        self._told: deque[set[str] | Exception] = deque()
        self._over = _Over()

    def watch(self, roots: Mapping[str, Sequence[str]]) -> None:
        """Report `Edited` for each key below whose roots something has changed since this returns."""
        self._roots = roots
        paths = sorted({root for some in roots.values() for root in some})
        self._poller.on_wake.append(self._tell)
        woken = self._poller.wake_fd()
        threading.Thread(target=self._run, args=(paths, woken), daemon=True, name="sources").start()
        self._over.watching.wait(_SET_UP)

    def _run(self, paths: Sequence[str], woken: int) -> None:
        import watchfiles

        try:
            for changes in watchfiles.watch(
                *paths,
                debounce=_LONGEST,
                step=_QUIET,
                rust_timeout=_ASK_AGAIN,
                stop_event=self._over,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                self._told.append({path for _, path in changes})
                os.write(woken, b"e")
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is told, and ends nothing else
            self._over.watching.set()
            self._told.append(error)
            os.write(woken, b"e")

    def _tell(self) -> None:
        while self._told:
            told = self._told.popleft()
            for key, roots in self._roots.items():
                if isinstance(told, Exception):
                    self._poller.queue.append(Edited(key, (), str(told) or type(told).__name__))
                    continue
                paths = tuple(sorted(path for path in told if _is_below(path, roots)))
                if paths:
                    self._poller.queue.append(Edited(key, paths))

    def release(self, key: str) -> None:
        """A walk that releases its node has no say: its files are watched until the end."""

    def close(self) -> None:
        self._over.set()


def _is_below(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(f"{root.rstrip('/')}/") for root in roots)
