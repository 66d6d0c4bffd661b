"""Values are what the standard library's dataclasses would make of them, only cheaper to import."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multi import value


@value.dataclass(frozen=True, slots=True)
class Plain:
    """Fields with and without a default, a property and a method."""

    name: str
    number: int = 1
    words: tuple[str, ...] = ()

    @property
    def double(self) -> int:
        """Twice the number."""
        return 2 * self.number


@value.dataclass(frozen=True, slots=True)
class Mixed:
    """One field that is made anew."""

    name: str
    limit: int = 3
    table: dict[str, int] = value.field(default_factory=dict)


@value.dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """All fields by name; required ones may follow optional ones."""

    first: int = 1
    second: str


@value.dataclass(slots=True)
class Bundle:
    """State: it may change, and so has no hash."""

    items: list[int] = value.field(default_factory=list)


@value.dataclass(frozen=True, slots=True)
class Single:
    """One field."""

    only: int


@value.dataclass(frozen=True, slots=True)
class Empty:
    """No field."""


@value.dataclass(frozen=True, slots=True)
class Sorted:
    """A field that the others make."""

    infos: tuple[int, ...]
    first: int = value.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make it."""
        object.__setattr__(self, "first", min(self.infos))


@dataclasses.dataclass(frozen=True, slots=True)
class StandardPlain:
    """Fields with and without a default, a property and a method."""

    name: str
    number: int = 1
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class StandardMixed:
    """One field that is made anew."""

    name: str
    limit: int = 3
    table: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StandardNamed:
    """All fields by name; required ones may follow optional ones."""

    first: int = 1
    second: str


@dataclasses.dataclass(slots=True)
class StandardBundle:
    """State: it may change, and so has no hash."""

    items: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class StandardSingle:
    """One field."""

    only: int


@dataclasses.dataclass(frozen=True, slots=True)
class StandardEmpty:
    """No field."""


@dataclasses.dataclass(frozen=True, slots=True)
class StandardSorted:
    """A field that the others make."""

    infos: tuple[int, ...]
    first: int = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make it."""
        object.__setattr__(self, "first", min(self.infos))


TWINS: tuple[tuple[type[Any], type[Any], dict[str, object]], ...] = (
    (Plain, StandardPlain, {"name": "w1", "words": ("a", "b")}),
    (Mixed, StandardMixed, {"name": "w1", "limit": 3}),
    (Named, StandardNamed, {"second": "x"}),
    (Bundle, StandardBundle, {"items": [1]}),
    (Sorted, StandardSorted, {"infos": (2, 1)}),
    (Single, StandardSingle, {"only": 1}),
    (Empty, StandardEmpty, {}),
)
each_twin = pytest.mark.parametrize(("ours", "theirs", "given"), TWINS, ids=lambda each: getattr(each, "__name__", ""))


@each_twin
def test_made_as_the_standard_library_makes_them(ours: type[Any], theirs: type[Any], given: dict[str, object]) -> None:
    """Text, slots, what `match` may name, and the words of the constructor are the same."""
    assert repr(ours(**given)) == repr(theirs(**given)).replace("Standard", "")
    assert ours.__match_args__ == theirs.__match_args__
    assert ours.__slots__ == theirs.__slots__
    ours(**given)  # the first makes the constructor
    words = [(each.name, each.kind) for each in inspect.signature(ours).parameters.values()]
    assert words == [(each.name, each.kind) for each in inspect.signature(theirs).parameters.values()]


@each_twin
def test_equal_hashed_and_copied_alike(ours: type[Any], theirs: type[Any], given: dict[str, object]) -> None:
    """Equal means of one class with equal fields; only what cannot change has a hash."""
    one, other = ours(**given), ours(**given)
    assert one == other
    assert one != theirs(**given)
    for cls in (ours, theirs):
        if cls in {Bundle, StandardBundle, Mixed, StandardMixed}:
            with pytest.raises(TypeError, match="unhashable"):
                hash(cls(**given))
        else:
            assert hash(cls(**given)) == hash(cls(**given))
    for again in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):  # noqa: S301 -- our own bytes
        assert again == one


@each_twin
def test_refuse_alike(ours: type[Any], theirs: type[Any], given: dict[str, object]) -> None:
    """A missing, an unknown and a surplus word are TypeErrors, and there is no room for other attributes."""
    for cls in (ours, theirs):
        with pytest.raises(TypeError):
            cls(**given, unknown=1)
        with pytest.raises(TypeError):
            cls(*range(9))
        with pytest.raises((AttributeError, TypeError)):
            cls(**given).unknown = 1


@pytest.mark.parametrize("cls", [Plain, StandardPlain])
def test_frozen(cls: type[Any]) -> None:
    """No field can be set or deleted."""
    one = cls("w1")
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'name'"):
        one.name = "w2"
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'name'"):
        del one.name


def test_made_by_the_others() -> None:
    """What `__post_init__` makes is made again by `replace`, and counts for nothing when two are compared."""
    for cls in (Sorted, StandardSorted):
        one = cls((3, 2))
        assert one.first == 2
        object.__setattr__(one, "first", 0)
        assert one == cls((3, 2))
    assert value.replace(Sorted((3, 2)), infos=(5, 4)).first == 4


def test_made_anew() -> None:
    """A `default_factory` runs for each object, and not for one that was given."""
    given: dict[str, int] = {}
    assert Mixed("a", limit=1).table is not Mixed("a", limit=1).table
    assert Mixed("a", 1, given).table is given


@given(st.text(), st.integers(), st.integers())
def test_replace(name: str, number: int, other: int) -> None:
    """The same but for what is changed; an unknown field is refused."""
    one = Plain(name, number)
    assert value.replace(one, number=other) == Plain(name, other)
    with pytest.raises(TypeError):
        value.replace(one, unknown=1)  # type: ignore[call-arg]
    assert one == Plain(name, number)
    assert one.double == 2 * number


def test_slots_are_not_an_option() -> None:
    """A class without slots is refused where it is made."""
    with pytest.raises(TypeError, match="slots=True"):
        value.dataclass(slots=False)


def test_import_costs_no_import_of_the_standard_library() -> None:
    """To make values, neither `dataclasses` nor `inspect` is needed."""
    code = """if True:
        import sys
        costly = {"dataclasses", "inspect"}
        for name in costly & set(sys.modules):
            del sys.modules[name]
        import multi.machine
        print(sorted(costly & set(sys.modules)))
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "[]\n"


