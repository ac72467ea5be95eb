"""The scenes in which people talk. Each tests what it shows."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any, Final

from demo import audit, rules
from demo.play import (
    AGREEMENT,
    ATTACHE,
    AWAIT,
    CHANNEL,
    FIRST_WORDS,
    NATIONS,
    NEWCOMER,
    OFFICER,
    OFFICES,
    Play,
)
from demo.stage import finish, require, together

_AGREEMENT: Final = "agreement.yaml"
_MIB: Final = 1 << 20


def curtain_up(play: Play) -> None:
    """Start the relay; those who do not need it yet make their keys and a draft meanwhile."""
    for office in OFFICES.values():
        play.enter(office)
    init = partial(play.relay.command, "init", "--origin", play.relay.url)
    together(init, *(partial(_keys, play, c) for c in OFFICES), partial(audit.witnesses, play))
    addresses = ", ".join(f'"{w.name}" = "{w.url}"' for w in play.witnesses.values())
    play.relay.tell("witnesses", f"{{ {addresses} }}")
    pid, _ = together(play.relay.start, partial(_draft, play))
    play.transcript.does(
        "operator", f"starts a relay at {play.relay.url} (process {pid}), with TLS of its own"
    )
    play.transcript.does(
        "each nation", "runs a witness of its own, which will watch the relay's log"
    )


def _keys(play: Play, code: str) -> None:
    file = str(play.party_file(code))
    play.people[OFFICES[code]].run("party", "init", code, "--name", NATIONS[code], "-o", file)


def parties(play: Play) -> None:
    """Two registrars set up their parties; the operator admits both."""
    together(*(partial(_admit, play, code) for code in OFFICES))
    for code, name in NATIONS.items():
        play.transcript.does(
            f"registrar of {name}",
            f"makes a root CA and an authority key; publishes {play.party_file(code).name}",
        )
    play.transcript.does("operator", "admits NOR and DEU by their public files")


def _admit(play: Play, code: str) -> None:
    play.relay.command("party", "add", str(play.party_file(code)))
    identity = str(play.relay.identity)
    play.people[OFFICES[code]].run("party", "connect", play.relay.url, "--identity", identity)


def agreement(play: Play) -> None:
    """Both authorities sign and the operator admits it; meanwhile the devices enrol."""
    posts = ((ATTACHE, "d1"), (ATTACHE, "d2"), (NEWCOMER, "d1"), (OFFICER, "d1"))
    for endpoint, device in posts:
        play.enter(device_name(endpoint, device))
        play.transcript.does(endpoint, f"device {device}: makes its keys, sends a sealed request")
    state, _ = together(partial(_agree, play), partial(_enrol, play, posts))
    require(state["complete"], f"the agreement is not signed by all: {state}")
    play.transcript.check("four devices hold certificates; no private key ever left its device")
    play.transcript.does("authority of Norway", f"drafts and signs {AGREEMENT} (agreement.yaml)")
    play.transcript.does("authority of Germany", "reads it and signs the same bytes")
    play.transcript.check(
        f"agreement {state['id']} version {state['version']} carries both signatures"
    )


def _draft(play: Play) -> None:
    words = ["agreement", "new", "--kind", "bilateral", "--id", AGREEMENT]
    words += [w for code in OFFICES for w in ("--party", str(play.party_file(code)))]
    words += ["--relay", str(play.relay.identity), "-o", str(play.folder / _AGREEMENT)]
    play.people[OFFICES["NOR"]].run(*words)
    audit.name_witnesses(play, play.folder / _AGREEMENT)


def _agree(play: Play) -> dict[str, Any]:
    nor, deu = (play.people[OFFICES[code]] for code in ("NOR", "DEU"))
    draft, first, both = (
        play.folder / n for n in (_AGREEMENT, "agreement.nor.json", "agreement.json")
    )
    nor.run("agreement", "sign", str(draft), "--party", "NOR", "-o", str(first))
    deu.run("agreement", "sign", str(first), "--party", "DEU", "-o", str(both))
    state, _ = together(
        partial(deu.ask_one, "agreement", "check", str(both)),
        partial(audit.follow, play, nor, both),
    )
    play.relay.command("agreement", "add", str(both))
    return state  # type: ignore[no-any-return]  # reason: what the first of them answered


def device_name(endpoint: str, device: str) -> str:
    """Name whoever holds a device; an endpoint's first goes by the endpoint's name."""
    return endpoint if device == "d1" else f"{endpoint}#{device}"


def _enrol(play: Play, posts: tuple[tuple[str, str], ...]) -> None:
    together(*(partial(_enrol_one, play, *post) for post in posts))


def _enrol_one(play: Play, endpoint: str, device: str) -> None:
    """The registrar's code, given by hand, vouches both ways."""
    registrar = play.people[OFFICES[endpoint[:3].upper()]]
    code = registrar.ask_one("party", "invite", endpoint, "--device", device)["code"]
    person = play.people[device_name(endpoint, device)]
    process = person.begin("enrol", play.relay.url, "--code", code)
    registrar.run("party", "approve", f"{endpoint}#{device}", "--wait", "50")
    done = finish(process, f"enrolment of {endpoint}")
    require(done[-1]["state"] == "enrolled", f"{endpoint} is not enrolled: {done}")


