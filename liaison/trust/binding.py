"""The channel binding: a group context extension that ties a group to its agreement.

It stands in the group context, so the keys of every epoch depend on it: members
who believe in different versions of the agreement have no key in common. Type
0xF0A1 is of the private-use range.

    struct {
        opaque channel_id[16];
        opaque agreement_id<V>;
        uint32 agreement_version;
        opaque agreement_digest[32];
        opaque policy<V>;
    } ChannelBinding;
"""

from __future__ import annotations

from typing import Final, Self

from liaison import codec
from liaison.codec import Reader
from liaison.errors import LiaisonError, MalformedError, VerificationError
from liaison.mls.extensions import Extension
from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.values import dataclass

CHANNEL_BINDING_EXTENSION: Final = 0xF0A1
_MAX_NAME: Final = 100
_MAX_BYTES: Final = 512


class BindingError(MalformedError):
    """The group does not say which channel of which agreement it is."""

    code = "channel.binding_malformed"


class BindingMismatchError(VerificationError):
    """The group is bound to another agreement, or to another version of it."""

    code = "channel.binding_mismatch"


@dataclass(frozen=True, slots=True)
class ChannelBinding:
    """What a group is: a channel, under one policy of one version of an agreement.

    Args:
        digest: of the agreement's payload, 32 bytes.
        policy: name of the channel policy.
    """

    channel: ChannelId
    agreement_id: str
    version: int
    digest: bytes
    policy: str

    @classmethod
    def of(cls, channel: ChannelId, agreement: Agreement, policy: str) -> Self:
        """Return the binding of a new channel.

        Raises:
            UnknownChannelPolicyError: the agreement has no such policy.
        """
        name = agreement.channel(policy).name
        return cls(channel, agreement.agreement_id, agreement.version, agreement.digest(), name)

    @classmethod
    def decode(cls, data: bytes | None) -> Self:
        """Read the extension's data, as `mls.extensions.find` gives it.

        Raises:
            BindingError: absent or malformed.
        """
        if data is None or len(data) > _MAX_BYTES:
            raise BindingError
        try:
            return codec.decode(cls._read, data)
        except (LiaisonError, UnicodeDecodeError) as error:
            raise BindingError from error

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        binding = cls(
            channel=ChannelId(reader.take(16)),
            agreement_id=_name(reader),
            version=reader.uint32(),
            digest=reader.take(32),
            policy=_name(reader),
        )
        if binding.version == 0:
            raise BindingError
        return binding

    def encode(self) -> bytes:
        """Return the extension's data."""
        return (
            self.channel.value
            + codec.opaque(self.agreement_id.encode())
            + codec.uint32(self.version)
            + self.digest
            + codec.opaque(self.policy.encode())
        )

    def extension(self) -> Extension:
        """Return the group context extension."""
        return Extension(CHANNEL_BINDING_EXTENSION, self.encode())

    def check(self, agreement: Agreement) -> ChannelPolicy:
        """Check that this is exactly the agreement the group is bound to; return its policy.

        Raises:
            BindingMismatchError: another agreement, version or text.
            UnknownChannelPolicyError: the agreement has no such channel policy.
        """
        theirs = (agreement.agreement_id, agreement.version, agreement.digest())
        if (self.agreement_id, self.version, self.digest) != theirs:
            raise BindingMismatchError(
                f"the channel is bound to {self.agreement_id} version {self.version},"
                f" not to this {theirs[0]} version {theirs[1]}"
            )
        return agreement.channel(self.policy)


def _name(reader: Reader) -> str:
    text = reader.opaque().decode("ascii")
    if not 1 <= len(text) <= _MAX_NAME or not text.isprintable():
        raise BindingError
    return text
