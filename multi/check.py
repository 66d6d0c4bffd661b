"""What a start of a node would fail of for certain: users, limits, paths, programs. Reads only.

`check` tells it before anything runs, and `act` asks it before a working node is stopped for a start.
"""

from __future__ import annotations

import errno

from multi.errors import EXIT_FAILED, EXIT_PERMISSION
from multi.machine import Launch, MachineError
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multi.machine import Machine
    from multi.model.node import Node

_DEFAULT_PATH = "/bin:/usr/bin"  # os.defpath: of a node whose environment has none


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that a start of `node` would fail of: `what` it is, `why`, and what to try. `errno` as in errno(3)."""

    node: str
    what: str
    why: str
    hint: str
    errno: int = 0

    def __str__(self) -> str:
        """One line."""
        return f"{self.node}: {self.text}"

    @property
    def text(self) -> str:
        """The same without the node's name."""
        return f"{self.what} {self.why}; {self.hint}"


def obstacles(node: Node, machine: Machine) -> Iterator[Obstacle]:
    """Everything that is wrong with one node, not only the first thing. Its variables are those that it would have."""
    users = [*_users(node, machine)] or [*_ungranted(node, machine)]
    yield from users
    user, group = (None, None) if users else (node.uid, node.gid)
    if node.workdir is not None and machine.kind(node.workdir, user, group) != "directory":
        there = machine.kind(node.workdir) == "directory"
        why = f"may not be entered by {user or group}" if there else "is not a directory"
        hint = f"{'let that user enter it' if there else 'create it'}, or correct workdir"
        yield Obstacle(node.name, node.workdir, why, hint, errno.EACCES if there else errno.ENOENT)
    for setting, path, made in _paths(node):
        is_directory = machine.kind(path) == "directory"
        ours = path in {node.pidfile, node.outputfile}
        missing = machine.cannot_have(made, user, group, ours=ours)
        why, code = ("is a directory", errno.EISDIR) if is_directory else missing
        if why:
            cure = "change its owner or mode" if code == errno.EPERM else "make it writable"
            yield Obstacle(node.name, path, why, f"{cure}, or correct {setting}", code)
    yield from _no_program(node, machine, node.words[0], "correct cmd or executable", (user, group))


def faults(node: Node, machine: Machine) -> Iterator[Obstacle]:
    """The same, and what a start does not fail of, but something later will."""
    from multi.settings.values import split

    yield from obstacles(node, machine)
    probes = [] if node.alive is None else [("alive", node.alive.command)]
    for setting, command in (*probes, *((f"the hook {event}", command) for event, command in node.hooks)):
        if command:
            yield from _no_program(node, machine, split(command)[0], f"correct {setting}")


def _users(node: Node, machine: Machine) -> Iterator[Obstacle]:
    for setting, name, number_of in (("uid", node.uid, machine.uid_of), ("gid", node.gid, machine.gid_of)):
        try:
            number = None if name is None else number_of(name)
        except MachineError as error:  # noqa: PERF203 -- two rounds
            yield Obstacle(node.name, f"{setting} {name}", "does not exist", error.hint)
        else:
            if setting == "uid" and number is not None and machine.me().uid not in {0, number}:
                why = "is another user, and only root can start a node as another user"
                yield Obstacle(node.name, f"uid {name}", why, "run multi as root, or leave uid out", errno.EPERM)


def _ungranted(node: Node, machine: Machine) -> Iterator[Obstacle]:
    try:
        machine.may_launch(
            Launch(
                argv=node.words,
                env=(),
                logfile=node.logfile,
                uid=node.uid,
                gid=node.gid,
                nice=node.nice,
                rlimits=node.rlimits,
            )
        )
        machine.kind("/", node.uid, node.gid)  # what follows asks as that user
    except MachineError as error:
        yield Obstacle(node.name, f"{error.what}:", error.why, error.hint, error.errno)


def _paths(node: Node) -> Iterator[tuple[str, str, str]]:
    """Setting, path, and the file that is made or opened for it: a pidfile is replaced, whoever may write into it."""
    base = node.pidfile.rpartition("/")[2]
    yield "pidfile", node.pidfile, f"{node.rundir.rstrip('/')}/.{base}.new"
    if node.logs_to_file:
        yield "logfile", node.logfile, node.logfile


def _no_program(
    node: Node, machine: Machine, program: str, hint: str, by: tuple[str | None, str | None] = (None, None)
) -> Iterator[Obstacle]:
    here = machine.surroundings()
    path = {**here.environ, **dict(node.env)}.get("PATH")
    path = _DEFAULT_PATH if path is None else path
    base = node.workdir or here.cwd or "."
    places, why = [program], "is not an executable file"
    if "/" not in program:
        places, why = [f"{each or '.'}/{program}" for each in path.split(":")], f"is not found in PATH={path}"
    whole = [place if place.startswith("/") else f"{base}/{place}" for place in places]
    if any(machine.kind(place, *by) == "program" for place in whole):
        return
    if by != (None, None) and any(machine.kind(place) == "program" for place in whole):
        hint = f"let that user execute it and enter its directories, or {hint}"
        yield Obstacle(node.name, program, f"may not be executed by {by[0] or by[1]}", hint, errno.EACCES)
        return
    yield Obstacle(node.name, program, why, hint, errno.ENOENT)


def refusal(found: Sequence[Obstacle]) -> str:
    """Why a node is not stopped for a start that would meet these obstacles."""
    names = dict.fromkeys(each.node for each in found)
    told = "; ".join(dict.fromkeys(each.text for each in found))
    return f"left as it is, because a start of {' and '.join(names)} would fail: {told}"


def exit_code(found: Sequence[Obstacle]) -> int:
    """The exit code of such a refusal."""
    denied = {errno.EPERM, errno.EACCES, errno.EROFS}
    return EXIT_PERMISSION if any(each.errno in denied for each in found) else EXIT_FAILED
