"""The channel binding: a group is of one version of one agreement."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.model import ChannelId
from liaison.policy.agreement import UnknownChannelPolicyError
from liaison.trust import CHANNEL_BINDING_EXTENSION, BindingError, ChannelBinding
from liaison.trust.binding import BindingMismatchError
from tests.core.policy.documents import agreement

CHANNEL = ChannelId(bytes(range(16)))
names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=50)


def binding() -> ChannelBinding:
    return ChannelBinding.of(CHANNEL, agreement(), "liaison")


@given(agreement_id=names, version=st.integers(1, 2**32 - 1), policy=names)
def test_every_binding_comes_back_from_its_extension(
    agreement_id: str, version: int, policy: str
) -> None:
    bound = ChannelBinding(CHANNEL, agreement_id, version, bytes(32), policy)

    assert ChannelBinding.decode(bound.extension().data) == bound
    assert bound.extension().type == CHANNEL_BINDING_EXTENSION


def test_the_extension_stays_as_it_is_on_the_wire() -> None:
    bound = ChannelBinding(CHANNEL, "nor-deu", 2, b"\xdd" * 32, "liaison")

    assert (
        bound.encode().hex()
        == ("000102030405060708090a0b0c0d0e0f076e6f722d64657500000002" + "dd" * 32)
        + "076c696169736f6e"
    )


def test_a_binding_leads_to_its_channel_policy() -> None:
    assert binding().check(agreement()) == agreement().channel("liaison")


@pytest.mark.parametrize(
    "other",
    [
        replace(agreement(), title="changed"),
        replace(agreement(), agreement_id="other"),
        replace(agreement(), version=2, previous=bytes(32)),
    ],
)
def test_another_agreement_is_not_the_one_it_is_bound_to(other: object) -> None:
    with pytest.raises(BindingMismatchError):
        binding().check(other)  # type: ignore[arg-type]  # agreements


def test_a_policy_that_the_agreement_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownChannelPolicyError):
        ChannelBinding.of(CHANNEL, agreement(), "hotline")
    with pytest.raises(UnknownChannelPolicyError):
        replace(binding(), policy="hotline").check(agreement())


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        binding().encode()[:-1],
        binding().encode() + b"\x00",
        replace(binding(), version=0).encode(),
        replace(binding(), policy="").encode(),
        replace(binding(), policy="\u00e9").encode(),
        replace(binding(), policy="x" * 101).encode(),
        replace(binding(), policy="\x1b[2J").encode(),
        bytes(1000),
    ],
    # The digest differs in each process that collects the tests, so it is no name.
    ids=[str(number) for number in range(10)],
)
def test_a_malformed_binding_is_refused(data: bytes | None) -> None:
    with pytest.raises(BindingError):
        ChannelBinding.decode(data)
