"""Canonical JSON: one byte string for one document.

Signatures and digests are over RFC 8785 JSON. Documents have no fractions, so
numbers are integers that every JSON reader keeps exact (53 bits).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import rfc8785

from liaison.policy.errors import DocumentError, DocumentTooLargeError

JSON: TypeAlias = "bool | int | str | list[JSON] | dict[str, JSON] | None"

MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 100_000
"""Values of all kinds in one document; each costs a reader far more than its bytes."""
_MAX_INTEGER: Final = 2**53 - 1


def encode(value: JSON) -> bytes:
    """Return the canonical form.

    Raises:
        DocumentError: a value that has none, such as a fraction.

    Source: RFC 8785.
    """
    try:
        _check_whole(value)
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"the document has no canonical form: {error}") from error


def decode(data: bytes | str, *, limit: int = MAX_DOCUMENT_BYTES) -> JSON:
    """Read JSON in any layout, refusing what two readers could understand differently.

    Args:
        data: the document, UTF-8.
        limit: the most bytes (or characters) it may have.

    Raises:
        DocumentTooLargeError: more than `limit`, or more than `MAX_VALUES` values.
        DocumentError: not JSON, a key twice, a fraction, an integer past 53 bits,
            or nested too deeply.
    """
    if len(data) > limit:
        raise DocumentTooLargeError(f"a document of this kind has at most {limit} bytes")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8", "strict")
        loaded: JSON = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
            parse_int=_exact,
        )
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not a JSON document: {error}") from error
    _check_shape(loaded)
    return loaded


def decode_canonical(data: bytes, *, limit: int = MAX_DOCUMENT_BYTES) -> JSON:
    """Read JSON that must be in canonical form already.

    Raises:
        DocumentError: it is not, so its digest is not the document's.
    """
    value = decode(data, limit=limit)
    if encode(value) != data:
        raise DocumentError("the document is not in canonical form")
    return value


def to_base64(data: bytes) -> str:
    """Write bytes as they stand in documents: standard alphabet, padded."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes:
    """Read `to_base64`'s form, and no other spelling of the same bytes.

    Raises:
        DocumentError: another spelling.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentError("not base64") from error
    if to_base64(data) != text:
        raise DocumentError("not base64 in its canonical spelling")
    return data


def _check_whole(value: object) -> None:
    # RFC 8785 has a form for fractions, but no two programs need agree on 0.1.
    if isinstance(value, float):
        raise DocumentError(f"documents have no fractions, this has {value}")
    if isinstance(value, dict):
        for member in value.values():
            _check_whole(member)
    elif isinstance(value, list):
        for member in value:
            _check_whole(member)


def _check_shape(value: JSON) -> None:
    # Level by level: whoever reads the value recurses into it.
    level, count = [value], 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_VALUES:
            raise DocumentTooLargeError(f"a document has at most {MAX_VALUES} values")
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise DocumentError("the document is nested too deeply")


def _children(value: JSON) -> Iterable[JSON]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DocumentError("a field stands twice in one object")
    return found


def _exact(text: str) -> int:
    # 17 characters hold every allowed integer; int() of a megabyte of digits is slow.
    value = int(text) if len(text) <= 17 else _MAX_INTEGER + 1
    if abs(value) > _MAX_INTEGER:
        raise DocumentError("an integer does not fit 53 bits")
    return value


def _no_fraction(text: str) -> None:
    raise DocumentError(f"documents have no fractions, this has {text[:20]}")
