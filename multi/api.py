"""The line itself: parse, expand, observe, decide, act; also the public Python API.

    from multi import pipeline

    selection = pipeline.select("start", ["w1", "w2", "-A", "proj", "-c:w2", "4"])
    for event in pipeline.run("start", selection):
        print(event)

Every function takes the machine as an argument; without one it uses the real one. A command is how far you
ride: `select` ends after expand, `look` after observe, `plan` after decide, `run` goes to the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from multi.errors import ConfigError, MultiError, NotPermittedError, UsageError
from multi.model.node import Known, Node, Ready, Unknown
from multi.model.request import Request, canonical, traits
from multi.model.schedule import signal_name
from multi.model.state import Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.value import dataclass, field, replace
from multi.words.spec import Given, Spec

if TYPE_CHECKING:
    from multi.act import Fallback, RunOptions
    from multi.check import Obstacle
    from multi.logs import LogLine, Unseen
    from multi.machine import Ground, Machine
    from multi.model.event import Event
    from multi.model.process import ProcessTable
    from multi.model.record import Record
    from multi.model.step import Route, Step
    from multi.observe import Observation
    from multi.settings.config import Config, Layer
    from multi.settings.presets import Preset
    from multi.words.expand import Expansion, Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The nodes that one command line is about.

    `warnings` are sentences for the user. `sources` tells, per node and setting, where its value comes from
    (``built in``, ``preset celery``, ``multi.toml [defaults]``, ``MULTI_UMASK``, ``command line``), `settings` the
    values themselves. `recorded` is what was on record of the nodes that were taken from their record, by name, and
    `configured` are the names of those that the configuration has, `unsaid` of those whose command nobody but the
    preset says. `removed` are nodes that this configuration started and does not have any more, for ``apply`` and
    ``diff``. `rundir` is where records were looked for when no node was named, `config` the configuration file that was
    read, and `found` says why it was that one.
    """

    nodes: tuple[Node, ...]
    spec: Spec = Spec()
    warnings: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    recorded: Mapping[str, Node] = field(default_factory=dict)
    configured: frozenset[str] = frozenset()
    unsaid: frozenset[str] = frozenset()
    removed: tuple[Node, ...] = ()
    fallbacks: Mapping[str, tuple[Ready, str]] = field(default_factory=dict)
    rundir: str = ""
    config: str | None = None
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A node, what was seen of it, and its vital signs; None is unknown.

    `uptime` is seconds, `cpu_percent` of one core over the life of the tree, `memory` the tree's resident bytes,
    `children` how many processes the tree has beside the main one, `restarts` how often it was started again.
    `status_text` is what the node last said of itself.
    """

    node: Node
    state: State
    uptime: float | None = None
    cpu_percent: float | None = None
    memory: int | None = None
    children: int | None = None
    restarts: int | None = None
    status_text: str = ""


# --- words -> nodes -------------------------------------------------------------------------------


def select(
    command: str, words: Sequence[str], *, foreground: bool = False, machine: Machine | None = None
) -> Selection:
    """Words -> nodes. Raises `MultiError` for what the user must put right.

    Commands that act or look at nodes which were started before take what their records say: a node is stopped by
    the schedule it was started with, and `restart` without worker options starts the recorded command again. With
    `foreground`, as for `run`, a log that nobody named is where our own output goes.
    """
    if traits(command).nodes_from == "words":
        return _Selector(command, words, machine or _ground(), foreground=foreground).pure()
    if machine is not None:
        return _Selector(command, words, machine, foreground=foreground).with_records(machine)
    from multi.system import System

    with System() as system:
        return _Selector(command, words, system, foreground=foreground).with_records(system)


def presets(*, machine: Machine | None = None) -> tuple[str, ...]:
    """The names of the presets of the user, of the system, and of those that come with `multi`."""
    from multi.settings import config
    from multi.settings import presets as room

    here = (machine or _ground()).surroundings()
    return room.available(config.preset_directories(here.environ, here.home))


def _ground() -> Ground:
    from multi.system.local import Local

    return Local()


class _Selector:
    """One command line on its way to nodes: what it says, what the configuration says, where we are."""

    def __init__(self, command: str, words: Sequence[str], ground: Ground, *, foreground: bool = False) -> None:
        from multi.settings import config, presets
        from multi.settings import table as settings
        from multi.words import grammar
        from multi.words.expand import Host

        here = ground.surroundings()
        opening = grammar.opening(words)
        self.strict = opening.strict
        self.command = canonical(command)
        self.traits = traits(command)
        self.foreground = foreground or self.traits.stays
        self.ground = ground
        self.here = here
        state = here.environ.get("XDG_STATE_HOME", "")
        self.host: Host = Host(
            name=here.hostname,
            root=here.uid == 0,
            home=here.home,
            state_dir=state if state.startswith("/") else f"{here.home}/.local/state",
            cwd=here.cwd,
            python=here.python,
            home_of=ground.home_of,
        )
        self.config: Config = config.EMPTY
        source = config.locate(opening.multi_config, here.environ, here.cwd, here.home, ground.load, ground.peek)
        self.found = "" if source is None else source.why
        if source is not None:
            self.config = config.parse_config(source.text, source.path, here.environ, ground.load, ground.find)
        self.environment: Layer = config.environment(here.environ)
        self._defaults: tuple[str, ...] | None = None  # the default run directories
        self._listings: dict[str, frozenset[str]] = {}
        self._processes: ProcessTable | None = None
        self.directories = config.preset_directories(here.environ, here.home)
        self._presets: dict[str, Preset] = {}
        self._load = presets.load
        said, where = opening.preset, ""
        for layer in (self.environment, self.config.defaults):
            if not said:
                said, where = str(layer.values.get("preset", "")), layer.origin("preset")
        try:
            preset = self.preset(said or str(settings.SETTINGS["preset"].default))
        except presets.NoPresetError as error:
            raise error.named_in(where) from None
        self.grammar = grammar.grammar_of(preset, signals=self.traits.takes_signal)
        self.spec = grammar.parse(opening.words, self.grammar)
        if self.traits.only_signal is not None and self.spec.signum not in {None, self.traits.only_signal}:
            signal = signal_name(self.spec.signum or 0)
            why = "is not what kill sends: it sends KILL, to the whole tree"
            raise UsageError(f"-{signal}", why, f"try 'multi stopwait -{signal}', or 'multi signal {signal}'")

    @property
    def origin(self) -> str:
        """The configuration file by one name, however it was written; empty when there is none."""
        import posixpath

        return posixpath.normpath(self.config.path) if self.config.path else ""

    def preset(self, name: str) -> Preset:
        found = self._presets.get(name)
        if found is None:
            found = self._presets[name] = self._load(name, self.directories, self.ground.load)
        return found

    def processes(self, machine: Machine) -> ProcessTable:
        """The process table, read once however many nodes are looked for in it."""
        if self._processes is None:
            self._processes = machine.processes()
        return self._processes

    def expand(self, spec: Spec, *, recorded: bool = False) -> Expansion:
        """Make the nodes. Those on record have their files apart already, wherever the words would put them."""
        from multi.words import expand

        def read(paths: Sequence[str]) -> Sequence[tuple[str, str]]:
            from multi.settings.envfile import read_env_files

            return read_env_files(paths, self.ground.load)

        made = expand.expand(
            spec,
            self.config,
            self.host,
            self.preset,
            self.environment,
            read_env_files=read if self.traits.reads_env_files else None,
            strict=self.strict or self.traits.strict,
            starts=self.traits.default_command,
            recorded=recorded,
        )
        if self.foreground and any(_nobody_said("logfile", made.sources[node.name]) for node in made.nodes):
            # In the foreground a log belongs where our own output goes, unless somebody says otherwise.
            names = [node.name for node in made.nodes if _nobody_said("logfile", made.sources[node.name])]
            scope = None if len(names) == len(made.nodes) else ",".join(names)
            given = Given("--logfile", "/dev/stderr", scope=scope, joined=True)
            return self.expand(replace(spec, settings=(*spec.settings, given)))
        if self.traits.default_command or self.traits.restarts:
            return made
        # What runs already has words of its own. A bare worker is what `start` and `restart` begin where nothing runs.
        unknown = Unknown(expand.NOBODY_SAID)
        nodes = (replace(node, command=unknown) if node.name in made.unsaid else node for node in made.nodes)
        return replace(made, nodes=tuple(nodes))

    def selection(self, expansion: Expansion, nodes: tuple[Node, ...] | None = None) -> Selection:
        if not self.spec.names:
            self._refuse_swallowed(expansion.nodes)
        nodes = expansion.nodes if nodes is None else nodes
        path = self.origin
        return Selection(
            nodes=tuple(replace(node, origin=path) if node.name in expansion.configured else node for node in nodes),
            spec=self.spec,
            warnings=expansion.warnings,
            sources=expansion.sources,
            settings=expansion.settings,
            configured=expansion.configured,
            unsaid=expansion.unsaid,
            config=self.config.path,
            found=self.found,
        )

    def _refuse_swallowed(self, nodes: Sequence[Node]) -> None:
        """All nodes are meant when none is named, so ``stop -x w1`` would stop them all: ``-x`` may take a value.

        Where nodes are stopped or signalled any word counts as a name: that of a node which is down is on no record.
        """
        names = {word for node in nodes for word in (node.name, node.short)}
        host = self.spec.hostname
        if host in names:  # -n names a worker on the command line of Celery itself
            raise UsageError(
                f"--hostname {host}",
                "is a node's name where a host is needed, so no node is named",
                "write the name without it",
            )
        names.update(group.name for group in self.config.groups)
        for given in self.spec.options:
            if given.value is None or given.joined or self.grammar.takes_value(given.name) is not None:
                continue
            if given.value in names or self.traits.disturbs:
                raise UsageError(
                    f"{given.name} {given.value}",
                    f"has taken {given.value} for the value of {given.name}, so no node is named",
                    "name the nodes first, or write it after -- if it is meant so",
                )

    def pure(self) -> Selection:
        """Ride as far as expand."""
        if not self.spec.names and not _has_nodes(self.config):
            raise UsageError("", f"{self.command} needs nodes, and none is named or configured", self.traits.example)
        return self.selection(self.expand(self.spec))

    def with_records(self, machine: Machine) -> Selection:
        """Ride on to what is on record of these nodes."""
        origin = self.traits.nodes_from
        if origin == "words or records":
            return self._with_fallbacks(self._exported(self.pure(), machine))
        if origin == "files":
            return self._checked(self._converging(machine))
        if self.spec.names or _has_nodes(self.config):
            return self._checked(self._merged(self.expand(self.spec), machine))
        if origin == "words now":
            return Selection(nodes=(), spec=self.spec)
        return self._checked(self._from_rundir(machine))

    def _merged(self, expansion: Expansion, machine: Machine) -> Selection:
        from multi import observe
        from multi.machine import MachineError

        if self.traits.nodes_from == "words now":
            for node in expansion.nodes:
                self._refuse_namesake(node, expansion.sources[node.name], machine)
            return self.selection(expansion)
        nodes: list[Node] = []
        recorded: dict[str, Node] = {}
        for one in expansion.nodes:
            if self.traits.spawns and self._says_anew(one, expansion, None):
                self._refuse_namesake(one, expansion.sources[one.name], machine)
                node = one
            else:
                node = self._found(one, expansion.sources[one.name], machine)
            try:
                record = observe.recall(node, machine)
            except MachineError:
                record = None  # an unknown user: the command itself says so
            if record is None and self.traits.shows_logs:
                self._refuse_strangers_log(node, machine)
            if record is None or self._says_anew(node, expansion, record.node):
                nodes.append(self._without_record(node, machine) if self._repeats(node, expansion) else node)
                continue
            explicit = _explicit(expansion.sources[node.name])
            nodes.append(
                self._read_again(observe.with_explicit(record.node, node, explicit), record.owner, record.node)
            )
            recorded[nodes[-1].name] = record.node
        return replace(self.selection(expansion, tuple(nodes)), recorded=recorded)

    def _refuse_strangers_log(self, node: Node, machine: Machine) -> None:
        """Where the node of another user logs, only that user's record tells."""
        from multi.machine import File

        file = machine.read(node.recordfile, 1 << 20)
        if self.host.root and node.uid is None and isinstance(file, File) and file.uid not in {0, machine.me().uid}:
            user = machine.user_name(file.uid)
            why = f"has a record that belongs to {user}, which root does not believe"
            raise UsageError(node.short, why, f"give --uid {user} if it is that user's node")

    # Where a node is, when nobody says it: a preset has a default run directory of its own.

    def _namesakes(self, node: Node, sources: Mapping[str, str]) -> list[Node]:
        """The node as it would be in the default run directories of other presets."""
        if not _nobody_said("pidfile", sources):
            return []
        base = node.pidfile.rpartition("/")[2]
        return [replace(node, pidfile=f"{rundir}/{base}") for rundir in self._rundirs() if rundir != node.rundir]

    def _rundirs(self) -> tuple[str, ...]:
        if self._defaults is None:
            from multi.settings import presets
            from multi.words import expand

            self._defaults = expand.default_rundirs(
                self.host, presets.dirnames(self.directories, self.ground.load) if self.host.root else ()
            )
        return self._defaults

    def _lies_there(self, node: Node, machine: Machine) -> bool:
        """Whether there is a pidfile or record of that name."""
        rundir = node.rundir
        if rundir not in self._listings:
            self._listings[rundir] = frozenset(machine.listing(rundir, ""))
        return not self._listings[rundir].isdisjoint((node.pidfile, node.recordfile))

    def _found(self, node: Node, sources: Mapping[str, str], machine: Machine) -> Node:
        """The node with the pidfile that it has. One that may be either of two is nobody's to choose."""
        others = self._namesakes(node, sources)
        if not others:
            return node
        there = [one for one in (node, *others) if self._lies_there(one, machine)]
        if not there:  # they may run on without their files
            carried = self.processes(machine).by_pidfile
            there = [one for one in (node, *others) if one.pidfile in carried and self._runs(one, machine)]
        said = not _nobody_said("preset", sources)
        if not there or (said and node in there):
            return node
        if len(there) > 1:
            why = f"may be the one of {there[0].pidfile} or the one of {there[1].pidfile}"
            raise UsageError(node.short, why, f"give --pidfile={there[0].rundir}/%n.pid, or the other")
        return there[0]

    def _refuse_namesake(self, node: Node, sources: Mapping[str, str], machine: Machine) -> None:
        """A node that runs with the pidfile of another preset is not started beside it."""
        for one in self._namesakes(node, sources):
            if self._lies_there(one, machine) and self._runs(one, machine):
                why = f"runs already, with the pidfile {one.pidfile}, and would be started with {node.pidfile}"
                hint = f"stop that one first, or give --pidfile={node.rundir}/%n.pid if it is another node"
                raise UsageError(node.short, why, hint)

    def _runs(self, node: Node, machine: Machine) -> bool:
        """Whether it runs as this user's, or as that of the user whom the record there says."""
        from multi import observe
        from multi.decide import table as decide
        from multi.machine import MachineError

        try:
            record = observe.recall(node, machine)
            there = node if record is None else record.node
            return decide.proc_of(observe.look_at(there, self.processes(machine), machine).state) is not None
        except MachineError:
            return False  # no such user: the command itself says so

    def _exported(self, selection: Selection, machine: Machine) -> Selection:
        """The nodes as the words or the configuration say them, or else as they are on record."""
        from multi import observe
        from multi.machine import MachineError

        logs = any(given.name == "--logfile" for given in self.spec.settings) or not self.foreground
        nodes: list[Node] = []
        for node in selection.nodes:
            if isinstance(node.command, Known):
                nodes.append(node)
                continue
            try:
                record = observe.recall(self._found(node, selection.sources[node.name], machine), machine)
            except MachineError:
                record = None  # an unknown user has no record
            if record is None or self._half_said(node, record.node) or isinstance(record.node.command, Unknown):
                raise UsageError(
                    node.name,
                    "cannot be exported: neither the words nor a configuration nor a record say what command it is",
                    "give the worker's options or --cmd as for 'multi start', or --pidfile where it is on record",
                )
            explicit = _explicit(selection.sources[node.name])
            nodes.append(observe.with_explicit(record.node, node, explicit if logs else explicit - {"logfile"}))
        return replace(selection, nodes=tuple(nodes))

    def _repeats(self, node: Node, expansion: Expansion) -> bool:
        """Whether the node is to be started by a command that neither the words nor the configuration say."""
        return self.traits.restarts and not self.spec.says_command and node.name not in expansion.configured

    def _without_record(self, node: Node, machine: Machine) -> Node:
        """A node that is to be restarted as it was, and whose record does not say how that is.

        A process that `multi` started still shows its command, unless it shows a title instead. That of another tool is
        not ours to tell, so a good worker would be stopped for one that is started without its options.
        """
        from multi import observe

        pid = _lost_pid(node, self.processes(machine), machine)
        if pid is not None:
            return replace(node, command=observe.command_of(pid, machine))
        if machine.read(node.pidfile, 0) is not None and machine.read(node.recordfile, 0) is None:
            raise UsageError(
                node.name,
                "has a pidfile but no record of its command, because another tool started it",
                "give the worker's options, as for 'multi start'",
            )
        return node

    def _converging(self, machine: Machine) -> Selection:
        """All nodes of the configuration, and those that it once started and has no more."""
        from multi import observe
        from multi.words import expand

        if self.config.path is None:
            raise UsageError(
                self.command, "needs a configuration, and none was found", "write a multi.toml, or give --multi-config"
            )
        selection = self.selection(self.expand(self.spec))
        everything = selection if not self.spec.names else self.selection(self.expand(replace(self.spec, names=())))
        rundirs = dict.fromkeys(node.rundir for node in everything.nodes)
        try:
            where = expand.unnamed(self.spec, self.config, self.host, self.preset, self.environment)
            rundirs.update(dict.fromkeys((where.rundir, *(() if where.said else self._rundirs()))))
        except UsageError:
            pass  # each node has a directory of its own, so there is none to look into for others
        # Where the configuration has moved a pidfile, the node still runs with the old one.
        users = {machine.me().uid, *_uids(everything.nodes, machine)}
        for path, infos in self.processes(machine).by_pidfile.items():
            if any(info.uid in users for info in infos):
                rundirs[path.rpartition("/")[0]] = None
        wanted = {node.pidfile: node.short for node in everything.nodes}
        removed = [
            record.node
            for rundir in rundirs
            for record in observe.recorded(rundir, machine)
            if record.node.origin == self.origin and wanted.get(record.node.pidfile) != record.node.short
        ]
        if self.spec.names:
            named = {node.name for node in selection.nodes}
            removed = [node for node in removed if node.name in named]
        return replace(selection, removed=tuple(removed))

    def _says_anew(self, node: Node, expansion: Expansion, recorded: Node | None) -> bool:
        """Whether the words or the configuration, not the record, say how the node runs from now on."""
        if node.name in expansion.configured and isinstance(node.command, Known):
            return True
        if not self.traits.repeats or not self.spec.says_command:
            return False
        return isinstance(node.command, Known) or self._half_said(node, recorded)

    def _half_said(self, node: Node, recorded: Node | None) -> bool:
        """Whether words about a command are about another one than the recorded, for which there is no program.

        A preset that has no command of its own says none, it only says again which preset the recorded one is of.
        """
        another = recorded is not None and recorded.preset != node.preset
        return self.spec.says_words or (self.spec.says_command and another)

    def _from_rundir(self, machine: Machine) -> Selection:
        """No node is named anywhere: all that are recorded in the run directories, or run with a pidfile in one."""
        from multi import observe
        from multi.words import expand

        where = expand.unnamed(self.spec, self.config, self.host, self.preset, self.environment)
        rundirs = tuple(dict.fromkeys((where.rundir, *(() if where.said else self._rundirs()))))
        surveys = [observe.survey(rundir, machine, where.uid) for rundir in rundirs]
        doubted = [record for _, others in surveys for record in others] if self.host.root else []
        nodes: dict[str, Node] = {}
        owners: dict[str, int | None] = {}
        for record in (record for believed, _ in surveys for record in believed):
            self._add(nodes, record.node)
            owners[record.node.name] = record.owner
        self._add_lost(nodes, rundirs, machine)
        doubted = [record for record in doubted if record.node.name not in nodes]
        strangers = self._strangers(doubted)
        known = {node.pidfile for node in nodes.values()} | {record.node.pidfile for record in doubted}
        warnings: tuple[str, ...] = ()
        if not self.traits.unattended:
            foreign = {path: [one for one in machine.listing(path, ".pid") if one not in known] for path in rundirs}
            warnings = tuple(_name_them(rundir, paths) for rundir, paths in foreign.items() if paths)
            theirs = [record for record in doubted if record.owner] if not strangers else []
            warnings += (_name_strangers(theirs, machine),) if theirs else ()
        shown = " or ".join(rundirs)
        if not nodes:
            return Selection(nodes=strangers, spec=self.spec, warnings=warnings, rundir=shown, config=self.config.path)
        may_say_anew = self.spec.says_command and self.traits.spawns
        asked = self.expand(replace(self.spec, names=tuple(nodes)), recorded=not may_say_anew)
        anew = {node.name for node in asked.nodes if self._says_anew(node, asked, nodes[node.name])}
        for node in asked.nodes:
            if node.name in anew and node.pidfile != nodes[node.name].pidfile:
                self._refuse_namesake(node, asked.sources[node.name], machine)
        merged = tuple(
            node
            if node.name in anew
            else self._read_again(
                observe.with_explicit(nodes[node.name], node, _explicit(asked.sources[node.name])),
                owners.get(node.name),
                nodes[node.name],
            )
            for node in asked.nodes
        )
        selection = self.selection(asked, (*merged, *strangers))
        recorded = {name: node for name, node in nodes.items() if name not in anew}
        return replace(selection, warnings=(*selection.warnings, *warnings), recorded=recorded, rundir=shown)

    def _add_lost(self, nodes: dict[str, Node], rundirs: Sequence[str], machine: Machine) -> None:
        """Add the nodes that run with a pidfile in one of these directories, and have no record there."""
        processes = self.processes(machine)
        for pidfile, infos in processes.by_pidfile.items():
            rundir = pidfile.rpartition("/")[0]
            if rundir not in rundirs:
                continue
            here = {node.name for node in nodes.values() if node.rundir == rundir}
            for name in sorted({info.instance.node for info in infos if info.instance is not None} - here):
                lost = self._lost(name, pidfile, processes, machine)
                if lost is not None:
                    self._add(nodes, lost)

    @staticmethod
    def _add(nodes: dict[str, Node], node: Node) -> None:
        before = nodes.get(node.name, node)
        if before.rundir != node.rundir:
            why = f"may be the one of {before.pidfile} or the one of {node.pidfile}"
            raise UsageError(node.short, why, f"give --pidfile={before.rundir}/%n.pid, or the other")
        nodes[node.name] = node

    def _strangers(self, doubted: Sequence[Record]) -> tuple[Node, ...]:
        """Nodes whose records must not be believed: they are shown, and refused, with the reason.

        Nothing of such a record counts but the name, so where the node logs is not known.
        """
        if self.traits.spawns or self.traits.shows_logs:
            return ()
        named = {record.node.name: record.node for record in doubted}
        if not named:
            return ()
        made = self.expand(replace(self.spec, names=tuple(named)), recorded=True)
        return tuple(replace(node, pidfile=named[node.name].pidfile, logfile="") for node in made.nodes)

    def _read_again(self, node: Node, owner: int | None, recorded: Node) -> Node:
        """An env file is read when the node starts. One that cannot be read is found here, before it is stopped.

        A file that a user's record names is one for that user to open: root could be made to tell what is in any.
        """
        if not node.env_files or not self.traits.spawns:
            return node
        from multi.settings import envfile

        def read(path: str) -> bytes:
            return self.ground.load_as(path, owner) if owner and path in recorded.env_files else self.ground.load(path)

        return envfile.with_digests(node, envfile.read_env_files(node.env_files, read))

    def _lost(self, name: str, pidfile: str, processes: ProcessTable, machine: Machine) -> Node | None:
        """A node that lost its record: its name and pidfile from its environment, its command from the kernel."""
        try:
            expansion = self.expand(replace(self.spec, names=(name,)))
        except MultiError:
            return None
        from multi import observe

        node = replace(expansion.nodes[0], pidfile=pidfile)
        pid = _lost_pid(node, processes, machine)
        return None if pid is None else replace(node, command=observe.command_of(pid, machine))

    def _checked(self, selection: Selection) -> Selection:
        """What only matters to commands that start something."""
        if not self.traits.spawns:
            return selection
        for node in selection.nodes:
            # Of nodes that nobody named, one whose command is not known is refused alone.
            named = self.traits.restarts and self.spec.names
            if isinstance(node.command, Unknown) and (named or self.spec.says_words):
                raise UsageError(
                    node.name,
                    f"has no recorded command to start again: {node.command.why}",
                    "give the worker's options, as for 'multi start'",
                )
        selection = self._with_fallbacks(selection)
        if not self.here.cwd and any(node.workdir is None for node in selection.nodes):
            gone = "the current directory has been removed, and nodes without a workdir are started in it"
            selection = replace(selection, warnings=(*selection.warnings, f"{gone}; give --workdir"))
        checked = _without_needless_root(selection, self.here.environ, self.here.uid)
        return selection if self.traits.unattended else checked  # cron mails what `start` has said already

    def _with_fallbacks(self, selection: Selection) -> Selection:
        """Know what is taken for a proof of readiness where the one of the preset cannot be had."""
        fallbacks: dict[str, tuple[Ready, str]] = {}
        for name in dict.fromkeys(node.preset for node in selection.nodes):
            try:
                preset = self.preset(name)
            except ConfigError:
                continue  # a recorded node is started as it was, also when its preset is gone by now
            if preset.ready_fallback is not None:
                fallbacks[name] = (preset.ready_fallback, preset.ready_fallback_note)
        return replace(selection, fallbacks=fallbacks)


