"""What a start of a node would fail of: paths, users, programs. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.machine import MachineError
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multi.machine import Machine
    from multi.model.node import Node


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


def obstacles(node: Node, machine: Machine) -> Iterator[Obstacle]:
    """Everything that is wrong with one node, not only the first thing."""
    for setting, name, number_of in (("uid", node.uid, machine.uid_of), ("gid", node.gid, machine.gid_of)):
        try:
            number = None if name is None else number_of(name)
        except MachineError as error:  # noqa: PERF203 -- two rounds
            yield Obstacle(node.name, f"{setting} {name}", "does not exist", error.hint)
        else:
            if setting == "uid" and number is not None and machine.me().uid not in {0, number}:
                why = "is another user, and only root can start a node as another user"
                yield Obstacle(node.name, f"uid {name}", why, "run multi as root, or leave uid out")
    if node.workdir is not None and machine.kind(node.workdir) != "directory":
        yield Obstacle(node.name, node.workdir, "is not a directory", "create it, or correct workdir")
    paths = {"pidfile": node.pidfile, **({"logfile": node.logfile} if node.logs_to_file else {})}
    for setting, path in paths.items():
        why = machine.cannot_create(path)
        if why:
            yield Obstacle(node.name, path, why, f"make it writable, or correct {setting}")
    program = node.words[0]
    here = machine.surroundings()
    base = node.workdir or here.cwd or "."
    path = dict(node.env).get("PATH") or here.environ.get("PATH", "/bin:/usr/bin")
    if "/" in program:
        places, why = [program if program.startswith("/") else f"{base}/{program}"], "is not an executable file"
    else:
        places, why = [f"{each or base}/{program}" for each in path.split(":")], f"is not found in PATH={path}"
    if not any(machine.kind(place) == "program" for place in places):
        yield Obstacle(node.name, program, why, "correct cmd or executable")
