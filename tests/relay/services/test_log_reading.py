from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pytest

from liaison.crypto.signing import SigningKey
from liaison.model import ChannelId, Precedence
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.lifecycle import Event
from liaison.relay.recording import origin_of
from liaison.relay.services import log_reading
from liaison.relay.services.book import Book
from liaison.relay.services.callers import Caller
from liaison.relay.services.errors import UnknownAgreementError, UnknownLogError, UnknownTileError
from liaison.relay.services.log_reading import LogReading
from liaison.storage import logs, logs_reading
from liaison.storage.logs import Signed
from liaison.tlog import merkle, tiles
from liaison.tlog.channels import ChannelView
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.disclosure import Disclosure
from liaison.tlog.entries import Entry, pseudonym
from liaison.tlog.errors import TileError
from liaison.tlog.fields import EntryType
from liaison.tlog.note import Note
from liaison.tlog.sequencer import State
from liaison.tlog.tiles import Tile, TileTree
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.wire.log import FollowedChannel, LogAnswer, LogQuery
from tests.relay.services import logbook
from tests.relay.services.forum import CODES, DAY, ID, Forum
from tests.relay.services.harness import Actor, Relay
from tests.support.world import ED25519, HOUR

ORIGIN = origin_of("relay.example", ID)


@dataclass
class Memory:
    """Tiles of a log in memory."""

    known: dict[Tile, bytes] = field(default_factory=dict)

    def read(self, tile: Tile) -> bytes:
        found = self.known.get(tile)
        if found is None:
            raise TileError
        return found

    def tree(self, size: int) -> TileTree:
        return TileTree(size, self.known.__getitem__)


@dataclass
class Published:
    """The logs of a relay, published by hand."""

    relay: Relay
    key: SigningKey = field(default_factory=lambda: SigningKey.generate(ED25519))
    files: dict[str, Memory] = field(default_factory=dict)

    @property
    def reading(self) -> LogReading:
        relay = self.relay
        return LogReading(relay.database, Book(), relay.clock, self.files.__getitem__)

    async def publish(self, agreement: str | None = ID) -> Checkpoint:
        """Publish and cosign everything that is in a log."""
        async with self.relay.database.write() as tx:
            row = await logs.find(tx, agreement)
            assert row is not None
            entries = await logs_reading.data(tx, row.key, 0, row.size)
            checkpoint = State.decode(row.state).checkpoint(row.origin)
            vkey = VerifierKey.of(row.origin, SignatureType.ED25519, self.key)
            note = Note(checkpoint.text).signed_by(vkey, self.key).encode()
            signed = Signed(row.key, row.size, note)
            await logs.sign(tx, [signed], [signed], now_ms=self.relay.clock.ms)
        memory = self.files.setdefault(row.origin, Memory())
        memory.known |= dict(tiles.grow(0, entries, memory.known.__getitem__))
        return checkpoint

    async def ask(self, caller: Caller, **asked: Any) -> LogAnswer:
        """Ask, and check all that is in the answer as a client does."""
        query = LogQuery(**asked)
        # What goes over the wire and comes back is the same.
        answer = await self.reading.query(caller, ID, LogQuery(**query.model_dump()))
        answer = LogAnswer.model_validate_json(answer.model_dump_json())
        if answer.checkpoint is not None:
            head = Checkpoint.parse(Note.decode(answer.checkpoint.encode()).text)
            for one in answer.entries:
                leaf = merkle.hash_leaf(one.data)
                merkle.verify_inclusion(leaf, one.index, head.size, one.proof, head.root)
                opened(one)
        return answer


def opened(one: Any) -> dict[str, Any] | None:
    """What an entry of an answer says; None where it does not show it."""
    entry = Entry.decode(one.data)
    if one.disclosure is None:
        return None
    return entry.open(Disclosure.from_json(one.disclosure))


def types(answer: LogAnswer) -> list[EntryType]:
    return [Entry.decode(one.data).type for one in answer.entries]


@pytest.fixture
def published(relay: Relay) -> Published:
    return Published(relay)


