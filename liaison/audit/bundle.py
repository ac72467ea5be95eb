"""Writing bundles: one pass over the entries, little memory, the same bytes from the same input.

The files, and the order in which they stand in the archive:

| file | holds |
|---|---|
| `tile/entries/...` | the entries of the range, as C2SP tlog-tiles has them |
| `tile/0/...`, ... | the hash tiles that lie wholly in the range |
| `policy` | the logs, witnesses and quorum that count: C2SP tlog-policy |
| `compact` | the hashes of the full subtrees before the range, 32 bytes each |
| `checkpoints/<size>` | signed and cosigned; one of them is of the whole range |
| `openings.jsonl` | a line for each entry: what is shown of it, or null |
| `events.jsonl`, `events.csv` | the same for people and programs: see `liaison.audit.events` |
| `events.parquet`, `report.html` | on request, as the relay made them |
| `verify.py` | checks all of this with Python's standard library alone |
| `manifest.json`, `manifest.sig` | what the bundle is of and every file's digest, signed by the log |

Entries come in order through `BundleWriter.add`; what has its place after them waits in spools. The
writer opens no file: the caller gives it one that takes the archive, and one for each spool.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from itertools import islice
from types import MappingProxyType
from typing import Any, BinaryIO, Final

from liaison.audit import events, layout, manifest
from liaison.audit.archive import ArchiveWriter, Spool
from liaison.audit.errors import ExportError
from liaison.audit.events import Event
from liaison.audit.manifest import Facts, File, Manifest
from liaison.crypto.signing import Signer
from liaison.errors import LiaisonError
from liaison.tlog import commitment, merkle, tiles
from liaison.tlog.commitment import KEY_BYTES
from liaison.tlog.disclosure import Disclosure
from liaison.tlog.fields import SCHEMAS, EntryType
from liaison.tlog.merkle import HASH_BYTES, CompactRange
from liaison.tlog.note import Note
from liaison.tlog.policy import Cosigned, Policy
from liaison.tlog.text import to_base64
from liaison.tlog.tiles import WIDTH, Tile
from liaison.tlog.vkey import VerifierKey

Shown = bytes | Disclosure | None
"""What is shown of an entry: `Sealed.encode`'s bytes for everything, a disclosure, or nothing."""

_LINES: Final = 512
"""Lines that are written at once."""


