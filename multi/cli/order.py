"""What the user ordered: a command, the options given to it and the words; and what a command works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from multi.cli.screen import Screen
from multi.cli.words import Option
from multi.value import dataclass, field

if TYPE_CHECKING:  # for the checker alone: `names` pays for no import that it does not use
    from multi.api import Difference, RunOptions, Selection, View
    from multi.check import Obstacle
    from multi.logs import LogLine, Unseen
    from multi.model.event import Event
    from multi.model.step import Route


class Pipeline(Protocol):
    """What of `multi.api` the commands use; tests hand in another one."""

    def select(self, command: str, words: Sequence[str], *, foreground: bool = False) -> Selection:
        """Words -> nodes."""
        ...

    def presets(self) -> tuple[str, ...]:
        """The names of all presets."""
        ...

    def look(self, selection: Selection) -> tuple[View, ...]:
        """Nodes -> what is seen of them."""
        ...

    def plan(self, command: str, selection: Selection) -> tuple[Route, ...]:
        """Nodes -> what would be done."""
        ...

    def diff(self, selection: Selection) -> tuple[Difference, ...]:
        """Configuration and machine -> what differs."""
        ...

    def check(self, selection: Selection) -> tuple[Obstacle, ...]:
        """Nodes -> what a start of them would fail of."""
        ...

    def export(self, form: str, selection: Selection) -> Mapping[str, str]:
        """Nodes -> files for another supervisor."""
        ...

    def export_mode(self, form: str, selection: Selection) -> int:
        """Nodes -> the permissions of these files."""
        ...

    def save(self, files: Mapping[str, str], directory: str, mode: int) -> Iterator[str]:
        """Files -> their paths, once they are written."""
        ...

    def unreadable_logs(self, selection: Selection) -> tuple[Unseen, ...]:
        """Nodes -> those of whose logs nothing will be seen, and why."""
        ...

    def logs(self, selection: Selection, *, lines: int, follow: bool) -> Iterator[LogLine]:
        """Nodes -> the lines of their logs."""
        ...

    def run(self, command: str, selection: Selection, *, options: RunOptions) -> Iterator[Event]:
        """Nodes -> what happens."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with: the pipeline and the screen it prints on."""

    pipeline: Callable[[], Pipeline]  # imports the pipeline when it is first needed
    screen: Screen


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table; what help says of it is in help.toml.

    `announced` commands print name and version first, on a terminal. One that `needs_nodes` is a mistake when there are
    none; any other is then done. A `terse` one says only what it did.
    """

    name: str
    carry_out: Callable[[Order, Session], int]
    options: tuple[Option, ...] = ()
    aliases: tuple[str, ...] = ()
    announced: bool = False
    takes_nodes: bool = True
    needs_nodes: bool = False
    terse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user ordered: a command, the options given to it, and the raw words of the node grammar.

    `leading` are the words that stood before the command, `words` those after it.
    """

    command: Command
    leading: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    given: Mapping[str, str | None] = field(default_factory=dict)

    def has(self, option: Option) -> bool:
        """Whether `option` was given."""
        return option.name in self.given

    @property
    def grammar(self) -> tuple[str, ...]:
        """The words for the node grammar."""
        return (*self.leading, *self.words)


# -- what commands do -----------------------------------------------------------------------------------------------
