"""Whose file counts: which owners and modes `multi` believes, and how far."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from multi.machine import File, Machine, Me, Unreadable
from multi.model import record as records
from multi.model.node import Node
from multi.model.process import ProcessInfo
from multi.model.record import Record, Word
from multi.value import replace

_OTHERS_WRITE = 0o022
_NO_USERS: Mapping[int, str] = MappingProxyType({})
_OUR_OUTPUT = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")  # a log there is an open descriptor of ours


def distrust(
    path: str, file: File | Unreadable | None, node_uid: int | None, me: Me, users: Mapping[int, str] = _NO_USERS
) -> str:
    """Why the file must not be believed; empty when it may. `users` are the names of its possible owners."""
    if file is None:
        return ""
    if isinstance(file, Unreadable):
        return f"{path} cannot be read: {file.why}; {file.hint}"
    if file.uid not in {0, me.uid, node_uid}:
        name = users.get(file.uid, "")
        user, shown = (name, f" ({name})") if name and name != str(file.uid) else (str(file.uid), "")
        return (
            f"{path} belongs to uid {file.uid}{shown}, not to this node's user; "
            f"give --uid {user} if it is that user's node; if it was until now, 'multi stopwait --uid={user}' "
            "stops it; remove the file if it was planted"
        )
    if me.uid == 0 and file.mode & _OTHERS_WRITE:
        return f"{path} can be written by others (mode {file.mode:04o}); look at it, then chmod go-w {path}"
    return ""


def wrong_owner(path: str, file: File | Unreadable | None, info: ProcessInfo, me: Me) -> str:
    """Why the file must not name this process: only root's file may name a process of another user."""
    if isinstance(file, File) and file.uid not in {0, info.uid}:
        return (
            f"{path} belongs to uid {file.uid} but names pid {info.proc.pid}, which runs as uid {info.uid}; "
            "remove the file if it was planted"
        )
    if me.uid not in {0, info.uid}:
        return f"pid {info.proc.pid} runs as uid {info.uid}; run multi as that user or as root"
    return ""


def believed_word(record: Record, file: File | Unreadable | None, node_uid: int | None, me: Me) -> Word | None:
    """What the process wrote of what it said. Only a file of the node's user, or of root, is believed."""
    if not isinstance(file, File) or distrust(record.node.notifyfile, file, node_uid, me):
        return None
    return records.decode_word(file.data, record.token)


def believed(record: Record, file: File | Unreadable | None, asked: str | None, machine: Machine) -> Record | None:
    """The record, as far as its owner may decide; `asked` is the user that was asked for now.

    Root's records and our own are believed in full. For root, a record of the node's own user may only make happen what
    that user could do anyway. Raises `MachineError` when there is no such user.
    """
    me = machine.me()
    if not isinstance(file, File) or (me.uid == 0 and file.mode & _OTHERS_WRITE):
        return None
    if file.uid in {0, me.uid}:
        return record
    user = record.node.uid if asked is None else asked
    if me.uid != 0 or user is None or machine.uid_of(user) != file.uid:
        return None
    return replace(record, node=_as_asked_by(user, record.node, machine))


def _as_asked_by(user: str, node: Node, machine: Machine) -> Node:
    """The node without what only root could have granted: a group, limits, a niceness, a directory made somewhere.

    Nor does it get root's own output: a terminal can be read as well.
    """
    ours = node.logfile.startswith(_OUR_OUTPUT)
    elsewhere = node.logfile.startswith(("/dev/", "/proc/"))
    there = not ours and (elsewhere or machine.kind(node.logfile.rpartition("/")[0]) == "directory")
    return replace(
        node,
        uid=user,
        gid=None,
        rlimits=(),
        nice=None if node.nice is None or node.nice < 0 else node.nice,
        logfile=node.logfile if there else node.stem + ".log",
    )
