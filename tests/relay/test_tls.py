from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from liaison.crypto import trial_tls
from liaison.relay import tls
from liaison.relay.errors import SettingsError
from liaison.relay.files import DataDir
from liaison.relay.settings import Settings, TLSMode

NOW = int(time.time())
DEV = Settings(tls=TLSMode.DEV)


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """Run a handshake in memory and return the protocol's version."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    done = [False, False]
    while not all(done):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done[number] = True
            except ssl.SSLWantReadError:
                continue
    return ends[0].version()


def context(data: DataDir, settings: Settings, now: int = NOW) -> ssl.SSLContext:
    found = tls.server_context(data, settings, now)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1"])
def test_a_client_that_trusts_the_trial_authority_gets_tls_1_3(tmp_path: Path, name: str) -> None:
    data = DataDir(tmp_path)
    server = context(data, DEV)
    client = ssl.create_default_context(cafile=str(data.authority))

    assert shake(server, client, name) == "TLSv1.3"


def test_a_client_that_does_not_trust_it_gets_nothing(tmp_path: Path) -> None:
    server = context(DataDir(tmp_path), DEV)

    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, ssl.create_default_context(), "localhost")


def test_a_client_of_tls_1_2_is_refused(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    server = context(data, DEV)
    client = ssl.create_default_context(cafile=str(data.authority))
    client.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises(ssl.SSLError):
        shake(server, client, "localhost")


def test_a_restart_keeps_the_authority_and_its_end_makes_a_new_one(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    context(data, DEV)
    first = data.authority.read_bytes()
    context(data, DEV, NOW + 86_400)
    second = data.authority.read_bytes()

    context(data, DEV, NOW + int(trial_tls.LIFETIME.total_seconds()))

    assert first == second
    assert data.authority.read_bytes() != first


def test_another_address_to_listen_on_is_named_in_the_certificate(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    context(data, DEV)

    context(data, Settings(tls=TLSMode.DEV, listen="192.0.2.1:8443"))

    names, _ = trial_tls.names_and_end((data.tls / "server.pem").read_bytes())
    assert "192.0.2.1" in names


def test_only_the_servers_key_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    context(data, DEV)

    assert {p.name for p in data.tls.iterdir()} == {"server.pem", "server.key"}
    assert (data.tls / "server.key").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in data.authority.read_bytes()


def test_files_that_belong_together_are_served(tmp_path: Path) -> None:
    made = trial_tls.issue(("localhost",), NOW)
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(made.certificate)
    key.write_bytes(made.key)
    (tmp_path / "ca.pem").write_bytes(made.authority)
    settings = Settings(tls_certificate=certificate, tls_key=key)

    server = context(DataDir(tmp_path), settings)

    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    assert shake(server, client, "localhost") == "TLSv1.3"


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(trial_tls.issue(("localhost",), NOW).certificate)
    key.write_bytes(trial_tls.issue(("localhost",), NOW).key)

    with pytest.raises(SettingsError, match="can't be used"):
        context(DataDir(tmp_path), Settings(tls_certificate=certificate, tls_key=key))


def test_without_a_certificate_the_relay_says_how_to_try_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        context(DataDir(tmp_path), Settings())

    assert "--dev-tls" in caught.value.hint


def test_behind_a_proxy_there_is_no_tls(tmp_path: Path) -> None:
    assert tls.server_context(DataDir(tmp_path), Settings(tls=TLSMode.PROXY), NOW) is None


def test_the_private_key_does_not_show_in_the_repr() -> None:
    made = trial_tls.issue(("localhost",), NOW)

    assert "PRIVATE" not in repr(made)
