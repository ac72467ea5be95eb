"""Transcript hashes: the running hash over every commit of a group.

Source: RFC 9420 §8.2.
"""

from __future__ import annotations

from liaison import codec
from liaison.crypto.suites import CipherSuite
from liaison.mls.framing import AuthenticatedContent


def confirmed_hash(suite: CipherSuite, interim: bytes, commit: AuthenticatedContent) -> bytes:
    """Give the confirmed transcript hash after a commit.

    Args:
        interim: the interim hash of the epoch in which the commit was sent.
        commit: its confirmation tag is not covered and may still be missing.
    """
    covered = (
        codec.uint16(commit.wire_format) + commit.framed.encode() + codec.opaque(commit.signature)
    )
    return suite.hash(interim + covered)


def interim_hash(suite: CipherSuite, confirmed: bytes, confirmation_tag: bytes) -> bytes:
    """Give the interim transcript hash after the commit with this confirmation tag."""
    return suite.hash(confirmed + codec.opaque(confirmation_tag))
