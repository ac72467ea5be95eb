"""How often a device, an endpoint, a party or an address may ask, and how much may be in memory.

A bucket holds up to `burst` tokens and gains `rate` a second. State is bounded:
when there are too many buckets, the one used longest ago goes, which is as good
as full by then in all but an attack from very many addresses.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Final, Generic, TypeVar

from liaison.model import DeviceId, EndpointId, PartyCode
from liaison.relay.errors import (
    AttachmentRateError,
    CrowdedError,
    RateExceededError,
    TooManyBodiesError,
)
from liaison.relay.settings import Settings
from liaison.values import dataclass
from liaison.wire.handshake import Principal

MAX_BUCKETS: Final = 50_000
PROOFS_DEVICE: Final = (500.0, 20_000.0)
PROOFS_PARTY: Final = (1_500.0, 40_000.0)
"""Entries of logs with their proofs, a second and at once: each takes up to half a millisecond."""
REVOCATIONS: Final = (1.0, 60.0)
"""Revocation lists of a party, a second and at once: each has all its channels looked at."""
FRAMES: Final = (2_000.0, 20_000.0)
"""Frames of a device that are no messages, a second and at once: acknowledgements, pings."""
WEIGHT: Final = 64 << 10
"""Bytes of a body or an answer, attachments excepted, that count as one more request."""
_LATELY: Final = 1.0
"""Seconds by which the order of buckets' use may be wrong: every message uses three of them."""
OPEN_BODIES: Final = 32 << 20
OPEN_BODIES_EACH: Final = 2 << 20
"""Bodies of requests without a session that are in memory at once, in all and from one address."""

K = TypeVar("K", bound=Hashable)


class _Bucket:
    """How full a bucket was at a time; `since` it was last put behind all others, in seconds."""

    __slots__ = ("at", "level", "since")

    def __init__(self, level: float, at: float) -> None:
        self.level = level
        self.at = at
        self.since = 0.0


@dataclass(slots=True)
class Buckets(Generic[K]):
    """One bucket for each key.

    Args:
        rate: tokens a second.
        burst: most tokens in a bucket; a new one is full.
        clock: monotonic seconds.
        what: whose limit it is, for the refusal.
    """

    rate: float
    burst: float
    clock: Callable[[], float]
    what: str
    _buckets: OrderedDict[K, _Bucket] = field(default_factory=OrderedDict)

    def take(self, key: K, cost: float = 1.0) -> None:
        """Take tokens from the key's bucket.

        Raises:
            RateExceededError: too few are left; none were taken.
        """
        bucket = self._bucket(key)
        level = bucket.level
        if level < cost:
            wait = math.ceil((cost - level) / self.rate)
            raise RateExceededError(
                f"the rate of this {self.what} is exceeded", retry_after=max(1, wait)
            )
        bucket.level = level - cost

    def give_back(self, key: K, cost: float) -> None:
        """Give back tokens that were taken for what was not done."""
        bucket = self._bucket(key)
        bucket.level = min(self.burst, bucket.level + cost)

    def owe(self, key: K, cost: float) -> None:
        """Take tokens for what was done already: who has had much gets nothing for a while."""
        bucket = self._bucket(key)
        bucket.level = max(bucket.level - cost, -self.burst)

    def _bucket(self, key: K) -> _Bucket:
        """Return the key's bucket as full as it is now."""
        now, buckets = self.clock(), self._buckets
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = _Bucket(self.burst, now)
            if len(buckets) > MAX_BUCKETS:
                buckets.popitem(last=False)
            return bucket
        passed = now - bucket.at
        level = bucket.level + passed * self.rate
        bucket.level = min(self.burst, level)
        bucket.at = now
        bucket.since += passed
        if bucket.since > _LATELY:
            bucket.since = 0.0
            buckets.move_to_end(key)
        return bucket


@dataclass(slots=True)
class Bodies:
    """How many bytes of requests' bodies are in memory.

    Args:
        most: of all requests.
        most_each: of those of one key.
    """

    most: int
    most_each: int
    total: int = 0
    _each: dict[Hashable, int] = field(default_factory=dict)

    def take(self, key: Hashable, size: int) -> None:
        """Count bytes that are about to be read.

        Raises:
            TooManyBodiesError: the key would have too many; none were counted.
            CrowdedError: all together would have too many; none were counted.
        """
        mine = self._each.get(key, 0)
        if mine + size > self.most_each:
            raise TooManyBodiesError(
                "too many large requests of yours are under way",
                hint="send it again when one of them was answered",
                unchanged="nothing was stored",
            )
        if self.total + size > self.most:
            raise CrowdedError(
                "too many large requests are under way",
                hint="wait a second and send it again",
                unchanged="nothing was stored",
            )
        self._each[key] = mine + size
        self.total += size

    def give_back(self, key: Hashable, size: int) -> None:
        """Count them no more."""
        self.total -= size
        left = self._each.get(key, 0) - size
        if left > 0:
            self._each[key] = left
        else:
            self._each.pop(key, None)


@dataclass(slots=True)
class Held:
    """What one request's body takes of the memory; given back when it was answered."""

    bodies: Bodies
    key: Hashable
    size: int = 0

    def grow(self, size: int) -> None:
        """Take as much more; raises as `Bodies.take`."""
        self.bodies.take(self.key, size)
        self.size += size

    def end(self) -> None:
        """Give all of it back."""
        if self.size:
            self.bodies.give_back(self.key, self.size)
            self.size = 0


