"""The one table of commands and their traits, what is asked of a node, and how the nodes of a command are walked.

Only `decide` goes by the name of a command; everybody else goes by its traits. A new command is a row here, a row of
the table in `decide`, and its help. `help` lists the commands in the order of the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from multi.model.node import Node, Ready
from multi.model.process import Proc
from multi.model.schedule import KILL
from multi.typed import Literal
from multi.value import dataclass, field, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a command takes, and what it does to nodes.

    Its nodes come from the ``words`` and the configuration alone; from ``words or records``, whichever says the
    command; from the ``words now``, whatever is on record; from the ``files``, which are the configuration and the
    records of what it started; or from the ``records``, where the words may change something.
    """

    nodes_from: Literal["words", "words or records", "words now", "files", "records", "nothing"] = "records"
    typed: bool = True  # it is a command by itself, not what another one asks of nodes
    first_word: str = ""  # what it needs before its nodes
    example: str = ""  # what to try where that is missing, or no node is named or configured
    stays_as: str = ""  # the command that does the same in the foreground
    default_command: bool = False  # the preset's command counts where nobody says one
    repeats: bool = False  # what is on record is started again where nobody says another command
    restarts: bool = False  # a node is started also where none has run
    strict: bool = False  # a scope that hits no node is an error
    takes_signal: bool = False  # it takes -SIG
    only_signal: int | None = None  # and no other than this one
    disturbs: bool = False  # it signals or stops what runs
    shows_logs: bool = False  # it reads logs
    shows_others: bool = False  # it shows nodes that nobody asked about, too
    tells_states: bool = False  # its exit code is about states, so one of its own errors means that they are unknown
    unattended: bool = False  # for cron: it does not warn, does not wait for what waits, and counts failures
    stays: bool = False  # it runs in the foreground as long as its nodes
    spawns: bool = False  # a node runs afterwards
    at_once: bool = False  # it does not wait for the lock of a node before it signals the process
    ends: bool = False  # a node ends; no file that cannot be written keeps it running
    reconciles: bool = False  # a node becomes what the configuration says
    resumes: bool = False  # a suspended process is resumed first
    makes_directories: bool = False  # the run directory is made before the lock is taken
    awaits_end: bool = False  # it waits until nothing runs
    without_lock: bool = False  # it waits for what another multi does, and must not keep that one out
    locks_rundirs: bool = False  # it holds the lock of the run directories, see `multi.act.rundir_lock`
    glances: bool = False  # files and single processes tell all: it reads no process table of the whole machine
    drains: bool = False  # it can let a node do its last task before it stops it
    extends_timeout: bool = False  # as ExecStop= or ExecReload= it tells systemd to wait for the stop schedules
    leaves_probes: bool = False  # probes that a killed multi left are not ended
    forgets: bool = False  # the node is off the record afterwards

    @property
    def reads_env_files(self) -> bool:
        """Whether the variables of the nodes matter."""
        return self.default_command or self.spawns or self.nodes_from == "words or records"

    @property
    def takes_worker_words(self) -> bool:
        """Whether words that `multi` does not know are the worker's: it starts, restarts or only writes commands."""
        return not self.takes_no_others and (
            self.default_command or self.restarts or self.nodes_from.startswith("words")
        )

    @property
    def takes_no_others(self) -> bool:
        """Whether it takes no word but `multi`'s own: the configuration or the record says the rest."""
        return self.reconciles or self.unattended

    @property
    def goes_by_records(self) -> bool:
        """Whether a configuration that is broken is passed over: what is on record says what to stop or look at."""
        return self.nodes_from == "records" and not (self.spawns or self.makes_directories)

    @property
    def done_without_nodes(self) -> bool:
        """Whether nothing is left to do where there is no node at all."""
        return self.ends or self.awaits_end or self.unattended or self.reconciles or self.forgets


