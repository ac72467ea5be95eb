"""Accepting agreements: trust begins at one's own authority."""

from __future__ import annotations

from dataclasses import replace

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.policy import signing
from liaison.policy.errors import SignatureMissingError
from liaison.policy.keys import VerifyKey
from liaison.trust import NotOurAuthorityError, accept_agreement
from tests.core.policy.documents import NOW, agreement, world
from tests.support.world import World


def signed() -> bytes:
    half = signing.sign(agreement(), world().party("NOR").authority_key)
    return signing.add_signature(half, world().party("DEU").authority_key)


@pytest.mark.parametrize("code", ["NOR", "DEU"])
def test_each_party_accepts_what_its_own_authority_signed(code: str) -> None:
    assert accept_agreement(signed(), world().party(code).party) == agreement()


def test_a_party_outside_accepts_nothing() -> None:
    with pytest.raises(NotOurAuthorityError, match="SWE"):
        accept_agreement(signed(), world().party("SWE").party)


def test_an_agreement_in_our_name_with_other_keys_is_refused() -> None:
    # Everything in it is well signed, by people who only call themselves NOR and DEU.
    impostors = World(now=NOW)
    parties = tuple(impostors.party(code).party for code in ("NOR", "DEU"))
    forged = replace(agreement(), parties=parties)
    data = signing.sign(forged, impostors.party("NOR").authority_key)
    data = signing.add_signature(data, impostors.party("DEU").authority_key)

    assert signing.verify(data) == forged
    with pytest.raises(NotOurAuthorityError):
        accept_agreement(data, world().party("NOR").party)


def test_our_authority_alone_is_not_enough() -> None:
    half = signing.sign(agreement(), world().party("NOR").authority_key)

    with pytest.raises(SignatureMissingError, match="DEU"):
        accept_agreement(half, world().party("NOR").party)


def test_an_agreement_that_names_another_authority_for_us_is_refused() -> None:
    # Our authority's key stands under a second name, ours carries somebody else's.
    stranger = SigningKey.generate(SignatureScheme.ED25519)
    nor, deu = agreement().parties
    renamed = replace(deu, authority_keys=nor.authority_keys)
    replaced = replace(nor, authority_keys=(VerifyKey.of(stranger),))
    draft = replace(agreement(), parties=(replaced, renamed))
    data = signing.sign(draft, world().party("NOR").authority_key)
    data = signing.add_signature(data, stranger)

    with pytest.raises(NotOurAuthorityError, match="another authority for NOR"):
        accept_agreement(data, world().party("NOR").party)
