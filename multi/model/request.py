"""The one table of commands and their traits, and what is asked of a node.

Only `decide` goes by the name of a command; everybody else goes by its traits. A new command is a row here, a row of
the table in `decide`, and its help.
"""

from __future__ import annotations

from typing import Literal

from multi.model.node import Node
from multi.model.schedule import KILL
from multi.value import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a command takes, and what it does to nodes.

    `nodes_from` says where its nodes come from: the ``words`` and the configuration alone, in which case `example` is
    what to try where they name none; ``words or records``, whichever says the command; the ``words now``, whatever is
    on record; the ``files``, which are the configuration and the records of what it started; or else the ``records``.
    `default_command`: the preset's command counts where nobody says one. `repeats`: a command on record is started
    again where nobody says another. `restarts`: it starts a node also where none has run. `strict`: a scope that hits
    no node is an error. `takes_signal`: it takes ``-SIG``, and of those `only_signal`. `disturbs`: it signals what
    runs. `shows_logs`: it reads logs.

    `stays`: it runs in the foreground as long as its nodes. `spawns`: a node runs afterwards. `ends`: a node ends, and
    no file that cannot be written keeps it running. `reconciles`: a node becomes what the configuration says.
    `resumes`: a suspended process is resumed first. `unattended`: nobody watches, so it neither warns nor waits for a
    node that waits for something else. `makes_directories`: the run directory is made before the lock is taken.
    `without_lock`: it waits for what another `multi` does, and must not keep that one out. `leaves_probes`: probes that
    a killed `multi` left are not ended.
    """

    nodes_from: Literal["words", "words or records", "words now", "files", "records"] = "records"
    example: str = ""
    default_command: bool = False
    repeats: bool = False
    restarts: bool = False
    strict: bool = False
    takes_signal: bool = False
    only_signal: int | None = None
    disturbs: bool = False
    shows_logs: bool = False
    stays: bool = False
    spawns: bool = False
    ends: bool = False
    reconciles: bool = False
    resumes: bool = False
    unattended: bool = False
    makes_directories: bool = False
    without_lock: bool = False
    leaves_probes: bool = False

    @property
    def reads_env_files(self) -> bool:
        """Whether the variables of the nodes matter."""
        return self.default_command or self.spawns or self.nodes_from == "words or records"


_ALIASES = {"stop_verify": "stopwait", "wait": "up"}
_TRAITS = {
    "start": Traits(nodes_from="words now", default_command=True, spawns=True, resumes=True, makes_directories=True),
    "run": Traits(nodes_from="words now", default_command=True, stays=True, spawns=True),
    "stop": Traits(takes_signal=True, disturbs=True, ends=True, resumes=True),
    "stopwait": Traits(takes_signal=True, disturbs=True, ends=True, resumes=True),
    "restart": Traits(
        repeats=True,
        restarts=True,
        takes_signal=True,
        disturbs=True,
        spawns=True,
        resumes=True,
        makes_directories=True,
    ),
    "kill": Traits(takes_signal=True, only_signal=KILL, disturbs=True, ends=True),
    "ensure": Traits(repeats=True, spawns=True, unattended=True),
    "apply": Traits(
        nodes_from="files", default_command=True, spawns=True, reconciles=True, resumes=True, makes_directories=True
    ),
    "diff": Traits(nodes_from="files", default_command=True, reconciles=True),
    "signal": Traits(takes_signal=True, disturbs=True, leaves_probes=True),
    "reload": Traits(disturbs=True),
    "up": Traits(without_lock=True),
    "down": Traits(without_lock=True),
    "logs": Traits(shows_logs=True),
    "names": Traits(nodes_from="words", example="try 'multi names w1 w2'"),
    "expand": Traits(nodes_from="words", example="try 'multi expand %n.log w1 w2'"),
    "get": Traits(
        nodes_from="words", default_command=True, example="name the one among the others, as in 'multi get w1 w1 w2'"
    ),
    "show": Traits(nodes_from="words", default_command=True, example="try 'multi show w1 w2'"),
    "check": Traits(nodes_from="words", default_command=True, strict=True, example="try 'multi check w1 w2'"),
    "export": Traits(nodes_from="words or records", example="try 'multi export systemd w1 w2 -A proj'"),
}
_OTHER = Traits()  # of a command that does nothing to nodes but look at them


def canonical(command: str) -> str:
    """A command by its one name."""
    return _ALIASES.get(command, command)


def traits(command: str) -> Traits:
    """The traits of a command, by any of its names."""
    return _TRAITS.get(canonical(command), _OTHER)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a node: the command, and the signal given with it (``-SIG``).

    `recorded` is the node as it was on record when it was chosen, for ``apply``, ``restart`` and ``ensure``. `moved` is
    the node with other pidfiles that it still has. `says` is whether the words or the configuration say the command.
    """

    command: str
    signum: int | None = None
    recorded: Node | None = None
    moved: tuple[Node, ...] = ()
    says: bool = True

    @property
    def traits(self) -> Traits:
        """The traits of its command."""
        return traits(self.command)
