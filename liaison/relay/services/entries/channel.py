"""What happens in a channel: messages, handshakes, who comes and goes, what was delivered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from liaison.envelope.header import Header
from liaison.model import ChannelId, DeviceId, EndpointId
from liaison.policy.agreement import Agreement
from liaison.relay.recording import Draft
from liaison.tlog.commitment import Value
from liaison.tlog.entries import PolicyRef
from liaison.tlog.fields import EntryType
from liaison.tlog.sealing import Form
from liaison.trust import log_items
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which channel something stands, and who may open what is said of it.

    Args:
        agreement: the version that it was decided under; its log takes the entry.
        channel: the channel's id.
        key: the channel's row.
        audience: codes of the parties that had a device in the channel.
    """

    agreement: Agreement
    channel: ChannelId
    key: int
    audience: tuple[str, ...]


@lru_cache(maxsize=4096)
def parties_of(endpoints: frozenset[EndpointId]) -> tuple[str, ...]:
    """Return the codes of the endpoints' parties, sorted."""
    return tuple(sorted({str(one.party) for one in endpoints}))


def policy_of(agreement: Agreement) -> PolicyRef:
    """Return how an entry names a version of an agreement."""
    return _policy(agreement.version, agreement.digest())


_policy = lru_cache(maxsize=256)(PolicyRef)


# --- items ------------------------------------------------------------------------------


def form_of(sender: DeviceId, header: Header) -> Form:
    """Return what the entries of messages have in common whose headers are `alike`.

    Args:
        sender: of all of them.
        header: of one.
    """
    fields = log_items.message(sender, header, bytes(32))
    return Form(log_items.type_of(header), fields, log_items.OWN)


def message(
    place: Place,
    sender: DeviceId,
    header: Header,
    *,
    seq: int,
    epoch: int,
    size: int,
    digest: bytes,
    form: Form | None = None,
) -> Draft:
    """A message was accepted, or one that is a receipt.

    Args:
        place: where it stands.
        sender: who has sent it.
        header: of the message.
        seq: its number.
        epoch: of the group when it was made.
        size: in bytes.
        digest: SHA-256 of its ciphertext.
        form: what it has in common with others by the same sender.
    """
    if form is None:
        fields = log_items.message(sender, header, digest)
        return _item(place, log_items.type_of(header), fields, seq=seq, epoch=epoch, size=size)
    agreement = place.agreement
    # In the order of its fields: there is one for each message.
    return Draft(
        agreement.agreement_id, form.type, log_items.own(header, digest), place.channel, place.key,
        seq, epoch, policy_of(agreement), size, None, place.audience, None, form,
    )  # fmt: skip


def commit(
    place: Place,
    sender: DeviceId,
    *,
    seq: int,
    epoch: int,
    size: int,
    digest: bytes,
    added: Iterable[DeviceId],
    removed: Iterable[DeviceId],
) -> Draft:
    """An epoch was ended.

    Args:
        place: the audience are the parties of those who were in the channel before or are after.
        sender: who committed.
        seq: the commit's number.
        epoch: that it ended.
        size: of the commit in bytes.
        digest: SHA-256 of the commit.
        added: the devices that came in; one that came back by itself is added and removed.
        removed: the devices whose leaves went.
    """
    fields = log_items.commit(sender, digest, added=added, removed=removed)
    return _item(place, EntryType.COMMIT, fields, seq=seq, epoch=epoch, size=size)


def proposal(
    place: Place, sender: DeviceId | None, *, seq: int, epoch: int, size: int, digest: bytes
) -> Draft:
    """A proposal waits for a commit; the relay's own has no sender."""
    fields = log_items.proposal(sender, digest)
    return _item(place, EntryType.ACCEPTED, fields, seq=seq, epoch=epoch, size=size)


def _item(
    place: Place,
    type_: EntryType,
    fields: dict[str, Value],
    *,
    seq: int,
    epoch: int,
    size: int,
) -> Draft:
    agreement = place.agreement
    return Draft(
        agreement.agreement_id,
        type_,
        fields,
        channel=place.channel,
        channel_key=place.key,
        seq=seq,
        epoch=epoch,
        policy=policy_of(agreement),
        size=size,
        audience=place.audience,
    )


# --- people -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A device came into a channel, left it, or came back.

    Args:
        device: which.
        change: `founded`, `added`, `removed`, `returned` or `renewed` (another certificate).
        reason: why it was removed, where the relay knows.
    """

    device: DeviceId
    change: str
    reason: str | None = None


def members(place: Place, changes: Sequence[Change], *, epoch: int) -> list[Draft]:
    """Who came and went with the beginning of an epoch."""
    return [
        Draft(
            log=place.agreement.agreement_id,
            type=EntryType.MEMBER,
            fields={
                "party": str(one.device.party),
                "device": str(one.device),
                "change": one.change,
                "reason": one.reason,
            },
            channel=place.channel,
            channel_key=place.key,
            epoch=epoch,
            audience=place.audience,
        )
        for one in changes
    ]


def delivered(place: Place, device: DeviceId, first: int, last: int) -> Draft:
    """A device has acknowledged the channel's items from `first` to `last`."""
    fields: dict[str, Value] = {
        "party": str(device.party),
        "device": str(device),
        "first": first,
        "last": last,
    }
    return Draft(
        log=place.agreement.agreement_id,
        type=EntryType.DELIVERED,
        fields=fields,
        channel=place.channel,
        channel_key=place.key,
        audience=place.audience,
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that somebody was refused.

    Args:
        party: whose device or office it was.
        device: None for an office.
        action: what was asked for: `send`, `commit`, ...
        code: of the problem.
        rule: of the agreement, where one decided.
    """

    party: str
    device: str | None
    action: str
    code: str
    rule: str | None


def refused(
    agreement: Agreement,
    refusal: Refusal,
    count: int | None = None,
    channel: tuple[ChannelId, int] | None = None,
) -> Draft:
    """What the agreement does not allow was asked for; only the asking party may open that.

    Args:
        agreement: the version that decided.
        refusal: what was refused.
        count: how many were refused since the last entry of this kind; None for a single one.
        channel: id and row.
    """
    fields: dict[str, Value] = {
        "party": refusal.party,
        "device": refusal.device,
        "action": refusal.action,
        "code": refusal.code,
        "rule": refusal.rule,
        "count": count,
    }
    id_, key = channel if channel is not None else (None, None)
    return Draft(
        log=agreement.agreement_id,
        type=EntryType.REFUSED,
        fields=fields,
        channel=id_,
        channel_key=key,
        policy=policy_of(agreement),
        audience=(refusal.party,),
    )
