"""A log in memory that answers clients: honestly, or with one entry, note or proof changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from liaison.crypto import kdf
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, Signer, SigningKey
from liaison.model import ChannelId, DeviceId, PartyCode, Seq
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import Witness
from liaison.policy.keys import VerifyKey
from liaison.tlog import entries, merkle, tiles
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.disclosure import Sealed
from liaison.tlog.entries import Entry, PolicyRef, pseudonym, size_bucket
from liaison.tlog.fields import EntryType
from liaison.tlog.merkle import Node
from liaison.tlog.note import Note
from liaison.tlog.text import to_base64
from liaison.tlog.tiles import Tile
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.trust import log as trusted
from liaison.wire.log import LogAnswer, LogQuery, ProvenEntry
from liaison_sdk.store.items import Told

SECOND = 1000
DEVICE = "deu/lno-j3#d1"
"""Whose certificates are noted where nobody is named."""


@cache
def key(name: str) -> SigningKey:
    """The private key of a log or a witness, the same at every call."""
    return SigningKey.generate(SignatureScheme.ED25519)


def with_log(agreement: Agreement, *witnesses: str) -> Agreement:
    """Return the agreement with a log of these keys, and witnesses such as `NOR-1`."""
    named = tuple(Witness(PartyCode(w[:3]), w, VerifyKey.of(key(w))) for w in witnesses)
    relay = replace(agreement.relay, log_keys=(VerifyKey.of(key("log")),))
    return replace(agreement, relay=relay, witnesses=named)


@dataclass
class Ledger:
    """The log of one agreement.

    Args:
        agreement: from `with_log`.
        now: Unix seconds of the next entry.
        witnesses: those that are awake: they cosign whatever they are shown.
        shown: how many entries are cosigned; None for all.
        signer: the log's key.
        cosigners: keys of witnesses; `key` has those that are not here.
    """

    agreement: Agreement
    now: int
    witnesses: tuple[str, ...] = ()
    shown: int | None = None
    signer: Signer = field(default_factory=lambda: key("log"), repr=False)
    cosigners: Mapping[str, Signer] = field(default_factory=dict, repr=False)
    rows: list[tuple[Entry, Sealed]] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    """Entries that stand in the log and are kept out of answers."""
    closed: set[int] = field(default_factory=set)
    """Entries whose openings are kept back."""

    def copy(self) -> Ledger:
        """Return a log that says the same so far."""
        return replace(self, rows=list(self.rows), hidden=set(self.hidden), closed=set(self.closed))

    # --- what happens -------------------------------------------------------------------

    def add(self, type_: EntryType, fields: dict[str, Any], **shown: Any) -> int:
        """Append an entry; return its index."""
        self.now += 1
        self.rows.append(entries.seal(type_, self.now * SECOND, fields, random_bytes, **shown))
        return len(self.rows) - 1

    def item(self, channel: ChannelId, seq: int, epoch: int, digest: bytes, **fields: Any) -> int:
        """Note that a message was accepted."""
        return self._item(EntryType.ACCEPTED, channel, seq, epoch, digest, fields)

    def told(self, channel: ChannelId, seq: int, told: Told, **fields: Any) -> int:
        """Note what an item says of itself, or something else in some of its fields."""
        version = told.version or self.agreement.version
        return self.add(
            EntryType(told.type),
            {**told.fields, **fields},
            channel=pseudonym(trusted.origin(self.agreement), channel),
            seq=Seq(seq),
            epoch=told.epoch,
            policy=PolicyRef(version, self.agreement.digest()),
            size=size_bucket(told.size),
        )

    def commit(self, channel: ChannelId, seq: int, epoch: int, digest: bytes, **fields: Any) -> int:
        """Note that an epoch was ended."""
        return self._item(EntryType.COMMIT, channel, seq, epoch, digest, fields)

    def certificate(
        self, digest: bytes, act: str = "certificate", *, device: str = DEVICE, party: str = ""
    ) -> int:
        """Note that a certificate is known."""
        fields = {"act": act, "digest": to_base64(digest), "subject": device}
        owner = party or str(DeviceId.parse(device).party)
        return self.add(EntryType.KEY, {**fields, "party": owner})

    def _item(
        self,
        type_: EntryType,
        channel: ChannelId,
        seq: int,
        epoch: int,
        digest: bytes,
        fields: dict[str, Any],
    ) -> int:
        return self.add(
            type_,
            {"digest": to_base64(digest), **fields},
            channel=pseudonym(trusted.origin(self.agreement), channel),
            seq=Seq(seq),
            epoch=epoch,
            policy=PolicyRef(self.agreement.version, self.agreement.digest()),
            size=256,
        )

    # --- what is answered ---------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many entries are cosigned."""
        return len(self.rows) if self.shown is None else self.shown

    def note(self, size: int, witnesses: Sequence[str] = ()) -> str:
        """Sign a checkpoint."""
        origin = trusted.origin(self.agreement)
        leaves = self._leaves(size)
        text = Checkpoint(origin, size, merkle.root_of(leaves)).text
        own = VerifierKey.of(origin, SignatureType.ED25519, self.signer)
        made = Note(text).signed_by(own, self.signer)
        for name in witnesses:
            signer = self.cosigners.get(name) or key(name)
            cosigner = VerifierKey.of(name, SignatureType.COSIGNATURE_ED25519, signer)
            made = made.signed_by(cosigner, signer, self.now)
        return made.encode().decode()

    def answer(self, query: LogQuery) -> LogAnswer:
        """Answer as an honest relay does, of the entries that are not hidden."""
        newest, size = self.note(len(self.rows)), self.size
        if size == 0:
            return LogAnswer(newest=newest)
        found, missing = self._credentials(query.credentials, size)
        for channel in query.channels:
            found += self._channel(ChannelId.parse(channel.channel), channel.after, size)
        if query.keys_after is not None:
            kinds = (EntryType.CHECKPOINT, EntryType.KEY, EntryType.POLICY)
            told = sorted(i for kind in kinds for i in self._of(kind, size))
            found += [i for i in told if i >= query.keys_after]
        some = found[: query.limit]
        return LogAnswer(
            checkpoint=self.note(size, self.witnesses),
            newest=newest,
            consistency=self.consistency(query.size, size),
            entries=[self.proven(index, size) for index in some],
            missing=missing,
            more=len(some) < len(found),
        )

    def proven(self, index: int, size: int) -> ProvenEntry:
        """Return an entry with its proof."""
        entry, sealed = self.rows[index]
        opened = sealed.disclose(entry.type).encode()
        shown = None if index in self.closed else json.loads(opened)
        return ProvenEntry(
            index=index,
            data=entry.encode(),
            disclosure=shown,
            proof=list(merkle.prove_inclusion(index, size, self._reader(size))),
        )

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the log has only grown."""
        if not 0 < old < new:
            return []
        return list(merkle.prove_consistency(old, new, self._reader(new)))

    def tile(self, path: str) -> bytes:
        """Return a tile of the log of as many entries as are cosigned.

        Raises:
            KeyError: it has none of that name.
        """
        data = [entry.encode() for entry, _ in self.rows[: self.size]]
        return {tile.path: made for tile, made in tiles.grow(0, data, _nothing)}[path]

    def _leaves(self, size: int) -> list[bytes]:
        return [merkle.hash_leaf(entry.encode()) for entry, _ in self.rows[:size]]

    def _reader(self, size: int) -> merkle.ReadNode:
        leaves = self._leaves(size)

        def read(node: Node) -> bytes:
            first = node.index << node.level
            return merkle.root_of(leaves[first : first + (1 << node.level)])

        return read

    def _of(self, type_: EntryType, size: int) -> Iterable[int]:
        rows = enumerate(self.rows[:size])
        return (i for i, (entry, _) in rows if entry.type is type_ and i not in self.hidden)

    def _credentials(self, wanted: Sequence[bytes], size: int) -> tuple[list[int], list[bytes]]:
        known: dict[object, int] = {}
        for index in self._of(EntryType.KEY, size):
            known.setdefault(self.rows[index][1].values.get("digest"), index)
        places = {digest: known.get(to_base64(digest)) for digest in wanted}
        return (
            [index for index in places.values() if index is not None],
            [digest for digest, index in places.items() if index is None],
        )

    def _channel(self, channel: ChannelId, after: int, size: int) -> list[int]:
        name = pseudonym(trusted.origin(self.agreement), channel)
        rows = enumerate(self.rows[:size])
        return [
            i
            for i, (entry, _) in rows
            if entry.channel == name and (entry.seq or 0) > after and i not in self.hidden
        ]


def _nothing(tile: Tile) -> bytes:
    raise AssertionError(f"from nothing {tile.path} is not read")


def digest_of(text: str) -> bytes:
    """Return a digest, for an item that nobody needs to read."""
    return kdf.sha256(text.encode())
