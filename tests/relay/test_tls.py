from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from liaison.crypto import trial_tls
from liaison.relay import identity, probing, tls
from liaison.relay.errors import SettingsError
from liaison.relay.files import DataDir
from liaison.relay.settings import Settings, TLSMode
from liaison_sdk.transport import AiohttpTransport
from tests.support.relay import RelayProcess, RunningRelay, make, relay  # noqa: F401 - a fixture

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
    found = tls.served(data, settings, now)
    assert found is not None
    return found.context


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


@pytest.mark.parametrize("host", ["relay.example", "192.0.2.7"])
def test_a_trial_is_reached_at_the_relays_origin_too(tmp_path: Path, host: str) -> None:
    data = DataDir(tmp_path)
    identity.create(data, f"https://{host}:8443", os.urandom)

    server = context(data, DEV)

    client = ssl.create_default_context(cafile=str(data.authority))
    assert shake(server, client, host) == "TLSv1.3"
    first = data.authority.read_bytes()
    context(data, DEV)
    assert data.authority.read_bytes() == first


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
    assert tls.served(DataDir(tmp_path), Settings(tls=TLSMode.PROXY), NOW) is None


def test_the_private_key_does_not_show_in_the_repr() -> None:
    made = trial_tls.issue(("localhost",), NOW)

    assert "PRIVATE" not in repr(made)


# --- a new certificate without a restart -------------------------------------------------


def put(folder: Path, issued: trial_tls.TrialTLS) -> tuple[Path, Path]:
    certificate, key = folder / "c.pem", folder / "k.pem"
    certificate.write_bytes(issued.certificate)
    key.write_bytes(issued.key)
    return certificate, key


def trusting(folder: Path, issued: trial_tls.TrialTLS) -> ssl.SSLContext:
    (folder / "ca.pem").write_bytes(issued.authority)
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


def test_a_new_certificate_is_served_from_the_next_handshake_on(tmp_path: Path) -> None:
    old, new = (trial_tls.issue(("localhost",), NOW - days * 86_400) for days in (1, 0))
    served = tls.Served(*put(tmp_path, old))
    context_ = served.context
    put(tmp_path, new)

    changed = [served.refresh(), served.refresh()]

    assert changed == [True, False]
    assert served.context is context_
    assert shake(context_, trusting(tmp_path, new), "localhost") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(context_, trusting(tmp_path, old), "localhost")
    assert served.ends == trial_tls.names_and_end(new.certificate)[1]


def half(folder: Path, old: trial_tls.TrialTLS, new: trial_tls.TrialTLS) -> None:
    (folder / "c.pem").write_bytes(new.certificate)


def gone(folder: Path, old: trial_tls.TrialTLS, new: trial_tls.TrialTLS) -> None:
    (folder / "k.pem").unlink()


def garbage(folder: Path, old: trial_tls.TrialTLS, new: trial_tls.TrialTLS) -> None:
    (folder / "c.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n")


@pytest.mark.parametrize("change", [half, gone, garbage])
def test_what_cannot_be_used_leaves_the_old_certificate_in_service(
    tmp_path: Path, change: Callable[[Path, trial_tls.TrialTLS, trial_tls.TrialTLS], None]
) -> None:
    old, new = trial_tls.issue(("localhost",), NOW), trial_tls.issue(("localhost",), NOW)
    served = tls.Served(*put(tmp_path, old))
    change(tmp_path, old, new)

    with pytest.raises(SettingsError, match="can't be used"):
        served.refresh()

    assert shake(served.context, trusting(tmp_path, old), "localhost") == "TLSv1.3"
    # Complete, it is taken up.
    put(tmp_path, new)
    assert served.refresh()
    assert shake(served.context, trusting(tmp_path, new), "localhost") == "TLSv1.3"


def test_an_encrypted_key_is_refused_instead_of_asking_for_a_password(tmp_path: Path) -> None:
    certificate, key = put(tmp_path, trial_tls.issue(("localhost",), NOW))
    key.write_bytes(
        serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )

    with pytest.raises(SettingsError, match="encrypted"):
        tls.Served(certificate, key)


def connects(port: int, trusted: ssl.SSLContext) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            trusted.wrap_socket(connection, server_hostname="127.0.0.1").close()
        except ssl.SSLCertVerificationError:
            return False
    return True


def test_a_running_relay_takes_up_a_new_certificate_when_it_gets_the_signal(
    tmp_path: Path,
) -> None:
    new = trial_tls.issue(("127.0.0.1", "::1", "localhost"), NOW)
    process = RelayProcess(tmp_path / "relay")
    data = make(process.data, process.port)
    process.start()
    old = ssl.create_default_context(cafile=str(process.ca))
    assert connects(process.port, old)

    (data.tls / "server.pem").write_bytes(new.certificate)
    (data.tls / "server.key").write_bytes(new.key)
    os.kill(process.pid, signal.SIGHUP)
    until = time.monotonic() + 30
    while "tls_reloaded" not in process.log.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)

    assert connects(process.port, trusting(tmp_path, new))
    assert not connects(process.port, old)
    assert process.terminate() == 0


# --- how keys are exchanged --------------------------------------------------------------

POST_QUANTUM = ssl.OPENSSL_VERSION_INFO >= (3, 5)
"""Whether OpenSSL has the hybrid exchange; both ends of these tests are of the same."""


def exchanged(port: int, client: ssl.SSLContext) -> str:
    """Return by which group a client and a relay that runs exchange keys."""
    incoming, outgoing, received = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
    end = client.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        while True:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                data = connection.recv(1 << 16)
                assert data, "the relay ended the handshake"
                received += data
                incoming.write(data)
            else:
                return probing.group_of(received)


async def test_a_client_and_a_relay_exchange_keys_by_the_best_that_openssl_has(
    relay: RunningRelay,  # noqa: F811
) -> None:
    port = int(relay.url.rpartition(":")[2])
    ours = AiohttpTransport(relay.url, ca_file=relay.ca)._context()
    older = ssl.create_default_context(cafile=str(relay.ca))
    older.set_ecdh_curve("prime256v1")

    groups = [await asyncio.to_thread(exchanged, port, client) for client in (ours, older)]

    # Who can't do better is served all the same.
    assert groups == ["X25519MLKEM768" if POST_QUANTUM else "x25519", "secp256r1"]
