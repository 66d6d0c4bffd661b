"""What a command runs in that the settings of a node name: its probes and its hooks."""

from __future__ import annotations

from contextlib import suppress

from multi import observe
from multi.errors import MultiError
from multi.machine import INSTANCE, INSTANCE_NODE, INSTANCE_PID, INSTANCE_PIDFILE, INSTANCE_PROBE, Launch, MachineError
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.process import Proc

# What it says there would be taken for the node's or for ours, and what it starts for a part of the node.
_NOT_ITS_OWN = (
    *((name, None) for name in (INSTANCE_PROBE, INSTANCE, INSTANCE_PID, INSTANCE_NODE, INSTANCE_PIDFILE)),
    ("NOTIFY_SOCKET", None),
    ("WATCHDOG_USEC", None),
    ("WATCHDOG_PID", None),
)


def setting(node: Node, machine: Machine, proc: Proc | None = None, token: str = "") -> Launch:
    """The node's user, directory and variables.

    With `proc` it asks for the node's health, and carries the node's token: if we are killed, the next command finds
    it. Without, it belongs to nobody's tree.
    """
    carried: tuple[tuple[str, str | None], ...] = ()
    if proc is not None and token:
        carried = (
            (INSTANCE_PROBE, "1"),
            (INSTANCE, token),
            (INSTANCE_PID, str(proc.pid)),
            (INSTANCE_NODE, node.name),
            (INSTANCE_PIDFILE, node.pidfile),
        )
    env = {**dict(_variables(node, machine)), **dict(_NOT_ITS_OWN), **dict(carried)}
    return Launch(
        argv=(), env=tuple(env.items()), logfile=node.logfile, workdir=node.workdir, uid=node.uid, gid=node.gid
    )


def _variables(node: Node, machine: Machine) -> tuple[tuple[str, str | None], ...]:
    """With what the node's env files hold now, where they can be read: the node runs all the same.

    A file that a user's record names is one for that user to open.
    """
    if not node.env_files:
        return node.env
    from multi.settings import envfile

    with suppress(MachineError, MultiError, OSError):
        record = observe.recall(node, machine)
        theirs = record.node.env_files if record is not None and record.owner else ()

        def load(path: str) -> bytes:
            if record is not None and record.owner and path in theirs:
                return machine.load_as(path, record.owner)
            return machine.load(path)

        return envfile.with_values(node, envfile.read_env_files(node.env_files, load)).env
    return node.env
