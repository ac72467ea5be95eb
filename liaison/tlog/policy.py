"""Trust policies: which logs count, and whose cosignatures are enough.

A policy is a short text that every reader of a log has: its logs' and witnesses' keys, groups with
thresholds, and the quorum. Names are opaque; they mean nothing outside of the file.

Source: C2SP tlog-policy.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from typing import Final

from liaison import words
from liaison.tlog import quorum
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import (
    NoteUnsignedError,
    OriginError,
    PolicyError,
    QuorumError,
    VerifierKeyError,
)
from liaison.tlog.note import Note, Signed
from liaison.tlog.quorum import Group
from liaison.tlog.text import from_decimal
from liaison.tlog.vkey import VerifierKey
from liaison.values import dataclass

MAX_POLICY_BYTES: Final = 512 * 1024
"""Room for a hundred of the longest keys."""
MAX_LINES: Final = 128
"""Logs, witnesses and groups together; the standard asks for 32 of each."""
MAX_DEPTH: Final = 32
"""Groups within groups."""
NONE: Final = "none"

_SPACE: Final = re.compile(r"[ \t]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Listed:
    """A log or a witness of a policy.

    Args:
        key: what its signatures are checked with.
        url: where it is reached; None where the policy does not say.
    """

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint that fulfils a policy.

    Args:
        checkpoint: what was signed.
        note: with all its signatures, known or not.
        log: the log's own signatures.
        witnesses: the time of each witness's cosignature, POSIX seconds, by the policy's names.
    """

    checkpoint: Checkpoint
    note: Note
    log: tuple[Signed, ...]
    witnesses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Policy:
    """A trust policy, from `parse`.

    Args:
        logs: the logs that count, each with a key of its own; a log may have several.
        witnesses: by name.
        groups: by name; each member belongs to one group only.
        quorum: a witness, a group, or None: then no cosignature is needed.
    """

    logs: tuple[Listed, ...] = ()
    witnesses: Mapping[str, Listed] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    quorum: str | None = None

    @classmethod
    def parse(cls, data: bytes) -> Policy:
        """Read a policy.

        Raises:
            PolicyError: the line and what is wrong with it.
        """
        if len(data) > MAX_POLICY_BYTES:
            raise PolicyError(f"a policy has at most {MAX_POLICY_BYTES} bytes")
        # Octets beyond ASCII are opaque here: each keeps its identity, whatever it spells.
        text = data.decode("utf-8", "surrogateescape")
        if found := _CONTROL.search(text):
            raise PolicyError(f"the control character 0x{ord(found[0]):02x} stands in the policy")
        builder = _Builder()
        for number, line in enumerate(text.split("\n"), 1):
            items = _SPACE.sub(" ", line).strip(" ").split(" ")
            if not items[0] or items[0].startswith("#"):
                continue
            try:
                builder.read(items)
            except (PolicyError, VerifierKeyError) as error:
                raise PolicyError(f"line {number}: {error.message}") from error
        return builder.done()

    def encode(self) -> bytes:
        """Write the policy, without comments."""
        lines = [_line("log", str(log.key), log.url) for log in self.logs]
        for name, witness in self.witnesses.items():
            lines.append(_line("witness", name, str(witness.key), witness.url))
        for name, group in self.groups.items():
            lines.append(_line("group", name, str(group.threshold), *group.members))
        lines.append(_line("quorum", self.quorum or NONE))
        return "".join(lines).encode("utf-8", "surrogateescape")

    def log_keys(self, origin: str) -> list[VerifierKey]:
        """Return the keys of one log.

        Raises:
            OriginError: no log of the policy has this origin.
        """
        keys = [log.key for log in self.logs if log.key.name == origin]
        if not keys:
            raise OriginError(f"the policy has no log {origin[:80]!r}")
        return keys

    def is_quorum(self, witnesses: Collection[str]) -> bool:
        """Whether these witnesses are enough."""
        if self.quorum is None:
            return True
        return quorum.holds(self.quorum, self.groups, witnesses)

    def verify(
        self,
        data: bytes,
        *,
        required: Iterable[str] = (),
        not_after: int | None = None,
    ) -> Cosigned:
        """Check a signed checkpoint.

        Args:
            data: the note.
            required: witnesses without whom it does not count, whatever the quorum says: the
                reader's own party's.
            not_after: POSIX seconds; a cosignature of a later time does not count. None for no
                such limit.

        Raises:
            NoteError: not a note.
            CheckpointError: not of a checkpoint.
            OriginError: of a log that is not in the policy.
            NoteUnsignedError: the log has not signed it.
            NoteSignatureError: a signature of the log or a witness does not hold.
            QuorumError: too few witnesses, or not the required ones.
        """
        note = Note.decode(data)
        checkpoint = Checkpoint.parse(note.text)
        log = note.verify(self.log_keys(checkpoint.origin))
        times = self._cosigned(note, not_after)
        absent = sorted(set(required) - times.keys())
        if absent:
            raise QuorumError(f"the checkpoint lacks the cosignature of {', '.join(absent)}")
        if not self.is_quorum(times.keys()):
            raise QuorumError(
                f"the cosignatures of {words.count(len(times), 'witness', 'witnesses')} are no quorum"
            )
        return Cosigned(checkpoint, note, log, times)

    def _cosigned(self, note: Note, not_after: int | None) -> dict[str, int]:
        names = {witness.key: name for name, witness in self.witnesses.items()}
        try:
            signed = note.verify(names)
        except NoteUnsignedError:
            # Not a refusal: whether nobody is enough is for the quorum to say.
            return {}
        times = {names[each.key]: each.time for each in signed if each.time is not None}
        return {name: at for name, at in times.items() if not_after is None or at <= not_after}


