"""A witness over HTTP: what it answers, and what it does not let in."""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import aiohttp
import pytest

from liaison.crypto import trial_tls
from liaison.tlog import witness as protocol
from liaison.tlog.errors import ForkError
from liaison.tlog.note import Note
from liaison_auditor.errors import ConfigurationError, WitnessStateError
from liaison_auditor.witness import keys, server
from liaison_auditor.witness.keys import Algorithm
from liaison_auditor.witness.running import listening
from liaison_auditor.witness.settings import Settings, TLSFiles
from liaison_auditor.witness.state import State
from tests.support.signed_log import SignedLog
from tests.support.witness import RunningWitness, new, running

NOW = 1_800_000_000


@pytest.fixture
def log() -> SignedLog:
    made = SignedLog("relay.example/log/1")
    made.grow(10)
    return made


@pytest.fixture(params=list(Algorithm), ids=str)
async def witness(
    request: pytest.FixtureRequest, log: SignedLog, tmp_path: Path
) -> AsyncIterator[RunningWitness]:
    made = new("witness.example", [log.key], folder=tmp_path, algorithm=request.param)
    async with running(made, lambda: NOW):
        yield made


async def _ask(
    witness: RunningWitness, body: bytes, what: str = protocol.ADD
) -> tuple[int, str, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{witness.url}/{what}", data=body) as answer,
    ):
        return answer.status, answer.content_type, await answer.read()


