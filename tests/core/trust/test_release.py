"""Signed drafts: what three persons signed arrives so, and one bit else does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from liaison.crypto.signing import SignatureScheme
from liaison.envelope.errors import HeaderError
from liaison.envelope.header import Header, Kind
from liaison.envelope.release import Part, Release, ReleaseSignature, content_digest
from liaison.model import ChannelId, EndpointId, MessageId, Precedence
from liaison.policy.channel_rules import ReleaseRule
from liaison.policy.evaluate import SendMessage, evaluate
from liaison.policy.requests import Released
from liaison.policy.standing import EVERYONE
from liaison.trust import (
    AgreementValidator,
    ReleaseInvalidError,
    check_content,
    sign_draft,
    verify_release,
)
from tests.core.policy.documents import (
    ATTACHE,
    DAY,
    NOW,
    OFFICER,
    agreement,
    header,
    people,
    ruled,
    world,
)
from tests.support.world import YEAR, Device

CHANNEL, ELSEWHERE = ChannelId(bytes(range(16))), ChannelId(bytes(16))
CONTENT = b"the content, with its salt"
PEOPLE = {Part.DRAFT: "drafter", Part.REVIEW: "reviewer", Part.RELEASE: "releaser"}


@cache
def device(name: str) -> Device:
    return world().device(name)


def draft(content: bytes = CONTENT, **changes: Any) -> Header:
    return header(release=Release(content_digest(content)), **changes)


def sign(plain: Header, part: Part, who: Device, channel: ChannelId = CHANNEL) -> Header:
    scheme, key = next(iter(who.keys.items()))
    return sign_draft(plain, channel, part, key, who.chains[scheme])


@cache
def released() -> Header:
    signed = draft()
    for part, name in PEOPLE.items():
        signed = sign(signed, part, device(f"nor/{name}#d1"))
    return signed


def validator(revoked: Any = frozenset()) -> AgreementValidator:
    return AgreementValidator(agreement(), revoked)


def verify(
    signed: Header, channel: ChannelId = CHANNEL, now: int = NOW, revoked: Any = frozenset()
) -> tuple[Released, ...]:
    return verify_release(signed, channel, validator(revoked), now)


def test_what_three_persons_signed_is_read_back_by_everyone_and_lets_the_message_out() -> None:
    arrived = Header.decode(released().encode())

    signed = verify(arrived)
    check_content(arrived, CONTENT)

    assert signed == tuple(
        Released(part, EndpointId.parse(f"nor/{name}")) for part, name in PEOPLE.items()
    )
    rule = ReleaseRule(
        (Kind.TEXT,), Precedence.ROUTINE, people("nor/reviewer"), people("nor/releaser"), 3
    )
    request = SendMessage(ATTACHE, "liaison", arrived, 1000, (ATTACHE, OFFICER), signed)
    assert evaluate(request, ruled(release=rule), NOW, standing=EVERYONE).allow
    assert not evaluate(
        replace(request, released=signed[1:]), ruled(release=rule), NOW, standing=EVERYONE
    ).allow


@pytest.mark.parametrize(
    "scheme", [SignatureScheme.P256, SignatureScheme.ED448, SignatureScheme.MLDSA65]
)
def test_devices_sign_with_the_key_that_they_have(scheme: SignatureScheme) -> None:
    who = world().device("nor/drafter#other", (scheme,))

    assert verify(sign(draft(), Part.DRAFT, who)) == (
        Released(Part.DRAFT, EndpointId.parse("nor/drafter")),
    )


def test_without_a_release_nobody_has_signed() -> None:
    assert verify(header()) == ()
    assert verify(draft()) == ()


def test_a_draft_that_names_no_content_is_not_signed() -> None:
    with pytest.raises(ReleaseInvalidError, match="does not name its content"):
        sign(header(), Part.DRAFT, device("nor/drafter#d1"))


# --- one bit ----------------------------------------------------------------------------


def flips(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        for bit in range(8):
            altered = bytearray(data)
            altered[position] ^= 1 << bit
            yield bytes(altered)


@cache
def drafted() -> Header:
    return sign(draft(to=(OFFICER,)), Part.DRAFT, device("nor/drafter#d1"))


def release_of(signed: Header) -> Release:
    assert signed.release is not None
    return signed.release


def one_signature() -> ReleaseSignature:
    return release_of(drafted()).signatures[0]


def with_signature(**changes: Any) -> Header:
    altered = replace(one_signature(), **changes)
    return drafted().with_release(Release(content_digest(CONTENT), (altered,)))


def test_every_altered_bit_of_the_header_is_refused() -> None:
    for altered in flips(drafted().bare()):
        try:
            plain = Header.decode(altered)
        except HeaderError:
            continue
        with pytest.raises(ReleaseInvalidError):
            verify(plain.with_release(release_of(drafted())))


def test_every_altered_bit_of_the_contents_digest_is_refused() -> None:
    for altered in flips(content_digest(CONTENT)):
        moved = drafted().with_release(Release(altered, (one_signature(),)))
        with pytest.raises(ReleaseInvalidError):
            verify(moved)
        with pytest.raises(ReleaseInvalidError, match="not the one that was released"):
            check_content(moved, CONTENT)


def test_every_altered_bit_of_the_channel_is_refused() -> None:
    for altered in flips(CHANNEL.value):
        with pytest.raises(ReleaseInvalidError):
            verify(drafted(), ChannelId(altered))


def test_every_altered_bit_of_the_signature_is_refused() -> None:
    for altered in flips(one_signature().signature):
        with pytest.raises(ReleaseInvalidError):
            verify(with_signature(signature=altered))


# The library warns of a serial below zero before it is refused.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_altered_bit_of_the_certificate_is_refused() -> None:
    for altered in flips(one_signature().chain[0]):
        with pytest.raises(ReleaseInvalidError):
            verify(with_signature(chain=(altered,)))


@pytest.mark.parametrize("part", [Part.REVIEW, Part.RELEASE])
def test_a_draft_can_not_be_passed_off_as_another_part(part: Part) -> None:
    with pytest.raises(ReleaseInvalidError):
        verify(with_signature(part=part))


def test_every_altered_bit_of_the_content_is_refused() -> None:
    check_content(header(), CONTENT)
    for altered in flips(CONTENT):
        with pytest.raises(ReleaseInvalidError):
            check_content(drafted(), altered)


# --- another place, another person ------------------------------------------------------


def test_a_release_moves_to_no_other_channel_message_or_agreement() -> None:
    signed = released()

    with pytest.raises(ReleaseInvalidError):
        verify(signed, ELSEWHERE)
    for changes in (
        {"message_id": MessageId(bytes(16))},
        {"agreement_id": "another"},
        {"agreement_version": 2},
        {"action": Precedence.FLASH},
        {"dtg": NOW + 1},
        {"to": (OFFICER,)},
        {"expires": NOW + DAY},
    ):
        with pytest.raises(ReleaseInvalidError):
            verify(replace(signed, **changes))


def test_one_signature_that_does_not_hold_spoils_the_others() -> None:
    first, *others = release_of(released()).signatures
    spoilt = replace(first, signature=bytes(64))

    with pytest.raises(ReleaseInvalidError):
        verify(released().with_release(Release(content_digest(CONTENT), (spoilt, *others))))


def test_a_certificate_of_another_person_does_not_fit_the_signature() -> None:
    other = device("nor/reviewer#d1").chains[SignatureScheme.ED25519]

    with pytest.raises(ReleaseInvalidError):
        verify(with_signature(chain=other))


@pytest.mark.parametrize("chain", ["twice", "another's root"])
def test_a_chain_with_more_than_belongs_to_it_is_refused(chain: str) -> None:
    der = one_signature().chain[0]
    surplus = {
        "twice": der,
        "another's root": world().party("DEU").party.roots[0].der,
    }[chain]

    with pytest.raises(ReleaseInvalidError):
        verify(with_signature(chain=(der, surplus)))


def test_strangers_the_revoked_and_the_expired_sign_nothing() -> None:
    stranger = sign(draft(), Part.DRAFT, world().device("swe/desk#d1"))
    with pytest.raises(ReleaseInvalidError):
        verify(stranger)

    serial = device("nor/drafter#d1").certified[0].serial
    with pytest.raises(ReleaseInvalidError, match="does not hold"):
        verify(drafted(), revoked={(world().party("NOR").party.code, serial)})

    for now in (NOW - DAY, NOW + YEAR):
        with pytest.raises(ReleaseInvalidError):
            verify(drafted(), now=now)


def test_two_devices_of_one_post_sign_as_one_post() -> None:
    signed = sign(draft(), Part.DRAFT, device("nor/drafter#d1"))
    signed = sign(signed, Part.RELEASE, device("nor/drafter#d2"))

    assert {one.endpoint for one in verify(signed)} == {EndpointId.parse("nor/drafter")}
