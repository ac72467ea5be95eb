"""The published vectors about transparency logs: how a file falls into cases, and their checks.

Each check takes a case and raises if it does not come out. `tests.vectors_runner` counts them for
`make vectors`, and `test_vectors` runs them as tests.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mldsa

from liaison.crypto import signing
from liaison.crypto.errors import KeyFormatError, SignatureError
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.tlog import merkle, tiles, witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import (
    CheckpointError,
    NoteUnsignedError,
    PolicyError,
    ProofError,
    ProofFormatError,
    TileError,
    VerifierKeyError,
    WitnessBehindError,
)
from liaison.tlog.note import Note
from liaison.tlog.policy import Policy
from liaison.tlog.proof import TlogProof
from liaison.tlog.tiles import Tile, TileTree
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.tlog.witness import AddCheckpoint

Case = dict[str, Any]
ED25519, MLDSA44 = SignatureScheme.ED25519, SignatureScheme.MLDSA44


def unbase64(text: str | None) -> bytes:
    return base64.b64decode(text or "", validate=True)


def hashes(case: Case) -> list[bytes]:
    return [unbase64(each) for each in case["proof"] or ()]


# --- RFC 6962 -------------------------------------------------------------------------------------


def roots(document: Case) -> list[Case]:
    """One case for each size of the tree, and one for its nodes."""
    leaves = document["leaves"]
    sizes = [
        {"leaves": leaves[:size], "root": root}
        for size, root in enumerate(document["roots_by_size"])
    ]
    return [*sizes, {"leaves": leaves, "nodes": document["nodes_by_level"]}]


def check_roots(case: Case) -> None:
    row = [merkle.hash_leaf(bytes.fromhex(leaf)) for leaf in case["leaves"]]
    if "root" in case:
        assert merkle.root_of(row).hex() == case["root"]
        return
    for level in case["nodes"]:
        assert [node.hex() for node in row] == level
        row = [merkle.hash_children(*row[at : at + 2]) for at in range(0, len(row) - 1, 2)]
    assert not row


def old_proofs(document: Case) -> list[Case]:
    return [*document["consistency"], document["inclusion"]]


def check_old_proof(case: Case) -> None:
    proof = [bytes.fromhex(each) for each in case["proof"]]
    if "old" in case:
        old, new = bytes.fromhex(case["old_root"]), bytes.fromhex(case["new_root"])
        merkle.verify_consistency(case["old"], case["new"], proof, old, new)
        return
    leaf = merkle.hash_leaf(bytes.fromhex(case["leaf_hex"]))
    merkle.verify_inclusion(leaf, case["index"], case["size"], proof, bytes.fromhex(case["root"]))


def check_inclusion(case: Case) -> None:
    with _refused(case, ProofError):
        merkle.verify_inclusion(
            unbase64(case["leafHash"]),
            case["leafIdx"],
            case["treeSize"],
            hashes(case),
            unbase64(case["root"]),
        )


def check_consistency(case: Case) -> None:
    with _refused(case, ProofError):
        merkle.verify_consistency(
            case["size1"],
            case["size2"],
            hashes(case),
            unbase64(case["root1"]),
            unbase64(case["root2"]),
        )


def check_subtree_inclusion(case: Case) -> None:
    with _refused(case, ProofError):
        merkle.verify_subtree_inclusion(
            unbase64(case["leafHash"]),
            case["leafIdx"],
            case["start"],
            case["end"],
            hashes(case),
            unbase64(case["root"]),
        )


def check_subtree(case: Case) -> None:
    with _refused(case, ProofError):
        merkle.verify_subtree(
            case["start"],
            case["end"],
            case["size"],
            hashes(case),
            unbase64(case["root1"]),
            unbase64(case["root2"]),
        )


class _refused:  # noqa: N801 - reads as a word
    """Expect the error where the case wants one, and none where it does not."""

    def __init__(self, case: Case, error: type[Exception]) -> None:
        self.wanted, self.error = case["wantErr"], error

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> bool:
        if self.wanted:
            assert kind is not None, "accepted what it should refuse"
        return self.wanted and kind is not None and issubclass(kind, self.error)


# --- notes ----------------------------------------------------------------------------------------


def notes(document: Case) -> list[Case]:
    seed = {"seed17": document["sigsum_checkpoint_seed17"]}
    return [*document["good"], *({"bad": vkey} for vkey in document["bad_vkeys"]), seed]


def check_note(case: Case) -> None:
    if "bad" in case:
        with pytest.raises(VerifierKeyError):
            VerifierKey.parse(case["bad"])
        return
    if "seed17" in case:
        _check_seed17(case["seed17"].encode())
        return
    key, data = VerifierKey.parse(case["vkey"]), case["note"].encode()
    note = Note.decode(data)

    assert str(key) == case["vkey"]
    assert [signed.key for signed in note.verify([key])] == [key]
    assert note.encode() == data
    if "skey" in case:
        assert note_of(case["skey"], key, note.text).encode() == data


def note_of(skey: str, key: VerifierKey, text: str) -> Note:
    """Sign as the vector's private key: `PRIVATE+KEY+name+id+base64(type, seed)`."""
    raw = unbase64(skey.split("+", 4)[4])
    assert raw[0] == key.type
    return Note(text).signed_by(key, SigningKey.from_bytes(ED25519, raw[1:]))


