"""Messages from the store, for a program to look at; and the mark that says they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from liaison.envelope.header import Header, MessageRef
from liaison.model import ChannelId, DeviceId
from liaison_sdk import drafts, views
from liaison_sdk.drafts import DraftView
from liaison_sdk.environment import Environment
from liaison_sdk.errors import MessageAmbiguousError, MessageUnknownError, NotADraftError
from liaison_sdk.markings import Marker
from liaison_sdk.message import Message
from liaison_sdk.store import Transaction, answers, channels, messages
from liaison_sdk.store import receipts as receipt_table
from liaison_sdk.store.messages import MessageRecord
from liaison_sdk.trust_store import AgreementMissingError

if TYPE_CHECKING:
    from liaison_sdk.client import Client

MIN_PREFIX: Final = 4
_HEX: Final = frozenset("0123456789abcdef")


class Reader:
    """Gives out messages."""

    def __init__(self, environment: Environment, client: Client) -> None:
        self._env: Final = environment
        self._client: Final = client

    async def messages(self, channel: ChannelId | None) -> AsyncIterator[Message]:
        """See `Client.messages`."""
        env = self._env
        while True:
            change = env.changes.next()
            env.check()
            if not await env.read(lambda tx: messages.count_unread(tx, channel)):
                await change.wait()
                continue
            message = await self._give_out(channel)
            if message is not None:
                yield message

    async def _give_out(self, channel: ChannelId | None) -> Message | None:
        taking = asyncio.ensure_future(self._env.write(lambda tx: self._take(tx, channel)))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # Marked as shown, and nobody will see it: it goes back.
            taken = await taking
            if taken is not None:
                await self._env.write(lambda tx: messages.mark_unread(tx, taken.number))
            raise

    async def history(
        self, channel: ChannelId | None, limit: int | None, *, unread: bool
    ) -> list[Message]:
        """See `Client.history`."""
        return await self._list(lambda tx: messages.history(tx, channel, limit, unread=unread))

    async def on_their_way(self) -> list[Message]:
        """See `Client.outbox`."""
        return await self._list(messages.on_their_way)

    async def mark_shown(self, shown: Iterable[Message]) -> list[Message]:
        """See `Client.mark_shown`."""
        by_number = {message.number: message for message in shown}
        marked = await self._env.write(lambda tx: messages.mark_shown(tx, list(by_number)))
        return [by_number[number] for number in marked]

    async def message(self, name: str) -> Message:
        """See `Client.message`."""
        prefix, at, sender = name.partition("@")
        if len(prefix) < MIN_PREFIX or not set(prefix.lower()) <= _HEX:
            raise MessageUnknownError(
                f"{prefix[:40]!r} is not the beginning of a message id",
                hint=f"give at least {MIN_PREFIX} of its hex digits",
            )
        device = DeviceId.parse(sender) if at else None
        found = await self._list(lambda tx: messages.find(tx, prefix, device))
        if not found:
            raise MessageUnknownError(
                f"there is no message {name} here", hint="liaison read shows ids in brackets"
            )
        if len(found) > 1:
            raise _ambiguous(prefix, found)
        return found[0]

    async def _list(self, find: Callable[[Transaction], list[MessageRecord]]) -> list[Message]:
        def read(tx: Transaction) -> list[Message]:
            # A history has thousands of messages, and few channels.
            names = {one.channel: one.name for one in channels.load_all(tx)}
            return [self._view(tx, record, names) for record in find(tx)]

        return await self._env.read(read)

    def _take(self, tx: Transaction, channel: ChannelId | None) -> Message | None:
        for record in messages.next_unread(tx, channel, 1):
            if record.number is not None and messages.mark_shown(tx, [record.number]):
                found = channels.load(tx, record.channel)
                names = {} if found is None else {found.channel: found.name}
                return self._view(tx, replace(record, shown=True), names)
        return None

    def _view(
        self, tx: Transaction, record: MessageRecord, names: Mapping[ChannelId, str]
    ) -> Message:
        ref = MessageRef(record.sender, record.message_id) if record.sender else None
        return views.view(
            record,
            client=self._client,
            channel_name=names.get(record.channel, str(record.channel)),
            receipts=receipt_table.load(tx, record.channel, record.message_id, record.sender),
            answers=answers.about(tx, record.channel, ref) if ref else (),
            draft=self._draft(tx, record),
            marker=self._marker(tx, Header.decode(record.header) if record.header else None),
            now=self._env.now,
        )

    def _marker(self, tx: Transaction, header: Header | None) -> Marker:
        env, language = self._env, self._env.options.language
        if header is None:
            return Marker(language=language)
        try:
            agreement = env.trust.agreement(tx, header.agreement_id, header.agreement_version)
        except AgreementMissingError:
            return Marker(language=language)
        return Marker(agreement.label_policy, language)

    def _draft(self, tx: Transaction, record: MessageRecord) -> DraftView | None:
        try:
            found = drafts.of(record)
        except NotADraftError:
            return None
        if found is None:
            return None
        whole = drafts.united(self._env, tx, record.channel, found)
        target = channels.load(tx, whole.channel)
        if target is not None and target.policy:
            # The channel's own policy decides, where this device knows it.
            whole = replace(whole, policy=target.policy)
        inspection = drafts.inspect(self._env, tx, whole)
        sent = bool(drafts.sendings(tx, whole.channel, whole.header))
        marker = self._marker(tx, whole.header)
        name = target.name if target else ""
        return views.draft_view(whole, inspection, name, marker, sent=sent)


def _ambiguous(prefix: str, found: list[Message]) -> MessageAmbiguousError:
    names = [str(message.id) for message in found]
    if len(set(names)) < len(names):
        # One of them took the other's id, perhaps by intention.
        names = [f"{message.id}@{message.sender}" for message in found if message.sender]
    return MessageAmbiguousError(
        f"several messages begin with {prefix}", hint=f"name one, such as {', '.join(names)}"
    )
