"""Why a leaf must go: the reason, in the authenticated data of a Remove proposal.

A relay may propose Remove, but members act on it only with a reason that their
own anchors bear out; a member gives the reason too, to those who do not know it
yet. It is one of five: the registrar's signed revocation list, the party's own
signed statement, the others' signed exclusion, the agreement itself, which
every member reads for itself, or that the device has not renewed its keys for too
long, which whoever was there has seen. Age does not matter for a list: what was
revoked stays revoked.

Proposals are judged at the time at which the relay took them, which is by
another clock than the one that a statement was dated by. So a party counts as
absent where it was so at any instant that is no further away than the
agreement lets clocks differ.
"""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Final

from liaison.envelope import cbor
from liaison.errors import LiaisonError
from liaison.model import DeviceId, PartyCode
from liaison.policy import exclusion, lifecycle, membership, participation, revocation
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.errors import RemovalReasonError
from liaison.policy.exclusion import Exclusion
from liaison.policy.fields import format_duration, format_instant
from liaison.policy.participation import Statement
from liaison.policy.party import Party
from liaison.policy.revocation import RevocationList
from liaison.policy.standing import Standing
from liaison.values import dataclass

VERSION: Final = 1
_V, _KIND, _DOCUMENT = range(3)


class ReasonKind(IntEnum):
    """The kinds of reasons, as they are numbered on the wire."""

    REVOCATION = 1
    PARTICIPATION = 2
    EXCLUSION = 3
    AGREEMENT = 4
    """The agreement has no place for the leaf; no document comes with it."""
    UNSEEN = 5
    """The leaf's keys are older than the channel policy bears; no document comes with it."""


_BARE: Final = frozenset({ReasonKind.AGREEMENT, ReasonKind.UNSEEN})


@dataclass(frozen=True, slots=True)
class GivenReason:
    """A reason as it was given; nothing is verified.

    Args:
        document: the signed document, empty for `AGREEMENT`.
    """

    kind: ReasonKind
    document: bytes


@dataclass(frozen=True, slots=True)
class RevocationReason:
    """The certificate was revoked; `signed` is the envelope of the list, for the caller to keep."""

    signed: bytes
    revocations: RevocationList


@dataclass(frozen=True, slots=True)
class ParticipationReason:
    """The party says that it does not take part; `signed` is for the caller to keep."""

    signed: bytes
    statement: Statement


@dataclass(frozen=True, slots=True)
class ExclusionReason:
    """The others have excluded the party; `signed` is for the caller to keep."""

    signed: bytes
    exclusion: Exclusion


@dataclass(frozen=True, slots=True)
class AgreementReason:
    """The agreement has no place for the leaf, and `why` in words."""

    why: str


@dataclass(frozen=True, slots=True)
class UnseenReason:
    """The device has not renewed its keys for too long, and `why` in words.

    Nobody must act on it; whoever wants to, may.
    """

    why: str


Reason = RevocationReason | ParticipationReason | ExclusionReason | AgreementReason | UnseenReason


def encode_removal(signed_list: bytes) -> bytes:
    """Return authenticated data that gives a signed revocation list as the reason."""
    return _encode(ReasonKind.REVOCATION, signed_list)


def encode_participation(signed_statement: bytes) -> bytes:
    """Return authenticated data that gives a party's signed statement as the reason."""
    return _encode(ReasonKind.PARTICIPATION, signed_statement)


def encode_exclusion(signed_exclusion: bytes) -> bytes:
    """Return authenticated data that gives the others' signed exclusion as the reason."""
    return _encode(ReasonKind.EXCLUSION, signed_exclusion)


def encode_agreement() -> bytes:
    """Return authenticated data that gives the agreement itself as the reason."""
    return _encode(ReasonKind.AGREEMENT, b"")


def encode_unseen() -> bytes:
    """Return authenticated data that says that whoever is removed was unseen for too long."""
    return _encode(ReasonKind.UNSEEN, b"")


def read_removal(data: bytes) -> GivenReason:
    """Return the reason that is given, unverified.

    Raises:
        RemovalReasonError: no reason of a known kind is given.
    """
    try:
        item = cbor.decode(data)
    except LiaisonError as error:
        raise RemovalReasonError("the removal gives no readable reason") from error
    kind = item.get(_KIND) if isinstance(item, dict) else None
    document = item.get(_DOCUMENT, b"") if isinstance(item, dict) else None
    if not isinstance(kind, int) or kind not in set(ReasonKind) or not isinstance(document, bytes):
        raise RemovalReasonError("the removal gives no reason of a known kind")
    given = GivenReason(ReasonKind(kind), document)
    # Encoded again, because `true` would pass for 1, and for whatever else stands there.
    if _encode(given.kind, given.document) != data:
        raise RemovalReasonError("the removal gives a reason of an unknown kind")
    return given