ALIASES = {"stop_verify": "stopwait", "wait": "up"}
TRAITS = {
    "start": Traits(
        stays_as="run", default_command=True, repeats=True, spawns=True, resumes=True, makes_directories=True
    ),
    "run": Traits(
        nodes_from="words now", default_command=True, stays=True, spawns=True, resumes=True, makes_directories=True
    ),
    "stop": Traits(takes_signal=True, disturbs=True, ends=True, resumes=True),
    "stopwait": Traits(takes_signal=True, disturbs=True, ends=True, resumes=True, drains=True, extends_timeout=True),
    "restart": Traits(
        repeats=True,
        restarts=True,
        takes_signal=True,
        disturbs=True,
        drains=True,
        extends_timeout=True,
        spawns=True,
        resumes=True,
        makes_directories=True,
    ),
    "kill": Traits(takes_signal=True, only_signal=KILL, disturbs=True, ends=True, at_once=True),
    "forget": Traits(forgets=True),
    "remove": Traits(typed=False, disturbs=True, ends=True, resumes=True, forgets=True),
    "status": Traits(shows_others=True, tells_states=True),
    "health": Traits(typed=False, glances=True),
    "tasks": Traits(glances=True),
    "ensure": Traits(repeats=True, spawns=True, unattended=True, locks_rundirs=True),
    "revive": Traits(typed=False, repeats=True, spawns=True, unattended=True, makes_directories=True),
    "apply": Traits(
        nodes_from="files",
        default_command=True,
        spawns=True,
        reconciles=True,
        resumes=True,
        makes_directories=True,
        locks_rundirs=True,
    ),
    "diff": Traits(nodes_from="files", default_command=True, reconciles=True),
    "check": Traits(nodes_from="words", default_command=True, strict=True, example="try 'multi check w1 w2'"),
    "signal": Traits(
        first_word="signal", example="try 'multi signal USR1 w1'", takes_signal=True, disturbs=True, leaves_probes=True
    ),
    "dump": Traits(typed=False),
    "reload": Traits(disturbs=True),
    "wait": Traits(without_lock=True),
    "up": Traits(typed=False, without_lock=True),
    "down": Traits(typed=False, without_lock=True, awaits_end=True),
    "drain": Traits(resumes=True),
    "resume": Traits(resumes=True),
    "logs": Traits(shows_logs=True),
    "history": Traits(),
    "why": Traits(example="try 'multi why w1'"),
    "names": Traits(nodes_from="words", example="try 'multi names w1 w2'"),
    "expand": Traits(nodes_from="words", first_word="template", example="try 'multi expand %n.log w1 w2'"),
    "get": Traits(first_word="node", default_command=True, repeats=True, example="try 'multi get w1 w1 w2 -A proj'"),
    "show": Traits(default_command=True, repeats=True, example="try 'multi show w1 w2'"),
    "export": Traits(
        nodes_from="words or records", first_word="form", example="try 'multi export systemd w1 w2 -A proj'"
    ),
    "install": Traits(
        default_command=True,
        repeats=True,
        makes_directories=True,
        locks_rundirs=True,
        example="try 'multi install w1 -A proj'",
    ),
    "uninstall": Traits(locks_rundirs=True),
    "import": Traits(nodes_from="nothing", first_word="file", example="try 'multi import supervisord.conf'"),
    "completion": Traits(nodes_from="nothing", first_word="shell"),
    "help": Traits(nodes_from="nothing", first_word="command"),
}
_OTHER = Traits()  # of what is no command


def canonical(command: str) -> str:
    """A command by its one name."""
    return ALIASES.get(command, command)


def traits(command: str) -> Traits:
    """The traits of a command, by any of its names."""
    return TRAITS.get(canonical(command), _OTHER)


@dataclass(frozen=True, slots=True)
class Held:
    """Why a node keeps what is on record of it, and how it is `configured`."""

    why: str
    configured: Node


