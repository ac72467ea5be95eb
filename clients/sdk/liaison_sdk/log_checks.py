"""What a client checks of its agreement's log. Pure: the relay's answer and what was known go in.

Nothing in an answer is believed before its checkpoint is: signed by the relay, cosigned by a quorum
and by the own party's witnesses, and an extension of the last one that was believed. What stands in
it is then proven by that checkpoint alone. An error that comes from here, other than that there is
no quorum yet, means that the relay is broken or dishonest; the answer is the evidence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from liaison.errors import LiaisonError, VerificationError
from liaison.model import ChannelId, DeviceId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.tlog import merkle
from liaison.tlog.channels import ChannelView, first_of
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.commitment import Value
from liaison.tlog.disclosure import Disclosure
from liaison.tlog.entries import Entry, PolicyRef, pseudonym, size_bucket
from liaison.tlog.errors import (
    ChannelForkError,
    ForkError,
    NoteUnsignedError,
    OriginError,
    ProofError,
    QuorumError,
    ShrunkError,
)
from liaison.tlog.fields import SCHEMAS, EntryType
from liaison.tlog.note import Note
from liaison.tlog.policy import Cosigned
from liaison.tlog.proof import TlogProof
from liaison.tlog.text import from_base64, to_base64
from liaison.trust import log as trusted
from liaison.values import dataclass
from liaison.wire.log import LogAnswer, ProvenEntry
from liaison_sdk.store.items import Told

PROOF_FORMAT: Final = "liaison.log-proof/1"
MAX_APART: Final = 3_600_000
"""Milliseconds between an item's acceptance, as its sender or reader was told, and its entry: both
are by the relay's clock, but the log's never goes back where that one is set."""
MAX_DTG_AHEAD: Final = 86_400_000
"""Milliseconds by which a drafter's clock may be ahead of the relay's."""
FRESH: Final = 2 * 3600
"""Seconds that a checkpoint may be old at least: relays have theirs cosigned more often."""
_AHEAD: Final = 86_400
"""Seconds by which this device's clock may be behind a witness's."""
_SECOND: Final = 1000
CERTIFICATE_ACTS: Final = frozenset({"certificate", "known"})
"""What a key entry says that puts a certificate into the log."""


class FalseEntryError(VerificationError):
    """The log says something of an item that the item does not say of itself.

    Auditors are told the same. What the item says is signed by its sender, and was not changed.
    """

    code = "log.false_entry"


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
        confirmed: the highest epoch whose beginning the log has shown to be the one known here.
        start: in a successor log, the last place that had come when this device went over to it.
        generation: of the log.
    """

    view: ChannelView
    last: int = -1
    confirmed: int = -1
    start: int = 0
    generation: int = 1

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
        # The commit itself has to show: it is what confirms the first epoch.
        return cls(ChannelView(name, seq, epoch - 1))

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
        return max(0, self.view.next_seq - 1)


@dataclass(frozen=True, slots=True)
class Place:
    """What the log says about one item of a channel.

    Args:
        index: the entry's place in the log.
        entry: itself; it has a `seq` and an `epoch`.
        values: of its fields; None where the log shows them no more.
    """

    index: int
    entry: Entry
    values: Mapping[str, Value] | None

    @property
    def seq(self) -> int:
        """The item's place in the channel."""
        return self.entry.seq or 0

    @property
    def epoch(self) -> int:
        """Of the item; for a commit the one that it ended."""
        return self.entry.epoch or 0

    @property
    def is_commit(self) -> bool:
        """Whether the item ended an epoch."""
        return self.entry.type is EntryType.COMMIT

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of the item; None where the log does not show it.

        Raises:
            ChannelForkError: the log shows something that is none.
        """
        value = None if self.values is None else self.values.get("digest")
        if not isinstance(value, str):
            return None
        try:
            return from_base64(value)
        except ValueError as error:
            raise ChannelForkError("the log tells a digest that is none") from error

    @property
    def added(self) -> tuple[str, ...] | None:
        """The devices that a commit has brought in; None where the log does not show them."""
        added = None if self.values is None else self.values.get("added")
        return added if isinstance(added, tuple) else None


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
        begun = known.view
        if begun.next_seq == 0:
            # The log follows another one. What had come before need not be shown again to whoever
            # came in under it; but for that the channel begins where channels do in such a log.
            is_known = entry.seq <= known.start + 1
            first = entry.seq if is_known else first_of(entry.seq, known.generation)
            begun = replace(begun, next_seq=first)
        view = begun.follow(entry)
        if each.index <= known.last:
            raise ChannelForkError(
                f"item {entry.seq} of the channel stands before the one that it follows"
            )
        known = replace(known, view=view, last=each.index)
        place = Place(each.index, entry, each.values)
        if place.digest is None and place.is_commit:
            raise ChannelForkError(
                f"the log does not show which commit ended epoch {entry.epoch} of the channel"
            )
        places.append(place)
    return known, places


def places(entries: Iterable[Proven], name: bytes, first: int, last: int) -> tuple[Place, ...]:
    """Return what entries say about the places of a channel from one to another, both included.

    Args:
        entries: proven ones.
        name: the channel's pseudonym.
        first, last: places.
    """
    return tuple(
        Place(each.index, each.entry, each.values)
        for each in entries
        if each.entry.channel == name
        and each.entry.seq is not None
        and each.entry.epoch is not None
        and first <= each.entry.seq <= last
    )


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


def compare_told(place: Place, told: Told, policy: PolicyRef | None, *, ahead: int = 0) -> None:
    """Check that the log says of an item what the item says of itself.

    Args:
        place: what the log says.
        told: what this device derived.
        policy: the version that it was accepted under; None where that is not known here.
        ahead: seconds by which the agreement lets a message's date be ahead of its acceptance.

    Raises:
        FalseEntryError: it says something else, or keeps a part of it back.
    """
    entry, where = place.entry, f"item {place.seq} of the channel"
    shown = {
        "type": entry.type.value,
        "epoch": place.epoch,
        "size": entry.size,
        "policy": entry.policy,
    }
    wanted = {
        "type": told.type,
        "epoch": told.epoch,
        "size": size_bucket(told.size),
        "policy": policy or entry.policy,
    }
    for name, value in wanted.items():
        if shown[name] != value:
            raise FalseEntryError(f"the log gives {where} another {name} than it has")
    _check_time(place, told, ahead)
    if place.values is None:
        return
    for name in SCHEMAS[entry.type].sealed:
        if name not in place.values:
            raise FalseEntryError(f"the log keeps the {name} of {where} back")
        if name not in told.unknown and place.values[name] != told.fields.get(name):
            raise FalseEntryError(f"the log gives {where} another {name} than it has")


def _check_time(place: Place, told: Told, ahead: int) -> None:
    at, dtg = place.entry.time, told.fields.get("dtg")
    # What an entry says is compared, where it is open. One from before the retention is closed, and
    # so the relay could date an entry back to keep what it says to itself.
    closed = place.values is None
    late = closed and isinstance(dtg, int) and at < (dtg - ahead) * _SECOND - MAX_DTG_AHEAD
    if late or abs(at - told.time_ms) > MAX_APART:
        raise FalseEntryError(
            f"the log has item {place.seq} of the channel at another time than it was accepted"
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
