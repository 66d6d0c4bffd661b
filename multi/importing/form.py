"""What the forms of import share: a configuration, and its text. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from contextlib import contextmanager
from itertools import takewhile

from multi.errors import UsageError
from multi.model.schedule import parse_signal, signal_name
from multi.settings.config import MOST_NODES
from multi.settings.table import SETTINGS
from multi.settings.toml import dotted
from multi.text import printable
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field, replace
from multi.words.template import literal, literal_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# No text for others holds these (Unicode calls them noncharacters), so a file that does is refused.
MARKS = frozenset("\ufdd0\ufdd1\ufdd2\ufdd3")
HOST = "\ufdd2"  # in a path or a command: the host of the node
_VARIABLE = ("\ufdd0", "\ufdd1")  # around the name of a variable that is read when multi.toml is
_LIMIT = re.compile(r"--([a-z]+)=((?:\d+|unlimited)(?::(?:\d+|unlimited))?)")
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
# Words that mean to a shell what they mean to nobody else are in quotes, or not there.
_PLAIN = re.compile(r"""(?:[\w@%+=:,./\\-]|[ \t]|'[^']*'|"[^"$`\\!]*")*""", re.ASCII)
_STREAM = (
    "that of 'multi run' or of whoever calls 'multi start'; what reads it through a pipe waits as long as the node runs"
)
_AGAIN = (
    "'multi run' leaves it as it ended; 'multi ensure', and what 'multi install' and 'multi export' write, start it "
    "again after an exit status that is not in exit_ok"
)
_OF_SEVERAL = "'multi install' needs a pidfile, and a logfile, in a directory of each, as in /var/run/multi-USER/%n.pid"
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Table:
    """A node or a group of what is made: its name, its settings as TOML has them, and sentences for the user.

    `nodes` are the members of a group; None for a node.
    """

    name: str
    settings: Mapping[str, object]
    remarks: tuple[str, ...] = ()
    nodes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A configuration that somebody is to read before it is used. `remarks` are about all of it."""

    tables: tuple[Table, ...]
    defaults: Mapping[str, object] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def _no_files(_pattern: str) -> Sequence[Source]:
    return ()


@dataclass(frozen=True, slots=True)
class Source:
    """What is imported. `beside` gives the text of a file beside it, None where there is none; `home` is its folder.

    `matching` gives the files of a pattern that the text includes, in order; `others` are files of the same form.
    """

    path: str
    text: str
    home: str
    beside: Callable[[str], str | None]
    matching: Callable[[str], Sequence[Source]] = _no_files
    others: tuple[Source, ...] = ()


def refuse_noncharacters(text: str, path: str) -> None:
    """Raise `UsageError` for a text that holds what stands for something else here."""
    if MARKS & set(text):
        raise UsageError(path, "holds noncharacters of Unicode (U+FDD0 to U+FDD3)", "take them out")


def variable(name: str) -> str:
    """What stands for a variable of the environment in a text of what is made."""
    return f"{_VARIABLE[0]}{name}{_VARIABLE[1]}"


def shown(text: str) -> str:
    """A text for people, with the names of its variables."""
    return re.sub(r"(?:\ufdd0|\\ufdd0)(.*?)(?:\ufdd1|\\ufdd1)", r"${\1}", text).replace(HOST, "HOSTNAME")


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Say of a wrong value where it stands."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where} {error.word}", error.why, error.hint) from None


def name_of(text: str) -> str:
    """A name that a node may have."""
    return _NOT_IN_NAMES.sub("-", text).strip("-.") or "node"


def plain_words(command: str) -> list[str] | None:
    """The words of a command that needs no shell; None for one that does."""
    if not _PLAIN.fullmatch(command):
        return None
    try:
        return shlex.split(command)
    except ValueError:
        return None


def split(text: str, where: str) -> list[str]:
    """The words of a text, as a shell has them. Raises `UsageError`, without the text, which may hold secrets."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(where, str(error), "close the quote") from None


