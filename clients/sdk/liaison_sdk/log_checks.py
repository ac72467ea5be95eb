"""What a client checks of its agreement's log. Pure: the relay's answer and what was known go in.

Nothing in an answer is believed before its checkpoint is: signed by the relay, cosigned by a quorum
and by the own party's witnesses, and an extension of the last one that was believed. What stands in
it is then proven by that checkpoint alone. An error that comes from here, other than that there is
no quorum yet, means that the relay is broken or dishonest; the answer is the evidence. What proven
entries say of a channel is for `log_places`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from liaison import words
from liaison.errors import LiaisonError
from liaison.model import DeviceId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.tlog import merkle
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.commitment import Value
from liaison.tlog.disclosure import Disclosure
from liaison.tlog.entries import Entry
from liaison.tlog.errors import (
    ForkError,
    NoteUnsignedError,
    OriginError,
    ProofError,
    QuorumError,
    ShrunkError,
)
from liaison.tlog.fields import EntryType
from liaison.tlog.note import Note
from liaison.tlog.policy import Cosigned
from liaison.tlog.proof import TlogProof
from liaison.tlog.text import to_base64
from liaison.trust import log as trusted
from liaison.values import dataclass
from liaison.wire.log import LogAnswer, ProvenEntry

PROOF_FORMAT: Final = "liaison.log-proof/1"
FRESH: Final = 2 * 3600
"""Seconds that a checkpoint may be old at least: relays have theirs cosigned more often."""
_AHEAD: Final = 86_400
"""Seconds by which this device's clock may be behind a witness's."""
CERTIFICATE_ACTS: Final = frozenset({"certificate", "known"})
"""What a key entry says that puts a certificate into the log."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint that was verified.

    Args:
        note: with its signatures.
        checkpoint: what it says.
        witnesses: when each witness cosigned it, POSIX seconds, by name.
    """

    note: bytes
    checkpoint: Checkpoint
    witnesses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Proven:
    """An entry that stands in the log.

    Args:
        index: its place.
        entry: what it says to everybody.
        values: of its fields; None where they are not shown.
    """

    index: int
    entry: Entry
    values: Mapping[str, Value] | None


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer shows.

    Args:
        seen: the checkpoint that proves it.
        newest: the size that the relay says the log has.
        entries: in the order in which they came.
    """

    seen: Seen
    newest: int
    entries: tuple[Proven, ...]

    @property
    def is_behind(self) -> bool:
        """Whether the log holds more than its witnesses have cosigned."""
        return self.newest > self.seen.checkpoint.size


def verify(
    versions: Sequence[Agreement], party: PartyCode, seen: Seen | None, answer: LogAnswer
) -> Answered:
    """Check an answer.

    Args:
        versions: of the agreement, any of which may name the keys; the first one that does counts.
        party: the reader's own.
        seen: the last checkpoint that was verified; None before the first.
        answer: from the relay.

    Raises:
        QuorumError: there is no cosigned checkpoint (yet); nothing was shown, nothing is wrong.
        ShrunkError, ForkError: the log is another one than it was.
        LiaisonError: anything else that only a broken or dishonest relay sends.
    """
    newest = signed_newest(versions, answer)
    if answer.checkpoint is None:
        raise QuorumError("the log has no checkpoint with a quorum yet")
    note = answer.checkpoint.encode()
    cosigned = _cosigned(versions, party, note)
    checkpoint = cosigned.checkpoint
    if seen is not None:
        _check_grown(seen.checkpoint, checkpoint, answer.consistency)
    if newest is not None:
        _check_newest(checkpoint, newest)
    entries = tuple(_proven(checkpoint, each) for each in answer.entries)
    size = checkpoint.size if newest is None else max(newest.size, checkpoint.size)
    return Answered(Seen(note, checkpoint, cosigned.witnesses), size, entries)


def cosigned_at(agreement: Agreement, party: PartyCode, seen: Seen, now: int) -> int:
    """Return since when a checkpoint has been cosigned; 0 where it is not.

    Args:
        agreement: whose log.
        party: the reader's; where it has witnesses, more than half of them must have cosigned it
            by then, else one of any party's.
        seen: the checkpoint.
        now: Unix seconds; a time that is far ahead of it does not count.
    """
    own = trusted.own_witnesses(agreement, party)
    names = own or tuple(seen.witnesses)
    found = (seen.witnesses.get(name, 0) for name in names)
    times = sorted((at for at in found if at <= now + _AHEAD), reverse=True)
    needed = len(own) // 2 + 1
    return times[needed - 1] if len(times) >= needed else 0