async def test_before_anything_is_cosigned_there_is_nothing_to_read(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    channel = FollowedChannel(channel=str(members[0].channel), after=0)
    answer = await published.ask(members[0].caller, channels=[channel], keys_after=0)

    assert answer == LogAnswer()


async def test_a_member_follows_its_channel_from_the_first_item_on(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    nor, _, _ = members
    sent = [await nor.send() for _ in range(6)]
    await published.publish()
    view = ChannelView(pseudonym(ORIGIN, nor.channel))
    after, seen = 0, []
    while True:
        channel = FollowedChannel(channel=str(nor.channel), after=after)
        answer = await published.ask(nor.caller, channels=[channel], limit=3)
        for one in answer.entries:
            view = view.follow(Entry.decode(one.data))
            seen.append((opened(one) or {})["digest"])
        after = view.next_seq - 1
        if not answer.more:
            break

    assert view.next_seq == sent[-1].seq + 1
    assert len(seen) == sent[-1].seq
    again = await published.ask(
        nor.caller, channels=[FollowedChannel(channel=str(nor.channel), after=after)]
    )
    assert (again.entries, again.more) == ([], False)


async def test_a_large_answer_comes_in_parts_that_leave_nothing_out(
    members: tuple[Actor, Actor, Actor], published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    nor, _, _ = members
    last = [await nor.send() for _ in range(5)][-1].seq
    await published.publish()
    monkeypatch.setattr(log_reading, "MAX_ANSWER_BYTES", 1500)
    after, keys, parts, seen = 0, 0, 0, []
    for _ in range(100):
        channel = FollowedChannel(channel=str(nor.channel), after=after)
        answer = await published.ask(nor.caller, channels=[channel], keys_after=keys)
        seen += [one.index for one in answer.entries]
        parts += 1
        entries = [Entry.decode(one.data) for one in answer.entries]
        after = max([after, *(one.seq for one in entries if one.seq is not None)])
        others = [one.index for one in answer.entries if Entry.decode(one.data).seq is None]
        keys = max([keys, *(index + 1 for index in others)])
        if not answer.more:
            break

    whole = await logbook.read(published.relay, ID)
    wanted = [
        one.index
        for one in whole
        if one.entry.seq is not None or one.type in (EntryType.KEY, EntryType.POLICY)
    ]
    assert after == last
    assert parts > 1
    assert sorted(seen) == wanted


async def test_a_member_is_shown_its_stay_and_the_commit_that_began_it_and_no_more(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    nor, _, _ = members
    late = await published.relay.enrol("deu/desk#d2")
    await nor.send()
    joined = await nor.add(late)
    await nor.send()
    left = await nor.remove(late)
    await nor.send()
    await published.publish()
    channel = FollowedChannel(channel=str(nor.channel), after=0)
    answer = await published.ask(late.caller, channels=[channel])

    seqs = [Entry.decode(one.data).seq for one in answer.entries]
    assert seqs == list(range(joined.seq, left.seq + 1))
    assert all(opened(one) is not None for one in answer.entries)


async def test_who_is_no_member_is_shown_nothing_of_a_channel(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    other = await published.relay.enrol("deu/other#d1")
    office = await published.relay.registrar("DEU")
    await published.publish()
    asked = [
        FollowedChannel(channel=str(members[0].channel), after=0),
        FollowedChannel(channel=str(ChannelId(bytes(16))), after=0),
    ]

    for caller in (other.caller, office):
        answer = await published.ask(caller, channels=asked)
        assert answer.checkpoint is not None
        assert (answer.entries, answer.more) == ([], False)


async def test_credentials_are_found_by_their_digest_or_said_to_be_missing(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    nor, deu, _ = members
    before = await published.publish()
    late = await published.relay.enrol("deu/desk#d2")
    digests = [hashlib.sha256(one.device.chains[ED25519][0]).digest() for one in (deu, late)]
    answer = await published.ask(nor.caller, credentials=[*digests, bytes(32)])
    await published.publish()
    later = await published.ask(nor.caller, credentials=digests, size=before.size)

    (entry,) = answer.entries
    said = opened(entry) or {}
    assert (said["subject"], said["act"]) == ("deu/desk#d1", "certificate")
    assert answer.missing == [digests[1], bytes(32)]
    assert (len(later.entries), later.missing) == (2, [])
    head = Checkpoint.parse(Note.decode((later.checkpoint or "").encode()).text)
    merkle.verify_consistency(before.size, head.size, later.consistency, before.root, head.root)


async def test_a_party_reads_all_about_its_keys_and_no_other_partys_secrets(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    await published.publish()
    office = await published.relay.registrar("DEU")
    found: list[Any] = []
    first = 0
    while True:
        answer = await published.ask(office, keys_after=first, limit=4)
        found += answer.entries
        if not answer.more:
            break
        first = answer.entries[-1].index + 1

    said = [opened(one) for one in found]
    assert None not in said
    assert {Entry.decode(one.data).type for one in found} == {EntryType.KEY, EntryType.POLICY}
    acts = {(one["party"], one.get("act")) for one in said if one is not None}
    assert ("DEU", "signature") in acts
    assert ("DEU", "certificate") in acts
    assert ("NOR", "certificate") in acts
    assert ("NOR", "signature") not in acts
    # But that there is one, so that no entry of the own party can be kept back.
    (closed,) = (one for one in said if one == {"party": "NOR"})
    assert closed
    whole = await logbook.read(published.relay, ID)
    wanted = [one.index for one in whole if one.type in (EntryType.KEY, EntryType.POLICY)]
    assert [one.index for one in found] == wanted


async def test_what_was_erased_still_stands_in_its_place(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    nor, _, _ = members
    sent = await nor.send()
    await published.publish()
    channel = FollowedChannel(channel=str(nor.channel), after=sent.seq - 1)
    (before,) = (await published.ask(nor.caller, channels=[channel])).entries
    async with published.relay.database.write() as tx:
        row = await logs.find(tx, ID)
        assert row is not None
        await logs_reading.erase_openings(tx, row.key, [before.index])
    (after,) = (await published.ask(nor.caller, channels=[channel])).entries

    assert opened(before) is not None
    assert after == before.model_copy(update={"disclosure": None})


@pytest.mark.parametrize("how", ["withdrawn", "excluded"])
async def test_who_has_left_reads_on_for_an_hour_and_keeps_what_it_could_read(
    how: str, members: tuple[Actor, Actor, Actor], forum: Forum, published: Published
) -> None:
    relay = published.relay
    nor, _, ocha = members
    forum.wait(1)
    if how == "excluded":
        await forum.exclude("NOR", forum.exclusion("UN-OCHA", "NOR", "DEU"))
    else:
        await forum.say("UN-OCHA", Event.WITHDRAW)
    await relay.enrol("nor/desk#d2")
    first = await published.publish()
    forum.wait(HOUR // 2)
    await relay.enrol("deu/desk#d2")
    await published.publish()
    office = await relay.registrar("UN-OCHA")
    before = await published.ask(office, keys_after=0)
    forum.wait(HOUR)
    await relay.enrol("nor/desk#d3")
    await relay.enrol("un-ocha/desk#d3")
    last = await published.publish()
    forum.wait(HOUR)
    await relay.enrol("nor/desk#d4")
    newest = await published.publish()
    own = FollowedChannel(channel=str(ocha.channel), after=0)
    after = await published.ask(office, keys_after=0, size=first.size)
    device = await published.ask(ocha.caller, channels=[own])

    def subjects(answer: LogAnswer) -> set[Any]:
        said = (opened(entry) for entry in answer.entries)
        return {one["subject"] for one in said if one is not None and "subject" in one}

    # Its own word, and whatever was for it then.
    assert "nor/desk#d2" in subjects(before)
    assert subjects(after) == subjects(before)
    assert EntryType.COMMIT in types(device)
    # The same checkpoint for good, the first one that has all of the hour.
    note = await published.reading.checkpoint(office, ID)
    assert Checkpoint.parse(Note.decode(note).text) == last
    assert after.checkpoint == note.decode()
    merkle.verify_consistency(first.size, last.size, after.consistency, first.root, last.root)
    for size, is_there in ((first.size, True), (last.size, True), (newest.size, False)):
        path = Tile(None, 0, size).path
        assert await published.reading.tile(nor.caller, ID, path)
        if is_there:
            assert await published.reading.tile(office, ID, path)
        else:
            with pytest.raises(UnknownTileError):
                await published.reading.tile(office, ID, path)


async def test_saying_again_that_it_has_left_lets_nobody_read_on(
    members: tuple[Actor, Actor, Actor], forum: Forum, published: Published
) -> None:
    await forum.say("UN-OCHA", Event.WITHDRAW)
    for _ in range(9):
        forum.wait(HOUR)
        await forum.say("UN-OCHA", Event.AFFIRM)
    left = await published.publish()
    forum.wait(HOUR)
    await published.relay.enrol("nor/desk#d2")
    await published.publish()

    note = await published.reading.checkpoint(await published.relay.registrar("UN-OCHA"), ID)
    assert Checkpoint.parse(Note.decode(note).text) == left


async def test_what_a_party_does_after_it_has_left_is_not_told_to_the_others(
    members: tuple[Actor, Actor, Actor], forum: Forum, published: Published
) -> None:
    await forum.say("UN-OCHA", Event.WITHDRAW)
    before = await published.publish()
    await published.relay.enrol("un-ocha/desk#d2")

    assert await published.publish() == before


async def test_a_version_to_come_takes_nothing_from_the_parties_of_the_one_in_force(
    members: tuple[Actor, Actor, Actor], forum: Forum, published: Published
) -> None:
    await forum.amend(forum.next(valid_from=forum.now + DAY))
    await published.relay.enrol("deu/desk#d2")
    await published.publish()
    answer = await published.ask(await published.relay.registrar("NOR"), keys_after=0)

    assert any((opened(one) or {}).get("subject") == "deu/desk#d2" for one in answer.entries)


async def test_nobody_else_reads_the_log(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    relay = published.relay
    await relay.admit("SWE", "FIN")
    swe = await relay.enrol("swe/desk#d1")
    await published.publish()

    with pytest.raises(UnknownAgreementError):
        await published.ask(swe.caller)
    with pytest.raises(UnknownAgreementError):
        await published.reading.checkpoint(swe.caller, ID)
    with pytest.raises(UnknownAgreementError):
        await published.reading.tile(swe.caller, ID, "tile/0/000.p/1")


async def test_tools_read_checkpoint_and_tiles(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    nor, _, _ = members
    reading = published.reading
    with pytest.raises(UnknownLogError):
        await reading.checkpoint(nor.caller, ID)
    head = await published.publish()
    note = await reading.checkpoint(nor.caller, ID)
    tile = Tile(None, 0, head.size)
    bundle = await reading.tile(nor.caller, ID, tile.path)

    assert Checkpoint.parse(Note.decode(note).text) == head
    leaves = [merkle.hash_leaf(one) for one in tiles.decode_entries(tile, bundle)]
    assert merkle.root_of(leaves) == head.root
    for path in ("tile/0/001", "tile/../checkpoint", "tile/entries/000.p/1"):
        with pytest.raises(UnknownTileError):
            await reading.tile(nor.caller, ID, path)
    with pytest.raises(UnknownLogError):
        await reading.checkpoint(nor.caller, ID, generation=2)


async def test_anyone_on_the_relay_reads_the_root_log_which_shows_commitments_only(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    nor, _, _ = members
    head = await published.publish(None)
    await published.reading.checkpoint(nor.caller, None)
    tile = Tile(None, 0, head.size)
    bundle = await published.reading.tile(nor.caller, None, tile.path)

    for code in (*CODES, ID):
        assert code.encode() not in bundle


async def test_a_refusal_is_no_clients_business(
    members: tuple[Actor, Actor, Actor], published: Published
) -> None:
    nor, _, _ = members
    with pytest.raises(PolicyRefusedError):
        await nor.send(precedence=Precedence.OVERRIDE)
    await published.publish()

    # It is in no channel's sequence and no key: an export shows it, to its party.
    answer = await published.ask(nor.caller, keys_after=0)
    assert EntryType.REFUSED not in types(answer)