def settings_of(words: Sequence[str]) -> dict[str, object]:
    """The words of a command as settings: what env, nice, prlimit and exec before it do is said by itself."""
    env: dict[str, object] = {}
    found: dict[str, object] = {}
    rest = list(words)
    while len(rest) > 1 and rest[0] in {"exec", "env", "/usr/bin/env", "nice", "prlimit"}:
        tool, *after = rest
        taken = _after_env(after, env) if tool.endswith("env") else after
        if tool == "nice":
            if len(after) < 3 or after[0] != "-n" or not after[1].lstrip("-").isdigit():  # noqa: PLR2004 -- -n N COMMAND
                break
            found["nice"], taken = int(after[1]), after[2:]
        limits = list(takewhile(bool, map(_LIMIT.fullmatch, after))) if tool == "prlimit" else []
        taken = taken[len(limits) :]
        if not taken or taken[0].startswith("-"):
            break
        found |= {"rlimit": {limit[1].upper(): limit[2] for limit in limits if limit}} if limits else {}
        rest = taken
    while len(rest) > 1 and (assigned := ASSIGNMENT.fullmatch(rest[0])):
        env[assigned[1]] = assigned[2]
        rest = rest[1:]
    return {"cmd": [literal(word) for word in rest], **found, **({"env": env} if env else {})}


def over(said: Mapping[str, object], settings: dict[str, object], name: str) -> dict[str, object]:
    """A table that is said, with what the words of the command, as `settings`, say of it by themselves."""
    own = settings.pop(name, {})
    assert isinstance(own, dict)  # noqa: S101 -- for the type checker
    return {**said, **own}


def _after_env(words: Sequence[str], env: dict[str, object]) -> list[str]:
    """What env(1) executes; words that are not understood are left."""
    rest = list(words)
    while rest:
        if rest[0] == "-u" and len(rest) > 1:
            env[rest[1]] = False
            rest = rest[2:]
        elif found := ASSIGNMENT.fullmatch(rest[0]):
            env[found[1]] = found[2]
            rest = rest[1:]
        else:
            break
    return rest


def schedule(signal: str, seconds: float) -> str:
    """A signal, and KILL after so many seconds. Raises `UsageError`."""
    first = signal_name(parse_signal(signal.upper().removeprefix("SIG") or "TERM"))
    return f"KILL/{seconds:g}" if first == "KILL" else f"{first}/{seconds:g}/KILL/5"


def whole_path(text: str, home: str) -> str:
    """A path of a file in `home`, that may begin with ``~/``, as a template of a path; empty for none."""
    if text.startswith("~/"):
        return variable("HOME") + literal_path(text[1:])
    if not text or text.startswith(("/", "~", *MARKS)):
        return literal_path(text)
    return literal_path(home if text in {".", "./"} else f"{home}/{text.removeprefix('./')}")


LATER = "'multi apply' starts it; 'multi stopwait' stops it until somebody starts it"
ONE_LOG = "stdout and stderr go to one log here"


def no_word(key: str, value: object, whys: Mapping[str, str]) -> str:
    """The remark on a key that is no setting there."""
    none = "not a word of theirs, and so not read; multi has it" if key in SETTINGS else "multi has no word for it"
    return f"{key} = {value}: {whys.get(key, none)}"


def is_true(text: str) -> bool:
    """Whether an INI file says yes."""
    return text.strip().lower() in {"1", "true", "yes", "on", "t", "y"}


def number(text: object, what: str) -> float:
    """A number that a file says. Raises `UsageError`."""
    try:
        found = float(str(text).strip())
    except ValueError:
        if MARKS & set(str(text)):
            raise UsageError(what, f"{shown(str(text))} is not known here", "write a whole number") from None
        found = -1.0
    if not 0 <= found < 1e9:  # noqa: PLR2004 -- thirty years
        raise UsageError(what, f"{printable(str(text))!r} is not a number", "write a whole number")
    return found


def count(text: object, what: str) -> int:
    """How many nodes a file asks for. Raises `UsageError`."""
    found = int(number(text, what))
    if found > MOST_NODES:
        raise UsageError(what, f"{found} are more than {MOST_NODES} nodes", "write a smaller number")
    return found


def said_once(groups: Iterable[Table], nodes: Iterable[Table]) -> Iterator[Table]:
    """The tables of groups, which say what all their nodes would, and of the nodes."""
    tables = {table.name: table for table in nodes}
    for group in groups:
        first, *others = (tables[name] for name in group.nodes or ())
        said = without_empty(first.settings if others else {})
        same = {key: value for key, value in said.items() if all(each.settings.get(key) == value for each in others)}
        remarks = [each for each in first.remarks if others and all(each in other.remarks for other in others)]
        yield replace(group, settings=same, remarks=(*group.remarks, *remarks))
        for node in (first, *others):
            rest = {key: value for key, value in node.settings.items() if key not in same}
            own = tuple(each for each in node.remarks if each not in remarks)
            tables[node.name] = replace(node, settings=rest, remarks=own)
    yield from tables.values()


