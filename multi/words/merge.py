"""Layers -> what was said for one node: one value for each setting, one list of worker options.

One rule for all: scoped on the command line > command line > environment > ``[nodes]`` >
``[groups]`` > ``[defaults]`` > preset > built in. Options follow it option by option, in whichever
spelling. Within the command line the last typed scope for a node wins, and repeated options
of one scope are kept in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from multi.settings.presets import NoPresetError
from multi.settings.table import BY_FLAG, SETTINGS, Setting
from multi.settings.values import from_text, merge
from multi.value import dataclass
from multi.words.grammar import Grammar, parse_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from multi.settings.config import Layer
    from multi.settings.presets import Preset
    from multi.words.spec import Given, Spec


Nodes: TypeAlias = "frozenset[int] | None"  # positions of nodes; None is all


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was said for one node, merged.

    `settings` has a typed value for every setting, `sources` says where each is from. `options` are
    the worker's, in order.
    """

    preset: Preset
    settings: Mapping[str, object]
    sources: Mapping[str, str]
    options: Sequence[Given]


@dataclass(frozen=True, slots=True)
class _Value:
    """One setting from the command line. `nodes` are those it is for."""

    setting: Setting
    value: object
    nodes: Nodes
    source: str


@dataclass(frozen=True, slots=True)
class _Option:
    """One worker option from the command line, `position` in the order typed. `nodes` are those it is for."""

    position: int
    given: Given
    nodes: Nodes


_Said = TypeVar("_Said", _Value, _Option)


def _value(given: Given, nodes: Nodes) -> _Value:
    setting = BY_FLAG[given.name]
    where = given.name if given.scope is None else f"{given.name}:{given.scope}"
    source = "command line" if given.scope is None else f"command line {where}"
    return _Value(setting, from_text(setting, given.value, where), nodes, source)


