"""A log with its bundle, for the tests of `liaison.audit`."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from liaison.audit.bundle import BundleWriter, Shown
from liaison.audit.manifest import Agreement, Facts, Predecessor
from liaison.crypto.signing import SigningKey
from liaison.model import ChannelId, Epoch, Seq
from liaison.tlog import entries, merkle
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.commitment import Value
from liaison.tlog.disclosure import Sealed
from liaison.tlog.entries import Entry, PolicyRef
from liaison.tlog.fields import SCHEMAS, EntryType
from liaison.tlog.note import Note
from liaison.tlog.policy import Listed, Policy
from liaison.tlog.quorum import Group
from liaison.tlog.text import to_base64
from liaison.tlog.vkey import SignatureType, VerifierKey
from tests.core.tlog.support import NOW, key_pair

ORIGIN = "relay.example.org/log/0123"
POLICY = PolicyRef(1, bytes(range(32)))
AGREEMENT = Agreement(
    "0123", (POLICY,), {"NOR": "Norway", "DEU": "Germany"}, {"FLASH": 600, "ROUTINE": 86400}
)
MESSAGE: dict[str, Value] = {
    "party": "NOR",
    "sender": "nor/defatt-berlin#d1",
    "message": "0123456789abcdef" * 2,
    "digest": to_base64(bytes(32)),
    "kind": "text",
    "action": "PRIORITY",
    "info": "ROUTINE",
    "dtg": 1_700_000_000,
    "to": ("deu/lno-j3", "deu/=SUM(A1)"),
    "label": 'NATO RESTRICTED, \u201cé\u201d\n"x"',
}


DELIVERED: dict[str, Value] = {"party": "DEU", "device": "deu/lno#d1", "first": 1, "last": 9}
REFUSED: dict[str, Value] = {"party": "NOR", "code": "policy.label", "count": 2}


@dataclass
class AuditedLog:
    """A log in memory with its keys and two witnesses, and what its relay keeps beside it.

    Args:
        witness_type: of both witnesses' keys.
        seed: of everything that looks random.
        origin: of the log.
        predecessor: the head of the log before it.
        ahead: seconds by which the witnesses' clocks are ahead of the log's.
    """

    witness_type: SignatureType = SignatureType.COSIGNATURE_ED25519
    seed: int = 7
    origin: str = ORIGIN
    predecessor: Predecessor | None = None
    ahead: int = 0
    data: list[bytes] = field(default_factory=list)
    sealed: list[Sealed] = field(default_factory=list)
    made: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)  # reason: the same log each time
        self.key, self.signer = key_pair(self.origin)
        self.witnesses: dict[str, tuple[VerifierKey, SigningKey]] = {
            party: key_pair(f"witness.{party}.example", self.witness_type)
            for party in ("nor", "deu")
        }
        self.channels: dict[int, tuple[int, int]] = {}

    @property
    def policy(self) -> Policy:
        witnesses = {party: Listed(key) for party, (key, _) in self.witnesses.items()}
        return Policy((Listed(self.key),), witnesses, {"both": Group(2, ("nor", "deu"))}, "both")

    def add(self, type_: EntryType, values: dict[str, Value], **shown: object) -> None:
        time = 1000 * NOW + 10 * len(self.data)
        entry, sealed = entries.seal(type_, time, values, self.rng.randbytes, **shown)
        self.made.append(entry)
        self.data.append(entry.encode())
        self.sealed.append(sealed)

    def item(self, channel: int, type_: EntryType = EntryType.ACCEPTED) -> None:
        """Add what takes a place in a channel."""
        seq, epoch = self.channels.get(channel, (1, 0))
        commit = type_ is EntryType.COMMIT
        values = MESSAGE
        if commit:
            values = {name: MESSAGE[name] for name in ("party", "sender", "digest")}
        name = entries.pseudonym(self.origin, ChannelId(channel.to_bytes(16)))
        place = {"channel": name, "seq": Seq(seq), "epoch": Epoch(epoch)}
        self.add(type_, values, **place, policy=POLICY, size=1024)
        self.channels[channel] = seq + 1, epoch + commit

    def grow(self, count: int) -> None:
        """Add entries of all kinds."""
        for _ in range(count):
            match self.rng.randrange(10):
                case 0:
                    self.item(self.rng.randrange(5), EntryType.COMMIT)
                case 1:
                    self.item(self.rng.randrange(5), EntryType.RECEIPT)
                case 2:
                    name = entries.pseudonym(self.origin, ChannelId(bytes(16)))
                    self.add(EntryType.DELIVERED, DELIVERED, channel=name)
                case 3:
                    self.add(EntryType.REFUSED, REFUSED, policy=POLICY)
                case _:
                    self.item(self.rng.randrange(5))

    def shown(self, index: int) -> Shown:
        """Return what the bundle shows of an entry: all, parts, or nothing."""
        sealed, type_ = self.sealed[index], self.made[index].type
        if index % 7 == 3:
            return None
        if index % 7 == 5:
            return sealed.disclose(type_, sorted(SCHEMAS[type_].sealed)[:2])
        return sealed.encode() if index % 2 else sealed.disclose(type_)

    def checkpoint(self, size: int, time: int = NOW, *parties: str) -> Note:
        root = merkle.root_of(merkle.hash_leaves(self.data[:size]))
        note = Note(Checkpoint(self.origin, size, root).text).signed_by(self.key, self.signer)
        for party in parties or self.witnesses:
            note = note.signed_by(*self.witnesses[party], time + self.ahead)
        return note

    def facts(self, first: int = 0, end: int | None = None) -> Facts:
        end = len(self.data) if end is None else end
        times = (None, 1000 * NOW, 1000 * NOW)
        return Facts(self.origin, AGREEMENT, "NOR", first, end, *times, self.predecessor)

    def writer(
        self, out: io.BytesIO, facts: Facts, sizes: Sequence[int] = (), *, derived: bool = True
    ) -> BundleWriter:
        leaves = merkle.hash_leaves(self.data[: facts.first])
        return BundleWriter(
            facts,
            out.write,
            policy=self.policy,
            notes=[self.checkpoint(size, NOW + size).encode() for size in (*sizes, facts.end)],
            before=merkle.CompactRange().extend(leaves),
            spool=io.BytesIO,
            derived=derived,
        )

    def bundle(
        self,
        sizes: Sequence[int] = (),
        first: int = 0,
        *,
        derived: bool = True,
        report: bool = True,
    ) -> bytes:
        """Return a bundle of the entries from `first` on, with checkpoints of these sizes too."""
        out, facts = io.BytesIO(), self.facts(first)
        writer = self.writer(out, facts, sizes, derived=derived)
        writer.add((self.data[n], self.shown(n)) for n in range(first, facts.end))
        if report:
            writer.attach("report.html", b"<!doctype html><title>report</title>")
        writer.finish(self.key, self.signer)
        return out.getvalue()
