"""Who belongs to a node's tree: token holders, members, leftovers, and the order in which a tree is killed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from multi.machine import Me
from multi.model.node import Node
from multi.model.process import Instance, Proc, ProcessInfo, ProcessTable
from multi.model.record import Record
from multi.value import dataclass


@dataclass(frozen=True, slots=True)
class Leftover:
    """What still runs of a tree whose main process is gone. `main` has no start id: it cannot be read any more."""

    main: Proc
    token: str
    processes: tuple[ProcessInfo, ...]


def token_holders(
    node: Node, processes: ProcessTable, me: Me, uid: int | None
) -> Iterator[tuple[ProcessInfo, Instance]]:
    """The living processes of a user (None: of all) whose environment says that they came of this node."""
    for info in processes.by_pidfile.get(node.pidfile, ()):
        if info.instance is not None and not info.gone and info.proc.pid != me.pid and uid in {None, info.uid}:
            yield info, info.instance


def main_token_holders(node: Node, processes: ProcessTable, uid: int, me: Me) -> tuple[ProcessInfo, ...]:
    """The living processes of a user whose environment says that they are the node's main one."""
    holders = token_holders(node, processes, me, uid)
    return tuple(info for info, instance in holders if instance.pid == info.proc.pid)


def adopted_token(proc: Proc, processes: ProcessTable) -> str:
    """The instance token that a process holds, empty when it holds none.

    Empty also when another holder of the token names another main process: a token can be stolen, and its holders are
    killed with the tree.
    """
    info = processes.by_pid.get(proc.pid)
    if info is None or info.proc != proc or info.instance is None:
        return ""
    holders = processes.by_token.get(info.instance.token, ())
    own = all(one.instance is not None and one.instance.pid == proc.pid for one in holders)
    return info.instance.token if own else ""


def tree(  # noqa: PLR0913 -- what decides who belongs to it
    main: Proc, token: str, processes: ProcessTable, me: Me, known: Iterable[Proc] = (), *, probes: bool = False
) -> tuple[ProcessInfo, ...]:
    """The living processes of a node's tree, the main process excluded; with `probes` those of its probes alone.

    Members are the holders of the instance token, the descendants of the main process and of every member known from
    before, and the main process's group. The group counts while the main process or a known member is in it, which
    proves that it is still the same group.
    """
    infos = processes.by_pid
    proved = {proc for proc in (main, *known) if proc.pid in infos and infos[proc.pid].proc == proc}
    members = {proc.pid for proc in proved}
    holders = processes.by_token.get(token, ()) if token else ()
    members.update(info.proc.pid for info in holders if is_probe(info) or not probes)
    if any(infos[proc.pid].pgrp == main.pid for proc in proved):
        members.update(info.proc.pid for info in processes.by_group.get(main.pid, ()))
    members.discard(me.pid)  # a worker may run multi on itself; what that starts is no part of the worker's tree
    pending = list(members)
    while pending:
        for info in processes.by_parent.get(pending.pop(), ()):
            pid = info.proc.pid
            if info.instance is not None and info.instance.token != token:
                continue  # a worker may itself run multi: what it started is another node
            if pid not in members and pid != me.pid:
                members.add(pid)
                pending.append(pid)
    return tuple(infos[pid] for pid in sorted(members) if not infos[pid].gone and pid > 1 and infos[pid].proc != main)


def in_cgroup(pids: Iterable[int], token: str, processes: ProcessTable, me: Me) -> tuple[tuple[ProcessInfo, ...], bool]:
    """The processes of the node's cgroup that belong to its tree, and whether the cgroup is the tree's alone.

    A node may run multi on itself: that one with its launcher is in the cgroup, and other nodes may be that it started.
    Of a multi that is not there even a child belongs to the tree: to process 1 the kernel gives all orphans.
    """
    found = [processes.by_pid[pid] for pid in sorted(pids) if pid in processes.by_pid]
    inside = me.pid in pids
    own = [
        info
        for info in found
        if not (inside and me.pid in {info.proc.pid, info.ppid})
        and (info.instance is None or info.instance.token == token)
    ]
    return tuple(info for info in own if not info.gone), len(own) == len(found) and not inside


