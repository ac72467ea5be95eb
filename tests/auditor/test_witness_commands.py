"""`liaison-auditor witness ...` as its operator runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from liaison.crypto.signing import SignatureScheme
from liaison.policy import agreement_rules
from liaison.policy.agreement_yaml import load
from liaison.tlog import witness as protocol
from liaison.tlog.note import Note
from liaison.tlog.text import to_base64
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison_auditor import main
from liaison_auditor.witness import settings
from tests.support.signed_log import SignedLog

PROGRAM = [sys.executable, "-c", "from liaison_auditor.main import main; main()"]


@pytest.fixture
def log() -> SignedLog:
    made = SignedLog("relay.example/log/1")
    made.grow(10)
    return made


@pytest.fixture
def data(tmp_path: Path, log: SignedLog, capsys: pytest.CaptureFixture[str]) -> Path:
    """A witness's folder, which follows `log`."""
    folder = tmp_path / "witness"
    assert _witness(folder, "keygen", "--name", "witness.example") == 0
    assert _witness(folder, "add-log", str(log.key)) == 0
    capsys.readouterr()
    return folder


def _witness(data: Path, *words: str) -> int:
    return main.run(["witness", *words, "--data", str(data)])


def _said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request("POST", "/add-checkpoint", body=body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def served(data: Path) -> Iterator[str]:
    """The URL of a witness in a process of its own."""
    command = [*PROGRAM, "--json", "witness", "serve", "--data", str(data)]
    command += ["--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        url: str = json.loads(process.stdout.readline())["url"]
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_only_the_owner_reads_a_key(data: Path) -> None:
    key = data / "keys" / "ed25519.key"

    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700


def test_a_key_is_never_replaced(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (data / "keys" / "ed25519.key").read_bytes()

    code = _witness(data, "keygen", "--name", "witness.example")

    assert code == 1
    assert "is there already" in capsys.readouterr().err
    assert (data / "keys" / "ed25519.key").read_bytes() == before


@pytest.mark.parametrize("name", ["", "a b", "a+b", "none", "quorum", "é", "x" * 201, "a\x1bb"])
def test_a_name_that_no_policy_can_hold_is_refused(tmp_path: Path, name: str) -> None:
    assert _witness(tmp_path / "w", "keygen", "--name", name) == 2
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("algorithm", ["ed25519", "ml-dsa-44"])
def test_what_vkey_prints_goes_into_an_agreement(
    tmp_path: Path, algorithm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _witness(tmp_path, "keygen", "--name", "w.example", "--algorithm", algorithm)
    public = VerifierKey.parse(capsys.readouterr().out.strip())

    _witness(tmp_path, "vkey", "--party", "NO")

    (item,) = (
        load("witnesses:\n" + capsys.readouterr().out).fields(("witnesses",))["witnesses"].items()
    )
    witness = agreement_rules.Witness.from_node(item)
    assert (str(witness.party), witness.name) == ("NO", "w.example")
    assert witness.key.public == public.public
    wanted = SignatureScheme.ED25519 if algorithm == "ed25519" else SignatureScheme.MLDSA44
    assert witness.key.scheme is wanted
    assert public.type.is_cosignature


def test_a_log_is_named_by_its_origin_and_the_key_of_the_agreement(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = SignedLog("relay.example/log/2")
    key = to_base64(log.key.public)

    assert _witness(data, "add-log", log.origin, "--key", key, "--json") == 0
    assert _witness(data, "add-log", str(log.key), "--json") == 0

    first, again = _said(capsys)
    assert first == {"origin": log.origin, "vkey": str(log.key), "added": True}
    assert again["added"] is False
    assert settings.Folder(data).load().logs[log.origin] == (log.key,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listen = 8444", "HOST:PORT"),
        ("listen = 'x:99999'", "HOST:PORT"),
        ("nonsense = 1", "'nonsense'"),
        ("[tls]\nkey = 'x'", "certificate"),
        ("[[logs]]\nkey = 'x'", "log 1"),
        ("[[logs]]\nkee = 'x'", "log 1"),
        ("logs = 3", "list"),
        ("listen =", "TOML"),
    ],
)
def test_a_wrong_setting_is_named(
    data: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "witness.toml").write_text(text)

    assert _witness(data, "status") == 1
    assert words in capsys.readouterr().err


def test_a_witnesss_key_is_no_logs_key(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _witness(data, "vkey", "--json")
    (described,) = _said(capsys)

    assert _witness(data, "add-log", described["vkey"]) == 1


def test_a_key_that_others_can_read_is_not_used(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "keys" / "ed25519.key").chmod(0o640)

    assert _witness(data, "vkey") == 1
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["", "PRIVATE+KEY+w+00000000+AAAA", "x", "PRIVATE+KEY+++"])
def test_a_damaged_key_file_is_told_without_its_content(
    data: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "keys" / "ed25519.key").write_text(line)

    assert _witness(data, "vkey") == 1
    assert "AAAA" not in capsys.readouterr().err


def test_status_says_what_was_cosigned(
    data: Path, served: str, log: SignedLog, capsys: pytest.CaptureFixture[str]
) -> None:
    key = VerifierKey.parse(_public(data, capsys))

    status, answer = _post(served, log.request(0).encode())

    assert status == 200
    (signed,) = protocol.accept(log.note(), answer, [key]).verify([log.key, key])[1:]
    assert signed.key.type is SignatureType.COSIGNATURE_ED25519
    assert _witness(data, "status", "--json") == 0
    (row,) = _said(capsys)
    assert (row["log"], row["size"], row["state"]) == (log.origin, 10, ["well"])


def test_status_ends_with_3_and_keeps_both_notes_of_a_fork(
    data: Path, served: str, log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = log.forked([b"another"] * 10)
    _post(served, log.request(0).encode())
    assert _post(served, other.request(10).encode())[0] == 422

    code = _witness(data, "status", "--save", str(tmp_path))

    assert code == 3
    said = capsys.readouterr()
    assert "fork" in said.out
    assert "two signed histories" in said.err
    notes = [(tmp_path / f"1-fork-{side}.note").read_bytes() for side in ("ours", "theirs")]
    assert [Note.decode(note).verify([log.key])[0].key for note in notes] == [log.key] * 2
    assert notes == [log.note().encode(), other.note().encode()]


def test_a_witness_that_has_seen_nothing_is_well(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _witness(data, "status") == 0
    assert "nothing was cosigned yet" in capsys.readouterr().err


def test_an_address_that_is_taken_is_an_error(data: Path, served: str) -> None:
    where = served.removeprefix("http://")

    done = subprocess.run(
        [*PROGRAM, "witness", "serve", "--data", str(data), "--listen", where],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert f"can't listen on {where}" in done.stderr


def _public(data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    _witness(data, "vkey", "--json")
    (described,) = _said(capsys)
    key: str = described["vkey"]
    return key
