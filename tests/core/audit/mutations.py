"""Random changes to a bundle, and the first entry that each of them concerns.

Two kinds of attackers: one who has the file, and one who also has the log's key and signs a new
manifest (`RELAY`): a dishonest relay. Neither has a witness's key.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

from liaison.audit import layout, manifest
from liaison.audit.archive import Archive, ArchiveWriter
from liaison.audit.manifest import File, Manifest
from liaison.tlog import entries, tiles
from liaison.tlog.fields import OPEN
from liaison.tlog.note import Note
from liaison.tlog.text import to_base64
from liaison.tlog.tiles import WIDTH, Tile
from tests.core.audit.support import AuditedLog


@dataclass(frozen=True)
class Mutation:
    """A changed bundle.

    Args:
        name: what was changed.
        data: the bundle.
        index: the first entry that it concerns; None for no entry.
        earliest: the first entry that no signed root vouches for, where the relay has written all
            anew so that no other entry can be told with certainty.
    """

    name: str
    data: bytes
    index: int | None
    earliest: int | None = None
    is_certain: bool = True

    def is_told_by(self, index: int | None) -> bool:
        """Whether a verifier that names this entry is right."""
        if not self.is_certain:
            return True
        if self.earliest is None or self.index is None:
            return index == self.index
        return index is not None and self.earliest <= index <= self.index


@dataclass
class Target:
    """A bundle to be changed.

    Args:
        log: it is of.
        data: its bytes.
        sizes: of its checkpoints.
    """

    log: AuditedLog
    data: bytes
    sizes: tuple[int, ...]

    @cached_property
    def files(self) -> dict[str, bytes]:
        archive = Archive(io.BytesIO(self.data))
        return {
            name: archive.read(member.offset + len(member.header), member.size)
            for name, member in archive.members.items()
        }

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest.decode(self.files[manifest.NAME])

    @property
    def first(self) -> int:
        return self.manifest.facts.first

    @property
    def end(self) -> int:
        return self.manifest.facts.end

    def index_at(self, name: str, at: int) -> int | None:
        """Tell which entry a byte of a file belongs to."""
        data = self.files[name]
        if name in {layout.OPENINGS, layout.EVENTS}:
            return self.first + data.count(b"\n", 0, at)
        if name == layout.TABLE:
            row = data.count(b"\n", 0, at)
            return self.first + row - 1 if row else None
        if not name.startswith("tile/"):
            return None
        tile = Tile.parse(name)
        if tile.level is not None:
            return (tile.index * WIDTH + at // 32) << 8 * tile.level
        starts = [0]
        for entry in tiles.decode_entries(tile, data):
            starts.append(starts[-1] + 2 + len(entry))
        return tile.first + bisect_right(starts, at) - 1

    def packed(self, files: Mapping[str, bytes], *, signed: bool = False) -> bytes:
        """Return a bundle of these files; `signed` by a relay that wants it to look right."""
        files = dict(files)
        if signed:
            inner = {n: d for n, d in files.items() if not n.startswith("manifest.")}
            made = Manifest(
                self.manifest.facts,
                sum(json.loads(x)["disclosure"] is not None for x in lines(inner[layout.OPENINGS])),
                {n: File(len(d), hashlib.sha256(d).digest()) for n, d in inner.items()},
            )
            note = Note(manifest.statement(made.facts.origin, made.digest))
            files[manifest.NAME] = made.encode()
            files[manifest.SIGNATURE_NAME] = note.signed_by(self.log.key, self.log.signer).encode()
        out = io.BytesIO()
        writer = ArchiveWriter(out.write)
        for name, data in files.items():
            writer.add(name, data)
        writer.close()
        return out.getvalue()


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


# --- of the file ----------------------------------------------------------------------------------


def bit(target: Target, rng: random.Random) -> Mutation:
    """Change one bit anywhere."""
    at = rng.randrange(len(target.data))
    changed = bytearray(target.data)
    changed[at] ^= 1 << rng.randrange(8)
    index: int | None = None
    for member in Archive(io.BytesIO(target.data)).members.values():
        start = member.offset + len(member.header)
        if start <= at < member.end:
            index = target.index_at(member.name, at - start)
    return Mutation("bit", bytes(changed), index)


def bit_of_a_tile(target: Target, rng: random.Random) -> Mutation:
    """Change one bit of a tile or a line."""
    names = [n for n in target.files if n.startswith("tile/")]
    name = rng.choice([*names, layout.OPENINGS, layout.EVENTS, layout.TABLE])
    at = rng.randrange(len(target.files[name]))
    changed = bytearray(target.files[name])
    changed[at] ^= 1 << rng.randrange(8)
    data = target.packed({**target.files, name: bytes(changed)})
    return Mutation(f"bit of {name}", data, target.index_at(name, at))


def bit_by_the_relay(target: Target, rng: random.Random) -> Mutation:
    """Change one bit of anything that is checked for itself, and sign the manifest anew."""
    unchecked = {layout.POLICY, layout.REPORT, layout.VERIFIER}
    names = [n for n, d in target.files.items() if d and not n.startswith("manifest.")]
    name = rng.choice([n for n in names if n not in unchecked])
    at = rng.randrange(len(target.files[name]))
    changed = bytearray(target.files[name])
    changed[at] ^= 1 << rng.randrange(8)
    try:
        data = target.packed({**target.files, name: bytes(changed)}, signed=True)
    except ValueError:
        # The line is no JSON any more, so the relay can't count what it discloses.
        return bit_of_a_tile(target, rng)
    index = target.first if name == layout.COMPACT else target.index_at(name, at)
    return Mutation(f"bit of {name} by the relay", data, index)


def truncated(target: Target, rng: random.Random) -> Mutation:
    return Mutation("truncated", target.data[: rng.randrange(len(target.data))], None)


def cut_out(target: Target, rng: random.Random) -> Mutation:
    at = rng.randrange(len(target.data))
    end = min(len(target.data), at + rng.randrange(1, 2000))
    return Mutation("cut out", target.data[:at] + target.data[end:], None)


def inserted(target: Target, rng: random.Random) -> Mutation:
    at = rng.randrange(len(target.data) + 1)
    more = rng.randbytes(rng.randrange(1, 30))
    return Mutation("inserted", target.data[:at] + more + target.data[at:], None)


def exchanged_bytes(target: Target, rng: random.Random) -> Mutation:
    """Exchange two pieces of the file."""
    size = rng.randrange(1, 200)
    a, b = sorted(rng.sample(range(0, len(target.data) - size, size), 2))
    one, other = target.data[a : a + size], target.data[b : b + size]
    if one == other:
        return bit(target, rng)
    middle = target.data[a + size : b]
    changed = target.data[:a] + other + middle + one + target.data[b + size :]
    return Mutation("exchanged bytes", changed, None, is_certain=False)


# --- of entries and lines -------------------------------------------------------------------------


def rows(target: Target, name: str) -> tuple[list[bytes], int]:
    """Give the rows of a file, and the entry of its first one."""
    data = target.files[name]
    if name.startswith("tile/entries"):
        tile = Tile.parse(name)
        entries = tiles.decode_entries(tile, data)
        return [len(each).to_bytes(2) + each for each in entries], tile.first
    if name.startswith("tile/"):
        tile = Tile.parse(name)
        return [data[at : at + 32] for at in range(0, len(data), 32)], tile.first
    if name == layout.TABLE:
        return lines(data), target.first - 1
    return lines(data), target.first


def of_rows(target: Target, rng: random.Random) -> Mutation:
    """Delete, repeat, exchange or replace entries, hashes or lines."""
    names = [n for n in target.files if n.startswith(("tile/entries", "tile/0"))]
    name = rng.choice([*names, layout.OPENINGS, layout.EVENTS, layout.TABLE])
    row, base = rows(target, name)
    header = name == layout.TABLE
    a, b = sorted(rng.sample(range(header, len(row)), 2))
    kind = rng.choice(["deleted", "repeated", "exchanged", "replaced"])
    at = a
    match kind:
        case "deleted":
            del row[a]
        case "repeated":
            row.insert(a, row[a])
            at = a + 1
        case "exchanged":
            row[a], row[b] = row[b], row[a]
        case _:
            row[a] = row[b]
    signed = name in {layout.OPENINGS, layout.EVENTS, layout.TABLE} and rng.random() < 0.5
    data = target.packed({**target.files, name: b"".join(row)}, signed=signed)
    return Mutation(f"{kind} in {name}{' by the relay' if signed else ''}", data, base + at)


def opening(target: Target, rng: random.Random) -> Mutation:
    """Replace what is shown of an entry, also by something that fits it."""
    row = lines(target.files[layout.OPENINGS])
    n = rng.randrange(len(row))
    index = target.first + n
    body = json.loads(row[n])
    type_, sealed = target.log.made[index].type, target.log.sealed[index]
    choices = [
        None,
        sealed.disclose(type_, ["party"]).to_json(),
        sealed.disclose(type_).to_json(),
        target.log.sealed[rng.randrange(target.end)].disclose(type_).to_json()
        if rng.random() < 0.5
        else {"secret": "A" * 43 + "=", "values": {}},
    ]
    others = [each for each in choices if plain(each) != plain(body["disclosure"])]
    body["disclosure"] = rng.choice(others)
    row[n] = plain(body) + b"\n"
    files = {**target.files, layout.OPENINGS: b"".join(row)}
    return Mutation("opening", target.packed(files, signed=rng.random() < 0.5), index)


def plain(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


# --- of whole files -------------------------------------------------------------------------------


def tile(target: Target, rng: random.Random) -> Mutation:
    """Exchange two tiles of one level."""
    kind = rng.choice(["tile/entries", "tile/0"])
    a, b = sorted(rng.sample([n for n in target.files if n.startswith(kind)], 2))
    files = {**target.files, a: target.files[b], b: target.files[a]}
    data = target.packed(files, signed=rng.random() < 0.5)
    return Mutation("tile exchanged", data, Tile.parse(a).first)


def files(target: Target, rng: random.Random) -> Mutation:
    """Leave out, rename, add or move a file of the archive."""
    names = list(target.files)
    name = rng.choice(names)
    match rng.choice(["left out", "renamed", "added", "moved"]):
        case "left out":
            changed = {n: d for n, d in target.files.items() if n != name}
        case "renamed":
            changed = {n + "x" * (n == name): d for n, d in target.files.items()}
        case "added":
            changed = {**target.files, f"{name}x": target.files[name]}
        case _:
            others = [n for n in names if n != name]
            others.insert((names.index(name) + rng.randrange(1, len(names))) % len(names), name)
            changed = {n: target.files[n] for n in others}
    return Mutation("files", target.packed(changed), None)


def a_file(target: Target, rng: random.Random) -> Mutation:
    """Change a bit of a file beside the entries, and let the directory fit."""
    small = [n for n in target.files if not n.startswith("tile/") and target.files[n]]
    lined = {layout.OPENINGS, layout.EVENTS, layout.TABLE}
    name = rng.choice([n for n in small if n not in lined])
    changed = bytearray(target.files[name])
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return Mutation(f"bit of {name}", target.packed({**target.files, name: bytes(changed)}), None)


# --- of checkpoints -------------------------------------------------------------------------------


def forged_checkpoint(target: Target, rng: random.Random) -> Mutation:
    """Sign another root with the log's key, and keep the witnesses' lines."""
    size = rng.choice(target.sizes)
    name = layout.checkpoint(size)
    note = Note.decode(target.files[name])
    origin, number, _ = note.text.splitlines()
    text = f"{origin}\n{number}\n{to_base64(rng.randbytes(32))}\n"
    forged = Note(text, note.signatures).signed_by(target.log.key, target.log.signer)
    files = {**target.files, name: forged.encode()}
    data = target.packed(files, signed=rng.random() < 0.8)
    return Mutation("checkpoint forged", data, None)


def stale_cosignature(target: Target, rng: random.Random) -> Mutation:
    """Take a witness's line from another checkpoint, or leave it out, or change its time."""
    size, other = rng.sample(target.sizes, 2)
    name = layout.checkpoint(size)
    note = Note.decode(target.files[name])
    old = Note.decode(target.files[layout.checkpoint(other)])
    party = rng.choice(["nor", "deu"])
    own = [s for s in note.signatures if f"witness.{party}" not in s.name]
    stale = [s for s in old.signatures if f"witness.{party}" in s.name]
    changed = Note(note.text, tuple([*own, *stale] if rng.random() < 0.7 else own))
    files = {**target.files, name: changed.encode()}
    return Mutation("cosignature", target.packed(files, signed=rng.random() < 0.8), None)