def is_old(agreement: Agreement, cosigned: int, now: int) -> bool:
    """Tell whether a checkpoint is so old that a relay that shows no later one hides something.

    Relays have theirs cosigned anew, with news or without (`FRESH`).

    Args:
        agreement: whose log.
        cosigned: when a witness cosigned last, Unix seconds; 0 for never.
        now: when the relay was asked.
    """
    return bool(cosigned) and now - cosigned > max(agreement.log.grace, FRESH)


def old_text(cosigned: int) -> str:
    """Say that nothing newer than this was shown."""
    at = datetime.fromtimestamp(cosigned, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"since {at} the relay has shown no checkpoint that a witness has cosigned"


def read_seen(note: bytes) -> Seen:
    """Return a checkpoint that was verified before; its signatures are not checked again."""
    decoded = Note.decode(note)
    return Seen(note, Checkpoint.parse(decoded.text), {})


def credentials(entries: Iterable[Proven], asked: Mapping[bytes, str]) -> dict[bytes, int]:
    """Return which of the certificates that were asked for are in the log, and where.

    Args:
        entries: proven ones.
        asked: the devices' names, by SHA-256 of the certificates' DER.
    """
    wanted = {to_base64(digest): digest for digest in asked}
    found: dict[bytes, int] = {}
    for each in entries:
        values = each.values
        if each.entry.type is not EntryType.KEY or values is None:
            continue
        digest = values.get("digest")
        if values.get("act") in CERTIFICATE_ACTS and isinstance(digest, str) and digest in wanted:
            # A registrar watches what is said of its party: under another's name an entry would
            # count here and be seen by nobody.
            device = asked[wanted[digest]]
            party = str(DeviceId.parse(device).party)
            if (values.get("party"), values.get("subject")) == (party, device):
                found[wanted[digest]] = each.index
    return found


def portable(each: ProvenEntry, seen: Seen) -> bytes:
    """Return what proves an entry to others, offline and without this program: JSON.

    `entry` is the leaf, `proof` a C2SP tlog-proof of it, `disclosure` opens the entry's fields.
    """
    proof = TlogProof(each.index, tuple(each.proof), seen.note)
    return json.dumps(
        {
            "format": PROOF_FORMAT,
            "entry": each.data.decode(),
            "disclosure": each.disclosure,
            "proof": proof.encode().decode(),
        }
    ).encode()


def _cosigned(versions: Sequence[Agreement], party: PartyCode, note: bytes) -> Cosigned:
    failed: LiaisonError | None = None
    for agreement in versions:
        try:
            return trusted.verify(agreement, note, party=party)
        except (QuorumError, NoteUnsignedError) as error:
            # Another version may name other keys; what the newest says is told.
            failed = failed or error
    raise failed or OriginError("no version of the agreement names a log")


def signed_newest(versions: Sequence[Agreement], answer: LogAnswer) -> Checkpoint | None:
    """Return the relay's own newest checkpoint, or None where it has none.

    Raises:
        LiaisonError: the relay has not signed it.
    """
    if answer.newest is None:
        return None
    decoded = Note.decode(answer.newest.encode())
    checkpoint = Checkpoint.parse(decoded.text)
    failed: LiaisonError | None = None
    for agreement in versions:
        try:
            decoded.verify(trusted.policy(agreement).log_keys(checkpoint.origin))
        except NoteUnsignedError as error:
            failed = failed or error
        else:
            return checkpoint
    raise failed or OriginError("no version of the agreement names a log")


def _check_grown(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    if new.size < old.size:
        raise ShrunkError(f"the log had {words.entries(old.size)}, and now it has {new.size}")
    if new.size == old.size:
        if new.root != old.root:
            raise ForkError(f"the log shows two histories of {words.entries(old.size)}")
        return
    if old.size == 0:
        return
    try:
        merkle.verify_consistency(old.size, new.size, proof, old.root, new.root)
    except ProofError as error:
        raise ForkError(
            f"the log's {words.count(new.size, 'entry does', 'entries do')} not begin with"
            f" the {old.size} that it had"
        ) from error


def _check_newest(checkpoint: Checkpoint, newest: Checkpoint) -> None:
    if newest.size == checkpoint.size and newest.root != checkpoint.root:
        raise ForkError(f"the relay has signed two histories of {words.entries(newest.size)}")


def _proven(checkpoint: Checkpoint, each: ProvenEntry) -> Proven:
    if each.index >= checkpoint.size:
        raise ProofError(f"entry {each.index} lies behind the {checkpoint.size} that are proven")
    leaf = merkle.hash_leaf(each.data)
    merkle.verify_inclusion(leaf, each.index, checkpoint.size, each.proof, checkpoint.root)
    entry = Entry.decode(each.data)
    if each.disclosure is None:
        return Proven(each.index, entry, None)
    return Proven(each.index, entry, entry.open(Disclosure.from_json(each.disclosure)))
