"""Enrolment: how a device and its registrar come to trust each other's keys.

The registrar gives out a code by another way than the relay: a lookup id, under
which the relay keeps both messages, and a secret, which it never sees. Each
message is sealed under its own key derived from the secret and bound to the
lookup id; the reply is bound to the request too. So the relay can deliver the
messages or not, and nothing else: a swapped key, a replayed reply or a mixed-up
code does not open.

The device does not choose its name: the invitation did. What the reply carries
are the device's anchors: its own root, authority and registrar keys, and the
relay's identity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Final, Self

from liaison.crypto import kdf, secret, x509_path
from liaison.crypto.errors import DecryptionError, SignatureError
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.errors import LiaisonError
from liaison.model import DeviceId
from liaison.policy import canonical
from liaison.policy.canonical import JSON, to_base64
from liaison.policy.errors import EnrolmentCodeError, EnrolmentError
from liaison.policy.fields import Node
from liaison.policy.keys import VerifyKey
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.values import dataclass

LOOKUP_BYTES: Final = 16
SECRET_BYTES: Final = 16
MAX_MESSAGE_BYTES: Final = 1024 * 1024
MAX_SCHEMES: Final = 8
_CHECK_BYTES: Final = 3
_NONCE_BYTES: Final = 12
_GROUP: Final = 4
_SYMBOLS: Final = (LOOKUP_BYTES + SECRET_BYTES + _CHECK_BYTES) * 8 // 5
# Crockford's base32: no I, L, O, U; what is read aloud or mistyped maps back.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD: Final = str.maketrans({"O": "0", "I": "1", "L": "1"})
_SEPARATORS: Final = re.compile(r"[\s\-]+")

_CHECK_DOMAIN: Final = b"liaison enrolment code v1\0"
_REQUEST: Final = b"liaison enrolment v1 request"
_REPLY: Final = b"liaison enrolment v1 reply"
_PROOF: Final = b"liaison enrolment v1 proof of possession\0"
_REQUEST_FORMAT: Final = "liaison.enrolment-request/1"
_REPLY_FORMAT: Final = "liaison.enrolment-reply/1"


@dataclass(frozen=True, slots=True)
class Code:
    """An enrolment code; whoever has it is taken for the device, or for the registrar.

    Its text is 14 groups of four, readable aloud; capitals do not matter, `O`,
    `I` and `L` are read as `0` and `1`, and a checksum catches typing errors.
    """

    lookup_id: bytes
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            EnrolmentCodeError: a part has the wrong length.
        """
        if len(self.lookup_id) != LOOKUP_BYTES or len(self.secret) != SECRET_BYTES:
            raise EnrolmentCodeError("a code has a lookup id and a secret of 16 bytes each")

    @classmethod
    def generate(cls, rng: Callable[[int], bytes]) -> Self:
        """Return a fresh code."""
        return cls(rng(LOOKUP_BYTES), rng(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a code as a person types it.

        Raises:
            EnrolmentCodeError: too short, too long, or a typing error.
        """
        symbols = _SEPARATORS.sub("", text[:500]).upper().translate(_MISREAD)
        if len(symbols) != _SYMBOLS:
            raise EnrolmentCodeError(
                f"a code has {_SYMBOLS} letters and digits, this has {len(symbols)}"
            )
        if set(symbols) - set(_ALPHABET):
            raise EnrolmentCodeError("the code has a letter that codes do not have")
        data = _from_symbols(symbols)
        code = cls(data[:LOOKUP_BYTES], data[LOOKUP_BYTES:-_CHECK_BYTES])
        if not kdf.constant_time_equal(code._check(), data[-_CHECK_BYTES:]):
            raise EnrolmentCodeError(hint="read the code again, group by group")
        return code

    @property
    def lookup_text(self) -> str:
        """The lookup id as the relay knows it, 32 hex digits."""
        return self.lookup_id.hex()

    def __str__(self) -> str:
        """Return the code as it is handed to the person: `7ZQ2-...`, 14 groups of four."""
        symbols = _to_symbols(self.lookup_id + self.secret + self._check())
        return "-".join(symbols[i : i + _GROUP] for i in range(0, _SYMBOLS, _GROUP))

    def _check(self) -> bytes:
        return kdf.sha256(_CHECK_DOMAIN + self.lookup_id + self.secret)[:_CHECK_BYTES]

    def _key(self, purpose: bytes) -> bytes:
        return kdf.hkdf_sha256(self.secret, self.lookup_id, purpose, 32)


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """A request on its way.

    Args:
        data: what the relay keeps for the registrar.
        digest: 32 bytes; the reply has to be for this request.
        keys: which keys were asked for.
    """

    data: bytes
    digest: bytes
    keys: tuple[VerifyKey, ...]


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A request as the registrar has opened it: keys whose possession was proved."""

    keys: tuple[VerifyKey, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class EnrolmentReply:
    """What the registrar answers.

    Args:
        device: the name that the invitation gave it.
        chains: one certificate chain per requested key, the device's own first.
        party: the device's anchors.
        relay: whom it talks to.
    """

    device: DeviceId
    chains: tuple[tuple[bytes, ...], ...]
    party: Party
    relay: RelayIdentity


def seal_request(
    code: Code, keys: Sequence[SigningKey], rng: Callable[[int], bytes]
) -> SealedRequest:
    """Return the device's request: its public keys, each proving possession.

    Args:
        code: as the person typed it.
        keys: one per signature scheme.
        rng: gives random bytes.

    Raises:
        EnrolmentError: no keys, or two of one scheme.
    """
    publics = tuple(VerifyKey.of(key) for key in keys)
    _check_schemes(publics)
    message = _proof_message(code, publics)
    payload = canonical.encode(
        {
            "format": _REQUEST_FORMAT,
            "keys": [
                {"key": public.document(), "proof": to_base64(key.sign(message))}
                for key, public in zip(keys, publics, strict=True)
            ],
        }
    )
    data = _seal(code, _REQUEST, b"", payload, rng)
    return SealedRequest(data, kdf.sha256(data), publics)


def open_request(code: Code, data: bytes) -> EnrolmentRequest:
    """Open a request at the registrar's.

    Args:
        code: the one that was given out; the caller has checked that it is still
            open and that no other request was accepted for it.
        data: from the relay.

    Raises:
        EnrolmentError: not made with this code, or a key without proof of possession.
    """
    payload = _open(code, _REQUEST, b"", data)
    try:
        pairs = _read_request(payload)
    except LiaisonError as error:
        raise EnrolmentError(f"the request is not well formed: {error.message}") from error
    keys = tuple(key for key, _ in pairs)
    _check_schemes(keys)
    message = _proof_message(code, keys)
    for key, proof in pairs:
        try:
            key.verify(proof, message)
        except SignatureError as error:
            raise EnrolmentError(
                f"the device did not prove that it holds its {key.scheme.value} key"
            ) from error
    return EnrolmentRequest(keys, kdf.sha256(data))


def seal_reply(
    code: Code, request_digest: bytes, reply: EnrolmentReply, rng: Callable[[int], bytes]
) -> bytes:
    """Return the registrar's reply to one request.

    Args:
        code: the one that was given out.
        request_digest: from `open_request`.
        reply: certificates and anchors.
        rng: gives random bytes.
    """
    payload = canonical.encode(
        {
            "format": _REPLY_FORMAT,
            "device": str(reply.device),
            "chains": [[to_base64(der) for der in chain] for chain in reply.chains],
            "party": reply.party.document(),
            "relay": reply.relay.document(),
        }
    )
    return _seal(code, _REPLY, request_digest, payload, rng)


def open_reply(code: Code, request: SealedRequest, data: bytes, now: int) -> EnrolmentReply:
    """Open a reply on the device and check what it brings.

    Args:
        code: as the person typed it.
        request: the one that was sent.
        data: from the relay.
        now: Unix seconds.

    Raises:
        EnrolmentError: not made with this code for this request, or its
            certificates are not for the keys that were asked for.
        CertificateError: a certificate does not hold under the party's root.
    """
    payload = _open(code, _REPLY, request.digest, data)
    try:
        reply = _read_reply(payload)
    except LiaisonError as error:
        raise EnrolmentError(f"the reply is not well formed: {error.message}") from error
    certified = tuple(
        x509_path.verify_chain(chain, reply.party.roots, now) for chain in reply.chains
    )
    if {(c.scheme, c.public_key) for c in certified} != {
        (key.scheme, key.public) for key in request.keys
    } or len(certified) != len(request.keys):
        raise EnrolmentError("the certificates are not for the keys that were asked for")
    if any(c.device != reply.device for c in certified):
        raise EnrolmentError(f"a certificate is not for {reply.device}")
    return reply


def _check_schemes(keys: Sequence[VerifyKey]) -> None:
    schemes: set[SignatureScheme] = {key.scheme for key in keys}
    if not keys or len(schemes) != len(keys) or len(keys) > MAX_SCHEMES:
        raise EnrolmentError("a request has one key per signature scheme, and at least one")


def _proof_message(code: Code, keys: Sequence[VerifyKey]) -> bytes:
    # All keys stand in what each of them signs, so proofs can't be recombined.
    listed: list[JSON] = [key.document() for key in keys]
    return _PROOF + code.lookup_id + canonical.encode(listed)


def _read_request(payload: bytes) -> list[tuple[VerifyKey, bytes]]:
    fields = Node.of(canonical.decode_canonical(payload)).fields(("format", "keys"))
    if fields["format"].value != _REQUEST_FORMAT:
        fields["format"].fail(f"must be {_REQUEST_FORMAT}")
    pairs = []
    for node in fields["keys"].items(least=1, most=MAX_SCHEMES):
        entry = node.fields(("key", "proof"))
        pairs.append((VerifyKey.from_node(entry["key"]), entry["proof"].octets()))
    return pairs


def _read_reply(payload: bytes) -> EnrolmentReply:
    fields = Node.of(canonical.decode_canonical(payload)).fields(
        ("format", "device", "chains", "party", "relay")
    )
    if fields["format"].value != _REPLY_FORMAT:
        fields["format"].fail(f"must be {_REPLY_FORMAT}")
    party = Party.from_node(fields["party"])
    device = fields["device"].parsed(DeviceId.parse)
    if device.party != party.code:
        fields["device"].fail(f"is not a device of {party.code}")
    chains = tuple(
        tuple(der.octets() for der in chain.items(least=1, most=x509_path.MAX_CHAIN))
        for chain in fields["chains"].items(least=1, most=MAX_SCHEMES)
    )
    return EnrolmentReply(device, chains, party, RelayIdentity.from_node(fields["relay"]))


def _seal(
    code: Code, purpose: bytes, bound: bytes, payload: bytes, rng: Callable[[int], bytes]
) -> bytes:
    # The nonce is random and the key is used a handful of times at most: a
    # device that asks twice must not use one nonce twice.
    nonce = rng(_NONCE_BYTES)
    aad = purpose + code.lookup_id + bound
    return nonce + secret.seal(code._key(purpose), nonce, payload, aad)  # noqa: SLF001  same module


def _open(code: Code, purpose: bytes, bound: bytes, data: bytes) -> bytes:
    if not _NONCE_BYTES < len(data) <= MAX_MESSAGE_BYTES:
        raise EnrolmentError("the enrolment message has a length that none has")
    aad = purpose + code.lookup_id + bound
    try:
        return secret.open_sealed(
            code._key(purpose),  # noqa: SLF001  same module
            data[:_NONCE_BYTES],
            data[_NONCE_BYTES:],
            aad,
        )
    except DecryptionError as error:
        raise EnrolmentError(
            hint="check the code; if it is right, ask the registrar for a new one"
        ) from error


def _to_symbols(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    return "".join(_ALPHABET[number >> 5 * i & 31] for i in reversed(range(_SYMBOLS)))


def _from_symbols(symbols: str) -> bytes:
    number = 0
    for symbol in symbols:
        number = number << 5 | _ALPHABET.index(symbol)
    return number.to_bytes(_SYMBOLS * 5 // 8, "big")
