"""`Spec` + configuration + surroundings -> nodes, every path and command final; no two nodes share a file.

The grammar of names, scopes and templates is that of ``celery multi``; docs/reference/differences.md lists what
differs. `multi.words.merge` says which value counts.
"""

from __future__ import annotations

from functools import cache

from multi.errors import UsageError
from multi.model.node import Command, Known, Node, Ready, Unknown
from multi.settings.table import BY_FIELD
from multi.typed import TYPE_CHECKING, Any, cast
from multi.value import dataclass, replace
from multi.words import names, template
from multi.words.grammar import subcommand_of
from multi.words.merge import COMMAND_LINE, Merger, nobody_said
from multi.words.spec import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from multi.machine import Surroundings
    from multi.model.request import Traits
    from multi.settings.config import Config, Layer
    from multi.settings.presets import Preset
    from multi.words.merge import Plan
    from multi.words.spec import Given, Spec

_NOBODY_SAID = "nobody said what command it is"
_OWN_SUFFIXES = (".json", ".lock", ".notify")
_DEFAULT_PLACES = {"pidfile": ("run", "%n.pid"), "logfile": ("log", "%n%I.log")}


def expand(  # noqa: PLR0913 -- the stage's inputs, each a value of its own
    spec: Spec,
    config: Config,
    here: Surroundings,
    presets: Callable[[str], Preset],
    environment: Layer,
    *,
    traits: Traits,
    load: Callable[[str], bytes],
    strict: bool = False,
    foreground: bool = False,
    recorded: bool = False,
) -> Selection:
    """Make the nodes that `spec` names, or all nodes of `config` when it names none.

    `presets` finds a preset by name, `load` reads an env file where the command with these `traits` needs variables.
    With `strict` a scope that no node has is an error instead of a warning. In the `foreground` a log that nobody named
    is where our own output goes. `recorded` names have their own files, so two may share a pidfile said now.
    """
    known = names.Known(spec, config, here.hostname)
    if not (wanted := names.names(spec, known)):
        return Selection(warnings=spec.hints)

    @cache
    def variables(paths: tuple[str, ...]) -> Sequence[tuple[str, str]]:
        from multi.settings.envfile import read_env_files

        return read_env_files(paths, load)

    scopes = names.Scopes(wanted, here.hostname, strict=strict)
    merger = Merger(spec, environment, presets, scopes.find)
    nodes, unsaid = list[Node](), set[str]()
    plans, warnings = dict[str, "Plan"](), dict[str, None]()
    for position, name in enumerate(wanted):
        plan = plans[name.full] = merger.plan(position, name.layers)
        maker = _Maker(here, name.full, plan)
        says = spec.says_command or name.configured or not traits.repeats  # else a record may say the command
        node = maker.node(spec.passthrough, traits, says=says, foreground=foreground)
        warnings |= dict.fromkeys((*maker.warnings, *maker.remarks(traits)))
        if node.env_files:
            from multi.settings.envfile import with_digests

            node = with_digests(node, variables(node.env_files))
        if not (spec.says_command or name.configured or plan.options) and nobody_said("cmd", plan.sources):
            unsaid.add(name.full)
            if not (traits.default_command or traits.restarts):
                # What runs already has words of its own. A bare worker is what `start` and `restart` begin elsewhere.
                node = replace(node, command=Unknown(_NOBODY_SAID))
        nodes.append(node)
    if not recorded:
        _refuse_shared_files(nodes)
    return Selection(
        nodes=_ordered(nodes, plans, known, config, strict=strict),
        sources={name: plan.sources for name, plan in plans.items()},
        settings={name: plan.settings for name, plan in plans.items()},
        warnings=(*spec.hints, *scopes.warnings, *warnings),
        configured=frozenset(name.full for name in wanted if name.configured),
        unsaid=frozenset(unsaid),
        groups={name.full: name.group for name in wanted if name.group},
    )


def _ordered(
    nodes: Sequence[Node], plans: Mapping[str, Plan], known: names.Known, config: Config, *, strict: bool
) -> tuple[Node, ...]:
    """The nodes with the full names of those that they come after."""
    if not any(node.after for node in nodes):
        return tuple(nodes)
    from multi.words.order import Order

    return Order(known, config, strict=strict).resolved(nodes, {name: plan.sources for name, plan in plans.items()})


def no_command(preset: str, name: str) -> UsageError:
    """The refusal to start a node without a command."""
    why = f"preset {preset} has no command of its own, and none was given for {name}"
    return UsageError("--cmd", why, "write --cmd='PROGRAM WORDS...'")


