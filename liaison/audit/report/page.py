"""The page: its head, what was checked and by whom, what can't be known, and the sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from liaison.audit.manifest import Predecessor
from liaison.audit.report import changes, gaps, style, traffic
from liaison.audit.report.markup import Content, Markup, element, join, said, table
from liaison.audit.report.parts import Parties, counted, number, section, text, when
from liaison.audit.report.summary import MAX_ROWS, Summary
from liaison.tlog.policy import Cosigned
from liaison.values import dataclass

_PARTS: Final = (
    ("checked", "What was checked"),
    ("limits", "What can't be known"),
    ("messages", "Messages"),
    ("deliveries", "Deliveries"),
    ("handling", "Handling times"),
    ("refusals", "Refusals"),
    ("policy", "The agreement"),
    ("members", "Members"),
    ("keys", "Keys"),
    ("gaps", "Gaps and erasures"),
)

_LIMITS: Final = """\
That nothing was left out. A log proves what is in it. What narrows the gap: senders keep proofs of \
their messages, readers sign receipts, and each channel numbers its items without gaps.
What the messages said. The relay never had it; the log has sizes, rounded up, and digests.
What is closed. Each party is shown what its own devices took part in; of the rest there are \
commitments, which match the openings that other parties can be asked for.
What was erased. The entry remains and nobody can open it; the erasures are told below.
When exactly something happened. Times are the relay's; the witnesses' times say by when at the \
latest an entry was there.
Whether the limits, and the names of parties, are the agreement's. They come with the bundle, in \
the relay's word: compare them with the agreement that you have.
Whether a person has read a message. A receipt is made by a device.
How many requests were refused that no rule of the agreement decided: wrong keys, broken requests \
and strangers are in the operator's records, not in the log.
Whether witnesses and relay act together. Two histories stay unseen only if as many witnesses help \
as the agreement's quorum asks for, of every party.
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """What an auditor's own program has verified.

    Args:
        at: Unix milliseconds.
        entries: hashed into the roots that were signed.
        opened: whose openings were checked.
        checkpoints: of the bundle, verified, in order.
        is_own_policy: whether keys and quorum were the auditor's; else they are those that the
            bundle names, which whoever made it could have chosen.
        keys: (what it is of, name, fingerprint) of each key that was asked for.
        owners: party of a witness, by the witness's name, where it is known.
        required: names of witnesses that the auditor asked for beyond the quorum.
        notes: what else the check said, for people.
    """

    at: int
    entries: int
    opened: int
    checkpoints: tuple[Cosigned, ...]
    is_own_policy: bool = False
    keys: tuple[tuple[str, str, str], ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def render(summary: Summary, checked: Checked | None = None, notes: tuple[str, ...] = ()) -> str:
    """Return the report as one HTML page that loads nothing.

    Args:
        summary: of all events of the bundle.
        checked: what was verified; None for the report that comes with the bundle.
        notes: what else is to be told of what comes with the bundle, for people.

    Raises:
        ModuleNotFoundError: pygal is not installed.
    """
    parties = Parties(dict(summary.facts.agreement.parties))
    body = [
        element("a", "To the content", class_="skip", href="#checked"),
        element("header", _title(summary, parties)),
        element("nav", _contents(), aria_label="Contents"),
        element(
            "main",
            [
                _checked(checked, parties, notes),
                _limits(),
                traffic.messages(summary, parties),
                traffic.deliveries(summary, parties),
                traffic.handling(summary, parties),
                traffic.refusals(summary, parties),
                changes.policy(summary, parties),
                changes.members(summary, parties),
                changes.keys(summary, parties),
                gaps.gaps(summary, parties),
            ],
        ),
        element("footer", _footer(summary)),
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=style.POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"Audit report of {summary.facts.origin}"),
        Markup(f"<style>{style.CSS}</style>"),
    ]
    page = element("html", [element("head", head), element("body", body)], lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _title(summary: Summary, parties: Parties) -> Content:
    facts = summary.facts
    named = [element("dt", "Log"), element("dd", said(facts.origin))]
    if facts.predecessor is not None:
        named += [element("dt", "Follows"), element("dd", _before(facts.predecessor))]
    named += [element("dt", "Agreement"), element("dd", said(facts.agreement.id))]
    versions = ", ".join(str(v.version) for v in facts.agreement.versions)
    named += [element("dt", "Versions"), element("dd", versions or "—")]
    codes = [element("div", parties.full(code)) for code in facts.agreement.parties]
    named += [element("dt", "Parties"), element("dd", codes)]
    named += [element("dt", "Shown to"), element("dd", parties.full(facts.party))]
    span = ["from ", when(summary.began), " to ", when(summary.ended), " UTC"]
    named += [element("dt", "Entries"), element("dd", _range(summary))]
    named += [element("dt", "Time"), element("dd", span)]
    if facts.since is not None or facts.until is not None:
        asked = ["from ", when(facts.since), " until before ", when(facts.until), " UTC"]
        named += [element("dt", "Opened"), element("dd", asked)]
    return [element("h1", "Audit report of a partnership's log"), element("dl", named)]


def _before(head: Predecessor) -> Content:
    root = element("code", head.root.hex())
    told = [
        "the first ",
        counted(head.size, "entry", "entries"),
        " of ",
        said(head.origin),
        ", root ",
        root,
    ]
    return [*told, ". The parties gave that log up; what it had beyond is not in this one."]


def _range(summary: Summary) -> str:
    facts = summary.facts
    count = number(facts.end - facts.first)
    return f"{count}, from {number(facts.first)} to {number(facts.end - 1)}, counted from 0"


def _contents() -> Content:
    links = [element("li", element("a", title, href=f"#{name}")) for name, title in _PARTS]
    return element("ul", links)


def _checked(checked: Checked | None, parties: Parties, notes: tuple[str, ...]) -> Markup:
    if checked is None:
        verdict = element(
            "div",
            [
                text(element("strong", "Nothing was checked for this copy.")),
                text(
                    "It came with the bundle, made by the relay of what the entries say. Whether they "
                    "are the entries that the relay signed and the witnesses saw is found out with "
                    "the bundle alone: ",
                    element("code", "python3 verify.py BUNDLE"),
                    " or ",
                    element("code", "liaison-auditor verify BUNDLE"),
                    "; ",
                    element("code", "liaison-auditor report BUNDLE"),
                    " verifies and then makes this page anew.",
                ),
            ],
            class_="verdict",
        )
        return section("checked", "What was checked", verdict, [text(said(note)) for note in notes])
    verdict = element("div", _verdict(checked), class_=_kind(checked))
    asked = (
        text("Asked for beyond the agreement's quorum: ", said(", ".join(checked.required)), ".")
        if checked.required
        else Markup()
    )
    return section(
        "checked",
        "What was checked",
        verdict,
        asked,
        table(
            "Checkpoints and who witnessed them",
            ["Entries", "Root", "Witness", "Party", "Cosigned"],
            _ends(_witnessed(checked, parties)),
        ),
        table(
            "Keys that were asked for",
            ["Of", "Name", "Fingerprint, as in liaison agreement show"],
            ([what, said(name), element("code", print_)] for what, name, print_ in checked.keys),
        ),
        [text(said(note)) for note in checked.notes],
    )


def _ends(rows: list[list[str]]) -> list[list[str]]:
    """Leave out what is in the middle of a long table."""
    rest, half = len(rows) - MAX_ROWS, MAX_ROWS // 2
    if rest <= 0:
        return rows
    between = element("span", f"{number(rest)} more, checked as well", class_="none")
    return [*rows[:half], ["…", between, "…", "…", "…"], *rows[-half:]]


def _kind(checked: Checked) -> str:
    return "verdict good" if checked.is_own_policy else "verdict"


def _verdict(checked: Checked) -> list[Markup]:
    if checked.is_own_policy:
        head = element("strong", "The bundle is what was signed and witnessed.", class_="good")
        rest = text("Keys and quorum were the auditor's own.")
    else:
        head = element("strong", "The bundle is what the keys in it have signed.")
        rest = text(
            "Whether these are the keys of the log and of the witnesses only the agreement says: "
            "compare the fingerprints below with the agreement that you have."
        )
    told = text(
        f"{counted(checked.entries, 'entry leads', 'entries lead')} to the signed roots; "
        f"{counted(checked.opened, 'of them is', 'of them are')} opened, and what stands there is what "
        "was committed to. Checked on ",
        when(checked.at),
        " UTC.",
    )
    return [text(head), told, rest]


def _witnessed(checked: Checked, parties: Parties) -> list[list[str]]:
    rows: list[list[str]] = []
    for one in checked.checkpoints:
        point = one.checkpoint
        place = [number(point.size), element("code", point.root.hex())]
        found = sorted(one.witnesses.items())
        rows += [
            [*place, said(name), parties.full(checked.owners.get(name, "")), when(time * 1000)]
            for name, time in found
        ]
        if not found:
            none = element("span", "nobody: the agreement names no witness", class_="none")
            rows.append([*place, none, "—", "—"])
    return rows


def _limits() -> Markup:
    return section(
        "limits",
        "What can't be known",
        element("ul", [element("li", one) for one in _LIMITS.splitlines()]),
    )


def _footer(summary: Summary) -> Content:
    return join(
        [
            text("Bundle made on ", when(summary.facts.made_at), " UTC. All times are UTC."),
            text("This page loads nothing and runs nothing; it can be kept and printed as it is."),
        ]
    )
