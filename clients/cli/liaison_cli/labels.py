"""`liaison label ...`: confidentiality labels, their policies, and who may have what.

These commands need no device and no relay: they read files and answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from liaison_cli import documents, offices
from liaison_cli.context import Context, command
from liaison_cli.errors import NotFoundError, UsageProblemError
from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison.labels import Label, LabelPolicies, LabelPolicy
    from liaison.labels.stanag4774 import ConfidentialityLabel

app = typer.Typer(
    help="Labels: show, check, decide who may have what.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_SHORT: Final = {
    "nato": "1.3.26.1.3.1",
    "tlp": "tlp-2.0",
    "demo": "liaison.demo",
    "unmarked": "liaison.unmarked",
}
_POLICY_HELP: Final = "A label policy: a SPIF file, or nato, tlp, demo, unmarked."
PolicyOption = Annotated[str, typer.Option("--policy", help=_POLICY_HELP)]
KnownOption = Annotated[
    list[str] | None,
    typer.Option("--known", help="Another policy, for labels of its own; repeatable."),
]
TimeOption = Annotated[
    str | None, typer.Option("--at", help="Decide for this time, in UTC. [default: now]")
]
LabelArgument = Annotated[Path, typer.Argument(help="A label or a binding, as XML.")]


def register(root: typer.Typer) -> None:
    """Add the group to `liaison`."""
    root.add_typer(app, name="label")


@command(app)
def show(
    cli: Context,
    label: LabelArgument,
    policy: Annotated[str | None, typer.Option("--policy", help=_POLICY_HELP)] = None,
    language: Annotated[str, typer.Option(help="Of the marking, such as fr.")] = "en",
    portion: Annotated[
        bool, typer.Option("--portion", help="The short marking, for a paragraph.")
    ] = False,
) -> None:
    """Show a label: its marking, and what it says.

    The marking follows the label's policy where that is given or built in, and
    is made of the bare names otherwise.
    """
    from liaison.labels import received
    from liaison.labels.builtin import BUILT_IN
    from liaison.labels.spif import MarkingCode

    given = None if policy is None else named_policy(policy)
    place = MarkingCode.PORTION_MARKING if portion else MarkingCode.PAGE_TOP
    for each in received.read_labels(documents.read(label)):
        known = given or BUILT_IN.named(each.sensitivity.policy)
        record = _record(each) | _marked(each, known, place, language)
        cli.out.record(record, _page(_lines(record)))


@command(app)
def check(
    cli: Context,
    label: LabelArgument,
    policy: PolicyOption,
    known: KnownOption = None,
    at: TimeOption = None,
    new: Annotated[
        bool, typer.Option("--new", help="The label is being given: nothing obsolete in it.")
    ] = False,
) -> None:
    """Check that a label is one of a policy.

    Exits 1 when it is not, with the rule that it breaks.
    """
    from liaison.labels import received

    rules = named_policy(policy)
    now = _time(at)
    labels = received.read_labels(documents.read(label))
    others = None if known is None else _known(known)
    found = received.label_for(rules, labels, now=now, known=others)
    rules.check(found, now=now, new=new)
    record = _short(found) | {"valid": True}
    cli.out.record(record, _page([f"{found.marking()}: a label of {rules.name!r}"]))


@command(app)
def decide(
    cli: Context,
    *,
    policy: PolicyOption,
    clearance: Annotated[
        Path | None, typer.Option(help="The clearance, as XML; without one the answer is deny.")
    ] = None,
    label: Annotated[
        Path | None, typer.Option(help="The label, as XML; without one the policy's default.")
    ] = None,
    known: KnownOption = None,
    at: TimeOption = None,
) -> None:
    """Decide whether a clearance covers a label.

    The answer is grant or deny, the rule that decided, and why. Exits 0 with
    either answer, and 1 without one: a file that can't be read or is
    no policy, clearance or label.
    """
    from liaison.labels import clearance as clearances
    from liaison.labels import received

    held = None if clearance is None else clearances.parse(documents.read(clearance))
    labels = () if label is None else received.read_labels(documents.read(label))
    answer = received.decide_received(
        named_policy(policy), held, labels, now=_time(at), known=_known(known)
    )
    record = {"decision": answer.decision, "rule": answer.rule, "reason": answer.reason}
    cli.out.record(record, _page([f"{answer.decision} ({answer.rule}): {answer.reason}"]))


@command(app, "policy")
def policy_(
    cli: Context,
    policy: Annotated[str, typer.Argument(help=_POLICY_HELP)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the policy there, as a SPIF file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
) -> None:
    """Check a label policy and show what it has, or write it to a file."""
    from liaison.labels import spif_xml

    found = named_policy(policy)
    if output is not None:
        documents.check_new(output, force=force)
        documents.write(output, spif_xml.write(found.spif))
        if output == documents.STANDARD:
            return
    record: dict[str, Any] = {
        "id": found.policy_id,
        "oid": found.oid,
        "name": found.name,
        "classifications": list(found.classifications),
        "categories": _tags(found),
    }
    if output is not None:
        record["file"] = str(output)
    cli.out.record(record, _page(_policy_lines(record)))


def named_policy(name: str) -> LabelPolicy:
    """Return the policy in a SPIF file, `-` for stdin, or the built-in one of a short name.

    Raises:
        NotFoundError: there is neither.
        XMLError, SpifError: the file holds no label policy.
    """
    from liaison.labels import compile_policy, spif_xml
    from liaison.labels.builtin import BUILT_IN

    if name == str(documents.STANDARD) or Path(name).is_file():
        return compile_policy(spif_xml.parse(documents.read(Path(name))))
    found = BUILT_IN.find(_SHORT.get(name.lower(), name))
    if found is None:
        raise NotFoundError(
            f"there is no file {name} and no built-in policy of this name",
            hint=f"built in are {', '.join(_SHORT)}",
        )
    return found


def _known(names: list[str] | None) -> LabelPolicies:
    from liaison.labels.builtin import BUILT_IN

    return BUILT_IN.including(*map(named_policy, names or ()))


def _time(at: str | None) -> int:
    from liaison.labels.codecs import parse_instant

    if at is None:
        return offices.now()
    try:
        return parse_instant(at)
    except ValueError as error:
        raise UsageProblemError(str(error)) from None


def _record(label: ConfidentialityLabel) -> dict[str, Any]:
    from liaison.labels.codecs import write_instant

    said = label.sensitivity
    record: dict[str, Any] = {
        "role": label.role.value,
        "policy": said.policy.name,
        "policy_oid": said.policy.oid,
        "classification": said.classification,
        "privacy_mark": said.privacy_mark,
        "categories": [
            {"tag": each.tag, "type": each.type.value, "values": list(each.values)}
            for each in said.categories
        ],
        "originator": None if label.originator is None else label.originator.name,
        "created": write_instant(label.created),
        "review": None if label.review is None else write_instant(label.review),
    }
    if label.succession is not None:
        record["successor"] = {
            "at": write_instant(label.succession.at),
            "classification": label.succession.label.sensitivity.classification,
        }
    return record


def _marked(
    label: ConfidentialityLabel, policy: LabelPolicy | None, place: Any, language: str
) -> dict[str, Any]:
    """Say how the label is shown; by its bare names where no policy can say."""
    from liaison.labels.label import Label
    from liaison.labels.marking import marking

    said = label.sensitivity
    if policy is None or not policy.is_meant(said.policy):
        pairs = [(each.tag, value) for each in said.categories for value in each.values]
        bare = Label.of(said.policy.name, said.classification, pairs)
        words = f"{bare.policy} {bare.marking()}"
        return {"marking": words, "background": None, "foreground": None}
    shown = marking(
        policy,
        policy.compact(label),
        location=place,
        language=language,
        privacy_mark=said.privacy_mark,
    )
    return {"marking": shown.text, "background": shown.background, "foreground": shown.foreground}


def _lines(record: dict[str, Any]) -> list[str]:
    lines = [record["marking"], ""]
    oid = f" ({record['policy_oid']})" if record["policy_oid"] else ""
    lines.append(f"policy          {record['policy']}{oid}")
    lines.append(f"classification  {record['classification']}")
    for each in record["categories"]:
        values = ", ".join(each["values"])
        lines.append(f"{each['type'].lower():<15} {each['tag']}: {values}")
    rest = ("privacy_mark", "originator", "created", "review")
    lines.extend(
        f"{name.replace('_', ' '):<15} {record[name]}" for name in rest if record[name] is not None
    )
    if "successor" in record:
        after = record["successor"]
        lines.append(f"successor       {after['classification']} from {after['at']}")
    return lines


def _page(lines: list[str]) -> str:
    # A value may hold a line break; it must not look like a line of ours.
    return "\n".join(map(clean_line, lines))


def _short(label: Label) -> dict[str, Any]:
    return {
        "policy": label.policy,
        "classification": label.classification,
        "categories": [list(pair) for pair in label.categories],
    }


def _tags(policy: LabelPolicy) -> list[dict[str, Any]]:
    values: list[list[str]] = [[] for _ in policy.rules.tags]
    for each in policy.rules.values.values():
        values[each.tag.number].append(each.pair[1])
    return [
        {"tag": tag.tag_set, "type": tag.kind.value, "values": values[tag.number]}
        for tag in policy.rules.tags
    ]


def _policy_lines(record: dict[str, Any]) -> list[str]:
    lines = [f"{record['name']} ({record['id']})", ""]
    lines.append(f"classifications  {', '.join(record['classifications'])}")
    for each in record["categories"]:
        values = ", ".join(each["values"][:12])
        more = len(each["values"]) - 12
        rest = f" and {more} more" if more > 0 else ""
        lines.append(f"{each['type'].lower():<16} {each['tag']}: {values}{rest}")
    if "file" in record:
        lines.append(f"written to       {record['file']}")
    return lines
