"""Relay, sender and reader on duty, each a process of its own, and what befalls them by chance.

A round lets the sender go on by some numbers, and in the middle of it ends one of the three: by
kill -9, or by cutting the power of its machine, see `tests.support.forgetful`. Who was ended is
started again. At the end everything is counted.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liaison_sdk import Client, MessageState
from tests.sdk.support import PASSPHRASE
from tests.support import forgetful
from tests.support.camp import ATTACHE, CHANNEL, OFFICER, Camp
from tests.support.relay import RelayProcess
from tests.support.tally import Tally
from tests.support.theatre import json_lines

ROOT = Path(__file__).resolve().parents[2]
ACTOR = Path(__file__).with_name("actor.py")
READER = Path(__file__).with_name("reader.py")
ROUNDS = int(os.environ.get("LIAISON_FAULT_ROUNDS", "3"))
IS_LONG = "LIAISON_FAULT_ROUNDS" in os.environ
FEW = ROUNDS if IS_LONG else 1
"""Rounds where each takes long."""
SOME = min(FEW, 20)
"""Rounds where each takes very long."""
SEED = int(os.environ.get("LIAISON_FAULT_SEED", "1963"))
PER_ROUND = 8
"""Messages by which the sender goes on in each round."""
LONGEST = 2.5
"""Seconds into a round at which the last ends come: a start, a burst, a catch-up."""
PATIENCE = 120


@dataclass
class OnDuty:
    """A client that is started again when it was ended; what it said is kept in files.

    Args:
        command: its program.
        home: of its device.
        folder: for what it says.
        name: what its files begin with.
        environment: variables that it needs.
        shadow: of its disk, where that forgets.
    """

    command: list[str]
    home: Path
    folder: Path
    name: str
    environment: dict[str, str]
    shadow: Path | None = None
    runs: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start it with these arguments in addition."""
        self.runs += 1
        stem = self.folder / f"{self.name}-{self.runs:04}"
        program = [*on_disk(self.home, self.shadow), *self.command]
        with stem.with_suffix(".out").open("w") as out, stem.with_suffix(".err").open("w") as err:
            self.process = subprocess.Popen(
                [*program, *more],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env={**os.environ, **self.environment, "LIAISON_HOME": str(self.home)},
            )
        return self.process

    def end(self, rng: random.Random | None = None) -> None:
        """Kill it, where it runs; with the power of its machine, where that is to be tested."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
            if self.shadow is not None and rng is not None:
                forgetful.cut(self.home, self.shadow, rng)

    def said(self) -> list[dict[str, Any]]:
        """Return what it has said in all its runs."""
        files = sorted(self.folder.glob(f"{self.name}-*.out"))
        return [line for f in files for line in json_lines(f.read_text())]

    def complaint(self) -> str:
        """Return what its last run wrote to stderr."""
        return (self.folder / f"{self.name}-{self.runs:04}.err").read_text()


def on_disk(root: Path, shadow: Path | None) -> list[str]:
    """Return how a program is run whose files lie below `root`, on a disk that forgets or not."""
    if shadow is None:
        return [sys.executable]
    return [sys.executable, "-m", "tests.support.forgetful", str(root), str(shadow)]


class Duty:
    """The three processes.

    Args:
        camp: theirs alone.
        power: whether ends are cuts of the power.
        rng: chooses the ends.
    """

    def __init__(self, camp: Camp, rng: random.Random, *, power: bool) -> None:
        self._camp = camp
        self._rng = rng
        self._shadows = camp.folder / "shadows" if power else None
        folder = camp.folder / "said"
        folder.mkdir()
        for device in (ATTACHE, OFFICER):
            (camp.home(device) / "passphrase").write_text(PASSPHRASE)
        self.relay = RelayProcess(
            camp.relay,
            camp.port,
            (*on_disk(camp.relay, self._shadow("relay")), *_module(power=power)),
        )
        self.sender = self._client(
            ATTACHE, "sender", [str(ACTOR), CHANNEL, "--prefix", "serial", "--update-every", "7"]
        )
        self.reader = self._client(OFFICER, "reader", [str(READER)])

    def _shadow(self, name: str) -> Path | None:
        return None if self._shadows is None else self._shadows / name

    def _client(self, device: str, name: str, command: list[str]) -> OnDuty:
        home = self._camp.home(device)
        environment = {
            "LIAISON_CA": str(self._camp.relay / "ca.pem"),
            "LIAISON_PASSPHRASE_FILE": str(home / "passphrase"),
        }
        said = self._camp.folder / "said"
        return OnDuty(command, home, said, name, environment, self._shadow(name))

    def round(self, number: int, victim: str) -> None:
        """Let the sender go on, and end the victim at some moment of it."""
        goal = ("--count", str(number * PER_ROUND))
        process = self.sender.start(*goal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self._rng.uniform(0.2, LONGEST))
        match victim:
            case "relay":
                self._end_relay()
            case "sender":
                self.sender.end(self._rng)
                process = self.sender.start(*goal)
            case "reader":
                self.reader.end(self._rng)
                self.reader.start()
        code = process.wait(PATIENCE)
        assert code == 0, f"round {number}, {victim} ended: {self.sender.complaint()}"

    def _end_relay(self) -> None:
        self.relay.kill()
        shadow = self._shadow("relay")
        if shadow is not None:
            forgetful.cut(self._camp.relay, shadow, self._rng)
        self.relay.start()

    async def count(self, tally: Tally, rounds: int) -> None:
        """Compare what was acknowledged with what the reader has, and has shown."""
        self.reader.end()
        async with Client.open(
            self._camp.home(OFFICER), passphrase=PASSPHRASE, ca_file=self._camp.relay / "ca.pem"
        ) as client:
            await client.sync(PATIENCE)
            stored = [m for m in await client.history() if not m.outgoing]
        had = Counter(str(m.id) for m in stored)
        shown = Counter(line["id"] for line in self.reader.said())
        texts = Counter(m.text for m in stored)
        twice = {what: n for what, n in (shown | texts).items() if n > 1}
        wanted = {f"serial {n}" for n in range(1, rounds * PER_ROUND + 1)}
        broken = [(m.text, m.reason) for m in stored if m.state is not MessageState.RECEIVED]
        tally.count(
            {line["id"] for line in self.sender.said()},
            {**had, **twice},
            strange=[*broken, *(wanted ^ set(texts))],
        )

    def close(self) -> None:
        """End whatever still runs."""
        self.sender.end()
        self.reader.end()
        if self.relay.is_running:
            self.relay.kill()


def _module(*, power: bool) -> tuple[str, ...]:
    return ("liaison.relay",) if power else ("-m", "liaison.relay")


async def on_duty(camp: Camp, tally: Tally, *, power: bool, rounds: int = ROUNDS) -> None:
    """Do all rounds, and count."""
    rng = random.Random(SEED)
    duty = Duty(camp, rng, power=power)
    victims = ["relay", "sender", "reader"]
    rng.shuffle(victims)
    try:
        duty.relay.start()
        duty.reader.start()
        for number in range(1, rounds + 1):
            # Each in turn first: a short run has them all.
            victim = victims[number - 1] if number <= len(victims) else rng.choice(victims)
            duty.round(number, victim)
        await duty.count(tally, rounds)
    finally:
        duty.close()
