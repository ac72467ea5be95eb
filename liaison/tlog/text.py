"""Base64 and numbers as they stand in the lines of the log's texts: one spelling for one value.

A second spelling of the same bytes would let two texts pass for one.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from liaison.tlog.merkle import HASH_BYTES, MAX_SIZE

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def to_base64(data: bytes) -> str:
    """Write bytes in the standard alphabet, padded. Source: RFC 4648 §4."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def from_base64(text: str) -> bytes:
    """Read `to_base64`'s form.

    Raises:
        ValueError: another spelling.
    """
    data = base64.b64decode(text, validate=True)
    if to_base64(data) != text:
        raise ValueError("not base64 in its canonical spelling")
    return data


def from_base64_hash(text: str) -> bytes:
    """Read a hash of 32 bytes.

    Raises:
        ValueError: not base64, or of another length.
    """
    data = from_base64(text)
    if len(data) != HASH_BYTES:
        raise ValueError("a hash has 32 bytes")
    return data


def from_decimal(text: str, most: int = MAX_SIZE) -> int:
    """Read a whole number without sign or leading zeros.

    Raises:
        ValueError: another form, or more than `most`.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > most:
        raise ValueError(f"{text[:40]!r} is not a number up to {most}")
    return int(text)