class _Builder:
    """A policy while its lines are read."""

    def __init__(self) -> None:
        self.logs: list[Listed] = []
        self.witnesses: dict[str, Listed] = {}
        self.groups: dict[str, Group] = {}
        self.members: set[str] = set()
        self.depth: dict[str, int] = {}
        self.quorum: str | None = None

    def read(self, items: list[str]) -> None:
        match items:
            case ["log", key, *url] if len(url) < 2:
                self._log(_listed(key, url))
            case ["witness", name, key, *url] if len(url) < 2:
                self._witness(name, _listed(key, url))
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, tuple(members))
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise PolicyError(f"no line of a policy: {' '.join(items)[:80]!r}")
        if len(self.logs) + len(self.witnesses) + len(self.groups) > MAX_LINES:
            raise PolicyError(f"a policy has at most {MAX_LINES} logs, witnesses and groups")

    def done(self) -> Policy:
        if self.quorum is None:
            raise PolicyError("the policy has no line that tells the quorum")
        needed = None if self.quorum == NONE else self.quorum
        return Policy(tuple(self.logs), self.witnesses, self.groups, needed)

    def _log(self, log: Listed) -> None:
        if log.key.public in {each.key.public for each in self.logs}:
            raise PolicyError(f"the key of log {log.key.name} stands twice")
        self.logs.append(log)

    def _witness(self, name: str, witness: Listed) -> None:
        self._define(name)
        if not witness.key.type.is_cosignature:
            raise PolicyError(f"the key of witness {name} is not for cosignatures")
        if witness.key.public in {each.key.public for each in self.witnesses.values()}:
            raise PolicyError(f"the key of witness {name} stands twice")
        self.witnesses[name] = witness

    def _group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        self._define(name)
        for member in members:
            self._check_defined(member)
            if member in self.members:
                raise PolicyError(f"{member} is a member of a group already")
            self.members.add(member)
        self.depth[name] = 1 + max(self.depth.get(member, 0) for member in members)
        if self.depth[name] > MAX_DEPTH:
            raise PolicyError(f"groups are nested at most {MAX_DEPTH} deep")
        self.groups[name] = Group(_threshold(threshold, len(members)), members)

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise PolicyError("the quorum is told twice")
        if name != NONE:
            self._check_defined(name)
        self.quorum = name

    def _define(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise PolicyError(f"the name {name} is taken")

    def _check_defined(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise PolicyError(f"no line before this one defines {name}")


def _threshold(text: str, members: int) -> int:
    if text in {"all", "any"}:
        return members if text == "all" else 1
    try:
        number = from_decimal(text, members)
    except ValueError as error:
        raise PolicyError(f"the threshold {error}") from error
    if not number:
        raise PolicyError("the threshold of a group is at least 1")
    return number


def _listed(key: str, url: list[str]) -> Listed:
    # The name in a key is UTF-8, unlike the names that the policy itself gives.
    if any("\udc80" <= c <= "\udcff" for c in key):
        raise PolicyError("a key is not UTF-8")
    return Listed(VerifierKey.parse(key), url[0] if url else None)


def _line(*items: str | None) -> str:
    return " ".join(item for item in items if item is not None) + "\n"
