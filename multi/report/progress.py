"""Who is waited for, as one line: redrawn on a terminal, now and then in a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from multi.model.event import Event, Halted, Interrupted, Signalled, Spawned, Waiting
from multi.model.schedule import signal_name
from multi.text import plural, printable
from multi.value import dataclass, field, replace

_FIRST_LINE_AFTER = 1.0  # seconds; what is done sooner needs no line in a log
LINE_EVERY = 30.0  # seconds between two lines of progress in a log; a shorter wait is not woken up for any
_WAITS = {"lock": "that another multi has locked", "end": "to end", "ready": "to be ready"}


@dataclass(frozen=True, slots=True)
class Progress:
    """Who is still waited for, as far as the events have told."""

    waits: Mapping[str, Waiting] = field(default_factory=dict)
    said: float | None = None  # seconds waited when `told` was called last

    def after(self, event: Event) -> Progress:
        """The progress once `event` has happened.

        A signal and a spawn begin a wait, so that the first `Waiting` of a round already finds everybody here.
        Whatever else becomes of a node ends its wait.
        """
        match event:
            case Waiting():
                return self._waiting(event)
            case Signalled(node, pid, _, after):
                return self if node in self.waits else self._waiting(Waiting(node, pid, "end", after))
            case Spawned(node, pid):
                return self._waiting(Waiting(node, pid, "ready", 0.0))
            case Interrupted() | Halted():
                return self
            case _ if event.node in self.waits:
                left = dict(self.waits)
                del left[event.node]
                return Progress(left, self.said if left else None)
            case _:
                return self

    def _waiting(self, wait: Waiting) -> Progress:
        return replace(self, waits={**self.waits, wait.node: wait})

    @property
    def elapsed(self) -> float:
        """Seconds that the longest of the waits has taken."""
        return max((wait.since for wait in self.waits.values()), default=0.0)

    @property
    def due(self) -> bool:
        """Whether a log file should get a line now: after the first second, then now and then."""
        if not self.waits:
            return False
        if self.said is None or self.elapsed < self.said:
            return self.elapsed >= _FIRST_LINE_AFTER
        return self.elapsed - self.said >= LINE_EVERY

    def told(self) -> Progress:
        """The progress after its line was printed."""
        return replace(self, said=self.elapsed)

    def line(self, width: int = 0) -> str:
        """``waiting for 3 nodes to end: w1 w2 w3 | 12s | next: QUIT in 78s``; empty when nobody is waited for.

        What a node says of itself comes last, of the one that is waited for longest. `width` is the number of columns
        to keep to, 0 for no limit; that text gives way first, then names.
        """
        groups = [
            (what, [wait for wait in self.waits.values() if wait.what == what])
            for what in dict.fromkeys([*_WAITS, *(wait.what for wait in self.waits.values())])
        ]
        groups = [(what, waits) for what, waits in groups if waits]
        if not groups:
            return ""
        most = max(len(waits) for _, waits in groups)
        text = _progress_text(groups, most)
        if 0 < width < len(text):
            low, high = 0, most  # the largest number of names that fits: `low` of them fit or nothing does
            while low < high - 1:
                middle = (low + high) // 2
                if len(_progress_text(groups, middle)) <= width:
                    low = middle
                else:
                    high = middle
            text = _progress_text(groups, low)[:width]
        said = [wait for wait in self.waits.values() if wait.note]
        if said:
            longest = max(said, key=lambda wait: wait.since)
            text += f" | {printable(longest.node.partition('@')[0])}: {printable(longest.note)}"
            if 0 < width < len(text):
                text = text[: width - 1] + "…"
        return text


def _progress_text(groups: Sequence[tuple[str, Sequence[Waiting]]], names: int) -> str:
    return "; ".join(_group_text(what, waits, names) for what, waits in groups)


def _group_text(what: str, waits: Sequence[Waiting], names: int) -> str:
    shorts = [printable(wait.node.partition("@")[0]) for wait in waits]
    if len(set(shorts)) < len(shorts):  # two hosts, one short name
        shorts = [printable(wait.node) for wait in waits]
    text = f"waiting for {plural(len(waits), 'node')} {_WAITS.get(what, f'({printable(what)})')}"
    if names:
        more = len(waits) - names
        text += ": " + " ".join(shorts[:names]) + (f" +{more}" if more > 0 else "")
    text += f" | {round(max(wait.since for wait in waits))}s"
    nexts = [(wait.next_in, wait.next_signum) for wait in waits if wait.next_in is not None and isfinite(wait.next_in)]
    if nexts:
        seconds, signum = min(nexts, key=lambda item: item[0])
        what_next = "giving up" if signum is None else f"next: {signal_name(signum)}"
        text += f" | {what_next} in {max(0, round(seconds))}s"
    return text
