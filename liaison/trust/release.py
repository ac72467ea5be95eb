"""Who has really signed a draft: the certificates and signatures of a release, checked.

Whether those were the right persons is `liaison.policy.sending`'s to say.
"""

from __future__ import annotations

from liaison.crypto.signing import Signer, verify
from liaison.crypto.x509_path import CertifiedDevice
from liaison.envelope.header import Header
from liaison.envelope.release import (
    Part,
    Release,
    ReleaseSignature,
    content_digest,
    signed_bytes,
)
from liaison.errors import LiaisonError, VerificationError
from liaison.model import ChannelId
from liaison.policy.requests import Released
from liaison.trust.credentials import PartyValidator


class ReleaseInvalidError(VerificationError):
    """A signature under a draft does not hold.

    The message was altered after somebody signed it, is sent into another
    channel, or the signer's certificate does not count.
    """

    code = "release.invalid"


def sign_draft(
    header: Header, channel: ChannelId, part: Part, signer: Signer, chain: tuple[bytes, ...]
) -> Header:
    """Return the header with one more person's signature.

    Args:
        header: of the draft, whose `release` names the content.
        channel: where the message will go.
        part: what the person does.
        signer: the person's device.
        chain: its certificates, the device's first.

    Raises:
        ReleaseInvalidError: the header names no content.
    """
    release = _release(header)
    data = signed_bytes(channel, header.bare(), release.content, part)
    signature = ReleaseSignature(part, chain, signer.sign(data))
    return header.with_release(release.with_signature(signature))


def verify_release(
    header: Header, channel: ChannelId, validator: PartyValidator, now: int
) -> tuple[Released, ...]:
    """Return who has signed what part of a draft; nobody where the header has no release.

    Args:
        header: as MLS authenticated it.
        channel: where it was sent.
        validator: for the agreement's parties, with what is revoked.
        now: Unix seconds to judge certificates at.

    Raises:
        ReleaseInvalidError: any one signature does not hold.
    """
    if header.release is None:
        return ()
    bare = header.bare()
    return tuple(
        _verify(one, bare, header.release.content, channel, validator, now)
        for one in header.release.signatures
    )


def check_content(header: Header, content: bytes) -> None:
    """Check that the content is the one that was released.

    Args:
        header: as MLS authenticated it.
        content: the encoding of the content, as it was decrypted.

    Raises:
        ReleaseInvalidError: it is another.
    """
    if header.release is not None and header.release.content != content_digest(content):
        raise ReleaseInvalidError("the content is not the one that was released")


def _release(header: Header) -> Release:
    if header.release is None:
        raise ReleaseInvalidError("the draft does not name its content")
    return header.release


def _verify(
    one: ReleaseSignature,
    bare: bytes,
    content: bytes,
    channel: ChannelId,
    validator: PartyValidator,
    now: int,
) -> Released:
    try:
        device: CertifiedDevice = validator.certify_chain(one.chain, now)
        data = signed_bytes(channel, bare, content, one.part)
        verify(device.scheme, device.public_key, one.signature, data)
    except LiaisonError as error:
        raise ReleaseInvalidError(
            f"a signature under the draft does not hold: {error.message}"
        ) from error
    return Released(one.part, device.device.endpoint)