def _has_nodes(config: Config) -> bool:
    return bool(config.nodes or any(group.nodes for group in config.groups))


def _name_them(rundir: str, pidfiles: Sequence[str]) -> str:
    names = [path.rpartition("/")[2].removesuffix(".pid") for path in pidfiles[:_SHOWN]]
    more = " ..." if len(pidfiles) > _SHOWN else ""
    return f"{rundir} holds pidfiles of other tools, which are left alone unless named: {' '.join(names)}{more}"


def _name_strangers(doubted: Sequence[Record], machine: Machine) -> str:
    names = " ".join(record.node.short for record in doubted[:_SHOWN]) + (" ..." if len(doubted) > _SHOWN else "")
    users = dict.fromkeys(machine.user_name(record.owner) for record in doubted if record.owner is not None)
    hint = " or ".join(f"--uid {user}" for user in users)
    return (
        f"left alone: {names}, whose records belong to {' and '.join(users)}; give {hint} if they are that user's nodes"
    )


_SHOWN = 10  # names, as many as still help in one line


def _uids(nodes: Sequence[Node], machine: Machine) -> set[int]:
    """Whom the nodes are to run as."""
    from multi.machine import MachineError

    found: set[int] = set()
    for user in {node.uid for node in nodes if node.uid is not None}:
        try:
            found.add(machine.uid_of(user))
        except MachineError:  # noqa: PERF203 -- a handful of paths, each with an answer of its own
            continue  # no such user: the start of the node says so
    return found


