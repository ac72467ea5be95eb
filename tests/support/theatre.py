"""A relay and two nations as real processes, for journeys and fault rounds.

The people, the relay and the way they are set up are the demo's: what a
newcomer sees is what the tests drive.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo import scenes
from demo.play import AGREEMENT, ATTACHE, NEWCOMER, OFFICER, Play
from demo.stage import Person, finish
from demo.transcript import Transcript

ACTOR = Path(__file__).with_name("actor.py")
ATTACHE_D2 = f"{ATTACHE}#d2"


class Theatre:
    """Everybody enrolled, the agreement in force, no channel yet.

    `attache`, `attache_d2`, `officer` and `newcomer` are people with homes of
    their own; `play.relay` is the relay's operator.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.play = Play(folder, Transcript(folder / "transcript.txt"))
        for scene in (scenes.curtain_up, scenes.parties, scenes.agreement):
            scene(self.play)

    @property
    def attache(self) -> Person:
        return self.play.people[ATTACHE]

    @property
    def attache_d2(self) -> Person:
        return self.play.people[ATTACHE_D2]

    @property
    def officer(self) -> Person:
        return self.play.people[OFFICER]

    @property
    def newcomer(self) -> Person:
        return self.play.people[NEWCOMER]

    def enrol(self, registrar: str, endpoint: str, device: str = "d1") -> Person:
        """Enrol one more device of a party; return whoever holds it."""
        office = self.play.people[registrar]
        code = office.ask_one("party", "invite", endpoint, "--device", device)["code"]
        person = self.play.enter(f"{endpoint}#{device}")
        waiting = person.begin("enrol", self.play.relay.url, "--code", code)
        office.run("party", "approve", f"{endpoint}#{device}", "--wait", "30")
        finish(waiting, f"enrolment of {endpoint}#{device}")
        return person

    def open_channel(self, name: str, *endpoints: str) -> str:
        """Open a channel by the attaché with these endpoints; return its name."""
        added = [word for e in endpoints for word in ("--add", e)]
        self.attache.run("channels", "create", name, "--agreement", AGREEMENT, *added)
        return name

    def close(self) -> None:
        self.play.end()
        self.play.transcript.close()


def start_actor(person: Person, channel: str, *options: str) -> subprocess.Popen[str]:
    """Start the partner system of `actor.py` on a person's home."""
    return subprocess.Popen(
        [sys.executable, str(ACTOR), channel, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=person.environment,
    )


def read_all(person: Person, channel: str) -> list[dict[str, Any]]:
    """Return the channel as a person has it after fetching what waits."""
    return person.ask("read", channel)


def json_lines(text: str) -> list[dict[str, Any]]:
    """Read the whole lines of a process's output; a line cut by a kill is left out."""
    lines = text.splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


@contextlib.contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End a process that a test started, whatever happens."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
