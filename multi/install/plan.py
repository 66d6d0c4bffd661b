"""What is to be put into place, taken away and run, in order; and what there is. Values, and the rules about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multi.errors import MultiError
from multi.typed import Literal, TypeAlias
from multi.value import dataclass, field

Starter: TypeAlias = Literal["systemd", "cron", "sysv"]
RECORD = "nodes on record"  # the origin of nodes that no configuration has
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of cron jobs and services, more or less
LIMIT = 1 << 20  # bytes that a file of ours has at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How nodes are installed: by a `starter`, None for what this machine has; for systemd's manager of this `user`.

    With `now` they are also started, or stopped. `names` are those that the user named, none for all. `running` are
    those that run, and that no `multi run` holds. What is only `shown` may be for a machine with systemd.
    """

    starter: Starter | None = None
    user: bool = False
    now: bool = False
    names: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    shown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The machine and whoever asks, as far as it matters for what is installed.

    `origin` is the configuration's path, or `RECORD`; `name` is what files for all its nodes are called. `program` runs
    `multi`, in `directory`, with `path` for PATH (empty: the system's own). `tools` are the programs that were found.
    `lingers` is whether the user's manager starts at boot, `groups` are login groups and `users` login names by user.
    `logrotate` is the text that is shipped for it, empty where there is no logrotate. `whole` are the directories with
    a file of that `name`, `missing` the directories of logs that are not there.
    """

    origin: str
    name: str
    program: tuple[str, ...]
    directory: str
    path: str
    host: str
    uid: int
    user: str
    home: str
    tools: Mapping[str, str] = field(default_factory=dict)
    systemd: bool = False
    manager: str = ""  # the runtime directory of the user's manager, empty when it does not run
    lingers: bool = False
    logrotate: str = ""
    whole: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    groups: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A program to run, and what undoes it. What fails `late` undoes nothing: all is in place by then."""

    words: tuple[str, ...]
    data: str | None = None
    undo: Run | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """A file to write, its text with the stamp. `old` is what was there: text and mode."""

    path: str
    text: str
    mode: int
    old: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """A file to remove; `old` is what it was."""

    path: str
    old: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Keep:
    """A file that stays as it is, and why."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Undo:
    """Nothing to do; what is run last where all is undone."""

    run: Run


Step: TypeAlias = Run | Write | Remove | Keep | Undo


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one starter needs: texts and modes by path, without stamps; what runs afterwards, and what only undoes.

    `own` are files that belong to the administrator once they are there. `says` are lines for people.
    """

    files: Mapping[str, tuple[str, int]]
    runs: Sequence[Run] = ()
    undo: Run | None = None
    own: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is done, in order, and what is said at the end; with `unmet` it can only be shown here."""

    steps: Sequence[Step]
    says: tuple[str, ...] = ()
    unmet: MultiError | None = None


class NotInstalledError(MultiError):
    """Something stands in the starter; nothing was changed (exit 2)."""


def changed_by_hand(path: str, *, removes: bool = False) -> NotInstalledError:
    """The refusal to write over, or to remove, a file that is not as `multi` wrote it."""
    hint, unit = "move it away, or remove it, and do this again", path.rpartition("/")[2]
    if unit.endswith((".service", ".target")):
        hint = f"put your changes into 'systemctl edit {unit}', remove the file, and do this again"
        hint = f"'systemctl disable {unit}', and remove it, then do this again" if removes else hint
    return NotInstalledError(path, "was changed by hand since multi wrote it", hint)
