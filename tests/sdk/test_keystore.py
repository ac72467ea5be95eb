"""Keys at rest: sealed, private, and unlocked by the right passphrase only."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_sdk import files
from liaison_sdk.errors import (
    KeystoreExistsError,
    KeystoreLockedOutError,
    KeystoreMalformedError,
    KeystoreMissingError,
    SealBrokenError,
    WrongPassphraseError,
)
from liaison_sdk.keystore import FILE_NAME, Argon2Parameters, Keystore
from tests.sdk.support import CHEAP

SECRET = b"a private key"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home"


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_sealed_is_read_after_opening_again(folder: Path) -> None:
    Keystore.create(folder, "pass", parameters=CHEAP).write("root", SECRET)

    assert Keystore.open(folder, "pass").read("root") == SECRET


def test_a_keystore_can_be_unlocked_beside_other_work(folder: Path) -> None:
    Keystore.create(folder, "pass", parameters=CHEAP).write("root", SECRET)

    unlocking = Keystore.opening(folder, "pass")

    assert unlocking.result().read("root") == SECRET


def test_a_wrong_passphrase_is_told_to_who_waits_for_the_unlocking(folder: Path) -> None:
    Keystore.create(folder, "pass", parameters=CHEAP)

    unlocking = Keystore.opening(folder, "Pass")

    with pytest.raises(WrongPassphraseError):
        unlocking.result()


def test_a_wrong_passphrase_says_so_and_changes_nothing(folder: Path) -> None:
    Keystore.create(folder, "pass", parameters=CHEAP).write("root", SECRET)
    before = _snapshot(folder)

    with pytest.raises(WrongPassphraseError) as refusal:
        Keystore.open(folder, "Pass")

    assert refusal.value.code == "keystore.wrong_passphrase"
    assert _snapshot(folder) == before


def test_a_missing_passphrase_is_a_wrong_one(folder: Path) -> None:
    Keystore.create(folder, "pass", parameters=CHEAP)

    with pytest.raises(WrongPassphraseError):
        Keystore.open(folder, None)


def test_files_are_the_owners_alone(folder: Path) -> None:
    Keystore.create(folder, "pass", parameters=CHEAP).write("root", SECRET)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {FILE_NAME: 0o600, "root.sealed": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_secret_shows_in_files_or_in_words(folder: Path) -> None:
    keystore = Keystore.create(folder, "the passphrase", parameters=CHEAP)
    keystore.write("root", SECRET)

    everything = b"".join(_snapshot(folder).values()) + repr(keystore).encode()
    assert SECRET not in everything
    assert b"the passphrase" not in everything
    assert keystore._data_key.hex().encode() not in everything
    assert keystore._data_key not in everything


def test_one_passphrase_in_two_spellings_of_unicode_is_one_passphrase(folder: Path) -> None:
    Keystore.create(folder, "p\u00e5ss", parameters=CHEAP).write("root", SECRET)

    assert Keystore.open(folder, "pa\u030ass").read("root") == SECRET


def test_a_new_passphrase_opens_and_the_old_one_no_longer(folder: Path) -> None:
    keystore = Keystore.create(folder, "old", parameters=CHEAP)
    keystore.write("root", SECRET)

    keystore.change_passphrase("old", "new", parameters=CHEAP)

    assert Keystore.open(folder, "new").read("root") == SECRET
    with pytest.raises(WrongPassphraseError):
        Keystore.open(folder, "old")


def test_changing_with_a_wrong_old_passphrase_changes_nothing(folder: Path) -> None:
    keystore = Keystore.create(folder, "old", parameters=CHEAP)
    before = _snapshot(folder)

    with pytest.raises(WrongPassphraseError):
        keystore.change_passphrase("wrong", "new", parameters=CHEAP)

    assert _snapshot(folder) == before


def test_a_second_keystore_in_one_folder_is_refused(folder: Path) -> None:
    Keystore.create(folder, "pass", parameters=CHEAP)

    with pytest.raises(KeystoreExistsError):
        Keystore.create(folder, "pass", parameters=CHEAP)


def test_of_two_who_make_a_keystore_at_once_one_is_refused(folder: Path) -> None:
    def beside(size: int) -> bytes:
        if not Keystore.exists(folder):
            Keystore.create(folder, "first", parameters=CHEAP)
        return bytes(size)

    with pytest.raises(KeystoreExistsError):
        Keystore.create(folder, "second", parameters=CHEAP, rng=beside)

    assert Keystore.open(folder, "first").folder == folder


def test_no_keystore_and_no_record_are_told_apart_from_broken_ones(folder: Path) -> None:
    with pytest.raises(KeystoreMissingError):
        Keystore.open(folder, "pass")
    keystore = Keystore.create(folder, "pass", parameters=CHEAP)
    with pytest.raises(KeystoreMissingError):
        keystore.read("nothing")
    assert not keystore.has("nothing")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "liaison.keystore/9"},
        {"salt": "!"},
        {"salt": "AAAA"},
        {"nonce": "AAAA"},
        {"wrapped_key": ""},
        {"unlock": {"memory_kib": 1 << 40, "iterations": 1, "lanes": 1}},
        {"unlock": {"memory_kib": 64, "iterations": 0, "lanes": 1}},
        {"unlock": {"memory_kib": 64}},
    ],
)
def test_a_damaged_keystore_file_is_named_and_never_run(
    folder: Path, change: dict[str, object]
) -> None:
    Keystore.create(folder, "pass", parameters=CHEAP)
    document = json.loads((folder / FILE_NAME).read_text())
    (folder / FILE_NAME).write_text(json.dumps(document | change))

    with pytest.raises(KeystoreMalformedError):
        Keystore.open(folder, "pass")


def test_parameters_out_of_range_are_refused_before_anything_is_made(folder: Path) -> None:
    with pytest.raises(KeystoreMalformedError):
        Keystore.create(folder, "pass", parameters=Argon2Parameters(memory_kib=1))
    assert not folder.exists()


def test_a_record_under_another_name_does_not_open(folder: Path) -> None:
    keystore = Keystore.create(folder, "pass", parameters=CHEAP)
    sealed = keystore.seal("one", SECRET)

    with pytest.raises(SealBrokenError):
        keystore.unseal("two", sealed)


@given(plaintext=st.binary(max_size=200), flip=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_every_altered_bit_of_a_record_is_noticed(
    keystore: Keystore, plaintext: bytes, flip: int, bit: int
) -> None:
    sealed = bytearray(keystore.seal("name", plaintext))
    sealed[flip % len(sealed)] ^= 1 << bit

    with pytest.raises(SealBrokenError):
        keystore.unseal("name", bytes(sealed))


@given(plaintext=st.binary(max_size=200))
def test_sealing_twice_gives_two_ciphertexts_of_one_plaintext(
    keystore: Keystore, plaintext: bytes
) -> None:
    one, two = keystore.seal("name", plaintext), keystore.seal("name", plaintext)

    assert one != two
    assert keystore.unseal("name", one) == keystore.unseal("name", two) == plaintext


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore.create(tmp_path_factory.mktemp("keys") / "home", "pass", parameters=CHEAP)


class _Keyring(ModuleType):
    """A system keyring in memory."""

    class errors:  # noqa: N801 - the library's name
        class KeyringError(Exception):
            pass

    def __init__(self) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def set_password(self, service: str, name: str, value: str) -> None:
        self.kept[service, name] = value

    def get_password(self, service: str, name: str) -> str | None:
        if self.locked:
            raise self.errors.KeyringError
        return self.kept.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> _Keyring:
    library = _Keyring()
    monkeypatch.setitem(sys.modules, "keyring", library)
    monkeypatch.setitem(sys.modules, "keyring.errors", library.errors)
    return library


def test_the_system_keyring_can_hold_the_key(folder: Path, keyring: _Keyring) -> None:
    Keystore.create(folder, None).write("root", SECRET)

    assert not Keystore.needs_passphrase(folder)
    assert Keystore.open(folder, None).read("root") == SECRET


def test_a_locked_keyring_says_what_to_do(folder: Path, keyring: _Keyring) -> None:
    Keystore.create(folder, None)
    keyring.locked = True

    with pytest.raises(KeystoreLockedOutError) as refusal:
        Keystore.open(folder, None)

    assert "passphrase" in refusal.value.hint


def test_moving_from_the_keyring_to_a_passphrase_leaves_nothing_in_it(
    folder: Path, keyring: _Keyring
) -> None:
    keystore = Keystore.create(folder, None)
    keystore.write("root", SECRET)

    keystore.change_passphrase(None, "pass", parameters=CHEAP)

    assert keyring.kept == {}
    assert Keystore.open(folder, "pass").read("root") == SECRET


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "state"
    files.write_private(target, b"old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_private(target, b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert target.read_bytes() == b"old"


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))

    with pytest.raises(files.FileTooLargeError):
        files.read_bounded(tmp_path / "large", 10)
