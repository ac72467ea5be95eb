"""What the relay knows of parties and agreements, parsed once.

An admitted version never changes, so it is kept by key. Party files and revocation
lists do: they are kept by their bytes, and which bytes count is read from the
database each time. So is how often an agreement has changed: no node works with
what another has replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache, partial
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.model import PartyCode
from liaison.policy import revocation, signing
from liaison.policy.agreement import Agreement
from liaison.policy.party import Party
from liaison.policy.revocation import RevocationList
from liaison.relay.services.errors import UnknownPartyError
from liaison.relay.services.lives import Admitted, Life, left_at, standing_of
from liaison.storage import agreements, parties, statements
from liaison.storage.agreements import AgreementRow
from liaison.storage.statements import StatementRow
from liaison.values import dataclass

Keep = Callable[[Callable[[], object]], None]
"""Takes what may be remembered only once the transaction that read it is durable."""


@dataclass(frozen=True, slots=True)
class KnownParty:
    """An admitted party and its row."""

    key: int
    party: Party


_party = lru_cache(maxsize=256)(Party.parse)


@lru_cache(maxsize=512)
def _agreement(envelope: bytes) -> Agreement:
    return signing.read(envelope)[1]


async def _left(
    tx: AsyncConnection, agreement: str, newest: Sequence[StatementRow]
) -> Mapping[PartyCode, int]:
    left = {}
    for key, code in {(row.party, row.code) for row in newest}:
        if left_at(row for row in newest if row.party == key) is None:
            continue
        # It may have said so many times since that the newest do not tell when it left.
        said = [row for row in newest if row.party == key and row.number == statements.EXCLUSION]
        said += await statements.of_party(tx, agreement, key)
        left[PartyCode.parse(code)] = left_at(said) or 0
    return MappingProxyType(left)


def _at_once(remember: Callable[[], object]) -> None:
    remember()


@dataclass
class Book:
    """Parsed documents; the database stays the truth."""

    _agreements: dict[int, Admitted] = field(default_factory=dict)
    _lives: dict[str, Life] = field(default_factory=dict)
    _mark: int = -1
    _revoked: frozenset[tuple[PartyCode, str]] = frozenset()

    def admitted(self, row: AgreementRow) -> Admitted:
        """Return the agreement of a row; its signatures were checked when it was admitted."""
        known = self._agreements.get(row.key)
        if known is None:
            known = Admitted(row.key, _agreement(row.envelope), row.envelope)
            self._agreements[row.key] = known
        return known

    async def agreement(self, tx: AsyncConnection, key: int) -> Admitted:
        """Return an agreement that a channel refers to."""
        known = self._agreements.get(key)
        if known is not None:
            return known
        row = await agreements.by_key(tx, key)
        if row is None:
            raise LookupError(f"agreement {key} is referred to and not there")
        return self.admitted(row)

    async def agreements(self, tx: AsyncConnection, keys: Iterable[int]) -> dict[int, Agreement]:
        """Return several agreements, by key."""
        return {key: (await self.agreement(tx, key)).agreement for key in set(keys)}

    def remembers(self, keys: Iterable[int], changes: Mapping[str, int]) -> bool:
        """Return whether these agreements, and what is known of them now, are kept in memory."""
        for key in keys:
            known = self._agreements.get(key)
            if known is None:
                return False
            id_ = known.agreement.agreement_id
            life = self._lives.get(id_)
            if life is None or life.changes != changes.get(id_, 0):
                return False
        return True

    async def lives(
        self,
        tx: AsyncConnection,
        ids: Iterable[str],
        keep: Keep = _at_once,
        changes: Mapping[str, int] | None = None,
    ) -> dict[str, Life]:
        """Return what is known of agreements, by id; nothing is known of one that is not here.

        Args:
            tx: one that writes needs `keep`.
            ids: theirs.
            keep: the writing transaction's `after_commit`: what it reads may be undone.
            changes: how often each has changed, where that was read in the transaction already.
        """
        wanted = set(ids)
        if changes is None:
            changes = await agreements.changes(tx, wanted)
        found = {}
        for id_ in wanted:
            known = self._lives.get(id_)
            if known is None or known.changes != changes.get(id_, 0):
                known = await self.read_life(tx, id_, changes.get(id_, 0))
                if known.versions:
                    keep(partial(self._lives.__setitem__, id_, known))
            found[id_] = known
        return found

    async def life(self, tx: AsyncConnection, id_: str) -> Life:
        """Return what is known of one agreement, in a transaction that only reads."""
        return (await self.lives(tx, [id_]))[id_]

    async def read_life(self, tx: AsyncConnection, id_: str, changes: int = 0) -> Life:
        """Return what the transaction sees of one agreement, its own changes included."""
        versions = tuple(
            Admitted(row.key, _agreement(row.envelope), row.envelope)
            for row in await agreements.versions(tx, id_)
        )
        rows = await statements.of_agreement(tx, id_)
        return Life(changes, versions, standing_of(rows), await _left(tx, id_, rows))

    async def taken_part_in(
        self, tx: AsyncConnection, code: PartyCode, key: int, now_ms: int, keep: Keep = _at_once
    ) -> list[str]:
        """Return the ids of the agreements in which a party has a part; see `Life.has_part`.

        Args:
            tx: see `lives`.
            code: of the party.
            key: of its row.
            now_ms: Unix milliseconds.
            keep: see `lives`.
        """
        lives = await self.lives(tx, await agreements.naming(tx, key), keep)
        return sorted(id_ for id_, life in lives.items() if life.has_part(code, now_ms // 1000))

    async def party(self, tx: AsyncConnection, code: PartyCode) -> KnownParty:
        """Return an admitted party as it is now.

        Raises:
            UnknownPartyError: the operator has not admitted it.
        """
        row = await parties.find(tx, str(code))
        if row is None:
            raise UnknownPartyError(f"the relay knows no party {code}")
        return KnownParty(row.key, _party(row.document))

    async def parties(self, tx: AsyncConnection) -> list[KnownParty]:
        """Return every admitted party."""
        return [KnownParty(row.key, _party(row.document)) for row in await parties.listing(tx)]

    async def revoked(self, tx: AsyncConnection) -> frozenset[tuple[PartyCode, str]]:
        """Return (party, serial) of every certificate that is revoked now."""
        mark = await parties.revocation_mark(tx)
        if mark != self._mark:
            await self._read_lists(tx)
            self._mark = mark
        return self._revoked

    async def _read_lists(self, tx: AsyncConnection) -> None:
        lists: list[RevocationList] = []
        for known in await self.parties(tx):
            row = await parties.revocations(tx, known.key)
            if row is not None:
                lists.append(revocation.read(row.envelope))
        self._revoked = frozenset().union(*(one.revoked for one in lists))
