"""What people do with Liaison, each actor a process of its own, through the public commands."""

from __future__ import annotations

import shutil
import signal

import pytest

from demo.play import ATTACHE, OFFICER
from demo.stage import Person
from tests.support.theatre import Theatre, json_lines, read_all, running, start_actor

# One relay for all journeys, so all of them on one worker.
pytestmark = pytest.mark.xdist_group("journeys")


def texts(person: Person, channel: str) -> list[str]:
    return [m["text"] for m in read_all(person, channel)]


def states(person: Person, channel: str) -> set[str]:
    return {m["state"] for m in read_all(person, channel)}


def test_a_reader_who_was_away_finds_everything_after_the_relay_restarted(
    theatre: Theatre,
) -> None:
    channel = theatre.open_channel("away", OFFICER)
    theatre.attache.run("send", channel, "before the restart")
    theatre.play.relay.stop()
    theatre.play.relay.start()
    theatre.attache.run("send", channel, "after the restart")

    assert texts(theatre.officer, channel) == ["before the restart", "after the restart"]


def test_both_devices_of_an_endpoint_read_and_write_one_channel(theatre: Theatre) -> None:
    channel = theatre.open_channel("two-devices", ATTACHE, OFFICER)

    theatre.attache.run("send", channel, "from the first device")
    theatre.attache_d2.run("send", channel, "from the second device")

    expected = {"from the first device", "from the second device"}
    for person in (theatre.attache, theatre.attache_d2, theatre.officer):
        messages = read_all(person, channel)
        assert {m["text"] for m in messages} == expected
        assert {m["from"] for m in messages} == {f"{ATTACHE}#d1", f"{ATTACHE}#d2"}


def test_a_member_added_by_the_other_nation_reads_from_then_on(theatre: Theatre) -> None:
    channel = theatre.open_channel("joining", OFFICER)
    theatre.attache.run("send", channel, "not for the newcomer")
    theatre.officer.run("channels", "add", channel, "nor/milrep-brussels")
    theatre.attache.run("send", channel, "for all three")

    assert texts(theatre.newcomer, channel) == ["for all three"]
    assert texts(theatre.officer, channel) == ["not for the newcomer", "for all three"]


def test_a_removed_member_reads_nothing_more_and_cannot_write(theatre: Theatre) -> None:
    channel = theatre.open_channel("removal", OFFICER, "nor/milrep-brussels")
    theatre.attache.run("send", channel, "all three read this")
    assert texts(theatre.newcomer, channel) == ["all three read this"]
    theatre.officer.run("channels", "remove", channel, "nor/milrep-brussels")
    theatre.attache.run("send", channel, "two read this")

    assert texts(theatre.newcomer, channel) == ["all three read this"]
    theatre.newcomer.run("send", channel, "am I still here?", expect=1)
    assert "am I still here?" not in texts(theatre.officer, channel)


def test_one_who_leaves_is_removed_by_whoever_writes_next(theatre: Theatre) -> None:
    channel = theatre.open_channel("leaving", OFFICER, "nor/milrep-brussels")
    theatre.newcomer.run("channels", "sync")
    theatre.newcomer.run("channels", "leave", channel)
    theatre.attache.run("send", channel, "after the farewell")

    members = {m["endpoint"] for m in theatre.officer.ask("channels", "members", channel)}
    assert texts(theatre.officer, channel) == ["after the farewell"]
    assert members == {ATTACHE, OFFICER}
    assert "after the farewell" not in texts(theatre.newcomer, channel)


def test_a_revoked_device_is_out_of_every_channel_before_the_next_word(theatre: Theatre) -> None:
    lost = theatre.enrol("registrar-nor", "nor/patrol-boat")
    channel = theatre.open_channel("revocation", OFFICER, "nor/patrol-boat")
    theatre.attache.run("send", channel, "the boat reads this")
    assert texts(lost, channel) == ["the boat reads this"]
    theatre.play.people["registrar-nor"].run(
        "party", "revoke", "nor/patrol-boat#d1", "--reason", "key_compromise"
    )

    lost.run("send", channel, "from whoever holds the boat's device", expect=1)
    theatre.officer.run("send", channel, "the boat is lost")

    members = {m["device"] for m in theatre.officer.ask("channels", "members", channel)}
    assert "nor/patrol-boat#d1" not in members
    assert texts(theatre.attache, channel) == ["the boat reads this", "the boat is lost"]
    lost.run("read", channel, "--no-sync")
    assert "the boat is lost" not in lost.run("read", channel, "--no-sync")