def verify_removal(
    data: bytes,
    *,
    agreement: Agreement,
    policy: ChannelPolicy,
    device: DeviceId,
    serial: str,
    standing: Standing,
    renewed: int | None,
    now: int,
) -> Reason:
    """Check that the reason justifies removing one leaf.

    Args:
        data: the Remove proposal's authenticated data.
        agreement: the newest version in force that the caller has verified.
        policy: the channel's, in that version.
        device: of the removed leaf.
        serial: of the removed leaf's certificate, lower-case hex.
        standing: all that the caller knows of the parties, later statements too.
        renewed: when the leaf's keys came in by a commit, Unix seconds as the relay took it;
            None where that was before the caller's time. Then others know.
        now: Unix seconds, when the relay took the proposal.

    Returns:
        The reason with its document, for the caller to keep if it is new.

    Raises:
        RemovalReasonError: no reason, not signed by whom it should be, about
            somebody else, or overtaken: the party takes part again.
    """
    given = read_removal(data)
    if not agreement.has_party(device.party):
        # Whatever the reason was, it can't be verified any more and is not needed either.
        return AgreementReason(f"{device.party} is not a party any more")
    match given.kind:
        case ReasonKind.REVOCATION:
            found = _verify_list(given.document, agreement.party(device.party), serial)
            return RevocationReason(given.document, found)
        case ReasonKind.PARTICIPATION:
            said = _verify_statement(given.document, agreement, device.party, standing, now)
            return ParticipationReason(given.document, said)
        case ReasonKind.EXCLUSION:
            word = _verify_exclusion(given.document, agreement, device.party, standing)
            return ExclusionReason(given.document, word)
        case ReasonKind.AGREEMENT:
            return _verify_outside(agreement, policy, device, standing, now)
        case ReasonKind.UNSEEN:
            return _verify_unseen(agreement, policy, device, renewed, now)


def _encode(kind: ReasonKind, document: bytes) -> bytes:
    if kind in _BARE:
        return cbor.encode({_V: VERSION, _KIND: int(kind)})
    return cbor.encode({_V: VERSION, _KIND: int(kind), _DOCUMENT: document})


def _verify_list(document: bytes, party: Party, serial: str) -> RevocationList:
    try:
        revocations = revocation.verify(document, party)
    except LiaisonError as error:
        raise RemovalReasonError(
            f"the removal's reason is not signed by the registrar of {party.code}: {error.message}"
        ) from error
    if not revocations.contains(serial):
        raise RemovalReasonError(
            f"the registrar of {party.code} has not revoked certificate {serial}"
        )
    return revocations


def _verify_statement(
    document: bytes, agreement: Agreement, party: PartyCode, standing: Standing, now: int
) -> Statement:
    try:
        statement = participation.verify(document, agreement)
        known = _with_statement(standing, statement)
    except LiaisonError as error:
        raise RemovalReasonError(
            f"the removal's reason is no statement of {party}: {error.message}"
        ) from error
    if statement.party != party:
        raise RemovalReasonError(f"the removal's reason is the word of {statement.party}")
    if not _was_absent(known, party, now, agreement.times.ahead):
        raise RemovalReasonError(
            f"{party} {lifecycle.in_words(known.participation(party, now))}: what it said in"
            f" statement {statement.number} does not hold at the time of the removal"
        )
    return statement


def _with_statement(standing: Standing, statement: Statement) -> Standing:
    """Put the statement in its place among those that are known, newer ones included."""
    known = standing.statements.get(statement.party, ())
    if statement in known or statement.party in standing.exclusions:
        return standing
    others = {code: said for code, said in standing.statements.items() if code != statement.party}
    alone = Standing.of([*known, statement])
    return Standing(MappingProxyType(others | dict(alone.statements)), standing.exclusions)


def _was_absent(standing: Standing, party: PartyCode, now: int, apart: int) -> bool:
    # Between two statements nothing changes, so their instants and the first one are all.
    begun = [statement.since for statement in standing.statements.get(party, ())]
    if party in standing.exclusions:
        begun.append(standing.exclusions[party].issued_at)
    first, last = now - apart, now + apart
    instants = {first, *(at for at in begun if first <= at <= last)}
    return any(not standing.takes_part(party, at) for at in instants)


def _verify_exclusion(
    document: bytes, agreement: Agreement, party: PartyCode, standing: Standing
) -> Exclusion:
    try:
        # Who left later had a vote then: the same document counts for every later reader.
        left = standing.left(agreement, exclusion.read(document).issued_at)
        word = exclusion.verify(document, agreement, left)
    except LiaisonError as error:
        raise RemovalReasonError(
            f"the removal's reason is no exclusion of {party}: {error.message}"
        ) from error
    if word.party != party:
        raise RemovalReasonError(f"the removal's reason excludes {word.party}")
    return word


def _verify_outside(
    agreement: Agreement, policy: ChannelPolicy, device: DeviceId, standing: Standing, now: int
) -> AgreementReason:
    # A guest's time may be over by the relay's clock and not quite by a member's.
    for at in (now, now + agreement.times.ahead):
        reason = membership.excluded(agreement, policy, device.endpoint, standing, at)
        if reason is not None:
            return AgreementReason(reason.reason)
    raise RemovalReasonError(
        f"{device.endpoint} may be a member of this channel under the agreement"
    )


def _verify_unseen(
    agreement: Agreement, policy: ChannelPolicy, device: DeviceId, renewed: int | None, now: int
) -> UnseenReason:
    age = format_duration(policy.keys.unseen_max_age)
    # The relay has judged by its own clock, which may be ahead of that of whoever asks now.
    soon = now + agreement.times.ahead
    if renewed is not None and not membership.is_unseen(policy, renewed, soon):
        since = format_instant(renewed)
        raise RemovalReasonError(f"{device} has renewed its keys at {since}, less than {age} ago")
    return UnseenReason(f"{device} has not renewed its keys for {age}")
