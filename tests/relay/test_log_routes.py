"""The logs over HTTP: who may read what, and that tools find their files."""

from __future__ import annotations

import asyncio

from liaison.relay.recording import origin_of
from liaison.tlog import merkle, tiles
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.note import Note
from liaison.tlog.tiles import Tile
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.wire.log import LogAnswer, LogQuery
from tests.support.client import RawClient
from tests.support.people import People

_PATIENCE = 30


async def published(client: RawClient, id_: str) -> LogAnswer:
    """Ask until something of a log is published."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            answer = await client.post(f"/v1/agreements/{id_}/log", LogQuery(keys_after=0))
            assert answer.status == 200, answer.body
            found = LogAnswer.model_validate_json(answer.body)
            if found.checkpoint is not None:
                return found


async def test_a_partys_clients_read_its_log_and_tools_recompute_it(people: People) -> None:
    nor = await people.device("nor/desk#d1")
    await people.device("deu/desk#d1")
    id_ = await people.agreement("NOR", "DEU")
    answer = await published(nor, id_)
    checkpoint = await nor.get(f"/log/{id_}/checkpoint")
    note = Note.decode(checkpoint.body)
    head = Checkpoint.parse(note.text)
    full = Tile(None, 0, head.size)
    bundle = await nor.get(f"/log/{id_}/{full.path}")
    hashes = await nor.get(f"/log/{id_}/{Tile(0, 0, head.size).path}")

    origin = origin_of(people.relay.identity.origin, id_)
    key = people.relay.identity.log_keys[0]
    note.verify([VerifierKey(origin, SignatureType.ED25519, key.public)])
    assert head.origin == origin
    assert checkpoint.headers["Content-Type"].startswith("text/plain")
    leaves = [merkle.hash_leaf(one) for one in tiles.decode_entries(full, bundle.body)]
    assert hashes.body == b"".join(leaves)
    assert merkle.root_of(leaves) == head.root
    asked = Checkpoint.parse(Note.decode((answer.checkpoint or "").encode()).text)
    for one in answer.entries:
        merkle.verify_inclusion(
            merkle.hash_leaf(one.data), one.index, asked.size, one.proof, asked.root
        )
    assert answer.entries


async def test_logs_are_closed_to_strangers_and_to_who_has_no_session(people: People) -> None:
    nor, swe = await people.device("nor/desk#d1"), await people.device("swe/desk#d1")
    await people.registrar("DEU")
    id_ = await people.agreement("NOR", "DEU")
    await published(nor, id_)
    nobody = await people.nobody()
    paths = [f"/log/{id_}/checkpoint", f"/log/{id_}/tile/0/000.p/1"]

    for path in (*paths, "/root-log/checkpoint"):
        assert (await nobody.get(path)).status == 401
    for path in paths:
        refused = await swe.get(path)
        assert (refused.status, refused.code) == (404, "agreement.unknown")
    query = await swe.post(f"/v1/agreements/{id_}/log", LogQuery())
    assert (query.status, query.code) == (404, "agreement.unknown")
    for path, code in (
        (f"/log/{id_}/2/checkpoint", "log.unknown"),
        (f"/log/{id_}/tile/0/x999/999", "log.tile_unknown"),
        (f"/v1/agreements/{id_}/erasures/{'0' * 64}", "log.report_unknown"),
    ):
        missing = await nor.get(path)
        assert (missing.status, missing.code) == (404, code)


async def test_a_query_is_bounded(people: People) -> None:
    nor = await people.device("nor/desk#d1")
    await people.registrar("DEU")
    id_ = await people.agreement("NOR", "DEU")
    path = f"/v1/agreements/{id_}/log"

    for body in (
        b'{"limit": 257}',
        b'{"limit": 0}',
        b'{"size": -1}',
        b'{"credentials": ["AA"]}',
        b'{"channels": [%b]}'
        % b",".join([b'{"channel": "00000000000000000000000000000000", "after": 0}'] * 65),
        b'{"more": 1}',
    ):
        assert (await nor.post(path, body)).status == 400