def _lost_pid(node: Node, processes: ProcessTable, machine: Machine) -> int | None:
    """The process that says that it is this node, and runs as the user that the node is to run as.

    Its command may be started again as that user. What another user's process says, root must not even listen to.
    """
    from multi import observe
    from multi.machine import MachineError

    try:
        uid = None if node.uid is None else machine.uid_of(node.uid)
    except MachineError:
        return None
    infos = observe.main_token_holders(node, processes, uid, machine.me())
    return infos[0].proc.pid if infos else None


def _nobody_said(name: str, sources: Mapping[str, str]) -> bool:
    """Whether a setting is as it is when nobody says anything; one that adds up may have several sources."""
    return all(source.startswith(("built in", "preset")) for source in sources.get(name, "built in").split(", "))


def _explicit(sources: Mapping[str, str]) -> frozenset[str]:
    """The fields of a node that somebody said now, not the preset or the built-in default."""
    from multi.settings.table import BY_FIELD

    return frozenset(field for field, setting in BY_FIELD.items() if not _nobody_said(setting.name, sources))


def _without_needless_root(selection: Selection, environ: Mapping[str, str], uid: int) -> Selection:
    """Root is no user for workers: warn, or refuse where `root` says ``deny``."""
    rooted = [node for node in selection.nodes if node.uid is None]
    if uid != 0 or not rooted:
        return selection
    policies = {selection.settings.get(node.name, {}).get("root", "warn") for node in rooted}
    if "deny" in policies:
        names = " ".join(node.short for node in rooted[:5])
        raise NotPermittedError(names, 'would run as root, which the setting root = "deny" refuses', "give --uid USER")
    if "warn" not in policies or any(environ.get(name) for name in ("C_FORCE_ROOT", "MULTI_FORCE_ROOT")):
        return selection
    number = "one node runs" if len(rooted) == 1 else f"{len(rooted)} nodes run"
    warning = f"{number} as root; give --uid USER, or set C_FORCE_ROOT=1 if it must be so"
    return replace(selection, warnings=(*selection.warnings, warning))