def _check_seed17(data: bytes) -> None:
    """Its key is not told; a checkpoint it is, and its signature is by a key of this origin."""
    note = Note.decode(data)
    checkpoint = Checkpoint.parse(note.text)

    assert checkpoint.size == 10
    assert [line.name for line in note.signatures] == [checkpoint.origin]
    assert note.encode() == data


_WANTED_BY_THE_STANDARD = {"valid with trailing newlines"}
"""Accepted by that library; C2SP tlog-checkpoint says that extension lines MUST be non-empty."""


def check_checkpoint(case: Case) -> None:
    """The valid cases' roots are words, where a root has 32 bytes: theirs are put in their place."""
    body = case["body"]
    if case["wantErr"] or case["desc"] in _WANTED_BY_THE_STANDARD:
        with pytest.raises(CheckpointError):
            Checkpoint.parse(body)
        return
    with pytest.raises(CheckpointError, match="32 bytes"):
        Checkpoint.parse(body)
    origin, size, _, *rest = body.split("\n")
    text = "\n".join([origin, size, base64.b64encode(bytes(32)).decode(), *rest])

    checkpoint = Checkpoint.parse(text)

    assert (checkpoint.origin, checkpoint.size) == (origin, int(size))
    assert list(checkpoint.extensions) == rest[:-1]
    assert checkpoint.text == text


def check_bad_proof(case: Case) -> None:
    with pytest.raises(ProofFormatError):
        TlogProof.decode(case["proof"].encode())


# --- witnesses ------------------------------------------------------------------------------------


def check_witness(case: Case) -> None:
    """The log asks for its fifth, then its eighth entry; the witness cosigns both."""
    log = VerifierKey.parse(case["log_vkey"])
    plain = VerifierKey.parse(case["witness_vkey_ed25519"])
    key = VerifierKey(plain.name, SignatureType.COSIGNATURE_ED25519, plain.public)
    seed = unbase64(case["witness_skey"].split("+", 4)[4])[1:]
    signer = SigningKey.from_bytes(ED25519, seed)
    first, second = (Note.decode(case[f"checkpoint_{size}"].encode()) for size in (5, 8))
    proof = tuple(bytes.fromhex(each) for each in case["consistency_5_8_hex"])

    latest = witness.judge(AddCheckpoint(0, (), first), [log], None)
    request = AddCheckpoint.decode(AddCheckpoint(5, proof, second).encode())
    new = witness.judge(request, [log], latest)
    signed = witness.accept(second, witness.cosign(request, [(key, signer)], 1_700_000_000), [key])

    assert (latest.size, new.size) == (5, 8)
    assert note_of(case["log_skey"], log, first.text) == first
    assert [each.key for each in signed.verify([log, key])] == [log, key]
    with pytest.raises(WitnessBehindError) as behind:
        witness.judge(request, [log], new)
    assert behind.value.size == 8


