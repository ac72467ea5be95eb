"""How a registrar's office rests on disk.

A folder per party, 0700: `party.json` (public), and sealed under the passphrase
a copy of that, one file per private key and one for the state. The folder is filled beside its
place and renamed into it, so a half-made office is never found. Changes take a
lock, so that two commands at once can't lose one another's work.

Everything here is synchronous and touches the disk; `RegistrarStore.open` runs
Argon2id (some 0.2 s). Inside an event loop call it by `asyncio.to_thread`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import PartyCode
from liaison.policy.party import MAX_PARTY_BYTES, Party
from liaison_sdk.files import locked, private_folder, read_bounded, sync_folder, write_private
from liaison_sdk.keystore import DEFAULT_PARAMETERS, Argon2Parameters, Keystore
from liaison_sdk.registrar.errors import OfficeExistsError, OfficeMissingError
from liaison_sdk.registrar.state import OfficeState

_PARTY: Final = "party.json"
_STATE: Final = "state"
_SEALED_PARTY: Final = "party"


class Role(StrEnum):
    """What a key of the party is for. No key has two roles."""

    ROOT = "root"
    AUTHORITY = "authority"
    REGISTRAR = "registrar"


class RegistrarStore:
    """An open office: its folder and the key to what is sealed there."""

    def __init__(self, folder: Path, keystore: Keystore, party: Party) -> None:
        self._folder = folder
        self._keystore = keystore
        self.party = party

    def __repr__(self) -> str:
        return f"<RegistrarStore {self.party.code} in {self._folder}>"

    @staticmethod
    def folder_of(home: Path, code: PartyCode) -> Path:
        """Return where the office of a party is kept under `home`."""
        return home / "parties" / code.path

    @staticmethod
    def parties(home: Path) -> list[PartyCode]:
        """Return the parties that have their office under `home`, sorted."""
        folder = home / "parties"
        if not folder.is_dir():
            return []
        # A name with a dot is an office that was being made when its process was killed.
        names = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
        found = (entry.name for entry in names if (entry / _PARTY).is_file())
        return sorted(PartyCode.parse(name.upper()) for name in found)

    @classmethod
    def public_party(cls, home: Path, code: PartyCode) -> Party:
        """Read an office's public half; this needs no passphrase.

        Raises:
            OfficeMissingError: there is no office of this party under `home`.
            DocumentError: the file was damaged.
        """
        file = cls.folder_of(home, code) / _PARTY
        if not file.is_file():
            raise OfficeMissingError(
                f"there is no registrar of {code} here",
                hint=f"make one with: liaison party init {code} --name NAME",
            )
        return Party.parse(read_bounded(file, MAX_PARTY_BYTES))

    @classmethod
    def create(
        cls,
        home: Path,
        passphrase: str | None,
        party: Party,
        keys: Mapping[Role, SigningKey],
        *,
        parameters: Argon2Parameters = DEFAULT_PARAMETERS,
        rng: Callable[[int], bytes] = random_bytes,
    ) -> Self:
        """Put a new office on disk, whole or not at all.

        Raises:
            OfficeExistsError: the party has one under `home`.
        """
        folder = cls.folder_of(home, party.code)
        private_folder(home)
        private_folder(folder.parent)
        building = folder.with_name(f".{folder.name}-{rng(4).hex()}")
        private_folder(building)
        try:
            keystore = Keystore.create(building, passphrase, parameters=parameters, rng=rng)
            for role, key in keys.items():
                keystore.write(_key_name(role), _encode_key(key))
            keystore.write(_STATE, OfficeState().encode())
            keystore.write(_SEALED_PARTY, party.encode())
            write_private(building / _PARTY, party.encode())
            _claim(building, folder, party.code)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        return cls.of(keystore.moved(folder))

    @classmethod
    def open(cls, home: Path, passphrase: str | None, code: PartyCode) -> Self:
        """Open the office of a party.

        Raises:
            OfficeMissingError: there is none under `home`.
            WrongPassphraseError: the passphrase is another one; nothing was changed.
        """
        cls.public_party(home, code)
        return cls.of(Keystore.open(cls.folder_of(home, code), passphrase))

    @classmethod
    def of(cls, keystore: Keystore) -> Self:
        """Return the office whose keystore is open already."""
        # What is signed is compared with the sealed copy: the public file next to it is for
        # people, and anybody who can write to the disk could have changed it.
        return cls(keystore.folder, keystore, Party.parse(keystore.read(_SEALED_PARTY)))

    def key(self, role: Role) -> SigningKey:
        """Unseal one private key, for as long as the caller holds it."""
        scheme, _, raw = self._keystore.read(_key_name(role)).partition(b"\n")
        return SigningKey.from_bytes(SignatureScheme.parse(scheme.decode()), raw)

    def state(self) -> OfficeState:
        """Return the state as it is now."""
        return OfficeState.decode(self._keystore.read(_STATE))

    def change(self, step: Callable[[OfficeState], OfficeState]) -> OfficeState:
        """Replace the state by what `step` makes of it; durable when this returns.

        A step that raises changes nothing.
        """
        with locked(self._folder):
            state = step(self.state())
            self._keystore.write(_STATE, state.encode())
        return state


def _claim(building: Path, folder: Path, code: PartyCode) -> None:
    try:
        # rename(2) replaces nothing but an empty folder.
        building.rename(folder)
    except OSError as e:
        if not folder.exists():
            raise
        raise OfficeExistsError(
            f"the registrar of {code} has its office in {folder} already",
            unchanged="its keys were not touched",
        ) from e


def _key_name(role: Role) -> str:
    return f"{role.value}-key"


def _encode_key(key: SigningKey) -> bytes:
    return key.scheme.value.encode() + b"\n" + key.private_bytes()
