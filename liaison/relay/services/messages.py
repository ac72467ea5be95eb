"""Messages: the path that every one takes.

What a message says of itself is read before it waits for the writer; whether it may be accepted is
decided in the transaction that gives it its number (`services.accepting`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from liaison.errors import LiaisonError
from liaison.model import ChannelId, MessageId
from liaison.policy.evaluate import Released
from liaison.relay.services.accepting import Appends
from liaison.relay.services.append import Append, read
from liaison.relay.services.book import Book
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import (
    UnknownMessageError,
)
from liaison.relay.services.refusals import Asked, Refusals
from liaison.relay.services.releases import check_registered
from liaison.relay.services.states import find
from liaison.relay.writer import Writer
from liaison.storage import channels, items, members
from liaison.storage.engine import Database
from liaison.trust import AgreementValidator
from liaison.trust.release import verify_release
from liaison.values import dataclass
from liaison.wire import frames, v1


@dataclass(frozen=True)
class Messages:
    """Accepts messages and answers for them."""

    database: Database
    writer: Writer
    book: Book
    clock: Callable[[], int]
    appends: Appends
    refusals: Refusals

    async def accept(self, caller: DeviceCaller, send: frames.Send) -> frames.Accepted:
        """Store one message; durable when this returns. A resend is answered as the first time.

        Raises:
            MessageInvalidError: not an application message with a readable header.
            LiaisonError: refused, as `Appends` decides; nothing was stored.
            UnavailableError: not known to be stored; send it again.
        """
        append = read(caller, send, self.appends)
        if append.header.release is not None:
            append.under, append.released = await self._released(append)
        asked = Asked(caller, "send", channel=send.channel)
        return await self.refusals.watch(asked, self.writer.submit(append))

    def put(
        self,
        caller: DeviceCaller,
        send: frames.Send,
        done: Callable[[frames.Accepted | Exception], object],
    ) -> bool:
        """Begin to accept a message, as `accept` does.

        Args:
            caller: the device.
            send: the message.
            done: called once with the answer, or with what it was refused for; where that is one
                of `refusals.TOLD`, `refused` has to be awaited before the sender hears of it.

        Returns:
            Whether it was begun. Otherwise it takes more than a callback: await `accept`.

        Raises:
            MessageInvalidError: not an application message with a readable header.
            UnavailableError: nothing was taken.
        """
        append = read(caller, send, self.appends)
        if append.header.release is not None:
            return False
        self.writer.put(append, done)
        return True

    async def refused(self, caller: DeviceCaller, send: frames.Send, refusal: LiaisonError) -> None:
        """Tell the log of a refusal, before the sender hears of it."""
        await self.refusals.tell(Asked(caller, "send", channel=send.channel), refusal)

    async def _released(self, op: Append) -> tuple[int, tuple[Released, ...] | LiaisonError]:
        """Return who has released a message by which version, or why the signatures do not hold.

        Here, before it waits: chains and signatures take time that others would wait for.
        A refusal is told in its turn, because a resend is answered as the first time.
        """
        async with self.database.read() as tx:
            row = await channels.find(tx, op.send.channel.value)
            if row is None or await members.find(tx, row.key, op.caller.key) is None:
                # Refused for that in its turn; nobody else makes the relay verify anything.
                return 0, ()
            agreement = (await self.book.agreement(tx, row.agreement)).agreement
            revoked = await self.book.revoked(tx)
        validator, now = AgreementValidator(agreement, revoked), self.clock() // 1000
        try:
            signed = await asyncio.to_thread(
                verify_release, op.header, op.send.channel, validator, now
            )
            async with self.database.read() as tx:
                await check_registered(tx, op.header)
        except LiaisonError as error:
            return row.agreement, error
        return row.agreement, signed

    async def outcome(
        self, caller: DeviceCaller, channel: ChannelId, message: MessageId
    ) -> v1.Outcome:
        """Return what became of a message that the device sent.

        Raises:
            UnknownMessageError: the relay has accepted none with this id.
        """
        async with self.database.read() as tx:
            row = await find(tx, channel)
            found = await items.find(tx, (row.id, caller.key, message.value))
        if found is None:
            raise UnknownMessageError(hint="it was not stored: send it again")
        return v1.Outcome(seq=found.seq, digest=found.digest, time_ms=found.accepted_at)
