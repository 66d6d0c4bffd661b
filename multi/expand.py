"""`Spec` + configuration + host -> nodes, every path and argv final; no two nodes share a file.

The grammar of names, scopes and templates is that of ``celery multi``; docs/migrating.md lists what
differs. Settings are merged by one rule: scoped on the command line > command line > environment >
``[nodes]`` > ``[groups]`` > ``[defaults]`` > preset > built in. Worker options follow the same rule,
option by option.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from multi import parse, settings, template
from multi.errors import ConfigError, UsageError
from multi.node import Node, Ready
from multi.spec import Given

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from multi.config import Config, Layer
    from multi.parse import Grammar
    from multi.presets import Preset
    from multi.schedule import Schedule
    from multi.spec import Spec

MOST_NODES = 10_000
_LONGEST_SHORT = 200  # bytes; with the suffix of a temporary file it must fit in the 255 of a file name
_LONGEST_NAME = 255
_OWN_SUFFIXES = (".json", ".lock")
_NO_HOST = ('""', "''")  # how celery multi spells "without a host"
_RANGE_PREFIX = "celery"


def _nobody(user: str) -> str | None:  # noqa: ARG001 -- the signature of `Host.home_of`
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the nodes' names, paths and commands depend on.

    `name` is the hostname, `root` whether we are root, `home` our home directory, `state_dir` the
    user's state directory (``$XDG_STATE_HOME``), `cwd` the current directory, `python` the running
    Python. `home_of` returns another user's home directory for ``~user``, None when there is none.
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
    of those nodes that the configuration has.
    """

    nodes: tuple[Node, ...] = ()
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    configured: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Name:
    """A node by name only. `spellings` are all words that a scope may call it by; `word` is the one typed."""

    word: str
    full: str
    short: str
    host: str
    spellings: frozenset[str]
    layers: tuple[Layer, ...] = ()  # of the configuration, lowest first
    configured: bool = False


@dataclass(frozen=True, slots=True)
class _Value:
    """One setting from the command line. `nodes` are the positions it is for, None for all."""

    setting: settings.Setting
    value: object
    nodes: frozenset[int] | None
    source: str


@dataclass(frozen=True, slots=True)
class _Option:
    """One worker option from the command line. `nodes` as in `_Value`."""

    given: Given
    nodes: frozenset[int] | None


_Said = TypeVar("_Said", _Value, _Option)


def read_no_env_file(path: str) -> Sequence[tuple[str, str]]:
    """Stand in where no reader was handed in: refuse."""
    raise ConfigError(path, "is an env_file, and this call has no way to read it", "hand in read_env_file")


def expand(  # noqa: PLR0913 -- the stop's inputs, each a value of its own
    spec: Spec,
    config: Config,
    host: Host,
    presets: Callable[[str], Preset],
    environment: Layer,
    *,
    read_env_file: Callable[[str], Sequence[tuple[str, str]]] = read_no_env_file,
    strict: bool = False,
    without_command: bool = False,
) -> Expansion:
    """Make the nodes that `spec` names, or all nodes of `config` when it names none.

    With `strict` a scope that no node has is an error instead of a warning. `without_command` is for
    commands that never start anything: a node whose command nobody said then has an empty argv.
    Raises `MultiError`.
    """
    names = _names(spec, config, host)
    scopes = _Scopes(names, host, strict=strict)
    values = [_value(given, scopes) for given in spec.settings]
    options = [_Option(given, scopes.find(given)) for given in spec.options]
    merger = _Merger(config, environment, presets, values, options)
    maker = _Maker(host, spec.passthrough, read_env_file, without_command=without_command)
    nodes: list[Node] = []
    sources: dict[str, Mapping[str, str]] = {}
    merged: dict[str, Mapping[str, object]] = {}
    for position, name in enumerate(names):
        plan = merger.plan(position, name)
        nodes.append(maker.node(name, plan))
        sources[name.full] = plan.sources
        merged[name.full] = plan.settings
    _refuse_shared_files(nodes)
    return Expansion(
        nodes=tuple(nodes),
        sources=sources,
        settings=merged,
        warnings=(*spec.hints, *scopes.warnings),
        configured=frozenset(name.full for name in names if name.configured),
    )