@dataclass(frozen=True, slots=True)
class Due:
    """Why this very process is to be restarted. `planned` when it is no failure, as with a limit of its own.

    `first` is how many seconds the first stage of its stop takes at most.
    """

    proc: Proc
    why: str
    planned: bool = False
    first: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a node: the command, and the signal given with it (``-SIG``).

    `recorded` is the node as it was on record when it was chosen, for ``apply`` and for what `repeats`. `says` is
    whether the words or the configuration say the command, `named` whether the user named the node. `held` says why
    the node is not what the configuration says. `former` is the node that had other files until now. `due` is the
    process that is to be restarted although it runs, for what is `unattended`. `beside` are nodes that it comes after,
    and that nobody asked for. With `when_idle` it does its last task before it is stopped. `status` is the exit status
    of the process that has ended, where somebody knows it.
    """

    command: str
    signum: int | None = None
    recorded: Node | None = None
    says: bool = True
    named: bool = True
    when_idle: bool = False
    held: Held | None = None
    former: Node | None = None
    due: Due | None = None
    beside: tuple[Node, ...] = ()
    status: int | None = None

    @property
    def source(self) -> str:
        """Who says the command of a node that is started, where nobody says it now; see `Spawn`."""
        if not self.traits.repeats or self.traits.unattended:
            return ""
        if self.recorded is not None:
            return "record" if self.traits.default_command else ""
        return "" if self.says else "preset"

    @property
    def traits(self) -> Traits:
        """The traits of its command."""
        return traits(self.command)


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of one node. `after` are the indices of the tasks that must be over before it begins.

    Of two tasks of one node the later one is after the other.
    """

    node: Node
    request: Request
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """When a task begins: the `settle` seconds for which its node is watched once it is ready, and whether as a canary.

    `number` counts those that start a node, from 1, where the whole order is foreseen. `failed` are the tasks before it
    that did not go well.
    """

    settle: float = 0.0
    canary: bool = False
    number: int = 0
    failed: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class Fallback:
    """The proof for a node that cannot give its own: `ready`, and at least `startsecs` of life.

    `note` tells the user why, and what it means. With `asks` it is used only if the node's Python has no plug-in.
    """

    ready: Ready
    startsecs: float
    note: str
    asks: bool = False

    def instead(self, node: Node) -> Node:
        """The node as it is tried. The record keeps it as it was asked for."""
        return replace(node, ready=self.ready, startsecs=max(node.startsecs, self.startsecs))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How the nodes of one command are walked.

    `width` nodes at a time, None for all at once; with a width, the first failure ends the admission of further
    nodes. The first `canaries` nodes that are started come before all others, which begin when those have passed. For
    `settle` seconds after it is ready each of them is watched, or each node where there are none. With `rollback` a
    node that fails is started again as it is on record. `again` tries what was rejected before. `groups` are those of
    the configuration, by the full names of their nodes. `fallbacks` are proofs of readiness by node, for those that
    cannot give their own. `keep_unready` leaves a node running that did not get ready. `progress` is the number of
    seconds between two `Waiting` events, None for none. `timeout` bounds `AwaitUp` and `AwaitDown`, seconds. With
    `signals`, SIGINT, SIGTERM and SIGHUP end the run as an `Interrupted` event, except those in `deaf_to`; only the
    main thread of a program may ask for that. `runner` is our own process where it stays with the nodes it starts.
    `when_idle` waits for a worker's last task before it is stopped; interrupted, the worker consumes again, or stays
    drained with `keep_drained`. With `lock_held` the caller holds the lock of the run directories. With
    `one_ends_all`, `run` ends when it gives one of its nodes up. With `shown` it tells what they print, see `Output`;
    with `edits` it restarts them when these files of theirs change, or with none of these any source.
    """

    width: int | None = None
    canaries: int = 0
    settle: float = 0.0
    rollback: bool = False
    again: bool = False
    keep_unready: bool = False
    progress: float | None = None
    timeout: float | None = None
    fallbacks: Mapping[str, Fallback] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    signals: bool = False
    deaf_to: tuple[int, ...] = ()
    runner: Proc | None = None
    when_idle: bool = False
    keep_drained: bool = False
    lock_held: bool = False
    one_ends_all: bool = False
    shown: bool = False
    edits: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What `apply` would do to one node, and why.

    `verb` is ``start``, ``restart``, ``stop``, ``clear`` (files of a node that is gone), ``forget`` (one that is
    stopped), ``update``, ``refuse``, or ``hold`` (one that keeps what is on record, because that was rejected).
    `changes` are settings that differ, each with its running and its configured value; of a variable only that it
    differs, because it may be a secret. `waits` is what it would wait for, in words.
    """

    node: str
    verb: str
    why: str = ""
    changes: tuple[tuple[str, object, object], ...] = ()
    turn: Turn = Turn()
    waits: tuple[str, ...] = ()
