"""File names of strangers, made harmless.

Nobody opens a file by the name that its sender gave it before it went through
here: no path, nothing hidden, nothing that steers a terminal or looks like an
option, and short enough for every file system.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

FALLBACK: Final = "attachment"
_MAX_BYTES: Final = 200
"""Of a name in UTF-8; file systems take 255, and a number or a prefix may be added."""
_MAX_SUFFIX_BYTES: Final = 20
_RESERVED: Final = frozenset('<>:"|?*')
_HIDDEN: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def safe_name(name: str) -> str:
    """Return a name that stays in its folder and hides nothing."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join("_" if _is_unsafe(c) else c for c in last)
    plain = plain.strip().lstrip(".-~").rstrip(". ").strip()
    stem, dot, suffix = plain.rpartition(".")
    if not dot or len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        stem, suffix = plain, ""
    room = _MAX_BYTES - len(suffix.encode())
    stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip()
    return (f"{stem}.{suffix}" if suffix else stem) or FALLBACK


def unique_names(names: Iterable[str]) -> list[str]:
    """Return safe names that differ from one another, also where case does not count."""
    taken: set[str] = set()
    unique = []
    for name in map(safe_name, names):
        stem, dot, suffix = name.rpartition(".")
        if not dot:
            stem, suffix = name, ""
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{stem}-{number}{dot}{suffix}"
        taken.add(candidate.casefold())
        unique.append(candidate)
    return unique


def _is_unsafe(char: str) -> bool:
    return char in _RESERVED or unicodedata.category(char) in _HIDDEN
