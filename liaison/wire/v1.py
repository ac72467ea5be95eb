"""Bodies of the HTTP API, version 1.

Strict: unknown members are refused, sizes are bounded before anything is
decoded further, bytes travel as base64url without padding. Messages do not
come this way; they have the WebSocket (`frames`).
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from liaison.wire import frames


def _b64decode(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or "=" in value:
        raise ValueError("base64url text without padding expected")
    try:
        data = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except binascii.Error as e:
        raise ValueError("not base64url") from e
    if b64encode(data) != value:
        # The last digit can carry bits that decode to nothing: one byte string, one text.
        raise ValueError("not the canonical base64url text")
    return data


def b64encode(data: bytes) -> str:
    """Return base64url text without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


B64 = Annotated[bytes, BeforeValidator(_b64decode), PlainSerializer(b64encode, when_used="json")]
Digest = Annotated[B64, Field(min_length=32, max_length=32)]
Nonce = Digest
Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Handshake = Annotated[B64, Field(min_length=1, max_length=4 << 20)]
"""A commit, Welcome, GroupInfo or ratchet tree: up to 4 MiB."""
Small = Annotated[B64, Field(min_length=1, max_length=64 << 10)]
Letter = Annotated[B64, Field(min_length=1, max_length=1 << 20)]
"""A sealed enrolment reply: chains and anchors of ML-DSA come to some 100 KiB."""
Name = Annotated[str, Field(min_length=1, max_length=200)]
U64 = Annotated[int, Field(ge=0, lt=frames.LIMIT)]
"""A number that databases store with a sign, so one bit less than its name says."""
U16 = Annotated[int, Field(ge=0, lt=1 << 16)]
TimeMs = Annotated[int, Field(ge=0, le=frames.MAX_TIME_MS)]


class Body(BaseModel):
    """Base of every body: strict, closed, immutable."""

    # Inputs stay out of error texts: a token may be among them.
    # Built at first use: a command needs five of them, and building all takes longer than its work.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True
    )


class Page(Body):
    """A list that may be longer than one answer; `next` says where the rest of it begins.

    It is left out where there is no more, so that who knows of no pages reads a whole list as
    ever, and refuses a part of one instead of taking it for the whole.
    """

    next: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialize(self)
        if self.next is None:
            del found["next"]
        return found


# --- the relay itself -------------------------------------------------------------------


class RelayInfo(Body):
    """Who the relay says it is. Never an anchor: a client compares it with what it pinned."""

    identity: dict[str, Any]
    version: str
    time_ms: TimeMs
    max_frame: U64
    max_blob: U64


# --- sessions ---------------------------------------------------------------------------


class ChallengeRequest(Body):
    """`POST /v1/session/challenges`."""

    principal: Name
    key: Digest
    client_nonce: Nonce
    origin: Name


class Challenge(Body):
    """The relay's half; `challenge` is opaque and goes back as it came."""

    relay_nonce: Nonce
    relay_key: B64
    signature: Small
    challenge: Small


class SessionRequest(Body):
    """`POST /v1/session`."""

    challenge: Small
    signature: Small


class Session(Body):
    """A token for `Authorization: Bearer ...` and when it ends."""

    # RFC 6750 §2.1: it goes into a header, where anything else would be none or a second one.
    token: Annotated[str, Field(repr=False, max_length=4096, pattern=r"^[A-Za-z0-9._~+/-]+=*$")]
    expires_ms: TimeMs
    time_ms: TimeMs
    state_version: U64 = 0


# --- enrolment --------------------------------------------------------------------------


class Invitation(Body):
    """`POST /v1/enrolments`, by a registrar: a lookup id is expected. The secret stays away."""

    lookup: Hex16
    device: Name
    expires_ms: TimeMs


class EnrolmentRequest(Body):
    """`POST /v1/enrolments/{lookup}/request`: sealed under the code's secret."""

    sealed: Small


class EnrolmentReply(Body):
    """`POST /v1/enrolments/{lookup}/reply`: the chains in the clear, for the relay, and sealed.

    `certificates` has one DER chain, leaf first, per signature scheme.
    """

    certificates: Annotated[list[Annotated[list[Small], Field(max_length=4)]], Field(max_length=8)]
    sealed: Letter


class SealedReply(Body):
    """`GET /v1/enrolments/{lookup}/reply`."""

    sealed: Letter


class Enrolment(Body):
    """One invitation as its registrar sees it."""

    lookup: Hex16
    device: Name
    state: str
    """`invited`, `requested`, `approved`, `withdrawn` or `expired`."""
    expires_ms: TimeMs
    sealed_request: B64 | None = None


class Enrolments(Page):
    """`GET /v1/enrolments`, by a registrar."""

    enrolments: list[Enrolment]


# --- signed documents -------------------------------------------------------------------