def first_words(play: Play) -> None:
    """A channel is opened and messages go both ways."""
    attache = play.people[ATTACHE]
    watch = play.watches(OFFICER)
    opened = attache.ask_one(
        "channels", "create", CHANNEL, "--agreement", AGREEMENT, "--add", ATTACHE, "--add", OFFICER
    )
    play.transcript.does(
        ATTACHE, f"opens the channel {CHANNEL} (epoch {opened['epoch']}), adds {OFFICER}"
    )
    sent, received = play.say_to_watcher(
        ATTACHE, OFFICER, FIRST_WORDS, "--to", OFFICER, watch=watch
    )
    require(received["text"] == FIRST_WORDS, "the officer reads other words than were sent")
    require(received["from"] == f"{ATTACHE}#d1", f"the sender reads as {received['from']}")
    play.transcript.does(OFFICER, f"reads it ({received['dtg']}) and answers: WILL COMPLY")
    thanks = "Received with thanks. Request your point of contact for the movement cell."
    together(
        partial(play.people[OFFICER].run, "ack", sent["id"], "will-comply"),
        partial(play.say, OFFICER, thanks),
    )
    on_first, on_second = together(
        partial(play.heard, ATTACHE), partial(play.heard, f"{ATTACHE}#d2")
    )
    require(
        [m["id"] for m in on_first] == [m["id"] for m in on_second],
        "the attaché's two devices do not show the same",
    )
    receipts = _message(on_first, sent["id"])["receipts"]
    require(any(r["answer"] == "will-comply" for r in receipts), f"no answer came: {receipts}")
    play.transcript.check("both devices of the attaché show the same two messages and the answer")


def attachment(play: Play) -> None:
    """Five MiB travel as a sealed attachment."""
    map_file = play.folder / "crossing-points.tif"
    map_file.write_bytes(os.urandom(5 * _MIB))
    words = "Map of the crossing points attached."
    sent, _ = play.say_to_watcher(ATTACHE, OFFICER, words, "--attach", str(map_file))
    target = play.folder / "received"
    target.mkdir()
    saved = play.people[OFFICER].ask_one("save", sent["id"], "--to", str(target))
    digest = hashlib.sha256(map_file.read_bytes()).hexdigest()
    require(saved["sha256"] == digest, "the saved file is not the one that was sent")
    require(
        hashlib.sha256(Path(saved["file"]).read_bytes()).hexdigest() == digest,
        "the file on disk is not the one that was sent",
    )
    play.transcript.does(OFFICER, f"saves {map_file.name}, {saved['size'] // _MIB} MiB")
    play.transcript.check(f"same SHA-256 on both sides: {digest[:16]}…")


