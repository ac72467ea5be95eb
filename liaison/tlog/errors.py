"""What can be wrong with a log, or with what someone says of it.

Whatever derives from `VerificationError` a dishonest or broken log could have sent: the bytes are
evidence, so callers keep them.
"""

from __future__ import annotations

from liaison.errors import (
    ConflictError,
    LimitError,
    MalformedError,
    UnknownError,
    VerificationError,
)


class ProofError(VerificationError):
    """The transparency log's proof does not show what it claims."""

    code = "log.proof_invalid"


class ProofFormatError(MalformedError):
    """The bytes are not a proof from a transparency log."""

    code = "log.proof_malformed"


class NoteError(MalformedError):
    """The text is not a signed note."""

    code = "log.note_malformed"


class VerifierKeyError(MalformedError):
    """The text is not a verifier key of a log or a witness."""

    code = "log.vkey_malformed"


class NoteSignatureError(VerificationError):
    """A signature on the note is by a known key and does not hold."""

    code = "log.signature_invalid"


class NoteUnsignedError(VerificationError):
    """No key that is known here has signed the note."""

    code = "log.signature_missing"


class CheckpointError(MalformedError):
    """The note's text is not a checkpoint."""

    code = "log.checkpoint_malformed"


class OriginError(UnknownError):
    """No log of this origin is known here."""

    code = "log.origin_unknown"


class PolicyError(MalformedError):
    """The trust policy is not one, or contradicts itself.

    The message names the line. Nothing of the policy is in force.
    """

    code = "log.policy_malformed"


class QuorumError(VerificationError):
    """Too few of the witnesses have cosigned the checkpoint."""

    code = "log.quorum_missing"


class QuorumsDisjointError(VerificationError):
    """Two quorums of the policy need not share an honest witness.

    Under such a policy a log could show two histories, each with a quorum. Ask for more witnesses
    in each quorum.
    """

    code = "log.quorums_disjoint"


class TileError(MalformedError):
    """The bytes are not the tile that was asked for, or its name is no tile's."""

    code = "log.tile_malformed"


class TileConflictError(ConflictError):
    """A tile that was written has other bytes than its entries give.

    Nothing was written. Stop serving this log: either the tiles or the database were changed from
    outside, and both are evidence.
    """

    code = "log.tile_conflict"


class EntryError(MalformedError):
    """The bytes are not an entry of the log."""

    code = "log.entry_malformed"


class EntryTooLargeError(LimitError):
    """The entry is larger than an entry of the log may be."""

    code = "log.entry_too_large"


class OpeningError(VerificationError):
    """The opening does not fit what the entry commits to."""

    code = "log.opening_invalid"


class OpeningFormatError(MalformedError):
    """The bytes are no openings of an entry."""

    code = "log.opening_malformed"


class TimeOrderError(ConflictError):
    """An entry would be older than the one before it.

    Nothing was appended. Stamp it anew with the log's own time.
    """

    code = "log.time_order"


class StateError(MalformedError):
    """The stored state of the log is damaged."""

    code = "log.state_malformed"


class ForkError(VerificationError):
    """The log has shown two histories.

    Two checkpoints of one log can't both be true, or a witness has seen what this log does not
    hold. Keep both and tell every party; the way on is a successor log that all parties'
    authorities sign.
    """

    code = "log.fork"


class ShrunkError(ForkError):
    """The log is shorter than it has been.

    An old backup was restored, or entries were cut off. Do not serve on it.
    """

    code = "log.shrunk"


class WitnessRequestError(MalformedError):
    """The bytes are not a request to a witness, or not a witness's answer."""

    code = "log.witness_request_malformed"


class WitnessBehindError(ConflictError):
    """The witness has last cosigned another size than the request starts from.

    Ask again with a proof from `size`.

    Args:
        size: what the witness has cosigned last.
    """

    code = "log.witness_size"

    def __init__(self, message: str = "", *, size: int) -> None:
        super().__init__(message, hint="ask again with a proof from that size")
        self.size = size


class ChannelGapError(VerificationError):
    """The log leaves out a sequence number of the channel, or tells one twice."""

    code = "log.channel_gap"


class ChannelForkError(VerificationError):
    """The log and this channel's member disagree on what the channel holds.

    Another commit stands in the log for an epoch than the one that was applied, or two stand for
    one epoch. Keep the entries and the commit, stop using the channel, and tell the other members
    by another way.
    """

    code = "log.channel_fork"
