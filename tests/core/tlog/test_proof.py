"""Proofs as files: read as they were written, and every changed bit refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liaison.errors import LiaisonError
from liaison.tlog import merkle
from liaison.tlog.errors import ProofError, ProofFormatError
from liaison.tlog.proof import HEADER, MAX_EXTRA, TlogProof
from liaison.tlog.tiles import TileTree
from tests.core.tlog.support import Log, flipped


def log_of(size: int) -> Log:
    log = Log()
    log.append(*(b"entry %d" % n for n in range(size)))
    return log


def proof_of(log: Log, index: int, extra: bytes | None = None) -> TlogProof:
    tree = TileTree(len(log.entries), log.tiles.__getitem__)
    note = log.cosigned("nor", "deu").encode()
    return TlogProof(index, tuple(tree.prove_inclusion(index)), note, extra)


@settings(max_examples=20)
@given(size=st.integers(1, 20), data=st.data())
def test_every_entry_has_a_proof_that_verifies_offline(size: int, data: st.DataObject) -> None:
    log, index = log_of(size), data.draw(st.integers(0, size - 1))
    extra = data.draw(st.none() | st.binary(max_size=50))

    proof = TlogProof.decode(proof_of(log, index, extra).encode())

    assert (proof.index, proof.extra) == (index, extra)
    leaf = merkle.hash_leaf(log.entries[index])
    assert proof.verify(leaf, log.policy).checkpoint == log.checkpoint()
    for other in set(log.entries) - {log.entries[index]}:
        with pytest.raises(ProofError):
            proof.verify(merkle.hash_leaf(other), log.policy)


def test_every_changed_bit_of_a_proof_is_refused() -> None:
    log = log_of(5)
    data, leaf = proof_of(log, 2).encode(), merkle.hash_leaf(b"entry 2")

    # The tail is one long signature.
    for changed in flipped(data[:700]):
        with pytest.raises(LiaisonError):
            TlogProof.decode(changed + data[700:]).verify(leaf, log.policy)


def test_every_changed_bit_of_an_entry_is_refused_by_its_proof() -> None:
    log = log_of(5)
    proof, head = proof_of(log, 2), log.checkpoint()

    for changed in flipped(log.entries[2]):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(
                merkle.hash_leaf(changed), 2, head.size, proof.hashes, head.root
            )


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        f"{HEADER}\n\n",
        f"{HEADER}\nindex 01\n\nx",
        f"{HEADER}\nindex 1 \n\nx",
        f"{HEADER}\nindex 1\nextra AA==\n\nx",
        f"{HEADER}\nextra AB==\nindex 1\n\nx",
        f"{HEADER}\nindex 1\nAA==\n\nx",
        f"{HEADER}\nindex 9223372036854775808\n\nx",
        f"{HEADER}\r\nindex 1\n\nx",
        f"{HEADER}\nindex 1\n" + 65 * f"{'A' * 43}=\n" + "\nx",
        f"\u00e9{HEADER}\nindex 1\n\nx",
    ],
    ids=repr,
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(ProofFormatError):
        TlogProof.decode(text.encode())


def test_extra_data_has_a_largest_size() -> None:
    with pytest.raises(ProofFormatError):
        TlogProof.decode(TlogProof(0, (), b"x", bytes(MAX_EXTRA + 1)).encode())
    with pytest.raises(ProofFormatError):
        TlogProof.decode(TlogProof(0, (), bytes(10**6)).encode())
