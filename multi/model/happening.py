"""What the machine reports while a command waits: the values that `multi.machine.Machine.wait` gives."""

from __future__ import annotations

from collections.abc import Mapping

from multi.model.process import Proc
from multi.typed import TypeAlias
from multi.value import dataclass


@dataclass(frozen=True, slots=True)
class Prepared:
    """The new process stands at the gate: everything is set up, nothing is executed. It runs on `open_gate`."""

    key: str
    proc: Proc


@dataclass(frozen=True, slots=True)
class Executed:
    """The process has left the gate: from here on it runs the node's own program."""

    key: str


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """There is no process. `why` says at which step and for what reason; `hint` what to try; `errno` as in errno(3)."""

    key: str
    why: str
    hint: str
    errno: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A watched process is gone. `status`: exit code, minus the signal's number, or None if not ours to know."""

    key: str
    proc: Proc
    status: int | None


@dataclass(frozen=True, slots=True)
class Locked:
    """The lock that was held by somebody else is ours now."""

    key: str


@dataclass(frozen=True, slots=True)
class Notified:
    """A datagram on the node's notification address: the assignments it held, as in sd_notify(3)."""

    key: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe has ended: `ok`, or `why` not, with the last line that it printed. `at` is the address that accepted."""

    key: str
    ok: bool
    why: str
    at: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What the plug-in in a worker has answered, one line; `why` says why there is no answer."""

    key: str
    text: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """The file that is watched for this key was replaced or removed."""

    key: str


@dataclass(frozen=True, slots=True)
class Edited:
    """These files of that key were made, written or removed, and are at rest by now; `why` they are watched no more."""

    key: str
    paths: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Printed:
    """Lines that were added to the log that is followed for this key; bytes that are no UTF-8 are surrogates."""

    key: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emptied:
    """The cgroup that is watched for this key holds no process any more."""

    key: str


@dataclass(frozen=True, slots=True)
class Interruption:
    """We were asked to stop by `signum`. It concerns every key."""

    signum: int


@dataclass(frozen=True, slots=True)
class HookDone:
    """A hook of `node` is over: which `event` it was told of, `why` it failed, the last lines that it printed."""

    node: str
    event: str
    why: str = ""
    tail: tuple[str, ...] = ()


Happening: TypeAlias = (
    Prepared
    | Executed
    | LaunchFailed
    | Ended
    | Locked
    | Notified
    | Probed
    | Answered
    | Changed
    | Emptied
    | HookDone
    | Printed
    | Edited
    | Interruption
)
