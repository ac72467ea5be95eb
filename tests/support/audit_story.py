"""The events of an invented partnership, for reports: some weeks, with a value that attacks."""

from __future__ import annotations

import random
from typing import Any

from liaison.audit.events import Event
from liaison.audit.manifest import Agreement, Facts
from liaison.tlog.entries import PolicyRef
from liaison.tlog.fields import EntryType

START = 1_800_000_000_000
DAY = 86_400_000
HOSTILE = (
    "</style></title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>]]>\x1b\u202e&amp;"
)
CHANNEL = "ab" * 16


def facts(end: int, **changes: Any) -> Facts:
    """Return what the bundle is of."""
    agreement = Agreement(
        "0123456789abcdef",
        (PolicyRef(1, b"\1" * 32), PolicyRef(2, b"\2" * 32)),
        {"NOR": "Norway", "DEU": f"Germany {HOSTILE}", "UN-OCHA": "OCHA"},
        {"FLASH": 600, "IMMEDIATE": 3600},
    )
    known: dict[str, Any] = {
        "origin": "relay.example/log/0123456789abcdef",
        "agreement": agreement,
        "party": "NOR",
        "first": 0,
        "end": end,
        "since": None,
        "until": None,
        "made_at": START + 60 * DAY,
    }
    return Facts(**known | changes)


class Story:
    """Events one after another.

    Args:
        seed: of what is left to chance.
    """

    def __init__(self, seed: int = 1) -> None:
        self.events: list[Event] = []
        self.now = START
        self.seq = 0
        self.rng = random.Random(seed)

    def add(self, type_: EntryType, values: dict[str, Any] | None = None, **shown: Any) -> None:
        """Let something happen now."""
        said = None if values is None else {k: v for k, v in values.items() if v is not None}
        self.events.append(Event(len(self.events), type_, self.now, values=said, **shown))

    def item(self, type_: EntryType, values: dict[str, Any] | None) -> None:
        """Let something take the next place in the channel."""
        self.seq += 1
        self.add(type_, values, channel=CHANNEL, seq=self.seq, epoch=0, policy=1, size=512)

    def message(self, party: str, precedence: str, after: int | None = None) -> None:
        """Let a party send; `after` so many seconds another acknowledges."""
        name, sender = f"{self.seq:032x}", f"{party}/duty#1"
        values = {"party": party, "sender": sender, "message": name, "kind": "text"}
        levels = {"action": precedence, "info": "ROUTINE"}
        self.item(EntryType.ACCEPTED, values | levels)
        if after is None:
            return
        self.now += after * 1000
        other = "DEU" if party == "NOR" else "NOR"
        answer = {"party": other, "sender": f"{other}/duty#1", "kind": "receipt"}
        self.item(EntryType.RECEIPT, answer | {"reply": f"{name}@{sender}"})


def long(messages: int = 400) -> list[Event]:
    """Return a story of some weeks in which everything happens."""
    story = Story()
    for party in ("NOR", "DEU", "UN-OCHA"):
        key = {"party": party, "subject": f"{party}/duty#1", "act": "certificate", "serial": "0a"}
        story.add(EntryType.KEY, key)
        came = {"party": party, "device": f"{party}/duty#1", "change": "added"}
        story.add(EntryType.MEMBER, came, channel=CHANNEL, epoch=0)
    signed = {"party": "NOR", "step": "signed", "document": "agreement", "digest": "AAAA"}
    story.add(EntryType.POLICY, signed | {"agreement": HOSTILE}, policy=1)
    for _ in range(messages):
        story.now += story.rng.randint(0, 8_000_000)
        _something(story)
    story.add(EntryType.ADMIN, {"party": "NOR", "act": "party.admitted", "subject": HOSTILE})
    return story.events


def _something(story: Story) -> None:
    rng = story.rng
    party = rng.choice(["NOR", "DEU", "UN-OCHA", HOSTILE])
    if rng.random() < 0.1:
        story.item(EntryType.ACCEPTED, None)
        return
    level = rng.choice(["ROUTINE", "ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH"])
    story.message(party, level, rng.choice([None, 5, 300, 700, 20_000]))
    rare: list[tuple[EntryType, dict[str, Any]]] = [
        (EntryType.REFUSED, {"party": party, "code": "agreement.send", "rule": HOSTILE}),
        (EntryType.REFUSED, {"party": party, "code": "agreement.send", "rule": "clearances"}),
        (EntryType.KEY, {"party": "DEU", "act": "revoked", "subject": HOSTILE, "serial": HOSTILE}),
        (EntryType.KEY, {"party": "DEU", "act": HOSTILE, "subject": "x"}),
        (EntryType.EXPORT, {"party": "NOR", "first": 0, "last": 9, "filters": ("all", HOSTILE)}),
        (EntryType.ERASURE, {"rule": "retention", "contents": 9, "openings": 9, "digest": "AAAA"}),
        (EntryType.MEMBER, {"party": party, "device": "x", "change": "added"}),
    ]
    if rng.random() < 0.2:
        type_, values = rng.choice(rare)
        story.add(type_, values)
