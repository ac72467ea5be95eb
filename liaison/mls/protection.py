"""Protecting and opening messages with the keys of an epoch.

Members only. Opening a message gives its content only after every check of the
framing passed; the key that it used is missing from the state that comes with it.

Source: RFC 9420 §6.2, §6.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.crypto.errors import CryptoError
from liaison.crypto.signing import Signer
from liaison.crypto.suites import CipherSuite
from liaison.mls import framing
from liaison.mls.errors import DecryptError, InvalidMessageError, MLSError, OwnMessageError
from liaison.mls.framing import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderKind,
    WireFormat,
)
from liaison.mls.leaf import LeafNode
from liaison.mls.secret_tree import Limits, RatchetKind, SecretTree
from liaison.mls.validation import framing as checks
from liaison.values import dataclass

DEFAULT_BUCKETS: Final = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
"""Sizes that a message's encrypted content is padded up to, in bytes."""


@dataclass(frozen=True, slots=True)
class MessageKeys:
    """What is needed to send and read the messages of one epoch.

    Args:
        context: the epoch's group context, encoded.
        members: as of that epoch, by leaf.
        tree: the unused message keys.
        ended: when the next epoch began, in Unix seconds; 0 while it has not.
    """

    suite: CipherSuite
    group_id: bytes
    epoch: int
    context: bytes = field(repr=False)
    members: Mapping[int, LeafNode] = field(repr=False)
    sender_data_secret: bytes = field(repr=False)
    tree: SecretTree = field(repr=False)
    ended: int = 0

    def with_tree(self, tree: SecretTree) -> MessageKeys:
        """Give the same with other message keys; `replace` is too slow for every message."""
        return MessageKeys(
            self.suite,
            self.group_id,
            self.epoch,
            self.context,
            self.members,
            self.sender_data_secret,
            tree,
            self.ended,
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened PrivateMessage."""

    keys: MessageKeys
    content: AuthenticatedContent
    generation: int


# --- PublicMessage ------------------------------------------------------------------------------


def _tag_input(content: AuthenticatedContent, context: bytes) -> bytes:
    """Encode the AuthenticatedContentTBM."""
    signed = framing.signed_content(content.wire_format, content.framed, context)
    return signed + content.encode_auth()


def protect_public(
    suite: CipherSuite, membership_key: bytes, content: AuthenticatedContent, context: bytes
) -> PublicMessage:
    """Frame signed content of a member as a PublicMessage.

    Raises:
        InvalidMessageError: application data must be encrypted.

    Source: RFC 9420 §6.2.
    """
    if content.framed.content_type is ContentType.APPLICATION:
        raise InvalidMessageError("application data must be encrypted", check="VAL-0106")
    if content.framed.sender.kind is not SenderKind.MEMBER:
        return PublicMessage(content)
    return PublicMessage(content, suite.mac(membership_key, _tag_input(content, context)))


def open_public(
    suite: CipherSuite, membership_key: bytes, message: PublicMessage, context: bytes
) -> AuthenticatedContent:
    """Check a PublicMessage's membership tag; the signature is checked by its user.

    Raises:
        MembershipTagError: the tag does not hold.

    Source: RFC 9420 §6.2.
    """
    content = message.authenticated
    if content.framed.sender.kind is SenderKind.MEMBER:
        checks.check_membership_tag(
            suite, membership_key, _tag_input(content, context), message.membership_tag
        )
    return content


# --- PrivateMessage -----------------------------------------------------------------------------


def protect_private(
    keys: MessageKeys,
    content: AuthenticatedContent,
    *,
    rng: Callable[[int], bytes],
    buckets: Sequence[int] = (),
) -> tuple[MessageKeys, PrivateMessage, int]:
    """Encrypt signed content with the next key of its sender.

    Args:
        buckets: rising sizes in bytes that the content is padded up to; beyond the last,
            up to a multiple of it. Empty: no padding.

    Returns:
        The keys without the used one, the message, and the key's generation.

    Source: RFC 9420 §6.3.
    """
    plain = framing.encode_content(content.framed.content) + content.encode_auth()
    return seal(keys, content.framed, plain + bytes(_padding(len(plain), buckets)), rng)


def seal(
    keys: MessageKeys, framed: FramedContent, plain: bytes, rng: Callable[[int], bytes]
) -> tuple[MessageKeys, PrivateMessage, int]:
    """Encrypt an encoded PrivateMessageContent with the next key of its sender.

    Source: RFC 9420 §6.3.1, §6.3.2.
    """
    suite, kind, leaf = keys.suite, framed.content_type, framed.sender.index
    tree, generation, (key, nonce) = keys.tree.next(suite, leaf, _ratchet_of(kind))
    guard = rng(4)
    head = codec.opaque(framed.group_id) + codec.uint64(framed.epoch) + codec.uint8(kind)
    aad = head + codec.opaque(framed.authenticated_data)
    ciphertext = suite.aead_seal(key, _guarded(nonce, guard), aad, plain)
    sender_key, sender_nonce = sender_data_key(keys, ciphertext)
    sender_data = codec.uint32(leaf) + codec.uint32(generation) + guard
    message = PrivateMessage(
        framed.group_id,
        framed.epoch,
        kind,
        framed.authenticated_data,
        suite.aead_seal(sender_key, sender_nonce, head, sender_data),
        ciphertext,
    )
    return keys.with_tree(tree), message, generation


def open_private(
    keys: MessageKeys, message: PrivateMessage, limits: Limits, *, own_leaf: int | None = None
) -> Opened:
    """Decrypt a PrivateMessage and check all that frames it, the signature included.

    Args:
        own_leaf: the reader's, to recognise its own messages.

    Raises:
        DecryptError: it is not encrypted with this epoch's keys.
        OwnMessageError: the reader sent it.
        KeyUsedError, TooFarAheadError: its key is gone, or too far ahead.
        InvalidMessageError: no such sender (VAL-0110), content of another form (VAL-0111),
            or bad padding (VAL-0109).
        SignatureInvalidError: the signature does not hold.

    Source: RFC 9420 §6.3.
    """
    leaf, generation, guard = _open_sender_data(keys, message)
    if leaf == own_leaf:
        raise OwnMessageError
    member = keys.members.get(leaf)
    if member is None:
        raise InvalidMessageError("the message's sender is not a member", check="VAL-0110")
    try:
        return _open_content(keys, message, (leaf, generation, guard), member, limits)
    except MLSError as error:
        error.sender_leaf = leaf
        raise


def _open_content(
    keys: MessageKeys,
    message: PrivateMessage,
    sender_data: tuple[int, int, bytes],
    member: LeafNode,
    limits: Limits,
) -> Opened:
    leaf, generation, guard = sender_data
    suite = keys.suite
    ratchet = _ratchet_of(message.content_type)
    tree, (key, nonce) = keys.tree.take(suite, leaf, ratchet, generation, limits)
    aad = _head(message) + codec.opaque(message.authenticated_data)
    try:
        plain = suite.aead_open(key, _guarded(nonce, guard), aad, message.ciphertext)
    except CryptoError as error:
        raise DecryptError("the message's content can't be decrypted") from error
    content = _read_content(message, leaf, plain)
    framing.verify(suite, member.signature_key, content, keys.context)
    return Opened(keys.with_tree(tree), content, generation)


def _head(message: PrivateMessage) -> bytes:
    """Encode the fields that both AADs begin with."""
    return (
        codec.opaque(message.group_id)
        + codec.uint64(message.epoch)
        + codec.uint8(message.content_type)
    )


def _open_sender_data(keys: MessageKeys, message: PrivateMessage) -> tuple[int, int, bytes]:
    key, nonce = sender_data_key(keys, message.ciphertext)
    try:
        data = keys.suite.aead_open(key, nonce, _head(message), message.encrypted_sender_data)
    except CryptoError as error:
        raise DecryptError("the message's sender data can't be decrypted") from error
    reader = Reader(data)
    leaf, generation, guard = reader.uint32(), reader.uint32(), reader.take(4)
    reader.end()
    return leaf, generation, guard


def _read_content(message: PrivateMessage, leaf: int, plain: bytes) -> AuthenticatedContent:
    reader = Reader(plain)
    try:
        body = framing.read_content(message.content_type, reader)
        signature, confirmation_tag = framing.read_auth(message.content_type, reader)
    except MalformedMessageError as error:
        raise InvalidMessageError(
            "the message's content is not well formed", check="VAL-0111"
        ) from error
    checks.check_padding(reader.rest())
    framed = FramedContent(
        message.group_id,
        message.epoch,
        Sender(SenderKind.MEMBER, leaf),
        message.authenticated_data,
        body,
    )
    return AuthenticatedContent(WireFormat.PRIVATE_MESSAGE, framed, signature, confirmation_tag)


def sign_application(
    keys: MessageKeys, signer: Signer, leaf: int, plaintext: bytes, authenticated_data: bytes
) -> AuthenticatedContent:
    """Sign application data of the own leaf, ready to be encrypted."""
    framed = FramedContent(
        keys.group_id,
        keys.epoch,
        Sender(SenderKind.MEMBER, leaf),
        authenticated_data,
        plaintext,
    )
    return framing.sign(keys.suite, signer, WireFormat.PRIVATE_MESSAGE, framed, keys.context)


def _ratchet_of(kind: ContentType) -> RatchetKind:
    if kind is ContentType.APPLICATION:
        return RatchetKind.APPLICATION
    return RatchetKind.HANDSHAKE


def _guarded(nonce: bytes, guard: bytes) -> bytes:
    """XOR the reuse guard into the first four bytes: a lost state must not repeat a nonce."""
    first = int.from_bytes(nonce[:4], "big") ^ int.from_bytes(guard, "big")
    return first.to_bytes(4, "big") + nonce[4:]


def sender_data_key(keys: MessageKeys, ciphertext: bytes) -> tuple[bytes, bytes]:
    """Derive key and nonce of a message's sender data from a sample of its ciphertext.

    Source: RFC 9420 §6.3.2.
    """
    suite, secret = keys.suite, keys.sender_data_secret
    sample = ciphertext[: suite.nh]
    key = suite.expand_with_label(secret, b"key", sample, suite.nk)
    return key, suite.expand_with_label(secret, b"nonce", sample, suite.nn)


def _padding(length: int, buckets: Sequence[int]) -> int:
    if not buckets:
        return 0
    for bucket in buckets:
        if length <= bucket:
            return bucket - length
    return -length % buckets[-1]
