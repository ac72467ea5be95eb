"""Messages as a program sees them: values to look at, and handles to answer through.

They are made of what is stored by `views`.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from liaison.envelope.attachment import Attachment as Descriptor
from liaison.envelope.header import Kind, MessageRef
from liaison.envelope.receipt import Answer, Status
from liaison.envelope.release import Part
from liaison.labels import Label
from liaison.model import ChannelId, DeviceId, EndpointId, MessageId, Precedence, format_dtg
from liaison.values import dataclass
from liaison_sdk.attachments import Report
from liaison_sdk.drafts import DraftView
from liaison_sdk.errors import AttachmentMalformedError
from liaison_sdk.markings import Marker
from liaison_sdk.store.messages import MessageState

if TYPE_CHECKING:
    from liaison_sdk.client import Client


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message; its content is still at the relay.

    Args:
        index: its place in the message, from zero.
        filename: safe to use as a name, and another one for each file of the message;
            not the sender's word for word.
        media_type: as the sender says.
        size: bytes.
        description: for people.
    """

    index: int
    filename: str
    media_type: str
    size: int
    description: str
    descriptor: Descriptor = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReceiptView:
    """What one device said about a message.

    Args:
        sender: the device; this one, too.
        status: what became of the message there.
        at: the device's time.
        answer: what the reader has answered.
        code: why the message could not be shown there.
        note: a sentence that goes with the answer.
        state: RECEIVED; of an own answer QUEUED until the relay has ruled, then ACCEPTED or
            REFUSED.
        reason_code, reason: why an own answer is refused.
    """

    sender: DeviceId
    status: Status
    at: datetime
    answer: Answer | None = None
    code: str = ""
    note: str = ""
    state: MessageState = MessageState.RECEIVED
    reason_code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message that was sent.

    Args:
        message_id: its id.
        channel: its channel.
        state: QUEUED, SENDING or ACCEPTED.
        seq: its place in the channel, once accepted.
        accepted_at: the relay's time, once accepted.
        number: its place in this device's outbox.
        answer: what it says where it is an answer; then `message_id` is the message's that it is
            about.
    """

    message_id: MessageId
    channel: ChannelId
    state: MessageState
    seq: int | None = None
    accepted_at: datetime | None = None
    number: int = 0
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message, own or another's.

    Header and content are there where they could be read and may be shown:
    `state` says so. Of a FAILED message nobody has vouched for the header. Text
    and names are the sender's: strip control characters before they go to a terminal.

    Args:
        id: unique with `sender`.
        channel_id, channel_name: where it is.
        sender: the device of the MLS leaf; None where it could not be learnt.
        outgoing: whether this device wrote it.
        state: where it stands.
        reason_code, reason: why it is refused, withheld or failed.
        kind: what it is for.
        precedence: for this reader.
        action, info: for those who are to act, and for the others.
        dtg: the drafter's time.
        to, copy: addressees.
        label, marking: confidentiality, as a value, and as its policy shows it to this reader.
        text, subject, language: what it says.
        attachments: files that came with it.
        in_reply_to: an earlier message.
        expires: when it is no longer shown.
        seq, accepted_at: its place in the channel, and the relay's time.
        logged: whether it is proven to be in the agreement's log, cosigned where that has
            witnesses.
        late: whether it should be by now, and was reported.
        given_up: whether it was logged in a part of the log that the parties have given up since.
        shown: whether a reader was given it.
        receipts: what others said about it, and what this device has answered.
        draft: what is to be reviewed, released and sent, where the message carries that.
    """

    id: MessageId
    channel_id: ChannelId
    channel_name: str
    sender: DeviceId | None
    outgoing: bool
    state: MessageState
    reason_code: str
    reason: str
    kind: Kind
    precedence: Precedence
    action: Precedence
    info: Precedence
    dtg: datetime | None
    to: tuple[EndpointId, ...]
    copy: tuple[EndpointId, ...]
    label: Label | None
    text: str = field(repr=False)
    subject: str = field(repr=False)
    language: str
    attachments: tuple[Attachment, ...] = field(repr=False)
    in_reply_to: MessageRef | None
    expires: datetime | None
    seq: int | None
    accepted_at: datetime | None
    shown: bool
    logged: bool
    late: bool
    given_up: bool
    receipts: tuple[ReceiptView, ...]
    draft: DraftView | None
    number: int = field(repr=False)
    marker: Marker = field(repr=False, compare=False)
    client: Client = field(repr=False, compare=False)

    @property
    def dtg_text(self) -> str:
        """The date-time group, `211530Z NOV 26`; empty where the header could not be read."""
        return "" if self.dtg is None else format_dtg(self.dtg)

    @property
    def marking(self) -> str:
        """The label as its policy shows it, in the reader's language."""
        return self.marker.mark(self.label)

    @property
    def ref(self) -> MessageRef | None:
        """What replies and receipts name it by."""
        return None if self.sender is None else MessageRef(self.sender, self.id)

    async def acknowledge(
        self, answer: Answer | str = Answer.ROGER, note: str = "", *, wait: bool = True
    ) -> Sent:
        """Tell the channel what this reader answers.

        It is stored here before it goes out, in the order in which it was said; the same
        said again while it waits is said once.

        Args:
            answer: what.
            note: a sentence that goes with it.
            wait: whether to wait until the relay has accepted it.

        Raises:
            PolicyRefusedError: the agreement does not let this device send receipts.
            ChannelClosedError: this device is not in the channel any more.
            MessageRefusedError: the relay refused it for good.
            ValueError: no such answer.
        """
        return await self.client.acknowledge(self, Answer(answer), note, wait=wait)

    async def review(self) -> Sent:
        """Sign the draft in this message as its reviewer, and send it on in this channel.

        Returns what became of the message with the new signature.

        Raises:
            NotADraftError: the message carries no draft, or one whose signatures don't hold.
            PolicyRefusedError: this endpoint may not review it.
        """
        return await self.client.sign_draft(self, Part.REVIEW)

    async def release(self) -> Sent:
        """Sign the draft in this message as its releaser, and send it on in this channel.

        Returns what became of the message with the new signature.

        Raises:
            NotADraftError: the message carries no draft, or one whose signatures don't hold.
            PolicyRefusedError: this endpoint may not release it.
        """
        return await self.client.sign_draft(self, Part.RELEASE)

    async def send_released(self, *, wait: bool = True) -> Sent:
        """Send the draft in this message, unchanged, into the channel that it was made for.

        Args:
            wait: whether to wait until the relay has accepted it.

        Raises:
            NotADraftError: the message carries no draft.
            NotReleasedError: signatures are missing, or one does not hold.
            AlreadySentError: it was sent already.
            PolicyRefusedError: the agreement does not allow it (any more).
            MessageRefusedError: the relay refused it for good.
        """
        return await self.client.send_released(self, wait=wait)

    async def save(
        self,
        attachment: Attachment | int,
        target: Path,
        *,
        overwrite: bool = False,
        progress: Report | None = None,
    ) -> Path:
        """Fetch an attachment; see `liaison_sdk.attachments.download`."""
        if isinstance(attachment, int):
            files = self.attachments if self.draft is None else self.draft.attachments
            if not 0 <= attachment < len(files):
                raise AttachmentMalformedError(f"the message has no attachment {attachment}")
            attachment = files[attachment]
        return await self.client.save(self, attachment, target, overwrite, progress)
