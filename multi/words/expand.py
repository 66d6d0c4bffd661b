"""`Spec` + configuration + host -> nodes, every path and command final; no two nodes share a file.

The grammar of names, scopes and templates is that of ``celery multi``; docs/reference/differences.md lists what
differs. Settings are merged by one rule: scoped on the command line > command line > environment >
``[nodes]`` > ``[groups]`` > ``[defaults]`` > preset > built in. The same rule merges worker options,
option by option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from multi.errors import ConfigError, UsageError
from multi.model.node import Command, Known, Node, Ready, Unknown
from multi.settings.table import BY_FIELD
from multi.value import dataclass, field, replace
from multi.words import names, template
from multi.words.grammar import subcommand_of
from multi.words.merge import Merger
from multi.words.scope import Scopes, is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from multi.settings.config import Config, Layer
    from multi.settings.presets import Preset
    from multi.words.merge import Plan
    from multi.words.names import Name
    from multi.words.spec import Given, Spec

NOBODY_SAID = "nobody said what command it is"
_OWN_SUFFIXES = (".json", ".lock", ".notify")


def _nobody(user: str) -> str | None:  # noqa: ARG001 -- the signature of `Host.home_of`
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the nodes' names, paths and commands depend on.

    `name` is the hostname, `root` whether we are root, `home` our home directory, `state_dir` the
    user's state directory (``$XDG_STATE_HOME``), `cwd` the current directory, empty when it is gone, `python` the
    running Python. `home_of` returns another user's home directory for ``~user``, None when there is none.
    """

    name: str
    root: bool
    home: str
    state_dir: str
    cwd: str
    python: str
    home_of: Callable[[str], str | None] = _nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """The nodes of one command.

    `sources` tells, by node and setting, where the value comes from; `settings` holds the merged
    typed values themselves. `warnings` are sentences for the user. `configured` are the full names
    of those nodes that the configuration has, `unsaid` of those whose command nobody but the preset says.
    """

    nodes: tuple[Node, ...] = ()
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    configured: frozenset[str] = frozenset()
    unsaid: frozenset[str] = frozenset()


def no_env_files(paths: Sequence[str]) -> Sequence[tuple[str, str]]:
    """Stand in where no reader was handed in: refuse."""
    raise ConfigError("env_file", f"cannot be read here: {', '.join(paths)}", "hand in read_env_files")


def expand(  # noqa: PLR0913 -- the stage's inputs, each a value of its own
    spec: Spec,
    config: Config,
    host: Host,
    presets: Callable[[str], Preset],
    environment: Layer,
    *,
    read_env_files: Callable[[Sequence[str]], Sequence[tuple[str, str]]] | None = no_env_files,
    strict: bool = False,
    starts: bool = True,
    recorded: bool = False,
) -> Expansion:
    """Make the nodes that `spec` names, or all nodes of `config` when it names none.

    `presets` finds a preset by name, `read_env_files` reads the absolute paths of ``env_file``; it is
    None for a command that starts nothing, and so needs no variables. With `strict` a scope that no
    node has is an error instead of a warning. `starts` is false for a command that starts nothing, or
    only what is on record: then the command that nobody said is `Unknown`. `recorded` is true
    when the names are from records, which say where the nodes' files are: then it is no error that the
    pidfile said now would be one file for two of them. Raises `MultiError`.
    """
    wanted = names.names(spec, config, host.name)
    if not wanted:
        return Expansion(warnings=spec.hints)
    scopes = Scopes(wanted, host.name, strict=strict)
    merger = Merger(spec, environment, presets, scopes.find)
    maker = _Maker(host, spec.passthrough, read_env_files, starts=starts)
    nodes: list[Node] = []
    sources: dict[str, Mapping[str, str]] = {}
    merged: dict[str, Mapping[str, object]] = {}
    unsaid: set[str] = set()
    for position, name in enumerate(wanted):
        plan = merger.plan(position, name.layers)
        nodes.append(maker.node(name, plan))
        sources[name.full] = plan.sources
        merged[name.full] = plan.settings
        if not (spec.says_command or name.configured or plan.options or _is_said(plan.sources, "cmd")):
            unsaid.add(name.full)
    if not recorded:
        _refuse_shared_files(nodes)
    return Expansion(
        nodes=tuple(nodes),
        sources=sources,
        settings=merged,
        warnings=(*spec.hints, *scopes.warnings, *maker.warnings),
        configured=frozenset(name.full for name in wanted if name.configured),
        unsaid=frozenset(unsaid),
    )


