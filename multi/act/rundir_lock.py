"""The lock of the run directories: one deploy, or one job of cron, at a time.

It is a file that a deploy script can lock, too, and lies above the locks of single nodes. Those alone see to it that a
node never has two processes, so where this one cannot be had for want of a directory, the nodes tell what is wrong.
"""

from __future__ import annotations

import errno

from multi.errors import BusyError
from multi.machine import MachineError
from multi.model.event import Interrupted, Waiting
from multi.model.happening import Interruption, Locked
from multi.typed import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from multi.machine import Holder, Machine
    from multi.model.event import Event
    from multi.model.node import Node
    from multi.model.request import RunOptions, Traits

LOCKFILE = ".multi.lock"
T = TypeVar("T")


def hold_rundirs(
    nodes: Sequence[Node], walk: Callable[[bool], Iterator[T]], traits: Traits, options: RunOptions, machine: Machine
) -> Iterator[Event | T]:
    """Hold the lock of each run directory of the nodes during the walk, which is told whether it was waited for.

    What runs unattended does not wait, and does nothing where somebody else holds one. The locks are taken in the order
    of their paths, so that two commands never wait for each other. Raises `BusyError`.
    """
    held: list[str] = []
    waited = False
    try:
        for rundir in sorted({node.rundir for node in nodes}):
            there = [node for node in nodes if node.rundir == rundir]
            path = f"{rundir.rstrip('/')}/{LOCKFILE}"
            held.append(path)
            holder = _lock(path, there, traits, machine)
            if holder is None:
                continue
            if traits.unattended:
                return
            if not (yield from _await(path, holder, nodes, options, machine)):
                return
            waited = True
        yield from walk(waited)
    finally:
        for path in held:
            machine.unlock(path)


def _lock(path: str, nodes: Sequence[Node], traits: Traits, machine: Machine) -> Holder | None:
    """Take the lock now, or be told who holds it. Where there is no directory for it, there is nothing to lock."""
    first = nodes[0]
    try:
        if machine.kind(first.rundir) != "directory":
            if not traits.makes_directories:
                return None
            machine.make_directory(first.rundir, first.uid, first.gid)
        return machine.lock_directory(path, path, [(node.uid, node.gid) for node in nodes])
    except MachineError as error:
        if error.errno == errno.EPERM:  # somebody may have planted it
            raise
        return None


def _await(
    path: str, holder: Holder, nodes: Sequence[Node], options: RunOptions, machine: Machine
) -> Generator[Event, None, bool]:
    """Wait until the lock is ours; False when the wait was interrupted."""
    began = now = machine.now()
    seconds = max(node.lock_timeout for node in nodes)
    while now < began + seconds:
        until = began + seconds
        if options.progress is not None:
            for node in nodes:
                yield Waiting(node.name, 0, "lock", now - began)
            until = min(until, now + options.progress)
        for happening in machine.wait(until):
            match happening:
                case Locked(key) if key == path:
                    return True
                case Interruption(signum) if signum not in options.deaf_to:
                    yield Interrupted(signum)
                    return False
        now = machine.now()
    who = machine.holder(path).text or holder.text
    what, hint = f"locked by another multi ({who})", "wait"
    if not who:  # as by flock(1), which writes nothing
        what, hint = "locked by another process", f"see 'fuser -v {path}'"
    raise BusyError(path, f"{what} for more than {seconds:g}s", f"{hint}, or raise --lock-timeout")