def offline_and_flash(play: Play) -> None:
    """The reader is away; a FLASH overtakes the queue that waits."""
    play.transcript.does(OFFICER, "is off watch: no process of theirs runs")
    devices = (ATTACHE, f"{ATTACHE}#d2", ATTACHE)
    routine = [f"Routine traffic {n}: convoy log, serial {n}" for n in range(1, 4)]
    queued = list(zip(devices, routine, strict=True))
    ids = [sent["id"] for sent in together(*(partial(play.send, *one) for one in queued))]
    for who, words in queued:
        play.said.append(words)
        play.transcript.says(who, words)
    flash = play.say(
        ATTACHE, "FLASH: shots reported near crossing point 4, hold all movement", "--precedence",
        "FLASH",
    )  # fmt: skip
    watcher = play.people[OFFICER].begin("watch", CHANNEL, "--count", "4", "--for", "30")
    order = [m["id"] for m in finish(watcher, "the officer's watch")]
    require(set(order) == {*ids, flash["id"]}, "the officer did not get all that waited")
    require(order[0] == flash["id"], "the FLASH did not come first")
    play.transcript.does(OFFICER, "comes on watch")
    play.transcript.check("all four arrive, and the FLASH, sent last, is read first")


def joins(play: Play) -> None:
    """A third officer joins and can't read what came before."""
    play.people[ATTACHE].run("channels", "add", CHANNEL, NEWCOMER)
    play.transcript.does(ATTACHE, f"adds {NEWCOMER} to the channel")
    words = "Welcome to the watch. All movement resumes at 1400Z."
    play.joined = len(play.said)
    seen, sent = together(
        partial(play.heard, NEWCOMER, *AWAIT, "1"), partial(play.say, OFFICER, words)
    )
    require([m["id"] for m in seen] == [sent["id"]], f"the newcomer sees {len(seen)} messages")
    require(seen[0]["text"] == words, "the newcomer reads other words")
    play.transcript.check(f"{NEWCOMER} reads this message, and none of the seven before it")


def power_cut(play: Play) -> None:
    """The relay is killed while messages flow; nothing acknowledged is missing."""
    words = [f"Situation report {n}: nothing significant to report" for n in range(1, 4)]
    accepted = [play.say(OFFICER, words[0])["id"]]
    play.relay.kill()
    play.transcript.does("operator", "loses power: kill -9, no farewell")
    together(
        partial(play.people[OFFICER].run, "send", CHANNEL, words[1], expect=1),
        partial(rules.prepare, play),
    )
    play.said.append(words[1])
    play.transcript.does(OFFICER, "writes on; the message stays queued on their device")
    pid = play.relay.start()
    play.transcript.does("operator", f"starts the relay again (process {pid})")
    # With the one that greeted the third officer they have four to read.
    heard, last = together(
        partial(play.heard, ATTACHE, *AWAIT, "4"), partial(play.say, OFFICER, words[2])
    )
    accepted.append(last["id"])
    seen = {m["id"]: m["text"] for m in heard}
    require(all(i in seen for i in accepted), "an acknowledged message is missing")
    texts = [t for t in seen.values() if t in words]
    require(sorted(texts) == sorted(words), f"reports arrived as {texts}")
    play.transcript.check("all three reports are there, each once, the queued one too")


def leaves(play: Play) -> None:
    """The third officer is removed and can't read what comes after."""
    play.people[OFFICER].run("channels", "remove", CHANNEL, NEWCOMER)
    play.transcript.does(OFFICER, f"removes {NEWCOMER} from the channel")
    words = "For the two of us only: the next meeting is at the embassy."
    play.say_to_watcher(ATTACHE, OFFICER, words)
    # From the welcome on: what was said while they were a member.
    heard = sorted(m["text"] for m in play.heard(NEWCOMER))
    require(heard == sorted(play.said[play.joined : -1]), f"the removed officer read {heard}")
    play.transcript.check(f"{NEWCOMER} reads nothing that was said since")


def search_the_relay(play: Play) -> None:
    """Look for every sentence in every file the relay wrote."""
    play.relay.stop()
    files = [f for f in play.relay.data.rglob("*") if f.is_file()] + [play.folder / "relay.log"]
    contents = [(f, f.read_bytes()) for f in files]
    needles = [words.encode() for words in play.said]
    found = [f.name for f, data in contents for needle in needles if needle in data]
    require(not found, f"plaintext stands in {sorted(set(found))}")
    size = sum(len(data) for _, data in contents)
    play.transcript.does("auditor", f"searches {len(files)} files of the relay, {size:,} bytes")
    play.transcript.check(f"none of the {len(needles)} sentences that were sent is in any of them")


def _message(messages: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    found = [m for m in messages if m["id"] == wanted]
    require(len(found) == 1, f"message {wanted} is there {len(found)} times")
    return found[0]