def check_fork(case: Case) -> None:
    """Two signed heads of one log, and a proof that shows that neither follows the other."""
    key = VerifierKey.parse(case["vkey"])
    old, new = case["old"], case["new"]
    proof = [unbase64(each) for each in case["proof_of_misbehaviour"]]

    assert str(key) == case["vkey"]
    # One of them is printed with a mark after its origin that was not signed.
    told = re.sub(r"(?m)^[ \t]+", "", case["text"]).replace("database tree!", "database tree")
    heads = re.findall(r"(?s)(?:old|new) database:\n(.*?\n\n\u2014 .*?\n)", told)
    for head, text in zip((old, new), heads, strict=True):
        note = Note.decode(text.encode())
        note.verify([key])
        checkpoint = Checkpoint.parse(note.text)
        assert (checkpoint.size, checkpoint.root) == (head["size"], unbase64(head["root"]))
    with pytest.raises(ProofError):
        merkle.verify_consistency(
            old["size"], new["size"], proof, unbase64(old["root"]), unbase64(new["root"])
        )


# --- policies -------------------------------------------------------------------------------------


def policies(document: Case) -> list[Case]:
    truth = [
        {"policy": document["valid"][0], "witnesses": numbers, "holds": holds}
        for numbers, holds in document["quorum_truth_for_valid0"]
    ]
    return [*({"valid": text} for text in document["valid"]), *document["invalid"], *truth]


def with_vkeys(text: str) -> bytes:
    """Put verifier keys in the place of that format's bare ones, each made of those bytes."""

    def key(match: re.Match[str]) -> str:
        signer = SigningKey.from_bytes(ED25519, bytes.fromhex(match[2]))
        log = match[1].startswith("log")
        kind = SignatureType.ED25519 if log else SignatureType.COSIGNATURE_ED25519
        return match[1] + str(VerifierKey.of("example.org/log" if log else "w", kind, signer))

    return re.sub(r"(log |witness \S+ )([0-9a-f]{64})", key, text).encode()


def check_policy(case: Case) -> None:
    if "config" in case:
        # Two are written with the escapes of the language that they come from.
        text = case["config"].encode().decode("unicode_escape")
        lacking = case["err"] == "no quorum"
        # Most lack the quorum too, which must not be what they are refused for.
        if not lacking and "quorum" not in text:
            text += "\nquorum none\n"
        with pytest.raises(PolicyError) as refusal:
            Policy.parse(with_vkeys(text))
        assert ("quorum" in refusal.value.message) is lacking
        return
    policy = Policy.parse(with_vkeys(case["valid"] if "valid" in case else case["policy"]))

    assert Policy.parse(policy.encode()) == policy
    if "holds" in case:
        assert policy.is_quorum({f"W{n}" for n in case["witnesses"]}) is case["holds"]


# --- signatures -----------------------------------------------------------------------------------


def wycheproof(document: Case) -> list[Case]:
    return [
        {"scheme": document["algorithm"], "group": group, **test}
        for group in document["testGroups"]
        for test in group["tests"]
    ]


def check_wycheproof(case: Case) -> None:
    group = case["group"]
    if case["scheme"] == "ML-DSA-44":
        _check_mldsa(case, group)
        return
    public = bytes.fromhex(group["publicKey"]["pk"])
    assert _holds(ED25519, public, case) is (case["result"] == "valid")


def _check_mldsa(case: Case, group: Case) -> None:
    valid = case["result"] == "valid"
    if "privateSeed" in group or "privateKey" in group:
        _check_mldsa_key(case, group)
    if group["publicKey"] is None:
        return
    public = bytes.fromhex(group["publicKey"])
    if case.get("ctx") or "msg" not in case:
        # Ours never have a context, and are never over a message's digest: what has is none.
        assert not _holds(MLDSA44, public, case)
        assert _holds_for_library(public, case) is valid
        return
    assert _holds(MLDSA44, public, case) is valid


def _check_mldsa_key(case: Case, group: Case) -> None:
    """A seed gives its public key and signs; longer forms of private keys are none here."""
    raw = bytes.fromhex(group["privateSeed"] if "privateSeed" in group else group["privateKey"])
    if len(raw) != 32:
        with pytest.raises(KeyFormatError):
            SigningKey.from_bytes(MLDSA44, raw)
        return
    key = SigningKey.from_bytes(MLDSA44, raw)
    data = bytes.fromhex(case.get("msg", ""))
    assert key.public_bytes.hex() == group["publicKey"]
    signing.verify(MLDSA44, key.public_bytes, key.sign(data), data)


