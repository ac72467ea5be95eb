"""What a client checks of its agreement's log. Pure: the relay's answer and what was known go in.

Nothing in an answer is believed before its checkpoint is: signed by the relay, cosigned by a quorum
and by the own party's witnesses, and an extension of the last one that was believed. What stands in
it is then proven by that checkpoint alone. An error that comes from here, other than that there is no
quorum yet, means that the relay is broken or dishonest; the answer is the evidence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from liaison.errors import LiaisonError
from liaison.model import ChannelId, DeviceId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.tlog import merkle
from liaison.tlog.channels import ChannelView
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.commitment import Value
from liaison.tlog.disclosure import Disclosure
from liaison.tlog.entries import Entry, pseudonym
from liaison.tlog.errors import (
    ChannelForkError,
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
from liaison.tlog.text import from_base64, to_base64
from liaison.trust import log as trusted
from liaison.wire.log import LogAnswer, ProvenEntry

PROOF_FORMAT: Final = "liaison.log-proof/1"
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


@dataclass(frozen=True, slots=True)
class Following:
    """How far a channel was followed through the log.

    Args:
        view: what has to come next.
        last: index of the last entry that was followed; -1 before the first.
        joined: the commit that began this stay, where nothing of the stay was followed yet and
            the relay may show that commit or not; None otherwise.
        confirmed: the highest epoch whose beginning the log has shown to be the one known here.
    """

    view: ChannelView
    last: int = -1
    joined: int | None = None
    confirmed: int = -1

    @classmethod
    def begin(cls, origin: str, channel: ChannelId, seq: int, epoch: int) -> Following:
        """Return where a stay in a channel begins.

        Args:
            origin: of the log.
            channel: which channel.
            seq: of the commit that brought this device in; 0 for whoever has opened the channel.
            epoch: the first epoch of the stay.
        """
        name = pseudonym(origin, channel)
        if seq == 0:
            return cls(ChannelView(name, 1, epoch), confirmed=epoch)
        return cls(ChannelView(name, seq, epoch - 1), joined=seq)

    @classmethod
    def from_here(cls, origin: str, channel: ChannelId, seq: int, epoch: int) -> Following:
        """Return where to begin in a channel whose beginning was not noted.

        Args:
            origin: of the log.
            channel: which channel.
            seq: of the last item that has come.
            epoch: of the group.
        """
        return cls(ChannelView(pseudonym(origin, channel), seq + 1), confirmed=epoch)

    @property
    def after(self) -> int:
        """The last place that needs not be asked for."""
        return self.view.next_seq - 1


@dataclass(frozen=True, slots=True)
class Place:
    """What the log says about one item of a channel.

    Args:
        seq: the item's place.
        index: the entry's.
        is_commit: whether the item ended an epoch.
        epoch: of the item; for a commit the one that it ended.
        digest: SHA-256 of the item; None where the log shows it no more.
        time_ms: when it was accepted, Unix milliseconds.
        added: the devices that a commit has brought in; None where the log does not show them.
    """

    seq: int
    index: int
    is_commit: bool
    epoch: int
    digest: bytes | None
    time_ms: int
    added: tuple[str, ...] | None = None


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


def read_seen(note: bytes) -> Seen:
    """Return a checkpoint that was verified before; its signatures are not checked again."""
    decoded = Note.decode(note)
    return Seen(note, Checkpoint.parse(decoded.text), {})


def follow(known: Following, entries: Iterable[Proven]) -> tuple[Following, list[Place]]:
    """Follow a channel through entries of the log, in their order.

    Raises:
        ChannelGapError: a place of the channel is left out, or stands twice.
        ChannelForkError: the entries are not one history of a channel, or not in its order.
    """
    places = []
    for each in entries:
        entry = each.entry
        if entry.channel != known.view.channel or entry.seq is None or entry.epoch is None:
            continue
        view = _first(known, entry) if known.joined is not None else known.view
        view = view.follow(entry)
        if each.index <= known.last:
            raise ChannelForkError(
                f"item {entry.seq} of the channel stands before the one that it follows"
            )
        if known.joined not in (None, entry.seq) and known.view.epoch is not None:
            # The commit is not shown; what follows it is of the epoch that it began.
            known = replace(known, confirmed=known.view.epoch + 1)
        known = replace(known, view=view, last=each.index, joined=None)
        is_commit = entry.type is EntryType.COMMIT
        digest = _digest(each)
        if is_commit and digest is None:
            raise ChannelForkError(
                f"the log does not show which commit ended epoch {entry.epoch} of the channel"
            )
        added = _added(each)
        places.append(
            Place(entry.seq, each.index, is_commit, entry.epoch, digest, entry.time, added)
        )
    return known, places


def compare(place: Place, digest: bytes) -> None:
    """Check that the log tells of an item what this device was given.

    Raises:
        ChannelForkError: it was given something else than the log's other readers are told.
    """
    if place.digest is None or place.digest == digest:
        return
    what = f"commit at the end of epoch {place.epoch}" if place.is_commit else "item"
    raise ChannelForkError(
        f"the log has another {what} at place {place.seq} of the channel than this device was given",
        hint="tell the other members by another way; the evidence is kept",
    )


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
        raise ShrunkError(f"the log had {old.size} entries, and now it has {new.size}")
    if new.size == old.size:
        if new.root != old.root:
            raise ForkError(f"the log shows two histories of {old.size} entries")
        return
    if old.size == 0:
        return
    try:
        merkle.verify_consistency(old.size, new.size, proof, old.root, new.root)
    except ProofError as error:
        raise ForkError(
            f"the log's {new.size} entries do not begin with the {old.size} that it had"
        ) from error


def _check_newest(checkpoint: Checkpoint, newest: Checkpoint) -> None:
    if newest.size == checkpoint.size and newest.root != checkpoint.root:
        raise ForkError(f"the relay has signed two histories of {newest.size} entries")


def _proven(checkpoint: Checkpoint, each: ProvenEntry) -> Proven:
    if each.index >= checkpoint.size:
        raise ProofError(f"entry {each.index} lies behind the {checkpoint.size} that are proven")
    leaf = merkle.hash_leaf(each.data)
    merkle.verify_inclusion(leaf, each.index, checkpoint.size, each.proof, checkpoint.root)
    entry = Entry.decode(each.data)
    if each.disclosure is None:
        return Proven(each.index, entry, None)
    return Proven(each.index, entry, entry.open(Disclosure.from_json(each.disclosure)))


def _first(known: Following, entry: Entry) -> ChannelView:
    """Return the view that a stay begins with, by the first entry that is shown of it."""
    seq, view = entry.seq or 0, known.view
    if seq == view.next_seq + 1 and view.epoch is not None:
        # The commit that brought this device in is not shown to it.
        return replace(view, next_seq=seq, epoch=view.epoch + 1)
    return view


def _added(each: Proven) -> tuple[str, ...] | None:
    added = None if each.values is None else each.values.get("added")
    return added if isinstance(added, tuple) else None


def _digest(each: Proven) -> bytes | None:
    digest = None if each.values is None else each.values.get("digest")
    if not isinstance(digest, str):
        return None
    try:
        return from_base64(digest)
    except ValueError as error:
        raise ChannelForkError("the log tells a digest that is none") from error