def find(nodes: Sequence[Node], word: str) -> Node | None:
    """The node with that full name, or else the first with that short name; None when there is none."""
    by_name = (node for node in nodes if node.name == word)
    by_short = (node for node in nodes if node.short == word)
    return next(by_name, None) or next(by_short, None)


def command_line(node: Node) -> str:
    """What ``show`` and ``get`` print: the command as one line that a shell can run as it is."""
    import shlex

    return shlex.join(node.words)


@dataclass(frozen=True, slots=True)
class Unnamed:
    """What is said of nodes that nobody names: their run directory, whether anybody said it, and their user."""

    rundir: str
    said: bool
    uid: str | None


def unnamed(
    spec: Spec, config: Config, here: Surroundings, presets: Callable[[str], Preset], environment: Layer
) -> Unnamed:
    """What a command that names no node says of where to find them.

    Raises `UsageError` when each node has a directory of its own: then they cannot be found there.
    """
    unscoped = replace(spec, settings=tuple(given for given in spec.settings if given.scope is None), options=())
    plan = Merger(unscoped, environment, presets, lambda _: None).plan(0, (config.defaults,))
    one, other = (_Maker(here, name, plan).pidfile().rpartition("/")[0] or "/" for name in ("a@a", "b@b"))
    if one != other:
        why = f"gives each node a directory of its own, like {one}, so nodes cannot be found by it"
        raise UsageError("--pidfile", why, "name the nodes, or write %n only after the last '/'")
    return Unnamed(one, plan.settings["pidfile"] is not None, cast("str | None", plan.settings["uid"]))


def default_directories(here: Surroundings, setting: str, dirname: str) -> tuple[str, ...]:
    """Where pidfiles or logs lie when nobody says it; `dirname` is the preset's, for root.

    The first one is for nodes that are started now. The others may be those of nodes that were started when the usual
    directory could not be used, or could be.
    """
    kind, _ = _DEFAULT_PLACES[setting]
    spares = (f"{each}/{kind}" for each in here.spares)
    return tuple(dict.fromkeys((_default(here, setting, dirname)[0], _usual(here, kind, dirname)[0], *spares)))


def _default(here: Surroundings, setting: str, dirname: str) -> tuple[str, str]:
    """The directory for nodes that are started now, and what there is to say of it, once."""
    kind, _ = _DEFAULT_PLACES[setting]
    usual, said = _usual(here, kind, dirname)
    why = "" if said else here.unusable(usual)
    if not (why and here.unusable(f"/var/{kind}" if here.uid == 0 else here.home)):
        return usual, ""  # in a home that can be written, it is for the user to put that right
    spare, passed_over = here.spare()
    shown = usual if here.uid == 0 else usual.removesuffix(f"/{kind}")
    if not spare:
        return usual, f"{shown} {why}, and there is no private place instead: {passed_over}"
    more = f"; {passed_over}" if passed_over else ""
    return f"{spare}/{kind}", "" if spare in here.spares else f"{shown} {why}, so {spare} takes its place{more}"


def _usual(here: Surroundings, kind: str, dirname: str) -> tuple[str, bool]:
    """The directory for this user, and whether the user has said so."""
    if here.uid == 0:
        return f"/var/{kind}/{dirname}", False
    state = here.environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return f"{state}/multi/{kind}", True
    return f"{here.home.rstrip('/')}/.local/state/multi/{kind}", False


