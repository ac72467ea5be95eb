"""Two-person release: drafting, reviewing, releasing, and sending what was released.

Each signature is over the channel, the header and the content as they will be
sent, so nothing of them can change afterwards; the relay and every reader check
all of them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from liaison.crypto import suites
from liaison.envelope.header import Kind, MessageRef
from liaison.envelope.release import Part, Release, content_digest
from liaison.errors import LiaisonError
from liaison.labels import Label, LabelError
from liaison.model import ChannelId
from liaison.policy import labelling
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.trust import sign_draft
from liaison.values import dataclass
from liaison_sdk import composing, drafts
from liaison_sdk.attachments import OutgoingFile, Report
from liaison_sdk.composing import Composed, Draft
from liaison_sdk.drafts import DraftPart
from liaison_sdk.environment import Environment
from liaison_sdk.errors import AlreadySentError, NotADraftError, NotReleasedError
from liaison_sdk.message import Message, Sent
from liaison_sdk.sending import Sender
from liaison_sdk.store import Transaction, channels, messages
from liaison_sdk.store.channels import ChannelRecord
from liaison_sdk.store.messages import MessageState


@dataclass(frozen=True, slots=True)
class _Queued:
    channel: ChannelId
    composed: Composed
    number: int


class Releaser:
    """Brings drafts to those who sign them, and into their channel at last."""

    def __init__(self, environment: Environment, sender: Sender) -> None:
        self._env: Final = environment
        self._sender: Final = sender

    async def draft(
        self,
        channel: ChannelId,
        via: ChannelId,
        draft: Draft,
        *,
        text: str,
        language: str,
        files: Sequence[OutgoingFile],
        report: Report | None,
    ) -> Sent:
        """See `Channel.draft`."""
        ready = await self._sender.complete(
            channel, draft, text, language, files, report, unreleased=True
        )

        def queue(tx: Transaction) -> _Queued:
            record, agreement = self._target(tx, channel)
            composed = composing.compose(self._env, record, agreement, ready)
            decision = composing.but_for_release(self._env, tx, record, agreement, composed)
            decision.require()
            unsigned = composed.header.with_release(Release(content_digest(composed.content)))
            made = DraftPart(channel, record.policy, unsigned, composed.content)
            return self._put_before(tx, via, self._signed(agreement, made, Part.DRAFT), None)

        return await self._sent(await self._env.write(queue), wait=True)

    async def sign(self, message: Message, part: Part) -> Sent:
        """See `Message.review` and `Message.release`.

        Raises:
            NotADraftError: the message carries no draft.
            PolicyRefusedError: this endpoint may not do that.
            ReleaseInvalidError: a signature under it does not hold.
        """

        def queue(tx: Transaction) -> _Queued:
            found = self._found(tx, message)
            self._check_may_sign(tx, found, part)
            agreement = self._agreement(tx, found)
            signed = self._signed(agreement, found, part)
            return self._put_before(tx, message.channel_id, signed, message.ref)

        return await self._sent(await self._env.write(queue), wait=True)

    async def send(self, message: Message, *, wait: bool) -> Sent:
        """See `Message.send_released`."""

        def queue(tx: Transaction) -> _Queued:
            found = self._found(tx, message)
            record, agreement = self._target(tx, found.channel)
            # The channel's own policy decides, not the one that the drafter has named.
            inspection = drafts.inspect(self._env, tx, replace(found, policy=record.policy))
            if inspection.problem or inspection.missing:
                raise NotReleasedError(
                    inspection.problem or f"not signed yet: {', '.join(inspection.missing)}",
                    hint="have it reviewed and released in this channel first",
                )
            _check_not_sent(tx, found)
            composed = Composed(found.header, found.content)
            composing.judge(self._env, tx, record, agreement, composed).require()
            number = composing.queue(self._env, tx, record, composed)
            return _Queued(found.channel, composed, number)

        return await self._sent(await self._env.write(queue), wait=wait)

    async def _sent(self, queued: _Queued, *, wait: bool) -> Sent:
        message_id = queued.composed.header.message_id
        if wait:
            return await self._sender.ruling(queued.channel, message_id, queued.number)
        return Sent(message_id, queued.channel, MessageState.QUEUED, number=queued.number)

    def _found(self, tx: Transaction, message: Message) -> DraftPart:
        record = messages.load(tx, message.number)
        found = None if record is None else drafts.of(record)
        if found is None:
            raise NotADraftError(
                "the message carries no draft",
                hint="what is to be signed was made with liaison draft, and liaison read shows it as"
                " DRAFT; any other message goes out with liaison send",
            )
        return drafts.united(self._env, tx, message.channel_id, found)

    def _agreement(self, tx: Transaction, draft: DraftPart) -> Agreement:
        header = draft.header
        return self._env.trust.agreement(tx, header.agreement_id, header.agreement_version)

    def _check_may_sign(self, tx: Transaction, draft: DraftPart, part: Part) -> None:
        inspection = drafts.inspect(self._env, tx, draft)
        if inspection.problem:
            raise NotADraftError(f"the draft can't be signed: {inspection.problem}")
        policy = self._agreement(tx, draft).channel(draft.policy)
        own, name = self._env.account.device.endpoint, f"channels.{policy.name}.release"
        if policy.release is None:
            raise PolicyRefusedError(f"{policy.name} asks for no release", rule=name)
        people = policy.release.review if part is Part.REVIEW else policy.release.release
        if not self._agreement(tx, draft).includes(people, own):
            raise PolicyRefusedError(f"{own} may not {part} messages for this channel", rule=name)
        if any(one.part is Part.DRAFT and one.endpoint == own for one in inspection.signed):
            raise PolicyRefusedError(
                f"{own} has drafted it; somebody else has to {part} it", rule=name
            )

    def _signed(self, agreement: Agreement, draft: DraftPart, part: Part) -> DraftPart:
        account = self._env.account
        scheme = suites.suite(agreement.cipher_suite).signature
        signer, chain = account.signer(scheme), account.chain(scheme)
        header = sign_draft(draft.header, draft.channel, part, signer, chain)
        return replace(draft, header=header)

    def _put_before(
        self, tx: Transaction, via: ChannelId, draft: DraftPart, reply_to: MessageRef | None
    ) -> _Queued:
        record, agreement = self._target(tx, via)
        header = draft.header
        # The draft is as confidential as the message that it becomes.
        label = label_under(agreement, self._agreement(tx, draft), labelling.label_of(header))
        form = Draft(
            parts=(draft.as_part(),),
            kind=Kind.FORM,
            action=header.action,
            info=header.info,
            label=label,
            in_reply_to=reply_to,
        )
        composed = composing.compose(self._env, record, agreement, form)
        composing.judge(self._env, tx, record, agreement, composed).require()
        return _Queued(via, composed, composing.queue(self._env, tx, record, composed))

    def _target(self, tx: Transaction, channel: ChannelId) -> tuple[ChannelRecord, Agreement]:
        record = channels.load_open(tx, channel)
        trust = self._env.trust
        return record, trust.agreement(tx, record.agreement_id, record.agreement_version)


def label_under(place: Agreement, target: Agreement, label: Label) -> Label | None:
    """Return the label under which a draft may lie in a channel of another agreement.

    Args:
        place: the agreement of the channel in which it is signed.
        target: that of the channel for which it is.
        label: of the message that it becomes.

    Returns:
        None for what carries the target's lowest level and no category: the default will do.

    Raises:
        PolicyRefusedError: the label policies have nothing in common for this label.
    """
    from liaison.labels.equivalence import translate  # noqa: PLC0415 - for drafts alone

    here, there = place.label_policy, target.label_policy
    if here is not None and here.is_named(label.policy):
        return label
    try:
        if here is None or there is None:
            raise LabelError("the label policy is not known")
        if there.rank(label.classification) == 0 and not label.categories:
            return None
        return translate(label, there, here)
    except LiaisonError as e:
        raise PolicyRefusedError(
            f"a draft marked {label.marking()} can't lie under the labels of"
            f" {place.agreement_id}: {e.message}",
            rule="labels.policy",
            hint="let it be signed in a channel under the agreement that it is for",
        ) from e


def _check_not_sent(tx: Transaction, draft: DraftPart) -> None:
    if drafts.sendings(tx, draft.channel, draft.header):
        raise AlreadySentError(f"the draft {draft.header.message_id} was sent already")