def names(spec: Spec, config: Config, host: Host) -> tuple[str, ...]:
    """The full names alone, without looking at settings or presets."""
    return tuple(name.full for name in _names(spec, config, host))


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

    return shlex.join(node.argv)


def rundir(spec: Spec, config: Config, host: Host, presets: Callable[[str], Preset], environment: Layer) -> str:
    """The directory of the pidfile for a command that names no node.

    Raises `UsageError` when each node has a directory of its own: then they cannot be found there.
    """
    values = [_value(given, None) for given in spec.settings if given.scope is None]
    plan = _Merger(config, environment, presets, values, []).plan(0, None)
    maker = _Maker(host, (), read_no_env_file, without_command=True)
    one, other = (maker.rundir(_Name(n, f"{n}@{n}", n, n, frozenset()), plan) for n in "ab")
    if one != other:
        why = f"gives each node a directory of its own, like {one}, so nodes cannot be found by it"
        raise UsageError("--pidfile", why, "name the nodes, or write %n only after the last '/'")
    return one


# --- names ---------------------------------------------------------------------------------------


def _names(spec: Spec, config: Config, host: Host) -> list[_Name]:
    known = _Known(spec, config, host)
    if not spec.names:
        return known.everything()
    found: dict[str, _Name] = {}
    said: set[str] = set()
    for word in spec.names:
        of_word, is_group = known.of(word)
        for name in of_word:
            if name.full in said and not is_group:
                raise UsageError(name.full, "is named twice", "name each node once")
            found.setdefault(name.full, name)
        if not is_group:
            said.update(name.full for name in of_word)
    return list(found.values())


class _Known:
    """The names of the configuration, and how a word selects among them."""

    __slots__ = ("_by_full", "_by_short", "_by_word", "_config", "_groups", "_host", "_spec")

    def __init__(self, spec: Spec, config: Config, host: Host) -> None:
        self._spec = spec
        self._config = config
        self._host = host
        self._groups: dict[str, tuple[str, ...]] = {group.name: group.nodes for group in config.groups}
        self._by_word: dict[str, _Name] = {}
        self._by_full: dict[str, _Name] = {}
        self._by_short: dict[str, list[_Name]] = {}
        layers: dict[str, list[Layer]] = {}
        for group in config.groups:
            for word in group.nodes:
                layers.setdefault(word, [config.defaults]).append(group.layer)
        for word, layer in config.nodes:
            layers.setdefault(word, [config.defaults]).append(layer)
        for word, found in layers.items():
            name = _compose(word, spec, host, layers=tuple(found), configured=True)
            twin = self._by_full.get(name.full)
            if twin is not None:
                raise ConfigError(config.path or "", f"{twin.word!r} and {word!r} are one node", "write it once")
            self._by_word[word] = self._by_full[name.full] = name
            self._by_short.setdefault(name.short, []).append(name)

    def everything(self) -> list[_Name]:
        return list(self._by_word.values())

    def of(self, word: str) -> tuple[Sequence[_Name], bool]:
        """The nodes that a word on the command line stands for, and whether it is the name of a group."""
        configured = self._configured(word)
        if configured is not None:
            return configured, False
        if word in self._groups:
            return [self._by_word[node] for node in self._groups[word]], True
        count = _count(word) if len(self._spec.names) == 1 else None
        if count is not None:
            return self._counted(count), False
        return [self._plain(_compose(word, self._spec, self._host))], False

    def _configured(self, word: str) -> Sequence[_Name] | None:
        if not self._by_word:
            return None
        if word in self._by_word:
            return [self._by_word[word]]
        if "@" in word:
            full = _compose(word, self._spec, self._host).full
            return [self._by_full[full]] if full in self._by_full else None
        return self._by_short.get(word) or self._by_short.get((self._spec.prefix or "") + word)

    def _counted(self, count: int) -> Sequence[_Name]:
        if count == 0:
            raise UsageError("0", "is no number of nodes", "write a number from 1, or the nodes' names")
        if count > MOST_NODES:
            raise UsageError(str(count), f"is more than {MOST_NODES} nodes", "write a smaller number")
        prefix = self._spec.range_prefix or _RANGE_PREFIX
        found = [_compose(str(n), self._spec, self._host, prefix=prefix) for n in range(1, count + 1)]
        return [self._plain(name) for name in found]

    def _plain(self, name: _Name) -> _Name:
        """A name that was typed: it is the configuration's where that has the same node."""
        known = self._by_full.get(name.full)
        if known is None:
            return _with_layers(name, (self._config.defaults,), configured=False)
        return _with_layers(name, known.layers, configured=True)