def made_anew() -> type[Any]:
    """A class of which there is no object yet."""

    @value.dataclass(slots=True)
    class Fresh:
        name: str
        number: int = 3
        items: list[int] = value.field(default_factory=list)
        total: int = value.field(init=False)

        def __post_init__(self) -> None:
            self.total = self.number + len(self.items)

    return Fresh


def test_the_first_objects_are_like_all_others() -> None:
    """The first objects of a class are made without a constructor of its own, and are like those that come later."""
    cls = made_anew()
    given: list[tuple[tuple[object, ...], dict[str, object]]] = [
        (("a",), {}),
        (("a", 4), {"items": [1]}),
        ((), {"name": "b", "items": [1, 2]}),
        (("c", 5, [7]), {}),
    ]
    made = [[cls(*args, **kwargs) for args, kwargs in given] for _ in range(32)]
    assert all(each == made[0] for each in made)
    assert [each.total for each in made[-1]] == [3, 5, 5, 6]
    assert made[0][0].items is not made[1][0].items
    assert type(made[0][0]).__init__.__qualname__.endswith("Fresh.__init__")


def test_nothing_is_compiled() -> None:
    """Neither a class of values nor its constructor is compiled when the program runs."""
    code = """if True:
        import sys
        from multi.model import process
        def heard(event, words):
            if event == "compile":
                print(words)
        sys.addaudithook(heard)
        print(process.Proc(1, "a:1").ticks, process.Outline(1, 2, 3, 4, gone=False).ppid)
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "1 2\n"


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), (("a", 1, [], 4), {}), (("a",), {"name": "b"}), (("a",), {"other": 1})]
)
def test_the_first_object_refuses_what_all_others_do(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """Words that do not fit are refused for the first object with what is said for any other."""
    written = made_anew()
    written("a")
    said = []
    for cls in (made_anew(), written):
        with pytest.raises(TypeError) as refused:
            cls(*args, **kwargs)
        said.append(str(refused.value))
    assert said[0] == said[1]
