from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from liaison.tlog import merkle
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import WitnessBehindError
from liaison.tlog.note import Note
from liaison.tlog.tiles import grow
from liaison.tlog.vkey import SignatureType, VerifierKey
from tests.support import witness
from tests.support.logrig import ORIGIN, Policies, new_signer, opened, policy_of

SECONDS = 60
STEPS = [
    ("recorded", 3),
    ("committed", 3),
    ("tile", 2),
    ("tiles", 3),
    ("signed", 2),
    ("checkpoint", 2),
    ("shown", 2),
    ("cosigned", 2),
    ("kept", 2),
]
"""Every step between what is recorded and what is cosigned, and at which time it is the end."""
IN_THE_DATABASE = [step for step in STEPS if step[0] in ("recorded", "committed", "shown", "kept")]
"""The files are the same with either database."""


async def test_a_log_heals_after_a_kill_at_any_step_and_never_has_two_roots_for_one_size(
    database_url: str, tmp_path: Path
) -> None:
    signer = new_signer()
    key = VerifierKey.of(ORIGIN, SignatureType.ED25519, signer)
    one, two = (witness.new(f"w{n}.example", [key], folder=tmp_path) for n in (1, 2))
    policy = policy_of([(w.name, w.key.public) for w in (one, two)], 2)
    roots: dict[int, bytes] = {}
    async with AsyncExitStack() as stack:
        for each in (one, two):
            await stack.enter_async_context(witness.running(each))
        urls = {w.name: w.url for w in (one, two)}
        common = [
            database_url,
            str(tmp_path / "log"),
            signer.private_bytes().hex(),
            policy.encode().decode(),
            json.dumps(urls),
        ]

        for step, nth in STEPS if database_url.startswith("sqlite") else IN_THE_DATABASE:
            for signed in await killed_at(common, step, nth):
                checkpoint = Checkpoint.parse(signed)
                assert roots.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root, step

        async with opened(
            database_url, tmp_path / "log", signer, policies=Policies(policy), urls=urls
        ) as rig:
            running = asyncio.create_task(rig.publisher.run())
            await rig.act()
            row = await rig.until_cosigned()
            running.cancel()
            entries = await rig.entries()
            hashes = merkle.hash_leaves(entries)
            assert (await rig.shown()).root == merkle.root_of(hashes)
            for tile, data in grow(0, entries, nowhere):
                assert await asyncio.to_thread(rig.store.read, tile) == data
    assert row.cosigned is not None
    Note.decode(row.cosigned).verify([one.key.public])
    # Behind is what a witness finds a log that was killed before it heard the answer; no more.
    for _, error in one.refused + two.refused:
        assert isinstance(error, WitnessBehindError)
    # Whatever was signed before a kill, shown or not, is a beginning of what there is.
    assert len(roots) >= 4
    for size, root in roots.items():
        assert merkle.root_of(hashes[:size]) == root


def nowhere(tile: object) -> bytes:
    raise LookupError(tile)


async def killed_at(common: list[str], step: str, nth: int) -> list[str]:
    """Let a process record and publish until it is killed; return the texts that it has signed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.log_victim",
        *common,
        step,
        str(nth),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        out, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL, step
    return [bytes.fromhex(line).decode() for line in out.decode().splitlines()]
