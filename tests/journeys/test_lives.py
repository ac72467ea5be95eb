"""What becomes of an agreement, decided at the parties' desks and felt in the channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.theatre import Theatre, read_all

# One relay for all journeys, so all of them on one worker.
pytestmark = pytest.mark.xdist_group("journeys")

LIFE = "nor-deu-life"
OFFICER = "deu/lno-j3"


@pytest.fixture(scope="module")
def first(theatre: Theatre) -> Path:
    """A second agreement between the two nations, so that the other journeys keep theirs."""
    play = theatre.play
    nor, deu = play.people["registrar-nor"], play.people["registrar-deu"]
    draft = play.folder / "life.yaml"
    parties = [w for code in ("NOR", "DEU") for w in ("--party", str(play.party_file(code)))]
    identity = str(play.relay.identity)
    nor.run(
        "agreement", "new", "--kind", "bilateral", "--id", LIFE, *parties,
        "--relay", identity, "-o", str(draft),
    )  # fmt: skip
    nor.run("agreement", "propose", str(draft))
    deu.run("agreement", "sign", "--proposal", LIFE, "--yes")
    play.relay.command("agreement", "admit", LIFE)
    return draft


def _open(theatre: Theatre, name: str) -> str:
    person = theatre.attache
    person.run("channels", "create", name, "--agreement", LIFE, "--add", OFFICER)
    person.run("send", name, "hello")
    assert [m["text"] for m in read_all(theatre.officer, name)] == ["hello"]
    return name


def test_an_amendment_signed_at_both_desks_is_in_the_channel_with_the_next_word(
    theatre: Theatre, first: Path
) -> None:
    channel = _open(theatre, "amended")
    nor, deu = (theatre.play.people[f"registrar-{code}"] for code in ("nor", "deu"))
    following = first.with_name("life-2.yaml")
    nor.run("agreement", "amend", LIFE, "-o", str(following))
    following.write_text(following.read_text().replace("max_members: 200", "max_members: 100"))
    nor.run("agreement", "propose", str(following))
    signed = deu.ask("agreement", "sign", "--proposal", LIFE, "--yes")[-1]
    assert signed["active"]

    theatre.officer.run("send", channel, "under the second version")

    texts = [m["text"] for m in read_all(theatre.attache, channel)]
    assert texts == ["hello", "under the second version"]
    history = theatre.attache.ask("agreement", "history", LIFE)
    assert [entry["version"] for entry in history if entry["version"]] == [1, 2]


def test_a_nation_that_suspends_says_nothing_reads_what_was_before_and_comes_back(
    theatre: Theatre, first: Path
) -> None:
    channel = _open(theatre, "suspended")
    theatre.attache.run("send", channel, "before")
    germany = theatre.play.people["registrar-deu"]
    germany.run("agreement", "suspend", LIFE, "--reason", "elections")

    refusal = theatre.attache.refused("send", channel, "are you there?")
    theatre.officer.refused("send", channel, "nobody hears me")
    assert "DEU has suspended its participation" in refusal
    assert [m["text"] for m in read_all(theatre.officer, channel)] == ["hello", "before"]

    germany.run("agreement", "resume", LIFE)
    theatre.attache.run("channels", "add", channel, OFFICER)
    theatre.attache.run("send", channel, "welcome back")
    assert [m["text"] for m in read_all(theatre.officer, channel)][-1] == "welcome back"
    told = [entry["text"] for entry in theatre.attache.ask("agreement", "history", LIFE)]
    assert "DEU has suspended its participation" in told
    assert "DEU takes part again" in told
