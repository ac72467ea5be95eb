"""Making text of strangers safe to print, and knowing whether a person looks.

A message can hold anything, also the sequences by which a terminal clears its
screen, renames its window or answers as if somebody had typed. Every control
character but tab and newline is shown as U+FFFD, and so are the characters that
reverse the order of the text around them, by which one name can look like
another.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_KEPT: Final = frozenset("\t\n")
# Line and paragraph separators and everything that overrides the direction of writing.
_DECEIVING: Final = frozenset(
    map(chr, (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF))
)


def clean(text: str) -> str:
    """Return text with line breaks and tabs, but with nothing that commands a terminal."""
    unified = text.replace("\r\n", "\n")
    return "".join(_shown(c) for c in unified)


def clean_line(text: str) -> str:
    """Return text that stays on its one line."""
    return clean(text).replace("\n", " ").replace("\t", " ")


def indented(text: str, by: str = "  ") -> str:
    """Return cleaned text, every line indented.

    The indentation is what keeps a message from imitating the heading of the
    next one.
    """
    return "\n".join(by + line if line else "" for line in clean(text).split("\n"))


def is_terminal() -> bool:
    """Tell whether a person can be asked, and sees what we write to stderr."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def confirm(question: str) -> bool:
    """Ask the person at the terminal; anything but yes is no.

    Only where `is_terminal`. Meanwhile the loop goes on, and an interrupt ends the question.
    """
    import asyncio

    sys.stderr.write(f"{clean_line(question)} [y/N] ")
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), answered.set)
    try:
        await answered.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    # A terminal gives whole lines: there is one now, or the end.
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _shown(char: str) -> str:
    if char in _KEPT:
        return char
    if char in _DECEIVING or unicodedata.category(char) in {"Cc", "Cs", "Co", "Cn"}:
        return REPLACEMENT
    return char
