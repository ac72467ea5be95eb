"""What each request of the HTTP API takes, answers and may be refused as.

One entry for each route, in the order of the routes. Summaries are the handlers'
docstrings, bodies the models of `liaison.wire`; `openapi` makes the published
document of all three, and tests compare this with what handlers do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from liaison.relay.requests import PAGE, Size
from liaison.values import dataclass
from liaison.wire import v1
from liaison.wire.log import LogAnswer, LogQuery


class Who(StrEnum):
    """Whose session a request needs."""

    OPEN = "open"
    ANY = "any"
    DEVICE = "device"
    REGISTRAR = "registrar"
    OFFICE = "office"


class Raw(StrEnum):
    """Contents that are no JSON."""

    BYTES = "application/octet-stream"
    TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class Operation:
    """One request.

    Args:
        who: may make it.
        answer: what comes back; None for an empty answer.
        status: when it was done.
        codes: refusals of its own, beside those that any request may meet.
        body: what it carries; None for nothing.
        size: how large that may be.
        more: other statuses of the same answer.
        query: parameters after the question mark, each a decimal number or a text.
    """

    who: Who
    answer: type[v1.Body] | Raw | str | None
    status: int = 200
    codes: tuple[str, ...] = ()
    body: type[v1.Body] | Raw | None = None
    size: Size = Size.SMALL
    query: tuple[str, ...] = ()
    more: tuple[int, ...] = ()


STATE: Final = "state"
"""The answer of health checks: an object that says how the relay is."""
STREAM: Final = "stream"
"""The answer that opens the WebSocket."""

_DOCUMENT: Final = ("document.invalid", "document.signature_missing", "party.foreign")
_AGREEMENT: Final = ("agreement.unknown",)
_MEMBER: Final = ("channel.unknown", "channel.not_member")
_LOG: Final = ("agreement.unknown", "log.unknown", "party.foreign")
_TILE: Final = (*_LOG, "log.tile_unknown")
_HANDSHAKE: Final = (
    *_MEMBER,
    "channel.group_mismatch",
    "channel.epoch_conflict",
    "channel.commit_invalid",
    "policy.refused",
    "agreement.amendment_pending",
)
_ENROLMENT: Final = ("enrolment.unknown", "enrolment.expired")

OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/healthz"): Operation(Who.OPEN, STATE),
    ("GET", "/readyz"): Operation(Who.OPEN, STATE, codes=("log.refused", "schema.mismatch")),
    ("GET", "/v1/relay"): Operation(Who.OPEN, v1.RelayInfo),
    ("POST", "/v1/session/challenges"): Operation(
        Who.OPEN, v1.Challenge, 201, ("session.unauthenticated",), v1.ChallengeRequest, Size.OPEN
    ),
    ("POST", "/v1/session"): Operation(
        Who.OPEN,
        v1.Session,
        201,
        ("session.unauthenticated", "device.revoked", "rate.connections"),
        v1.SessionRequest,
        Size.OPEN,
    ),
    ("DELETE", "/v1/session"): Operation(Who.ANY, None, 204),
    ("POST", "/v1/enrolments"): Operation(
        Who.REGISTRAR,
        None,
        201,
        ("enrolment.exists", "enrolment.too_many", "party.foreign"),
        v1.Invitation,
    ),
    ("GET", "/v1/enrolments"): Operation(
        Who.REGISTRAR, v1.Enrolments, codes=("enrolment.unknown",), query=PAGE
    ),
    ("POST", "/v1/enrolments/{lookup}/request"): Operation(
        Who.OPEN,
        None,
        202,
        (*_ENROLMENT, "enrolment.already_requested"),
        v1.EnrolmentRequest,
        Size.OPEN,
    ),
    ("POST", "/v1/enrolments/{lookup}/reply"): Operation(
        Who.REGISTRAR,
        None,
        201,
        (*_ENROLMENT, "enrolment.state", "enrolment.certificate_refused"),
        v1.EnrolmentReply,
    ),
    ("GET", "/v1/enrolments/{lookup}/reply"): Operation(
        Who.OPEN, v1.SealedReply, codes=(*_ENROLMENT, "enrolment.pending")
    ),
    ("DELETE", "/v1/enrolments/{lookup}"): Operation(
        Who.REGISTRAR, None, 204, ("enrolment.unknown", "enrolment.state")
    ),
    ("POST", "/v1/revocations"): Operation(
        Who.REGISTRAR, v1.Document, 201, ("revocation.order", *_DOCUMENT), v1.Document
    ),
    ("GET", "/v1/parties/{code}/revocations"): Operation(
        Who.ANY, v1.Document, codes=("revocation.none",)
    ),
    ("GET", "/v1/agreements"): Operation(Who.ANY, v1.Agreements, query=PAGE),
    ("POST", "/v1/agreements"): Operation(
        Who.OFFICE,
        v1.ProposalStatus,
        201,
        (
            "agreement.version",
            "agreement.refused",
            "agreement.succession",
            "agreement.too_many_proposals",
            *_DOCUMENT,
        ),
        v1.Document,
        Size.LARGE,
    ),
    ("GET", "/v1/agreements/{id}"): Operation(
        Who.ANY, v1.Document, codes=_AGREEMENT, query=("version",)
    ),
    ("GET", "/v1/agreements/{id}/statements"): Operation(Who.ANY, v1.Documents, codes=_AGREEMENT),
    ("POST", "/v1/agreements/{id}/statements"): Operation(
        Who.OFFICE,
        v1.Document,
        201,
        (
            *_AGREEMENT,
            *_DOCUMENT,
            "statement.order",
            "statement.ahead",
            "statement.outdated",
            "agreement.too_many_proposals",
        ),
        v1.Document,
    ),
    ("GET", "/v1/agreements/{id}/exclusions"): Operation(
        Who.OFFICE, v1.Documents, codes=_AGREEMENT
    ),
    ("POST", "/v1/agreements/{id}/exclusions"): Operation(
        Who.OFFICE,
        v1.ExclusionStatus,
        201,
        (
            *_AGREEMENT,
            *_DOCUMENT,
            "exclusion.exists",
            "statement.ahead",
            "agreement.too_many_proposals",
        ),
        v1.Document,
    ),
    ("DELETE", "/v1/agreements/{id}/exclusions/{digest}"): Operation(
        Who.OFFICE, None, 204, (*_AGREEMENT, "proposal.unknown", "party.foreign")
    ),
    ("GET", "/v1/proposals"): Operation(Who.OFFICE, v1.Proposals),
    ("GET", "/v1/proposals/{digest}"): Operation(
        Who.OFFICE, v1.Document, codes=("proposal.unknown",)
    ),
    ("DELETE", "/v1/proposals/{digest}"): Operation(
        Who.OFFICE, None, 204, ("proposal.unknown", "party.foreign")
    ),
    ("GET", "/v1/devices"): Operation(
        Who.ANY, v1.Directory, codes=_AGREEMENT, query=("agreement", *PAGE)
    ),
    ("POST", "/v1/key-packages"): Operation(
        Who.DEVICE,
        v1.KeyPackageCounts,
        201,
        ("key_package.invalid", "key_package.too_many"),
        v1.KeyPackages,
        Size.LARGE,
    ),
    ("GET", "/v1/key-packages"): Operation(Who.DEVICE, v1.KeyPackageCounts),
    ("POST", "/v1/key-packages/claims"): Operation(
        Who.DEVICE, v1.Claimed, 201, (*_AGREEMENT, "party.foreign"), v1.Claim
    ),
    ("POST", "/v1/channels"): Operation(
        Who.DEVICE,
        v1.Sequenced,
        201,
        (
            *_AGREEMENT,
            "agreement.not_active",
            "channel.exists",
            "channel.too_many",
            "channel.group_refused",
            "policy.refused",
        ),
        v1.NewChannel,
        Size.LARGE,
    ),
    ("GET", "/v1/channels"): Operation(
        Who.DEVICE, v1.Channels, codes=("channel.unknown",), query=PAGE
    ),
    ("GET", "/v1/channels/{channel}"): Operation(Who.DEVICE, v1.Channel, codes=_MEMBER),
    ("POST", "/v1/channels/{channel}/commits"): Operation(
        Who.DEVICE,
        v1.Sequenced,
        201,
        (
            *_HANDSHAKE,
            "channel.removal_pending",
            "channel.removal_lapsed",
            "channel.rejection_unfounded",
            "agreement.not_active",
            "log.grace_over",
        ),
        v1.Commit,
        Size.LARGE,
    ),
    ("POST", "/v1/channels/{channel}/proposals"): Operation(
        Who.DEVICE, v1.Sequenced, 201, (*_HANDSHAKE, "channel.too_many_proposals"), v1.Proposal
    ),
    ("GET", "/v1/channels/{channel}/group"): Operation(Who.DEVICE, v1.GroupState, codes=_MEMBER),
    ("GET", "/v1/channels/{channel}/trees/{epoch}"): Operation(
        Who.DEVICE, v1.GroupState, codes=(*_MEMBER, "channel.epoch_unknown")
    ),
    ("GET", "/v1/channels/{channel}/outcomes/{message}"): Operation(
        Who.DEVICE, v1.Outcome, codes=("channel.unknown", "message.unknown")
    ),
    ("PUT", "/v1/channels/{channel}/blobs/{blob}"): Operation(
        Who.DEVICE,
        v1.Blob,
        201,
        (
            *_MEMBER,
            "blob.digest_mismatch",
            "blob.too_large",
            "blob.id_conflict",
            "blob.quota",
            "blob.too_many",
            "rate.attachments",
            "policy.refused",
        ),
        Raw.BYTES,
    ),
    ("GET", "/v1/channels/{channel}/blobs/{blob}"): Operation(
        Who.DEVICE,
        Raw.BYTES,
        codes=(*_MEMBER, "blob.unknown", "blob.range", "rate.attachments"),
        more=(206,),
    ),
    ("POST", "/v1/agreements/{id}/log"): Operation(
        Who.ANY, LogAnswer, codes=("agreement.unknown", "log.unknown"), body=LogQuery
    ),
    ("GET", "/v1/agreements/{id}/erasures/{digest}"): Operation(
        Who.ANY, Raw.TEXT, codes=("agreement.unknown", "log.report_unknown")
    ),
    ("GET", "/root-log/{generation}/checkpoint"): Operation(Who.ANY, Raw.TEXT, codes=_LOG),
    ("GET", "/root-log/checkpoint"): Operation(Who.ANY, Raw.TEXT, codes=_LOG),
    ("GET", "/log/{id}/{generation}/checkpoint"): Operation(Who.ANY, Raw.TEXT, codes=_LOG),
    ("GET", "/log/{id}/checkpoint"): Operation(Who.ANY, Raw.TEXT, codes=_LOG),
    ("GET", "/root-log/{generation}/tile/{tile}"): Operation(Who.ANY, Raw.BYTES, codes=_TILE),
    ("GET", "/root-log/tile/{tile}"): Operation(Who.ANY, Raw.BYTES, codes=_TILE),
    ("GET", "/log/{id}/{generation}/tile/{tile}"): Operation(Who.ANY, Raw.BYTES, codes=_TILE),
    ("GET", "/log/{id}/tile/{tile}"): Operation(Who.ANY, Raw.BYTES, codes=_TILE),
    ("GET", "/v1/stream"): Operation(Who.DEVICE, STREAM, 101, ("rate.streams",)),
}
