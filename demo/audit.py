"""Witnesses, and the scene in which auditors check. Each step tests what it shows."""

from __future__ import annotations

import json
import zipfile
from functools import partial
from pathlib import Path

from demo.play import AGREEMENT, NATIONS, Play
from demo.stage import Person, audit, require, run_alone, together


def witnesses(play: Play) -> None:
    """Each nation makes the key of its witness."""
    together(*(partial(w.command, "keygen", "--name", w.name) for w in play.witnesses.values()))


def name_witnesses(play: Play, draft: Path) -> None:
    """Write the witnesses into an agreement's draft, as a person does in an editor."""
    named = together(
        *(partial(w.command, "vkey", "--party", code) for code, w in play.witnesses.items())
    )
    text = draft.read_text()
    require("\nwitnesses: []\n" in text, "the draft has no place for witnesses")
    draft.write_text(text.replace("\nwitnesses: []\n", "\nwitnesses:\n" + "".join(named)))


def follow(play: Play, person: Person, agreement: Path) -> None:
    """Let the witnesses follow the log that the agreement names."""
    log = person.run("agreement", "log", str(agreement), "--vkey").strip()

    def begin(code: str) -> None:
        play.witnesses[code].command("add-log", log)
        play.witnesses[code].start()

    together(*(partial(begin, code) for code in NATIONS))


def bundles(play: Play) -> None:
    """Each nation gets its part of the log, and checks it without trusting the relay."""
    norway, germany = play.folder / "audit.zip", play.folder / "audit.deu.zip"
    policy = play.folder / "log-policy"
    together(
        partial(_export, play, "NOR", norway),
        partial(_export, play, "DEU", germany),
        partial(_policy, play, policy),
    )
    play.transcript.does("operator", f"exports what each nation may see of the log: {norway.name}")
    alone = play.folder / "verify.py"
    with zipfile.ZipFile(norway) as archive:
        alone.write_bytes(archive.read(alone.name))
    own = ("--policy", str(policy))
    found, said, _, _ = together(
        partial(audit, "--json", "verify", str(norway), *own),
        partial(run_alone, alone, str(norway)),
        partial(audit, "compare", str(norway), str(germany)),
        partial(audit, "report", str(norway), *own, "-o", str(play.folder / "report.html")),
    )
    checked = json.loads(found.splitlines()[-1])
    require(checked["own_policy"], f"the keys were not the agreement's: {checked}")
    require(len(checked["witnesses"]) == len(NATIONS), f"a witness is missing: {checked}")
    require(said.endswith("whole, and signed\n"), f"verify.py says: {said}")
    entries = checked["end"] - checked["first"]
    play.transcript.does(
        "auditor of Norway", "checks it against the agreement, with no relay at hand"
    )
    play.transcript.check(f"{entries} entries, signed by the relay and witnessed by both nations")
    play.transcript.check("verify.py, a single file on Python alone, finds the same")
    play.transcript.check("Norway and Germany were shown one history; report.html tells it")


def _export(play: Play, code: str, file: Path) -> None:
    words = ("--partnership", AGREEMENT, "--party", code, "-o", str(file))
    play.relay.command("audit", "export", *words)


def _policy(play: Play, file: Path) -> None:
    nor = play.people["registrar-nor"]
    file.write_text(nor.run("agreement", "log", str(play.folder / "agreement.json")))
