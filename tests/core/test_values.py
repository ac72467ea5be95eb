"""Value classes do what the library's dataclasses do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Any, ClassVar, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison import values

KINDS = [
    {"frozen": frozen, "slots": slots, "eq": eq}
    for frozen in (False, True)
    for slots in (False, True)
    for eq in (False, True)
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def _declared(decorator: Callable[..., Any], kind: dict[str, bool]) -> Any:
    """A class with everything that fields can be."""

    @decorator(**kind)
    class Sample:
        """A sample."""

        number: int
        secret: bytes = field(repr=False)
        note: str = field(default="none", compare=False)
        names: tuple[str, ...] = field(default_factory=tuple)
        constant: int = field(default=7, init=False)
        made: list[int] = field(default_factory=list, init=False, hash=False)
        shared: ClassVar[int] = 1

    return Sample


def _both(kind: dict[str, bool]) -> tuple[Any, Any]:
    return _declared(values.dataclass, kind), _declared(dataclasses.dataclass, kind)


@values.dataclass(frozen=True, slots=True)
class Pair:
    left: int
    right: tuple[str, ...] = ()


@every_kind
def test_it_takes_the_same_arguments(kind: dict[str, bool]) -> None:
    ours, theirs = _both(kind)

    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    assert get_type_hints(ours.__init__) == get_type_hints(theirs.__init__)
    with pytest.raises(TypeError):
        ours(1)
    with pytest.raises(TypeError):
        ours(1, b"", made=[])


@every_kind
def test_it_has_the_same_fields(kind: dict[str, bool]) -> None:
    ours, theirs = _both(kind)

    assert [str(f) for f in fields(ours)] == [str(f) for f in fields(theirs)]
    assert ours.__match_args__ == theirs.__match_args__
    assert asdict(ours(1, b"x", names=("a",))) == asdict(theirs(1, b"x", names=("a",)))


@every_kind
def test_it_prints_the_same(kind: dict[str, bool]) -> None:
    ours, theirs = _both(kind)

    assert repr(ours(1, b"x", "y")) == repr(theirs(1, b"x", "y"))
    assert "secret" not in repr(ours(1, b"x"))


@every_kind
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, b"x"), (1, b"x")),
        ((1, b"x"), (2, b"x")),
        ((1, b"x"), (1, b"y")),
        ((1, b"x", "a note"), (1, b"x", "another")),
        ((1, b"x", "", ("a",)), (1, b"x", "", ("b",))),
    ],
)
def test_it_compares_and_hashes_the_same(
    kind: dict[str, bool], first: tuple[Any, ...], second: tuple[Any, ...]
) -> None:
    ours, theirs = _both(kind)

    assert (ours(*first) == ours(*second)) is (theirs(*first) == theirs(*second))
    assert ours(*first) != theirs(*first)
    assert (ours.__hash__ is None) is (theirs.__hash__ is None)
    if kind["eq"] and kind["frozen"]:
        assert hash(ours(*first)) == hash(theirs(*first))


@every_kind
def test_it_is_as_frozen_as_it_should_be(kind: dict[str, bool]) -> None:
    value = _both(kind)[0](1, b"x")

    if kind["frozen"]:
        with pytest.raises(FrozenInstanceError):
            value.number = 2
        with pytest.raises(FrozenInstanceError):
            del value.number
        assert value.number == 1
    else:
        value.number = 2
        assert value.number == 2
    assert hasattr(value, "__dict__") is not kind["slots"]


@every_kind
def test_defaults_are_made_anew_for_each_value(kind: dict[str, bool]) -> None:
    ours, _ = _both(kind)
    first, second = ours(1, b"x"), ours(1, b"x")

    first.made.append(1)

    assert (second.made, second.names, second.constant) == ([], (), 7)


@every_kind
def test_replacing_makes_another_value(kind: dict[str, bool]) -> None:
    ours, _ = _both(kind)
    value = ours(1, b"x", "y", ("z",))

    other = replace(value, number=2)

    assert (other.number, other.secret, other.note, other.names) == (2, b"x", "y", ("z",))
    assert value.number == 1


@given(left=st.integers(), right=st.tuples(st.text()))
def test_values_survive_copying_and_pickling(left: int, right: tuple[str, ...]) -> None:
    value = Pair(left, right)

    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own bytes


def test_values_match_by_place() -> None:
    match Pair(1, ("a",)):
        case Pair(left, (name,)):
            assert (left, name) == (1, "a")
        case _:
            pytest.fail("it did not match")


def test_a_check_after_making_is_called() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Positive:
        number: int

        def __post_init__(self) -> None:
            if self.number <= 0:
                raise ValueError("too small")

    assert Positive(1).number == 1
    with pytest.raises(ValueError, match="too small"):
        Positive(0)


def test_methods_of_the_class_stay() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Own:
        number: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

        def __repr__(self) -> str:
            return "mine"

    assert Own(1) == Own(2)
    assert hash(Own(3)) == 1
    assert repr(Own(1)) == "mine"


def test_a_value_without_fields_is_a_value() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Nothing:
        pass

    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())
    assert repr(Nothing()).endswith("Nothing()")


def test_a_value_class_inherits_fields() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Triple(Pair):
        third: int = 3

    assert Triple(1, ("a",)) == Triple(1, ("a",), 3)
    assert Triple(1) != Pair(1)
    with pytest.raises(FrozenInstanceError):
        Triple(1).left = 2  # type: ignore[misc]  # what is tested


def test_what_is_ordered_is_ordered_by_its_fields() -> None:
    @values.dataclass(frozen=True, slots=True, order=True)
    class Rank:
        number: int

    assert sorted([Rank(2), Rank(1)]) == [Rank(1), Rank(2)]


def test_a_plain_decorator_makes_what_can_change() -> None:
    @values.dataclass
    class Count:
        number: int = 0

    count = Count()
    count.number += 1

    assert count == Count(1)
