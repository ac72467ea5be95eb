"""Agreements to start a negotiation from.

Each template is complete and valid as it is; people change it as YAML. Nothing
here is a default of the program: what an agreement does not say is not allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
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
from liaison.policy.channel_rules import (
    AnswerTimes,
    AttachmentRules,
    KeyRules,
    Quotas,
    SendRule,
    WatchHours,
)
from liaison.policy.fields import Node
from liaison.policy.log_rules import LogRules
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.who import Pattern, Who
from liaison.values import dataclass

_DAY: Final = 86400
_HOUR: Final = 3600
_MINUTE: Final = 60
_KINDS: Final = (Kind.TEXT, Kind.NOTICE, Kind.FORM, Kind.FILE)


class Template(StrEnum):
    """What to start from: one for each kind of agreement, and the hotline, a bilateral one."""

    BILATERAL = "bilateral"
    MULTILATERAL = "multilateral"
    HUMANITARIAN = "humanitarian"
    HOTLINE = "hotline"
    EXERCISE = "exercise"


def new(  # noqa: PLR0913  an agreement has so many parts, all by name
    template: Template | AgreementKind,
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
    """Return the first version of an agreement, checked like one that was read.

    Args:
        template: which one; a kind of agreement stands for the template of its name.
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
    plan = _PLANS[Template(template.value)]
    codes = tuple(party.code for party in parties)
    draft = Agreement(
        agreement_id=agreement_id,
        version=1,
        previous=None,
        kind=plan.kind,
        title=title or " - ".join(str(code) for code in codes),
        legal_basis=legal_basis,
        valid_from=valid_from,
        valid_until=valid_until,
        parties=tuple(parties),
        relay=relay,
        witnesses=(),
        log=LogRules(report_after=10 * _MINUTE, grace=_DAY),
        cipher_suite=cipher_suite,
        labels=plan.labels,
        clearances=(ClearanceRule(_everyone(codes), plan.labels.ceiling),),
        times=TimeRules(ahead=300, behind=_DAY),
        status=StatusRules(max_age=30 * _DAY, overdue=plan.overdue),
        exclusion=plan.exclusion,
        duties=MappingProxyType({}),
        residual_duties="",
        retention_days=plan.retention_days,
        roles=plan.roles(codes),
        channels=plan.channels(codes),
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


def _hotline(codes: Sequence[PartyCode]) -> tuple[ChannelPolicy, ...]:
    everyone, administrators = _everyone(codes), (Pattern.parse("role:administrators"),)
    text = "The line that is always manned. Test it daily; answer within the times agreed."
    plain = _channel("hotline", text, codes, highest=Precedence.FLASH)
    return (
        replace(
            plain,
            create=administrators,
            add=administrators,
            remove=administrators,
            max_members=40,
            max_message_bytes=128 * 1024,
            attachments=AttachmentRules(
                max_count=4,
                max_bytes=10 * 1024**2,
                media_types=("application/pdf", "image/*", "text/plain"),
            ),
            retention_days=_SHORT_DAYS,
            keys=KeyRules(
                past_epochs=8,
                past_max_age=_SHORT_DAYS * _DAY,
                epoch_max_age=_DAY,
                leaf_max_age=_DAY * 3,
                unseen_max_age=14 * _DAY,
            ),
            answers=MappingProxyType(
                {
                    Precedence.FLASH: AnswerTimes(acknowledge=5 * _MINUTE, reply=30 * _MINUTE),
                    Precedence.IMMEDIATE: AnswerTimes(acknowledge=15 * _MINUTE, reply=2 * _HOUR),
                    Precedence.PRIORITY: AnswerTimes(acknowledge=_HOUR, reply=12 * _HOUR),
                    Precedence.ROUTINE: AnswerTimes(acknowledge=4 * _HOUR, reply=_DAY),
                    Precedence.DEFERRED: AnswerTimes(acknowledge=_DAY, reply=0),
                }
            ),
            watch=(WatchHours(everyone, tuple(range(7)), 0, _DAY),),
            quotas=Quotas(devices=20, administrators=2),
        ),
    )


def _no_roles(codes: Sequence[PartyCode]) -> Mapping[str, Who]:
    del codes
    return MappingProxyType({})


def _administrators(codes: Sequence[PartyCode]) -> Mapping[str, Who]:
    # Whoever holds such an endpoint; the quota keeps each party to two at a time.
    named = tuple(Pattern.parse(f"{str(code).lower()}/admin-*") for code in codes)
    return MappingProxyType({"administrators": named})


_SHORT_DAYS: Final = 7
_NO_LABELS: Final = LabelRules(UNMARKED.policy_id, "UNMARKED", "UNMARKED")
_SHARED: Final = LabelRules(TLP.policy_id, "TLP:AMBER", "TLP:GREEN")


@dataclass(frozen=True, slots=True)
class _Plan:
    """In what a template differs from the others."""

    kind: AgreementKind
    channels: Callable[[Sequence[PartyCode]], tuple[ChannelPolicy, ...]]
    labels: LabelRules = _NO_LABELS
    # Two that talk to each other keep talking; where many do, one that hides weighs more.
    overdue: Overdue = Overdue.WARN
    exclusion: ExclusionRule = ExclusionRule.ALL_OTHERS
    retention_days: int = 30
    roles: Callable[[Sequence[PartyCode]], Mapping[str, Who]] = _no_roles


_PLANS: Final = {
    Template.BILATERAL: _Plan(AgreementKind.BILATERAL, _liaison, exclusion=ExclusionRule.NEVER),
    Template.MULTILATERAL: _Plan(AgreementKind.MULTILATERAL, _coalition, overdue=Overdue.STOP),
    Template.HUMANITARIAN: _Plan(AgreementKind.HUMANITARIAN, _coalition, labels=_SHARED),
    Template.HOTLINE: _Plan(
        AgreementKind.BILATERAL,
        _hotline,
        exclusion=ExclusionRule.NEVER,
        retention_days=_SHORT_DAYS,
        roles=_administrators,
    ),
    Template.EXERCISE: _Plan(AgreementKind.EXERCISE, _exercise),
}