def _is_said(sources: Mapping[str, str], setting: str) -> bool:
    return not sources.get(setting, "built in").startswith(("built in", "preset"))


def find(nodes: Iterable[Node], word: str) -> Node | None:
    """The node with that full name, or else the first with that short name; None when there is none."""
    by_short = None
    for node in nodes:
        if node.name == word:
            return node
        if by_short is None and node.short == word:
            by_short = node
    return by_short


def render(text: str, node: Node) -> str:
    """What the command ``expand TEMPLATE`` prints for a node."""
    return template.expand(text, name=node.name, short=node.short, host=node.host)


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


def unnamed(spec: Spec, config: Config, host: Host, presets: Callable[[str], Preset], environment: Layer) -> Unnamed:
    """What a command that names no node says of where to find them.

    Raises `UsageError` when each node has a directory of its own: then they cannot be found there.
    """
    unscoped = replace(spec, settings=tuple(given for given in spec.settings if given.scope is None), options=())
    plan = Merger(unscoped, environment, presets, lambda _: None).plan(0, (config.defaults,))
    maker = _Maker(host, (), None, starts=False)
    one, other = (maker.rundir(names.plain(word), plan) for word in ("a@a", "b@b"))
    if one != other:
        why = f"gives each node a directory of its own, like {one}, so nodes cannot be found by it"
        raise UsageError("--pidfile", why, "name the nodes, or write %n only after the last '/'")
    return Unnamed(one, plan.settings["pidfile"] is not None, cast("str | None", plan.settings["uid"]))


def default_rundirs(host: Host, dirnames: Iterable[str]) -> tuple[str, ...]:
    """Where pidfiles lie when nobody says it; `dirnames` are those of all presets."""
    if not host.root:
        return (f"{host.state_dir}/multi/run",)
    return tuple(f"/var/run/{name}" for name in dirnames)


def _below(base: str, path: str, where: str) -> str:
    """A relative path as an absolute one; `base` is empty when it is the current directory, and that is gone."""
    if not base:
        why = f"{path} is relative, and the current directory has been removed"
        raise UsageError(where, why, "change to a directory that exists, or write the whole path")
    return f"{base}/{path}"