# --- nodes -> what is true of them ------------------------------------------------------------------


def look(selection: Selection, *, machine: Machine | None = None) -> tuple[View, ...]:
    """Observe the nodes; reads only."""
    if machine is not None:
        return _look(selection, machine)
    from multi.system import System

    with System() as system:
        return _look(selection, system)


def _look(selection: Selection, machine: Machine) -> tuple[View, ...]:
    """Look without a lock: what was seen of a node while another command changed its files is looked at again."""
    processes = machine.processes()
    seen = {node.name: (_observe(node, processes, machine), processes) for node in selection.nodes}
    doubtful = [node for node in selection.nodes if _is_odd(seen[node.name][0].state)]
    for _ in range(_LOOKS_AGAIN):
        if not doubtful:
            break
        processes = machine.processes()
        before = {node.name: seen[node.name][0].state for node in doubtful}
        seen |= {node.name: (_observe(node, processes, machine), processes) for node in doubtful}
        doubtful = [
            node
            for node in doubtful
            if _is_odd(now := seen[node.name][0].state) and _words(now) != _words(before[node.name])
        ]
    return tuple(_view(node, *seen[node.name], machine) for node in selection.nodes)


_LOOKS_AGAIN = 3  # each takes a few milliseconds, and no command changes the files of a node as often in that time


