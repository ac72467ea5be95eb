from __future__ import annotations

from pathlib import Path

import pytest

from liaison.crypto import suites
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.policy import templates
from liaison.policy.agreement import AgreementKind
from liaison.policy.keys import VerifyKey
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import files, identity
from liaison.relay.errors import (
    AlreadyInitialisedError,
    KeyFileError,
    LockedError,
    NotInitialisedError,
)
from liaison.relay.files import DataDir
from tests.support.world import World

NOW = 1_795_000_000
URL = "https://relay.example:8443"


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    found = DataDir(tmp_path)
    identity.create(found, URL, random_bytes)
    return found


def test_the_public_document_names_every_key_and_no_private_one(data: DataDir) -> None:
    keys = identity.load(data)
    document = data.identity.read_bytes()

    public = RelayIdentity.parse(document)
    assert (public.url, public.origin) == (URL, "relay.example:8443")
    assert public.identity_keys == (VerifyKey.of(keys.identity),)
    assert {VerifyKey.of(key) for key in keys.senders.values()} == set(public.sender_keys)
    for path in data.keys.iterdir():
        assert path.read_bytes() not in document


@pytest.mark.parametrize("code", suites.SUPPORTED)
def test_an_agreement_may_name_any_suite(data: DataDir, code: int) -> None:
    relay = identity.load(data).public
    world = World(now=NOW)
    made = templates.new(
        AgreementKind.BILATERAL,
        agreement_id="nor-deu-2026",
        parties=[world.party(name).party for name in ("NOR", "DEU")],
        relay=relay,
        valid_from=NOW,
        valid_until=NOW + 86_400,
        cipher_suite=code,
    )

    assert made.relay.sender_key(suites.suite(code).signature) in relay.sender_keys


def test_keys_are_readable_by_their_owner_only(data: DataDir) -> None:
    modes = {path.stat().st_mode & 0o777 for path in data.keys.iterdir()}

    assert modes == {0o600}
    assert data.keys.stat().st_mode & 0o777 == 0o700


def test_a_second_init_changes_nothing(data: DataDir) -> None:
    before = {path: path.read_bytes() for path in data.path.rglob("*") if path.is_file()}

    with pytest.raises(AlreadyInitialisedError):
        identity.create(data, URL, random_bytes)

    assert {p: p.read_bytes() for p in data.path.rglob("*") if p.is_file()} == before


def test_a_key_file_that_others_can_read_is_refused_with_the_remedy(data: DataDir) -> None:
    path = data.keys / "identity.ed25519.key"
    path.chmod(0o640)

    with pytest.raises(KeyFileError) as caught:
        identity.load(data)

    assert caught.value.hint == f"chmod 0600 {path}"


def test_a_key_that_is_not_the_one_in_the_document_is_refused(data: DataDir) -> None:
    other = SigningKey.generate(SignatureScheme.P256)
    files.write_private(data.keys / f"sender.{other.scheme}.key", other.private_bytes())

    with pytest.raises(KeyFileError, match="not the one"):
        identity.load(data)


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_damaged_key_is_refused(data: DataDir, content: bytes) -> None:
    files.write_private(data.keys / "session.key", content)

    with pytest.raises(KeyFileError):
        identity.load(data)


def test_a_missing_key_is_refused(data: DataDir) -> None:
    (data.keys / "identity.ed25519.key").unlink()

    with pytest.raises(KeyFileError, match="can't be read"):
        identity.load(data)


def test_without_init_there_is_no_relay(tmp_path: Path) -> None:
    with pytest.raises(NotInitialisedError) as caught:
        identity.load(DataDir(tmp_path))

    assert "init" in caught.value.hint


def test_no_private_key_shows_in_the_repr(data: DataDir) -> None:
    shown = repr(identity.load(data))

    for path in data.keys.iterdir():
        assert path.read_bytes().hex() not in shown
        assert repr(path.read_bytes()) not in shown


def test_two_processes_never_hold_the_lock_together(tmp_path: Path) -> None:
    data = DataDir(tmp_path)

    with files.exclusive(data), pytest.raises(LockedError), files.exclusive(data):
        pass
    with files.exclusive(data):
        pass


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    files.write_private(path, b"before")

    def fail(_descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        files.write_private(path, b"after")

    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_the_data_directory_comes_from_the_option_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAISON_RELAY_DATA", str(tmp_path / "env"))

    assert DataDir.find(tmp_path / "option").path == tmp_path / "option"
    assert DataDir.find(None).path == tmp_path / "env"
    monkeypatch.delenv("LIAISON_RELAY_DATA")
    with pytest.raises(NotInitialisedError):
        DataDir.find(None)
