"""What a start of a node would fail of: paths, users, programs. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.machine import MachineError
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multi.machine import Machine
    from multi.model.node import Node

_DEFAULT_PATH = "/bin:/usr/bin"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that a start of `node` would fail of: `what` it is, `why`, and what to try."""

    node: str
    what: str
    why: str
    hint: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.node}: {self.what} {self.why}; {self.hint}"


def obstacles(node: Node, machine: Machine) -> tuple[Obstacle, ...]:
    """Everything that is wrong with one node, not only the first thing."""
    return (*_users(node, machine), *_paths(node, machine))


def _paths(node: Node, machine: Machine) -> Iterator[Obstacle]:
    if node.workdir is not None and machine.kind(node.workdir) != "directory":
        yield Obstacle(node.name, node.workdir, "is not a directory", "create it, or correct workdir")
    paths = {"pidfile": node.pidfile, **({"logfile": node.logfile} if node.logs_to_file else {})}
    for setting, path in paths.items():
        why = machine.cannot_create(path)
        if why:
            yield Obstacle(node.name, path, why, f"make it writable, or correct {setting}")
    program = node.words[0]
    path = dict(node.env).get("PATH") or machine.surroundings().environ.get("PATH", _DEFAULT_PATH)
    if not _found(program, path, node.workdir or machine.surroundings().cwd or ".", machine):
        why = "is not an executable file" if "/" in program else f"is not found in PATH={path}"
        yield Obstacle(node.name, program, why, "correct cmd or executable")


def _users(node: Node, machine: Machine) -> Iterator[Obstacle]:
    """A user or group that does not exist, or that the caller may not become."""
    if node.uid is not None:
        try:
            uid = machine.uid_of(node.uid)
        except MachineError as error:
            yield Obstacle(node.name, f"uid {node.uid}", "does not exist", error.hint)
        else:
            if machine.me().uid not in {0, uid}:
                why = "is another user, and only root can start a node as another user"
                yield Obstacle(node.name, f"uid {node.uid}", why, "run multi as root, or leave uid out")
    if node.gid is not None:
        try:
            machine.gid_of(node.gid)
        except MachineError as error:
            yield Obstacle(node.name, f"gid {node.gid}", "does not exist", error.hint)


def _found(program: str, path: str, base: str, machine: Machine) -> bool:
    if "/" in program:
        return machine.kind(program if program.startswith("/") else f"{base}/{program}") == "program"
    return any(machine.kind(f"{directory or base}/{program}") == "program" for directory in path.split(":"))
