"""Who is on stage, what they hold, and what was said so far."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from demo.stage import Person, Relay, Witness, finish, require

if TYPE_CHECKING:
    from demo.transcript import Transcript

CHANNEL: Final = "berlin-watch"
AGREEMENT: Final = "nor-deu-2026"
NATIONS: Final = {"NOR": "Norway", "DEU": "Germany"}
OFFICES: Final = {code: f"registrar-{code.lower()}" for code in NATIONS}
ATTACHE, OFFICER, NEWCOMER = "nor/defatt-berlin", "deu/lno-j3", "nor/milrep-brussels"
AWAIT: Final = ("--wait", "30", "--count")
"""Let `read` wait until so many messages are unread: follow it by their number."""
FIRST_WORDS: Final = os.environ.get("DEMO_TEXT") or (
    "Good morning. Exercise NORDIC BRIDGE begins 0600Z tomorrow; our liaison team is in place."
)


@dataclass
class Play:
    """Everybody on stage, and what has been said so far."""

    folder: Path
    transcript: Transcript
    relay: Relay = field(init=False)
    people: dict[str, Person] = field(default_factory=dict)
    witnesses: dict[str, Witness] = field(init=False)
    said: list[str] = field(default_factory=list)
    joined: int = 0
    """How much had been said when the third officer joined."""

    def __post_init__(self) -> None:
        self.relay = Relay(self.folder / "relay")
        self.witnesses = {
            code: Witness(
                self.folder / f"witness-{code.lower()}", f"witness.{code.lower()}.example"
            )
            for code in NATIONS
        }

    def end(self) -> None:
        """Stop whatever still runs."""
        for witness in self.witnesses.values():
            witness.stop()
        self.relay.stop()

    def enter(self, name: str) -> Person:
        """Bring a person (or one device of a person) on stage."""
        self.people[name] = Person(self.folder / "people", name, self.relay)
        return self.people[name]

    def party_file(self, code: str) -> Path:
        """Return where a party publishes what everybody may know of it."""
        return self.folder / f"{code.lower()}.party.json"

    def say(self, who: str, words: str, *options: str) -> dict[str, Any]:
        """Send words to the channel, and tell the audience."""
        sent = self.send(who, words, *options)
        self.said.append(words)
        self.transcript.says(who, words)
        return sent

    def send(self, who: str, words: str, *options: str) -> dict[str, Any]:
        """Send words to the channel; the answer names what the relay stored."""
        sent = self.people[who].ask_one("send", CHANNEL, words, *options)
        require(sent["state"] == "accepted", f"the message of {who} was not accepted: {sent}")
        return sent

    def watches(self, who: str) -> subprocess.Popen[str]:
        """Let somebody watch all their channels for one message; `say_to_watcher` collects it."""
        return self.people[who].begin("watch", "--count", "1", "--for", "45")

    def say_to_watcher(
        self,
        who: str,
        watcher: str,
        words: str,
        *options: str,
        watch: subprocess.Popen[str] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Send words while somebody watches; return what was stored and what they saw.

        Args:
            who: says it.
            watcher: has to see it.
            words: what is said.
            options: of `liaison send`.
            watch: where it has begun already.
        """
        watch = watch or self.watches(watcher)
        sent = self.say(who, words, *options)
        (seen,) = finish(watch, f"the watch of {watcher}")
        require(seen["id"] == sent["id"], f"{watcher} saw another message: {seen}")
        return sent, seen

    def heard(self, who: str, *options: str) -> list[dict[str, Any]]:
        """Return the channel's messages as one reader has them."""
        return self.people[who].ask("read", CHANNEL, *options)
