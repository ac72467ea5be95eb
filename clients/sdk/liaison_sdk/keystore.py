"""Private keys and state at rest: sealed under a data key that a passphrase unlocks.

A random 32-byte data key seals everything. It lies in `keystore.json`, wrapped
(AES-256-GCM) under a key that Argon2id makes of the passphrase, or under a
random key that the system's keyring holds; so a new passphrase rewraps 32 bytes
and touches nothing else. A wrong passphrase fails on the wrap's tag, before
anything is read or written.

Every record gets a key of its own, derived from the data key and a random
24-byte salt: there is no nonce to repeat, however many records there are. The
record's name is bound, so records can't be swapped.

All of it is synchronous, and opening takes a moment by intention: inside an
event loop call it by `asyncio.to_thread`.
"""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final, Self

from liaison.crypto import kdf, secret
from liaison.crypto.aead import TAG_SIZE
from liaison.crypto.errors import DecryptionError
from liaison.values import dataclass
from liaison_sdk import files, system_keyring
from liaison_sdk.errors import (
    KeystoreExistsError,
    KeystoreMalformedError,
    KeystoreMissingError,
    SealBrokenError,
    WrongPassphraseError,
)

FORMAT: Final = "liaison.keystore/1"
FILE_NAME: Final = "keystore.json"
MAX_SEALED_FILE: Final = 16 << 20
_VERSION: Final = b"\x01"
_SALT_SIZE: Final = 24
_DATA_KEY_SIZE: Final = 32
_WRAP_AAD: Final = b"liaison keystore data key v1"
_RECORD_INFO: Final = b"liaison keystore record v1"
# Each record key seals exactly one record, so the nonce can be constant.
_NONCE: Final = bytes(12)
_MAX_MEMORY_KIB: Final = 4 << 20
_SYSTEM_KEYRING: Final = "system-keyring"


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """What guessing a passphrase costs.

    The default has memory and iterations of RFC 9106's second choice (§4). It has one lane: more
    would not make a guess dearer, and a single one is computed in less than half the time.
    """

    memory_kib: int = 65_536
    iterations: int = 3
    lanes: int = 1

    def check(self) -> None:
        """Refuse what would not derive, or would take the machine down.

        Raises:
            KeystoreMalformedError: a parameter is out of range.
        """
        small = self.iterations < 1 or self.lanes < 1 or self.memory_kib < 8 * self.lanes
        if small or self.iterations > 1000 or self.lanes > 64 or self.memory_kib > _MAX_MEMORY_KIB:
            raise KeystoreMalformedError("the keystore's Argon2 parameters are out of range")


DEFAULT_PARAMETERS: Final = Argon2Parameters()


