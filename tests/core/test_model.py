"""Identifiers have one spelling, and say so when they get another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.model import (
    ChannelId,
    DeviceId,
    EndpointId,
    IdentifierError,
    MessageId,
    PartyCode,
    Precedence,
    format_dtg,
)

codes = st.from_regex(r"[A-Z][A-Z0-9]{1,15}(-[A-Z0-9]{1,15}){0,3}", fullmatch=True)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@given(code=codes, endpoint=names, device=names)
def test_every_device_name_reads_back_as_itself(code: str, endpoint: str, device: str) -> None:
    name = DeviceId(EndpointId(PartyCode(code), endpoint), device)

    assert DeviceId.parse(str(name)) == name
    assert DeviceId.parse(name.uri) == name
    assert EndpointId.parse(str(name.endpoint)) == name.endpoint
    assert name.party == PartyCode.parse(code)


@given(text=st.text(max_size=60))
def test_any_text_is_an_identifier_or_an_identifier_error(text: str) -> None:
    for kind in (PartyCode, EndpointId, DeviceId, ChannelId):
        try:
            parsed = kind.parse(text)
        except IdentifierError:
            continue
        assert str(parsed) == text.removeprefix("liaison://")


@pytest.mark.parametrize(
    "text",
    [
        "NOR/defatt",
        "nor/Defatt",
        "nor",
        "nor/",
        "/x",
        "nor/a b",
        "nor/-a",
        "nor/a\n",
        "n/a",
        "\u017fwe/x",
    ],
)
def test_a_second_spelling_of_an_endpoint_is_refused(text: str) -> None:
    with pytest.raises(IdentifierError):
        EndpointId.parse(text)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_an_id_has_sixteen_bytes(size: int) -> None:
    with pytest.raises(IdentifierError):
        ChannelId(bytes(size))


def test_ids_of_two_kinds_are_never_equal() -> None:
    ids: set[object] = {ChannelId(bytes(16)), MessageId(bytes(16))}

    assert len(ids) == 2


def test_precedence_orders_from_deferred_to_override() -> None:
    assert sorted(Precedence) == [
        Precedence.parse(name)
        for name in ("deferred", "ROUTINE", "Priority", "IMMEDIATE", "flash", "OVERRIDE")
    ]
    with pytest.raises(IdentifierError, match="ROUTINE"):
        Precedence.parse("urgent")


def test_a_date_time_group_is_utc_whatever_the_clock_shows() -> None:
    oslo = timezone(timedelta(hours=1))

    assert format_dtg(datetime(2026, 11, 21, 16, 30, 59, tzinfo=oslo)) == "211530Z NOV 26"
    assert format_dtg(datetime(1986, 1, 5, 1, 2, tzinfo=UTC)) == "050102Z JAN 86"
