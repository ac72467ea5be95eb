"""Reading and writing the public files: party files, relay identities, agreements."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from liaison_cli.errors import FileProblemError

MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024
STANDARD: Final = Path("-")


def read(path: Path) -> bytes:
    """Read a document, `-` from stdin.

    Raises:
        FileProblemError: it can't be read or is larger than any document.
    """
    try:
        if path == STANDARD:
            data = sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as e:
        raise FileProblemError(f"{path} can't be read: {e.strerror}") from e
    if len(data) > MAX_DOCUMENT_BYTES:
        raise FileProblemError(f"{path} is larger than any document of this kind")
    return data


def read_text(path: Path) -> str:
    """Read a text document.

    Raises:
        FileProblemError: it can't be read or is not UTF-8.
    """
    try:
        return read(path).decode("utf-8")
    except UnicodeDecodeError as e:
        raise FileProblemError(f"{path} is not text in UTF-8") from e


def check_new(path: Path, *, force: bool = False) -> None:
    """Check, before keys are made, that a file to be written is not there yet.

    Raises:
        FileProblemError: it is there, or its folder is not.
    """
    if path == STANDARD:
        return
    if not path.parent.is_dir():
        raise FileProblemError(f"there is no folder {path.parent}", unchanged="nothing was made")
    if path.exists() and not force:
        raise FileProblemError(
            f"{path} is there already", hint="choose another file", unchanged="nothing was made"
        )


def write(path: Path, data: bytes) -> None:
    """Write a public document as one step, `-` to stdout.

    Raises:
        FileProblemError: it can't be written; an older file is as it was.
    """
    if path == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        _replace(path, data)
    except OSError as e:
        raise FileProblemError(f"{path} can't be written: {e.strerror}") from e


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Public: what mkstemp closed to others is opened as far as the user's umask lets.
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
