"""Kill the relay, the sender or the reader at random points; nothing acknowledged may be lost.

`LIAISON_FAULT_ROUNDS` says how often (20 unless told; `make faults` does 200), and
`LIAISON_FAULT_SEED` repeats a run's choices. The last line counts what was found.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from demo.play import OFFICER
from demo.stage import LIAISON, Person
from tests.support.summary import SUMMARY
from tests.support.theatre import ACTOR, Theatre, json_lines, read_all

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

ROUNDS = int(os.environ.get("LIAISON_FAULT_ROUNDS", "20"))
SEED = int(os.environ.get("LIAISON_FAULT_SEED", "1963"))
PER_ROUND = 12
"""Messages by which the sender goes on in each round."""
LONGEST = 2.5
"""Seconds into a round at which the last kills happen: a start, a burst, a catch-up."""
PATIENCE = 90


@dataclass
class OnDuty:
    """A process that is started again when it was killed; what it said is kept in files."""

    command: list[str]
    person: Person
    folder: Path
    name: str
    runs: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        self.runs += 1
        stem = self.folder / f"{self.name}-{self.runs:04}"
        with stem.with_suffix(".out").open("w") as out, stem.with_suffix(".err").open("w") as err:
            self.process = subprocess.Popen(
                [*self.command, *more],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.person.environment,
            )
        return self.process

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def said(self) -> list[dict[str, Any]]:
        files = sorted(self.folder.glob(f"{self.name}-*.out"))
        return [line for f in files for line in json_lines(f.read_text())]

    def complaint(self) -> str:
        return (self.folder / f"{self.name}-{self.runs:04}.err").read_text()


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Theatre]:
    stage = Theatre(tmp_path / "theatre")
    yield stage
    stage.close()


def test_kill_9_at_random_points_loses_nothing_and_shows_nothing_twice(
    theatre: Theatre, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(SEED)
    channel = theatre.open_channel("faults", OFFICER)
    actor = [sys.executable, str(ACTOR), channel, "--prefix", "serial", "--update-every", "7"]
    sender = OnDuty(actor, theatre.attache, tmp_path, "sender")
    reader = OnDuty([LIAISON, "--json", "watch", channel], theatre.officer, tmp_path, "reader")
    reader.start()

    try:
        for number in range(1, ROUNDS + 1):
            one_round(theatre, sender, reader, rng, number)
    finally:
        sender.kill()
        reader.kill()

    acknowledged = {line["id"] for line in sender.said()}
    stored = read_all(theatre.officer, channel)
    lost = acknowledged - {m["id"] for m in stored}
    texts = collections.Counter(m["text"] for m in stored)
    shown = collections.Counter(line["id"] for line in reader.said())
    twice = [t for t, n in texts.items() if n > 1] + [i for i, n in shown.items() if n > 1]
    broken = [m for m in stored if m["state"] not in ("received", "accepted")]
    summary = (
        f"faults: {ROUNDS} rounds, {len(acknowledged)} acknowledged, {len(lost)} lost, "
        f"{len(twice)} shown twice, {len(broken)} undecryptable"
    )
    request.config.stash[SUMMARY] = summary
    assert (lost, twice, broken) == (set(), [], [])
    assert set(texts) == {f"serial {n}" for n in range(1, ROUNDS * PER_ROUND + 1)}


def one_round(
    theatre: Theatre, sender: OnDuty, reader: OnDuty, rng: random.Random, number: int
) -> None:
    goal = ("--count", str(number * PER_ROUND))
    process = sender.start(*goal)
    victim = rng.choice(("relay", "sender", "reader"))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0.2, LONGEST))
    if victim == "relay":
        theatre.play.relay.kill()
        theatre.play.relay.start()
    elif victim == "sender":
        sender.kill()
        process = sender.start(*goal)
    else:
        reader.kill()
        reader.start()
    code = process.wait(PATIENCE)
    assert code == 0, f"round {number}, {victim} killed: {sender.complaint()}"
