"""Events as Parquet: the columns of the table, with their types.

Needs pyarrow (extra `parquet`), which nothing else here imports. Rows are written in batches, so
memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from liaison.audit.events import COLUMNS, Event
from liaison.tlog.fields import OPEN, SCHEMAS, Kind

_AT_ONCE: Final = 8192
_KINDS: Final = {
    Kind.TEXT: pa.string(),
    Kind.NUMBER: pa.int64(),
    Kind.TEXTS: pa.list_(pa.string()),
}
_SHOWN: Final = {
    "index": pa.int64(),
    "time": pa.timestamp("ms", tz="UTC"),
    "type": pa.string(),
    "channel": pa.string(),
    "seq": pa.int64(),
    "epoch": pa.int64(),
    "policy": pa.int64(),
    "size": pa.int64(),
    "period": pa.int64(),
    "opened": pa.string(),
}
"""What stands in the open, and how much is opened: `no`, `partly` or `yes`."""
_FIELDS: Final = {
    f"field_{name}" if name in OPEN else name: (name, _KINDS[kind])
    for each in SCHEMAS.values()
    for name, kind in each.sealed.items()
}
SCHEMA: Final = pa.schema(
    [(name, _SHOWN[name] if name in _SHOWN else _FIELDS[name][1]) for name in COLUMNS]
)


def write(events: Iterable[Event], out: BinaryIO) -> None:
    """Write a Parquet file.

    Args:
        events: in order.
        out: open for writing.
    """
    rows = iter(events)
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        while some := list(islice(rows, _AT_ONCE)):
            columns = [_column(name, some) for name in COLUMNS]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))


def _column(name: str, events: list[Event]) -> Any:
    if name in _FIELDS:
        field, type_ = _FIELDS[name]
        return pa.array([one.get(field) for one in events], type_)
    if name == "opened":
        return pa.array([_opened(one) for one in events], _SHOWN[name])
    return pa.array([getattr(one, name) for one in events], _SHOWN[name])


def _opened(event: Event) -> str:
    if event.values is None:
        return "no"
    return "partly" if event.hidden else "yes"
