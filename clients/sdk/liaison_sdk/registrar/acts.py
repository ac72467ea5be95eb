"""What a party does to an agreement over the relay: propose, declare, exclude.

The relay is a messenger here, too. What it serves is verified from the party's
own authority key; what the authority signs is in the books before it goes out,
so that after a lost connection the same verb can be called again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import field
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar

from liaison import trust
from liaison.crypto import kdf
from liaison.errors import LiaisonError
from liaison.model import PartyCode
from liaison.policy import exclusion, participation, signing
from liaison.policy.agreement import Agreement, UnknownPartyError
from liaison.policy.dsse import Envelope
from liaison.policy.errors import SignatureMissingError
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event, Participation
from liaison.policy.participation import Statement
from liaison.policy.standing import Standing
from liaison.values import dataclass
from liaison.wire import v1
from liaison.wire.problems import RemoteError
from liaison_sdk import agreements
from liaison_sdk.agreements import AgreementStanding, HistoryEntry
from liaison_sdk.errors import RelayBrokenError
from liaison_sdk.http import RelayAPI
from liaison_sdk.registrar import authority
from liaison_sdk.registrar.office import RegistrarOffice

_T = TypeVar("_T")
_LEADS_TO: Final = {
    Event.SUSPEND: Participation.SUSPENDED,
    Event.RESUME: Participation.ACTIVE,
    Event.WITHDRAW: Participation.WITHDRAWN,
}


@dataclass(frozen=True, slots=True)
class ExclusionOutcome:
    """An exclusion and how far it has come.

    Args:
        envelope: with the signatures so far; what the others sign next.
        exclusion: what it says.
        signed: the parties whose authority has signed.
        missing: the others.
        in_force: whether enough have signed.
    """

    envelope: bytes = field(repr=False)
    exclusion: Exclusion
    signed: tuple[str, ...]
    missing: tuple[str, ...]
    in_force: bool


class AgreementActs:
    """An office's verbs about agreements.

    Args:
        office: the party's.
        api: the relay, logged in as one of the party's offices.
    """

    def __init__(self, office: RegistrarOffice, api: RelayAPI) -> None:
        self._office = office
        self._api = api

    async def agreement(self, agreement_id: str, version: int | None = None) -> Agreement:
        """Fetch a version of an agreement and verify it; the newest by default.

        Raises:
            VerificationError: the own authority, or another party's, has not signed it.
            RelayBrokenError: the relay served another one.
            RemoteError: it does not have it.
        """
        return (await self._fetch(agreement_id, version))[0]

    async def _fetch(self, agreement_id: str, version: int | None) -> tuple[Agreement, int | None]:
        """Return a version, and when the relay says that it admitted it, Unix seconds."""
        served = await self._api.agreement(agreement_id, version)
        text = trust.accept_agreement(served.envelope, self._office.party)
        if text.agreement_id != agreement_id or version not in (None, text.version):
            raise RelayBrokenError("the relay served another agreement than was asked for")
        return text, None if served.accepted_ms is None else served.accepted_ms // 1000

    async def versions(self, agreement_id: str) -> list[Agreement]:
        """Fetch all versions that the own party belongs to, newest first.

        Raises:
            As `agreement`.
        """
        return [text for text, _ in await self._versions(agreement_id)]

    async def _versions(self, agreement_id: str) -> list[tuple[Agreement, int | None]]:
        found = [await self._fetch(agreement_id, None)]
        for number in range(found[0][0].version - 1, 0, -1):
            try:
                found.append(await self._fetch(agreement_id, number))
            except LiaisonError as e:
                if isinstance(e, RemoteError) and e.problem.status != HTTPStatus.NOT_FOUND:
                    raise
                # A party that came later has not signed what was before.
                break
        return found

    async def known(self, agreement_id: str, versions: list[Agreement]) -> Standing:
        """Return what the relay shows of the parties' participation, verified.

        Raises:
            StatementOrderError: statements contradict each other.
        """
        served = await self._api.statements(agreement_id)
        said = [data for data in served if not _is_exclusion(data)]
        verified = (_first(versions, partial(participation.verify, data)) for data in said)
        standing = Standing.of(one for one in verified if one is not None)
        for data in served:
            if data not in said:
                word = _first(versions, partial(_verify_exclusion, data, standing))
                standing = standing if word is None else standing.with_exclusion(word)
        return standing

    async def standing(self, agreement_id: str, *, now: int) -> AgreementStanding:
        """Return where an agreement stands, as the relay shows it."""
        versions = await self.versions(agreement_id)
        standing = await self.known(agreement_id, versions)
        begun = [one for one in versions if one.valid_from <= now] or versions[-1:]
        return agreements.standing_of(begun[0], versions[0], standing, now)

    async def history(self, agreement_id: str) -> list[HistoryEntry]:
        """Return what has happened to an agreement, as the relay shows it, oldest first."""
        fetched = await self._versions(agreement_id)
        versions = [text for text, _ in fetched]
        admitted = {text.version: at for text, at in fetched if at is not None}
        standing = await self.known(agreement_id, versions)
        return agreements.history_of(versions, standing, admitted)

    async def declare(self, agreement_id: str, event: Event, *, reason: str, now: int) -> Statement:
        """Say how the own party takes part from now on; see `RelayDesk.declare`."""
        versions = await self.versions(agreement_id)
        code = self._office.party.code
        accepted = (await self.known(agreement_id, versions)).newest(code)
        waiting = await self._deliver_waiting(agreement_id, accepted)
        if waiting is not None and _LEADS_TO.get(event) is waiting.state:
            # The answer to it was lost, or it never arrived: that was this verb.
            return waiting
        signed = await asyncio.to_thread(
            authority.declare,
            self._office.store,
            versions[0],
            event,
            waiting or accepted,
            reason=reason,
            now=now,
        )
        await self._api.declare(agreement_id, signed)
        return participation.read(signed)

    async def _deliver_waiting(
        self, agreement_id: str, accepted: Statement | None
    ) -> Statement | None:
        """Bring a statement that is in the books and not at the relay; None where it is void."""
        state = await asyncio.to_thread(lambda: self._office.state)
        booked = state.statement(agreement_id)
        if booked is None:
            return None
        said = participation.read(booked)
        if accepted is not None and said.number <= accepted.number:
            return None
        try:
            await self._api.declare(agreement_id, booked)
        except RemoteError as e:
            if e.problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR or e.problem.status in (
                HTTPStatus.UNAUTHORIZED,
                HTTPStatus.TOO_MANY_REQUESTS,
            ):
                raise
            # The relay will never take it, such as a resumption that came too late.
            return None
        return said

    async def exclude(
        self, agreement_id: str, party: PartyCode, *, reason: str, now: int
    ) -> ExclusionOutcome:
        """Begin to exclude another party; see `RelayDesk.exclude`."""
        text = await self.agreement(agreement_id)
        envelope = await asyncio.to_thread(
            authority.exclude, self._office.store, text, party, reason=reason, now=now
        )
        return await self._bring(text, envelope)

    async def countersign_exclusion(self, envelope: bytes, *, now: int) -> ExclusionOutcome:
        """Join in excluding another party; see `RelayDesk.countersign_exclusion`."""
        text = await self.agreement(exclusion.read(envelope).agreement_id)
        signed = await asyncio.to_thread(
            authority.countersign_exclusion, self._office.store, envelope, text, now=now
        )
        return await self._bring(text, signed)

    async def waiting_exclusions(self, agreement_id: str) -> list[ExclusionOutcome]:
        """Return the exclusions that too few have signed."""
        text = await self.agreement(agreement_id)
        return [_outcome(text, data) for data in await self._api.waiting_exclusions(agreement_id)]

    async def _bring(self, text: Agreement, envelope: bytes) -> ExclusionOutcome:
        status = await self._api.exclude(text.agreement_id, envelope)
        return ExclusionOutcome(
            envelope,
            exclusion.read(envelope),
            tuple(status.signed),
            tuple(status.missing),
            status.in_force,
        )

    async def propose(self, envelope: bytes) -> v1.ProposalStatus:
        """Bring a version that was signed here; see `RelayDesk.propose`."""
        return await self._api.propose_agreement(envelope)

    async def proposals(self) -> list[v1.ProposalStatus]:
        """List the versions that wait."""
        return await self._api.proposals()

    async def proposal(self, digest: bytes) -> bytes:
        """Fetch a version that waits.

        Raises:
            RelayBrokenError: the relay served another one.
            RemoteError: it does not have it.
        """
        envelope = await self._api.proposal(digest)
        _, text = signing.read(envelope)
        if text.digest() != digest:
            raise RelayBrokenError("the relay served another proposal than was asked for")
        return envelope

    async def retract(self, digest: bytes) -> None:
        """Take back a version; see `RelayDesk.retract`."""
        await self._api.retract_proposal(digest)

    async def retract_exclusion(self, envelope: bytes) -> None:
        """Take back an exclusion; see `RelayDesk.retract_exclusion`."""
        digest = kdf.sha256(Envelope.decode(envelope).payload)
        await self._api.retract_exclusion(exclusion.read(envelope).agreement_id, digest)

    async def countersign(self, digest: bytes) -> v1.ProposalStatus:
        """Sign a version that waits, and bring it back."""
        envelope = await self.proposal(digest)
        _, text = signing.read(envelope)
        signed = await asyncio.to_thread(authority.countersign, self._office.store, envelope, text)
        return await self._api.propose_agreement(signed)


def _first(versions: Iterable[Agreement], verify: Callable[[Agreement], _T]) -> _T | None:
    """Verify under the newest version under which that succeeds; None where none does."""
    for version in versions:
        with contextlib.suppress(SignatureMissingError, UnknownPartyError):
            return verify(version)
    return None


def _verify_exclusion(data: bytes, standing: Standing, version: Agreement) -> Exclusion:
    left = standing.left(version, exclusion.read(data).issued_at)
    return exclusion.verify(data, version, left)


def _outcome(text: Agreement, envelope: bytes) -> ExclusionOutcome:
    said = exclusion.read(envelope)
    signed = exclusion.signers(envelope, text)
    missing = set(text.codes) - signed - {said.party}
    return ExclusionOutcome(
        envelope,
        said,
        tuple(sorted(map(str, signed))),
        tuple(sorted(map(str, missing))),
        in_force=False,
    )


def _is_exclusion(data: bytes) -> bool:
    try:
        exclusion.read(data)
    except LiaisonError:
        return False
    return True
