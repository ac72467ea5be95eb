"""The scenes in which the agreement decides. Each tests what it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from demo.play import AGREEMENT, ATTACHE, CHANNEL, NEWCOMER, OFFICER, OFFICES, Play
from demo.stage import require

DRAFTS: Final = "nor-drafts"
_LABELS: Final = {"policy": "tlp-2.0", "ceiling": "TLP:AMBER", "default": "TLP:GREEN"}
_RELEASE: Final = {
    "kinds": ["notice"],
    "lowest": "DEFERRED",
    "review": [],
    "release": ["nor/defatt-*", "deu/lno-*"],
    "persons": 2,
}


def amendment(play: Play) -> None:
    """Both nations agree on more: labels, and notices that two persons release."""
    file = play.folder / "agreement-2.yaml"
    nor, deu = (play.people[OFFICES[code]] for code in ("NOR", "DEU"))
    nor.run("agreement", "amend", str(play.folder / "agreement.json"), "-o", str(file))
    _edit(file)
    nor.run("agreement", "propose", str(file))
    play.transcript.does("authority of Norway", "proposes version 2: labels, two-person release")
    signed = deu.ask("agreement", "sign", "--proposal", AGREEMENT, "--yes")[-1]
    require(signed["active"], f"version 2 is not in force: {signed}")
    play.transcript.does("authority of Germany", "sees what would change, and signs")
    play.say(ATTACHE, "From now on under version 2.")
    seen = play.heard(OFFICER)[-1]
    require(seen["label"].endswith("TLP:GREEN"), f"the message is marked {seen['label']}")
    play.transcript.check("the next message brings version 2 into the channel, marked TLP:GREEN")


def _edit(file: Path) -> None:
    """Do what a person does in an editor."""
    text: dict[str, Any] = yaml.safe_load(file.read_text())
    text["labels"] = _LABELS
    text["clearances"][0]["highest"] = _LABELS["ceiling"]
    (liaison,) = text["channels"]
    norway = {name: ["NOR"] for name in ("create", "add", "remove", "read", "acknowledge")}
    rule = {**liaison["send"][0], "who": ["NOR"], "to": ["NOR"], "copy": ["NOR"]}
    drafts = {**liaison, **norway, "name": "drafts", "send": [rule]}
    text["channels"] = [{**liaison, "release": _RELEASE}, drafts]
    # Through JSON, so that no list is shared: aliases are no part of an agreement's YAML.
    plain = json.loads(json.dumps(text))
    file.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def refusal(play: Play) -> None:
    """What the agreement forbids is refused, in words."""
    words = play.people[OFFICER].refused(
        "send", CHANNEL, "The names of our sources are ...", "--label", "TLP:RED"
    )
    require("TLP:AMBER" in words, f"the refusal does not say why: {words}")
    play.transcript.does(OFFICER, "tries to send something marked TLP:RED")
    play.transcript.does("their program", f"refuses: {words}")


def release(play: Play) -> None:
    """A notice leaves only when a second person has released it."""
    drafter, releaser = play.people[NEWCOMER], play.people[ATTACHE]
    notice = "NOTICE: Norway closes crossing point 4 from 0600Z tomorrow."
    words = drafter.refused("send", CHANNEL, notice, "--kind", "notice")
    play.transcript.does(NEWCOMER, "tries to send a notice alone")
    play.transcript.does("their program", f"refuses: {words}")
    releaser.run(
        "channels",
        "create",
        DRAFTS,
        "--agreement",
        AGREEMENT,
        "--policy",
        "drafts",
        "--add",
        NEWCOMER,
    )
    draft = drafter.ask_one("draft", CHANNEL, notice, "--via", DRAFTS, "--kind", "notice")
    play.transcript.does(NEWCOMER, f"drafts it in the channel {DRAFTS}, which is Norway's own")
    (shown,) = releaser.ask("read", DRAFTS)
    require(shown["id"] == draft["message"], f"the releaser sees another draft: {shown}")
    releaser.run("release", draft["message"])
    play.said.append(notice)
    play.transcript.does(ATTACHE, "reads the draft, signs as releaser, and it goes out")
    seen = play.heard(OFFICER)[-1]
    require(seen["text"] == notice, f"the officer reads {seen}")
    play.transcript.check(f"{OFFICER} reads it, with the signatures of both Norwegians verified")


def suspension(play: Play) -> None:
    """A party suspends itself, and from that moment nothing is said."""
    germany = play.people[OFFICES["DEU"]]
    germany.run("agreement", "suspend", AGREEMENT, "--reason", "Elections; the desk is closed.")
    play.transcript.does("authority of Germany", "suspends its participation")
    words = play.people[ATTACHE].refused("send", CHANNEL, "Are you still there?")
    require("DEU" in words or "Germany" in words, f"the refusal does not say why: {words}")
    play.transcript.does(ATTACHE, "writes on, and is refused:")
    play.transcript.does("their program", words)
