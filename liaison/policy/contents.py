"""What the relay can't see of a message: the languages of its texts, and its files.

The sender's client judges it before it encrypts, every reader's before it shows
anything; the relay bounds no more than the size of what is uploaded.
"""

from __future__ import annotations

from liaison import words
from liaison.envelope.attachment import Attachment
from liaison.envelope.content import Content, Disposition, External, Part, Single
from liaison.errors import LiaisonError
from liaison.policy import languages
from liaison.policy.agreement import Agreement, UnknownChannelPolicyError
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.membership import rule
from liaison.policy.requests import Decision, deny


def judge(content: Content, agreement: Agreement, channel: str) -> Decision | None:
    """Return why a channel does not take such a content, or None where it does.

    Args:
        content: of the message.
        agreement: in the version of the message's epoch.
        channel: name of the channel's policy.
    """
    try:
        policy = agreement.channel(channel)
    except UnknownChannelPolicyError as error:
        return deny("channel.unknown", error.message)
    return languages.check(content, policy) or _check_files(content, policy)


def check_count(count: int, policy: ChannelPolicy) -> Decision | None:
    """Return why a message has too many files, or None."""
    most = policy.attachments.max_count
    if count <= most:
        return None
    name = rule(policy, "attachments.max_count")
    return deny(name, f"at most {words.count(most, 'file')} may be attached, here are {count}")


def check_file(name: str, media_type: str, size: int, policy: ChannelPolicy) -> Decision | None:
    """Return why a file may not be attached, or None.

    Args:
        name: what people know it by.
        media_type: as its sender says.
        size: of the file, bytes.
        policy: the channel's.
    """
    rules = policy.attachments
    if size > rules.max_bytes:
        return deny(
            rule(policy, "attachments.max_bytes"),
            f"{name} has {size} bytes, allowed are {rules.max_bytes}",
        )
    if not rules.allows(media_type):
        return deny(
            rule(policy, "attachments.media_types"),
            f"{name} is {media_type}, which may not be attached here",
        )
    return None


def _check_files(content: Content, policy: ChannelPolicy) -> Decision | None:
    files = [part for part in content.parts() if _is_file(part)]
    refusal = check_count(len(files), policy)
    for number, part in enumerate(files, 1):
        refusal = refusal or _check_part(f"file {number}", part, policy)
    return refusal


def _is_file(part: Part) -> bool:
    # A file's bytes may also stand in the message itself.
    return isinstance(part, External) or (
        isinstance(part, Single) and part.disposition is Disposition.ATTACHMENT
    )


def _check_part(name: str, part: Part, policy: ChannelPolicy) -> Decision | None:
    match part:
        case External():
            kind = part.media_type if part.media_type.isprintable() else "of no known type"
            return check_file(name, kind, _size(part), policy)
        case Single():
            kind = part.media_type if part.media_type.isprintable() else "of no known type"
            return check_file(name, kind, len(part.data), policy)
        case _:
            return None


def _size(part: External) -> int:
    try:
        return Attachment.from_part(part).size
    except LiaisonError:
        # Not a file that clients here can fetch; the size is what its sender says.
        return part.size
