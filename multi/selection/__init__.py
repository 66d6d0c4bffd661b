"""Which nodes a command line is about: words, configuration and records to a `Selection`."""

from __future__ import annotations

from collections.abc import Sequence

from multi.errors import ConfigError, MultiError
from multi.model.request import traits
from multi.selection.words import Words
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from multi.machine import LocalHost, Machine
    from multi.model.process import ProcessTable
    from multi.selection.found import Found as Found
    from multi.words.near import Flags
    from multi.words.spec import Collect, Selection

_NO_FLAGS: Flags = {}


def of_words(
    command: str, words: Sequence[str], local: LocalHost, *, foreground: bool = False, flags: Flags = _NO_FLAGS
) -> Selection:
    """The nodes that the words and the configuration make, whatever is on record. `flags`, see `multi.words.near`."""
    line = Words(command, words, local, foreground=foreground)
    return _spelt(command, line, flags, line.pure)


def of_records(  # noqa: PLR0913 -- what a command line is read with
    command: str,
    words: Sequence[str],
    machine: Machine,
    *,
    foreground: bool = False,
    collect: Collect = "never",
    flags: Flags = _NO_FLAGS,
) -> Selection:
    """The nodes of a command that looks at what is on record too."""
    from multi import observe
    from multi.selection.records import Records

    def recorded_as(rundir: str) -> str:
        return observe.recorded_as(rundir, machine)

    def read(broken: MultiError | None = None) -> Words:
        return Words(
            command,
            words,
            machine,
            foreground=foreground,
            collect=collect,
            broken=broken,
            recorded_as=recorded_as,
        )

    def select(line: Words) -> Selection:
        selection = _passing_over(line, _spelt(command, line, flags, Records(line, machine).select))
        return _with_others(line, selection, machine)

    if not traits(command).goes_by_records:
        return select(read())
    try:
        line = read()
    except ConfigError as error:
        if error.word.startswith("--multi-config"):  # that is no file, but a word that may be misspelt
            raise
        return select(read(error))
    try:
        return select(line)
    except MultiError:
        fault = line.fault()
        if fault is None:
            raise
    return select(read(fault))


def _passing_over(line: Words, selection: Selection) -> Selection:
    """The nodes on record, where the configuration is broken, with a warning that says so."""
    if line.broken is None:
        return selection
    if not (selection.nodes or line.spec.names) and line.traits.disturbs:
        raise line.broken  # what it was to stop is nowhere on record
    warning = f"{line.broken}; until then what is on record counts"
    return replace(selection, warnings=(warning, *selection.warnings))


def _spelt(command: str, line: Words, flags: Flags, select: Callable[[], Selection]) -> Selection:
    """Select the nodes, and hold the options against what their presets know: a misspelt one is refused."""
    spec = line.spec
    unknown = any(line.grammar.takes_value(given.name) is None for given in spec.options)
    if not unknown and not (line.traits.takes_no_others and (spec.options or spec.passthrough)):
        return select()
    from multi.words.near import Misspelt

    options = Misspelt(spec, flags, command, line.traits)
    suspects = options.suspects(lambda name: line.grammar.takes_value(name) is not None)
    try:
        selection = select()
    except MultiError:
        options.check(suspects)
        raise
    presets = [line.grammar.preset]
    for name in {node.preset for node in selection.nodes}:
        try:
            presets.append(line.preset(name))
        except ConfigError:  # noqa: PERF203 -- a preset or two
            continue  # a record may name a preset that is gone
    known = frozenset[str]().union(*(preset.flags | preset.valued for preset in presets))
    return replace(selection, warnings=(*selection.warnings, *options.check(options.suspects(known.__contains__))))


def found_by(
    selection: Selection, processes: ProcessTable, machine: Machine, *, everywhere: bool = False
) -> tuple[Found, ...]:
    """The nodes that nobody asked about, where the selection says that others are looked for, or `everywhere`."""
    if selection.rundirs is None and not everywhere:
        return ()
    from multi.selection import found

    return found.others(selection, processes, machine, everywhere=everywhere)


def _with_others(line: Words, selection: Selection, machine: Machine) -> Selection:
    """The selection, with those beside it that its order is about, and with where else to look."""
    ordered = line.traits.spawns and not line.traits.unattended and any(node.after for node in selection.nodes)
    others = line.traits.shows_others and not line.spec.names
    if not (ordered or others):
        return selection
    from multi.selection.finder import Finder

    finder = Finder(line, machine)
    if ordered:
        selection = replace(selection, beside=finder.beside(selection))
    if others:
        from multi.selection.found import rundirs

        selection = replace(selection, rundirs=rundirs(line, finder))
    return selection
