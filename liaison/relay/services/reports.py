"""Signed reports of what was erased: kept beside the log, which has their digests."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from typing import Final

from liaison.crypto.signing import Signer
from liaison.relay.recording import origin_of
from liaison.relay.services.entries import administration as entries
from liaison.relay.work import Work
from liaison.storage import erasures, logs
from liaison.tlog import commitment
from liaison.tlog.note import Note
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.values import dataclass

FORMAT: Final = "liaison.erasure/1"


@dataclass(frozen=True, slots=True)
class Erased:
    """What one pass has erased of one agreement.

    Args:
        rule: `contents` (a channel's retention, or the sender's expiry) or `openings` (the
            agreement's retention).
        messages: whose ciphertext went.
        attachments: that went.
        openings: entries that nobody can open any more.
        first: index of the first of these, and `last` that of the last one.
        origin: of the log that these stand in; empty for the one that goes on.
    """

    rule: str
    messages: int = 0
    attachments: int = 0
    openings: int = 0
    first: int | None = None
    last: int | None = None
    origin: str = ""


@dataclass(frozen=True)
class Reports:
    """Makes reports.

    Args:
        relay: the relay's origin.
        signer: the relay's log key.
    """

    relay: str
    signer: Signer

    async def keep(self, work: Work, agreement: str, what: Erased, now_ms: int) -> None:
        """Sign what was erased, keep that, and tell it in the log.

        Raises:
            LogRefusedError: the log takes nothing; then nothing is to be erased either.
        """
        row = await logs.find(work.tx, agreement)
        current = origin_of(self.relay, agreement) if row is None else row.origin
        origin = what.origin or current
        number = await erasures.count(work.tx, agreement) + 1
        body = {
            "format": FORMAT,
            "agreement": agreement,
            "number": number,
            "time": now_ms,
            **asdict(replace(what, origin=origin)),
        }
        key = VerifierKey.of(origin, SignatureType.ED25519, self.signer)
        text = commitment.dump(body).decode() + "\n"
        report = Note(text).signed_by(key, self.signer).encode()
        digest = hashlib.sha256(report).digest()
        await erasures.keep(work.tx, agreement, digest, report, now_ms=now_ms)
        # Of another log's entries the report alone tells which: here the places would be this
        # one's.
        places = (what.first, what.last) if origin == current else (None, None)
        work.record(
            entries.erased(
                agreement,
                what.rule,
                first=places[0],
                last=places[1],
                contents=what.messages + what.attachments,
                openings=what.openings,
                digest=digest,
            )
        )