def other_history(target: Target, rng: random.Random) -> Mutation:
    """Let a relay write all anew over other entries, with the signatures that it has."""
    log = target.log
    n = rng.randrange(target.first, target.end - 1)
    forged = AuditedLog(log.witness_type, log.seed)
    forged.data, forged.sealed, forged.made = log.data[:], log.sealed[:], log.made[:]
    vouched = max(size for size in (target.first, *target.sizes) if size <= n)
    kind = rng.choice(["exchanged", "repeated", "rewritten"])
    last = n + 1
    for kept in cast("tuple[list[object], ...]", (forged.data, forged.sealed, forged.made)):
        if kind == "exchanged":
            kept[n], kept[n + 1] = kept[n + 1], kept[n]
        elif kind == "repeated":
            kept[n + 1] = kept[n]
    if kind == "rewritten":
        # Nothing but the root tells: time and numbers are the old ones.
        old, last = log.made[n], vouched
        shown = {name: getattr(old, name) for name in OPEN}
        entry, sealed = entries.seal(old.type, old.time, {"party": "FRA"}, rng.randbytes, **shown)
        forged.data[n], forged.sealed[n], forged.made[n] = entry.encode(), sealed, entry
    theirs = Target(forged, forged.bundle(target.sizes, target.first), target.sizes)
    own = {name: d for name, d in target.files.items() if name.startswith(layout.CHECKPOINTS)}
    data = target.packed({**theirs.files, **own}, signed=True)
    return Mutation(f"history {kind}", data, last, vouched)


KINDS: Final[Mapping[str, Callable[[Target, random.Random], Mutation]]] = {
    each.__name__: each
    for each in (
        bit,
        bit_of_a_tile,
        bit_by_the_relay,
        truncated,
        cut_out,
        inserted,
        exchanged_bytes,
        of_rows,
        opening,
        tile,
        files,
        a_file,
        forged_checkpoint,
        stale_cosignature,
        other_history,
    )
}
