"""In which languages a channel is written.

The relay can't see it: a text part declares its language inside the encrypted content,
so this is judged by the sender's client and by every reader's. What a text really is
written in no program says; the declaration is what a post can be held to.

A listed language covers its narrower kinds, `en` also `en-GB` (RFC 4647 §3.3.1).
"""

from __future__ import annotations

from collections.abc import Iterable

from liaison.envelope.content import Content, Disposition, Part, Single
from liaison.policy.agreement import Agreement, UnknownChannelPolicyError
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.membership import rule
from liaison.policy.requests import Decision, deny


def check(content: Content, policy: ChannelPolicy) -> Decision | None:
    """Return why a text of a message is in no language of its channel, or None.

    Args:
        content: of the message; files are not asked.
        policy: the channel's.
    """
    listed, name = policy.languages, rule(policy, "languages")
    wanted = ", ".join(listed)
    for part in _texts(content.parts()) if listed else ():
        if not part.language:
            return deny(name, f"the text does not say in which language it is: {wanted}")
        if not any(_covers(language, part.language) for language in listed):
            shown = part.language if part.language.isprintable() else "another language"
            return deny(name, f"the text is in {shown}, the channel in {wanted}")
    return None


def usual(agreement: Agreement, channel: str) -> str:
    """Return the language of a text that declares none: the only one there is, or none."""
    try:
        listed = agreement.channel(channel).languages
    except UnknownChannelPolicyError:
        # Refused for that; nothing is said about languages then.
        return ""
    return listed[0] if len(listed) == 1 else ""


def _texts(parts: Iterable[Part]) -> list[Single]:
    return [
        one
        for one in parts
        if isinstance(one, Single) and one.text and one.disposition is not Disposition.ATTACHMENT
    ]


def _covers(listed: str, tag: str) -> bool:
    wide, narrow = listed.lower(), tag.lower()
    return narrow == wide or narrow.startswith(f"{wide}-")
