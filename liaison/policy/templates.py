"""Agreements to start a negotiation from.

Each template is complete and valid as it is; people change it as YAML. Nothing
here is a default of the program: what an agreement does not say is not allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

from liaison.crypto import suites
from liaison.envelope.header import Kind
from liaison.labels.builtin import TLP, UNMARKED
from liaison.model import PartyCode, Precedence
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.agreement_rules import (
    ClearanceRule,
    ExclusionRule,
    LabelRules,
    Overdue,
    StatusRules,
    TimeRules,
)
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.channel_rules import AttachmentRules, KeyRules, SendRule
from liaison.policy.fields import Node
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.who import Pattern, Who

_DAY: Final = 86400
_HOUR: Final = 3600
_KINDS: Final = (Kind.TEXT, Kind.NOTICE, Kind.FORM, Kind.FILE)


def new(  # noqa: PLR0913  an agreement has so many parts, all by name
    kind: AgreementKind,
    *,
    agreement_id: str,
    parties: Sequence[Party],
    relay: RelayIdentity,
    valid_from: int,
    valid_until: int,
    title: str = "",
    legal_basis: str = "To be named by the parties.",
    cipher_suite: int = suites.DEFAULT,
) -> Agreement:
    """Return the first version of an agreement of this kind, checked like one that was read.

    Args:
        kind: which template.
        agreement_id: small letters, digits and hyphens.
        parties: from their party files.
        relay: from its public identity document.
        valid_from: Unix seconds.
        valid_until: Unix seconds.
        title: for people; empty for one made of the parties' names.
        legal_basis: for people.
        cipher_suite: of every channel.

    Raises:
        DocumentError: the parts do not make an agreement, such as three parties in a bilateral one.
    """
    codes = tuple(party.code for party in parties)
    draft = Agreement(
        agreement_id=agreement_id,
        version=1,
        previous=None,
        kind=kind,
        title=title or " - ".join(str(code) for code in codes),
        legal_basis=legal_basis,
        valid_from=valid_from,
        valid_until=valid_until,
        parties=tuple(parties),
        relay=relay,
        witnesses=(),
        cipher_suite=cipher_suite,
        labels=_LABELS[kind],
        clearances=(ClearanceRule(_everyone(codes), _LABELS[kind].ceiling),),
        times=TimeRules(ahead=300, behind=_DAY),
        status=StatusRules(max_age=30 * _DAY, overdue=_OVERDUE[kind]),
        exclusion=_EXCLUSION[kind],
        duties=MappingProxyType({}),
        residual_duties="",
        retention_days=30,
        roles=MappingProxyType({}),
        channels=_CHANNELS[kind](codes),
    )
    return Agreement.from_node(Node.of(draft.document()))


def _everyone(codes: Sequence[PartyCode]) -> Who:
    return tuple(Pattern.parse(str(code)) for code in codes)


def _channel(
    name: str, description: str, codes: Sequence[PartyCode], *, highest: Precedence
) -> ChannelPolicy:
    everyone = _everyone(codes)
    return ChannelPolicy(
        name=name,
        description=description,
        create=everyone,
        add=everyone,
        remove=everyone,
        read=everyone,
        acknowledge=everyone,
        send=(SendRule(everyone, _KINDS, Precedence.DEFERRED, highest, everyone, everyone),),
        max_members=200,
        max_message_bytes=256 * 1024,
        attachments=AttachmentRules(max_count=16, max_bytes=100 * 1024**2, media_types=("*/*",)),
        retention_days=30,
        keys=KeyRules(
            past_epochs=8,
            past_max_age=30 * _DAY,
            epoch_max_age=7 * _DAY,
            leaf_max_age=14 * _DAY,
            unseen_max_age=30 * _DAY,
        ),
        max_expiry=0,
    )


def _liaison(codes: Sequence[PartyCode]) -> tuple[ChannelPolicy, ...]:
    text = "Daily liaison between the parties' officers and desks."
    return (_channel("liaison", text, codes, highest=Precedence.FLASH),)


def _coalition(codes: Sequence[PartyCode]) -> tuple[ChannelPolicy, ...]:
    text = "Notices to all parties."
    return (
        *_liaison(codes),
        _channel("notices", text, codes, highest=Precedence.IMMEDIATE),
    )


def _exercise(codes: Sequence[PartyCode]) -> tuple[ChannelPolicy, ...]:
    text = "Exercise traffic only; nothing here is real."
    return (_channel("exercise", text, codes, highest=Precedence.FLASH),)


_NO_LABELS: Final = LabelRules(UNMARKED.policy_id, "UNMARKED", "UNMARKED")
_SHARED: Final = LabelRules(TLP.policy_id, "TLP:AMBER", "TLP:GREEN")

_LABELS: Final = {
    AgreementKind.BILATERAL: _NO_LABELS,
    AgreementKind.MULTILATERAL: _NO_LABELS,
    AgreementKind.HUMANITARIAN: _SHARED,
    AgreementKind.EXERCISE: _NO_LABELS,
}
# Two that talk to each other keep talking; where many do, one that hides weighs more.
_OVERDUE: Final = {
    AgreementKind.BILATERAL: Overdue.WARN,
    AgreementKind.MULTILATERAL: Overdue.STOP,
    AgreementKind.HUMANITARIAN: Overdue.WARN,
    AgreementKind.EXERCISE: Overdue.WARN,
}
_EXCLUSION: Final = {
    AgreementKind.BILATERAL: ExclusionRule.NEVER,
    AgreementKind.MULTILATERAL: ExclusionRule.ALL_OTHERS,
    AgreementKind.HUMANITARIAN: ExclusionRule.ALL_OTHERS,
    AgreementKind.EXERCISE: ExclusionRule.ALL_OTHERS,
}
_CHANNELS: Final[
    dict[AgreementKind, Callable[[Sequence[PartyCode]], tuple[ChannelPolicy, ...]]]
] = {
    AgreementKind.BILATERAL: _liaison,
    AgreementKind.MULTILATERAL: _coalition,
    AgreementKind.HUMANITARIAN: _coalition,
    AgreementKind.EXERCISE: _exercise,
}
