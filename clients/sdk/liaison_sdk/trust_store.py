"""What this device believes: agreements and revocation lists, verified from its own anchors.

Nothing is believed because the relay served it. An agreement counts when the
own party's authority and every other party's have signed it; a revocation list
when the registrar that the agreement names has. Both are stored as signed bytes.
"""

from __future__ import annotations

from typing import Final

from liaison import trust
from liaison.mls.credentials import Credential
from liaison.model import DeviceId, PartyCode
from liaison.policy import revocation
from liaison.policy.agreement import Agreement
from liaison.policy.revocation import RevocationList
from liaison.trust import AgreementValidator
from liaison.wire.problems import RemoteError
from liaison_sdk.account import Account
from liaison_sdk.errors import RelayBrokenError
from liaison_sdk.http import RelayAPI
from liaison_sdk.store import Store, Transaction, documents


class AgreementMissingError(RelayBrokenError):
    """The agreement is not here yet; it has to be fetched."""

    code = "agreement.missing"


class TrustStore:
    """Verified documents, from the store and into it.

    Args:
        account: gives the anchors.
    """

    def __init__(self, account: Account) -> None:
        self._account: Final = account
        # Verified once per process: parsing and checking all signatures takes milliseconds.
        self._agreements: dict[tuple[str, int], Agreement] = {}
        self._lists: dict[tuple[PartyCode, int], RevocationList] = {}

    # --- agreements ---------------------------------------------------------------------

    def agreement(
        self, tx: Transaction, agreement_id: str, version: int | None = None
    ) -> Agreement:
        """Return a verified agreement from the store; the latest version by default.

        Raises:
            AgreementMissingError: it is not there.
        """
        if version is None:
            version = documents.latest(tx, documents.AGREEMENT, agreement_id)
        known = self._agreements.get((agreement_id, version or 0))
        if known is not None:
            return known
        data = documents.load(tx, documents.AGREEMENT, agreement_id, version)
        if data is None:
            raise AgreementMissingError(f"the agreement {agreement_id} is not here")
        return self._verified(data)

    def agreements(self, tx: Transaction) -> list[Agreement]:
        """Return the latest version of every agreement in the store."""
        names = documents.names(tx, documents.AGREEMENT)
        return [self.agreement(tx, name) for name in names]

    async def fetch_agreement(
        self, api: RelayAPI, store: Store, agreement_id: str, version: int | None = None
    ) -> Agreement:
        """Fetch an agreement, verify it, and keep it.

        Raises:
            VerificationError: the own authority, or another party's, has not signed it.
            RelayBrokenError: the relay served another one than was asked for, or as the
                latest an older one than it did before.
            RemoteError: the relay does not have it.
        """
        data = await api.agreement(agreement_id, version)
        agreement = self._verified(data)
        wrong_version = version is not None and agreement.version != version
        if agreement.agreement_id != agreement_id or wrong_version:
            raise RelayBrokenError("the relay served another agreement than was asked for")

        def keep(tx: Transaction) -> None:
            latest = documents.latest(tx, documents.AGREEMENT, agreement_id)
            if version is None and latest is not None and agreement.version < latest:
                # Signed by all, once: what has come after it must not be undone by silence.
                raise RelayBrokenError(
                    f"the relay served version {agreement.version} of {agreement_id} as the latest, "
                    f"and version {latest} is here"
                )
            documents.save(tx, documents.AGREEMENT, agreement_id, agreement.version, data)

        await store.write(keep)
        return agreement

    async def refresh_agreements(self, api: RelayAPI, store: Store) -> list[Agreement]:
        """Fetch what the relay lists and is not here; return all that is here then."""
        for summary in await api.agreements():
            latest = await store.read(
                lambda tx, name=summary.id: documents.latest(tx, documents.AGREEMENT, name)  # type: ignore[misc]  # a default argument binds the loop's value
            )
            if latest is None or latest < summary.version:
                await self.fetch_agreement(api, store, summary.id, summary.version)
        return await store.read(self.agreements)

    def _verified(self, data: bytes) -> Agreement:
        agreement = trust.accept_agreement(data, self._account.party)
        self._agreements[agreement.agreement_id, agreement.version] = agreement
        return agreement

    # --- revocation ---------------------------------------------------------------------

    def revocations(
        self, tx: Transaction, agreement: Agreement, party: PartyCode
    ) -> RevocationList | None:
        """Return a party's latest list from the store, or None."""
        number = documents.latest(tx, documents.REVOCATIONS, str(party))
        if number is None:
            return None
        known = self._lists.get((party, number))
        if known is None:
            data = documents.load(tx, documents.REVOCATIONS, str(party), number)
            if data is None:
                return None
            known = revocation.verify(data, agreement.party(party))
            self._lists[party, number] = known
        return known

    def revoked(self, tx: Transaction, agreement: Agreement) -> frozenset[tuple[PartyCode, str]]:
        """Return every certificate that is known to be revoked, as (party, serial)."""
        lists = (self.revocations(tx, agreement, code) for code in agreement.codes)
        return frozenset().union(*(known.revoked for known in lists if known is not None))

    def keep_revocations(
        self, tx: Transaction, agreement: Agreement, party: PartyCode, data: bytes
    ) -> bool:
        """Verify a signed list and keep it if it is newer; return whether it was.

        Raises:
            VerificationError: not signed by the party's registrar, or it drops what
                an earlier list had revoked.
        """
        new = revocation.verify(data, agreement.party(party))
        old = self.revocations(tx, agreement, party)
        if old is not None:
            if new.number <= old.number:
                return False
            new.check_succeeds(old)
        documents.save(tx, documents.REVOCATIONS, str(party), new.number, data)
        documents.forget_older(tx, documents.REVOCATIONS, str(party), new.number)
        return True

    async def refresh_revocations(self, api: RelayAPI, store: Store, agreement: Agreement) -> bool:
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
                lambda tx, p=party, d=data: self.keep_revocations(tx, agreement, p, d)  # type: ignore[misc]  # default arguments bind the loop's values
            )
        return news

    # --- for MLS ------------------------------------------------------------------------

    def validator(self, agreement: Agreement) -> AgreementValidator:
        """Return the judge of leaves that others have brought in.

        It knows no revocations: a leaf that was good when it came in must not
        strand whoever processes that commit later. Revoked leaves are removed
        before anything is encrypted (`excluded`).
        """
        return AgreementValidator(agreement, frozenset())

    def strict_validator(self, tx: Transaction, agreement: Agreement) -> AgreementValidator:
        """Return the judge of leaves that this device brings in: nobody revoked."""
        return AgreementValidator(agreement, self.revoked(tx, agreement))


def device_of(credential: Credential) -> DeviceId:
    """Return the device of a leaf that a validator has accepted."""
    return trust.certified_leaf(credential).device


def certificate_of(credential: Credential) -> tuple[PartyCode, str]:
    """Return what names a leaf's certificate in revocation lists: (party, serial)."""
    certified = trust.certified_leaf(credential)
    return certified.device.party, certified.serial
