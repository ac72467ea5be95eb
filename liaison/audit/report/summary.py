"""What the events of a bundle add up to: read once, in order, with room for the sums only.

Of the messages, what waits for a receipt is kept (some 200 bytes each); of the rest, counts by day
and the rows of the short tables, of which there are at most `MAX_ROWS` each.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Final

from liaison.audit.events import Event
from liaison.audit.manifest import Facts
from liaison.audit.report.durations import Durations
from liaison.model import Precedence
from liaison.tlog.fields import EntryType
from liaison.values import dataclass

MAX_ROWS: Final = 500
DAY: Final = 86_400_000
"""Milliseconds."""
MAX_NAMES: Final = 40
"""Parties beyond the agreement's, and acts of keys, that are told apart."""
OTHERS: Final = "others"
"""What is beyond that; no code of a party has small letters."""
UNKNOWN: Final = "?"
"""The party or precedence of what is not opened, or says none."""
PRECEDENCES: Final = tuple(p.name for p in reversed(Precedence))
"""The most urgent first."""
_PLACES: Final = {name: place for place, name in enumerate(PRECEDENCES)}
ACTS: Final = ("certificate", "known", "key_packages", "signature", "revocations", "revoked")
_PROPOSAL: Final = "proposal"
_IN: Final = frozenset({"founded", "added"})
_OUT: Final = frozenset({"removed"})


@dataclass(slots=True)
class Rows:
    """The first rows of a table, and how many there would be."""

    kept: list[Event] = field(default_factory=list)
    count: int = 0

    def add(self, event: Event) -> None:
        """Count one, and keep it while there is room."""
        self.count += 1
        if len(self.kept) < MAX_ROWS:
            self.kept.append(event)


@dataclass(slots=True)
class Channel:
    """A channel's numbers, as far as the range has them.

    Args:
        first: the smallest number.
        last: the largest.
        items: how many stand there.
    """

    first: int
    last: int
    items: int = 1

    @property
    def missing(self) -> int:
        """How many numbers in between stand nowhere."""
        return self.last - self.first + 1 - self.items


