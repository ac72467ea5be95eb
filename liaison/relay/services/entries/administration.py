"""What the operator and the relay itself do: admission, holds, exports, erasure, checkpoints."""

from __future__ import annotations

from collections.abc import Iterable

from liaison.relay.recording import Draft
from liaison.tlog.commitment import Value
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64


def done(
    act: str, subject: str, digest: bytes | None = None, party: str | None = None, *,
    logs: Iterable[str] = (),
) -> list[Draft]:  # fmt: skip
    """The operator or an office did something: in the root log, and in those of the partnerships it concerns.

    Args:
        act: `party.admitted`, `agreement.admitted`, `proposal.retracted`,
            `exclusion.retracted`, `hold.set`, `hold.released`, `export`, `log.succeeded`.
        subject: what it was done to.
        digest: of the document, 32 bytes.
        party: whom it concerns.
        logs: ids of agreements.
    """
    fields: dict[str, Value] = {
        "party": party,
        "act": act,
        "subject": subject,
        "digest": None if digest is None else to_base64(digest),
    }
    return [Draft(log=log, type=EntryType.ADMIN, fields=fields) for log in (None, *logs)]


def exported(
    log: str, party: str, *, first: int, last: int, filters: tuple[str, ...], count: int,
    digest: bytes,
) -> Draft:  # fmt: skip
    """Somebody was given a part of the log; every party sees that.

    Args:
        log: the agreement's id.
        party: whose view it was.
        first: index of the first entry, and `last` that of the last one.
        filters: what limits the export, such as `from 2026-11-01T00:00:00Z`.
        count: of openings that were handed out.
        digest: of the bundle's manifest.
    """
    fields: dict[str, Value] = {
        "party": party,
        "first": first,
        "last": last,
        "filters": filters,
        "count": count,
        "digest": to_base64(digest),
    }
    return Draft(log=log, type=EntryType.EXPORT, fields=fields)


def erased(
    log: str,
    rule: str,
    *,
    first: int | None,
    last: int | None,
    contents: int,
    openings: int,
    digest: bytes,
) -> Draft:
    """The retention job has deleted something.

    Args:
        log: the agreement's id.
        rule: why.
        first: index of the first entry whose openings went, and `last` that of the last one.
        contents: messages and attachments whose bytes went.
        openings: entries that nobody can open any more.
        digest: of the signed report.
    """
    fields: dict[str, Value] = {
        "party": None,
        "first": first,
        "last": last,
        "rule": rule,
        "contents": contents,
        "openings": openings,
        "digest": to_base64(digest),
    }
    return Draft(log=log, type=EntryType.ERASURE, fields=fields)


def succeeds(origin: str, size: int, root: bytes) -> Draft:
    """The root log begins in the place of another one: its first entry."""
    fields: dict[str, Value] = {"origin": origin, "size": size, "root": to_base64(root)}
    return Draft(log=None, type=EntryType.CHECKPOINT, fields=fields)


def checkpoint(origin: str, size: int, root: bytes, period: int) -> Draft:
    """Where a partnership's log stood in a period; nobody is given the opening."""
    fields: dict[str, Value] = {"origin": origin, "size": size, "root": to_base64(root)}
    return Draft(log=None, type=EntryType.CHECKPOINT, fields=fields, period=period, audience=())