def _holds(scheme: SignatureScheme, public: bytes, case: Case) -> bool:
    data = bytes.fromhex(case.get("msg", ""))
    try:
        signing.verify(scheme, public, bytes.fromhex(case["sig"]), data)
    except SignatureError:
        return False
    return True


def _holds_for_library(public: bytes, case: Case) -> bool:
    key, signature = mldsa.MLDSA44PublicKey.from_public_bytes(public), bytes.fromhex(case["sig"])
    try:
        if "msg" in case:
            key.verify(signature, bytes.fromhex(case["msg"]), bytes.fromhex(case["ctx"]))
        else:
            key.verify_mu(signature, bytes.fromhex(case["mu"]))
    except (InvalidSignature, ValueError):
        return False
    return True


def check_edge_case(case: Case) -> None:
    """CCTV lists what verifiers disagree on; ours takes a signature only where none of it is."""
    case = {**case, "msg": case["msg"].encode().hex()}
    assert _holds(ED25519, bytes.fromhex(case["key"]), case) is (not case["flags"])


# --- tiles ----------------------------------------------------------------------------------------


def tile_folders(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.glob("**/checkpoint"))


def tile_cases(folder: Path) -> Iterator[Case]:
    """One case for each checkpoint, and for each tile."""
    for file in sorted(folder.glob("checkpoint*")):
        yield {"checkpoint": file, "folder": folder}
    for file in sorted(folder.glob("tile/**/*")):
        if file.is_file():
            yield {"tile": file, "folder": folder}


def check_tiles(case: Case) -> None:
    folder: Path = case["folder"]

    def read(tile: Tile) -> bytes:
        return (folder / tile.path).read_bytes()

    if "tile" in case:
        _check_tile(case["tile"], folder, read)
        return
    note = Note.decode(case["checkpoint"].read_bytes())
    checkpoint = Checkpoint.parse(note.text)
    if (folder / "log.v3.json").exists():
        _check_static_ct(note, checkpoint, json.loads((folder / "log.v3.json").read_text()))
        return
    tree = TileTree(checkpoint.size, read)
    for file, name in ((folder / "log.vkey", "log"), (folder / "mirror.v0.json", "mirror")):
        if file.exists():
            found = re.findall(r"[\w./-]+\+[0-9a-f]{8}\+[\w+/=]+", file.read_text())
            assert note.verify(map(VerifierKey.parse, found)), name
    assert tree.root() == checkpoint.root
    for old in range(1, checkpoint.size + 1):
        merkle.verify_consistency(
            old,
            checkpoint.size,
            tree.prove_consistency(old),
            tree.root_at(old),
            checkpoint.root,
        )


def _check_static_ct(note: Note, checkpoint: Checkpoint, log: Case) -> None:
    """That log's tiles are placeholders, and its signature is of a type that is none of ours."""
    head = log["final_tree_head"]
    other = SigningKey.from_bytes(ED25519, bytes(32))
    assert checkpoint.origin == log["description"]
    assert (checkpoint.size, checkpoint.root) == (
        head["tree_size"],
        unbase64(head["sha256_root_hash"]),
    )
    with pytest.raises(NoteUnsignedError):
        note.verify([VerifierKey.of(checkpoint.origin, SignatureType.ED25519, other)])


def _check_tile(file: Path, folder: Path, read: tiles.ReadTile) -> None:
    path = str(file.relative_to(folder))
    tile = Tile.parse(path)
    assert tile.path == path
    data = file.read_bytes()
    if data.startswith(b"fake "):
        with pytest.raises(TileError):
            tiles.decode_hashes(tile, data)
    elif tile.level is None:
        # The tree's hashes are of exactly these entries, and they give exactly these tiles.
        entries = tiles.decode_entries(tile, data)
        assert dict(tiles.grow(0, entries, read))[tile] == data
        leaves = Tile(0, tile.index, tile.width)
        assert tiles.encode_hashes(merkle.hash_leaves(entries)) == read(leaves)
    else:
        assert tiles.encode_hashes(tiles.decode_hashes(tile, data)) == data
