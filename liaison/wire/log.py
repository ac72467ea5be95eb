"""Bodies of the reading API of an agreement's log.

One question brings a client everything it has to follow: how the log has grown, the entries of its
channels, of the credentials that it has met, and of its own party's keys, each with its proof. An
answer stands by itself: everything in it is provable in the one checkpoint that it names, and
nothing in it is to be believed before that was done (`liaison.tlog`).

Checkpoints are signed notes, as text; entries are the log's bytes; hashes have 32 bytes. A disclosure
is the JSON form of `liaison.tlog.entries.Disclosure`, which has base64 as the log's formats do.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from liaison.policy.log_rules import MAX_GENERATION
from liaison.wire import v1

MAX_CHANNELS: Final = 64
MAX_CREDENTIALS: Final = 512
MAX_ENTRIES: Final = 256
"""In one answer: credentials come first, then channels in the order asked for, then keys."""

Note = Annotated[str, Field(min_length=1, max_length=256 << 10)]
Proof = Annotated[list[v1.Digest], Field(max_length=126)]


class FollowedChannel(v1.Body):
    """A channel, and the last place in it that the caller has followed through the log.

    0: from the first item that the caller may see.
    """

    channel: v1.Hex16
    after: v1.U64


class LogQuery(v1.Body):
    """`POST /v1/agreements/{id}/log`, by devices and offices of its parties.

    `size` is of the last checkpoint that the caller has verified, 0 if there is none. `generation` is the
    log's; the newest where it is left out. `credentials`
    are SHA-256 digests of the DER of leaf certificates. `keys_after`: all entries about keys and
    policy from this index on, itself among them; None asks for none. Of a key that is not for the
    caller's party only `party` is shown, so that a registrar sees that none of its own is kept back.
    """

    size: v1.U64 = 0
    generation: Annotated[int, Field(ge=1, le=MAX_GENERATION)] | None = None
    channels: Annotated[list[FollowedChannel], Field(max_length=MAX_CHANNELS)] = Field(
        default_factory=list
    )
    credentials: Annotated[list[v1.Digest], Field(max_length=MAX_CREDENTIALS)] = Field(
        default_factory=list
    )
    keys_after: v1.U64 | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ENTRIES)] = MAX_ENTRIES


class ProvenEntry(v1.Body):
    """An entry, where it stands, what the caller may open of it, and its proof of inclusion.

    The proof leads to the answer's `checkpoint`. `disclosure` is null where the entry's openings
    were erased, or are not for the caller.
    """

    index: v1.U64
    data: v1.Small
    disclosure: dict[str, Any] | None = None
    proof: Proof


class LogAnswer(v1.Body):
    """What the log has for a caller.

    `checkpoint` is the newest one that a quorum of the agreement's witnesses has cosigned, and null
    before there is one: then nothing else is in the answer. `newest` is the newest one that the relay
    has signed. `consistency` leads from the asked size to `checkpoint`'s; it is empty where there is
    nothing to show: from size 0, or from the same size.
    """

    checkpoint: Note | None = None
    newest: Note | None = None
    consistency: Proof = Field(default_factory=list)
    entries: Annotated[list[ProvenEntry], Field(max_length=MAX_ENTRIES)] = Field(
        default_factory=list
    )
    missing: Annotated[list[v1.Digest], Field(max_length=MAX_CREDENTIALS)] = Field(
        default_factory=list
    )
    """Of the asked credentials, those that are not in the log up to `checkpoint`."""
    more: bool = False
    """Whether the caller should ask again from where these entries end."""
