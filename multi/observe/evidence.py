"""What was read of one node, before anything is concluded from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from multi.codec import decode
from multi.machine import File, Unreadable
from multi.model import record as records
from multi.model.node import Node
from multi.model.record import DamagedError, Record
from multi.value import dataclass, field, replace
from multi.words import names as naming


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
    `cmdline` and `exists` are about the process that the pidfile names. `hidden`: the recorded pid exists, but the
    process table lacks it. `node_uid` is the user of the node (None: the caller), `users` the names of other owners of
    its files.
    """

    pidfile: File | Unreadable | None
    record: RecordFile
    notify: File | Unreadable | None = None
    cmdline: tuple[str, ...] = ()
    exists: bool = False
    hidden: bool = False
    node_uid: int | None = None
    users: Mapping[int, str] = field(default_factory=dict)


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
        record = decode(file.data)
    except DamagedError as error:
        return RecordFile(file, damage=str(error))
    if not naming.is_full_name(record.node.name):
        return RecordFile(file, damage="its name is none that a node can have", rejected=record)
    if record.node.pidfile != node.pidfile:  # a copy or a link from elsewhere says nothing about this pidfile
        return RecordFile(file, damage=f"it is about the pidfile {record.node.pidfile}", rejected=record)
    return RecordFile(file, replace(record, owner=file.uid))


def unheard(record: Record) -> bool:
    """Whether the process may have said READY while no `multi` listened."""
    return record.phase == records.STARTING and record.node.ready.kind == "notify" and record.token != ""