class Summary:
    """The sums over the events of a bundle."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.types: Counter[EntryType] = Counter()
        self.closed: Counter[EntryType] = Counter()
        """Entries of which nothing is opened."""
        self.messages: Counter[tuple[int, str, str]] = Counter()
        """By day since 1970, sender's party and precedence."""
        self.receipts: Counter[str] = Counter()
        """By the party that acknowledged."""
        self.handling: defaultdict[tuple[str, str], Durations] = defaultdict(Durations)
        """To a party's first receipt, by that party and the message's precedence."""
        self.refusals: Counter[tuple[str, str, str]] = Counter()
        """By rule, code and party."""
        self.delivered: Counter[str] = Counter()
        """Items, by the party whose devices acknowledged them."""
        self.changes: Counter[tuple[int, str]] = Counter()
        """Devices that came into channels less those that left, by day and party."""
        self.joined: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.keys: Counter[tuple[int, str]] = Counter()
        """By day and act."""
        self.acts: Counter[tuple[str, str]] = Counter()
        """Of keys, by party and act."""
        self.channels: dict[str, Channel] = {}
        self.policy = Rows()
        self.revoked = Rows()
        self.exports = Rows()
        self.erasures = Rows()
        self.admin = Rows()
        self.began: int | None = None
        """Unix milliseconds of the first entry."""
        self.ended: int | None = None
        self.quiet = (0, 0)
        """The longest time without an entry: milliseconds, and when it began."""
        self._waiting: dict[bytes, int] = {}
        self._bits: dict[str, int] = {}
        self._acts: set[str] = set(ACTS)
        self._parties: set[str] = set()
        self._take: dict[EntryType, Callable[[Event], None]] = {
            EntryType.ACCEPTED: self._accepted,
            EntryType.RECEIPT: self._receipt,
            EntryType.DELIVERED: self._delivered,
            EntryType.REFUSED: self._refused,
            EntryType.MEMBER: self._member,
            EntryType.KEY: self._key,
            EntryType.POLICY: self.policy.add,
            EntryType.ADMIN: self.admin.add,
            EntryType.EXPORT: self.exports.add,
            EntryType.ERASURE: self.erasures.add,
        }

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.types[event.type] += 1
        if not event.is_opened:
            self.closed[event.type] += 1
        if self.ended is not None and event.time - self.ended > self.quiet[0]:
            self.quiet = (event.time - self.ended, self.ended)
        self.began = event.time if self.began is None else self.began
        self.ended = event.time
        if event.channel is not None and event.seq is not None:
            self._item(event.channel, event.seq)
        take = self._take.get(event.type)
        if take is not None:
            take(event)

    def limit(self, precedence: str) -> int | None:
        """Return within how many seconds such a message has to be acknowledged; None: no demand."""
        return self.facts.agreement.limits.get(precedence) or None

    def unanswered(self) -> dict[str, tuple[int, int]]:
        """Return, by precedence, the messages without any receipt, and those past their limit.

        Messages of a precedence without a limit need no receipt and are not told.
        """
        found: dict[str, tuple[int, int]] = {}
        now = self.ended or 0
        for waiting in self._waiting.values():
            at, precedence, answered = _unpacked(waiting)
            limit = self.limit(precedence)
            if answered or limit is None:
                continue
            count, late = found.get(precedence, (0, 0))
            found[precedence] = (count + 1, late + (now - at > limit * 1000))
        return found

    def days(self) -> range:
        """Return the days of the range, counted from 1970."""
        if self.began is None or self.ended is None:
            return range(0)
        return range(self.began // DAY, self.ended // DAY + 1)

    def senders(self) -> list[str]:
        """Return the parties whose messages are in the range: those of the agreement first."""
        return self.ordered({party for _, party, _ in self.messages})

    def ordered(self, parties: set[str]) -> list[str]:
        """Return codes of parties in the order of the agreement, the unknown last."""
        named = [code for code in self.facts.agreement.parties if code in parties]
        return named + sorted(parties - set(named))

    def _party(self, code: str) -> str:
        if code in self.facts.agreement.parties:
            return code
        return _told_apart(code, self._parties)

    def _item(self, channel: str, seq: int) -> None:
        seen = self.channels.get(channel)
        if seen is None:
            self.channels[channel] = Channel(seq, seq)
            return
        seen.items += 1
        seen.first = min(seen.first, seq)
        seen.last = max(seen.last, seq)

    def _accepted(self, event: Event) -> None:
        text = _reader(event)
        if text("kind") == _PROPOSAL:
            return
        # The action's is how fast the addressees have to be; what is for information has no other.
        named = text("action") or text("info")
        precedence = named if named in _PLACES else UNKNOWN
        self.messages[event.time // DAY, self._party(text("party")), precedence] += 1
        message, sender = text("message"), text("sender")
        if message and sender and precedence != UNKNOWN:
            self._waiting[_name(f"{message}@{sender}")] = _packed(event.time, precedence)

    def _receipt(self, event: Event) -> None:
        text = _reader(event)
        party = self._party(text("party"))
        self.receipts[party] += 1
        name = _name(text("reply"))
        waiting = self._waiting.get(name)
        if waiting is None:
            return
        at, precedence, answered = _unpacked(waiting)
        bit = 1 << self._bits.setdefault(party, len(self._bits))
        if answered & bit:
            return
        self._waiting[name] = _packed(at, precedence, answered | bit)
        seconds = max(0, event.time - at) / 1000
        self.handling[party, precedence].add(seconds, self.limit(precedence))

    def _delivered(self, event: Event) -> None:
        first, last = event.number("first"), event.number("last")
        if first is not None and last is not None and last >= first:
            self.delivered[self._party(event.text("party"))] += last - first + 1

    def _refused(self, event: Event) -> None:
        if not event.is_opened:
            return
        count = event.number("count")
        party = self._party(event.text("party"))
        key = (event.text("rule") or "—", event.text("code") or UNKNOWN, party)
        self.refusals[key] += 1 if count is None else count

    def _member(self, event: Event) -> None:
        change = event.text("change")
        step = (change in _IN) - (change in _OUT)
        if step:
            party = self._party(event.text("party"))
            self.changes[event.time // DAY, party] += step
            (self.joined if step > 0 else self.left)[party] += 1

    def _key(self, event: Event) -> None:
        if not event.is_opened:
            return
        act = _told_apart(event.text("act"), self._acts)
        self.keys[event.time // DAY, act] += 1
        self.acts[self._party(event.text("party")), act] += 1
        if act in {"revoked", "revocations"}:
            self.revoked.add(event)


def _told_apart(name: str, seen: set[str]) -> str:
    """Return a name, or that of all those for which there is no room."""
    if not name:
        return UNKNOWN
    if name not in seen and len(seen) >= MAX_NAMES:
        return OTHERS
    seen.add(name)
    return name


def acts_of(summary: Summary) -> Iterator[str]:
    """Give the acts of keys that there are, the known ones first."""
    there = {act for _, act in summary.keys}
    yield from (act for act in ACTS if act in there)
    yield from sorted(there - set(ACTS))


def _reader(event: Event) -> Callable[[str], str]:
    """Return `event.text`, for many fields of one event."""
    values = event.values
    if values is None:
        return _nothing

    def text(name: str) -> str:
        value = values.get(name)
        return value if isinstance(value, str) else ""

    return text


def _nothing(_name: str) -> str:
    return ""


def _name(reference: str) -> bytes:
    # Half the room of the text, for there may be millions.
    return hashlib.blake2b(reference.encode(errors="replace"), digest_size=16).digest()


def _packed(at: int, precedence: str, answered: int = 0) -> int:
    return (answered << 4 | _PLACES[precedence]) << 48 | at


def _unpacked(waiting: int) -> tuple[int, str, int]:
    rest, at = waiting >> 48, waiting & ((1 << 48) - 1)
    return at, PRECEDENCES[rest & 15], rest >> 4
