"""What this device believes: agreements, statements, revocation lists, from its own anchors.

Nothing is believed because the relay served it. An agreement counts when the
own party's authority and every other party's have signed it, and a later version
when it follows the one before; a statement of participation when the party's
authority has signed it (`standings`); a revocation list when the registrar that
the agreement names has (`revocations`). All are stored as signed bytes, and
nothing goes back to an older one.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Final

from liaison import trust
from liaison.errors import VerificationError
from liaison.mls.credentials import Credential
from liaison.model import DeviceId, PartyCode
from liaison.policy import exclusion, participation, succession
from liaison.policy.agreement import Agreement
from liaison.policy.standing import Standing
from liaison.policy.statement import (
    AgreementReason,
    ExclusionReason,
    ParticipationReason,
    Reason,
    RevocationReason,
    UnseenReason,
)
from liaison.policy.succession import SuccessionError
from liaison.trust import AgreementValidator
from liaison.wire import v1
from liaison_sdk.account import Account
from liaison_sdk.errors import RelayBrokenError
from liaison_sdk.http import RelayAPI
from liaison_sdk.revocations import Revocations
from liaison_sdk.standings import Refreshed, Standings
from liaison_sdk.store import Store, Transaction, documents

_FOR_GOOD: Final = 1 << 62
"""Later than anything: by then whoever has said that it leaves has left."""


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
        self.standings: Final = Standings()
        self.revocations: Final = Revocations()

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

    def versions(self, tx: Transaction, agreement_id: str) -> list[Agreement]:
        """Return the versions of an agreement that are here, newest first."""
        numbers = documents.versions(tx, documents.AGREEMENT, agreement_id)
        return [self.agreement(tx, agreement_id, number) for number in numbers]

    def admitted(self, tx: Transaction, agreement_id: str) -> dict[int, int]:
        """Return when versions were admitted, Unix seconds: the relay's word, for people only."""
        numbers = documents.versions(tx, documents.ADMITTED, agreement_id)
        found = {n: documents.load(tx, documents.ADMITTED, agreement_id, n) for n in numbers}
        return {number: int(at) for number, at in found.items() if at is not None}

    def in_force(self, tx: Transaction, agreement_id: str, now: int, *, least: int) -> Agreement:
        """Return the newest version that has begun; at least that which a channel is bound to.

        Raises:
            AgreementMissingError: not even that one is here.
        """
        for number in documents.versions(tx, documents.AGREEMENT, agreement_id):
            if number <= least:
                break
            version = self.agreement(tx, agreement_id, number)
            if version.valid_from <= now:
                return version
        return self.agreement(tx, agreement_id, least)

    def current(self, tx: Transaction, agreement_id: str, now: int) -> Agreement:
        """Return the newest version that has begun; the first one where none has.

        Raises:
            AgreementMissingError: the agreement is not here.
        """
        numbers = documents.versions(tx, documents.AGREEMENT, agreement_id)
        if not numbers:
            raise AgreementMissingError(f"the agreement {agreement_id} is not here")
        return self.in_force(tx, agreement_id, now, least=numbers[-1])

    async def fetch_agreement(
        self, api: RelayAPI, store: Store, agreement_id: str, version: int | None = None
    ) -> Agreement:
        """Fetch an agreement, verify it, and keep it, with the versions that lead to it.

        Raises:
            VerificationError: the own authority, or another party's, has not signed it,
                or it does not follow the version before.
            RelayBrokenError: the relay served another one than was asked for, or as the
                latest an older one than it did before.
            RemoteError: the relay does not have it.
        """
        agreement, served = await self._download(api, agreement_id, version)
        latest = await store.read(
            lambda tx: documents.latest(tx, documents.AGREEMENT, agreement_id)
        )
        if version is None and latest is not None and agreement.version < latest:
            # Signed by all, once: what has come after it must not be undone by silence.
            raise RelayBrokenError(
                f"the relay served version {agreement.version} of {agreement_id} as the latest, "
                f"and version {latest} is here"
            )
        for number in await store.read(lambda tx: self._between(tx, agreement)):
            before, signed = await self._download(api, agreement_id, number)
            await self._take(api, store, before, signed)
        await self._take(api, store, agreement, served)
        return agreement

    async def _take(
        self, api: RelayAPI, store: Store, agreement: Agreement, served: v1.Document
    ) -> None:
        try:
            await store.write(lambda tx: self._take_in(tx, agreement, served))
        except SuccessionError:
            # It may leave out a party whose departure this device has not heard of.
            found = await self.refresh_statements(api, store, agreement.agreement_id)
            if not found.news:
                raise
            await store.write(lambda tx: self._take_in(tx, agreement, served))

    async def refresh_agreements(self, api: RelayAPI, store: Store) -> list[Agreement]:
        """Fetch what the relay lists and is not here; return all that is here then.

        Raises:
            VerificationError: the relay lists something that does not count; all else
                was fetched.
        """
        failed: VerificationError | None = None
        for summary in await api.agreements():
            latest = await store.read(
                lambda tx, name=summary.id: documents.latest(tx, documents.AGREEMENT, name)  # type: ignore[misc]  # a default argument binds the loop's value
            )
            if latest is None or latest < summary.version:
                try:
                    await self.fetch_agreement(api, store, summary.id, summary.version)
                except VerificationError as e:
                    failed = failed or e
        if failed is not None:
            raise failed
        return await store.read(self.agreements)

    async def _download(
        self, api: RelayAPI, agreement_id: str, version: int | None
    ) -> tuple[Agreement, v1.Document]:
        served = await api.agreement(agreement_id, version)
        agreement = trust.accept_agreement(served.envelope, self._account.party)
        wrong_version = version is not None and agreement.version != version
        if agreement.agreement_id != agreement_id or wrong_version:
            raise RelayBrokenError("the relay served another agreement than was asked for")
        return agreement, served

    def _between(self, tx: Transaction, agreement: Agreement) -> range:
        """Return the versions between the newest one here and this one."""
        latest = documents.latest(tx, documents.AGREEMENT, agreement.agreement_id)
        return range(latest + 1, agreement.version) if latest else range(0)

    def _take_in(self, tx: Transaction, agreement: Agreement, served: v1.Document) -> None:
        self._keep(tx, agreement, served.envelope)
        name, number = agreement.agreement_id, agreement.version
        # What the relay has said first stays: what is asked for again writes nothing.
        known = documents.load(tx, documents.ADMITTED, name, number)
        if known is None and served.accepted_ms is not None:
            at = str(served.accepted_ms // 1000).encode()
            documents.save(tx, documents.ADMITTED, name, number, at)

    def _keep(self, tx: Transaction, agreement: Agreement, data: bytes) -> None:
        name, number = agreement.agreement_id, agreement.version
        known = set(documents.versions(tx, documents.AGREEMENT, name))
        if number in known:
            if self.agreement(tx, name, number).digest() != agreement.digest():
                raise SuccessionError(
                    f"the relay serves another version {number} of {name} than is known here",
                    hint="the first one counts; ask your authority what the parties have signed",
                )
            return
        if number - 1 in known:
            before = self.agreement(tx, name, number - 1)
            # When it came into force is not known here: whoever has left since was a
            # party then, and takes no part now whatever the version says.
            standing = _of_others(self.standing(tx, name), agreement)
            succession.check(before, agreement, standing, _FOR_GOOD)
        following = self.agreement(tx, name, number + 1) if number + 1 in known else None
        if following is not None and following.previous != agreement.digest():
            raise SuccessionError(f"version {number + 1} was made from another version {number}")
        documents.save(tx, documents.AGREEMENT, name, number, data)
        # Only once it is durable: what was rolled back is not here.
        tx.after_commit(lambda: self._remember(agreement))

    def _remember(self, agreement: Agreement) -> None:
        self._agreements[agreement.agreement_id, agreement.version] = agreement

    def _verified(self, data: bytes) -> Agreement:
        agreement = trust.accept_agreement(data, self._account.party)
        self._remember(agreement)
        return agreement

    # --- participation ------------------------------------------------------------------

    def standing(self, tx: Transaction, agreement_id: str) -> Standing:
        """Return what is known of the parties' participation."""
        return self.standings.of(tx, agreement_id)

    def keep_statement(self, tx: Transaction, agreement_id: str, data: bytes) -> bool:
        """Verify a statement of participation and keep it; return whether it was new.

        Raises:
            DocumentError, UnknownPartyError: it is not about this agreement.
            VerificationError: not signed by the party's authority, or not newer than
                what is known.
        """
        party = participation.read(data).party
        return self.standings.keep_statement(tx, self._naming(tx, agreement_id, party), data)

    def keep_exclusion(self, tx: Transaction, agreement_id: str, data: bytes) -> bool:
        """Verify an exclusion and keep it; return whether it was new.

        Raises:
            DocumentError, UnknownPartyError: it is not about this agreement.
            VerificationError: too few of the others have signed.
        """
        party = exclusion.read(data).party
        return self.standings.keep_exclusion(tx, self._naming(tx, agreement_id, party), data)

    async def refresh_statements(self, api: RelayAPI, store: Store, agreement_id: str) -> Refreshed:
        """Fetch what the parties of an agreement have said and decided about each other."""
        served = await api.statements(agreement_id)
        if await store.read(lambda tx: self.standings.knows(tx, agreement_id, served)):
            return Refreshed()
        return await store.write(
            lambda tx: self.standings.take_all(
                tx, agreement_id, served, lambda party: self._naming(tx, agreement_id, party)
            )
        )

    def _naming(self, tx: Transaction, agreement_id: str, party: PartyCode) -> list[Agreement]:
        """Return the versions that a party belongs to, the newest first.

        Where it belongs to none, the newest version, under which nothing of it verifies.
        """
        versions = self.versions(tx, agreement_id)
        if not versions:
            raise AgreementMissingError(f"the agreement {agreement_id} is not here")
        return [one for one in versions if one.has_party(party)] or versions[:1]

    # --- removals -----------------------------------------------------------------------

    def keep_reason(
        self, tx: Transaction, agreement: Agreement, party: PartyCode, reason: Reason
    ) -> None:
        """Keep the document that justifies a removal, where it is news.

        Args:
            tx: the transaction.
            agreement: the newest version in force.
            party: whose device is removed.
            reason: verified by `statement.verify_removal`.
        """
        name = agreement.agreement_id
        match reason:
            case RevocationReason(signed=signed):
                self.revocations.keep(tx, agreement, party, signed)
            case ParticipationReason(signed=signed, statement=said):
                newest = self.standing(tx, name).newest(party)
                if newest is None or said.number > newest.number:
                    self.keep_statement(tx, name, signed)
            case ExclusionReason(signed=signed):
                self.keep_exclusion(tx, name, signed)
            case AgreementReason() | UnseenReason():
                pass

    # --- for MLS ------------------------------------------------------------------------

    def validator(self, agreement: Agreement) -> AgreementValidator:
        """Return the judge of leaves that others have brought in.

        It knows no revocations: a leaf that was good when it came in must not
        strand whoever processes that commit later. Revoked leaves are removed
        before anything is encrypted (`excluded`).
        """
        return AgreementValidator(agreement, frozenset())

    def validator_at(self, tx: Transaction, agreement: Agreement, at: int) -> AgreementValidator:
        """Return the judge of certificates as they stood at a time, Unix seconds."""
        return AgreementValidator(agreement, self.revocations.revoked_at(tx, agreement, at))

    def strict_validator(self, tx: Transaction, agreement: Agreement) -> AgreementValidator:
        """Return the judge of leaves that this device brings in: nobody revoked."""
        return AgreementValidator(agreement, self.revocations.revoked(tx, agreement))


def _of_others(standing: Standing, agreement: Agreement) -> Standing:
    """Return what is known of the parties that a version does not name."""
    others = {
        party: said for party, said in standing.statements.items() if not agreement.has_party(party)
    }
    decided = {
        party: one for party, one in standing.exclusions.items() if not agreement.has_party(party)
    }
    return replace(
        standing, statements=MappingProxyType(others), exclusions=MappingProxyType(decided)
    )


def device_of(credential: Credential) -> DeviceId:
    """Return the device of a leaf that a validator has accepted."""
    return trust.certified_leaf(credential).device


def certificate_of(credential: Credential) -> tuple[PartyCode, str]:
    """Return what names a leaf's certificate in revocation lists: (party, serial)."""
    certified = trust.certified_leaf(credential)
    return certified.device.party, certified.serial
