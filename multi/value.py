"""`dataclass`, `field` and `replace` as in the standard library's dataclasses, at a tenth of the import cost.

A command makes some hundred classes before it does anything, and is often over a few hundredths of a second later.
The standard library writes and compiles six functions for each class, and imports `inspect` to be able to. Here nothing
is compiled: the first object of a class makes its constructor, a copy of one of `multi.constructor`; the other five are
shared. What the program does not use is not there: all classes have slots, none inherits fields, and
`dataclasses.fields` knows none of them. What is there is the same, and a test holds the two against each other.
"""

from __future__ import annotations

from multi.typed import TYPE_CHECKING

__all__ = ["dataclass", "field", "replace"]

if TYPE_CHECKING:  # to a type checker these are the standard library's own
    from collections.abc import Callable, Mapping
    from dataclasses import dataclass, field, replace
else:
    from operator import attrgetter

    from multi import constructor

    _REQUIRED = object()
    _SMALL = 8  # fields that most classes have at most

    class field:  # noqa: N801 -- it stands for dataclasses.field
        """How a field is not like the others."""

        default = default_factory = _REQUIRED
        init = repr = compare = True

        def __init__(self, **said: object) -> None:
            """Take what a type checker has compared with `dataclasses.field`."""
            self.__dict__.update(said)

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
            given = tuple(name for name, one in fields.items() if one.init)
            equal, hashed = _comparison(_values(tuple(name for name, one in fields.items() if one.compare)))
            space.update(
                __qualname__=cls.__qualname__,
                __slots__=tuple(fields),
                __match_args__=() if kw_only else given,
                _given=given,
                _named=kw_only,
                _values=staticmethod(_values(given)),
                _shown=tuple(name for name, one in fields.items() if one.repr),
                __eq__=equal,
                __hash__=hashed if frozen else None,
                __getstate__=_state,
                __setstate__=_set_state,
            )
            if frozen:
                space.update(__setattr__=_refuse_set, __delattr__=_refuse_delete)
            made = type(cls)(cls.__name__, cls.__bases__, space)

            def first(self: object, *args: object, **kwargs: object) -> None:
                """Make the first object: most commands make none of most classes."""
                made.__init__ = _constructor(made, fields)
                made.__init__(self, *args, **kwargs)

            made.__init__ = first
            return made

        return make

    def _constructor(made: type, fields: Mapping[str, field]) -> Callable[..., None]:
        """A copy of a template under the names of the fields: to compile one takes fifteen times as long."""
        given = made._given  # noqa: SLF001 -- made here
        size = len(given)
        code = (constructor.of_8 if size <= _SMALL else constructor.of_48).__code__  # more fields than 48 has no class
        named = size if made._named else 0  # noqa: SLF001 -- made here
        names = ("self", *given, *code.co_varnames[size + 1 :])
        code = code.replace(co_argcount=size + 1 - named, co_kwonlyargcount=named, co_varnames=names)
        space = {"n": size, "post": getattr(made, "__post_init__", None)}
        defaults: dict[str, object] = {}
        for number, name in enumerate(given):
            one, put = fields[name], made.__dict__[name].__set__  # the slot's own, which knows nothing of frozen
            if one.default_factory is not _REQUIRED:
                defaults[name], put = _REQUIRED, _making(put, one.default_factory)
            elif one.default is not _REQUIRED:
                defaults[name] = one.default
            space[f"p{number}"] = put
        made_init = type(_making)(code, space, "__init__", None if named else tuple(defaults.values()))
        made_init.__kwdefaults__ = defaults if named else None
        made_init.__qualname__ = f"{made.__qualname__}.__init__"
        return made_init

    def _making(put: Callable[..., None], make: Callable[[], object]) -> Callable[..., None]:
        def put_made(self: object, value: object) -> None:
            put(self, make() if value is _REQUIRED else value)

        return put_made

    def replace(one: object, /, **changes: object) -> object:
        """Another of its kind that differs in `changes`."""
        made = type(one)
        values = dict(zip(made._given, made._values(one)))  # noqa: B905, SLF001 -- made here
        if not changes.keys() <= values.keys():
            return made(**values, **changes)  # it says which word is unknown
        values.update(changes)
        return made(**values) if made._named else made(*values.values())  # noqa: SLF001 -- made here

    def _values(names: tuple[str, ...]) -> Callable[[object], tuple[object, ...]]:
        """What tells the values of these fields."""
        if len(names) > 1:
            return attrgetter(*names)
        return (lambda one, get=attrgetter(*names): (get(one),)) if names else lambda _: ()

    def _comparison(values: Callable[[object], tuple[object, ...]]) -> tuple[Callable[..., bool], Callable[..., int]]:
        """`__eq__` and `__hash__` of a class in which these values count."""

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