class _Maker:
    """A name and what was said for it -> a `Node`."""

    __slots__ = ("_env", "_host", "_passthrough", "_read_env_files", "_starts", "warnings")

    def __init__(
        self,
        host: Host,
        passthrough: Sequence[str],
        read_env_files: Callable[[Sequence[str]], Sequence[tuple[str, str]]] | None,
        *,
        starts: bool,
    ) -> None:
        """See `expand`."""
        self._host = host
        self._passthrough = passthrough
        self._read_env_files = read_env_files
        self._starts = starts
        self._env: dict[tuple[str, ...], Sequence[tuple[str, str]]] = {}
        self.warnings: list[str] = []

    def node(self, name: Name, plan: Plan) -> Node:
        said = plan.settings
        base = self.base(plan, name)
        pidfile = self._pidfile(plan, name, base)
        made = self._path(self.template_of(plan, "logfile"), name, base, "--logfile")
        logfile = template.opened(made)
        if logfile.endswith("/"):
            raise UsageError("--logfile", f"{logfile} is a directory", "write a file, like --logfile=%n.log")
        env_files, values = self._env_files(plan, name, base)
        fields: dict[str, Any] = {field: said[setting.name] for field, setting in BY_FIELD.items()}
        fields["logfile"] = logfile
        fields["workdir"] = base if said["workdir"] is not None else None
        fields["env_files"] = env_files
        fields["ready"] = self._ready(fields["ready"], name, base)
        node = Node(
            name=name.full,
            short=name.short,
            host=name.host,
            preset=plan.preset.name,
            command=self._command(plan, name, base, made),
            pidfile=pidfile,
            dump_signal=plan.preset.dump_signal,
            hup_ends=plan.preset.hup_ends,
            startsecs_asked=not plan.sources["startsecs"].startswith(("built in", "preset")),
            **fields,
        )
        if not values:
            return node
        from multi.settings.envfile import with_digests

        return with_digests(node, values)

    def rundir(self, name: Name, plan: Plan) -> str:
        """The directory of the node's pidfile."""
        return self._pidfile(plan, name, self.base(plan, name)).rpartition("/")[0] or "/"

    def base(self, plan: Plan, name: Name) -> str:
        """What relative paths are relative to: the node's working directory, or else the current one."""
        workdir = cast("str | None", plan.settings["workdir"])
        if workdir is None:
            return self._host.cwd
        return self.absolute(workdir, name, self._host.cwd, "--workdir")

    def template_of(self, plan: Plan, setting: str) -> str:
        """The pidfile or logfile as it was said, or the default for this user and preset."""
        said = cast("str | None", plan.settings[setting])
        if said is not None:
            return said
        if self._host.root:
            parent = {"pidfile": "/var/run", "logfile": "/var/log"}[setting]
            directory = f"{parent}/{template.literal_path(plan.preset.dirname)}"
        else:
            kind = {"pidfile": "run", "logfile": "log"}[setting]
            directory = f"{template.literal_path(self._host.state_dir)}/multi/{kind}"
        return directory + {"pidfile": "/%n.pid", "logfile": "/%n%I.log"}[setting]

    def absolute(self, text: str, name: Name, base: str, where: str) -> str:
        """A path of ours: codes filled in, ``~`` expanded, absolute."""
        return template.opened(self._path(text, name, base, where))

    def _path(self, text: str, name: Name, base: str, where: str) -> str:
        """As `absolute`, with ``%i`` and ``%I`` still to be decided, see `template.path`."""
        made = template.path(text, name=name.full, short=name.short, host=name.host, where=where)
        if text.startswith("~"):
            made = self._at_home(made, where)
        return _tidy(made if made.startswith("/") else _below(base, made, where))

    def _at_home(self, path: str, where: str) -> str:
        user, slash, rest = path[1:].partition("/")
        home = self._host.home_of(user) if user else self._host.home
        if home is None:
            raise UsageError(where, f"no home directory is known for ~{user}", "write the whole path")
        return home + slash + rest

    def _pidfile(self, plan: Plan, name: Name, base: str) -> str:
        pidfile = self.absolute(self.template_of(plan, "pidfile"), name, base, "--pidfile")
        last = pidfile.rpartition("/")[2]
        if last in {"", ".", ".."}:
            raise UsageError("--pidfile", f"{pidfile} is a directory", "write a file, like --pidfile=%n.pid")
        if pidfile.endswith(_OWN_SUFFIXES):
            why = f"{pidfile} is the name of a file of multi's own, which lie beside the pidfile"
            raise UsageError("--pidfile", why, "write another suffix, like --pidfile=%n.pid")
        if _is_device(pidfile):
            raise UsageError("--pidfile", f"{pidfile} cannot hold a pid", "write a file, like --pidfile=%n.pid")
        return pidfile

    def _command(self, plan: Plan, name: Name, base: str, log: str) -> Command:
        cmd = self._cmd(plan, name, base)
        if not cmd:
            return Unknown(NOBODY_SAID)
        preset = plan.preset
        leading: list[str] = []
        rest: list[str] = []
        used: set[str] = set()
        for given in plan.options:
            used.add(given.name)
            words = self._words(given, name)
            (leading if given.name in preset.leading else rest).extend(words)
        after = _length_before_leading(cmd, preset)
        if preset.name_option and preset.name_option not in used:
            rest += [preset.name_option, template.literal(name.full) if preset.fills_codes else name.full]
        if preset.log_option and preset.log_option not in used and not _is_descriptor(template.opened(log)):
            path = template.handed(log) if preset.fills_codes else template.opened(log)
            rest += [f"{preset.log_option}={path}"] if preset.log_option.startswith("--") else [preset.log_option, path]
        append = cast("tuple[str, ...]", plan.settings["append"])
        last = [self._filled(word, name, "--append") for word in append]
        return Known((*cmd[:after], *leading, *cmd[after:], *rest, *self._passthrough, *last))

    def _cmd(self, plan: Plan, name: Name, base: str) -> list[str]:
        words = [self._filled(word, name, "--cmd") for word in cast("tuple[str, ...]", plan.settings["cmd"] or ())]
        if not words:
            if not self._starts:
                return []
            why = f"preset {plan.preset.name} has no command of its own, and none was given for {name.full}"
            raise UsageError("--cmd", why, "write --cmd='PROGRAM WORDS...'")
        words = [words[0], *(word for word in words[1:] if word not in plan.preset.dropped)]
        executable = cast("str | None", plan.settings["executable"])
        if not words[0].startswith("-"):
            self._warn_of_executable(plan, words[0])
            return [self._program(words[0], base, "--cmd"), *words[1:]]
        if executable is None:
            return [self._host.python, *words]
        return [self._program(self._filled(executable, name, "--executable"), base, "--executable"), *words]

    def _warn_of_executable(self, plan: Plan, program: str) -> None:
        warning = f"--executable has no effect, because the command runs {program!r} itself; write --cmd='-m MODULE'"
        if plan.sources["executable"].startswith("command line") and warning not in self.warnings:
            self.warnings.append(warning)

    def _program(self, word: str, base: str, where: str) -> str:
        """A program with a slash is a path of ours; one without is looked up in the node's PATH."""
        if word.startswith("~"):
            word = self._at_home(word, where)
        if "/" not in word or word.startswith("/"):
            return word
        return _tidy(_below(base, word, where))

    def _words(self, given: Given, name: Name) -> Sequence[str]:
        if given.value is None:
            return [given.name]
        value = self._filled(given.value, name, given.name)
        if not given.joined:
            return [given.name, value]
        return [f"{given.name}={value}"] if given.name.startswith("--") else [given.name + value]

    def _filled(self, text: str, name: Name, where: str) -> str:
        if "%" not in text:
            return text
        return template.expand(text, name=name.full, short=name.short, host=name.host, where=where)

    def _ready(self, ready: Ready, name: Name, base: str) -> Ready:
        if ready.kind == "file":
            return Ready(ready.kind, self.absolute(ready.what, name, base, "--ready"))
        return Ready(ready.kind, self._filled(ready.what, name, "--ready")) if ready.what else ready

    def _env_files(self, plan: Plan, name: Name, base: str) -> tuple[tuple[str, ...], Sequence[tuple[str, str]]]:
        """The paths of the env files, and what they hold."""
        files = cast("tuple[str, ...]", plan.settings["env_file"])
        if not files or self._read_env_files is None:
            return (), ()
        paths = tuple(self.absolute(path, name, base, "--env-file") for path in files)
        if paths not in self._env:
            self._env[paths] = self._read_env_files(paths)
        return paths, self._env[paths]


def _length_before_leading(cmd: Sequence[str], preset: Preset) -> int:
    """How many words precede the app options, which go before the worker's subcommand, or else after the program."""
    subcommand = subcommand_of(preset)
    after_program = 3 if cmd[1:2] == ["-m"] else 1
    for length in range(len(cmd) - 1, 0, -1):
        if subcommand and cmd[length] == subcommand:
            return length
    return min(after_program, len(cmd))


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
            return is_number(number)
        case ["proc", process, "fd", number]:
            return is_number(number) and (process == "self" or is_number(process))
        case _:
            return False


def _is_device(path: str) -> bool:
    in_memory = path.startswith("/dev/shm/")  # noqa: S108 -- a file system like any other
    return (path.startswith("/dev/") and not in_memory) or _is_descriptor(path)


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