class _Maker:
    """The name of a node and what was said for it -> a `Node`."""

    def __init__(self, here: Surroundings, name: str, plan: Plan) -> None:
        self._here = here
        self._name = name
        self._plan = plan
        self._base = here.cwd  # of relative paths; empty when it has been removed
        self.warnings: list[str] = []
        self._remarks: list[str] = []
        workdir = cast("str | None", plan.settings["workdir"])
        if workdir is not None:
            self._base = self._opened(workdir, "--workdir")

    def node(self, passthrough: Sequence[str], traits: Traits, *, says: bool, foreground: bool) -> Node:
        plan, said = self._plan, self._plan.settings
        short, _, host = self._name.partition("@")
        pidfile = self.pidfile()
        to_us = foreground and nobody_said("logfile", plan.sources)
        made = self._path("/dev/stderr" if to_us else self._template("logfile"), "--logfile")
        logfile = template.opened(made)
        if logfile.endswith("/"):
            raise UsageError("--logfile", f"{logfile} is a directory", "write a file, like --logfile=%n.log")
        fields: dict[str, Any] = {field: said[setting.name] for field, setting in BY_FIELD.items()}
        fields["logfile"] = logfile
        fields["workdir"] = self._base if said["workdir"] is not None else None
        files = fields["env_files"] if traits.reads_env_files else ()
        fields["env_files"] = tuple(self._opened(path, "--env-file") for path in files)
        fields["ready"] = self._proof(fields["ready"], "--ready")
        fields["alive"] = self._proof(fields["alive"], "--alive") if fields["alive"] else None
        fields["needs"] = tuple(self._proof(each, "--needs") for each in fields["needs"])
        fields["hooks"] = tuple((event, self._filled(command, "--hooks")) for event, command in fields["hooks"])
        return Node(
            name=self._name,
            short=short,
            host=host,
            preset=plan.preset.name,
            command=self._command(made, passthrough, starts=traits.default_command and says),
            pidfile=pidfile,
            dump_signal=plan.preset.dump_signal,
            hup_ends=plan.preset.hup_ends,
            startsecs_asked=not nobody_said("startsecs", plan.sources),
            **fields,
        )

    def remarks(self, traits: Traits) -> Sequence[str]:
        """What there is to say where nodes are started; cron would mail it each minute."""
        return self._remarks if traits.spawns and not traits.unattended else ()

    def pidfile(self) -> str:
        pidfile = self._opened(self._template("pidfile"), "--pidfile")
        last = pidfile.rpartition("/")[2]
        if last in {"", ".", ".."}:
            raise UsageError("--pidfile", f"{pidfile} is a directory", "write a file, like --pidfile=%n.pid")
        if pidfile.endswith(_OWN_SUFFIXES):
            why = f"{pidfile} is the name of a file of multi's own, which lie beside the pidfile"
            raise UsageError("--pidfile", why, "write another suffix, like --pidfile=%n.pid")
        in_memory = pidfile.startswith("/dev/shm/")  # noqa: S108 -- a file system like any other
        if (pidfile.startswith("/dev/") and not in_memory) or _is_descriptor(pidfile):
            raise UsageError("--pidfile", f"{pidfile} cannot hold a pid", "write a file, like --pidfile=%n.pid")
        rundir = pidfile.rpartition("/")[0] or "/"
        return f"{self._here.recorded_as(rundir).rstrip('/')}/{last}"

    def _template(self, setting: str) -> str:
        """The pidfile or logfile as it was said, or the default for this user and preset."""
        said = cast("str | None", self._plan.settings[setting])
        if said is not None:
            return said
        directory, remark = _default(self._here, setting, self._plan.preset.dirname)
        if remark:
            self._remarks.append(remark)
        return f"{template.literal_path(directory)}/{_DEFAULT_PLACES[setting][1]}"

    def _opened(self, text: str, where: str) -> str:
        """A path that we open: codes filled in, ``~`` expanded, absolute."""
        return template.opened(self._path(text, where))

    def _path(self, text: str, where: str) -> str:
        """The same with ``%i`` and ``%I`` still to be decided, see `template.path`."""
        made = template.path(text, self._name, where)
        return self._absolute(self._at_home(made, where) if text.startswith("~") else made, where)

    def _absolute(self, path: str, where: str) -> str:
        if not path.startswith("/"):
            if not self._base:
                why = f"{path} is relative, and the current directory has been removed"
                raise UsageError(where, why, "change to a directory that exists, or write the whole path")
            path = f"{self._base}/{path}"
        return _tidy(path)

    def _at_home(self, path: str, where: str) -> str:
        user, slash, rest = path[1:].partition("/")
        home = self._here.home_of(user) if user else self._here.home
        if home is None:
            raise UsageError(where, f"no home directory is known for ~{user}", "write the whole path")
        return home + slash + rest

    def _proof(self, proof: Ready, where: str) -> Ready:
        if proof.path:
            return Ready(proof.kind, self._opened(proof.path, where))
        return Ready(proof.kind, self._filled(proof.what, where))

    def _command(self, log: str, passthrough: Sequence[str], *, starts: bool) -> Command:
        cmd = self._cmd(starts=starts)
        if not cmd:
            return Unknown(_NOBODY_SAID)
        plan, preset = self._plan, self._plan.preset
        leading: list[str] = []
        rest: list[str] = []
        used = {given.name for given in plan.options}
        for given in plan.options:
            (leading if given.name in preset.leading else rest).extend(self._words(given))
        if preset.name_option and preset.name_option not in used:
            rest += [preset.name_option, template.literal(self._name) if preset.fills_codes else self._name]
        if preset.log_option and preset.log_option not in used and not _is_descriptor(template.opened(log)):
            path = template.handed(log) if preset.fills_codes else template.opened(log)
            rest += [f"{preset.log_option}={path}"] if preset.log_option.startswith("--") else [preset.log_option, path]
        after = _length_before_leading(cmd, preset)
        last = [self._filled(word, "--append") for word in cast("tuple[str, ...]", plan.settings["append"])]
        return Known((*cmd[:after], *leading, *cmd[after:], *rest, *passthrough, *last))

    def _cmd(self, *, starts: bool) -> list[str]:
        plan = self._plan
        words = [self._filled(word, "--cmd") for word in cast("tuple[str, ...]", plan.settings["cmd"] or ())]
        if not words:
            if not starts:
                return []
            raise no_command(plan.preset.name, self._name)
        program, rest = words[0], [word for word in words[1:] if word not in plan.preset.dropped]
        executable = cast("str | None", plan.settings["executable"])
        if not program.startswith("-"):
            if plan.sources["executable"].startswith(COMMAND_LINE):
                why = f"because the command runs {program!r} itself; write --cmd='-m MODULE'"
                self.warnings.append(f"--executable has no effect, {why}")
            return [self._program(program, "--cmd"), *rest]
        if executable is None:
            return [self._here.python, program, *rest]
        return [self._program(self._filled(executable, "--executable"), "--executable"), program, *rest]

    def _program(self, word: str, where: str) -> str:
        """A program with a slash is a path of ours; one without is looked up in the node's PATH."""
        if word.startswith("~"):
            word = self._at_home(word, where)
        return self._absolute(word, where) if "/" in word and not word.startswith("/") else word

    def _words(self, given: Given) -> Sequence[str]:
        return given.typed(None if given.value is None else self._filled(given.value, given.name))

    def _filled(self, text: str, where: str) -> str:
        return template.expand(text, self._name, where)


