"""Principals and the transcript that both sides sign."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.errors import MalformedError
from liaison.model import DeviceId, PartyCode
from liaison.wire import handshake

BASE = handshake.Transcript(
    principal="liaison://nor/defatt-berlin#d1",
    key=bytes(32),
    client_nonce=b"c" * 32,
    relay_nonce=b"r" * 32,
    relay_key=b"k" * 32,
    origin="https://relay.example:8443",
)


def test_a_device_and_an_office_are_told_apart() -> None:
    device = handshake.parse_principal("liaison://nor/defatt-berlin#d1")
    office = handshake.parse_principal("liaison://un-ocha#registrar")

    assert device == DeviceId.parse("nor/defatt-berlin#d1")
    assert office == handshake.Office(PartyCode("UN-OCHA"), "registrar")
    assert office.uri == "liaison://un-ocha#registrar"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nor",
        "liaison://nor",
        "liaison://nor#king",
        "liaison://NOR#registrar",
        "nor/x",
        "nor/x#d1",
        "nor#registrar",
        "liaison://liaison://nor/x#d1",
        "liaison://\u017fwe#registrar",
    ],
)
def test_anything_else_is_no_principal(text: str) -> None:
    with pytest.raises(MalformedError):
        handshake.parse_principal(text)


def test_the_relays_signature_is_never_the_clients() -> None:
    assert BASE.for_relay() != BASE.for_client()


@given(
    field=st.sampled_from([f.name for f in dataclasses.fields(handshake.Transcript)]),
    data=st.data(),
)
def test_every_field_changes_what_is_signed(field: str, data: st.DataObject) -> None:
    texts: st.SearchStrategy[Any] = st.text(st.characters(codec="utf-8"), max_size=40)
    kind = texts if field in ("principal", "origin") else st.binary(max_size=40)
    value = data.draw(kind.filter(lambda v: v != getattr(BASE, field)))

    other = dataclasses.replace(BASE, **{field: value})

    assert other.for_relay() != BASE.for_relay()
    assert other.for_client() != BASE.for_client()
