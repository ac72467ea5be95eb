"""Value objects do what the standard library's do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison import values


# The same bodies, made by the one and by the other.
def _bodies(dataclass: Any) -> dict[str, Any]:
    @dataclass(frozen=True, slots=True)
    class Empty:
        """Nothing."""

    @dataclass(frozen=True, slots=True)
    class One:
        """One field."""

        number: int

    @dataclass(frozen=True, slots=True)
    class Many:
        """All that fields can be."""

        name: str
        number: int = 7
        items: list[int] = dataclasses.field(default_factory=list)
        hidden: str = dataclasses.field(default="", repr=False)
        aside: int = dataclasses.field(default=0, compare=False)
        unhashed: Any = dataclasses.field(default=(), hash=False)
        fixed: int = dataclasses.field(default=3, init=False)
        made: tuple[int, ...] = dataclasses.field(default_factory=tuple, init=False)
        doubled: int = dataclasses.field(init=False)
        by_name: bool = dataclasses.field(default=False, kw_only=True)
        constant: typing.ClassVar[int] = 1

        def __post_init__(self) -> None:
            object.__setattr__(self, "doubled", 2 * self.number)

    @dataclass(slots=True)
    class Slotted:
        """To be changed, without other attributes."""

        number: int
        items: list[int] = dataclasses.field(default_factory=list)

    class Base:
        """No data class."""

        def doubled(self) -> int:
            return 2 * int(vars(self)["number"])

    @dataclass
    class Open(Base):
        """To be changed."""

        number: int
        items: list[int] = dataclasses.field(default_factory=list)
        step: int = 1

    return {"Empty": Empty, "One": One, "Many": Many, "Slotted": Slotted, "Open": Open}


OURS = _bodies(values.dataclass)
THEIRS = _bodies(dataclasses.dataclass)
arguments = st.fixed_dictionaries(
    {"name": st.text()},
    optional={
        "number": st.integers(),
        "items": st.lists(st.integers()),
        "hidden": st.text(),
        "aside": st.integers(),
        "unhashed": st.lists(st.integers()),
        "by_name": st.booleans(),
    },
)
few = st.fixed_dictionaries(
    {"name": st.sampled_from("ab"), "items": st.just(())},
    optional={"number": st.sampled_from((7, 8)), "aside": st.integers(0, 1)},
)


@given(words=arguments)
def test_every_value_has_the_same_fields_and_text(words: dict[str, Any]) -> None:
    ours, theirs = OURS["Many"](**words), THEIRS["Many"](**words)

    assert repr(ours) == repr(theirs)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)


@pytest.mark.parametrize("name", ["Slotted", "Open"])
def test_what_knows_itself_in_a_circle_has_a_text(name: str) -> None:
    ours, theirs = (classes[name](2) for classes in (OURS, THEIRS))
    for made in (ours, theirs):
        made.items.append(made)

    assert repr(ours) == repr(theirs)
    assert "..." in repr(ours)


@given(one=few, other=few)
def test_all_values_are_alike_and_hashed_by_the_same_fields(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    ours, theirs = ([cls(**one), cls(**other)] for cls in (OURS["Many"], THEIRS["Many"]))

    assert (ours[0] == ours[1]) == (theirs[0] == theirs[1])
    assert [hash(value) for value in ours] == [hash(value) for value in theirs]


@pytest.mark.parametrize("name", OURS)
def test_a_class_tells_the_same_of_itself(name: str) -> None:
    ours, theirs = OURS[name], THEIRS[name]

    assert str(inspect.signature(ours)) == str(inspect.signature(theirs))
    assert typing.get_type_hints(ours.__init__) == typing.get_type_hints(theirs.__init__)
    assert ours.__match_args__ == theirs.__match_args__
    assert vars(ours).get("__slots__") == vars(theirs).get("__slots__")
    assert ours.__doc__ == theirs.__doc__
    assert [str(field) for field in dataclasses.fields(ours)] == [
        str(field) for field in dataclasses.fields(theirs)
    ]
    assert str(ours.__dataclass_params__) == str(theirs.__dataclass_params__)
    assert set(dir(ours)) == set(dir(theirs))


def test_values_of_different_classes_are_not_equal() -> None:
    assert OURS["One"](1) != THEIRS["One"](1)
    assert OURS["Empty"]() == OURS["Empty"]()


@pytest.mark.parametrize("made", [OURS["One"](1), OURS["Many"]("a")])
def test_a_value_cannot_be_changed(made: Any) -> None:
    for name in ("number", "another"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, 2)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(made, name)


@pytest.mark.parametrize("name", ["Slotted", "Open"])
def test_what_is_not_frozen_can_be_changed_and_so_has_no_hash(name: str) -> None:
    one, other = OURS[name](1), OURS[name](2)

    one.number = 2

    assert one == other
    assert repr(one) == repr(other) == repr(THEIRS[name](2))
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_a_class_may_have_bases_that_are_no_data_classes() -> None:
    assert OURS["Open"](4).doubled() == 8


@pytest.mark.parametrize("made", [OURS["Many"], OURS["Slotted"], OURS["Open"]])
def test_each_value_gets_a_default_of_its_own(made: Any) -> None:
    one, other = made(1), made(1)

    one.items.append(1)

    assert other.items == []


@pytest.mark.parametrize("words", [(), ("a", 1, [], "", 0, (), 3), ("a", 1, [], "", 0, (), True)])
def test_what_does_not_fit_is_a_type_error(words: tuple[Any, ...]) -> None:
    for made in (OURS, THEIRS):
        with pytest.raises(TypeError):
            made["Many"](*words)


@pytest.mark.parametrize("made", [OURS, THEIRS], ids=["ours", "theirs"])
def test_what_is_missing_is_named(made: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Many.__init__\(\) missing .* 'name'"):
        made["Many"]()


@pytest.mark.parametrize(
    "dataclass", [values.dataclass, dataclasses.dataclass], ids=["ours", "theirs"]
)
def test_a_field_without_a_default_stands_before_those_with_one(dataclass: Any) -> None:
    class Unordered:
        """With a default too early."""

        number: int = 1
        another: int

    with pytest.raises(TypeError, match="another"):
        dataclass(frozen=True, slots=True)(Unordered)


def test_a_value_can_be_copied_and_replaced() -> None:
    value = OURS["Many"]("a", 4)

    assert copy.copy(value) == copy.deepcopy(value) == value
    assert dataclasses.replace(value, number=5).doubled == 10


def test_what_is_more_than_a_plain_value_is_made_by_the_standard_library() -> None:
    @values.dataclass(frozen=True, slots=True, order=True)
    class Ordered:
        """With an order."""

        number: int

    @values.dataclass(frozen=True, slots=True)
    class Short:
        """With one field."""

        number: int

    @values.dataclass(frozen=True, slots=True)
    class Longer(Short):
        """With the fields of another."""

        another: int

    @values.dataclass(frozen=True, slots=True)
    class Secretive:
        """With a text of its own."""

        number: int

        def __repr__(self) -> str:
            return "Secretive"

    assert Ordered(1) < Ordered(2)
    assert dataclasses.astuple(Longer(1, 2)) == (1, 2)
    assert repr(Secretive(1)) == "Secretive"
