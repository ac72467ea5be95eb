"""Templates: each an agreement as it is, which people can read and change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import Kind
from liaison.labels import Label
from liaison.model import EndpointId, PartyCode, Precedence
from liaison.policy import agreement_yaml, signing, simulate, templates
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.agreement_rules import Overdue
from liaison.policy.errors import DocumentError
from liaison.policy.evaluate import AddEndpoint, CreateChannel, SendMessage, evaluate
from liaison.policy.labelling import header_label
from liaison.policy.standing import EVERYONE
from liaison.policy.templates import Template
from tests.core.policy.documents import (
    ATTACHE,
    DAY,
    NOW,
    OFFICER,
    header,
    read_again,
    relay,
    world,
)

ADMIN = EndpointId.parse("nor/admin-1")
MULTILATERAL = (Template.MULTILATERAL, Template.HUMANITARIAN, Template.EXERCISE)


def made(template: Template | AgreementKind, *codes: str) -> Agreement:
    return templates.new(
        template,
        agreement_id="nor-deu-2026",
        parties=[world().party(code).party for code in codes or ("NOR", "DEU")],
        relay=relay(),
        valid_from=NOW - DAY,
        valid_until=NOW + 365 * DAY,
    )


@pytest.mark.parametrize("template", Template)
def test_every_template_is_an_agreement_that_people_can_read_and_change(
    template: Template,
) -> None:
    draft = made(template)
    text = agreement_yaml.render(draft)

    assert read_again(draft) == draft
    assert agreement_yaml.parse(text) == draft
    # A comment over each part, and nothing of the parts' text is one.
    assert "\n# Channel policies. Whoever is not in a list may not" in text
    assert agreement_yaml.parse(text.replace("title: NOR - DEU", "title: Ours")).title == "Ours"


@pytest.mark.parametrize("template", Template)
def test_every_template_is_signed_by_its_parties_and_lets_them_talk(template: Template) -> None:
    draft = made(template)
    envelope = signing.sign(draft, world().party("NOR").authority_key)
    agreed = signing.verify(signing.add_signature(envelope, world().party("DEU").authority_key))
    default = Label(agreed.labels.policy, agreed.labels.default)

    for policy in agreed.channels:
        request = SendMessage(
            ATTACHE,
            policy.name,
            header(label=header_label(default, bytes(16))),
            1000,
            (ATTACHE, OFFICER),
        )
        assert evaluate(request, agreed, NOW, standing=EVERYONE).allow
        assert evaluate(CreateChannel(ADMIN, policy.name), agreed, NOW, standing=EVERYONE).allow


@pytest.mark.parametrize("template", MULTILATERAL)
def test_what_is_for_many_is_for_many(template: Template) -> None:
    assert len(made(template, "NOR", "DEU", "UN-OCHA").parties) == 3


@pytest.mark.parametrize("template", [Template.BILATERAL, Template.HOTLINE])
def test_what_is_between_two_is_between_two(template: Template) -> None:
    with pytest.raises(DocumentError, match="must be two"):
        made(template, "NOR", "DEU", "UN-OCHA")


@pytest.mark.parametrize("kind", AgreementKind)
def test_every_kind_of_agreement_has_the_template_of_its_name(kind: AgreementKind) -> None:
    assert made(kind) == made(Template(kind.value))
    assert made(kind).kind is kind


# --- the hotline ------------------------------------------------------------------------


def hotline() -> Agreement:
    return made(Template.HOTLINE)


def test_the_hotline_stays_open_and_keeps_nothing_for_long() -> None:
    (policy,) = hotline().channels

    assert hotline().kind is AgreementKind.BILATERAL
    assert hotline().status.overdue is Overdue.WARN
    assert (hotline().retention_days, policy.retention_days) == (7, 7)
    flash = SendMessage(
        ATTACHE, "hotline", header(action=Precedence.FLASH), 1000, (ATTACHE, OFFICER)
    )
    assert evaluate(flash, hotline(), NOW, standing=EVERYONE).allow
    override = replace(flash, header=header(action=Precedence.OVERRIDE))
    assert not evaluate(override, hotline(), NOW, standing=EVERYONE).allow
    assert Kind.TEXT in policy.send[0].kinds


def test_the_hotline_asks_for_answers_the_sooner_the_more_urgent_a_message_is() -> None:
    answers = hotline().channels[0].answers
    ordered = [answers[level] for level in Precedence if level is not Precedence.OVERRIDE]

    acknowledged = [one.acknowledge for one in ordered]
    replied = [one.reply for one in ordered if one.reply]
    assert acknowledged == sorted(acknowledged, reverse=True)
    assert replied == sorted(replied, reverse=True)
    assert all(one.acknowledge for one in ordered)


@given(at=st.integers(NOW - DAY, NOW + 400 * DAY))
def test_the_hotline_is_manned_at_every_hour(at: int) -> None:
    agreed = hotline()

    for endpoint in (ATTACHE, OFFICER):
        assert simulate.manned(agreed, agreed.channels[0], endpoint, at) is True


def test_the_hotline_has_two_administrators_of_each_party_and_nobody_else_adds() -> None:
    agreed = hotline()
    admins = [EndpointId(PartyCode("NOR"), f"admin-{number}") for number in range(3)]
    theirs = EndpointId.parse("deu/admin-1")

    def add(actor: EndpointId, added: EndpointId, *there: EndpointId) -> tuple[bool, str]:
        request = AddEndpoint(actor, "hotline", added, (actor, *there, added))
        decision = evaluate(request, agreed, NOW, standing=EVERYONE)
        return decision.allow, decision.rule.removeprefix("channels.hotline.")

    assert add(admins[0], admins[1]) == (True, "add")
    assert add(admins[0], admins[2], admins[1]) == (False, "quotas.administrators")
    assert add(admins[0], theirs, admins[1]) == (True, "add")
    assert add(admins[0], ATTACHE, admins[1]) == (True, "add")
    assert add(ATTACHE, OFFICER) == (False, "add")
