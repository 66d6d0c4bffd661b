"""What `typing` has for annotations, without its import: with what it brings along, that costs 5 ms.

To a type checker these are the names of `typing`. What runs evaluates no annotation, so here they are no more than what
their uses outside of annotations need.
"""

from __future__ import annotations

__all__ = [
    "TYPE_CHECKING",
    "Any",
    "Generic",
    "Literal",
    "NoReturn",
    "Protocol",
    "TextIO",
    "TypeAlias",
    "TypeVar",
    "cast",
]

TYPE_CHECKING = False  # a type checker takes it for the one of `typing`
if TYPE_CHECKING:
    from typing import (  # noqa: TID251 -- this is not executed
        Any,
        Generic,
        Literal,
        NoReturn,
        Protocol,
        TextIO,
        TypeAlias,
        TypeVar,
        cast,
    )
else:
    Any = NoReturn = TextIO = TypeAlias = object

    class Protocol:
        """A class of these has methods that nobody calls."""

    class Generic(Protocol):
        """A class that is the same whatever it is of."""

        def __class_getitem__(cls, _: object) -> type:
            """The class."""
            return cls

    class Literal(Generic):
        """Values that only a type checker tells apart."""

    class TypeVar:
        """A name that only a type checker fills in."""

        def __init__(self, *_: object, **__: object) -> None:
            """Take what says more of it."""

    def cast(_: object, value: object) -> object:
        """The value, of a type that a type checker cannot know."""
        return value
