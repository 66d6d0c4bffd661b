"""A graph of names: what comes after what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from multi.typed import TypeVar

T = TypeVar("T")


def cycle(after: Mapping[T, Iterable[T]]) -> tuple[T, ...]:
    """The first circle that is found, ``a b a`` where a comes after b and b after a; empty where there is none."""
    done: set[T] = set()
    for first in after:
        path = {first: iter(after[first])} if first not in done else {}
        while path:
            current = next(reversed(path))
            following = next((one for one in path[current] if one not in done), None)
            if following is None:
                done.add(current)
                del path[current]
            elif following in path:
                names = list(path)
                return (*names[names.index(following) :], following)
            else:
                path[following] = iter(after.get(following, ()))
    return ()


def without_cycles(after: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """The same without what would close a circle."""
    found = {index: list(others) for index, others in after.items()}
    while circle := cycle(found):
        found[circle[-2]].remove(circle[-1])
    return found
