"""What the machine tells of logs: a part of `multi.machine`."""

from __future__ import annotations

from multi.typed import Protocol


class Following(Protocol):
    """Logs that others write, one for each key. Raises `MachineError` for one that is there and cannot be read."""

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