def _is_odd(state: State) -> bool:
    return isinstance(state, (Dead, Lost, Unsure))


def _words(state: State) -> tuple[type, str]:
    return type(state), getattr(state, "why", "")


def _observe(node: Node, processes: ProcessTable, machine: Machine) -> Observation:
    from multi import observe
    from multi.machine import MachineError

    try:
        return observe.look_at(node, processes, machine)
    except MachineError as error:
        return observe.Observation(Unsure(str(error)), None)


def _view(node: Node, seen: Observation, processes: ProcessTable, machine: Machine) -> View:
    from multi import observe

    record: Record | None = seen.record
    restarts = record.restarts if record is not None else None
    said = record.extra.get("status", "") if record is not None else ""
    match seen.state:
        case Up(proc) | Stopping(proc) | Lost(proc):
            main = processes.by_pid[proc.pid]
            token = record.token if record is not None else observe.adopted_token(proc, processes)
            others = [info for info in observe.tree(proc, token, processes, machine.me()) if not observe.is_probe(info)]
            cpu = main.cpu + sum(info.cpu for info in others)
            age = main.age
            return View(
                node=node,
                state=seen.state,
                uptime=age,
                cpu_percent=round(100 * cpu / age, 1) if age > 0 else 0.0,
                memory=main.rss + sum(info.rss for info in others),
                children=len(others),
                restarts=restarts,
                status_text=said if record is not None and record.proc == proc else "",  # else an earlier one's words
            )
    return View(node=node, state=seen.state, restarts=restarts, status_text=said)


