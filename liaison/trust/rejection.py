"""A member's report that it could not follow a commit.

The relay takes a commit that only members can see through: a wrong confirmation tag, a path secret
that doesn't open. Whoever can't follow it comes back by an external commit in the place of its own
leaf, and says in that commit's authenticated data why: signed by it, delivered to all members, and
in the log by the commit's digest. Nobody acts on a report by itself; people may.
"""

from __future__ import annotations

import re
from typing import Any, Final

from liaison.envelope import cbor
from liaison.errors import LiaisonError, MalformedError
from liaison.model import DeviceId
from liaison.values import dataclass

VERSION: Final = 1
DIGEST_SIZE: Final = 32
_V, _EPOCH, _DIGEST, _COMMITTER, _CODE = range(5)
_CODES: Final = re.compile(r"[a-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a member says that it could not follow.

    Args:
        epoch: that the commit ended.
        digest: SHA-256 of the commit, 32 bytes.
        committer: whose the commit was.
        code: of the error that the member ran into, at most 64 characters.
    """

    epoch: int
    digest: bytes
    committer: DeviceId
    code: str

    def encode(self) -> bytes:
        """Return the authenticated data of the commit by which the member comes back."""
        return cbor.encode(
            {
                _V: VERSION,
                _EPOCH: self.epoch,
                _DIGEST: self.digest,
                _COMMITTER: str(self.committer),
                _CODE: self.code,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Rejection:
        """Read a report.

        Raises:
            MalformedError: it is none.
        """
        try:
            found = cls._read(cbor.decode(data))
            # Encoded again, for whatever else stands there.
            if found is not None and found.encode() == data:
                return found
        except LiaisonError as error:
            raise MalformedError("this is no report of a rejected commit") from error
        raise MalformedError("this is no report of a rejected commit")

    @classmethod
    def _read(cls, item: Any) -> Rejection | None:
        match item:
            case {1: int(epoch), 2: bytes(digest), 3: str(committer), 4: str(code)}:
                fits = epoch >= 0 and len(digest) == DIGEST_SIZE and _CODES.fullmatch(code)
                if not fits or isinstance(epoch, bool):
                    return None
                return cls(epoch, digest, DeviceId.parse(committer), code)
        return None