def _with_layers(name: _Name, layers: tuple[Layer, ...], *, configured: bool) -> _Name:
    return _Name(name.word, name.full, name.short, name.host, name.spellings, layers, configured)


def _count(word: str) -> int | None:
    """``3`` -> 3; None for a name. Python's notation of integers, as in ``celery multi``."""
    try:
        return int(word)
    except ValueError:
        if word.isdecimal():  # longer than Python converts
            raise UsageError(word[:20] + "...", f"is more than {MOST_NODES} nodes", "write a smaller number") from None
        return None


def _compose(  # noqa: PLR0913 -- one call a node
    word: str,
    spec: Spec,
    host: Host,
    *,
    prefix: str | None = None,
    layers: tuple[Layer, ...] = (),
    configured: bool = False,
) -> _Name:
    """The full name of a word, with prefix, suffix and ``%h`` filled in."""
    if "@" in word and prefix is None:
        typed = word
    else:
        before = prefix if prefix is not None else spec.prefix or ""
        hostname = host.name if spec.hostname is None else spec.hostname
        suffix = spec.suffix or hostname
        typed = f"{before}{word}@{'' if suffix in _NO_HOST else suffix}"
    full = _fill_host(typed, host)
    short, _, where = full.partition("@")
    _check_name(full, short, where, word)
    return _Name(word, full, short, where, frozenset({word, full, short}), layers, configured)


def _fill_host(text: str, host: Host) -> str:
    # %%h is what people copy from systemd units, where % is written %%; Celery's worker fills it in too.
    return text.replace("%%h", host.name).replace("%h", host.name) if "%" in text else text


def _check_name(full: str, short: str, where: str, word: str) -> None:
    if not short:
        raise UsageError(word, "has nothing before the '@'", "write it like w1@example.com")
    if "@" in where:
        why = f"makes the node name {full}, whose host has an '@'"
        raise UsageError(word, why, "write one '@' in a name, and none in --hostname or --suffix")
    for character in full:
        if character in "/:," or character.isspace() or not character.isprintable():
            why = f"makes the node name {full!r}, and {character!r} cannot stand in a name, which becomes a file name"
            raise UsageError(word, why, "take it out")
    if short in {".", ".."}:
        raise UsageError(word, "cannot be a node name, which becomes a file name", "write another one")
    if len(short.encode(errors="replace")) > _LONGEST_SHORT or len(full.encode(errors="replace")) > _LONGEST_NAME:
        raise UsageError(word[:40] + "...", "is too long for a node name, which becomes a file name", "shorten it")


# --- scopes --------------------------------------------------------------------------------------


