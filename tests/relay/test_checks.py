"""What `liaison-relay check` finds."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from liaison.crypto import trial_tls
from liaison.relay import checks, files, probing, restored
from liaison.relay.checks import Verdict
from liaison.relay.files import DataDir
from liaison.relay.settings import Settings, TLSMode
from tests.support.relay import RunningRelay, free_port, make, relay, running  # noqa: F401 - a fixture
from tests.support.world import World

NOW = int(time.time())
DEV = partial(Settings, tls=TLSMode.DEV)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stopped relay that has signed the beginning of its own log."""
    folder = tmp_path_factory.mktemp("kept") / "relay"

    async def begin() -> None:
        async with running(folder) as found:
            await found.admit_party(World().party("NOR").document)
            await found.app.publisher.publish()

    asyncio.run(begin())
    return folder


@pytest.fixture
def stopped(kept: Path, tmp_path: Path) -> DataDir:
    """A copy of that relay."""
    data = DataDir(tmp_path / "relay")
    shutil.copytree(kept, data.path, ignore=shutil.ignore_patterns("*.sock"))
    return data


def look(data: DataDir, load: Any = DEV) -> dict[str, tuple[Verdict, str]]:
    return {found.check: (found.verdict, found.text) for found in checks.run(data, load)}


def with_certificate(folder: Path, made_at: int, *names: str) -> Any:
    issued = trial_tls.issue(names or ("relay.example",), made_at)
    files.write_private(folder / "k.pem", issued.key)
    files.write_public(folder / "c.pem", issued.certificate)
    return partial(Settings, tls_certificate=folder / "c.pem", tls_key=folder / "k.pem")


def test_of_a_stopped_relay_everything_is_looked_at(stopped: DataDir) -> None:
    found = look(stopped)

    assert found.keys() == {
        "settings", "keys", "origin", "modes", "tls", "key share", "database", "clock", "log", "disk",
        "open files", "process",
    }  # fmt: skip
    assert found["log"] == (Verdict.OK, "1 log, 1 entry, 1 of them signed")
    assert found["database"][1].startswith("SQLite 3.")
    assert found["key share"][1].startswith("TLS 1.3; a client like this one exchanges keys by ")
    assert found["process"] == (Verdict.OK, "not running")
    assert Verdict.FAILED not in {verdict for verdict, _ in found.values()}


@pytest.mark.parametrize(
    ("days_left", "told", "verdict"),
    [
        (80, "80 days", Verdict.OK),
        (10, "10 days", Verdict.WARNING),
        (1, "1 day", Verdict.WARNING),
        (-1, "0 days", Verdict.FAILED),
    ],
)
def test_a_certificate_is_judged_by_the_days_that_it_has_left(
    tmp_path: Path, stopped: DataDir, days_left: int, told: str, verdict: Verdict
) -> None:
    made_at = NOW + days_left * 86_400 - int(trial_tls.LIFETIME.total_seconds()) + 3_600

    found = look(stopped, with_certificate(tmp_path, made_at))

    assert found["tls"] == (verdict, f"for relay.example; {told} left")


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [(0o600, Verdict.OK), (0o640, Verdict.WARNING), (0o644, Verdict.FAILED)],
)
def test_a_tls_key_that_others_can_read_is_found(
    tmp_path: Path, stopped: DataDir, mode: int, verdict: Verdict
) -> None:
    load = with_certificate(tmp_path, NOW)
    (tmp_path / "k.pem").chmod(mode)

    found = look(stopped, load)["modes"]

    assert found[0] is verdict
    assert (f"chmod 0600 {tmp_path / 'k.pem'}" in found[1]) == (verdict is not Verdict.OK)


def test_a_data_directory_that_others_can_open_is_found(stopped: DataDir) -> None:
    stopped.path.chmod(0o755)

    assert look(stopped)["modes"][0] is Verdict.FAILED


def test_a_clock_that_is_behind_the_log_is_found(
    stopped: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.time, "time_ns", lambda: (NOW - 86_400) * 1_000_000_000)  # type: ignore[attr-defined]

    verdict, text = look(stopped)["clock"]

    assert verdict is Verdict.FAILED
    assert "behind the newest entry of a log" in text


def test_a_database_that_is_older_than_its_log_is_found(kept: Path, stopped: DataDir) -> None:
    other = DataDir(stopped.path.with_name("other"))
    make(other.path, free_port())
    shutil.copy(other.path / "relay.db", stopped.path / "relay.db")

    verdict, text = look(stopped)["log"]

    assert verdict is Verdict.FAILED
    assert "restore the newest backup" in text


