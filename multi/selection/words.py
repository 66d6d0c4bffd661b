"""One command line on its way to nodes: what it says, what the configuration says, where we are."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from multi.errors import UsageError
from multi.model.node import Node
from multi.model.request import canonical, traits
from multi.model.schedule import signal_name
from multi.settings import config, presets
from multi.settings.config import Layer
from multi.value import replace
from multi.words import expand, grammar
from multi.words.merge import COMMAND_LINE, preset_of
from multi.words.spec import Selection, Spec

if TYPE_CHECKING:
    from multi.machine import LocalHost
    from multi.settings.config import Config
    from multi.settings.presets import Preset


class Words:
    """One command line, with the configuration and the presets that it is read with."""

    def __init__(self, command: str, words: Sequence[str], local: LocalHost, *, foreground: bool = False) -> None:
        """Read the words, and the configuration and the preset that they name."""
        self.here = here = local.surroundings()
        opening = grammar.opening(words)
        self.strict = opening.strict
        self.command = canonical(command)
        self.traits = traits(command)
        self.foreground = foreground or self.traits.stays
        self.local = local
        self.config: Config = config.EMPTY
        source = config.locate(opening.multi_config, here.environ, here.cwd, here.home, local.load, local.peek)
        self.found = "" if source is None else source.why
        if source is not None:
            self.config = config.parse_config(source.text, source.path, here.environ, local.load, local.find)
        self.environment: Layer = config.environment(here.environ)
        self.directories = config.preset_directories(here.environ, here.home)
        self.preset: Callable[[str], Preset] = cache(
            lambda name: presets.load(name, self.directories, local.load)  # each is read once
        )
        layers = [self.config.defaults, self.environment]
        if opening.preset:
            layers.append(Layer(COMMAND_LINE, {"preset": opening.preset}))
        self.grammar = grammar.Grammar(preset_of(layers, self.preset), signals=self.traits.takes_signal)
        self.spec = grammar.parse(opening.words, self.grammar)
        if self.traits.only_signal is not None and self.spec.signum not in {None, self.traits.only_signal}:
            signal = signal_name(self.spec.signum or 0)
            why = "is not what kill sends: it sends KILL, to the whole tree"
            raise UsageError(f"-{signal}", why, f"try 'multi stopwait -{signal}', or 'multi signal {signal}'")

    @property
    def origin(self) -> str:
        """The configuration file by one name, however it was written; empty when there is none."""
        return posixpath.normpath(self.config.path) if self.config.path else ""

    @property
    def has_nodes(self) -> bool:
        """Whether nodes are named or configured."""
        config = self.config
        return bool(self.spec.names or config.nodes or any(group.nodes for group in config.groups))

    def expand(self, spec: Spec, *, recorded: bool = False) -> Selection:
        """Make the nodes. Those on record have their files apart already, wherever the words would put them."""
        return expand.expand(
            spec,
            self.config,
            self.here,
            self.preset,
            self.environment,
            traits=self.traits,
            load=self.local.load,
            strict=self.strict or self.traits.strict,
            foreground=self.foreground,
            recorded=recorded,
        )

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
        return self.selection(self.expand(self.spec))
