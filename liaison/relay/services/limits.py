"""How much of each thing the services keep."""

from __future__ import annotations

from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that hold for everyone; an agreement's policy may be narrower.

    Args:
        max_blob: bytes of one attachment's ciphertext.
        key_packages: single-use packages of one device and suite.
        low_key_packages: a device with fewer left is told so.
        proposals: that may wait for a commit in one channel.
        open_documents: proposals or exclusions that a party may have waiting in one agreement.
        open_proposals: proposals that a party may have waiting in all its agreements.
        statements_a_minute: of one party about one agreement, beside those by which it leaves;
            each makes all its members look, and commits under way be judged again. At most 8.
        invitations: of a party that wait for their device or its registrar.
        enrolments: of a party that are kept, those that are over included.
        enrolment_days: an invitation ends after so many at the latest.
        ended_days: an enrolment that is over is forgotten after so many.
        channels: under one agreement, all its versions together.
        messages: that one channel holds.
        message_bytes: of them.
        channel_attachments: bytes that one channel holds.
        party_attachments: bytes that the devices of one party have stored.
        uploads: of one device at once.
        welcome_days: a Welcome that nobody came for is kept so long.
        unfinished_hours: an upload that was not completed is then deleted.
        expire_at_once: rows of a kind that one pass of the retention works on.
        erase_at_once: chunks of attachments that one transaction deletes.
        tail_bytes: the newest messages that are kept in memory, with what belongs to them.
    """

    max_blob: int = 1 << 30
    key_packages: int = 200
    low_key_packages: int = 10
    proposals: int = 256
    open_documents: int = 8
    open_proposals: int = 32
    statements_a_minute: int = 8
    invitations: int = 500
    enrolments: int = 20_000
    enrolment_days: int = 30
    ended_days: int = 30
    channels: int = 20_000
    messages: int = 1_000_000
    message_bytes: int = 16 << 30
    channel_attachments: int = 16 << 30
    party_attachments: int = 64 << 30
    uploads: int = 4
    welcome_days: int = 90
    unfinished_hours: int = 24
    expire_at_once: int = 500
    erase_at_once: int = 64
    tail_bytes: int = 32 << 20