class Document(Body):
    """A signed document (DSSE envelope, JSON bytes).

    An agreement, a revocation list, a statement of participation or an exclusion.
    `accepted_ms` is when the relay admitted an agreement, by its own word.
    """

    envelope: Annotated[B64, Field(min_length=1, max_length=1 << 20)]
    accepted_ms: TimeMs | None = None


class Documents(Body):
    """Several signed documents, such as `GET /v1/agreements/{id}/statements`."""

    documents: list[Document]


class AgreementSummary(Body):
    """One agreement that the caller's party takes part in."""

    id: Name
    version: U64
    digest: Digest


class Agreements(Page):
    """`GET /v1/agreements`."""

    agreements: list[AgreementSummary]


class ProposalStatus(Body):
    """`POST /v1/agreements`: a version of an agreement, who has signed it and who has not.

    `active` once the relay has admitted it; from then on it takes effect at its `valid_from`.
    """

    id: Name
    version: U64
    digest: Digest
    signed: list[Name]
    missing: list[Name]
    active: bool


class Proposals(Body):
    """`GET /v1/proposals`: versions that the caller's party has to do with and that wait."""

    proposals: list[ProposalStatus]


class ExclusionStatus(Body):
    """`POST /v1/agreements/{id}/exclusions`: who is to be excluded, and who has signed.

    `missing` names the others that have not; `in_force` says whether the agreement's rule is met.
    """

    party: Name
    signed: list[Name]
    missing: list[Name]
    in_force: bool


class RegisteredDevice(Body):
    """One device in the directory; its chains are checked by whoever uses them."""

    device: Name
    revoked: bool = False
    chains: list[list[Small]] = []


class Directory(Page):
    """`GET /v1/devices?agreement=...`, or a registrar's own party without the query."""

    devices: list[RegisteredDevice]


# --- key packages -----------------------------------------------------------------------


class KeyPackages(Body):
    """`POST /v1/key-packages`: MLSMessage bytes each; one may be the last resort."""

    suite: U16
    key_packages: Annotated[list[Small], Field(max_length=200)]
    last_resort: Small | None = None


class KeyPackageCount(Body):
    """How many single-use packages of a suite the relay has left for the device."""

    suite: U16
    available: U64
    last_resort: bool


class KeyPackageCounts(Body):
    """`GET /v1/key-packages`."""

    counts: list[KeyPackageCount]


class Claim(Body):
    """`POST /v1/key-packages/claims`: one package for each device of an endpoint."""

    agreement: Name
    endpoint: Name
    suite: U16


class ClaimedKeyPackage(Body):
    """A package to put into an Add."""

    device: Name
    key_package: Small


class Claimed(Body):
    """The packages, and the devices that have none of this suite."""

    key_packages: list[ClaimedKeyPackage]
    without: list[Name]


# --- channels ---------------------------------------------------------------------------


class NewChannel(Body):
    """`POST /v1/channels`: a group at epoch 0 whose only member is the creating device."""

    channel: Hex16
    group_info: Handshake
    tree: Handshake


class Commit(Body):
    """`POST /v1/channels/{channel}/commits`: all of it is accepted, or nothing.

    `commit` is a PublicMessage; `welcome` is there when it adds members;
    `group_info` is of the new epoch, signed, without the tree.
    """

    commit: Handshake
    welcome: Handshake | None = None
    group_info: Handshake
    state_version: U64


class Proposal(Body):
    """`POST /v1/channels/{channel}/proposals`: a PublicMessage."""

    proposal: Small
    state_version: U64


class Sequenced(Body):
    """A handshake message is durable at `seq`; `epoch` is the channel's epoch after it."""

    seq: U64
    epoch: U64
    digest: Digest
    time_ms: TimeMs


class Outcome(Body):
    """`GET /v1/channels/{channel}/outcomes/{message}`: what became of an own message."""

    seq: U64
    digest: Digest
    time_ms: TimeMs


class GroupState(Body):
    """`GET /v1/channels/{channel}/group`: for a device that joins by external commit.

    Also `GET /v1/channels/{channel}/trees/{epoch}` for one that holds a Welcome
    (`group_info` is then absent).
    """

    epoch: U64
    tree: Handshake
    group_info: Handshake | None = None


class Member(Body):
    """A leaf as the relay's public tree has it."""

    leaf: U64
    device: Name


class Channel(Body):
    """A channel as the relay knows it."""

    channel: Hex16
    agreement: Name
    agreement_version: U64
    policy: Name
    epoch: U64
    head: U64
    members: list[Member]
    pending_removals: list[U64] = []


class Channels(Page):
    """`GET /v1/channels`: those that the device is a member of."""

    channels: list[Channel]


class Blob(Body):
    """An attachment's ciphertext is durable."""

    blob: Hex16
    size: U64
    digest: Digest