class _Scopes:
    """Which nodes a scope means. Each scope is looked up once; what is odd about it is said once."""

    __slots__ = ("_found", "_host", "_names", "_positions", "_strict", "warnings")

    def __init__(self, names: Sequence[_Name], host: Host, *, strict: bool) -> None:
        self._names = names
        self._host = host
        self._strict = strict
        self._found: dict[str, frozenset[int]] = {}
        self._positions: dict[str, list[int]] | None = None
        self.warnings: list[str] = []

    def find(self, given: Given) -> frozenset[int] | None:
        """The positions of the nodes that the option is for; None for all."""
        if given.scope is None:
            return None
        found = self._found.get(given.scope)
        if found is None:
            where = f"{given.name}:{given.scope}"
            found = frozenset(position for item in given.scope.split(",") for position in self._item(item, where))
            self._found[given.scope] = found
        return found

    def _item(self, item: str, where: str) -> Iterable[int]:
        named = self._named(item)
        if named:
            return named
        if _is_number(item):
            return [self._index(item, where)]
        first, dash, last = item.partition("-")
        if dash and _is_number(first) and _is_number(last):
            return self._range(first, last, where)
        self._odd(where, f"no node is named {item!r}")
        return ()

    def _named(self, item: str) -> Sequence[int]:
        if self._positions is None:
            self._positions = {}
            for position, name in enumerate(self._names):
                for spelling in name.spellings:
                    self._positions.setdefault(spelling, []).append(position)
        return self._positions.get(item) or self._positions.get(_fill_host(item, self._host)) or ()

    def _index(self, item: str, where: str) -> int:
        index = _number(item)
        if index < 1:
            raise UsageError(where, "the first node has the index 1", self._there_are())
        if index > len(self._names):
            raise UsageError(where, f"there is no node with the index {item}", self._there_are())
        return index - 1

    def _range(self, first: str, last: str, where: str) -> Iterable[int]:
        start, stop = _number(first), _number(last)
        if start > stop:
            raise UsageError(where, f"the range {first}-{last} runs backwards", f"write {last}-{first}")
        if start < 1 or stop > len(self._names):
            self._odd(where, f"the range {first}-{last} reaches beyond the nodes")
        return range(max(start, 1) - 1, min(stop, len(self._names)))

    def _odd(self, where: str, why: str) -> None:
        if self._strict:
            raise UsageError(where, why, self._there_are())
        self.warnings.append(f"{where}: {why}; {self._there_are()}")

    def _there_are(self) -> str:
        if not self._names:
            return "there are no nodes"
        shown = [f"{number} {name.full}" for number, name in enumerate(self._names[:10], start=1)]
        rest = len(self._names) - len(shown)
        return f"the nodes are {', '.join(shown)}" + (f" and {rest} more" if rest else "")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str) -> int:
    """A number that may be too long for `int`; then it is beyond any node anyway."""
    return int(text) if len(text.lstrip("0")) < 10 else 10**9  # noqa: PLR2004 -- more digits than any index


# --- merging -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that was said for one node, merged."""

    preset: Preset
    settings: Mapping[str, object]
    sources: Mapping[str, str]
    options: Sequence[Given]


def _value(given: Given, scopes: _Scopes | None) -> _Value:
    setting = settings.BY_FLAG[given.name]
    where = given.name if given.scope is None else f"{given.name}:{given.scope}"
    source = "command line" if given.scope is None else f"command line {where}"
    nodes = None if scopes is None else scopes.find(given)
    return _Value(setting, settings.from_text(setting, given.value, where), nodes, source)


