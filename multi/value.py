"""`dataclass`, `field` and `replace` as in the standard library's dataclasses, at a tenth of the import cost.

A command makes some hundred classes before it does anything, and is often over a few hundredths of a second later.
The standard library writes and compiles six functions for each class, and imports `inspect` to be able to. Here it is
one, the constructor, and only when the first object is made; the other five are shared. What the program does not use
is not there: all classes have slots, none inherits fields, ClassVar and InitVar are not known. Everything else is the
same, and a test holds the two against each other; `dataclasses.fields`, `dataclasses.replace`, `copy` and `help` work
on these classes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass", "field", "replace"]

if TYPE_CHECKING:  # to a type checker these are the standard library's own
    from collections.abc import Callable, Mapping
    from dataclasses import dataclass, field, replace
else:
    from operator import attrgetter

    _REQUIRED = object()

    class field:  # noqa: N801 -- it stands for dataclasses.field
        """How a field is not like the others."""

        __slots__ = ("compare", "default", "default_factory", "init", "kw_only", "repr")

        def __init__(  # noqa: PLR0913 -- as dataclasses.field
            self,
            *,
            default: object = _REQUIRED,
            default_factory: object = _REQUIRED,
            init: bool = True,
            repr: bool = True,  # noqa: A002 -- as dataclasses.field
            compare: bool = True,
            kw_only: bool = False,
        ) -> None:
            """Keep them."""
            self.default = default
            self.default_factory = default_factory
            self.init = init
            self.repr = repr
            self.compare = compare
            self.kw_only = kw_only

    class _Fields:
        """What `dataclasses` looks for in a class, made by itself when it looks."""

        def __init__(self, fields: Mapping[str, field], *, kw_only: bool) -> None:
            self._fields = fields
            self._kw_only = kw_only

        def __get__(self, instance: object, owner: type) -> Mapping[str, object]:
            import dataclasses

            space: dict[str, object] = {"__annotations__": dict(owner.__annotations__)}
            for name, one in self._fields.items():
                said = {what: getattr(one, what) for what in one.__slots__ if getattr(one, what) is not _REQUIRED}
                space[name] = dataclasses.field(**{**said, "kw_only": self._kw_only or one.kw_only})
            owner.__dataclass_fields__ = dataclasses.dataclass(type(owner.__name__, (), space)).__dataclass_fields__
            return owner.__dataclass_fields__

    class _Signature:
        """The words of the constructor, for `inspect` and `help`, which ask before there is one."""

        def __init__(self, fields: Mapping[str, field]) -> None:
            self._fields = fields

        def __get__(self, instance: object, owner: type) -> object:
            import inspect

            whole = inspect.signature(_constructor(owner, self._fields))
            return whole.replace(parameters=list(whole.parameters.values())[1:])

    def dataclass(*, slots: bool, frozen: bool = False, kw_only: bool = False) -> Callable[[type], type]:
        """Make a class of annotations a class of values."""
        if not slots:
            raise TypeError("every class of values has slots here: write slots=True")

        def make(cls: type) -> type:
            space = dict(cls.__dict__)
            fields: dict[str, field] = {}
            for name in cls.__annotations__:
                default = space.pop(name, _REQUIRED)
                fields[name] = default if isinstance(default, field) else field(default=default)
            space.pop("__dict__", None)
            space.pop("__weakref__", None)
            space.setdefault("__repr__", _repr)
            equal, hashed = _comparison(tuple(name for name, one in fields.items() if one.compare))
            space.update(
                __qualname__=cls.__qualname__,
                __slots__=tuple(fields),
                __match_args__=tuple(name for name, one in fields.items() if one.init and not (kw_only or one.kw_only)),
                _shown=tuple(name for name, one in fields.items() if one.repr),
                _given=tuple(name for name, one in fields.items() if one.init),
                __dataclass_fields__=_Fields(fields, kw_only=kw_only),
                __signature__=_Signature(fields),
                __eq__=equal,
                __hash__=hashed if frozen else None,
                __replace__=replace,
                __getstate__=_state,
                __setstate__=_set_state,
            )
            if frozen:
                space.update(__setattr__=_refuse_set, __delattr__=_refuse_delete)
            made = type(cls)(cls.__name__, cls.__bases__, space)
            made.__init__ = _first(made, fields)
            return made

        return make

    def _first(made: type, fields: Mapping[str, field]) -> Callable[..., None]:
        """`__init__` of a class of which there is no object yet. No command makes objects of even half the classes."""

        def first(self: object, *args: object, **kwargs: object) -> None:
            made.__init__ = _constructor(made, fields)
            made.__init__(self, *args, **kwargs)

        return first

    def _constructor(made: type, fields: Mapping[str, field]) -> Callable[..., None]:
        """Write `__init__` out: it runs for each process of the process table."""
        by_position: tuple[str, ...] = made.__match_args__
        by_name = tuple(name for name in made._given if name not in by_position)  # noqa: SLF001 -- made here
        words = ["self"]
        body = [" pass"]
        space: dict[str, object] = {"_required": _REQUIRED}
        for name in (*by_position, *by_name):
            one = fields[name]
            value = name
            word = name
            if one.default_factory is not _REQUIRED:
                space[f"_make_{name}"] = one.default_factory
                value = f"_make_{name}() if {name} is _required else {name}"
                word = f"{name}=_required"
            elif one.default is not _REQUIRED:
                space[f"_default_{name}"] = one.default
                word = f"{name}=_default_{name}"
            if by_name and name == by_name[0]:
                words.append("*")
            words.append(word)
            space[f"_set_{name}"] = made.__dict__[name].__set__  # the slot's own, which knows nothing of frozen
            body.append(f" _set_{name}(self, {value})")
        if hasattr(made, "__post_init__"):
            body.append(" self.__post_init__()")
        exec(f"def __init__({', '.join(words)}):\n" + "\n".join(body), space)  # noqa: S102 -- made of names in the source
        constructor: Callable[..., None] = space["__init__"]
        constructor.__qualname__ = f"{made.__qualname__}.__init__"
        constructor.__module__ = made.__module__
        return constructor

    def replace(one: object, /, **changes: object) -> object:
        """Another of its kind that differs in `changes`."""
        for name in one._given:  # noqa: SLF001 -- made here
            if name not in changes:
                changes[name] = getattr(one, name)
        return type(one)(**changes)

    def _comparison(names: tuple[str, ...]) -> tuple[Callable[..., bool], Callable[..., int]]:
        """`__eq__` and `__hash__` of a class in which these fields count."""
        if len(names) > 1:
            values = attrgetter(*names)
        else:

            def values(one: object) -> tuple[object, ...]:
                return tuple(getattr(one, name) for name in names)

        def equal(self: object, other: object) -> bool:
            return values(self) == values(other) if type(other) is type(self) else NotImplemented

        def hashed(self: object) -> int:
            return hash(values(self))

        return equal, hashed

    def _state(self: object) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def _set_state(self: object, state: tuple[object, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            object.__setattr__(self, name, value)

    def _repr(self: object) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._shown)})"

    def _refuse_set(self: object, name: str, value: object) -> None:  # noqa: ARG001 -- the signature of __setattr__
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_delete(self: object, name: str) -> None:  # noqa: ARG001 -- the signature of __delattr__
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")
