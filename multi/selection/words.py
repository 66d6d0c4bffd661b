"""One command line on its way to nodes: what it says, what the configuration says, where we are."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from functools import cache

from multi.errors import ConfigError, MultiError, UsageError
from multi.model.node import Node
from multi.model.request import Traits, canonical, traits
from multi.model.schedule import signal_name
from multi.settings import config, presets
from multi.settings.config import Layer
from multi.typed import TYPE_CHECKING
from multi.value import replace
from multi.words import expand, grammar
from multi.words.merge import COMMAND_LINE, nobody_said, preset_of
from multi.words.spec import Collect, Selection, Spec

if TYPE_CHECKING:
    from multi.machine import LocalHost
    from multi.selection.finder import Finder
    from multi.settings.config import Config
    from multi.settings.presets import Preset


MOST_TYPED = 10  # names


class Words:
    """One command line, with the configuration and the presets that it is read with."""

    def __init__(  # noqa: PLR0913 -- what a command line is read with
        self,
        command: str,
        words: Sequence[str],
        local: LocalHost,
        *,
        foreground: bool = False,
        collect: Collect = "never",
        broken: MultiError | None = None,
        recorded_as: Callable[[str], str] | None = None,
    ) -> None:
        """Read the words, and the configuration and the preset that they name; no configuration that is `broken`.

        `recorded_as` looks into run directories: see `Surroundings`.
        """
        self.broken = broken
        here = local.surroundings()
        self.here = here = here if recorded_as is None else replace(here, recorded_as=cache(recorded_as))
        opening = grammar.opening(words)
        self.strict = opening.strict
        self.command = canonical(command)
        self.traits = traits(command)
        self.foreground = foreground or self.traits.stays
        self.collect = collect
        self.local = local
        self.config: Config = config.EMPTY
        source = None
        named = here.environ.get("MULTI_CONFIG") if opening.multi_config is None else opening.multi_config
        procfile = self._procfile(named)
        try:
            if procfile is None and named != config.NO_FILE:
                source = config.locate(opening.multi_config, here.environ, here.cwd, here.home, local.load, local.peek)
        except ConfigError as error:
            if broken is None:
                raise
            head, _, line = error.word.rpartition(":")
            self._path = head if line.isdigit() else error.word
            if error.word.startswith("MULTI_CONFIG "):
                self._path = posixpath.join(here.cwd, here.environ["MULTI_CONFIG"])
        else:
            self._path = procfile or ("" if source is None else source.path)
        self.found = "" if source is None or broken is not None else source.why
        if source is not None and broken is None:
            self.config = config.parse_config(source.text, source.path, here.environ, local.load, local.find)
        self.environment: Layer = config.environment(here.environ)
        self.directories = config.preset_directories(here.environ, here.home)
        self.preset: Callable[[str], Preset] = cache(self._preset)  # each is read once
        layers = [self.config.defaults, self.environment]
        if opening.preset:
            layers.append(Layer(COMMAND_LINE, {"preset": opening.preset}))
        self.grammar = grammar.Grammar(preset_of(layers, self.preset), signals=self.traits.takes_signal)
        self.spec = grammar.parse(opening.words, self.grammar)
        if self.traits.only_signal is not None and self.spec.signum not in {None, self.traits.only_signal}:
            signal = signal_name(self.spec.signum or 0)
            why = "is not what kill sends: it sends KILL, to the whole tree"
            raise UsageError(f"-{signal}", why, f"try 'multi stopwait -{signal}', or 'multi signal {signal}'")

    def _procfile(self, named: str | None) -> str | None:
        """Read a Procfile, if one is named in the place of a configuration; its path."""
        if named is None or not named.startswith("procfile") or self.broken is not None:
            return None
        from multi.settings import procfile

        given = procfile.named(named)
        if given is None:
            return None
        here = self.here
        rundir = expand.default_directories(here, "pidfile", "multi")[0]
        path, self.config = procfile.read(given, here.cwd, here.environ, self.local.load, rundir)
        return path

    @property
    def origin(self) -> str:
        """The configuration file by one name, however it was written; empty when there is none."""
        return posixpath.normpath(self._path) if self._path else ""

    def _preset(self, name: str) -> Preset:
        try:
            return presets.load(name, self.directories, self.local.load)
        except ConfigError:
            if self.broken is None:
                raise
        return presets.load(name)  # a user's own that is broken is passed over, too

    def fault(self) -> MultiError | None:
        """What is wrong with the configuration itself, whatever the words are: a name, a template, an option."""
        for names in ((), ("a",)) if self.config.path else ():
            try:
                self.expand(Spec(names=names))
            except MultiError as error:  # noqa: PERF203 -- two at most
                return error
        return None

    @property
    def has_nodes(self) -> bool:
        """Whether nodes are named or configured."""
        return bool(self.spec.names) or self.configures_nodes

    @property
    def configures_nodes(self) -> bool:
        """Whether the configuration names nodes."""
        return bool(self.config.nodes or any(group.nodes for group in self.config.groups))

    def expand(
        self, spec: Spec, *, recorded: bool = False, traits: Traits | None = None, foreground: bool = False
    ) -> Selection:
        """Make the nodes. Those on record have their files apart already, and their commands.

        `traits` are those of another command, for which less has to be said. With `foreground` as `run` would.
        """
        expansion = expand.expand(
            spec,
            self.config,
            self.here,
            self.preset,
            self.environment,
            traits=replace(traits or self.traits, default_command=False) if recorded else traits or self.traits,
            load=self.local.load,
            strict=self.strict or self.traits.strict,
            foreground=foreground or self.foreground,
            recorded=recorded,
        )
        several = len(expansion.nodes) > 1
        if self.collect == "never" or (self.collect == "several" and not several):
            return expansion
        shown = (
            replace(node, logfile=node.outputfile) if nobody_said("logfile", expansion.sources[node.name]) else node
            for node in expansion.nodes
        )
        return replace(expansion, nodes=tuple(shown))

    def selection(self, expansion: Selection, nodes: tuple[Node, ...] | None = None) -> Selection:
        """The expanded nodes, or `nodes` in their place, with what is known of where they come from."""
        if not self.spec.names:
            self._refuse_swallowed(expansion.nodes)
        nodes = expansion.nodes if nodes is None else nodes
        path = self.origin
        return replace(
            expansion,
            nodes=tuple(replace(node, origin=path) if node.name in expansion.configured else node for node in nodes),
            spec=self.spec,
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
        """The nodes by words and configuration alone."""
        if not self.has_nodes:
            why = f"{self.command} needs nodes, and none is named or configured"
            raise UsageError("", why, self.traits.example)
        if not (self.traits.default_command and self.configures_nodes):  # any name is as good as another
            return self.selection(self.expand(self.spec))
        return self.selection(self.named())

    def named(self, finder: Finder | None = None) -> Selection:
        """The nodes of the words, each name of which means something. Raises `UsageError` for one that is misspelt.

        Without a `finder` a node that is not configured means something if it has files where it would have them now.
        """
        try:
            expansion = self.expand(self.spec)
        except MultiError:
            # A name that is misspelt lacks the settings that its node has: the name is the mistake, not what it lacks.
            self._misnamed(self.expand(self.spec, traits=Traits()), finder)
            raise
        return replace(expansion, warnings=(*expansion.warnings, *self._misnamed(expansion, finder)))

    def _misnamed(self, expansion: Selection, finder: Finder | None) -> tuple[str, ...]:
        sources = expansion.sources

        def there(node: Node) -> bool:
            if finder is None:
                return any(map(self.local.kind, (node.recordfile, node.pidfile)))
            return finder.has_files(node, sources[node.name])

        def runs(node: Node) -> bool:
            return finder is not None and finder.runs(node, sources[node.name])

        def near(node: Node) -> Sequence[str]:
            return () if finder is None else finder.near(node, sources[node.name])

        named = expansion.nodes if self.spec.names else ()
        strange = [node for node in named if not (node.name in expansion.configured or there(node))]
        usual = not (self.configures_nodes or self.broken or self.traits.shows_logs)
        # Nobody types many names, and a script does not mistype.
        if not strange or (usual and not (len(strange) <= MOST_TYPED and any(map(near, strange)))):
            return ()
        from multi.selection import misnamed

        warnings = misnamed.check(self, strange, len(expansion.nodes), runs, near)
        return () if self.traits.unattended else warnings