def test_a_restored_copy_is_named_as_one(stopped: DataDir) -> None:
    mark = restored.Mark(NOW * 1000, NOW * 1000, was_stopped=False)
    files.write_private(stopped.path / restored.MARK, mark.encode())

    verdict, text = look(stopped)["restored"]

    assert verdict is Verdict.WARNING
    assert text.startswith("from a backup of 20")


def status(**changes: Any) -> dict[str, Any]:
    return {
        "log": "relay.example/log/one",
        "agreement": "one",
        "ended": False,
        "entries": 7,
        "waiting_seconds": None,
        "confirmed": True,
        "refused": None,
        "witnesses": [],
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, Verdict.OK, "7 entries, none waits"),
        ({"waiting_seconds": 61}, Verdict.WARNING, "wait for witnesses for 61 s"),
        (
            {"witnesses": [{"problem": "log.witness_unreachable"}]},
            Verdict.WARNING,
            "log.witness_unreachable",
        ),
        ({"refused": {"message": "it is an old copy"}}, Verdict.FAILED, "it is an old copy"),
    ],
)
def test_what_a_running_relay_says_of_its_logs_is_judged(
    stopped: DataDir,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    verdict: Verdict,
    words: str,
) -> None:
    answers = {
        "log.status": [status(**changes)],
        "process": {"open_files": 1024, "max_connections": 100},
    }
    monkeypatch.setattr(checks.adminsocket, "ask", lambda _, request: answers[request["do"]])  # type: ignore[attr-defined]

    found = look(stopped)

    assert found["log"][0] is verdict
    assert words in found["log"][1]
    assert found["process"] == (Verdict.OK, "running")
    assert found["open files"] == (
        Verdict.OK,
        "the relay may have 1024 open; max_connections = 100 needs 600",
    )


async def test_a_running_relay_is_asked_which_certificate_it_shows(relay: RunningRelay) -> None:  # noqa: F811
    data = DataDir(relay.data)
    load = partial(Settings, tls=TLSMode.DEV, listen=relay.url.removeprefix("https://"))
    before = await asyncio.to_thread(look, data, load)
    other = trial_tls.issue(("127.0.0.1",), NOW)

    def exchange() -> None:
        files.write_private(data.tls / "server.key", other.key)
        files.write_private(data.tls / "server.pem", other.certificate)

    await asyncio.to_thread(exchange)
    after = await asyncio.to_thread(look, data, load)

    assert before["served"][0] is Verdict.OK
    # Both ends are of one OpenSSL here, so the relay does what its context would.
    assert (
        before["served"][1].rpartition(" ")[2]
        == before["key share"][1].split(" by ")[1].split(";")[0]
    )
    assert before["process"] == (Verdict.OK, "running")
    assert after["served"][0] is Verdict.WARNING
    assert "another certificate" in after["served"][1]


# --- how keys are exchanged --------------------------------------------------------------


def context(tmp_path: Path) -> ssl.SSLContext:
    issued = trial_tls.issue(("localhost",), NOW)
    (tmp_path / "c.pem").write_bytes(issued.certificate + issued.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "c.pem")
    return server


def test_the_group_of_a_handshake_is_told(tmp_path: Path) -> None:
    seen = probing.with_context(context(tmp_path))

    assert seen.group in {"x25519", "X25519MLKEM768"}
    assert seen.certificate.startswith(b"\x30\x82")


def test_a_group_that_the_server_asks_for_is_told(tmp_path: Path) -> None:
    server = context(tmp_path)
    # The client has offered a key of another group, so there are two hellos.
    server.set_ecdh_curve("secp384r1")

    assert probing.with_context(server).group == "secp384r1"


@pytest.mark.skipif(
    ssl.OPENSSL_VERSION_INFO < (3, 5), reason=f"{ssl.OPENSSL_VERSION} has no post-quantum groups"
)
def test_with_openssl_3_5_the_exchange_stands_against_quantum_computers(tmp_path: Path) -> None:
    assert probing.with_context(context(tmp_path)).group == "X25519MLKEM768"


@pytest.mark.parametrize("received", [b"", b"\x16\x03\x03\x00", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_what_is_no_hello_tells_no_group(received: bytes) -> None:
    assert probing.group_of(received) == ""
