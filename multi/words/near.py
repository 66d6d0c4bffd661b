"""Options that neither `multi` nor the worker knows: a misspelt one never acts (G13).

An option that is a near miss of one of `multi`'s own is refused, on every command. Any other is the worker's where the
command takes the worker's words. Elsewhere it has no effect, which is a warning: scripts written for ``celery multi``
hand the worker's options to ``stop``.
"""

from __future__ import annotations

from collections.abc import Mapping

from multi.errors import UsageError
from multi.settings.table import BY_FLAG
from multi.text import near_misses
from multi.typed import TYPE_CHECKING
from multi.value import dataclass
from multi.words.grammar import NAMING, READ_BEFORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.model.request import Traits
    from multi.typed import TypeAlias
    from multi.words.spec import Given, Spec

    # The flags of the command line that are no words of the node grammar, each with the commands that take it.
    Flags: TypeAlias = Mapping[str, Sequence[str]]

_HELP, _ALL = "-h", "--all"


@dataclass(frozen=True, slots=True)
class Misspelt:
    """The options of one command line, held against the flags of `multi`."""

    spec: Spec
    flags: Flags
    command: str
    traits: Traits

    def suspects(self, known: Callable[[str], bool]) -> tuple[Given, ...]:
        """The options that the nodes' workers do not have; `known` says whether they do."""
        return tuple(given for given in self.spec.options if not known(given.name))

    def check(self, suspects: Sequence[Given]) -> tuple[str, ...]:
        """Warnings about options without effect. Raises `UsageError` for what is a mistake."""
        for given in suspects:
            self._refuse(given)
        spec, command = self.spec, self.command
        if self.traits.takes_no_others and (spec.options or spec.passthrough):
            word = spec.options[0].name if spec.options else "--"
            why = f"is the worker's, and {command} takes no word of the worker's"
            raise UsageError(word, why, "write it into the configuration, or give it to 'multi start'")
        if self.traits.takes_worker_words:
            return ()
        names = dict.fromkeys(given.name for given in suspects)
        instead = {("stop", "--wait"): "'multi stopwait' waits"}
        nobodys = "neither multi nor the worker has it"
        return tuple(f"{name} has no effect on {command}: {instead.get((command, name), nobodys)}" for name in names)

    def _refuse(self, given: Given) -> None:
        name, takers = given.name, self.flags.get(given.name)
        if takers is not None and self.command in takers:
            what = "value" if given.scope is None else "scope"
            raise UsageError(name, f"takes no {what}", f"write {name} alone{self._elsewhere}")
        if name == _ALL and not self.spec.names:
            raise UsageError(
                name, f"is no option of {self.command}", "leave it out: all nodes are meant if none is named"
            )
        if takers is not None and not self.traits.takes_worker_words:
            whose = f"is an option of 'multi {takers[0]}', and none" if takers else "is no option"
            raise UsageError(name, f"{whose} of {self.command}", "leave it out")
        if name == _HELP and not self.traits.takes_worker_words:
            raise UsageError(name, f"is no option of {self.command}", f"'multi help {self.command}' tells about it")
        near = () if takers is not None else self._near(name)
        if near:
            takers = self.flags.get(near[0]) or [self.command]
            whose = "" if self.command in takers else f" of 'multi {takers[0]}'"
            raise UsageError(name, "is not an option of multi", f"did you mean {near[0]}{whose}?{self._elsewhere}")

    @property
    def _elsewhere(self) -> str:
        return "" if self.traits.takes_no_others else " (after -- it is the worker's)"

    def _near(self, name: str) -> Sequence[str]:
        ours = [flag for flag in (*self.flags, *BY_FLAG, *NAMING, *READ_BEFORE) if flag.startswith("--")]
        if not name.startswith("--"):
            return [flag for flag in ours if flag == f"-{name}" and len(name) > 2]  # noqa: PLR2004 -- a letter is one of its own
        return near_misses(name, ours)