# --- what would be done, and doing it ---------------------------------------------------------------


def _tasks(command: str, selection: Selection, machine: Machine) -> list[tuple[Node, Request]]:
    """Each node with what is wished of it."""
    from multi import observe
    from multi.decide import table as decide

    command = canonical(command)
    if not traits(command).reconciles:
        if command not in decide.COMMANDS:
            from multi.text import nearest

            raise UsageError(command, "is nothing that is done to nodes", nearest(command, decide.COMMANDS))
        known = selection.recorded if traits(command).repeats else {}
        signum = selection.spec.signum
        return [
            (node, Request(command, signum, known.get(node.name), says=node.name not in selection.unsaid))
            for node in selection.nodes
        ]
    tasks: list[tuple[Node, Request]] = []
    for node in selection.nodes:
        record = observe.recall(node, machine)
        tasks.append((node, Request("apply", recorded=record.node if record is not None else None)))
    tasks += [(node, Request("stopwait")) for node in selection.removed]
    return tasks


def plan(command: str, selection: Selection, *, machine: Machine | None = None) -> tuple[Route, ...]:
    """Observe and decide; reads only. What `--dry-run` shows."""
    if machine is None:
        from multi.system import System

        with System() as system:
            return plan(command, selection, machine=system)
    from multi.decide import table as decide

    tasks = _tasks(command, selection, machine)
    seen = _foresee(tasks, machine)
    return tuple(decide.route(request, state, node) for (node, request), state in zip(tasks, seen, strict=True))


def _foresee(tasks: Sequence[tuple[Node, Request]], machine: Machine) -> Iterator[State]:
    """What is true of each node when it is its turn: a pidfile that another node had is free by then."""
    freed = {node.pidfile for node, request in tasks if not request.traits.reconciles}
    processes = machine.processes()
    for node, request in tasks:
        left = request.traits.reconciles and node.pidfile in freed
        yield Down() if left else _observe(node, processes, machine).state


@dataclass(frozen=True, slots=True)
class Difference:
    """What `apply` would do to one node, and why.

    `verb` is ``start``, ``restart``, ``stop``, ``clear`` (files of a node that is gone), ``update`` or ``refuse``.
    `changes` are settings that differ, each with its running and its configured value; of a variable only that it
    differs, because it may be a secret.
    """

    node: str
    verb: str
    why: str = ""
    changes: tuple[tuple[str, object, object], ...] = ()


