"""The cgroup that a start of a node gets, where one is delegated to us, and what the kernel says of it."""

from __future__ import annotations

from multi import observe
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from multi.act.journal import Journal
    from multi.machine import Machine
    from multi.model.record import Record
    from multi.model.request import RunOptions


def path_for(journal: Journal, token: str, options: RunOptions, machine: Machine) -> str:
    """The cgroup that this start of the node is to be in, where one is delegated to us; else it is empty.

    A node that is started again stays where it was, whoever asks for that from elsewhere. Only `run` divides the cgroup
    with its controllers: the kernel refuses a process to one that is divided, and another command may be to join it,
    as `ensure` is under systemd.
    """
    from multi.decide import delegation

    cgroups = machine.cgroups
    said = machine.surroundings().environ.get(delegation.VARIABLE, "")
    if cgroups.home is None:
        cgroups.take(delegation.home(*cgroups.here(), said), divide=options.runner is not None)
    home, record = cgroups.home, journal.record
    if not home and record is not None and record.cgroup is not None:
        folder = cgroups.folder(record.cgroup.path.rpartition("/")[0])
        home = delegation.former_home(folder, record.owner, machine.me().uid, said)
    if not home:
        return ""
    from multi.model.cgroup import name_of

    return f"{home}/{name_of(journal.node.name, token)}"


def entered(record: Record, cgroup: str, machine: Machine) -> Record:
    """The record with the cgroup that its process is in, if that is the one it was to make."""
    if not cgroup or record.proc is None:
        return record
    found = machine.cgroups.of(record.proc)
    if found is not None and found.path == cgroup:
        return replace(record, cgroup=found)
    machine.cgroups.remove(cgroup)  # it could be made, and not entered
    return record


def explained(why: str, record: Record | None, machine: Machine, *, ended: bool) -> str:
    """Why a start has failed; of a process that `ended`, with what the kernel did to it."""
    cause = observe.cause(record, machine) if ended and record is not None else ""
    return f"{why} ({cause})" if cause else why