class Merger:
    """Layers -> one value for each setting. Nodes that have the same layers share the work."""

    __slots__ = (
        "_environment",
        "_grammars",
        "_merged",
        "_merged_options",
        "_presets",
        "_scoped_options",
        "_scoped_values",
        "_unscoped",
        "_values",
    )

    def __init__(
        self, spec: Spec, environment: Layer, presets: Callable[[str], Preset], scopes: Callable[[Given], Nodes]
    ) -> None:
        """Read the settings on the command line. `scopes` says which nodes an option is for, None for all."""
        self._environment = environment
        self._presets = presets
        self._grammars: dict[str, tuple[Preset, Grammar]] = {}
        self._merged: dict[object, tuple[Mapping[str, object], Mapping[str, str]]] = {}
        self._merged_options: dict[object, Sequence[Given]] = {}
        values = [_value(given, scopes(given)) for given in spec.settings]
        self._values = [value for value in values if value.nodes is None]
        self._scoped_values = _by_node(values)
        options = [_Option(position, given, scopes(given)) for position, given in enumerate(spec.options)]
        self._unscoped = [option for option in options if option.nodes is None]
        self._scoped_options = _by_node(options)

    def plan(self, position: int, configured: Sequence[Layer]) -> Plan:
        """Everything that was said for the node at `position`, whose layers of the configuration are given."""
        layers = (*configured, self._environment)
        scoped = self._scoped_values.get(position, ())
        preset, grammar = self._preset(layers, scoped)
        where = (preset.name, *map(id, layers))
        key = (where, *map(id, scoped))
        if key not in self._merged:
            self._merged[key] = self._merge(preset, layers, scoped)
        scoped_options = self._scoped_options.get(position, ())
        option_key = (where, *map(id, scoped_options))
        if option_key not in self._merged_options:
            self._merged_options[option_key] = self._merge_options(preset.name, grammar, layers, scoped_options)
        values, sources = self._merged[key]
        return Plan(preset, values, sources, self._merged_options[option_key])

    def _preset(self, layers: Sequence[Layer], scoped: Sequence[_Value]) -> tuple[Preset, Grammar]:
        """The preset must be known before the rest: it is a layer itself."""
        setting = SETTINGS["preset"]
        name, where = setting.default, ""
        for layer in layers:
            if "preset" in layer.values:
                name, where = layer.values["preset"], layer.origin("preset")
        for value in (*self._values, *scoped):
            if value.setting is setting:
                name, where = value.value, ""
        chosen = cast("str", name)
        if chosen not in self._grammars:
            try:
                preset = self._presets(chosen)
            except NoPresetError as error:
                raise error.named_in(where) from None
            self._grammars[chosen] = preset, Grammar(preset)
        return self._grammars[chosen]

    def _merge(
        self, preset: Preset, layers: Sequence[Layer], scoped: Sequence[_Value]
    ) -> tuple[Mapping[str, object], Mapping[str, str]]:
        merged: dict[str, object] = {}
        sources: dict[str, str] = {}
        for name, setting in SETTINGS.items():
            merged[name] = setting.default
            sources[name] = "built in"
        if preset.cmd:
            merged["cmd"] = preset.cmd
            sources["cmd"] = f"preset {preset.name}"
        for name, value in preset.defaults.items():
            if name in SETTINGS:
                _put(merged, sources, SETTINGS[name], value, f"preset {preset.name}")
        for layer in layers:
            for name, value in layer.values.items():
                if name in SETTINGS:
                    _put(merged, sources, SETTINGS[name], value, layer.origin(name))
        for said in (*self._values, *scoped):
            _put(merged, sources, said.setting, said.value, said.source)
        return merged, sources

    def _merge_options(
        self, preset: str, grammar: Grammar, layers: Sequence[Layer], scoped: Sequence[_Option]
    ) -> Sequence[Given]:
        options: list[Given] = []
        meant = SETTINGS["preset"].default  # whose options a layer's are
        for layer in layers:
            meant = layer.values.get("preset", meant)
            words = cast("Sequence[str]", layer.values.get("options", ()))
            if words:
                given = parse_options(words, grammar, layer.origin("options"))
                if meant != preset:
                    # Said for workers of another type: this one takes what it knows, such as beat the app.
                    given = tuple(one for one in given if grammar.takes_value(one.name) is not None)
                options = _over(options, given, grammar)
        last = {grammar.key(option.given.name): option.given.scope for option in scoped}
        typed = [option for option in self._unscoped if grammar.key(option.given.name) not in last]
        if scoped:
            typed += [option for option in scoped if last[grammar.key(option.given.name)] == option.given.scope]
            typed.sort(key=_in_order)
        said = _over(options, [option.given for option in typed], grammar)
        return [given for given in said if grammar.key(given.name) not in grammar.preset.dropped]


def _by_node(said: Iterable[_Said]) -> Mapping[int, Sequence[_Said]]:
    """Group scoped words by the position of their node, in the order typed."""
    found: dict[int, list[_Said]] = {}
    for item in said:
        for position in item.nodes or ():
            found.setdefault(position, []).append(item)
    return found


def _in_order(option: _Option) -> int:
    return option.position


def _put(merged: dict[str, object], sources: dict[str, str], setting: Setting, value: object, source: str) -> None:
    """Lay one value over what is there; a setting that adds up names all its sources."""
    lower = merged[setting.name]
    merged[setting.name] = merge(setting, lower, value)
    adds_up = setting.repeatable and lower and sources[setting.name] != source
    sources[setting.name] = f"{sources[setting.name]}, {source}" if adds_up else source


def _over(lower: Sequence[Given], higher: Sequence[Given], grammar: Grammar) -> list[Given]:
    """`higher` replaces the options of `lower` that it has too, and comes after the others."""
    replaced = {grammar.key(given.name) for given in higher if given.name.startswith("-")}
    return [given for given in lower if grammar.key(given.name) not in replaced] + list(higher)
