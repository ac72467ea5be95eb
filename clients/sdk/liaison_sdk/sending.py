"""From what a program wants to say to the relay's ruling on it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from liaison.envelope import content as contents
from liaison.envelope.content import Content, Null, Part
from liaison.envelope.header import Kind
from liaison.envelope.receipt import Answer
from liaison.model import ChannelId, MessageId
from liaison.policy import contents as judging
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.requests import deny
from liaison.policy.simulate import Simulation, refused_by, simulate
from liaison_sdk import attachments, composing, duties, receipts, refreshing, views
from liaison_sdk.attachments import OutgoingFile, Report
from liaison_sdk.composing import Composed, Draft
from liaison_sdk.environment import Environment, first_of
from liaison_sdk.errors import MessageRefusedError, MessageUnknownError
from liaison_sdk.message import Message, Sent
from liaison_sdk.store import Transaction, answers, channels, messages, outbox
from liaison_sdk.store.answers import AnswerRecord
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.messages import MessageRecord, MessageState


class Sender:
    """Puts messages into the outbox; `outbound` takes them from there."""

    def __init__(self, environment: Environment, home: Path) -> None:
        self._env: Final = environment
        self._home: Final = home

    async def send(
        self,
        channel: ChannelId,
        draft: Draft,
        *,
        text: str,
        language: str,
        files: Sequence[OutgoingFile],
        report: Report | None,
        wait: bool,
    ) -> Sent:
        """See `Channel.send`."""
        ready = await self.complete(channel, draft, text, language, files, report)
        number, composed = await self._env.write(lambda tx: self._queue(tx, channel, ready))
        message_id = composed.header.message_id
        if wait:
            return await self.ruling(channel, message_id, number)
        return Sent(message_id, channel, MessageState.QUEUED, number=number)

    async def complete(
        self,
        channel: ChannelId,
        draft: Draft,
        text: str,
        language: str,
        files: Sequence[OutgoingFile],
        report: Report | None,
        *,
        unreleased: bool = False,
    ) -> Draft:
        """Return the draft with text and files in it; the files are uploaded.

        Args:
            channel: where it will go.
            draft: all but the parts.
            text: what it says.
            language: of the text.
            files: to attach.
            report: told how far uploads are.
            unreleased: whether the signatures of its release are still to come.

        Raises:
            PolicyRefusedError: the agreement does not allow it; nothing left the device.
        """
        env = self._env
        parts = _text(text, language, files)
        # Judged before anything leaves the device; with the files it is judged again.
        first = replace(draft, parts=(*parts, Null()), kind=_kind(draft, text, files))

        def judge(tx: Transaction) -> tuple[ChannelRecord, Agreement]:
            return self._judge(tx, channel, first, unreleased=unreleased)

        try:
            record, agreement = await env.read(judge)
        except PolicyRefusedError as e:
            known = await env.read(lambda tx: self._open(tx, channel)[0])
            if not await refreshing.after_news(env, known.agreement_id, e):
                raise
            record, agreement = await env.read(judge)
        if files:
            await attachments.check_rules(agreement.channel(record.policy), list(files))
        for file in files:
            uploaded = await attachments.upload(env, self._home, channel, file, report)
            parts.append(uploaded.as_part())
        return replace(first, parts=tuple(parts))

    async def simulate(
        self,
        channel: ChannelId,
        draft: Draft,
        *,
        text: str,
        language: str,
        files: Sequence[OutgoingFile],
    ) -> Simulation:
        """See `Channel.simulate`."""
        env = self._env
        parts = (*_text(text, language, files), Null())
        ready = replace(draft, parts=parts, kind=_kind(draft, text, files))

        def look(tx: Transaction) -> tuple[Simulation, ChannelPolicy]:
            record, _ = self._open(tx, channel)
            # What is sent now is sent under the version in force: a commit brings it in first.
            agreement = duties.version_in_force(env, tx, record)
            current = replace(record, agreement_version=agreement.version)
            composed = composing.compose(env, current, agreement, ready)
            request = composing.request(env, tx, current, agreement, composed)
            standing = env.trust.standing(tx, record.agreement_id)
            stale = record.state is ChannelState.STALE
            leaving = {} if stale else duties.leaving(env, tx, record, agreement)
            found = simulate(request, agreement, env.now, standing=standing, leaving=leaving)
            inside = judging.judge(Content.decode(composed.content), agreement, record.policy)
            found = found if inside is None else refused_by(found, inside)
            return found, agreement.channel(record.policy)

        simulation, policy = await env.read(look)
        try:
            await attachments.check_rules(policy, list(files))
        except PolicyRefusedError as e:
            return refused_by(simulation, deny(e.rule, e.message))
        return simulation

    async def acknowledge(self, about: Message, answer: Answer, note: str, *, wait: bool) -> Sent:
        """See `Message.acknowledge`."""
        env, ref = self._env, about.ref
        if ref is None:
            raise MessageUnknownError("the sender of this message is not known")

        def queue(tx: Transaction) -> int:
            record, _ = self._open(tx, about.channel_id)
            return receipts.queue_answer(
                env, tx, record, ref, answer, note=note, precedence=about.action
            )

        try:
            number = await env.write(queue)
        except PolicyRefusedError as e:
            known = await env.read(lambda tx: self._open(tx, about.channel_id)[0])
            if not await refreshing.after_news(env, known.agreement_id, e):
                raise
            number = await env.write(queue)
        if wait:
            return await self.ruling(about.channel_id, about.id, number)
        return Sent(about.id, about.channel_id, MessageState.QUEUED, number=number, answer=answer)

    async def queued(self) -> list[Sent]:
        """See `Client.queued`."""

        def look(tx: Transaction) -> list[Sent]:
            found = [
                Sent(row.message_id, row.channel, own.state, number=row.number)
                for row in outbox.waiting(tx, -1)
                if (own := messages.find_own(tx, row.channel, row.message_id)) is not None
            ]
            found += [views.answered(one) for one in answers.waiting(tx)]
            return sorted(found, key=lambda sent: sent.number)

        return await self._env.read(look)

    def _judge(
        self, tx: Transaction, channel: ChannelId, draft: Draft, *, unreleased: bool
    ) -> tuple[ChannelRecord, Agreement]:
        record, agreement = self._open(tx, channel)
        judged = composing.compose(self._env, record, agreement, draft)
        decision = composing.judge(self._env, tx, record, agreement, judged)
        if unreleased:
            decision = composing.but_for_release(self._env, tx, record, agreement, judged)
        decision.require()
        return record, agreement

    def _queue(self, tx: Transaction, channel: ChannelId, ready: Draft) -> tuple[int, Composed]:
        record, agreement = self._open(tx, channel)
        composed = composing.compose(self._env, record, agreement, ready)
        composing.judge(self._env, tx, record, agreement, composed).require()
        return composing.queue(self._env, tx, record, composed), composed

    def _open(self, tx: Transaction, channel: ChannelId) -> tuple[ChannelRecord, Agreement]:
        record = channels.load(tx, channel)
        if record is None or record.state is not ChannelState.STALE:
            # A stale channel takes messages: they wait until it was joined anew.
            record = channels.load_open(tx, channel)
        trust = self._env.trust
        return record, trust.agreement(tx, record.agreement_id, record.agreement_version)

    async def ruling(self, channel: ChannelId, message_id: MessageId, number: int) -> Sent:
        """Wait for what the relay says of a message in the outbox.

        Raises:
            MessageRefusedError: it refused for good.
            StatusOverdueError, ...: it can't be encrypted now; it stays in the outbox.
        """
        env = self._env

        def look(tx: Transaction) -> tuple[bool, MessageRecord | None, AnswerRecord | None]:
            waiting = outbox.load(tx, number) is not None
            own = messages.find_own(tx, channel, message_id)
            return waiting, own, answers.load(tx, number)

        try:
            while True:
                own = env.rulings.setdefault(number, asyncio.Event())
                # Another process of the device may be the one that sends it.
                outside = env.changes.next_outside()
                waiting, record, answer = await env.read(look)
                if not waiting:
                    break
                env.check()
                if channel in env.blocked:
                    # It stays in the outbox, and goes out when that is over.
                    raise env.blocked[channel]
                await first_of(own, outside)
        finally:
            # Whoever else waits for it looks once more, and then waits for an event of its own.
            env.rulings.pop(number, own).set()
        ruled = answer or record
        if ruled is not None and ruled.state is MessageState.REFUSED:
            raise MessageRefusedError(ruled.reason, remote_code=ruled.reason_code)
        if answer is not None:
            return views.answered(answer)
        return views.sent(record, channel, message_id, number)


def _text(text: str, language: str, files: Sequence[OutgoingFile]) -> list[Part]:
    if text:
        return [contents.text(text, language=language)]
    return [] if files else [Null()]


def _kind(draft: Draft, text: str, files: Sequence[OutgoingFile]) -> Kind:
    return Kind.FILE if files and not text and draft.kind is Kind.TEXT else draft.kind
