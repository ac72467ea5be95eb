"""CBOR, cut down to what cannot be misread.

Integers, byte and text strings, arrays, maps, booleans and null: no tags, no
fractions, nothing of indefinite length, no key twice, and one encoding for each
value: two byte strings are never the same item.

Source: RFC 8949 §4.2.1 (core deterministic encoding: map keys sort by their
encoded bytes).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeAlias

import cbor2

from liaison.envelope.errors import CBORError

Item: TypeAlias = "bool | int | bytes | str | list[Item] | dict[int | str, Item] | None"

MAX_DEPTH: Final = 16
_MAX_UINT: Final = 2**64 - 1
# Everything the library would turn into an object of its own: a pattern to
# compile, a number of a gigabyte, a reference back into the structure.
_TAGS: Final = (
    *range(6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip


def encode(item: Item) -> bytes:
    """Return the deterministic encoding.

    Raises:
        CBORError: a value that has none here.
    """
    _check(item, MAX_DEPTH)
    try:
        return cbor2.dumps(_ordered(item))
    except UnicodeEncodeError as error:
        raise CBORError("a text has half a character in it") from error


def encode_ordered(item: Mapping[int | str, Item]) -> bytes:
    """Return the deterministic encoding of a map that its maker has checked and ordered.

    For the one that every message has: keys are small integers in ascending order, no value is a
    map, and each is of a kind that `encode` takes.

    Raises:
        CBORError: a text with half a character.
    """
    try:
        return cbor2.dumps(item)
    except UnicodeEncodeError as error:
        raise CBORError("a text has half a character in it") from error


def decode(data: bytes) -> Item:
    """Read one item that is in its deterministic encoding and fills `data`.

    Raises:
        CBORError: malformed, another encoding of the same item, something after
            the item, or a kind of value not used here.
    """
    item = decode_loosely(data)
    if cbor2.dumps(_ordered(item)) != data:
        raise CBORError("not in the deterministic encoding")
    return item


def decode_loosely(data: bytes) -> Item:
    """Read one item, for a caller that encodes what it made of it and compares with `data`.

    Other encodings and bytes after the item pass here; that comparison, which
    is all that `decode` does besides, refuses them.

    Raises:
        CBORError: malformed, or a kind of value not used here.
    """
    item = decode_unchecked(data)
    _check(item, MAX_DEPTH)
    return item


def decode_unchecked(data: bytes) -> Item:
    """Read one item, for a caller who besides checks the type of each value in it.

    Raises:
        CBORError: malformed.
    """
    try:
        item: Item = cbor2.loads(
            data,
            tag_hook=_no_tag,
            semantic_decoders=_NO_TAGS,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORError, ValueError, TypeError, RecursionError) as error:
        raise CBORError(f"not usable CBOR: {error}") from error
    return item


def _no_tag(*_: Any) -> NoReturn:
    raise CBORError("tags are not used here")


_NO_TAGS: Final = dict.fromkeys(_TAGS, _no_tag)


def _ordered(item: Item) -> Item:
    # The library's own "canonical" sorts shorter keys first, as RFC 7049 did.
    if isinstance(item, dict):
        return {key: _ordered(item[key]) for key in sorted(item, key=cbor2.dumps)}
    if isinstance(item, list):
        return [_ordered(value) for value in item]
    return item


def _check(item: object, depth: int) -> None:
    if depth == 0:
        raise CBORError("nested too deeply")
    if isinstance(item, dict):
        for key, value in item.items():
            if isinstance(key, bool) or not isinstance(key, int | str):
                raise CBORError("a map key is neither an integer nor text")
            _check(value, depth - 1)
    elif isinstance(item, list):
        for value in item:
            _check(value, depth - 1)
    elif isinstance(item, int):
        if not -_MAX_UINT - 1 <= item <= _MAX_UINT:
            raise CBORError("an integer does not fit 64 bits")
    elif not (item is None or isinstance(item, bytes | str)):
        raise CBORError(f"{type(item).__name__} values are not used here")
