"""The reason for a removal: what justifies it, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope import cbor
from liaison.model import DeviceId, PartyCode
from liaison.policy import exclusion, participation, revocation, statement
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.channel_rules import GuestRule
from liaison.policy.errors import RemovalReasonError
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison.policy.revocation import RevocationList, RevokedCertificate
from liaison.policy.standing import EVERYONE, Standing
from liaison.policy.statement import Reason, ReasonKind
from liaison.policy.who import Pattern
from tests.core.policy.documents import DAY, NOW, agreement, world

NOR, DEU, OCHA = PartyCode("NOR"), PartyCode("DEU"), PartyCode("UN-OCHA")
DEVICE = DeviceId.parse("nor/defatt-berlin#d1")
SERIAL = "4a"
APART = 300


def coalition() -> Agreement:
    return agreement(AgreementKind.MULTILATERAL)


def verify(
    data: bytes,
    *,
    under: Agreement | None = None,
    device: DeviceId = DEVICE,
    standing: Standing = EVERYONE,
    renewed: int | None = None,
    now: int = NOW,
) -> Reason:
    text = under or coalition()
    return statement.verify_removal(
        data,
        agreement=text,
        policy=text.channel("liaison"),
        device=device,
        serial=SERIAL,
        standing=standing,
        renewed=renewed,
        now=now,
    )


def revoked(serial: str = SERIAL, *, at: int = NOW) -> RevocationList:
    lost = RevokedCertificate(serial, DEVICE, at, revocation.Reason.KEY_COMPROMISE)
    empty = RevocationList.empty(NOR, issued_at=at, next_update=at + DAY)
    return empty.with_revoked([lost], issued_at=at, next_update=at + DAY)


def listed(revocations: RevocationList, by: str = "NOR") -> bytes:
    return revocation.sign(revocations, world().party(by).registrar_key)


def said(*events: Event, apart: int = DAY) -> list[Statement]:
    """NOR's statements: one at NOW - 30 days, then one for each event, `apart` seconds apart."""
    statements = [Statement.first(coalition(), NOR, now=NOW - 30 * DAY)]
    for number, event in enumerate(events, 1):
        at = NOW - 30 * DAY + number * apart
        statements.append(statements[-1].after(event, reason="", now=at, max_age=DAY))
    return statements


def signed(one: Statement, by: str = "NOR") -> bytes:
    return participation.sign(one, world().party(by).authority_key)


def ousted(party: PartyCode = NOR, *, by: tuple[str, ...] = ("DEU", "UN-OCHA")) -> bytes:
    word = Exclusion(coalition().agreement_id, party, "for cause", NOW)
    data = exclusion.sign(word, world().party(by[0]).authority_key)
    for other in by[1:]:
        data = exclusion.add_signature(data, world().party(other).authority_key)
    return data


# --- revocations ------------------------------------------------------------------------


def test_a_revocation_is_a_reason_for_removal() -> None:
    signed_list = listed(revoked())

    reason = verify(statement.encode_removal(signed_list))

    assert reason == statement.RevocationReason(signed_list, revoked())


def test_an_old_revocation_is_still_a_reason() -> None:
    assert isinstance(
        verify(statement.encode_removal(listed(revoked(at=1000)))), statement.RevocationReason
    )


@pytest.mark.parametrize(
    "reason",
    [
        b"",
        b"\xa0",
        b"\xff",
        statement.encode_removal(b"{}"),
        statement.encode_removal(listed(revoked("4b"))),
        statement.encode_removal(listed(revoked(), by="DEU")),
        statement.encode_removal(listed(revoked()))[:-1],
        cbor.encode({0: True, 1: True, 2: listed(revoked())}),
        cbor.encode({0: 1, 1: 5, 2: b""}),
        cbor.encode({0: 1, 1: 4, 2: b""}),
        statement.encode_participation(listed(revoked())),
        statement.encode_exclusion(listed(revoked())),
        statement.encode_agreement(),
    ],
    ids=[
        "none", "empty", "not-cbor", "no-list", "other-serial", "other-registrar", "cut", "true",
        "unknown-kind", "agreement-with-document", "list-as-statement", "list-as-exclusion",
        "member-by-agreement",
    ],
)  # fmt: skip
def test_without_a_good_reason_nobody_is_removed(reason: bytes) -> None:
    with pytest.raises(RemovalReasonError):
        verify(reason)


