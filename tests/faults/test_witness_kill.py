"""Kill a witness at random points: what it has signed, it remembers, and never contradicts.

Two histories of one log ask for cosignatures as fast as they can, while the witness's process is
killed and started again. `LIAISON_FAULT_ROUNDS` and `LIAISON_FAULT_SEED` as in `test_kill`.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from liaison.tlog import witness as protocol
from liaison.tlog.vkey import VerifierKey
from liaison.tlog.witness import AddCheckpoint
from liaison_auditor.witness import keys
from liaison_auditor.witness.keys import Algorithm
from liaison_auditor.witness.settings import Folder
from liaison_auditor.witness.state import State
from tests.support.signed_log import SignedLog
from tests.support.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

ROUNDS = max(4, int(os.environ.get("LIAISON_FAULT_ROUNDS", "3")) // 4)
SEED = int(os.environ.get("LIAISON_FAULT_SEED", "1963"))
SIZE = 300
ASKING = 4
PROGRAM = "from liaison_auditor.main import main; main()"


@dataclass
class Seen:
    """What left the witness.

    Args:
        cosigned: size -> root; a second root fails the test where it comes in.
        largest: of the sizes cosigned.
        answers: of any kind in this round.
    """

    key: VerifierKey
    cosigned: dict[int, bytes] = field(default_factory=dict)
    answers: int = 0

    @property
    def largest(self) -> int:
        return max(self.cosigned, default=0)

    def take(self, request: AddCheckpoint, body: bytes) -> None:
        protocol.accept(request.note, body, [self.key])
        new = request.checkpoint
        assert self.cosigned.setdefault(new.size, new.root) == new.root


def _ask_until_it_dies(
    port: int, logs: list[SignedLog], seen: Seen, seed: int, kill: tuple[int, subprocess.Popen[str]]
) -> None:
    rng = random.Random(seed)
    limit, process = kill
    old = seen.largest
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        while True:
            # From zero, a witness that had forgotten would sign anything.
            start = rng.choice((0, old, old))
            size = min(SIZE, start + rng.randint(0, 2))
            request = rng.choice(logs).request(start, size)
            connection.request("POST", "/add-checkpoint", body=request.encode())
            answer = connection.getresponse()
            body = answer.read()
            seen.answers += 1
            if answer.status == 200:
                seen.take(request, body)
                old = size
            elif answer.status == 409:
                old = protocol.decode_size(body)
                assert old >= 0
            if seen.answers >= limit:
                process.kill()
    except (OSError, HTTPException):
        pass  # it was killed
    finally:
        connection.close()
        # Also when this thread has found something: the others wait for the end.
        process.kill()


def test_a_killed_witness_never_cosigns_two_roots_for_one_size(
    tmp_path: Path, tally: Tally
) -> None:
    log = SignedLog("relay.example/log/1")
    log.grow(SIZE)
    other = log.forked([b"another", *log.entries[1:]])
    key, line = keys.generate("witness.example", Algorithm.ED25519)
    folder = Folder(tmp_path / "witness")
    folder.create()
    keys.save(folder.keys / "ed25519.key", line)
    folder.add_log(log.key)
    rng = random.Random(SEED)
    seen = Seen(key.public)

    for _ in range(ROUNDS):
        _round(folder, [log, other], seen, rng)

        # Whatever left was on the disk before.
        state = State(folder.state)
        latest = state.latest(log.origin)
        state.close()
        assert latest is not None
        assert latest.checkpoint.size >= seen.largest
    assert len(seen.cosigned) > ROUNDS
    sizes = [str(size) for size in seen.cosigned]
    tally.count(sizes, dict.fromkeys(sizes, 1))


def _round(folder: Folder, logs: list[SignedLog], seen: Seen, rng: random.Random) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROGRAM, "witness", "serve", "--data", str(folder.path)]
    command += ["--listen", f"127.0.0.1:{port}"]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process,
        ThreadPoolExecutor(ASKING) as pool,
    ):
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on ")
        seen.answers = 0
        kill = (rng.randint(1, 120), process)
        asking = [
            pool.submit(_ask_until_it_dies, port, logs, seen, rng.getrandbits(32), kill)
            for _ in range(ASKING)
        ]
        for done in asking:
            done.result()