def test_a_watch_runs_while_others_send_on_the_same_store(theatre: Theatre) -> None:
    channel = theatre.open_channel("shared-store", OFFICER)
    person = theatre.attache
    with (
        running(person.begin("watch", channel)) as watch,
        running(start_actor(person, channel, "--prefix", "alpha", "--count", "12")) as alpha,
        running(start_actor(person, channel, "--prefix", "bravo", "--count", "12")) as bravo,
    ):
        theatre.officer.run("send", channel, "a word in between")
        for actor in (alpha, bravo):
            _, err = actor.communicate(timeout=60)
            assert actor.returncode == 0, err
        person.run("read", channel)
        watch.send_signal(signal.SIGTERM)
        watch.communicate(timeout=30)

    expected = {f"{p} {n}" for p in ("alpha", "bravo") for n in range(1, 13)}
    received = texts(theatre.officer, channel)
    assert set(received) == expected | {"a word in between"}
    assert len(received) == 25
    assert states(theatre.officer, channel) <= {"received", "accepted"}


def test_a_store_restored_from_a_backup_is_recognised_and_rejoins(theatre: Theatre) -> None:
    channel = theatre.open_channel("restored", OFFICER)
    home = theatre.attache.home
    backup = home.with_name(home.name + ".backup")
    theatre.attache.run("send", channel, "before the backup")
    shutil.copytree(home, backup)
    theatre.attache.run("send", channel, "lost with the disk 1")
    theatre.attache.run("send", channel, "lost with the disk 2")
    theatre.officer.run("send", channel, "an answer")
    shutil.rmtree(home)
    backup.rename(home)

    theatre.attache.run("send", channel, "after the restore")
    theatre.officer.run("send", channel, "welcome back")

    assert texts(theatre.officer, channel) == [
        "before the backup",
        "lost with the disk 1",
        "lost with the disk 2",
        "an answer",
        "after the restore",
        "welcome back",
    ]
    # What this device sent since the backup is not in it, and can't come back: it never
    # could read its own ciphertext. What others sent can, and does.
    assert texts(theatre.attache, channel) == [
        "before the backup",
        "an answer",
        "after the restore",
        "welcome back",
    ]
    members = [m["device"] for m in theatre.officer.ask("channels", "members", channel)]
    assert sorted(members) == [f"{OFFICER}#d1", f"{ATTACHE}#d1"]


def test_a_store_older_than_a_commit_that_it_had_read_is_recognised_too(theatre: Theatre) -> None:
    channel = theatre.open_channel("restored-reader", OFFICER)
    home = theatre.officer.home
    backup = home.with_name(home.name + ".backup")
    assert texts(theatre.officer, channel) == []
    shutil.copytree(home, backup)
    theatre.attache.run("channels", "add", channel, "nor/milrep-brussels")
    theatre.attache.run("send", channel, "read before the disk broke")
    assert texts(theatre.officer, channel) == ["read before the disk broke"]
    shutil.rmtree(home)
    backup.rename(home)

    theatre.officer.run("send", channel, "from the restored store")
    theatre.attache.run("send", channel, "and an answer")

    expected = ["from the restored store", "and an answer"]
    assert texts(theatre.attache, channel) == ["read before the disk broke", *expected]
    assert texts(theatre.officer, channel) == expected


def test_a_clock_two_minutes_off_is_borne(theatre: Theatre) -> None:
    channel = theatre.open_channel("skew", OFFICER)
    for skew in ("120", "-120"):
        actor = start_actor(
            theatre.attache, channel, "--prefix", f"skew {skew}", "--count", "1", "--skew", skew
        )
        out, err = actor.communicate(timeout=60)
        assert actor.returncode == 0, err
        assert json_lines(out)

    assert texts(theatre.officer, channel) == ["skew 120 1", "skew -120 1"]


def test_a_clock_a_day_off_is_told_so_and_nothing_is_sent(theatre: Theatre) -> None:
    channel = theatre.open_channel("far-skew", OFFICER)
    actor = start_actor(
        theatre.attache, channel, "--prefix", "tomorrow", "--count", "1", "--skew", "86400"
    )

    _, err = actor.communicate(timeout=60)

    assert actor.returncode != 0
    assert "Error" in err
    assert texts(theatre.officer, channel) == []
