"""Every small change of a structure: the API builds only good ones.

`variants` walks through dataclasses, tuples and values and yields the structure
with one thing in it changed. What can't be encoded afterwards is of no use to
an attacker either; `encoded` leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from liaison.errors import LiaisonError
from liaison.mls.extensions import Extension

FEW = 3
"""Of a long tuple the first and the last are changed, and one in the middle."""


def variants(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (what was changed, the structure with that change)."""
    if isinstance(value, bytes):
        yield from _bytes(value, where)
    elif isinstance(value, int):
        yield from _numbers(value, where)
    elif isinstance(value, tuple):
        yield from _tuples(value, where)
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            inner = getattr(value, item.name)
            for name, changed in variants(inner, f"{where}.{item.name}"):
                yield name, replace(value, **{item.name: changed})
            if inner is not None and item.name in {"path", "path_secret", "membership_tag"}:
                yield f"{where}.{item.name} left out", replace(value, **{item.name: None})


def _bytes(value: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    yield f"{where} longer", value + b"\0"
    if value:
        yield f"{where} empty", b""
        yield f"{where} shorter", value[:-1]
        yield f"{where} cut in half", value[: len(value) // 2]
        yield f"{where} first bit", bytes((value[0] ^ 0x80,)) + value[1:]
        yield f"{where} last bit", value[:-1] + bytes((value[-1] ^ 1,))
        yield f"{where} middle", _flipped(value, len(value) // 2)
        yield f"{where} zeros", bytes(len(value))
        yield f"{where} ones", b"\xff" * len(value)


def _flipped(value: bytes, at: int) -> bytes:
    return value[:at] + bytes((value[at] ^ 0x10,)) + value[at + 1 :]


def _numbers(value: int, where: str) -> Iterator[tuple[str, int]]:
    for other in {0, 1, 2, 3, 4, 5, 0xFF, 0x0A0A, 0xFFFF, 2**32 - 1, 2**64 - 1, value + 1}:
        if other != value:
            yield f"{where} = {other}", other


def _tuples(value: tuple[Any, ...], where: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    chosen = {0, len(value) // 2, len(value) - 1} if len(value) > FEW else set(range(len(value)))
    for at in sorted(chosen):
        before, item, after = value[:at], value[at], value[at + 1 :]
        yield f"{where}[{at}] left out", (*before, *after)
        yield f"{where}[{at}] twice", (*before, item, item, *after)
        for name, changed in variants(item, f"{where}[{at}]"):
            yield name, (*before, changed, *after)
    if len(value) > 1:
        yield f"{where} reversed", value[::-1]
        yield f"{where} empty", ()
    if value and isinstance(value[0], Extension):
        yield f"{where} with GREASE", (*value, Extension(0x1A1A, b"?"))


def encoded(
    body: Any, encode: Callable[[Any], bytes], where: str = ""
) -> Iterator[tuple[str, bytes]]:
    """Yield (what was changed, bytes) for every variant that has bytes unlike the original's."""
    original = encode(body)
    seen = {original}
    for name, changed in variants(body, where):
        try:
            data = encode(changed)
        except (OverflowError, LiaisonError, TypeError, AttributeError, ValueError):
            continue
        if data not in seen:
            seen.add(data)
            yield name, data


def cut(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield every beginning of a message, and it with bytes after it."""
    for length in range(len(data)):
        yield f"first {length} bytes", data[:length]
    yield "a byte more", data + b"\0"
    yield "twice", data + data
