"""Layers -> what was said for one node: one value for each setting, one list of worker options.

One rule for all: scoped on the command line > command line > environment > ``[nodes]`` > ``[groups]`` > ``[defaults]``
> preset > built in. Options follow it option by option, in whichever spelling. Within the command line the last typed
scope for a node wins, and repeated options of one scope are kept in order.
"""

from __future__ import annotations

from multi.settings.config import Layer
from multi.settings.presets import NoPresetError
from multi.settings.table import BY_FLAG, SETTINGS
from multi.settings.values import from_text, merge
from multi.typed import TYPE_CHECKING, cast
from multi.value import dataclass
from multi.words.grammar import Grammar, parse_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from multi.settings.presets import Preset
    from multi.words.spec import Given, Spec

COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was said for one node, merged.

    `settings` has a typed value for every setting, `sources` says where each is from. `options` are the worker's, in
    order.
    """

    preset: Preset
    settings: Mapping[str, object]
    sources: Mapping[str, str]
    options: Sequence[Given]


def preset_of(layers: Sequence[Layer], presets: Callable[[str], Preset]) -> Preset:
    """The preset that the last of these layers says, which must be known before the rest: it is a layer itself."""
    name, where = SETTINGS["preset"].default, ""
    for layer in layers:
        if "preset" in layer.values:
            name, where = layer.values["preset"], layer.origin("preset")
    try:
        return presets(cast("str", name))
    except NoPresetError as error:
        raise error.named_in("" if where.startswith(COMMAND_LINE) else where) from None


def nobody_said(name: str, sources: Mapping[str, str]) -> bool:
    """Whether a setting is as it is when nobody says anything; one that adds up may have several sources."""
    return all(source.startswith(("built in", "preset")) for source in sources[name].split(", "))


class Merger:
    """Layers -> plans. Nodes of which the same is said share one."""

    def __init__(
        self,
        spec: Spec,
        environment: Layer,
        presets: Callable[[str], Preset],
        scopes: Callable[[Given], frozenset[int] | None],
    ) -> None:
        """Read the settings on the command line. `scopes` says which nodes an option is for, None for all."""
        self._environment = environment
        self._presets = presets
        self._grammars: dict[str, Grammar] = {}
        self._plans: dict[object, Plan] = {}
        self._settings = [(scopes(given), _typed(given)) for given in spec.settings]
        self._options = [(scopes(given), given) for given in spec.options]

    def plan(self, position: int, configured: Sequence[Layer]) -> Plan:
        """Everything that was said for the node at `position`, whose layers of the configuration are given."""
        for_all = (layer for nodes, layer in self._settings if nodes is None)
        scoped = (layer for nodes, layer in self._settings if nodes is not None and position in nodes)
        layers = (*configured, self._environment, *for_all, *scoped)
        options = [given for nodes, given in self._options if nodes is None or position in nodes]
        key = (*map(id, layers), *map(id, options))
        if key not in self._plans:
            self._plans[key] = self._merge(layers, options)
        return self._plans[key]

    def _merge(self, layers: Sequence[Layer], typed: Sequence[Given]) -> Plan:
        preset = preset_of(layers, self._presets)
        if preset.name not in self._grammars:
            self._grammars[preset.name] = Grammar(preset)
        grammar = self._grammars[preset.name]
        of_preset = {**({"cmd": preset.cmd} if preset.cmd else {}), **preset.defaults}
        if not any(name in layer.values for layer in layers for name in ("cmd", "executable")):
            of_preset |= preset.with_multi  # it runs in the Python that runs us
        settings = {name: setting.default for name, setting in SETTINGS.items()}
        sources = dict.fromkeys(SETTINGS, "built in")
        options: Sequence[Given] = ()
        meant = settings["preset"]  # whose options a layer's are
        for layer in (Layer(f"preset {preset.name}", of_preset), *layers):
            for name, value in layer.values.items():
                if name in SETTINGS:
                    _put(settings, sources, name, value, layer.origin(name))
            meant = layer.values.get("preset", meant)
            words = cast("Sequence[str]", layer.values.get("options", ()))
            if words:
                given = parse_options(words, grammar, layer.origin("options"))
                if meant != preset.name:
                    # Said for workers of another type: this one takes what it knows, such as beat the app.
                    given = tuple(one for one in given if grammar.takes_value(one.name) is not None)
                options = _over(options, given, grammar)
        last = {grammar.key(given.name): given.scope for given in typed if given.scope is not None}
        options = _over(options, [one for one in typed if last.get(grammar.key(one.name)) == one.scope], grammar)
        kept = [given for given in options if grammar.key(given.name) not in preset.dropped]
        return Plan(preset, settings, sources, kept)


def _typed(given: Given) -> Layer:
    """A setting on the command line, a layer of its own."""
    setting = BY_FLAG[given.name]
    where = given.name if given.scope is None else f"{given.name}:{given.scope}"
    source = COMMAND_LINE if given.scope is None else f"{COMMAND_LINE} {where}"
    return Layer(source, {setting.name: from_text(setting, given.value, where)})


def _put(settings: dict[str, object], sources: dict[str, str], name: str, value: object, source: str) -> None:
    """Lay one value over what is there; a setting that adds up names all its sources."""
    setting = SETTINGS[name]
    adds_up = setting.repeatable and settings[name] and sources[name] != source
    settings[name] = merge(setting, settings[name], value)
    sources[name] = f"{sources[name]}, {source}" if adds_up else source


def _over(lower: Sequence[Given], higher: Sequence[Given], grammar: Grammar) -> Sequence[Given]:
    """`higher` replaces the options of `lower` that it has too, and comes after the others."""
    replaced = {grammar.key(given.name) for given in higher if given.name.startswith("-")}
    return [*(given for given in lower if grammar.key(given.name) not in replaced), *higher]