class _Merger:
    """Layers -> one value for each setting. Nodes that have the same layers share the work."""

    __slots__ = ("_base", "_config", "_environment", "_grammars", "_loaded", "_option_cache", "_options", "_presets",
                 "_scoped_options", "_scoped_values", "_values")  # fmt: skip

    def __init__(
        self,
        config: Config,
        environment: Layer,
        presets: Callable[[str], Preset],
        values: Sequence[_Value],
        options: Sequence[_Option],
    ) -> None:
        self._config = config
        self._environment = environment
        self._presets = presets
        self._loaded: dict[str, Preset] = {}
        self._grammars: dict[str, Grammar] = {}
        self._base: dict[object, tuple[Mapping[str, object], Mapping[str, str]]] = {}
        self._option_cache: dict[object, Sequence[Given]] = {}
        self._values = [value for value in values if value.nodes is None]
        self._options = options
        self._scoped_values = _by_node(values)
        self._scoped_options = _by_node(options)

    def plan(self, position: int, name: _Name | None) -> _Plan:
        """What was said for the node at `position`; `name` is None for what holds without any node."""
        layers = (self._config.defaults,) if name is None else name.layers
        layers = (*layers, self._environment)
        scoped = self._scoped_values.get(position, ())
        preset = self._preset(layers, scoped)
        identity = tuple(id(layer) for layer in layers)
        key = (preset.name, identity, tuple(id(value) for value in scoped))
        found = self._base.get(key)
        if found is None:
            found = self._base[key] = self._merge(preset, layers, scoped)
        own = self._scoped_options.get(position, ())
        option_key = (preset.name, identity, tuple(id(option) for option in own))
        options = self._option_cache.get(option_key)
        if options is None:
            options = self._option_cache[option_key] = self._merge_options(preset, layers, own)
        return _Plan(preset, found[0], found[1], options)

    def _preset(self, layers: Sequence[Layer], scoped: Sequence[_Value]) -> Preset:
        setting = settings.SETTINGS["preset"]
        name = setting.default
        for layer in layers:
            name = layer.values.get("preset", name)
        for value in (*self._values, *scoped):
            if value.setting is setting:
                name = value.value
        chosen = cast("str", name)
        if chosen not in self._loaded:
            self._loaded[chosen] = self._presets(chosen)
            self._grammars[chosen] = parse.grammar(self._loaded[chosen])
        return self._loaded[chosen]

    def _merge(
        self, preset: Preset, layers: Sequence[Layer], scoped: Sequence[_Value]
    ) -> tuple[Mapping[str, object], Mapping[str, str]]:
        merged: dict[str, object] = {}
        sources: dict[str, str] = {}
        for name, setting in settings.SETTINGS.items():
            merged[name] = setting.default
            sources[name] = "built in"
        if preset.cmd:
            merged["cmd"] = preset.cmd
            sources["cmd"] = f"preset {preset.name}"
        for name, value in preset.defaults.items():
            if name in settings.SETTINGS:
                _put(merged, sources, settings.SETTINGS[name], value, f"preset {preset.name}")
        for layer in layers:
            for name, value in layer.values.items():
                if name in settings.SETTINGS:
                    _put(merged, sources, settings.SETTINGS[name], value, layer.origin(name))
        for said in (*self._values, *scoped):
            _put(merged, sources, said.setting, said.value, said.source)
        return merged, sources

    def _merge_options(self, preset: Preset, layers: Sequence[Layer], scoped: Sequence[_Option]) -> Sequence[Given]:
        grammar = self._grammars[preset.name]
        options: list[Given] = []
        for layer in layers:
            words = cast("Sequence[str]", layer.values.get("options", ()))
            if words:
                options = _over(options, parse.parse_options(words, grammar, f"{layer.source} options"), grammar)
        chosen = {id(option) for option in scoped}
        last = {grammar.key(option.given.name): option.given.scope for option in scoped}
        typed: list[Given] = []
        for option in self._options:
            key = grammar.key(option.given.name)
            if option.nodes is None:
                if key not in last:
                    typed.append(option.given)
            elif id(option) in chosen and last[key] == option.given.scope:
                typed.append(option.given)
        return [given for given in _over(options, typed, grammar) if grammar.key(given.name) not in grammar.dropped]


def _by_node(said: Iterable[_Said]) -> Mapping[int, Sequence[_Said]]:
    """What is scoped, by the position of the node that it hits, in the order typed."""
    found: dict[int, list[_Said]] = {}
    for item in said:
        for position in item.nodes or ():
            found.setdefault(position, []).append(item)
    return found


def _put(
    merged: dict[str, object], sources: dict[str, str], setting: settings.Setting, value: object, source: str
) -> None:
    """Lay one value over what is there; a setting that adds up names all its sources."""
    before = merged[setting.name]
    merged[setting.name] = settings.merge(setting, before, value)
    adds_up = setting.repeatable and before and sources[setting.name] != source
    sources[setting.name] = f"{sources[setting.name]}, {source}" if adds_up else source


def _over(lower: Sequence[Given], higher: Sequence[Given], grammar: Grammar) -> list[Given]:
    """`higher` replaces the options of `lower` that it has too, and comes after the others."""
    replaced = {grammar.key(given.name) for given in higher if given.name.startswith("-")}
    return [given for given in lower if grammar.key(given.name) not in replaced] + list(higher)


# --- nodes ---------------------------------------------------------------------------------------


