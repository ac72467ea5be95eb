"""What the audience sees: printed as it happens and kept in `transcript.txt`."""

from __future__ import annotations

import sys
import textwrap
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH: Final = 96
_BOLD, _DIM, _GREEN, _CYAN, _OFF = "\033[1m", "\033[2m", "\033[32m", "\033[36m", "\033[0m"


class Transcript:
    """Writes scenes, lines and checks to the terminal and to a file.

    The file never has colours; the terminal has them only where it is one.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._colour = sys.stdout.isatty()
        self._began = time.monotonic()
        self._scenes = 0

    def scene(self, title: str) -> None:
        """Open a new scene."""
        self._scenes += 1
        elapsed = time.monotonic() - self._began
        head = f"{self._scenes:>2}. {title} "
        self._write("")
        self._write(head.ljust(_WIDTH - 9, "─") + f" {elapsed:6.1f} s", _BOLD)

    def does(self, who: str, what: str) -> None:
        """Say what somebody did."""
        self._block(f"    {who:<22} ", what)

    def says(self, who: str, words: str) -> None:
        """Quote words that travelled through the relay."""
        self._block(f"    {who:<22} ", f"“{words}”", _CYAN)

    def note(self, words: str) -> None:
        """Explain something to the audience."""
        self._block("      ", words, _DIM)

    def check(self, words: str) -> None:
        """Record a claim that was just tested and held."""
        self._block("    ✓ ", words, _GREEN)

    def plain(self, line: str) -> None:
        """Write a line as it is."""
        self._write(line)

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()

    def _block(self, head: str, words: str, colour: str = "") -> None:
        rest = " " * len(head)
        for line in textwrap.wrap(words, _WIDTH, initial_indent=head, subsequent_indent=rest):
            self._write(line, colour)

    def _write(self, line: str, colour: str = "") -> None:
        self._file.write(line + "\n")
        self._file.flush()
        print(f"{colour}{line}{_OFF}" if self._colour and colour else line, flush=True)
