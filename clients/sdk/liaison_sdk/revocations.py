"""Which certificates are revoked: the registrars' signed lists, verified and kept.

Of each party the newest list is kept. A list that is older than the one here, or drops what that one
revoked, is never taken.
"""

from __future__ import annotations

from typing import Final

from liaison.model import PartyCode
from liaison.policy import revocation
from liaison.policy.agreement import Agreement
from liaison.policy.revocation import RevocationList
from liaison.wire.problems import RemoteError
from liaison_sdk.http import RelayAPI
from liaison_sdk.store import Store, Transaction, documents


class Revocations:
    """What is known of revoked certificates, from the store and into it."""

    def __init__(self) -> None:
        # Verified once per process.
        self._known: Final[dict[tuple[PartyCode, int], RevocationList]] = {}

    def of(self, tx: Transaction, agreement: Agreement, party: PartyCode) -> RevocationList | None:
        """Return a party's latest list from the store, or None."""
        number = documents.latest(tx, documents.REVOCATIONS, str(party))
        if number is None:
            return None
        known = self._known.get((party, number))
        if known is None:
            data = documents.load(tx, documents.REVOCATIONS, str(party), number)
            if data is None:
                return None
            known = revocation.verify(data, agreement.party(party))
            self._known[party, number] = known
        return known

    def revoked(self, tx: Transaction, agreement: Agreement) -> frozenset[tuple[PartyCode, str]]:
        """Return every certificate that is known to be revoked, as (party, serial)."""
        lists = (self.of(tx, agreement, code) for code in agreement.codes)
        return frozenset().union(*(known.revoked for known in lists if known is not None))

    def revoked_at(
        self, tx: Transaction, agreement: Agreement, at: int
    ) -> frozenset[tuple[PartyCode, str]]:
        """Return every certificate that was revoked by a time, Unix seconds, as far as is known."""
        lists = (self.of(tx, agreement, code) for code in agreement.codes)
        return frozenset(
            (known.party, entry.serial)
            for known in lists
            if known is not None
            for entry in known.entries
            if entry.at <= at
        )

    def keep(self, tx: Transaction, agreement: Agreement, party: PartyCode, data: bytes) -> bool:
        """Verify a signed list and keep it if it is newer; return whether it was.

        Raises:
            VerificationError: not signed by the party's registrar, or it drops what
                an earlier list had revoked.
        """
        new = revocation.verify(data, agreement.party(party))
        old = self.of(tx, agreement, party)
        if old is not None:
            if new.number <= old.number:
                return False
            new.check_succeeds(old)
        documents.save(tx, documents.REVOCATIONS, str(party), new.number, data)
        documents.forget_older(tx, documents.REVOCATIONS, str(party), new.number)
        return True

    async def refresh(self, api: RelayAPI, store: Store, agreement: Agreement) -> bool:
        """Fetch the lists of an agreement's parties; return whether any is news."""
        news = False
        for party in agreement.codes:
            try:
                data = await api.revocations(party)
            except RemoteError as e:
                # A party that has never revoked anything may have published no list.
                if e.problem.status == 404:
                    continue
                raise
            news |= await store.write(
                lambda tx, p=party, d=data: self.keep(tx, agreement, p, d)  # type: ignore[misc]  # default arguments bind the loop's values
            )
        return news
