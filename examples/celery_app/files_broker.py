"""kombu's filesystem transport, made safe for many processes that start and send at the same moment.

The transport as it comes writes a message in place, so that a worker may take a file that is only half there, and it
empties a binding table before it locks it. Here a file appears under its name only when it is whole.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path
from time import monotonic_ns
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

TURN = 0.1  # seconds that a worker waits for messages before it looks whether it shall stop


class Channel(filesystem.Channel):
    """A channel whose messages and binding tables are always whole."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override] # noqa: ANN401 -- kombu's own
        """Write the message under a name that no worker looks for, then give it its own."""
        folder = Path(self.data_folder_out)
        name = f"{monotonic_ns():020}_{uuid.uuid4()}"
        _write_whole(folder / f"{name}.{queue}.msg", dumps(payload))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Add one row to the table of the exchange, one process at a time."""
        folder = Path(self.control_folder)
        row = [routing_key or "", pattern or "", queue or ""]
        with (folder / "lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            rows = [list(known) for known in self.get_table(exchange)]
            if row not in rows:
                _write_whole(folder / f"{exchange}.exchange", dumps([row, *rows]))


class Transport(filesystem.Transport):
    """The transport that makes such channels."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None, **more: Any) -> None:  # noqa: ANN401 -- kombu's
        """Return soon when there is nothing: a worker sees in between only that it is to stop.

        It asks for two seconds, and once more after it has seen it. Brokers with sockets wake it instead.
        """
        super().drain_events(connection, timeout=timeout and min(timeout, TURN), **more)


def _write_whole(path: Path, text: str) -> None:
    """Replace the file in one step."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