@given(st.sampled_from(ReasonKind), st.binary(min_size=1, max_size=64))
def test_every_reason_is_read_as_it_was_given(kind: ReasonKind, document: bytes) -> None:
    encoded = {
        ReasonKind.REVOCATION: statement.encode_removal(document),
        ReasonKind.PARTICIPATION: statement.encode_participation(document),
        ReasonKind.EXCLUSION: statement.encode_exclusion(document),
        ReasonKind.AGREEMENT: statement.encode_agreement(),
        ReasonKind.UNSEEN: statement.encode_unseen(),
    }[kind]

    given_reason = statement.read_removal(encoded)

    assert given_reason.kind is kind
    bare = kind in (ReasonKind.AGREEMENT, ReasonKind.UNSEEN)
    assert given_reason.document == (b"" if bare else document)


# --- who was not seen -------------------------------------------------------------------

UNSEEN_DAYS = 30


@given(st.integers(0, 100 * DAY))
def test_a_device_goes_unseen_once_its_keys_are_older_than_the_policy_bears(age: int) -> None:
    data = statement.encode_unseen()

    # Of what the relay has judged by its clock, a member may be some minutes short.
    if age > UNSEEN_DAYS * DAY - APART:
        assert isinstance(verify(data, renewed=NOW - age), statement.UnseenReason)
    else:
        with pytest.raises(RemovalReasonError, match="has renewed its keys at"):
            verify(data, renewed=NOW - age)


def test_who_came_later_can_not_say_when_a_device_was_seen_before() -> None:
    assert isinstance(verify(statement.encode_unseen()), statement.UnseenReason)


# --- a party's own word -----------------------------------------------------------------


@pytest.mark.parametrize("event", [Event.SUSPEND, Event.WITHDRAW])
def test_a_party_that_says_that_it_leaves_is_removed_by_its_own_word(event: Event) -> None:
    word = signed(said(event)[-1])

    reason = verify(statement.encode_participation(word))

    assert isinstance(reason, statement.ParticipationReason)
    assert (reason.signed, reason.statement) == (word, said(event)[-1])


def test_a_party_that_says_that_it_takes_part_is_not_removed() -> None:
    with pytest.raises(RemovalReasonError, match="takes part"):
        verify(statement.encode_participation(signed(said(Event.AFFIRM)[-1])))


def test_a_suspension_does_not_justify_once_the_party_has_resumed() -> None:
    _, suspended, resumed = said(Event.SUSPEND, Event.RESUME)
    standing = Standing.of([suspended, resumed])

    with pytest.raises(RemovalReasonError, match="does not hold"):
        verify(statement.encode_participation(signed(suspended)), standing=standing)


def test_an_old_suspension_does_not_justify_though_the_member_knows_only_the_later_word() -> None:
    _, suspended, resumed = said(Event.SUSPEND, Event.RESUME)

    with pytest.raises(RemovalReasonError):
        verify(statement.encode_participation(signed(suspended)), standing=Standing.of([resumed]))


def test_what_was_removed_in_time_stays_justified_for_who_reads_it_after_the_return() -> None:
    _, suspended, resumed = said(Event.SUSPEND, Event.RESUME)
    standing = Standing.of([suspended, resumed])
    between = suspended.since + DAY // 2

    reason = verify(
        statement.encode_participation(signed(suspended)), standing=standing, now=between
    )

    assert isinstance(reason, statement.ParticipationReason)


