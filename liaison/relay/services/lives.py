"""Where an agreement is in its life: its version in force, who takes part, who has to go.

Values, made from rows that were verified when they were accepted. By the relay's
clock a party is gone as soon as its word was accepted, even where the authority's
clock is ahead; nobody is back before it says so itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple

from liaison.model import DeviceId, EndpointId, PartyCode
from liaison.policy import exclusion, membership, participation
from liaison.policy.agreement import Agreement, UnknownChannelPolicyError
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Participation
from liaison.policy.participation import Statement
from liaison.policy.standing import EVERYONE, Standing
from liaison.storage import statements
from liaison.storage.members import Seat
from liaison.storage.statements import StatementRow
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admitted agreement and its row."""

    key: int
    agreement: Agreement
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Life:
    """What the relay knows of one agreement.

    Args:
        changes: how often it has changed; another number means another life.
        versions: the admitted ones, the first one first.
        standing: who takes part.
        left: when those that are gone for good left, by the relay's clock, Unix milliseconds.
    """

    changes: int = 0
    versions: tuple[Admitted, ...] = ()
    standing: Standing = EVERYONE
    left: Mapping[PartyCode, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def newest(self) -> Admitted | None:
        """The newest version, in force or not yet."""
        return self.versions[-1] if self.versions else None

    def in_force(self, now: int) -> Admitted | None:
        """Return the newest version whose day has come, at a time in Unix seconds."""
        begun = (one for one in reversed(self.versions) if one.agreement.valid_from <= now)
        return next(begun, None)

    def supersedes(self, agreement: Agreement, now: int) -> Admitted | None:
        """Return the version that is in force instead of an older one, or None."""
        newest = self.in_force(now)
        if newest is None or newest.agreement.version <= agreement.version:
            return None
        return newest

    def naming(self, party: PartyCode) -> Admitted | None:
        """Return the newest version that a party belongs to."""
        named = (one for one in reversed(self.versions) if one.agreement.has_party(party))
        return next(named, None)

    def has_part(self, party: PartyCode, now: int) -> bool:
        """Whether a party belongs to the version in force, or to one to come, and has not left."""
        current = self.in_force(now)
        since = 0 if current is None else current.agreement.version
        coming = (one.agreement for one in self.versions if one.agreement.version >= since)
        return party not in self.left and any(one.has_party(party) for one in coming)

    def next_instant(self, now: int) -> int | None:
        """Return the first Unix second after `now` at which time alone changes something."""
        return min((at for at in self._instants() if at > now), default=None)

    def _instants(self) -> Iterable[int]:
        for one in self.versions:
            yield one.agreement.valid_from
            for policy in one.agreement.channels:
                # The last second of a guest is still a guest's.
                yield from (guest.until + 1 for guest in policy.guests)
        for said in self.standing.statements.values():
            yield from (one.since for one in said)


def standing_of(rows: Iterable[StatementRow]) -> Standing:
    """Return the standing that stored documents make, by party in the order of their numbers."""
    said: dict[PartyCode, tuple[Statement, ...]] = {}
    exclusions: dict[PartyCode, Exclusion] = {}
    for row in rows:
        accepted = row.accepted_at // 1000
        if row.number == statements.EXCLUSION:
            word = exclusion.read(row.envelope)
            exclusions[word.party] = replace(word, issued_at=min(word.issued_at, accepted))
            continue
        one = participation.read(row.envelope)
        if one.state is not Participation.ACTIVE:
            one = replace(one, since=min(one.since, accepted))
        said[one.party] = (*said.get(one.party, ()), one)
    # Order was checked when they were accepted, by the times that the authorities gave.
    return Standing(MappingProxyType(said), MappingProxyType(exclusions))


def left_at(rows: Iterable[StatementRow]) -> int | None:
    """Return when a party left for good, by the relay's clock; None where it has not.

    Args:
        rows: all that it has said, and the others' word. What it says again once it has left
            changes nothing.
    """
    return min((row.accepted_at for row in rows if _leaves(row)), default=None)


def _leaves(row: StatementRow) -> bool:
    if row.number == statements.EXCLUSION:
        return True
    return participation.read(row.envelope).state is Participation.WITHDRAWN


# --- who has to go ----------------------------------------------------------------------


class Cause(Enum):
    """Why a leaf has to go; each comes with another reason for the members."""

    REVOCATION = auto()
    PARTICIPATION = auto()
    EXCLUSION = auto()
    AGREEMENT = auto()


class Due(NamedTuple):
    """A leaf that has to go, whose it is, and why."""

    leaf: int
    device: DeviceId
    cause: Cause


def due(life: Life, channel: str, seats: Iterable[Seat], now: int) -> dict[int, Due]:
    """Return who has to leave a channel, by leaf.

    Args:
        life: of the channel's agreement.
        channel: name of its policy.
        seats: the channel's members.
        now: Unix seconds.
    """
    version = life.in_force(now)
    causes: dict[EndpointId, Cause | None] = {}
    found = {}
    for seat in seats:
        device = DeviceId.parse(seat.name)
        endpoint = device.endpoint
        if endpoint not in causes:
            causes[endpoint] = _cause(life, version, channel, endpoint, now)
        cause = causes[endpoint]
        if seat.revoked and (version is None or version.agreement.has_party(device.party)):
            cause = Cause.REVOCATION
        if cause is not None:
            found[seat.leaf] = Due(seat.leaf, device, cause)
    return found


def anyone_due(life: Life, channel: str, endpoints: Iterable[EndpointId], now: int) -> bool:
    """Return whether one of the endpoints has to leave a channel."""
    version = life.in_force(now)
    return any(_cause(life, version, channel, one, now) is not None for one in endpoints)


def _cause(
    life: Life, version: Admitted | None, channel: str, endpoint: EndpointId, now: int
) -> Cause | None:
    policy = None if version is None else _policy(version.agreement, channel)
    if version is None or policy is None:
        # Such a channel is closed: nothing can be sent in it and no commit can move it on.
        return None
    agreement, standing = version.agreement, life.standing
    if membership.excluded(agreement, policy, endpoint, standing, now) is None:
        return None
    if not agreement.has_party(endpoint.party):
        return Cause.AGREEMENT
    match standing.participation(endpoint.party, now):
        case Participation.EXCLUDED:
            return Cause.EXCLUSION
        case Participation.SUSPENDED | Participation.WITHDRAWN:
            return Cause.PARTICIPATION
        case Participation.ACTIVE:
            return Cause.AGREEMENT


def _policy(agreement: Agreement, channel: str) -> ChannelPolicy | None:
    try:
        return agreement.channel(channel)
    except UnknownChannelPolicyError:
        return None
