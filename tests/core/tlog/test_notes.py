"""Notes, checkpoints and cosignatures: one spelling each, and every changed bit refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto import signing
from liaison.crypto.errors import SignatureError
from liaison.tlog import cosignature, merkle
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import (
    CheckpointError,
    NoteError,
    NoteSignatureError,
    NoteUnsignedError,
    VerifierKeyError,
)
from liaison.tlog.note import MAX_SIGNATURES, Note, NoteSignature, Signed
from liaison.tlog.vkey import SignatureType, VerifierKey
from tests.core.tlog.support import NOW, ORIGIN, Log, flipped, key_pair

ED25519, PLAIN, MLDSA44 = (
    SignatureType.COSIGNATURE_ED25519,
    SignatureType.ED25519,
    SignatureType.COSIGNATURE_MLDSA44,
)
REFUSED = (NoteError, NoteSignatureError, NoteUnsignedError, CheckpointError)

HEAD = Checkpoint(ORIGIN, 20852163, merkle.hash_leaf(b"head"))

lines = st.text(st.characters(codec="utf-8", min_codepoint=0x20), min_size=1, max_size=40)


# --- checkpoints ----------------------------------------------------------------------------------


@given(
    origin=lines,
    size=st.integers(1, 2**63 - 1),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(lines, max_size=3),
)
def test_every_checkpoint_is_read_as_it_was_written(
    origin: str, size: int, root: bytes, extensions: list[str]
) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))

    assert Checkpoint.parse(checkpoint.text) == checkpoint


ROOT = base64.b64encode(HEAD.root).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"log\n1\n{ROOT}",
        f"log\n01\n{ROOT}\n",
        f"log\n+1\n{ROOT}\n",
        f"log\n 1\n{ROOT}\n",
        f"log\n\u0663\n{ROOT}\n",
        f"log\n9223372036854775808\n{ROOT}\n",
        f"log\n0\n{ROOT}\n",
        f"log\n1\n{ROOT} \n",
        f"log\n1\n{ROOT[:-1]}\n",
        f"log\n1\n{ROOT}\n\n",
        f"log\n1\n{ROOT}\n\nx\n",
        f"\n1\n{ROOT}\n",
        f"l\tog\n1\n{ROOT}\n",
        "log\n1\nAAAA\n",
        f"log\n1\n{ROOT}\n" + "x\n" * 17,
    ],
    ids=repr,
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.parse(text)


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", SignatureType)
def test_every_changed_bit_of_a_verifier_key_is_refused(type_: SignatureType) -> None:
    key, _ = key_pair("witness.example/w1", type_)
    text = str(key)

    assert VerifierKey.parse(text) == key
    # Of the long keys, a part: each bit of them is in the id.
    for changed in flipped(text.encode()[:120]):
        with pytest.raises(VerifierKeyError):
            VerifierKey.parse(changed.decode("latin-1") + text[120:])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b", "a\x85b", "x" * 256])
def test_a_name_that_no_note_can_hold_is_no_key(name: str) -> None:
    _, signer = key_pair("any")

    with pytest.raises(VerifierKeyError):
        VerifierKey.of(name, PLAIN, signer)


def test_one_key_has_another_id_for_each_type_of_signature() -> None:
    _, signer = key_pair("any")

    plain, witness = (VerifierKey.of("name", type_, signer) for type_ in (PLAIN, ED25519))

    assert plain.id != witness.id


@pytest.mark.parametrize("type_", SignatureType)
def test_a_key_that_is_no_point_or_of_another_length_is_refused(type_: SignatureType) -> None:
    for public in (b"", bytes(31), bytes(32), bytes(1311)):
        with pytest.raises(VerifierKeyError):
            VerifierKey("name", type_, public)


# --- notes ----------------------------------------------------------------------------------------


@given(text=st.lists(lines, min_size=1, max_size=4), blank=st.booleans())
def test_every_signed_note_is_read_as_it_was_written(text: list[str], blank: bool) -> None:
    key, signer = key_pair("example.com/notes")
    body = ("\n\n" if blank else "\n").join(text) + "\n"

    note = Note(body).signed_by(key, signer)

    assert Note.decode(note.encode()) == note
    assert note.verify([key]) == (Signed(key),)


def test_every_changed_bit_of_a_signed_checkpoint_is_refused() -> None:
    log = Log()
    log.append(b"one", b"two")
    data = log.signed().encode()

    for changed in flipped(data):
        with pytest.raises(REFUSED):
            Note.decode(changed).verify([log.key])


@pytest.mark.parametrize("party", ["nor", "deu"])
def test_every_changed_bit_of_a_cosigned_checkpoint_is_refused(party: str) -> None:
    log = Log()
    log.append(b"one", b"two")
    key, signer = log.witnesses[party]
    data = Note(log.checkpoint().text).signed_by(key, signer, NOW).encode()

    # The tail of the long signature is left to the algorithm's own vectors.
    for changed in flipped(data[:300]):
        with pytest.raises(REFUSED):
            Note.decode(changed + data[300:]).verify([key])


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data + b"x",
        lambda data: data.replace(b"\n\n", b"\n"),
        lambda data: data.replace("\u2014 ".encode(), b"- "),
        lambda data: data.replace("\u2014 ".encode(), "\u2014".encode()),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"=\n", b"\n"),
        lambda data: b"\xff" + data,
        lambda data: b"\x00" + data,
        lambda data: data + data[data.index("\u2014".encode()) :] * MAX_SIGNATURES,
        lambda data: bytes(300_000),
        lambda data: b"",
        lambda data: b"text\n\n",
    ],
    ids=[f"change {n}" for n in range(14)],
)
def test_what_is_no_note_is_refused(change: object) -> None:
    assert callable(change)
    log = Log()
    log.append(b"one")

    with pytest.raises(NoteError):
        Note.decode(change(log.signed().encode()))


def test_unknown_signatures_are_carried_along_and_ignored() -> None:
    log = Log()
    log.append(b"one")
    namesake = NoteSignature(log.key.name, b"abcd", bytes(64))
    stranger = NoteSignature("stranger", log.key.id, bytes(64))

    note = Note.decode(log.signed().with_signature(namesake, stranger).encode())

    assert note.verify([log.key]) == (Signed(log.key),)
    assert len(note.signatures) == 3


def test_a_known_key_that_does_not_hold_spoils_the_note() -> None:
    log = Log()
    log.append(b"one")
    key, signer = log.witnesses["nor"]
    other = Note(Checkpoint(ORIGIN, 1, bytes(32)).text).signed_by(key, signer, NOW)

    note = log.signed().with_signature(*other.signatures)

    assert note.verify([log.key])
    with pytest.raises(NoteSignatureError):
        note.verify([log.key, key])


def test_a_note_that_nobody_known_has_signed_is_refused() -> None:
    log = Log()
    other, _ = key_pair(ORIGIN, seed=1)

    with pytest.raises(NoteUnsignedError):
        log.signed().verify([other])
    with pytest.raises(NoteUnsignedError):
        log.signed().verify([])
    with pytest.raises(NoteError):
        Note("nobody has signed this\n").encode()


# --- cosignatures ---------------------------------------------------------------------------------


def test_an_ed25519_cosignature_is_of_the_text_and_the_time() -> None:
    key, signer = key_pair("witness.example/w1", ED25519)

    raw = cosignature.sign(key, signer, HEAD.text, 1679315147)

    assert raw[:8] == (1679315147).to_bytes(8)
    text = f"cosignature/v1\ntime 1679315147\n{ORIGIN}\n20852163\n{ROOT}\n"
    signing.verify(key.type.scheme, key.public, raw[8:], text.encode())


def test_an_mldsa_cosignature_is_of_the_tree_the_time_and_the_signers_name() -> None:
    key, signer = key_pair("witness.example/w1", MLDSA44)

    raw = cosignature.sign(key, signer, HEAD.text, 1679315147)

    assert len(raw) == 8 + 2420
    message = (
        b"subtree/v1\n\0\x12witness.example/w1\0\0\0\0\x64\x18\x50\xcb"
        + bytes([len(ORIGIN)])
        + ORIGIN.encode()
        + bytes(8)
        + (20852163).to_bytes(8)
        + HEAD.root
    )
    signing.verify(key.type.scheme, key.public, raw[8:], message)


@pytest.mark.parametrize("type_", [ED25519, MLDSA44])
@pytest.mark.parametrize("time", [0, 2**63, 2**64 - 1])
def test_a_cosignature_without_a_valid_time_is_refused(type_: SignatureType, time: int) -> None:
    key, signer = key_pair("witness.example/w1", type_)
    message = cosignature.message(key, HEAD.text, time)

    with pytest.raises(NoteSignatureError):
        cosignature.verify(key, HEAD.text, time.to_bytes(8) + signer.sign(message))
    with pytest.raises(ValueError, match="time above zero"):
        cosignature.sign(key, signer, HEAD.text, time)


def test_only_cosignatures_have_a_time() -> None:
    plain, signer = key_pair(ORIGIN)
    key, witness = key_pair("witness", ED25519)

    with pytest.raises(ValueError, match="nothing else has"):
        cosignature.sign(plain, signer, HEAD.text, NOW)
    with pytest.raises(ValueError, match="nothing else has"):
        cosignature.sign(key, witness, HEAD.text, None)


@pytest.mark.parametrize("type_", [ED25519, MLDSA44])
def test_what_is_no_checkpoint_is_not_cosigned(type_: SignatureType) -> None:
    key, signer = key_pair("witness", type_)
    raw = cosignature.sign(key, signer, HEAD.text, NOW)

    with pytest.raises(CheckpointError):
        cosignature.sign(key, signer, "just a text\n", NOW)
    with pytest.raises(NoteSignatureError):
        cosignature.verify(key, "just a text\n", raw)


def test_a_cosignature_of_one_type_does_not_hold_as_another() -> None:
    plain, signer = key_pair(ORIGIN)
    as_witness = VerifierKey.of(ORIGIN, ED25519, signer)
    raw = cosignature.sign(as_witness, signer, HEAD.text, NOW)

    with pytest.raises(NoteSignatureError):
        cosignature.verify(plain, HEAD.text, raw)
    with pytest.raises(SignatureError):
        signing.verify(plain.type.scheme, plain.public, raw[8:], HEAD.text.encode())


def test_an_origin_too_long_for_the_structure_is_not_cosigned_with_mldsa() -> None:
    key, signer = key_pair("witness", MLDSA44)
    head = Checkpoint("x" * 256, 1, bytes(32))

    with pytest.raises(CheckpointError):
        cosignature.sign(key, signer, head.text, NOW)
