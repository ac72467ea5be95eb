"""A witness's private keys: one file each, one line in the form of signed notes.

`PRIVATE+KEY+<name>+<key id>+<base64 of type and seed>`, mode 0600. Not encrypted: a witness starts
without a person, so the machine and the file's mode guard it. Whoever steals it can cosign for the
party, and nothing else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from liaison.crypto.errors import KeyFormatError
from liaison.crypto.signing import Signer, SigningKey
from liaison.tlog.errors import VerifierKeyError
from liaison.tlog.text import from_base64, to_base64
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.values import dataclass
from liaison_auditor.errors import FileProblemError, KeyFileError

_PREFIX: Final = "PRIVATE+KEY+"
_MAX_BYTES: Final = 1024


class Algorithm(StrEnum):
    """What a witness signs with."""

    ED25519 = "ed25519"
    MLDSA44 = "ml-dsa-44"

    @property
    def type(self) -> SignatureType:
        """The signature type of its cosignatures."""
        if self is Algorithm.ED25519:
            return SignatureType.COSIGNATURE_ED25519
        return SignatureType.COSIGNATURE_MLDSA44


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A key of a witness: what others know of it, and what signs."""

    public: VerifierKey
    signer: Signer

    @property
    def pair(self) -> tuple[VerifierKey, Signer]:
        """What `liaison.tlog.witness.cosign` takes."""
        return self.public, self.signer


def generate(name: str, algorithm: Algorithm) -> tuple[WitnessKey, str]:
    """Make a key; return it and the line to store.

    Raises:
        VerifierKeyError: no note can hold such a name.
    """
    signing = SigningKey.generate(algorithm.type.scheme)
    public = VerifierKey.of(name, algorithm.type, signing)
    secret = to_base64(bytes((algorithm.type,)) + signing.private_bytes())
    return WitnessKey(public, signing), f"{_PREFIX}{name}+{public.id.hex()}+{secret}\n"


def parse(line: str) -> WitnessKey:
    """Read a stored line. No error quotes any of it.

    Raises:
        KeyFileError: it is no witness's private key.
    """
    name, _, rest = line.removeprefix(_PREFIX).rstrip("\n").partition("+")
    id_, _, encoded = rest.partition("+")
    try:
        data = from_base64(encoded)
        type_ = SignatureType(data[0])
        signing = SigningKey.from_bytes(type_.scheme, data[1:])
        public = VerifierKey.of(name, type_, signing)
    except (ValueError, IndexError, KeyFormatError, VerifierKeyError):
        raise KeyFileError("the file does not hold a private key of a witness") from None
    if not line.startswith(_PREFIX) or public.id.hex() != id_ or not type_.is_cosignature:
        raise KeyFileError("the file does not hold a private key of a witness")
    return WitnessKey(public, signing)


def save(path: Path, line: str) -> None:
    """Write a private key into a new file that only its owner reads; synced when this returns.

    Raises:
        FileProblemError: the file is there already, or can't be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as e:
        raise FileProblemError(
            f"{path} is there already",
            hint="a witness's key is never replaced: make another witness in another folder",
            unchanged="no key was made",
        ) from e
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(path: Path) -> WitnessKey:
    """Read a private key's file.

    Raises:
        KeyFileError: others may read it, or it holds no key.
        FileProblemError: it can't be read.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.read(_MAX_BYTES)
    except (OSError, UnicodeDecodeError) as e:
        raise FileProblemError(f"{path} can't be read") from e
    if stat.S_IMODE(mode) & 0o077:
        raise KeyFileError(
            f"{path} may be read by others than its owner",
            hint=f"make another key if somebody could have read it; then: chmod 600 {path}",
        )
    return parse(line)


def load_all(folder: Path) -> Sequence[WitnessKey]:
    """Read every key of a witness, by the names of their files.

    Raises:
        KeyFileError: there is none, or one can't be used.
    """
    found = [load(path) for path in sorted(folder.glob("*.key"))]
    if not found:
        raise KeyFileError(
            f"there is no key in {folder}", hint="liaison-auditor witness keygen makes one"
        )
    return found