class BundleWriter:
    """Writes one bundle.

    Args:
        facts: what it is of.
        out: takes the archive's bytes, in order.
        policy: that the checkpoints fulfil.
        notes: signed checkpoints of sizes within the range, that of its end among them.
        before: the tree of the first `facts.first` entries.
        spool: gives a fresh file for reading and writing; asked for four at most.
        derived: whether to write `events.jsonl` and `events.csv`.

    Raises:
        ExportError: `before` is of another size, or a checkpoint is of another log, lacks its
            quorum, or is of a size outside of the range; or there is none of the range's end.
    """

    def __init__(
        self,
        facts: Facts,
        out: Callable[[bytes], object],
        *,
        policy: Policy,
        notes: Iterable[bytes],
        before: CompactRange,
        spool: Callable[[], BinaryIO],
        derived: bool = True,
    ) -> None:
        if before.size != facts.first:
            raise ExportError("the tree before the range is of another size")
        self._facts, self._policy, self._before = facts, policy, before
        self._notes = _checked(facts, policy, notes)
        self._archive = ArchiveWriter(out)
        self._files: dict[str, File] = {}
        self._tree = before
        self._verify_root(before)
        self._index = facts.first
        self._pending: list[bytes] = []
        self._hashes = Spool(spool())
        self._row: list[bytes] = []
        self._disclosed = 0
        self._openings = Spool(spool())
        self._events = Spool(spool()) if derived else None
        self._table = Spool(spool()) if derived else None
        if self._table is not None:
            self._table.write(events.header())
        self._attached: dict[str, bytes | BinaryIO] = {}

    def add(self, rows: Iterable[tuple[bytes, Shown]]) -> None:
        """Add the next entries, in order, any number at once.

        Args:
            rows: each entry's bytes, and what is shown of it. Nothing is verified: both are the
                relay's own.

        Raises:
            ExportError: more entries than the range has, or the log has signed other ones.
        """
        rows = iter(rows)
        while some := list(islice(rows, _LINES)):
            if self._index + len(some) > self._facts.end:
                raise ExportError("there are more entries than the range has")
            self._add_lines(some)
            self._pending += [entry for entry, _ in some]
            self._index += len(some)
            while len(self._pending) >= WIDTH:
                self._flush()

    def events(self) -> Iterator[Event]:
        """Give the events of what was added, to make a report or a Parquet file of them.

        Raises:
            ExportError: the bundle is made without events.
        """
        if self._events is None:
            raise ExportError("the bundle is made without events")
        for line in self._events.lines():
            yield Event.decode(line)

    @property
    def checkpoints(self) -> tuple[Cosigned, ...]:
        """The checkpoints, verified, by size."""
        return tuple(self._notes[size] for size in sorted(self._notes))

    def attach(self, name: str, data: bytes | BinaryIO) -> None:
        """Add a file that the relay makes in its own way.

        Args:
            name: `events.parquet` or `report.html`.
            data: its bytes, or a file, which is read from its beginning.

        Raises:
            ExportError: another name.
        """
        if name not in layout.ATTACHED:
            raise ExportError(f"a bundle has no file {name}")
        self._attached[name] = data

    def finish(self, key: VerifierKey, signer: Signer) -> Manifest:
        """Write what comes after the entries, and end the archive.

        Args:
            key: of the log.
            signer: its private half.

        Raises:
            ExportError: entries are missing, or the log has signed other ones.
        """
        if self._index != self._facts.end:
            raise ExportError(f"the entries from {self._index} on are missing")
        if self._pending:
            self._flush()
        self._write_hash_tiles()
        self._write(layout.POLICY, self._policy.encode())
        self._write(layout.COMPACT, b"".join(self._before.hashes))
        for size, note in sorted(self._notes.items()):
            self._write(layout.checkpoint(size), note.note.encode())
        self._write_spool(layout.OPENINGS, self._openings)
        for name, spool in zip(layout.DERIVED, (self._events, self._table), strict=True):
            if spool is not None:
                self._write_spool(name, spool)
        for name in layout.ATTACHED:
            if (data := self._attached.get(name)) is not None:
                self._write_attached(name, data)
        self._write(layout.VERIFIER, verifier())
        return self._end(key, signer)

    def _add_lines(self, rows: Sequence[tuple[bytes, Shown]]) -> None:
        shown = [each for _, each in rows]
        openings = [opening_line(index, each) for index, each in enumerate(shown, self._index)]
        self._openings.write(b"".join(openings))
        self._disclosed += len(rows) - shown.count(None)
        if self._events is not None and self._table is not None:
            bodies = _loaded([entry for entry, _ in rows])
            opened = [_opened(b["type"], each) for b, each in zip(bodies, shown, strict=True)]
            values = _loaded([encoded for encoded, _ in opened])
            told = list(zip(itertools.count(self._index), bodies, values, opened, strict=False))
            self._events.write(b"".join([events.line(n, b, *o) for n, b, _, o in told]))
            self._table.write(b"".join([events.record(n, b, v, o[1]) for n, b, v, o in told]))

    def _flush(self) -> None:
        entries, self._pending = self._pending[:WIDTH], self._pending[WIDTH:]
        start = self._tree.size
        tile = Tile(None, start // WIDTH, len(entries))
        self._write(tile.path, tiles.encode_entries(entries))
        leaves = merkle.hash_leaves(entries)
        for size in range(start + 1, start + len(leaves)):
            if size in self._notes:
                self._verify_root(self._tree.extend(leaves[: size - start]))
        self._hashes.write(b"".join(leaves))
        if tile.is_partial:
            self._tree = self._tree.extend(leaves)
        else:
            self._row.append(merkle.hash_full(leaves))
            self._tree = self._tree.extend(self._row[-1:], tiles.HEIGHT)
        self._verify_root(self._tree)

    def _verify_root(self, tree: CompactRange) -> None:
        note = self._notes.get(tree.size)
        if note is not None and note.checkpoint.root != tree.root:
            raise ExportError(f"the log has signed other entries below {tree.size}")

    def _write_hash_tiles(self) -> None:
        first, end = self._facts.first, self._facts.end
        for index, data in enumerate(self._hashes.chunks(WIDTH * HASH_BYTES), first // WIDTH):
            self._write(Tile(0, index, min(WIDTH, end - index * WIDTH)).path, data)
        for tile, data in layout.upper_tiles(first, self._row):
            self._write(tile.path, data)

    def _write(self, name: str, data: bytes) -> None:
        self._files[name] = File(len(data), hashlib.sha256(data).digest())
        self._archive.add(name, data)

    def _write_spool(self, name: str, spool: Spool) -> None:
        self._files[name] = File(spool.size, spool.digest)
        self._archive.add_spool(name, spool)

    def _write_attached(self, name: str, data: bytes | BinaryIO) -> None:
        if isinstance(data, bytes):
            self._write(name, data)
        else:
            self._write_spool(name, Spool.of(data))

    def _end(self, key: VerifierKey, signer: Signer) -> Manifest:
        made = Manifest(self._facts, self._disclosed, MappingProxyType(self._files))
        note = Note(manifest.statement(self._facts.origin, made.digest)).signed_by(key, signer)
        self._archive.add(manifest.NAME, made.encode())
        self._archive.add(manifest.SIGNATURE_NAME, note.encode())
        self._archive.close()
        return made


def verifier() -> bytes:
    """Return the text of `verify.py`."""
    return resources.files("liaison.audit").joinpath("verify_alone.py").read_bytes()


def opening_line(index: int, shown: Shown) -> bytes:
    """Return the line of `openings.jsonl` for an entry, with its newline."""
    if shown is None:
        disclosure = b"null"
    elif isinstance(shown, bytes):
        secret = to_base64(shown[:KEY_BYTES]).encode()
        disclosure = b'{"secret":"%b","values":%b}' % (secret, shown[KEY_BYTES:])
    else:
        disclosure = shown.encode()
    return b'{"disclosure":%b,"index":%d}\n' % (disclosure, index)


def _checked(facts: Facts, policy: Policy, notes: Iterable[bytes]) -> dict[int, Cosigned]:
    checked = {}
    for note in notes:
        try:
            cosigned = policy.verify(note)
        except LiaisonError as error:
            raise ExportError(f"a checkpoint does not count: {error.message}") from error
        size = cosigned.checkpoint.size
        if cosigned.checkpoint.origin != facts.origin or not facts.first <= size <= facts.end:
            raise ExportError("a checkpoint is of another log, or of a size outside of the range")
        checked[size] = cosigned
    if facts.end not in checked:
        raise ExportError(f"there is no checkpoint of size {facts.end}")
    # The empty tree proves nothing.
    checked.pop(0, None)
    return checked


def _opened(type_: str, shown: Shown) -> tuple[bytes, tuple[str, ...]]:
    """Give the values that are shown, in canonical JSON, and the names of fields that are not."""
    if shown is None:
        return b"null", ()
    if isinstance(shown, bytes):
        return shown[KEY_BYTES:], ()
    if shown.whole is not None:
        return shown.whole.encode()[KEY_BYTES:], ()
    values = {name: o.value for name, o in shown.opened.items() if o.value is not None}
    hidden = [name for name in SCHEMAS[EntryType(type_)].sealed if name not in shown.opened]
    return commitment.dump(values), tuple(hidden)


def _loaded(texts: Sequence[bytes]) -> list[Any]:
    """Read texts of JSON, the relay's own: together, for each by itself takes twice the time."""
    found: list[Any] = json.loads(b"[%b]" % b",".join(texts))
    return found
