"""`liaison agreement new`: a first version, from a template."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from liaison_cli import documents, offices
from liaison_cli.context import Context, command
from liaison_cli.errors import UsageProblemError

if TYPE_CHECKING:
    from liaison.labels import LabelPolicy
    from liaison.policy.agreement import Agreement

_DAY: Final = 86_400
_CLOCKS_DIFFER: Final = 300


class Template(StrEnum):
    """What an agreement starts from; the policy's own, for a help that loads none of it."""

    BILATERAL = "bilateral"
    MULTILATERAL = "multilateral"
    HUMANITARIAN = "humanitarian"
    HOTLINE = "hotline"
    EXERCISE = "exercise"


def new(
    cli: Context,
    *,
    template: Annotated[Template, typer.Option("--template", "--kind", help="What to start from.")],
    party: Annotated[list[Path], typer.Option(help="A party file; repeatable.")],
    relay: Annotated[Path, typer.Option(help="The relay's public identity, relay.json.")],
    agreement_id: Annotated[str, typer.Option("--id", help="Such as nor-deu-2026.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    title: Annotated[str, typer.Option(help="For people.")] = "",
    legal_basis: Annotated[str, typer.Option(help="For people.")] = "To be named by the parties.",
    days: Annotated[int, typer.Option(help="How long it is valid.", min=1, max=3660)] = 365,
    suite: Annotated[
        str | None, typer.Option(help="The cipher suite, such as 0xF002. [default: hybrid]")
    ] = None,
    label_policy: Annotated[
        str | None,
        typer.Option(
            help="A SPIF file, or nato, tlp, demo, unmarked. [default: the template's]",
        ),
    ] = None,
    ceiling: Annotated[
        str | None,
        typer.Option(
            help="The highest level that may be sent, and that all parties are cleared for."
            " [default: the policy's lowest]"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
) -> None:
    """Write an agreement as YAML, complete and valid, for people to change.

    A label policy that is not built in is put into the agreement, so that all
    parties sign what a label means.
    """
    from liaison.crypto import suites
    from liaison.policy import agreement_yaml, templates
    from liaison.policy.party import Party
    from liaison.policy.relay_identity import RelayIdentity

    documents.check_new(output, force=force)
    # A little before now: a device whose clock is behind must not wait for its own agreement.
    start = (offices.now() - _CLOCKS_DIFFER) // 60 * 60
    made = templates.new(
        templates.Template(template.value),
        agreement_id=agreement_id,
        parties=[Party.parse(documents.read(file)) for file in party],
        relay=RelayIdentity.parse(documents.read(relay)),
        valid_from=start,
        valid_until=start + days * _DAY,
        title=title,
        legal_basis=legal_basis,
        cipher_suite=suites.DEFAULT if suite is None else _suite(suite),
    )
    if label_policy is not None:
        from liaison_cli import labels

        made = _labelled(made, labels.named_policy(label_policy), ceiling)
    elif ceiling is not None:
        raise UsageProblemError("--ceiling is a level of --label-policy: give that, too")
    documents.write(output, agreement_yaml.render(made).encode())
    if output != documents.STANDARD:
        record = {"id": made.agreement_id, "version": made.version, "file": str(output)}
        cli.out.record(record, str(output))
        cli.out.hint(f"read it, change it, then: liaison agreement sign {output} -o FILE")


def register(app: typer.Typer) -> None:
    """Add the command to `liaison agreement`."""
    command(app)(new)


def _labelled(made: Agreement, policy: LabelPolicy, ceiling: str | None) -> Agreement:
    """Return the agreement under a label policy, all parties cleared up to the ceiling."""
    from liaison.labels import spif_xml
    from liaison.labels.builtin import BUILT_IN
    from liaison.policy.agreement import Agreement
    from liaison.policy.agreement_rules import ClearanceRule, LabelRules
    from liaison.policy.fields import Node
    from liaison.policy.who import Pattern

    lowest = policy.classifications[0]
    if ceiling is not None and ceiling not in policy.classifications:
        raise UsageProblemError(
            f"{ceiling!r} is not a level of {policy.name!r}",
            hint=f"levels are {', '.join(policy.classifications)}",
        )
    highest = ceiling or lowest
    default = policy.default_label()
    usual = default.classification if default is not None else lowest
    if policy.rank(usual) > policy.rank(highest):
        usual = highest
    # A nation's own text of a well-known policy has its id and may have more in it.
    built_in = BUILT_IN.find(policy.policy_id) is policy
    text = None if built_in else spif_xml.write(policy.spif).decode()
    everyone = tuple(Pattern.parse(str(code)) for code in made.codes)
    changed = replace(
        made,
        labels=LabelRules(policy.policy_id, highest, usual, text),
        clearances=(ClearanceRule(everyone, highest),),
    )
    # Checked like one that was read: the policy's text has its limits, too.
    return Agreement.from_node(Node.of(changed.document()))


def _suite(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise UsageProblemError(f"{text!r} is not a cipher suite, such as 0xF002") from None