def _length_before_leading(cmd: Sequence[str], preset: Preset) -> int:
    """How many words precede the app options, which go before the worker's subcommand, or else after the program."""
    subcommand = subcommand_of(preset)
    if subcommand and subcommand in cmd[1:]:
        return len(cmd) - 1 - cmd[::-1].index(subcommand)
    return min(3 if cmd[1:2] == ["-m"] else 1, len(cmd))


def _tidy(path: str) -> str:
    """Without ``//`` and ``/./``. A ``..`` stays: after a symlink it does not mean the directory above."""
    if "//" not in path and "/./" not in path and not path.endswith("/."):
        return path
    parts = [part for part in path.split("/") if part and part != "."]
    return "/" + "/".join(parts) + ("/" if path.endswith(("/", "/.")) and parts else "")


def _is_descriptor(path: str) -> bool:
    """``/dev/stderr``, ``/dev/fd/2``, ``/proc/self/fd/2``, ``/proc/1/fd/1``: a file that is open already."""
    parts = path.split("/")[1:]
    match parts:
        case ["dev", "stdout" | "stderr"]:
            return True
        case ["dev", "fd", number]:
            return names.is_number(number)
        case ["proc", process, "fd", number]:
            return names.is_number(number) and (process == "self" or names.is_number(process))
        case _:
            return False


def _refuse_shared_files(nodes: Sequence[Node]) -> None:
    """Every pidfile, record and lock belongs to one node; a log may be shared, but not with one of those."""
    from posixpath import normpath

    owners: dict[str, Node] = {}
    for node in nodes:
        for path in (node.pidfile, node.recordfile, node.lockfile, node.notifyfile):
            plain = normpath(path)
            owner = owners.setdefault(plain, node)
            if owner is not node:
                what = "pidfile" if plain == normpath(node.pidfile) else "record or lock beside the pidfile"
                code = "%n" if owner.short != node.short else "%h"
                why = f"would be the {what} of both {owner.name} and {node.name}"
                raise UsageError(path, why, f"put {code} in --pidfile, so that each node has its own")
    for node in nodes:
        holder = owners.get(normpath(node.logfile))
        if holder is not None:
            why = f"is the log of {node.name} and a pidfile, record or lock of {holder.name}"
            raise UsageError(node.logfile, why, "give --logfile another name")
