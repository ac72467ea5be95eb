"""How data classes are made: as `dataclasses` makes them, in a fifth of the time.

For a frozen class the standard library compiles six methods, which takes two thirds of a
millisecond: for the 350 classes of a relay it was a quarter of the start. Here only `__init__` is
compiled, once for all classes whose fields are alike but for their names; the other methods are the
same for all and read the fields by name. Values are made in half the time too: `__init__` fills the
slots without asking the `__setattr__` that forbids it.

Whatever is more than fields in slots, or fields that may be changed (an order, bases that are data
classes, such methods written by hand), is left to the standard library. Type checkers see nothing
but the standard library. `dataclasses.InitVar` is not for these classes.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from functools import cache, partial
from operator import attrgetter
from reprlib import recursive_repr
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """Do what `dataclasses.dataclass` does, with the same options."""
        return (lambda given: _make(given, options)) if cls is None else _make(cls, options)


__all__ = ["dataclass"]

_PLAIN: Final[tuple[dict[str, bool], ...]] = ({"frozen": True, "slots": True}, {"slots": True}, {})
_Fields = tuple[dataclasses.Field[Any], ...]
_OURS: Final = frozenset(
    f"__{name}__"
    for name in ("init", "eq", "hash", "repr", "setattr", "delattr", "getstate", "setstate")
)


class _Unset:
    """Stands for what a field's factory makes, in the signature as well."""

    def __repr__(self) -> str:
        return "<factory>"


_UNSET: Final = _Unset()


def _make(given: type, options: dict[str, bool]) -> type:
    inherits = any(dataclasses.is_dataclass(base) for base in given.__bases__)
    if options not in _PLAIN or inherits or not _OURS.isdisjoint(vars(given)):
        standard: type = dataclasses.dataclass(**options)(given)
        return standard
    # Where there is none, the signature would be looked for to stand in.
    given.__doc__ = given.__doc__ or given.__name__
    frozen, slots = "frozen" in options, "slots" in options
    # This finds the fields and makes the slots: all that need not be compiled.
    cls: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(given)
    fields = dataclasses.fields(cls)
    names = tuple(field.name for field in fields)
    methods = [_init(cls, fields, frozen=frozen), _equal(fields), _repr(fields)]
    if frozen:
        methods += [_hash(fields), *_frozen(cls, frozenset(names)), *_copied(names)]
    else:
        cls.__hash__ = None
    for method in methods:
        method.__qualname__ = f"{cls.__qualname__}.{method.__name__}"
        setattr(cls, method.__name__, method)
    made = cls.__dataclass_params__
    made.init = made.repr = made.eq = True
    made.frozen = frozen
    return cast("type", cls)


def _init(cls: type, fields: _Fields, *, frozen: bool) -> Callable[..., None]:
    kinds: list[_Kind] = []
    names: dict[str, str] = {}
    cells: dict[str, Any] = {"unset": _UNSET}
    defaults: dict[str, Any] = {}
    by_name: dict[str, Any] = {}
    for place, field in enumerate(fields):
        default: Any = field.default
        made: Any = field.default_factory
        if not field.init and default is not dataclasses.MISSING:
            # No parameter that could have it.
            made = partial(_same, default)
        if made is not dataclasses.MISSING:
            cells[f"make_{place}"], default = made, _UNSET
        elif default is dataclasses.MISSING and defaults and field.init and not field.kw_only:
            raise TypeError(f"{field.name} has no default, and stands behind one that has")
        if default is not dataclasses.MISSING and field.init:
            (by_name if field.kw_only else defaults)[field.name] = default
        kind = _Kind(field.init, bool(field.kw_only), made is not dataclasses.MISSING)
        if frozen and (kind.is_given or kind.is_made):
            cells[f"set_{place}"] = vars(cls)[field.name].__set__
        names[f"field_{place}"] = field.name
        kinds.append(kind)
    template = _template(tuple(kinds), frozen=frozen, checks=hasattr(cls, "__post_init__"))
    like: Any = template(**cells)
    code = like.__code__.replace(
        co_varnames=tuple(names.get(name, name) for name in like.__code__.co_varnames),
        co_names=tuple(names.get(name, name) for name in like.__code__.co_names),
    )
    # With the globals of its module, where its annotations are looked for.
    places = vars(sys.modules[cls.__module__])
    made_init = FunctionType(code, places, None, tuple(defaults.values()), like.__closure__)
    made_init.__kwdefaults__ = by_name or None
    made_init.__annotations__ = {f.name: f.type for f in fields if f.init} | {"return": None}
    return made_init


class _Kind(NamedTuple):
    """All of a field that `__init__` depends on, but for its name and its default."""

    is_given: bool
    by_name: bool
    is_made: bool


@cache
def _template(kinds: tuple[_Kind, ...], *, frozen: bool, checks: bool) -> Callable[..., Any]:
    """Compile the `__init__` of all classes with such fields, under names that are none's."""
    cells = ["unset"]
    parameters = ["self"]
    body = []
    for place, kind in enumerate(kinds):
        name = value = f"field_{place}"
        if kind.is_made:
            cells.append(f"make_{place}")
            value = f"make_{place}()"
            value = f"{value} if {name} is unset else {name}" if kind.is_given else value
        if kind.is_given and not kind.by_name:
            parameters.append(name)
        if frozen and (kind.is_given or kind.is_made):
            cells.append(f"set_{place}")
            body.append(f"set_{place}(self, {value})")
        elif kind.is_given or kind.is_made:
            body.append(f"self.{name} = {value}")
    only = [f"field_{place}" for place, kind in enumerate(kinds) if kind.is_given and kind.by_name]
    parameters += ["*", *only] if only else []
    body += ["self.__post_init__()"] if checks else []
    source = (
        f"def make({', '.join(cells)}):\n"
        f" def __init__({', '.join(parameters)}):\n  {'; '.join(body) or 'pass'}\n"
        f" return __init__"
    )
    compiled: dict[str, Any] = {}
    # Numbers are all that the text is made of.
    exec(source, {}, compiled)  # noqa: S102
    made: Callable[..., Any] = compiled["make"]
    return made


def _same(value: object) -> object:
    return value


def _equal(fields: _Fields) -> Callable[[object, object], Any]:
    compared = _getter([f.name for f in fields if f.compare])

    def __eq__(self: object, other: object) -> Any:  # noqa: N807
        if other.__class__ is self.__class__:
            return compared(self) == compared(other)
        return NotImplemented

    return __eq__


def _hash(fields: _Fields) -> Callable[[object], int]:
    hashed = _getter([f.name for f in fields if (f.compare if f.hash is None else f.hash)])

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(hashed(self))

    return __hash__


def _getter(names: list[str]) -> Callable[[object], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    if not names:
        return lambda _: ()
    get = attrgetter(*names)
    return lambda value: (get(value),)


def _repr(fields: _Fields) -> Callable[[object], str]:
    names = [field.name for field in fields if field.repr]

    # Services know each other in circles.
    @recursive_repr()
    def __repr__(self: object) -> str:  # noqa: N807
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{self.__class__.__qualname__}({shown})"

    return __repr__


def _frozen(cls: type, names: frozenset[str]) -> tuple[Callable[..., None], ...]:
    def __setattr__(self: object, name: str, value: object) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self: object, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    return __setattr__, __delattr__


def _copied(names: tuple[str, ...]) -> tuple[Callable[..., Any], ...]:
    def __getstate__(self: object) -> list[Any]:  # noqa: N807
        return [getattr(self, name) for name in names]

    def __setstate__(self: object, state: list[Any]) -> None:  # noqa: N807
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return __getstate__, __setstate__
