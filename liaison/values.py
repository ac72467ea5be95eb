"""Declaring value classes: `dataclasses.dataclass`, in a third of its time.

The library's decorator writes the source of up to six methods for each class and
has it compiled, whenever the module is imported. There are some two hundred such
classes, and a short command spent a third of its time on them. Here only the
source of `__init__` is written; the other methods are closures over the names of
the fields.

What it makes is a dataclass: `fields`, `replace`, `asdict`, `match` and type
checkers treat it as one, and comparing, hashing, printing and freezing do what
the library's do; a test compares them. It has no keyword-only fields and no
`InitVar`.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from typing import Any, Final, NamedTuple, TypeVar, dataclass_transform, overload

T = TypeVar("T")
_ANEW: Final = object()
"""Stands in a signature for a default that is made anew for each value."""


@overload
def dataclass(cls: type[T], /) -> type[T]: ...


@overload
def dataclass(
    *, frozen: bool = False, slots: bool = False, eq: bool = True, order: bool = False
) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(field_specifiers=(dataclasses.field,))
def dataclass(
    cls: type[T] | None = None,
    /,
    *,
    frozen: bool = False,
    slots: bool = False,
    eq: bool = True,
    order: bool = False,
) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a dataclass; the arguments mean what they mean in the library."""

    def make(cls: type[T]) -> type[T]:
        if order:
            # Rare, and four more methods: not worth doing again.
            return dataclasses.dataclass(frozen=frozen, slots=slots, order=True)(cls)
        return _made(cls, frozen=frozen, slots=slots, eq=eq)

    return make if cls is None else make(cls)


def _made(cls: type[T], *, frozen: bool, slots: bool, eq: bool) -> type[T]:
    # For a class without a docstring the library formats a signature, at some cost.
    cls.__doc__ = cls.__doc__ or cls.__name__
    has_hash = cls.__dict__.get("__hash__") is not None
    # Frozen is done below; an `__init__` that assigns is all that is compiled for the others.
    cls = dataclasses.dataclass(init=not frozen, repr=False, eq=False, slots=slots)(cls)
    fields: tuple[Field[Any], ...] = dataclasses.fields(cls)  # type: ignore[arg-type]  # it is a dataclass now
    methods: dict[str, Callable[..., Any]] = {"__repr__": _repr([f.name for f in fields if f.repr])}
    if eq:
        key = _key([f.name for f in fields if f.compare])
        methods |= {"__eq__": _eq(key)}
        if frozen and not has_hash:
            methods |= {"__hash__": _hash(_key([f.name for f in fields if _is_hashed(f)]))}
    if frozen:
        methods |= {"__init__": _init(cls, fields)}
        methods |= _freezing(cls, frozenset(f.name for f in fields))
        if slots:
            methods |= {"__getstate__": _state, "__setstate__": _restore}
    for name, method in methods.items():
        # `__hash__` is there and None wherever a class defines `__eq__`.
        if name not in cls.__dict__ or name == "__hash__":
            setattr(cls, name, method)
    if eq and not frozen and not has_hash:
        cls.__hash__ = None  # type: ignore[assignment]  # what can change is not hashed
    return cls


def _is_hashed(f: Field[Any]) -> bool:
    return f.compare if f.hash is None else f.hash


def _key(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    match names:
        case []:
            return lambda _: ()
        case [name]:
            return lambda value: (getattr(value, name),)
        case _:
            return operator.attrgetter(*names)


def _eq(key: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, Any], bool]:
    def __eq__(self: Any, other: Any) -> bool:  # noqa: N807 - a method of the class that is made
        if other.__class__ is not self.__class__:
            return NotImplemented
        return key(self) == key(other)

    return __eq__


def _hash(key: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:  # noqa: N807 - as above
        return hash(key(self))

    return __hash__


def _repr(names: Sequence[str]) -> Callable[[Any], str]:
    @reprlib.recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807 - as above
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({shown})"

    return __repr__


def _freezing(cls: type[T], names: frozenset[str]) -> dict[str, Callable[..., None]]:
    # A subclass that is no dataclass may have attributes of its own, but not change ours.
    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807 - as above
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807 - as above
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return {"__setattr__": __setattr__, "__delattr__": __delattr__}


def _init(cls: type, fields: Sequence[Field[Any]]) -> Callable[..., None]:
    """Write an `__init__` that gets past the freezing."""
    parts = [_part(f) for f in fields]
    parameters = ", ".join(["self", *(p.parameter for p in parts if p.parameter)])
    given: dict[str, object] = {"_put_": object.__setattr__}
    for p in parts:
        given |= p.given
    lines = [
        f"_put_(self, {f.name!r}, {p.value})" for f, p in zip(fields, parts, strict=True) if p.value
    ]
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "".join(f"\n  {line}" for line in lines or ["pass"])
    source = (
        f"def _write_({', '.join(given)}):\n def __init__({parameters}):{body}\n return __init__"
    )
    written: dict[str, Any] = {}
    # The names come from the class statement itself, as they do in the library.
    exec(source, sys.modules[cls.__module__].__dict__, written)  # noqa: S102 - as said
    init: Callable[..., None] = written["_write_"](**given)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {f.name: f.type for f in fields if f.init} | {"return": None}
    return init


class _Part(NamedTuple):
    """What one field contributes to `__init__`."""

    parameter: str
    """Empty where the field has none."""
    value: str
    """What is assigned; empty where nothing is."""
    given: dict[str, object]
    """What the two need to be given by name."""


def _part(f: Field[Any]) -> _Part:
    name, default, make = f.name, f"_default_{f.name}_", f"_make_{f.name}_"
    if f.default is not MISSING:
        given = {default: f.default}
        return _Part(f"{name}={default}", name, given) if f.init else _Part("", default, given)
    if f.default_factory is not MISSING:
        given = {make: f.default_factory, "_anew_": _ANEW}
        if f.init:
            return _Part(f"{name}=_anew_", f"{make}() if {name} is _anew_ else {name}", given)
        return _Part("", f"{make}()", given)
    return _Part(name, name, {}) if f.init else _Part("", "", {})


def _state(self: Any) -> list[Any]:
    return [getattr(self, f.name) for f in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for f, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, f.name, value)
