"""A log, its witnesses and its keys, for the tests of `liaison.tlog`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.tlog import merkle
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.note import Note
from liaison.tlog.policy import Listed, Policy
from liaison.tlog.quorum import Group
from liaison.tlog.tiles import Tile, grow
from liaison.tlog.vkey import SignatureType, VerifierKey

ORIGIN = "relay.example.org/nor-deu"
NOW = 1_700_000_000


def flipped(data: bytes) -> Iterator[bytes]:
    """Give the bytes with each bit changed in turn."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def key_pair(
    name: str, type_: SignatureType = SignatureType.ED25519, seed: int = 0
) -> tuple[VerifierKey, SigningKey]:
    mldsa = type_ is SignatureType.COSIGNATURE_MLDSA44
    scheme = SignatureScheme.MLDSA44 if mldsa else SignatureScheme.ED25519
    raw = merkle.hash_leaf(f"{name} {type_} {seed}".encode())
    signer = SigningKey.from_bytes(scheme, raw)
    return VerifierKey.of(name, type_, signer), signer


@dataclass
class Log:
    """A log in memory with its tiles, its own key and two witnesses that cosign what they get."""

    entries: list[bytes] = field(default_factory=list)
    tiles: dict[Tile, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key, self.signer = key_pair(ORIGIN)
        types = (SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_MLDSA44)
        self.witnesses = {
            party: key_pair(f"witness.{party}.example", type_)
            for party, type_ in zip(("nor", "deu"), types, strict=True)
        }

    @property
    def policy(self) -> Policy:
        witnesses = {party: Listed(key) for party, (key, _) in self.witnesses.items()}
        return Policy((Listed(self.key),), witnesses, {"both": Group(2, ("nor", "deu"))}, "both")

    def append(self, *entries: bytes) -> None:
        self.tiles |= dict(grow(len(self.entries), entries, self.tiles.__getitem__))
        self.entries += entries

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        part = self.entries[:size]
        return Checkpoint(ORIGIN, len(part), merkle.root_of(merkle.hash_leaves(part)))

    def signed(self, size: int | None = None) -> Note:
        return Note(self.checkpoint(size).text).signed_by(self.key, self.signer)

    def cosigned(self, *parties: str, times: Mapping[str, int] | None = None) -> Note:
        note = self.signed()
        for party in parties:
            key, signer = self.witnesses[party]
            note = note.signed_by(key, signer, (times or {}).get(party, NOW))
        return note
