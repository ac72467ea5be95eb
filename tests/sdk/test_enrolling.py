"""An enrolment that starts wrong can be put right, and says what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from liaison.crypto.secret import random_bytes
from liaison.policy.enrolment import Code
from liaison.wire.problems import RemoteError
from liaison_sdk.enrol import enrol, pending_enrolment
from liaison_sdk.errors import (
    AlreadyEnrolledError,
    CertificateFileError,
    ConnectionLostError,
    RelayAddressError,
)
from liaison_sdk.keystore import Keystore
from liaison_sdk.transport import AiohttpTransport
from tests.sdk.support import CHEAP, PASSPHRASE, Stage
from tests.support.relay import free_port


async def test_an_unknown_certificate_is_told_with_what_to_do(stage: Stage) -> None:
    async with AiohttpTransport(stage.relay.url) as way:
        with pytest.raises(ConnectionLostError, match="TLS certificate") as caught:
            await way.request("GET", "/healthz", headers={})
        assert "--ca" in caught.value.hint


@pytest.mark.parametrize(
    "pem", ["", " \n", "Zertifikat für jeden", "-----BEGIN CERTIFICATE-----\nAAAA\n"]
)
async def test_a_ca_file_without_certificates_is_named_as_that(pem: str) -> None:
    async with AiohttpTransport("https://127.0.0.1:1", ca_pem=pem) as way:
        with pytest.raises(CertificateFileError):
            await way.request("GET", "/healthz", headers={})


async def test_nobody_listening_is_told_in_plain_words() -> None:
    async with AiohttpTransport(f"https://127.0.0.1:{free_port()}") as way:
        with pytest.raises(ConnectionLostError, match=r"can't be reached \(connection refused\)"):
            await way.request("GET", "/healthz", headers={})


async def test_an_enrolment_at_a_mistyped_relay_goes_on_at_the_right_one(
    stage: Stage, tmp_path: Path
) -> None:
    code = str(Code.generate(random_bytes))
    for _ in range(2):
        with pytest.raises(ConnectionLostError):
            await enrol(
                tmp_path, f"https://127.0.0.1:{free_port()}", code, passphrase="p", parameters=CHEAP
            )
    with pytest.raises(RemoteError) as caught:
        await enrol(
            tmp_path,
            stage.relay.url,
            code,
            passphrase="p",
            ca_file=stage.relay.ca,
            parameters=CHEAP,
        )
    # The right relay answers: nobody has given out this code.
    assert caught.value.remote_code == "enrolment.unknown"
    assert await pending_enrolment(tmp_path, "p") is not None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"no certificate"])
async def test_nothing_is_made_with_a_ca_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    file, home = tmp_path / "ca.pem", tmp_path / "home"
    file.write_bytes(content)
    code = str(Code.generate(random_bytes))

    with pytest.raises(CertificateFileError, match=r"ca\.pem holds no certificates"):
        await enrol(home, "https://relay.example", code, passphrase="p", ca_file=file)

    assert not home.exists()


async def test_nothing_is_made_for_an_address_that_is_none(tmp_path: Path) -> None:
    code = str(Code.generate(random_bytes))
    with pytest.raises(RelayAddressError):
        await enrol(tmp_path / "home", "relay.example:8443", code, passphrase="p")
    assert not await asyncio.to_thread(Keystore.exists, tmp_path / "home")


async def test_an_enrolment_that_is_done_is_named_and_left_alone(stage: Stage) -> None:
    account = await stage.enrol("nor/defatt-berlin#d1")
    home = stage.homes["nor/defatt-berlin#d1"]
    before = await asyncio.to_thread((home / "liaison.db").read_bytes)

    for url, code in ((None, None), (stage.relay.url, str(Code.generate(random_bytes)))):
        with pytest.raises(AlreadyEnrolledError, match="nor/defatt-berlin#d1") as caught:
            await enrol(home, url, code, passphrase=PASSPHRASE)

        assert caught.value.account.device == account.device
    assert await asyncio.to_thread((home / "liaison.db").read_bytes) == before
