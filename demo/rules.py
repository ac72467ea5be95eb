"""The scenes in which the agreement decides. Each tests what it shows."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from demo.play import AGREEMENT, ATTACHE, AWAIT, CHANNEL, NEWCOMER, OFFICER, OFFICES, Play
from demo.stage import finish, require, together

DRAFTS: Final = "nor-drafts"
_NEXT: Final = "agreement-2.yaml"
NOTICE: Final = "NOTICE: Norway closes crossing point 4 from 0600Z tomorrow."
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
    nor, deu = (play.people[OFFICES[code]] for code in ("NOR", "DEU"))
    nor.run("agreement", "propose", str(play.folder / _NEXT))
    play.transcript.does("authority of Norway", "proposes version 2: labels, two-person release")
    watch = play.watches(OFFICER)
    signed = deu.ask("agreement", "sign", "--proposal", AGREEMENT, "--yes")[-1]
    require(signed["active"], f"version 2 is not in force: {signed}")
    play.transcript.does("authority of Germany", "sees what would change, and signs")
    _, seen = play.say_to_watcher(ATTACHE, OFFICER, "From now on under version 2.", watch=watch)
    require(seen["label"].endswith("TLP:GREEN"), f"the message is marked {seen['label']}")
    play.transcript.check("the next message brings version 2 into the channel, marked TLP:GREEN")


def prepare(play: Play) -> None:
    """Write the next version: needs no relay, so it can be done while there is none."""
    file = play.folder / _NEXT
    nor = play.people[OFFICES["NOR"]]
    nor.run("agreement", "amend", str(play.folder / "agreement.json"), "-o", str(file))
    _edit(file)


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
    words = "The names of our sources are ..."
    create = ["channels", "create", DRAFTS, "--agreement", AGREEMENT, "--policy", "drafts"]
    red, alone, _ = together(
        partial(play.people[OFFICER].refused, "send", CHANNEL, words, "--label", "TLP:RED"),
        partial(play.people[NEWCOMER].refused, "send", CHANNEL, NOTICE, "--kind", "notice"),
        partial(play.people[ATTACHE].run, *create, "--add", NEWCOMER),
    )
    require("TLP:AMBER" in red, f"the refusal does not say why: {red}")
    play.transcript.does(OFFICER, "tries to send something marked TLP:RED")
    play.transcript.does("their program", f"refuses: {red}")
    require("not signed yet" in alone, f"the refusal does not say why: {alone}")
    play.transcript.does(NEWCOMER, "tries to send a notice alone")
    play.transcript.does("their program", f"refuses: {alone}")


def release(play: Play) -> None:
    """A notice leaves only when a second person has released it."""
    drafter, releaser = play.people[NEWCOMER], play.people[ATTACHE]
    draft, (shown,) = together(
        partial(drafter.ask_one, "draft", CHANNEL, NOTICE, "--via", DRAFTS, "--kind", "notice"),
        partial(releaser.ask, "read", DRAFTS, *AWAIT, "1"),
    )
    play.transcript.does(NEWCOMER, f"drafts it in the channel {DRAFTS}, which is Norway's own")
    require(shown["id"] == draft["message"], f"the releaser sees another draft: {shown}")
    watch = play.watches(OFFICER)
    releaser.run("release", draft["message"])
    play.said.append(NOTICE)
    play.transcript.does(ATTACHE, "reads the draft, signs as releaser, and it goes out")
    (seen,) = finish(watch, f"the watch of {OFFICER}")
    require(seen["text"] == NOTICE, f"the officer reads {seen}")
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
