"""Documents that the tests of policy and trust start from."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.envelope.header import Header, HeaderLabel, Kind
from liaison.model import EndpointId, MessageId, Precedence
from liaison.policy import templates
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.keys import VerifyKey
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.who import Pattern, Who
from tests.support.world import World

NOW = 1_795_000_000
DAY = 86_400
ATTACHE = EndpointId.parse("nor/defatt-berlin")
OFFICER = EndpointId.parse("deu/lno-j3")
OUTSIDER = EndpointId.parse("swe/desk")
SENDER_SCHEMES = (SignatureScheme.ED25519, SignatureScheme.P256, SignatureScheme.P384)


@cache
def world() -> World:
    return World(now=NOW)


@cache
def relay_keys() -> dict[SignatureScheme, SigningKey]:
    return {scheme: SigningKey.generate(scheme) for scheme in SENDER_SCHEMES}


@cache
def relay() -> RelayIdentity:
    identity = SigningKey.generate(SignatureScheme.ED25519)
    return RelayIdentity(
        "relay.example",
        "https://relay.example:8443",
        (VerifyKey.of(identity),),
        tuple(VerifyKey.of(key) for key in relay_keys().values()),
    )


@cache
def agreement(kind: AgreementKind = AgreementKind.BILATERAL) -> Agreement:
    codes = ("NOR", "DEU") if kind is AgreementKind.BILATERAL else ("NOR", "DEU", "UN-OCHA")
    return templates.new(
        kind,
        agreement_id="nor-deu-2026",
        parties=[world().party(code).party for code in codes],
        relay=relay(),
        valid_from=NOW - DAY,
        valid_until=NOW + 365 * DAY,
    )


def ruled(kind: AgreementKind = AgreementKind.BILATERAL, **changes: Any) -> Agreement:
    """A template's agreement with some fields of its first channel policy changed."""
    made = agreement(kind)
    return replace(made, channels=(replace(made.channels[0], **changes), *made.channels[1:]))


def read_again(draft: Agreement) -> Agreement:
    """The agreement as everyone else has it: from its canonical bytes."""
    return Agreement.from_payload(draft.payload())


def people(*patterns: str) -> Who:
    return tuple(Pattern.parse(pattern) for pattern in patterns)


def document(**changes: Any) -> dict[str, Any]:
    """The agreement's document with some fields changed."""
    return {**agreement().document(), **changes}


def header(**changes: Any) -> Header:
    plain = Header(
        message_id=MessageId(bytes(range(16))),
        kind=Kind.TEXT,
        action=Precedence.ROUTINE,
        info=Precedence.ROUTINE,
        dtg=NOW,
        label=HeaderLabel("liaison.unmarked", "UNMARKED"),
        agreement_id=agreement().agreement_id,
        agreement_version=agreement().version,
    )
    return replace(plain, **changes)
