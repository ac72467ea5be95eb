"""What is kept in memory to be at hand, of bounded size in all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Kept(Generic[_K, _V]):
    """Values by key; what was used longest ago goes first.

    Args:
        most: the sum of their sizes, in whatever unit `put` counts.
    """

    __slots__ = ("_most", "_size", "_values")

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._values: OrderedDict[_K, tuple[_V, int]] = OrderedDict()

    def get(self, key: _K) -> _V | None:
        """Return a value, which was used by that; None where it is not kept."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: _K, value: _V, size: int) -> None:
        """Keep a value in the place of the key's old one; one that is larger than all may be is not kept."""
        _, old = self._values.pop(key, (None, 0))
        self._values[key] = (value, size)
        self._size += size - old
        while self._size > self._most:
            _, (_, gone) = self._values.popitem(last=False)
            self._size -= gone
