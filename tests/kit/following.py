"""``multi logs --follow`` in the background, and what it prints."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from real import Real, until


def multi_words(*words: str) -> tuple[str, ...]:
    """What executes `multi`."""
    return (sys.executable, "-m", "multi", *words)


class Following:
    """``multi logs --follow`` in the background, what it prints in a file."""

    def __init__(self, real: Real, *words: str) -> None:
        """Start it."""
        self.out = real.base / "out"
        command = multi_words("logs", f"--pidfile={real.run}/%n.pid", "--follow", *words)
        self.process = real.popen("sh", "-c", f'exec "$@" > {self.out} 2>&1', "sh", *command)

    def lines(self) -> list[str]:
        """What it has printed."""
        return self.out.read_text(encoding="utf-8").splitlines() if self.out.exists() else []

    def shows(self, *lines: str) -> None:
        """Wait until it has printed exactly these."""
        until(lambda: len(self.lines()) >= len(lines), f"{lines} are shown, not {self.lines()}")
        assert self.lines() == list(lines)

    def ends(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 0


def add(path: Path, text: str) -> None:
    """Append, as a worker does."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
