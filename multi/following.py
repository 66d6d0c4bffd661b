"""What the machine tells of logs: a part of `multi.machine`."""

from __future__ import annotations

from multi.typed import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class LogFile(Protocol):
    """A file of a log, as it was when it was opened; its places count no holes. `packed` is read from its beginning."""

    size: int  # without holes; `length` with them
    length: int
    written: float  # the wall clock's second of its last change
    identity: str  # of the file, whatever it is called
    packed: bool

    def position(self, offset: int) -> int:
        """Where a byte of the file is when its holes are left out."""

    def read(self, at: int, limit: int) -> bytes:
        """What stands there. Raises `MachineError`."""


class Following(Protocol):
    """Files that others write. Raises `MachineError` for a log that is there and cannot be read."""

    def watch_sources(self, roots: Mapping[str, Sequence[str]]) -> None:
        """Report `Edited` from now on for each key below whose roots a file changes. Needs the package watchfiles."""

    def log_begin(self, key: str, path: str, limit: int, offset: int = 0) -> bytes:
        """Begin to read a log for this key: the last `limit` bytes behind `offset`. One that is not there is empty.

        One that ends before `offset` was truncated or replaced, so all of it stands behind.
        """

    def log_more(self, key: str, limit: int) -> bytes:
        """What was added since, at most `limit` bytes; empty when nothing was, or the log was not begun.

        A log that was moved away is read on until the one that took its name holds something; one that was truncated
        is read from its beginning. A line that was not finished before either ends there.
        """

    def follow(self, key: str, path: str, offset: int, *, bounded: bool) -> None:
        """Report as `Printed`, from now on and in whole lines, what is added to a log behind `offset`.

        Also when it is moved away or truncated. A line without its end is told after half a second, one that is very
        long in pieces. Of a `bounded` log, which is ours, the disk keeps the last megabyte or two of what was told. To
        release the key does not end it.
        """

    def printed(self, key: str) -> tuple[str, ...]:
        """What was added and is not told yet, an unfinished line too; told by this."""

    def log_files(self, key: str, path: str, *, rotated: bool = False) -> Sequence[LogFile]:
        """The log itself, or what was moved away from it, the newest first; open until the key is released."""

    def within(self, seconds: float, call: Callable[[], object]) -> object:
        """What the call returns. Raises `TimeoutError` after so many seconds of it; on the main thread only."""