def is_probe(info: ProcessInfo) -> bool:
    """Whether it is a command that asks for a node's health, or came of one."""
    return info.instance is not None and info.instance.probe


def leftovers(  # noqa: PLR0913 -- what decides what is left
    node: Node, record: Record | None, processes: ProcessTable, uid: int, me: Me, *, pids: Collection[int] = ()
) -> tuple[Leftover, ...]:
    """What a node whose main process is gone has left running: children that outlived it. `pids` are in its cgroup.

    With `kill_mode` ``process`` children are meant to outlive it, so none is a leftover. Token holders are found also
    when the record is gone; only those of the node's user count, so nobody can make another user's processes look like
    these.
    """
    if node.kill_mode != "mixed":
        return ()
    mains = {(instance.pid, instance.token) for _, instance in token_holders(node, processes, me, uid)}
    if record is not None and record.proc is not None and record.token:
        mains.add((record.proc.pid, record.token))
    found: list[Leftover] = []
    for pid, token in sorted(mains):
        known = [info.proc for info in processes.by_token.get(token, ())]
        if record is not None and record.token == token:
            known += [info.proc for info in in_cgroup(pids, token, processes, me)[0]]
        infos = tree(Proc(pid, ""), token, processes, me, known)
        if infos:
            found.append(Leftover(Proc(pid, ""), token, infos))
    return tuple(found)


def running_probes(node: Node, processes: ProcessTable, uid: int, me: Me) -> tuple[Leftover, ...]:
    """What runs of the node's probes, whatever its `kill_mode` says of its children."""
    probes = (instance for _, instance in token_holders(node, processes, me, uid) if instance.probe)
    return tuple(
        Leftover(Proc(pid, ""), token, tree(Proc(pid, ""), token, processes, me, probes=True))
        for pid, token in sorted({(instance.pid, instance.token) for instance in probes})
    )


def kill_order(infos: Iterable[ProcessInfo], processes: ProcessTable) -> tuple[Proc, ...]:
    """The order in which to kill a suspended tree, so that none of its processes is resumed.

    An exit can orphan process groups: those of the children, and the process's own group where it was the last tie to
    the rest of the session, a parent in another group. The kernel sends HUP and CONT to an orphaned group with a
    stopped member (_exit(3p), kernel/exit.c), and a handler of HUP then runs. So children come before parents, and in a
    group a tie comes last. Nobody waits between two kills: a stopped process that was sent KILL never runs again,
    whichever of them dies first.
    """
    members = {info.proc.pid: info for info in infos}
    loose: dict[int, list[int]] = {}  # by group
    for pid, info in members.items():
        if not _is_tie(info, processes):
            loose.setdefault(info.pgrp, []).append(pid)
    order: dict[int, Proc] = {}
    begun: set[int] = set()
    pending = list(members)
    while pending:  # depth first: a process is added after all that must come before it
        pid = pending[-1]
        if pid in begun:
            order.setdefault(pid, members[pid].proc)
            pending.pop()
            continue
        begun.add(pid)
        children = processes.by_parent.get(pid, ())
        first = [child.proc.pid for child in children if child.proc.pid in members]
        zombies = [child for child in children if child.gone]  # for the kernel, each is a tie until its parent ends
        for info in (members[pid], *zombies):
            if _is_tie(info, processes):
                first += loose.get(info.pgrp, ())
        pending += [other for other in first if other not in begun]
    return tuple(order.values())


def _is_tie(info: ProcessInfo, processes: ProcessTable) -> bool:
    """Whether it keeps its group from being orphaned: its parent is in another group of the same session."""
    parent = processes.find(info.ppid)
    return parent is not None and parent.session == info.session and parent.pgrp != info.pgrp