class _Maker:
    """A name and what was said for it -> a `Node`."""

    __slots__ = ("_env_files", "_host", "_passthrough", "_read_env_file", "_without_command")

    def __init__(
        self,
        host: Host,
        passthrough: Sequence[str],
        read_env_file: Callable[[str], Sequence[tuple[str, str]]],
        *,
        without_command: bool,
    ) -> None:
        self._host = host
        self._passthrough = passthrough
        self._env_files: dict[str, Sequence[tuple[str, str]]] = {}
        self._read_env_file = read_env_file
        self._without_command = without_command

    def node(self, name: _Name, plan: _Plan) -> Node:
        said = plan.settings
        base = self.base(plan, name)
        pidfile = self._pidfile(plan, name, base)
        made = self._path(self.template_of(plan, "logfile"), name, base, "--logfile")
        logfile = template.opened(made)
        if logfile.endswith("/"):
            raise UsageError("--logfile", f"{logfile} is a directory", "write a file, like --logfile=%n.log")
        ready = cast("Ready", said["ready"])
        return Node(
            name=name.full,
            short=name.short,
            host=name.host,
            preset=plan.preset.name,
            argv=self._argv(plan, name, base, made),
            pidfile=pidfile,
            logfile=logfile,
            workdir=base if said["workdir"] is not None else None,
            uid=cast("str | None", said["uid"]),
            gid=cast("str | None", said["gid"]),
            umask=cast("int | None", said["umask"]),
            nice=cast("int | None", said["nice"]),
            env=self._env(plan, name, base),
            rlimits=cast("tuple[tuple[str, int, int], ...]", said["rlimit"]),
            stop=cast("Schedule", said["stop_schedule"]),
            kill_mode=cast("str", said["kill_mode"]),
            reload_signal=cast("int | None", said["reload_signal"]),
            dump_signal=plan.preset.dump_signal,
            ready=self._ready(ready, name, base),
            ready_timeout=cast("float", said["ready_timeout"]),
            startsecs=cast("float", said["startsecs"]),
            lock_timeout=cast("float", said["lock_timeout"]),
        )

    def rundir(self, name: _Name, plan: _Plan) -> str:
        """The directory of the node's pidfile."""
        return self._pidfile(plan, name, self.base(plan, name)).rpartition("/")[0] or "/"

    def base(self, plan: _Plan, name: _Name) -> str:
        """What relative paths are relative to: the node's working directory, or else the current one."""
        workdir = cast("str | None", plan.settings["workdir"])
        if workdir is None:
            return self._host.cwd
        return self.absolute(workdir, name, self._host.cwd, "--workdir")

    def template_of(self, plan: _Plan, setting: str) -> str:
        """The pidfile or logfile as it was said, or the default for this user and preset."""
        said = cast("str | None", plan.settings[setting])
        if said is not None:
            return said
        if self._host.root:
            place = (
                {"pidfile": "/var/run", "logfile": "/var/log"}[setting]
                + "/"
                + template.literal_path(plan.preset.dirname)
            )
        else:
            place = (
                template.literal_path(self._host.state_dir) + "/multi/" + {"pidfile": "run", "logfile": "log"}[setting]
            )
        return place + {"pidfile": "/%n.pid", "logfile": "/%n%I.log"}[setting]

    def absolute(self, text: str, name: _Name, base: str, where: str) -> str:
        """A path of ours: codes filled in, ``~`` expanded, absolute."""
        return template.opened(self._path(text, name, base, where))

    def _path(self, text: str, name: _Name, base: str, where: str) -> str:
        """The same with ``%i`` and ``%I`` still to be decided, see `template.path`."""
        made = template.path(text, name=name.full, short=name.short, host=name.host, where=where)
        if text.startswith("~"):
            made = self._at_home(made, where)
        return _tidy(made if made.startswith("/") else f"{base}/{made}")

    def _at_home(self, path: str, where: str) -> str:
        user, slash, rest = path[1:].partition("/")
        home = self._host.home_of(user) if user else self._host.home
        if home is None:
            raise UsageError(where, f"no home directory is known for ~{user}", "write the whole path")
        return home + slash + rest

    def _pidfile(self, plan: _Plan, name: _Name, base: str) -> str:
        pidfile = self.absolute(self.template_of(plan, "pidfile"), name, base, "--pidfile")
        last = pidfile.rpartition("/")[2]
        if last in {"", ".", ".."}:
            raise UsageError("--pidfile", f"{pidfile} is a directory", "write a file, like --pidfile=%n.pid")
        if pidfile.endswith(_OWN_SUFFIXES):
            why = f"{pidfile} is the name of a record or lock, which lie beside the pidfile"
            raise UsageError("--pidfile", why, "write another suffix, like --pidfile=%n.pid")
        if _is_device(pidfile):
            raise UsageError("--pidfile", f"{pidfile} cannot hold a pid", "write a file, like --pidfile=%n.pid")
        return pidfile

    def _argv(self, plan: _Plan, name: _Name, base: str, log: str) -> tuple[str, ...]:
        cmd = self._command(plan, name, base)
        if not cmd:
            return ()
        preset = plan.preset
        leading: list[str] = []
        rest: list[str] = []
        used: set[str] = set()
        for given in plan.options:
            used.add(given.name)
            words = self._words(given, name)
            (leading if given.name in preset.leading else rest).extend(words)
        place = _place_of_leading(cmd, preset)
        if preset.name_option and preset.name_option not in used:
            rest += [preset.name_option, template.literal(name.full) if _fills_in(preset) else name.full]
        if preset.log_option and preset.log_option not in used and not _is_descriptor(template.opened(log)):
            path = template.handed(log) if _fills_in(preset) else template.opened(log)
            rest += [f"{preset.log_option}={path}"] if preset.log_option.startswith("--") else [preset.log_option, path]
        append = cast("tuple[str, ...]", plan.settings["append"])
        last = [self._filled(word, name, "--append") for word in append]
        return (*cmd[:place], *leading, *cmd[place:], *rest, *self._passthrough, *last)

    def _command(self, plan: _Plan, name: _Name, base: str) -> list[str]:
        words = [self._filled(word, name, "--cmd") for word in cast("tuple[str, ...]", plan.settings["cmd"] or ())]
        if not words:
            if self._without_command:
                return []
            why = f"preset {plan.preset.name} has no command of its own, and none was given for {name.full}"
            raise UsageError("--cmd", why, "write --cmd='PROGRAM WORDS...'")
        words = [words[0], *(word for word in words[1:] if word not in plan.preset.dropped)]
        executable = cast("str | None", plan.settings["executable"])
        if not words[0].startswith("-"):
            return [self._program(words[0], base, "--cmd"), *words[1:]]
        if executable is None:
            return [self._host.python, *words]
        return [self._program(self._filled(executable, name, "--executable"), base, "--executable"), *words]

    def _program(self, word: str, base: str, where: str) -> str:
        """A program with a slash is a path of ours; one without is looked up in the node's PATH."""
        if word.startswith("~"):
            word = self._at_home(word, where)
        if "/" not in word or word.startswith("/"):
            return word
        return _tidy(f"{base}/{word}")

    def _words(self, given: Given, name: _Name) -> Sequence[str]:
        if given.value is None:
            return [given.name]
        value = self._filled(given.value, name, given.name)
        if not given.joined:
            return [given.name, value]
        return [f"{given.name}={value}"] if given.name.startswith("--") else [given.name + value]

    def _filled(self, text: str, name: _Name, where: str) -> str:
        if "%" not in text:
            return text
        return template.expand(text, name=name.full, short=name.short, host=name.host, where=where)

    def _ready(self, ready: Ready, name: _Name, base: str) -> Ready:
        if ready.kind == "file":
            return Ready(ready.kind, self.absolute(ready.what, name, base, "--ready"))
        return Ready(ready.kind, self._filled(ready.what, name, "--ready")) if ready.what else ready

    def _env(self, plan: _Plan, name: _Name, base: str) -> tuple[tuple[str, str | None], ...]:
        variables: dict[str, str | None] = {}
        for path in cast("tuple[str, ...]", plan.settings["env_file"]):
            absolute = self.absolute(path, name, base, "--env-file")
            if absolute not in self._env_files:
                self._env_files[absolute] = self._read_env_file(absolute)
            variables.update(self._env_files[absolute])
        variables.update(cast("tuple[tuple[str, str | None], ...]", plan.settings["env"]))
        return tuple(variables.items())


def _place_of_leading(cmd: Sequence[str], preset: Preset) -> int:
    """Where app options go: before the worker's subcommand, or else right after the program."""
    subcommand = parse.subcommand(preset)
    after_program = 3 if cmd[1:2] == ["-m"] else 1
    for place in range(len(cmd) - 1, 0, -1):
        if subcommand and cmd[place] == subcommand:
            return place
    return min(after_program, len(cmd))


def _fills_in(preset: Preset) -> bool:
    """Whether the worker fills in codes in its name and log file itself: Celery's worker is the only one that does."""
    return preset.dirname == "celery" and parse.subcommand(preset) == "worker"


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
            return _is_number(number)
        case ["proc", process, "fd", number]:
            return _is_number(number) and (process == "self" or _is_number(process))
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
        for path in (node.pidfile, node.recordfile, node.lockfile):
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
