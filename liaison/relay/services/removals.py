"""The relay's own proposals: remove whom a registrar has revoked, with the signed reason.

The relay can't change a group; it can propose, and refuse messages until a
member has committed the removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

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
from liaison.relay.services.rules import Leaf
from liaison.relay.services.states import ChannelState, States
from liaison.relay.writer import Writer
from liaison.storage import channels, parties
from liaison.storage.engine import Database
from liaison.trust import AgreementValidator

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
        state = await self.states.load(channel)
        due = _due(state)
        if not due:
            return
        reasons = await self._reasons({leaf.device.party for leaf in due})
        now = self.clock()
        messages, group, snapshot = await asyncio.to_thread(
            _make, state, due, reasons, self.senders, now // 1000
        )
        await self.writer.submit(
            AcceptProposals(
                tools=self.tools,
                caller=None,
                channel=channel,
                version=state.row.group_version,
                messages=messages,
                group=group,
                snapshot=snapshot,
                state_version=0,
                now_ms=now,
            )
        )

    async def _reasons(self, codes: set[PartyCode]) -> dict[PartyCode, bytes]:
        reasons = {}
        async with self.database.read() as tx:
            for code in codes:
                known = await self.book.party(tx, code)
                found = await parties.revocations(tx, known.key)
                if found is None:
                    raise LookupError(f"{code} has a removal due and no revocation list")
                reasons[code] = statement.encode_removal(found.envelope)
        return reasons


def _due(state: ChannelState) -> list[Leaf]:
    proposed = {
        queued.proposal.leaf
        for queued in state.group.pending
        if isinstance(queued.proposal, Remove) and queued.sender.kind is SenderKind.EXTERNAL
    }
    return [
        Leaf.of(leaf, state.group.member(leaf).leaf_node)
        for leaf in state.removals
        if leaf not in proposed
    ]


def _make(
    state: ChannelState,
    due: list[Leaf],
    reasons: Mapping[PartyCode, bytes],
    senders: Mapping[SignatureScheme, Signer],
    now: int,
) -> tuple[list[bytes], PublicGroup, bytes]:
    group = state.group
    signer = senders[group.suite.signature]
    admitted = ext.external_senders(group.context.extensions)
    index = [sender.signature_key for sender in admitted].index(signer.public_bytes)
    validator = AgreementValidator(state.agreement, state.revoked)
    messages = []
    for leaf in due:
        message = external_sender.propose_remove(
            group,
            leaf.leaf,
            signer=signer,
            sender_index=index,
            authenticated_data=reasons[leaf.device.party],
        )
        group = group.apply(message, validator=validator, now=now).group
        messages.append(message)
    return messages, group, group.snapshot()