async def _slow(
    witness: RunningWitness, source: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin a request, from another address of this machine, whose body does not come."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", witness.port, local_addr=(source, 0)
    )
    writer.write(
        b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 9\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    await reader.readuntil(b" 100 Continue\r\n\r\n")
    return reader, writer


async def test_a_log_that_grows_is_cosigned(witness: RunningWitness, log: SignedLog) -> None:
    for old, new_size in ((0, 4), (4, 10), (10, 10)):
        status, _, body = await _ask(witness, log.request(old, new_size).encode())

        assert status == 200
        note = protocol.accept(log.note(new_size), body, [witness.key.public])
        (signed,) = note.verify([witness.key.public])
        assert signed.time == NOW


async def test_another_size_is_told(witness: RunningWitness, log: SignedLog) -> None:
    await _ask(witness, log.request(0, 4).encode())

    status, kind, body = await _ask(witness, log.request(3, 10).encode())

    assert (status, kind, body) == (409, "text/x.tlog.size", b"4\n")


async def test_a_fork_is_refused_and_reported(witness: RunningWitness, log: SignedLog) -> None:
    await _ask(witness, log.request(0).encode())

    status, _, _ = await _ask(witness, log.forked([b"x"] * 10).request(10).encode())

    assert status == 422
    ((origin, error),) = witness.refused
    assert origin == log.origin
    assert isinstance(error, ForkError)


async def test_a_proof_that_does_not_hold_is_refused(
    witness: RunningWitness, log: SignedLog
) -> None:
    await _ask(witness, log.request(0, 5).encode())

    status, _, _ = await _ask(witness, log.forked([b"x"] * 9).request(5).encode())

    assert status == 422


async def test_what_was_cosigned_is_shown_to_the_log(
    witness: RunningWitness, log: SignedLog
) -> None:
    for old, size in ((0, 4), (4, 7)):
        await _ask(witness, log.request(old, size).encode())
    fork = log.forked([b"other"] * 9)

    for asked, shown in (
        (log.note(2), log.note(7)),
        (log.note(4), log.note(7)),
        (fork.note(9), log.note(7)),
        # The one that anybody can see contradicts it, though a newer one was cosigned.
        (fork.note(4), log.note(4)),
    ):
        status, _, body = await _ask(witness, asked.encode(), protocol.SHOW)
        assert (status, body) == (200, shown.encode())


async def test_it_is_not_shown_to_who_has_nothing_that_the_log_has_signed(
    witness: RunningWitness, log: SignedLog
) -> None:
    stranger = SignedLog(log.origin, log.entries)
    unknown = SignedLog("relay.example/log/2", log.entries, log.signer)

    for body, status in (
        (log.note(4).encode(), 404),
        (stranger.note(4).encode(), 403),
        (unknown.note(4).encode(), 404),
        (b"size?", 400),
    ):
        assert (await _ask(witness, body, protocol.SHOW))[0] == status


async def test_an_unknown_log_and_a_strangers_signature_are_refused(
    witness: RunningWitness, log: SignedLog
) -> None:
    unknown = SignedLog("relay.example/log/2", log.entries)
    stranger = SignedLog(log.origin, log.entries)

    assert (await _ask(witness, unknown.request(0).encode()))[0] == 404
    assert (await _ask(witness, stranger.request(0).encode()))[0] == 403


@pytest.mark.parametrize("body", [b"", b"old 0\n\n", b"\xff" * 100, b"old -1\n\nx"])
async def test_what_is_no_request_is_refused(witness: RunningWitness, body: bytes) -> None:
    assert (await _ask(witness, body))[0] == 400


async def test_a_body_that_is_too_large_is_refused(witness: RunningWitness) -> None:
    body = b"x" * (protocol.MAX_REQUEST_BYTES + 1)

    assert (await _ask(witness, body))[0] == 413


async def test_a_body_that_does_not_come_is_not_waited_for(
    witness: RunningWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", witness.port)
    writer.write(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 9\r\n\r\nold")

    line = await reader.readline()

    assert b" 408 " in line
    writer.close()


async def test_strangers_who_send_slowly_keep_nobody_else_out(
    witness: RunningWitness, log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_READING_OF_ONE", 3)
    slow = [await _slow(witness, source) for source in ("127.0.0.2",) * 4 + ("127.0.0.3",)]

    # The last one from the address that has taken all that it may have; the others stay.
    assert b" 503 " in await slow[3][0].readline()
    assert (await _ask(witness, log.request(0).encode()))[0] == 200
    for _, writer in slow:
        writer.close()


async def test_no_more_bodies_are_waited_for_than_memory_has_room_for(
    witness: RunningWitness, log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_READING", 2)
    slow = [await _slow(witness, f"127.0.0.{n}") for n in (2, 3)]

    assert (await _ask(witness, log.request(0).encode()))[0] == 503
    for _, writer in slow:
        writer.close()


async def test_who_goes_away_in_the_middle_is_no_line_in_the_log(
    witness: RunningWitness, log: SignedLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        _, writer = await _slow(witness, "127.0.0.2")
        writer.transport.abort()
    # What was sent after them is answered after them.
    assert (await _ask(witness, log.request(0).encode()))[0] == 200

    assert caplog.records == []


async def test_a_long_checkpoint_is_refused(witness: RunningWitness, log: SignedLog) -> None:
    long = Note(log.note(4).text + "x" * server.MAX_TEXT + "\n").signed_by(log.key, log.signer)

    status, _, body = await _ask(witness, protocol.AddCheckpoint(0, (), long).encode())

    assert (status, body[:17]) == (400, b"a checkpoint with")


async def test_too_many_requests_at_once_are_told_to_come_back(
    witness: RunningWitness, log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_WAITING", 0)

    assert (await _ask(witness, log.request(0).encode()))[0] == 503


async def test_nothing_is_cosigned_that_can_not_be_stored(
    witness: RunningWitness, log: SignedLog
) -> None:
    with sqlite3.connect(witness.state) as db:
        db.execute("DROP TABLE history")
    db.close()

    status, _, body = await _ask(witness, log.request(0).encode())

    assert status == 500
    assert b"can't be written" in body
    assert isinstance(witness.refused[0][1], WitnessStateError)


async def test_a_witness_that_was_away_goes_on_where_it_was(log: SignedLog, tmp_path: Path) -> None:
    witness = new("witness.example", [log.key], folder=tmp_path)
    async with running(witness):
        await _ask(witness, log.request(0, 4).encode())
        port = witness.port

    async with running(witness):
        assert witness.port == port
        assert (await _ask(witness, log.request(0).encode()))[2] == b"4\n"
        assert (await _ask(witness, log.request(4).encode()))[0] == 200


async def test_requests_at_once_are_judged_one_after_the_other(
    log: SignedLog, tmp_path: Path
) -> None:
    other = log.forked([b"x"] * 10)
    witness = new("witness.example", [log.key], folder=tmp_path)
    bodies = [source.request(0).encode() for source in (log, other) for _ in range(10)]

    async with running(witness):
        answers = await asyncio.gather(*(_ask(witness, body) for body in bodies))

    cosigned = [body for (status, _, _), body in zip(answers, bodies, strict=True) if status == 200]
    assert len(set(cosigned)) == 1
    assert {status for status, _, _ in answers} <= {200, 409}


async def test_a_witness_can_end_tls_itself(log: SignedLog, tmp_path: Path) -> None:
    trial = trial_tls.issue(("127.0.0.1",), int(time()))
    files = TLSFiles(tmp_path / "tls.pem", tmp_path / "tls.key")
    files.certificate.write_bytes(trial.certificate)
    files.key.write_bytes(trial.key)
    key, _ = keys.generate("witness.example", Algorithm.ED25519)
    state = State(tmp_path / "witness.sqlite")
    context = ssl.create_default_context(cadata=trial.authority.decode())

    async with (
        listening(
            server.Witness([key], {log.origin: [log.key]}, state), Settings(port=0, tls=files)
        ) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/add-checkpoint", data=log.request(0).encode(), ssl=context) as answer,
    ):
        assert url.startswith("https://127.0.0.1:")
        assert answer.status == 200


async def test_a_certificate_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    files = TLSFiles(tmp_path / "tls.pem", tmp_path / "tls.key")
    state = State(tmp_path / "witness.sqlite")

    with pytest.raises(ConfigurationError, match="TLS"):
        async with listening(server.Witness([], {}, state), Settings(port=0, tls=files)):
            pass

    state.close()