def diff(selection: Selection, *, machine: Machine | None = None) -> tuple[Difference, ...]:
    """What the machine has otherwise than the configuration; empty when they agree. Reads only."""
    if machine is None:
        from multi.system import System

        with System() as system:
            return diff(selection, machine=system)
    from multi.decide import table as decide

    tasks = _tasks("diff", selection, machine)
    found: list[Difference] = []
    for (node, request), state in zip(tasks, _foresee(tasks, machine), strict=True):
        route = decide.route(request, state, node)
        verb = _verb(route.steps, removed=not request.traits.reconciles)
        if verb:
            changes = (
                _changes(request.recorded, node)
                if request.recorded is not None and verb in {"restart", "update"}
                else ()
            )
            why = getattr(state, "why", "") or (decide.SUSPENDED if verb == "update" and not changes else "")
            if not request.traits.reconciles:
                place = next((one.pidfile for one in selection.nodes if one.name == node.name), "")
                why = f"its pidfile is {place} now" if place else "it is not configured any more"
            found.append(Difference(node.name, verb, why, changes))
    return tuple(found)


def check(selection: Selection, *, machine: Machine | None = None) -> tuple[Obstacle, ...]:
    """What a start of these nodes would fail of. Reads only."""
    if machine is None:
        from multi.system import System

        with System() as system:
            return check(selection, machine=system)
    from multi import check as room

    nodes = (_with_values(node, machine) for node in selection.nodes)
    return tuple(obstacle for node in nodes for obstacle in room.obstacles(node, machine))


def _with_values(node: Node, ground: Ground) -> Node:
    """The node with what its env files hold now."""
    if not node.env_files:
        return node
    from multi.settings import envfile

    values = envfile.read_env_files(node.env_files, ground.load)
    return envfile.with_values(envfile.with_digests(node, values), values)


def logs(
    selection: Selection, *, lines: int = 10, follow: bool = False, machine: Machine | None = None
) -> Iterator[LogLine]:
    """The last lines of the nodes' logs, merged; with `follow` what is added, until SIGINT or SIGTERM. Reads only."""
    from multi import logs as room

    if machine is not None:
        yield from room.read(selection.nodes, lines, machine, follow=follow)
        return
    import signal

    from multi.system import System

    with System(signals=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if follow else ()) as system:
        yield from room.read(selection.nodes, lines, system, follow=follow)


def unreadable_logs(selection: Selection, *, machine: Machine | None = None) -> tuple[Unseen, ...]:
    """The nodes of whose logs nothing will be seen, or not yet, each with the reason. Reads only."""
    from multi import logs as room

    if machine is not None:
        return room.unreadable(selection.nodes, machine)
    from multi.system import System

    with System() as system:
        return room.unreadable(selection.nodes, system)


def export(form: str, selection: Selection) -> Mapping[str, str]:
    """The nodes for another supervisor: files by relative path, see `multi.export`. Raises `UsageError`.

    For a supervisor of this machine they get the user, directory and program that they would have if they were started
    here and now: it starts them as root, in /, with a PATH of its own.
    """
    from multi import export as forms
    from multi.system.local import Local

    place = Local()
    here = place.surroundings()
    _refuse_nowhere(form, selection.nodes, here.cwd)
    nodes = [_with_values(node, place) for node in selection.nodes]
    order = forms.Order(nodes=nodes, program=(here.python, "-m", "multi"))
    if forms.find(form).here:
        from multi.system import System

        with System() as system:
            weaker = _weaker_here(selection, system)
        me = None if here.uid == 0 else place.user_name(here.uid)
        path = here.environ.get("PATH", "")
        nodes = [weaker[node.name].instead(node) if node.name in weaker else node for node in nodes]
        order = replace(
            order,
            nodes=[
                replace(
                    node,
                    command=Known((place.program(node.words[0], dict(node.env).get("PATH") or path), *node.words[1:])),
                    workdir=node.workdir or here.cwd,
                    uid=node.uid or me,
                )
                for node in nodes
            ],
            remarks={name: each.note for name, each in weaker.items()},
        )
    return forms.export(form, order)


def _refuse_nowhere(form: str, nodes: Sequence[Node], cwd: str) -> None:
    """A supervisor of this machine starts a node in the directory that it would be started in here and now."""
    from multi.export import find

    without = [node.short for node in nodes if node.workdir is None]
    if find(form).here and without and not cwd:
        why = "have no workdir, and the current directory has been removed"
        raise UsageError(" ".join(without[:_SHOWN]), why, "change to a directory that exists, or give --workdir")


def export_mode(form: str, selection: Selection) -> int:
    """The permissions of files that `export` makes: what a preset sets may be read by all, what a user sets may not."""
    from multi import export as forms

    shipped = {
        name: cast("tuple[object, ...]", selection.settings[name]["env"])
        for name, sources in selection.sources.items()
        if _nobody_said("env", sources)
    }
    secret = any(
        variable not in shipped.get(node.name, ()) for node in selection.nodes for variable in forms.values(form, node)
    )
    return forms.mode(form, secret=secret)


def save(files: Mapping[str, str], directory: str, mode: int) -> Iterator[str]:
    """Write files into a directory, which is made; yields their paths.

    Raises `UsageError` for one that is there, before any is written, and `MachineError` for what cannot be written.
    """
    from multi.machine import MachineError
    from multi.system.local import Local

    place = Local()
    paths = {f"{directory.rstrip('/')}/{name}": text for name, text in files.items()}
    for path in paths:
        if place.kind(path):
            raise _is_there(path)
    for path, text in paths.items():
        try:
            made = place.create(path, text.encode("utf-8", "surrogateescape"), mode)
        except OSError as error:
            why = error.strerror or str(error)
            raise MachineError(f"cannot write {path}", why, "give another --output", error.errno or 0) from error
        if not made:  # it was put there meanwhile, or is a link that leads nowhere
            raise _is_there(path)
        yield path


def _is_there(path: str) -> UsageError:
    return UsageError(
        path, "is there already, and may have been changed by hand", "remove it, or give another --output"
    )


