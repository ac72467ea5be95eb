"""Events: what the entries of a bundle say, for people, spreadsheets and databases.

An event is an entry, and the values of those of its fields that the bundle opens. `events.jsonl`
has one object of canonical JSON for each entry; `events.csv` has the same as a table with one
column for each field of any type. Both are made of the entries and openings alone, byte for byte,
so that a verifier makes them anew and compares.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from liaison.audit.errors import EventError
from liaison.tlog import commitment
from liaison.tlog.commitment import Value
from liaison.tlog.disclosure import Disclosure, Sealed
from liaison.tlog.entries import Entry
from liaison.tlog.errors import EntryError
from liaison.tlog.fields import OPEN, SCHEMAS, EntryType
from liaison.values import dataclass

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_SHOWN: Final = ("index", "time", "type", "channel", "seq", "epoch", "policy", "size", "period")
_SEALED: Final = tuple(sorted({name for each in SCHEMAS.values() for name in each.sealed}))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SIGNS: Final = "=+-@\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = re.compile(rf"(^\s*|;[\s\"]*)([{re.escape(_SIGNS)}])")
"""At the beginning, or after what separates cells where the comma is for decimals. Quotes in a text are
doubled, and there such a pair is a cell that is empty so far."""

_LATER: Final = re.compile(rf";\s*[{re.escape(_SIGNS)}]")
_SIGNED: Final = re.compile(rf",[{re.escape(_SIGNS)}]")
_COLUMN: Final = {name: at for at, name in enumerate(_SEALED, len(_SHOWN) + 1)}
_CELL: Final = {name: at for at, name in enumerate(_SEALED, 1)}
"""In a row whose cells before those of the fields are put together already."""
_EMPTY: Final = [""] * len(_SEALED)
_NO_CELLS: Final = "," * len(_SEALED) + "\r\n"

COLUMNS: Final = (
    *_SHOWN,
    "opened",
    *(f"field_{name}" if name in OPEN else name for name in _SEALED),
)
"""Headings of the table: what stands in the open, how much is opened, the fields of all types."""
_COMMAS: Final = len(COLUMNS) - 1
SEPARATOR: Final = "; "
"""Stands between the texts of a list in a cell."""


@dataclass(frozen=True, slots=True)
class Event:
    """An entry and what is opened of it.

    Args:
        index: its place in the log.
        type: what it records.
        time: Unix milliseconds, by the relay's clock.
        channel: the channel's pseudonym, 32 hex digits.
        seq: the item's place in the channel.
        epoch: of the channel's group; for a commit, the one that it ends.
        policy: version of the agreement.
        size: in bytes, told as a power of two.
        period: of a relay's root log.
        values: the opened fields that say something, by name; None where nothing is opened: the
            party may not see it, it lies outside of the times asked for, or it was erased.
        hidden: names of the fields that are not opened, where others are.
    """

    index: int
    type: EntryType
    time: int
    channel: str | None = None
    seq: int | None = None
    epoch: int | None = None
    policy: int | None = None
    size: int | None = None
    period: int | None = None
    values: Mapping[str, Value] | None = None
    hidden: tuple[str, ...] = ()

    @property
    def when(self) -> datetime:
        """The time, in UTC."""
        return _EPOCH + self.time * _MILLISECOND

    @property
    def is_opened(self) -> bool:
        """Whether any field is opened."""
        return self.values is not None

    def get(self, name: str) -> Value:
        """Return the value of a field; None where it says nothing or is not opened."""
        return None if self.values is None else self.values.get(name)

    def text(self, name: str) -> str:
        """Return what a field of text says; empty where it says nothing or is not opened."""
        value = self.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """Return what a field of numbers says."""
        value = self.get(name)
        return value if isinstance(value, int) else None

    def texts(self, name: str) -> tuple[str, ...]:
        """Return what a field of lists says; empty where it says nothing or is not opened."""
        value = self.get(name)
        return value if isinstance(value, tuple) else ()

    def to_json(self) -> dict[str, Any]:
        """Return the event as it stands in JSON: what does not apply is left out."""
        body = {name: each for name in _SHOWN if (each := getattr(self, name)) is not None}
        body |= {"time": iso(self.time), "type": self.type.value, "fields": self.values}
        return body | ({"hidden": self.hidden} if self.hidden else {})

    def encode(self) -> bytes:
        """Return the line of `events.jsonl`, with its newline."""
        return commitment.dump(self.to_json()) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Event:
        """Read a line of `events.jsonl`. Nothing is verified.

        Raises:
            EventError: not one.
        """
        try:
            event = _event(commitment.load(data.removesuffix(b"\n")))
            same = event.encode() == data
        except (ValueError, KeyError, TypeError, AttributeError, EntryError) as error:
            raise EventError(f"not an event: {error}") from error
        if not same:
            raise EventError("an event has other members")
        return event

    def row(self) -> list[str]:
        """Return the cells of the table."""
        return row({**self.to_json(), "fields": None}, self.values, self.hidden)


def of(index: int, entry: Entry, shown: Disclosure | Sealed | None) -> Event:
    """Check what is shown of an entry, and return the event.

    Args:
        index: its place in the log.
        entry: what the log has.
        shown: None for nothing.

    Raises:
        OpeningError: what is shown does not fit the entry.
    """
    values: dict[str, Value] | None = None
    hidden: tuple[str, ...] = ()
    if shown is not None:
        opened = entry.open(shown)
        values = {name: value for name, value in opened.items() if value is not None}
        hidden = tuple(name for name in SCHEMAS[entry.type].sealed if name not in opened)
    return Event(
        index,
        entry.type,
        entry.time,
        None if entry.channel is None else entry.channel.hex(),
        entry.seq,
        entry.epoch,
        None if entry.policy is None else entry.policy.version,
        entry.size,
        entry.period,
        values,
        hidden,
    )


# --- lines and rows -------------------------------------------------------------------------------


def line(index: int, entry: Mapping[str, Any], values: bytes, hidden: Sequence[str] = ()) -> bytes:
    """Return a line of `events.jsonl` from parts, as `Event.encode` does.

    Args:
        index: of the entry.
        entry: as it stands in its JSON.
        values: canonical JSON of the opened fields that say something, or `null`.
        hidden: names of fields that are not opened, where others are.
    """
    channel, policy, seq = entry.get("channel"), entry.get("policy"), entry.get("seq")
    when = f'"time":"{iso(entry["time"])}","type":"{entry["type"]}"}}\n'
    if seq is not None and not hidden:
        # Of a message or a commit: most are, and this takes a third of the time.
        place = f'{{"channel":"{channel}","epoch":{entry["epoch"]},"fields":'
        version = entry["policy"]["version"]
        rest = f',"index":{index},"policy":{version},"seq":{seq},"size":{entry["size"]},{when}'
        return b"%b%b%b" % (place.encode(), values, rest.encode())
    parts = []
    if channel is not None:
        parts.append(f'"channel":"{channel}"')
    if (epoch := entry.get("epoch")) is not None:
        parts.append(f'"epoch":{epoch}')
    parts.append(f'"fields":{values.decode()}')
    if hidden:
        parts.append(f'"hidden":{commitment.dump(list(hidden)).decode()}')
    parts.append(f'"index":{index}')
    if (period := entry.get("period")) is not None:
        parts.append(f'"period":{period}')
    if policy is not None:
        parts.append(f'"policy":{policy["version"]}')
    if seq is not None:
        parts.append(f'"seq":{seq}')
    if (size := entry.get("size")) is not None:
        parts.append(f'"size":{size}')
    return f"{{{','.join(parts)},{when}".encode()


def iso(time: int) -> str:
    """Write Unix milliseconds as UTC, `2026-11-22T06:00:00.000Z`."""
    return f"{_second(time // 1000)}.{time % 1000:03}Z"


# Entries come in the order of their times, many in a second.
@lru_cache(maxsize=64)
def _second(time: int) -> str:
    return (_EPOCH + timedelta(seconds=time)).isoformat(timespec="seconds")[:-6]


def row(
    shown: Mapping[str, Any], values: Mapping[str, Any] | None, hidden: Sequence[str]
) -> list[str]:
    """Return the cells of a row of the table.

    Args:
        shown: what stands in the open, by its columns.
        values: of the opened fields; None where none are.
        hidden: names of fields that are not opened, where others are.
    """
    opened = "no" if values is None else "partly" if hidden else "yes"
    cells = ["" if (each := shown.get(name)) is None else str(each) for name in _SHOWN]
    cells += [opened, *_EMPTY]
    for name, value in (values or {}).items():
        cells[_COLUMN[name]] = _cell(value)
    return cells


def record(
    index: int, entry: Mapping[str, Any], values: Mapping[str, Any] | None, hidden: Sequence[str]
) -> bytes:
    """Return a row of the table as `table` writes it.

    Args:
        index: of the entry.
        entry: as it stands in its JSON.
        values: of the opened fields; None where none are.
        hidden: names of fields that are not opened, where others are.
    """
    get, policy = entry.get, entry.get("policy")
    version = "" if policy is None else policy["version"]
    opened = "no" if values is None else "partly" if hidden else "yes"
    shown = (
        f"{index},{iso(entry['time'])},{entry['type']},{get('channel', '')},{get('seq', '')},"
        f"{get('epoch', '')},{version},{get('size', '')},{get('period', '')},{opened}"
    )
    if values is None:
        return f"{shown}{_NO_CELLS}".encode()
    cells = [shown, *_EMPTY]
    for name, value in values.items():
        cells[_CELL[name]] = value if type(value) is str else _text(value)
    line = ",".join(cells)
    if line.count(",") != _COMMAS or _may_need_care(line):
        for name, value in values.items():
            cells[_CELL[name]] = _quoted(_cell(value))
        line = ",".join(cells)
    return f"{line}\r\n".encode()


def _may_need_care(line: str) -> bool:
    """Whether something in a line of cells may have to be changed or quoted."""
    # Each of these is quicker than one regular expression for them all.
    return (
        '"' in line
        or not line.isprintable()
        or ",=" in line
        or ",+" in line
        or ",-" in line
        or ",@" in line
        or ", " in line
        or (";" in line and _LATER.search(line) is not None)
        or (not line.isascii() and _SIGNED.search(line) is not None)
    )


def table(rows: Iterable[Sequence[str]]) -> bytes:
    """Write rows of the table: RFC 4180, UTF-8, one line for each."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def header() -> bytes:
    """Return the first line of the table."""
    return table([COLUMNS])


def _text(value: str | int | Sequence[str]) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else SEPARATOR.join(value)


def _quoted(text: str) -> str:
    if '"' not in text and "," not in text:
        return text
    return '"' + text.replace('"', '""') + '"'


def _cell(value: str | int | Sequence[str]) -> str:
    if isinstance(value, int):
        return str(value)
    text = _text(value)
    if not text.isprintable():
        text = _CONTROL.sub(" ", text)
    # A spreadsheet would take such a text for a formula, and strangers wrote it.
    return _FORMULA.sub(r"\1'\2", text) if ";" in text or text.lstrip()[:1] in _SIGNS else text


def _event(body: dict[str, Any]) -> Event:
    said = body["fields"]
    when = datetime.fromisoformat(body["time"])
    return Event(
        body["index"],
        EntryType(body["type"]),
        (when - _EPOCH) // _MILLISECOND,
        body.get("channel"),
        body.get("seq"),
        body.get("epoch"),
        body.get("policy"),
        body.get("size"),
        body.get("period"),
        None if said is None else {n: commitment.decode_value(v) for n, v in said.items()},
        tuple(body.get("hidden", ())),
    )
