"""What was read of one node, before anything is concluded from it, and whose files are believed. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from multi.codec import decode
from multi.machine import File, Me, Unreadable
from multi.model import record as records
from multi.model.node import Node
from multi.model.record import DamagedError, Record, Word
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field
from multi.words.names import is_full_name

if TYPE_CHECKING:
    from multi.model.work import Heartbeat

OTHERS_WRITE = 0o022  # mode bits


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A record file, decoded once.

    `record` is the sound record of this pidfile, `damage` the reason why there is none. `rejected` was decoded, but has
    another pidfile, or a name that no node can have.
    """

    file: File | Unreadable | None = None
    record: Record | None = None
    damage: str = ""
    rejected: Record | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that `judge` may know of one node.

    `notify` is the file that the process writes beside the pidfile; it is read while no start has heard READY.
    `heartbeat` is of the very process that is on record.
    `cmdline` is that of the process that the pidfile names, if it is not the one on record. `hidden` are those pids,
    of pidfile and record, that exist while the process table lacks them. `uid` is the user of the node, `users` the
    names of other owners of its files.
    `cgroup` are the pids in the cgroup of the process that is on record.
    """

    pidfile: File | Unreadable | None
    record: RecordFile
    uid: int
    notify: File | Unreadable | None = None
    heartbeat: Heartbeat | None = None
    cmdline: tuple[str, ...] = ()
    hidden: frozenset[int] = frozenset()
    users: Mapping[int, str] = field(default_factory=dict)
    cgroup: frozenset[int] = frozenset()


def pid_in(file: File | Unreadable | None) -> int | str | None:
    """The pid in the file, the reason why it holds none, or None without a file."""
    if not isinstance(file, File):
        return None
    try:
        return records.decode_pid(file.data)
    except DamagedError as error:
        return str(error)


def decoded(node: Node, file: File | Unreadable | None) -> RecordFile:
    """Decode what lies at the node's record path."""
    if not isinstance(file, File):
        return RecordFile(file)
    try:
        record = decode(file.data, file.uid)
    except DamagedError as error:
        return RecordFile(file, damage=str(error))
    if not is_full_name(record.node.name):
        return RecordFile(file, damage="its name is none that a node can have", rejected=record)
    if record.node.pidfile != node.pidfile:  # a copy or a link from elsewhere says nothing about this pidfile
        return RecordFile(file, damage=f"it is about the pidfile {record.node.pidfile}", rejected=record)
    return RecordFile(file, record)


def distrust(
    path: str, file: File | Unreadable | None, uid: int, me: Me, users: Mapping[int, str] | None = None
) -> str:
    """Why a file of the node of user `uid` must not be believed; empty when it may. `users` are names for the text."""
    if file is None:
        return ""
    if isinstance(file, Unreadable):
        return f"{path} cannot be read: {file.why}; {file.hint}"
    if file.uid not in {0, me.uid, uid}:
        name = (users or {}).get(file.uid, "")
        user, shown = (name, f" ({name})") if name and name != str(file.uid) else (str(file.uid), "")
        return (
            f"{path} belongs to uid {file.uid}{shown}, not to this node's user; "
            f"give --uid {user} if it is that user's node; if it was until now, 'multi stopwait --uid={user}' "
            "stops it; remove the file if it was planted"
        )
    if me.uid == 0 and file.mode & OTHERS_WRITE:
        return f"{path} can be written by others (mode {file.mode:04o}); look at it, then chmod go-w {path}"
    return ""


def believed_word(record: Record, file: File | Unreadable | None, uid: int, me: Me) -> Word | None:
    """What the process wrote of what it said. Only a file of the node's user, or of root, is believed."""
    if not isinstance(file, File) or distrust(record.node.notifyfile, file, uid, me):
        return None
    return records.decode_word(file.data, record.token)