def _noted(table: Table, host: str) -> Table:
    """The table with the remarks that are of no form."""
    settings, log, env = dict(table.settings), table.settings.get("logfile"), table.settings.get("env")
    notes = [f"logfile = {log}: {_STREAM}"] if log in {"/dev/stdout", "/dev/stderr"} else []
    if settings.get("restart") == "no":
        notes.append(f"restart = no: {_AGAIN}")
    if isinstance(env, dict) and any(HOST in str(value) for value in env.values()):
        name = variable("HOSTNAME" + (f":-{host}" if host else ""))  # which few shells export
        settings["env"] = {
            key: each.replace(HOST, name) if isinstance(each, str) else each for key, each in env.items()
        }
        notes.append(f"env = {shown(name)}: the name of a host is taken from HOSTNAME, or else is that of this host")
    return replace(table, settings=settings, remarks=(*table.remarks, *notes))


def text_of(whole: Imported, origin: str, host: str) -> str:
    """The text of multi.toml, made on that host."""
    whole = replace(whole, tables=tuple(_noted(table, host) for table in whole.tables))
    whys = Counter(why for table in whole.tables for why in {_why(remark) for remark in table.remarks})
    once = {why for why, tables in whys.items() if why and tables > 1}  # said above all tables
    every = [remark for table in whole.tables for remark in table.remarks]
    shared = [f"{_said(remark).partition(' = ')[0]}: {_why(remark)}" for remark in every if _why(remark) in once]
    lines = [f"# Made by 'multi import' from {printable(origin)}. Nothing was started or stopped."]
    lines += _remarks([*whole.remarks, *_several_users(whole), *shared])
    if whole.defaults:
        lines += ["", "[defaults]", *_settings(whole.defaults)]
    grouped = {name for table in whole.tables for name in table.nodes or ()}
    for table in whole.tables:
        if table.name in grouped and table.nodes is None and not (table.remarks or without_empty(table.settings)):
            continue
        section = "nodes" if table.nodes is None else "groups"
        own = [_said(remark) if _why(remark) in once else remark for remark in table.remarks]
        lines += ["", f"[{dotted((section, table.name))}]", *_remarks(own)]
        lines += [] if table.nodes is None else [f"nodes = {_value(list(table.nodes))}"]
        lines += _settings(table.settings)
    return "\n".join(lines) + "\n"


def _several_users(whole: Imported) -> list[str]:
    """What nodes of several users lack for an installation: each user's files need a directory of that user."""
    said: dict[str, Mapping[str, object]] = {}
    for table in whole.tables:  # a group overrides the defaults, a node its group
        for name in (table.name,) if table.nodes is None else table.nodes:
            said[name] = {**said.get(name, whole.defaults), **table.settings}
    users = dict.fromkeys(str(each.get("uid") or "root") for each in said.values() if "pidfile" not in each)
    return [f"users {', '.join(users)}: {_OF_SEVERAL}"] if len(users) > 1 else []


def _said(remark: str) -> str:
    """``WORD = VALUE`` of ``WORD = VALUE: WHY``."""
    return remark.partition(": ")[0]


def _why(remark: str) -> str:
    return remark.partition(": ")[2]


def _remarks(remarks: Iterable[str]) -> list[str]:
    return [f"# {printable(shown(remark))}" for remark in dict.fromkeys(remarks)]


def _settings(settings: Mapping[str, object]) -> list[str]:
    return [f"{name} = {_value(value)}" for name, value in without_empty(settings).items()]


def without_empty(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings that say something."""
    return {name: value for name, value in settings.items() if value not in (None, {}, [])}


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{dotted((str(key),))} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _string(str(value))


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(printable(text), "is not UTF-8, and TOML can hold nothing else", "write it in UTF-8") from None
    quoted = json.dumps(text.replace("$", "$$"), ensure_ascii=False).replace("\x7f", "\\u007F")
    return quoted.replace(_VARIABLE[0], "${").replace(_VARIABLE[1], "}").replace(HOST, "%d")
