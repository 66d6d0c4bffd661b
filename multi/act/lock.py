"""The lock of a node: taken, or waited for. A kill does its work meanwhile, whoever holds it."""

from __future__ import annotations

from multi import observe
from multi.act.stop import AT_ONCE, Stop
from multi.act.waits import Wait, process_table
from multi.errors import EXIT_BUSY
from multi.model.event import Failed
from multi.model.happening import Locked
from multi.model.state import proc_of
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.act.journal import Journal
    from multi.act.waits import Walk
    from multi.machine import Machine
    from multi.model.request import Request

_FIRST_LOOK, _MOST_LOOK = 0.05, 0.5  # seconds between two looks of a kill for a process that came meanwhile


def take(request: Request, journal: Journal, machine: Machine) -> Walk:
    """Take the lock of the node, where there is one to take; False when another process keeps it.

    Whoever asks for a stop says so in the lock file before it waits, see `Journal.overruled`.
    """
    node, traits = journal.node, request.traits
    if traits.without_lock:
        return True  # waiting for what another command does must not keep that command out
    if traits.makes_directories:
        machine.make_directory(node.rundir, node.uid, node.gid)
    elif machine.read(node.rundir, 0) is None:
        return True  # no directory, so no lock and no files; the process table still tells whether it runs
    ends = ("kill" if traits.at_once else "stop") if traits.ends else ""
    if machine.lock(node.name, node.lockfile, node.uid, node.gid, ends) is None:
        return True
    began, pause = machine.now(), _FIRST_LOOK
    until = began + node.lock_timeout
    while True:
        if traits.at_once and not (yield from _kill(journal, machine)):
            return False
        look = machine.now() + pause if traits.at_once else until
        if isinstance((yield Wait(min(until, look), "lock", 0, began)), Locked) or machine.holds(node.name):
            return True
        if machine.now() >= until:
            break
        pause = min(pause * 2, _MOST_LOOK)
    who = machine.holder(node.name).text
    what, hint = f"locked by another multi ({who})", "wait"
    if not who:  # as flock(1), which writes nothing, or from within a container
        what, hint = f"{node.lockfile} is locked by another process", f"see 'fuser -v {node.lockfile}'"
    done = "killed, which could not be put on record: " if journal.killed else ""
    why = f"{done}{what} for more than {node.lock_timeout:g}s; {hint}, or raise --lock-timeout"
    yield Failed(node.name, None, why, exit_code=EXIT_BUSY)
    return False


def _kill(journal: Journal, machine: Machine) -> Walk:
    """KILL the tree of the process that is proved to be the node's. What is on record changes under the lock alone."""
    processes = yield from process_table()
    observed = observe.look_at(journal.node, processes, machine)
    proc = proc_of(observed.state)
    if proc is None:
        return True
    journal.record = observed.record
    stop = Stop(proc, journal.token_of(proc, observed.processes), journal, machine)
    journal.killed = yield from stop.by(AT_ONCE, first_sent=False, whole=True)
    return journal.killed