@dataclass(slots=True)
class Transfer:
    """How much of an attachment was moved."""

    moved: int = 0

    async def counted(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Give the pieces on, and count them."""
        async for piece in pieces:
            self.moved += len(piece)
            yield piece


class Limits:
    """All of the relay's rates, and the memory for bodies."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._principals: Buckets[Principal] = Buckets(
            settings.rate_device, settings.burst_device, clock, "device"
        )
        self._endpoints: Buckets[EndpointId] = Buckets(
            settings.rate_endpoint, settings.burst_endpoint, clock, "endpoint"
        )
        self._claims: Buckets[tuple[str, EndpointId]] = Buckets(
            settings.rate_claims, settings.burst_claims, clock, "party's claims of one endpoint"
        )
        self._revocations: Buckets[str] = Buckets(*REVOCATIONS, clock, "party's revocation lists")
        self._frames: Buckets[Principal] = Buckets(*FRAMES, clock, "device")
        self.bodies = Bodies(settings.max_body_memory, settings.max_body_memory_per_device)
        self.open_bodies = Bodies(OPEN_BODIES, OPEN_BODIES_EACH)
        self._parties: Buckets[str] = Buckets(
            settings.rate_party, settings.burst_party, clock, "party"
        )
        self._proofs: Buckets[Principal] = Buckets(*PROOFS_DEVICE, clock, "device")
        self._party_proofs: Buckets[str] = Buckets(*PROOFS_PARTY, clock, "party")
        self._handshakes: Buckets[Principal] = Buckets(
            settings.rate_handshakes, settings.burst_handshakes, clock, "device's handshakes"
        )
        self._attachments: Buckets[Principal] = Buckets(
            settings.rate_attachments, settings.burst_attachments, clock, "device"
        )
        self._party_attachments: Buckets[str] = Buckets(
            settings.rate_party_attachments, settings.burst_party_attachments, clock, "party"
        )
        self._addresses: Buckets[str] = Buckets(
            settings.rate_address, settings.burst_address, clock, "address"
        )

    def principal(self, principal: Principal) -> None:
        """Count one request or message of a device or an office, of its endpoint and its party.

        Raises:
            RateExceededError: one of them has used up its rate.
        """
        self._principals.take(principal)
        if isinstance(principal, DeviceId):
            self._endpoints.take(principal.endpoint)
        self._parties.take(principal.party.code)

    def weigh(self, principal: Principal, size: int) -> None:
        """Count the bytes of a request's body and of its answer: each `WEIGHT` as one request."""
        if size >= WEIGHT:
            self._principals.owe(principal, size // WEIGHT)
            self._parties.owe(principal.party.code, size // WEIGHT)

    def frame(self, principal: Principal) -> None:
        """Count one frame that is no message.

        Raises:
            RateExceededError: the device sends more of them than any use has.
        """
        self._frames.take(principal)

    def claim(self, party: PartyCode, endpoint: EndpointId) -> None:
        """Count one claim of an endpoint's key packages, by any device of a party.

        Raises:
            RateExceededError: the party has taken many of this endpoint's lately.
        """
        self._claims.take((party.code, endpoint))

    def handshake(self, principal: Principal) -> None:
        """Count a new channel, a commit or a proposal: to judge one takes many times a request.

        Raises:
            RateExceededError: the device has sent many lately.
        """
        self._handshakes.take(principal)

    def revocation(self, party: PartyCode) -> None:
        """Count a revocation list of a party.

        Raises:
            RateExceededError: the party has brought many lately.
        """
        self._revocations.take(party.code)

    def proofs(self, principal: Principal) -> None:
        """Count one question to a log.

        Raises:
            RateExceededError: too much was proved to the device or its party lately.
        """
        self._proofs.take(principal)
        self._party_proofs.take(principal.party.code)

    def proved(self, principal: Principal, count: int) -> None:
        """Count the entries of its answer: a question is small, and what it asks for may not be."""
        self._proofs.owe(principal, count)
        self._party_proofs.owe(principal.party.code, count)

    @contextmanager
    def attachment(self, principal: Principal, size: int) -> Iterator[Transfer]:
        """Count the bytes of an attachment that is moved while this lasts, up or down.

        All of them before the first: many that are begun at once are as much as many in turn.
        What was not moved in the end is given back.

        Raises:
            AttachmentRateError: the device or its party has moved too many lately; none were
                counted.
        """
        party = principal.party.code
        mine = min(size, self._attachments.burst)
        ours = min(size, self._party_attachments.burst)
        try:
            self._attachments.take(principal, mine)
            try:
                self._party_attachments.take(party, ours)
            except RateExceededError:
                self._attachments.give_back(principal, mine)
                raise
        except RateExceededError as error:
            raise AttachmentRateError(
                "too many bytes of attachments were moved lately",
                hint=f"wait {error.retry_after} s and go on",
                retry_after=error.retry_after,
            ) from None
        transfer = Transfer()
        try:
            yield transfer
        finally:
            self._attachments.give_back(principal, max(0, mine - transfer.moved))
            self._party_attachments.give_back(party, max(0, ours - transfer.moved))

    def address(self, address: str) -> None:
        """Count one request without a session.

        Raises:
            RateExceededError: the address has used up its rate.
        """
        self._addresses.take(network_of(address))


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    # Whoever has one address of a /64 usually has all of them.
    return str(ipaddress.ip_network((parsed, 64), strict=False))
