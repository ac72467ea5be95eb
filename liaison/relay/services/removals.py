"""The relay's own proposals: remove who has to go, with the reason.

The reason is a signed document wherever there is one: members believe no relay.

The relay can't change a group; it can propose, and refuse messages until a
member has committed the removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.crypto.signing import SignatureScheme, Signer
from liaison.mls import extensions as ext
from liaison.mls import external_sender
from liaison.mls.framing import SenderKind
from liaison.mls.proposals import Remove
from liaison.mls.public_group import PublicGroup
from liaison.model import ChannelId, PartyCode
from liaison.policy import statement
from liaison.relay.services.book import Book
from liaison.relay.services.handshakes import AcceptProposals, MovedError, Tools
from liaison.relay.services.lives import Cause, Due
from liaison.relay.services.states import ChannelState, States
from liaison.relay.writer import Writer
from liaison.storage import channels, parties, statements
from liaison.storage.engine import Database
from liaison.storage.statements import StatementRow
from liaison.trust import AgreementValidator
from liaison.values import dataclass

Reasons = Mapping[tuple[Cause, PartyCode], bytes]
"""The authenticated data of a removal, by what it is for and whose device goes."""

_TRIES: Final = 20


@dataclass(frozen=True)
class Removals:
    """Proposes what is due."""

    database: Database
    writer: Writer
    book: Book
    states: States
    tools: Tools
    senders: Mapping[SignatureScheme, Signer]
    clock: Callable[[], int]

    async def propose(self, channel: ChannelId) -> None:
        """Propose each removal that is due in a channel and not proposed in this epoch yet."""
        for _ in range(_TRIES):
            try:
                await self._propose(channel)
            except MovedError:
                continue
            return
        # Somebody commits all the time: each of those commits asks for the removals again.

    async def resume(self) -> None:
        """Propose what is due in any channel and not proposed yet.

        Raises:
            Exception: as `propose_all`.
        """
        async with self.database.read() as tx:
            due = await channels.with_removals(tx)
        await self.propose_all(due)

    async def propose_all(self, ids: Iterable[bytes]) -> None:
        """Propose what is due in each of these channels.

        Raises:
            Exception: the first that a channel met; all the others had their turn.
        """
        failed: list[Exception] = []
        for id_ in ids:
            try:
                await self.propose(ChannelId(id_))
            except Exception as error:  # noqa: BLE001 - one channel must not keep a revoked device in the next
                failed.append(error)
        if failed:
            raise failed[0]

    async def _propose(self, channel: ChannelId) -> None:
        async with self.database.read() as tx:
            row = await channels.find(tx, channel.value)
        if row is None or not row.removals_pending:
            return
        state, now = await self.states.load(channel), self.clock()
        due = _due(state, now // 1000)
        if not due:
            return
        reasons = await self._reasons(state.agreement.agreement_id, due)
        messages, group, snapshot = await asyncio.to_thread(
            _make, state, due, reasons, self.senders, now // 1000
        )
        await self.writer.submit(
            AcceptProposals(
                tools=self.tools,
                caller=None,
                channel=channel,
                state=state,
                messages=messages,
                group=group,
                snapshot=snapshot,
                state_version=0,
                now_ms=now,
            )
        )

    async def _reasons(self, agreement: str, due: Iterable[Due]) -> Reasons:
        wanted = {(one.cause, one.device.party) for one in due}
        async with self.database.read() as tx:
            said = await statements.of_agreement(tx, agreement)
            return {
                (cause, party): await self._reason(tx, cause, party, said)
                for cause, party in wanted
            }

    async def _reason(
        self, tx: AsyncConnection, cause: Cause, party: PartyCode, said: Sequence[StatementRow]
    ) -> bytes:
        match cause:
            case Cause.REVOCATION:
                found = await parties.revocations(tx, (await self.book.party(tx, party)).key)
                if found is None:
                    raise LookupError(f"{party} has a removal due and no revocation list")
                return statement.encode_removal(found.envelope)
            case Cause.PARTICIPATION:
                own = [row for row in said if row.code == str(party)]
                return statement.encode_participation(own[-1].envelope)
            case Cause.EXCLUSION:
                words = {row.code: row for row in said if row.number == statements.EXCLUSION}
                return statement.encode_exclusion(words[str(party)].envelope)
            case Cause.AGREEMENT:
                return statement.encode_agreement()


def _due(state: ChannelState, now: int) -> list[Due]:
    proposed = {
        queued.proposal.leaf
        for queued in state.group.pending
        if isinstance(queued.proposal, Remove) and queued.sender.kind is SenderKind.EXTERNAL
    }
    return [one for leaf, one in state.due(now).items() if leaf not in proposed]


def _make(
    state: ChannelState,
    due: list[Due],
    reasons: Reasons,
    senders: Mapping[SignatureScheme, Signer],
    now: int,
) -> tuple[list[bytes], PublicGroup, bytes]:
    group = state.group
    signer = senders[group.suite.signature]
    admitted = ext.external_senders(group.context.extensions)
    index = [sender.signature_key for sender in admitted].index(signer.public_bytes)
    validator = AgreementValidator(state.agreement, state.revoked)
    messages = []
    for one in due:
        message = external_sender.propose_remove(
            group,
            one.leaf,
            signer=signer,
            sender_index=index,
            authenticated_data=reasons[one.cause, one.device.party],
        )
        group = group.apply(message, validator=validator, now=now).group
        messages.append(message)
    return messages, group, group.snapshot()