@given(st.integers(-3 * APART, 3 * APART))
def test_clocks_may_differ_by_what_the_agreement_allows_and_no_more(skew: int) -> None:
    _, suspended, resumed = said(Event.SUSPEND, Event.RESUME, apart=10 * APART)
    standing = Standing.of([suspended, resumed])
    data = statement.encode_participation(signed(suspended))

    for edge, inside in ((suspended.since, skew >= -APART), (resumed.since, skew < APART)):
        if inside:
            verify(data, standing=standing, now=edge + skew)
        else:
            with pytest.raises(RemovalReasonError):
                verify(data, standing=standing, now=edge + skew)


def test_another_partys_word_removes_nobody() -> None:
    theirs = Statement.first(coalition(), DEU, now=NOW - DAY)
    gone = theirs.after(Event.WITHDRAW, reason="", now=NOW, max_age=DAY)

    with pytest.raises(RemovalReasonError, match="the word of DEU"):
        verify(statement.encode_participation(signed(gone, by="DEU")))


def test_a_statement_that_another_authority_signed_removes_nobody() -> None:
    with pytest.raises(RemovalReasonError):
        verify(statement.encode_participation(signed(said(Event.WITHDRAW)[-1], by="DEU")))


def test_two_words_under_one_number_that_contradict_each_other_remove_nobody() -> None:
    _, suspended = said(Event.SUSPEND)
    other = said(Event.AFFIRM)[-1]

    with pytest.raises(RemovalReasonError):
        verify(statement.encode_participation(signed(suspended)), standing=Standing.of([other]))


# --- the others' word -------------------------------------------------------------------


def test_an_excluded_party_is_removed_by_the_others_word() -> None:
    reason = verify(statement.encode_exclusion(ousted()))

    assert isinstance(reason, statement.ExclusionReason)
    assert (reason.signed, reason.exclusion.party) == (ousted(), NOR)


@pytest.mark.parametrize("data", [ousted(by=("DEU",)), ousted(DEU, by=("NOR", "UN-OCHA"))])
def test_too_few_of_the_others_or_another_party_removes_nobody(data: bytes) -> None:
    with pytest.raises(RemovalReasonError):
        verify(statement.encode_exclusion(data))


def test_who_had_left_before_has_no_vote() -> None:
    theirs = Statement.first(coalition(), OCHA, now=NOW - DAY)
    gone = theirs.after(Event.WITHDRAW, reason="", now=NOW - 1, max_age=DAY)

    reason = verify(statement.encode_exclusion(ousted(by=("DEU",))), standing=Standing.of([gone]))

    assert isinstance(reason, statement.ExclusionReason)


# --- the agreement ----------------------------------------------------------------------


def test_a_device_of_a_party_that_a_new_version_does_not_name_goes_for_whatever_reason() -> None:
    stranger = DeviceId.parse("swe/desk#d1")

    for data in (statement.encode_agreement(), statement.encode_exclusion(b"any")):
        reason = verify(data, device=stranger)

        assert reason == statement.AgreementReason("SWE is not a party any more")


def test_a_guest_goes_when_its_time_is_over_and_not_before() -> None:
    policy = coalition().channel("liaison")
    guest = DeviceId.parse("un-ocha/guest#d1")
    rule = GuestRule(
        who=(Pattern.parse("un-ocha/guest"),), invited_by=(Pattern.parse("nor/*"),), until=NOW
    )
    hosts = replace(policy, read=(Pattern.parse("nor/*"),), guests=(rule,))
    text = replace(coalition(), channels=(hosts,))

    reason = verify(statement.encode_agreement(), under=text, device=guest, now=NOW + 1)
    assert isinstance(reason, statement.AgreementReason)
    assert "was a guest until" in reason.why
    with pytest.raises(RemovalReasonError):
        verify(statement.encode_agreement(), under=text, device=guest, now=NOW - APART)