class Keystore:
    """An unlocked keystore: seals and opens records and files of its folder."""

    __slots__ = ("_data_key", "_rng", "folder")

    def __init__(self, folder: Path, data_key: bytes, rng: Callable[[int], bytes]) -> None:
        self.folder: Final = folder
        self._data_key = data_key
        self._rng = rng

    def __repr__(self) -> str:
        return f"<Keystore {self.folder}>"

    def __reduce__(self) -> str:
        raise TypeError("a keystore is not pickled")

    @staticmethod
    def exists(folder: Path) -> bool:
        """Tell whether the folder holds a keystore."""
        return (folder / FILE_NAME).is_file()

    @staticmethod
    def needs_passphrase(folder: Path) -> bool:
        """Tell whether opening takes a passphrase; the system's keyring needs none.

        Raises:
            KeystoreMissingError: there is no keystore.
            KeystoreMalformedError: its file can't be read.
        """
        return _Wrap.load(folder).parameters is not None

    @classmethod
    def create(
        cls,
        folder: Path,
        passphrase: str | None,
        *,
        parameters: Argon2Parameters = DEFAULT_PARAMETERS,
        rng: Callable[[int], bytes] = secret.random_bytes,
    ) -> Self:
        """Make a keystore with a fresh data key.

        Args:
            folder: made, or closed to others (0700), where needed.
            passphrase: None keeps the wrapping key in the system's keyring.
            parameters: stored in the file, so opening needs no repetition of them.
            rng: source of keys and salts.

        Raises:
            KeystoreExistsError: there is one; it was left as it is.
            KeystoreLockedOutError: no system keyring is available.
        """
        if cls.exists(folder):
            raise KeystoreExistsError(f"{folder} holds a keystore already")
        parameters.check()
        files.private_folder(folder)
        data_key = rng(_DATA_KEY_SIZE)
        wrap = _Wrap.make(data_key, passphrase, parameters, rng)
        with files.locked(folder):
            # Another process may have made one meanwhile, and sealed something under its key.
            if cls.exists(folder):
                raise KeystoreExistsError(f"{folder} holds a keystore already")
            wrap.save(folder)
        return cls(folder, data_key, rng)

    @classmethod
    def open(
        cls,
        folder: Path,
        passphrase: str | None,
        *,
        rng: Callable[[int], bytes] = secret.random_bytes,
    ) -> Self:
        """Unlock a keystore. Changes nothing, whatever happens.

        Raises:
            WrongPassphraseError: the passphrase does not open it, or is missing.
            KeystoreMissingError: there is no keystore.
            KeystoreMalformedError: its file can't be read.
            KeystoreLockedOutError: the system's keyring does not give its key.
        """
        return cls(folder, _Wrap.load(folder).unwrap(passphrase), rng)

    @classmethod
    def opening(cls, folder: Path, passphrase: str | None) -> Future[Self]:
        """Begin to unlock in a thread of its own; see `open`.

        Argon2 does not hold the interpreter, so a program can load the rest of itself meanwhile.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="unlock")
        try:
            return thread.submit(cls.open, folder, passphrase)
        finally:
            thread.shutdown(wait=False)

    def moved(self, folder: Path) -> Self:
        """Return this keystore after its folder was renamed."""
        return type(self)(folder, self._data_key, self._rng)

    def change_passphrase(
        self,
        old: str | None,
        new: str | None,
        *,
        parameters: Argon2Parameters = DEFAULT_PARAMETERS,
    ) -> None:
        """Wrap the data key anew; records stay as they are.

        Raises:
            WrongPassphraseError: `old` does not open the keystore; nothing was changed.
        """
        parameters.check()
        before = _Wrap.load(self.folder)
        data_key = before.unwrap(old)
        _Wrap.make(data_key, new, parameters, self._rng).save(self.folder)
        if before.parameters is None:
            system_keyring.delete(before.keyring_name)

    def seal(self, name: str, plaintext: bytes) -> bytes:
        """Encrypt a record; 41 bytes longer. `name` is bound, not hidden."""
        salt = self._rng(_SALT_SIZE)
        return _VERSION + salt + secret.seal(self._key(salt), _NONCE, plaintext, name.encode())

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """Decrypt what `seal` made under the same name.

        Raises:
            SealBrokenError: altered, of another name, or of another keystore.
        """
        salt, body = sealed[1 : 1 + _SALT_SIZE], sealed[1 + _SALT_SIZE :]
        if sealed[:1] != _VERSION or len(salt) != _SALT_SIZE:
            raise SealBrokenError(f"the record {name} is not in a form known here")
        try:
            return secret.open_sealed(self._key(salt), _NONCE, body, name.encode())
        except DecryptionError as e:
            raise SealBrokenError(
                f"the record {name} was altered, or is not this keystore's"
            ) from e

    def write(self, name: str, plaintext: bytes) -> None:
        """Seal into a file of the folder, durable and replaced as one step."""
        files.write_private(self._path(name), self.seal(name, plaintext))

    def read(self, name: str) -> bytes:
        """Open a sealed file.

        Raises:
            KeystoreMissingError: there is none of this name.
            SealBrokenError: it does not open.
        """
        try:
            sealed = files.read_bounded(self._path(name), MAX_SEALED_FILE)
        except FileNotFoundError as e:
            raise KeystoreMissingError(f"the keystore has no record {name}") from e
        return self.unseal(name, sealed)

    def has(self, name: str) -> bool:
        """Tell whether there is a sealed file of this name."""
        return self._path(name).is_file()

    def delete(self, name: str) -> None:
        """Remove a sealed file; none of this name is fine."""
        self._path(name).unlink(missing_ok=True)
        files.sync_folder(self.folder)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.sealed"

    def _key(self, salt: bytes) -> bytes:
        return kdf.hkdf_sha256(self._data_key, salt, _RECORD_INFO, 32)


@dataclass(frozen=True, slots=True)
class _Wrap:
    """The content of `keystore.json`."""

    parameters: Argon2Parameters | None
    """None: the wrapping key is in the system's keyring."""
    salt: bytes
    nonce: bytes
    wrapped: bytes

    @classmethod
    def make(
        cls,
        data_key: bytes,
        passphrase: str | None,
        parameters: Argon2Parameters,
        rng: Callable[[int], bytes],
    ) -> _Wrap:
        salt, nonce = rng(16), rng(12)
        if passphrase is None:
            key = rng(32)
            empty = cls(None, salt, nonce, b"")
            system_keyring.save(empty.keyring_name, key)
        else:
            key = _derive(passphrase, salt, parameters)
            empty = cls(parameters, salt, nonce, b"")
        wrapped = secret.seal(key, nonce, data_key, _WRAP_AAD)
        return cls(empty.parameters, salt, nonce, wrapped)

    @property
    def keyring_name(self) -> str:
        return self.salt.hex()

    def unwrap(self, passphrase: str | None) -> bytes:
        if self.parameters is None:
            key = system_keyring.load(self.keyring_name)
        elif passphrase is None:
            raise WrongPassphraseError("the keystore needs its passphrase")
        else:
            key = _derive(passphrase, self.salt, self.parameters)
        try:
            return secret.open_sealed(key, self.nonce, self.wrapped, _WRAP_AAD)
        except DecryptionError as e:
            raise WrongPassphraseError(
                "the passphrase is wrong", unchanged="nothing was changed"
            ) from e

    def save(self, folder: Path) -> None:
        document = {
            "format": FORMAT,
            "unlock": _SYSTEM_KEYRING if self.parameters is None else asdict(self.parameters),
            "salt": _text(self.salt),
            "nonce": _text(self.nonce),
            "wrapped_key": _text(self.wrapped),
        }
        files.write_private(folder / FILE_NAME, json.dumps(document, indent=2).encode() + b"\n")

    @classmethod
    def load(cls, folder: Path) -> _Wrap:
        try:
            data = files.read_bounded(folder / FILE_NAME, 64 << 10)
        except FileNotFoundError as e:
            raise KeystoreMissingError(f"{folder} holds no keystore") from e
        try:
            return cls._decode(json.loads(data))
        except (ValueError, KeyError, TypeError) as e:
            raise KeystoreMalformedError(f"{folder / FILE_NAME} is not a keystore") from e

    @classmethod
    def _decode(cls, document: dict[str, Any]) -> _Wrap:
        if document["format"] != FORMAT:
            raise KeystoreMalformedError("the keystore is of a format not known here")
        unlock = document["unlock"]
        parameters = None
        if unlock != _SYSTEM_KEYRING:
            values = {field.name: int(unlock[field.name]) for field in fields(Argon2Parameters)}
            parameters = Argon2Parameters(**values)
            parameters.check()
        return cls(
            parameters,
            _bytes(document["salt"], 16),
            _bytes(document["nonce"], 12),
            _bytes(document["wrapped_key"], _DATA_KEY_SIZE + TAG_SIZE),
        )


def _derive(passphrase: str, salt: bytes, parameters: Argon2Parameters) -> bytes:
    # One passphrase can be typed as several code point sequences; NFC makes them one.
    return kdf.argon2id(
        unicodedata.normalize("NFC", passphrase).encode(),
        salt,
        iterations=parameters.iterations,
        lanes=parameters.lanes,
        memory_kib=parameters.memory_kib,
    )


def _bytes(text: str, size: int) -> bytes:
    data = base64.b64decode(text, validate=True)
    if len(data) != size:
        raise ValueError("a value of the wrong length")
    return data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