def _verb(steps: tuple[Step, ...], *, removed: bool) -> str:
    kinds = {type(step).__name__ for step in steps}
    if "Refuse" in kinds:
        return "refuse"
    if removed:
        return "" if kinds == {"Skip"} else "clear" if kinds == {"Clear"} else "stop"
    if "Spawn" in kinds:
        return "restart" if "Stop" in kinds else "start"
    return "update" if kinds & {"Rewrite", "Adopt", "Wake"} else ""


def _changes(running: Node, wanted: Node) -> tuple[tuple[str, object, object], ...]:
    """What differs, by the names of the settings."""
    from dataclasses import fields

    from multi.settings.table import BY_FIELD

    pairs = ((each.name, getattr(running, each.name), getattr(wanted, each.name)) for each in fields(wanted))
    found: list[tuple[str, object, object]] = [
        (BY_FIELD[name].name if name in BY_FIELD else name, old, new)
        for name, old, new in pairs
        if old != new and name not in {"env", "env_read"}
    ]
    before, after = ({**dict(node.env_read), **dict(node.env)} for node in (running, wanted))
    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after or before[name] != after[name]:
            old, new = _of_variable(before, name), _of_variable(after, name)
            found.append((f"env.{name}", old, new if new != old else "another value"))
    return tuple(found)


def _of_variable(env: Mapping[str, str | None], name: str) -> str | None:
    """What can be said of a variable to anybody."""
    if name not in env:
        return None
    return "taken away" if env[name] is None else "a value"


def run(
    command: str, selection: Selection, *, options: RunOptions | None = None, machine: Machine | None = None
) -> Iterator[Event]:
    """Ride to the end: one stream of events of all nodes. `manner` says how, see `multi.act.RunOptions`.

    Close the iterator to end the ride early: nodes that stand at the gate are sent away, those that run live on.
    """
    from multi import act

    options = act.RunOptions() if options is None else options
    if machine is None:
        from multi.system import System

        with System(signals=_caught(command, options)) as system:
            yield from run(command, selection, options=options, machine=system)
        return
    if traits(command).stays:
        yield from act.stay(selection.nodes, replace(options, fallbacks=_weaker(selection)), machine)
        return
    if traits(command).spawns:
        options = replace(options, fallbacks=_weaker(selection))
    tasks = _tasks(command, selection, machine)
    if traits(command).reconciles:
        yield from _converge(tasks, options, machine)
    else:
        yield from act.walk(tasks, options, machine)


def _converge(tasks: Sequence[tuple[Node, Request]], options: RunOptions, machine: Machine) -> Iterator[Event]:
    """First stop who has a pidfile that another node is to have, then ride with the rest."""
    from multi import act
    from multi.model.event import Failed, Interrupted, Refused, Skipped, Survived

    wanted = {node.pidfile: node.name for node, request in tasks if request.traits.reconciles}
    ahead = [(node, request) for node, request in tasks if not request.traits.reconciles and node.pidfile in wanted]
    stuck: dict[str, None] = {}
    for event in act.walk(_one_each(ahead), replace(options, width=None), machine):
        yield event
        match event:
            case Interrupted():
                return
            case Failed(name) | Refused(name) | Survived(name):
                stuck[name] = None
    for name in stuck:
        if name in wanted.values():
            yield Skipped(name, None, act.STILL_THERE, met=False)
    rest = [task for task in tasks if task not in ahead and task[0].name not in stuck]
    yield from act.walk(_one_each(rest), options, machine)


def _one_each(tasks: Sequence[tuple[Node, Request]]) -> list[tuple[Node, Request]]:
    """One errand a node: those that are about it with other pidfiles become a part of its first one."""
    moved: dict[str, list[Node]] = {}
    first: list[tuple[Node, Request]] = []
    for node, request in tasks:
        if node.name in moved:
            moved[node.name].append(node)
        else:
            moved[node.name] = []
            first.append((node, request))
    return [(node, replace(request, moved=tuple(moved[node.name]))) for node, request in first]


def _caught(command: str, options: RunOptions) -> tuple[int, ...]:
    """The signals that become events."""
    if not options.signals:
        return ()
    import signal

    if traits(command).stays:
        from multi.act import CAUGHT

        return CAUGHT
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def _weaker(selection: Selection) -> Mapping[str, Fallback]:
    """The proofs of nodes that cannot give the one that is asked of them.

    A Python without our entry point cannot say READY, and a log that is a terminal or a pipe cannot be read.
    """
    from multi.act import ALIVE, Fallback

    weaker: dict[str, Fallback] = {}
    for node in selection.nodes:
        if node.ready.kind == "log" and not node.logs_to_file:
            note = f"its log is {node.logfile}, which cannot be read again, so OK only means that it stayed alive"
            weaker[node.name] = Fallback(ALIVE, _FALLBACK_SECONDS, note)
        fallback = selection.fallbacks.get(node.preset)
        if node.ready.kind == "notify" and fallback:
            weaker[node.name] = Fallback(fallback[0], _FALLBACK_SECONDS, fallback[1], asks=True)
    return weaker


def _weaker_here(selection: Selection, machine: Machine) -> Mapping[str, Fallback]:
    """The same without those whose Python has the entry point, where nothing is started: all are asked at once."""
    from multi.machine import MachineError, Probed

    weaker = _weaker(selection)
    able: dict[str, bool | None] = {}
    for node in selection.nodes:
        if node.name in weaker and weaker[node.name].asks and isinstance(node.command, Known):
            try:
                able[node.name] = machine.notifies(node.name, node.words[0], node.uid, node.gid)
            except MachineError:
                able[node.name] = True  # no such user: whoever starts the node says so
    while None in able.values():
        for happening in machine.wait(None):
            if isinstance(happening, Probed):
                able[happening.key] = happening.ok
    return {name: each for name, each in weaker.items() if not able.get(name, False)}


_FALLBACK_SECONDS = 5.0  # Celery imports the app and connects in this time, or has died of it
