"""What a client believes of a log: every dishonesty of it is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.errors import LiaisonError
from liaison.model import ChannelId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.tlog.channels import ROOM, ChannelView
from liaison.tlog.entries import pseudonym
from liaison.tlog.errors import (
    ChannelForkError,
    ChannelGapError,
    ForkError,
    NoteUnsignedError,
    OpeningError,
    OriginError,
    ProofError,
    QuorumError,
    ShrunkError,
)
from liaison.tlog.fields import EntryType
from liaison.trust import log as trusted
from liaison.wire.log import FollowedChannel, LogAnswer, LogQuery
from liaison_sdk import log_checks, log_comparing, log_places
from liaison_sdk.log_checks import Seen
from liaison_sdk.log_places import Following, Place
from tests.core.policy.documents import NOW
from tests.core.policy.documents import agreement as plain
from tests.support.ledger import DEVICE, Ledger, digest_of, with_log

NOR = PartyCode("NOR")
CHANNEL = ChannelId(bytes(range(16)))
OTHER = ChannelId(bytes(16))
BOTH = ("NOR-1", "DEU-1")
CERTIFICATE = digest_of("certificate")


@cache
def agreement() -> Agreement:
    return with_log(plain(), *BOTH)


@cache
def origin() -> str:
    return trusted.origin(agreement())


def ledger() -> Ledger:
    """A log with two channels: messages, a commit, messages; and a certificate."""
    made = Ledger(agreement(), NOW, BOTH)
    made.certificate(digest_of("somebody's"))
    made.item(CHANNEL, 1, 0, digest_of("one"))
    made.item(OTHER, 1, 0, digest_of("elsewhere"))
    made.commit(CHANNEL, 2, 0, digest_of("commit"))
    made.certificate(CERTIFICATE)
    made.item(CHANNEL, 3, 1, digest_of("three"))
    made.item(CHANNEL, 4, 1, digest_of("four"))
    return made


def query(size: int = 0, after: int = 0) -> LogQuery:
    channel = FollowedChannel(channel=str(CHANNEL), after=after)
    return LogQuery(size=size, channels=[channel], credentials=[CERTIFICATE])


def verify(answer: LogAnswer, seen: Seen | None = None) -> log_checks.Answered:
    return log_checks.verify([agreement()], NOR, seen, answer)


def founded() -> Following:
    return Following.begin(origin(), CHANNEL, 0, 0)


def follow(answer: LogAnswer, known: Following | None = None) -> tuple[Following, list[Place]]:
    return log_places.follow(known or founded(), verify(answer).entries)


def test_an_honest_log_is_followed_to_its_end() -> None:
    known, places = follow(ledger().answer(query()))

    assert [place.seq for place in places] == [1, 2, 3, 4]
    assert [place.digest for place in places if place.is_commit] == [digest_of("commit")]
    assert (known.view.next_seq, known.view.epoch) == (5, 1)


@given(first=st.integers(1, 6))
def test_a_log_is_followed_on_from_wherever_one_was(first: int) -> None:
    log = ledger()
    log.shown = first
    seen = verify(log.answer(query())).seen
    known, before = follow(log.answer(query()))
    log.shown = None

    answer = log.answer(query(size=first, after=known.after))
    after, rest = log_places.follow(known, verify(answer, seen).entries)

    assert [place.seq for place in (*before, *rest)] == [1, 2, 3, 4]
    assert after.view.next_seq == 5


def test_without_witnesses_in_the_agreement_the_relays_signature_counts() -> None:
    alone = with_log(plain())
    log = replace(ledger(), agreement=alone, witnesses=())

    answered = log_checks.verify([alone], NOR, None, log.answer(query()))

    assert answered.seen.checkpoint.size == 7
    assert not answered.is_behind


def test_a_certificate_is_found_by_its_digest() -> None:
    answered = verify(ledger().answer(query()))

    assert log_checks.credentials(answered.entries, {CERTIFICATE: DEVICE}) == {CERTIFICATE: 4}


@pytest.mark.parametrize("act", ["revocations", "key_packages", "signature"])
def test_an_entry_about_another_act_puts_no_certificate_into_the_log(act: str) -> None:
    log = Ledger(agreement(), NOW, BOTH)
    log.certificate(CERTIFICATE, act)

    answered = verify(log.answer(query()))

    assert log_checks.credentials(answered.entries, {CERTIFICATE: DEVICE}) == {}


@pytest.mark.parametrize(
    ("party", "device"), [("NOR", DEVICE), ("SWE", DEVICE), ("DEU", "deu/lno-j3#d2")]
)
def test_an_entry_that_the_certificates_registrar_does_not_look_at_puts_it_not_into_the_log(
    party: str, device: str
) -> None:
    log = Ledger(agreement(), NOW, BOTH)
    log.certificate(CERTIFICATE, device=device, party=party)

    answered = verify(log.answer(query()))

    assert log_checks.credentials(answered.entries, {CERTIFICATE: DEVICE}) == {}


def test_what_is_not_cosigned_yet_is_not_shown_and_the_log_is_behind() -> None:
    log = ledger()
    log.shown = 4

    answered = verify(log.answer(query()))

    assert answered.is_behind
    assert {each.index for each in answered.entries} == {1, 3}


# --- the whole log ----------------------------------------------------------------------


@pytest.mark.parametrize("awake", [(), ("NOR-1",), ("DEU-1",)])
def test_below_quorum_nothing_counts_and_nothing_is_held_against_anybody(
    awake: tuple[str, ...],
) -> None:
    log = replace(ledger(), witnesses=awake)

    with pytest.raises(QuorumError):
        verify(log.answer(query()))


def test_before_the_first_checkpoint_nothing_counts() -> None:
    with pytest.raises(QuorumError):
        verify(LogAnswer())


def test_another_history_is_a_fork() -> None:
    log = ledger()
    seen = verify(log.answer(query())).seen
    other = log.copy()
    other.rows[2] = other.rows[0]
    other.item(CHANNEL, 5, 1, digest_of("five"))

    with pytest.raises(ForkError) as caught:
        verify(other.answer(query(size=7)), seen)
    assert not isinstance(caught.value, ShrunkError)


def test_another_history_of_the_same_size_is_a_fork() -> None:
    log = ledger()
    seen = verify(log.answer(query())).seen
    log.rows[6] = log.rows[0]

    with pytest.raises(ForkError):
        verify(log.answer(query(size=7)), seen)


def test_a_second_history_that_the_relay_alone_has_signed_is_a_fork() -> None:
    log = ledger()
    other = log.copy()
    other.rows[6] = other.rows[0]
    answer = log.answer(query()).model_copy(update={"newest": other.note(7)})

    with pytest.raises(ForkError):
        verify(answer)


def test_a_log_that_is_shorter_than_it_was_has_shrunk() -> None:
    log = ledger()
    seen = verify(log.answer(query())).seen
    log.shown = 5

    with pytest.raises(ShrunkError):
        verify(log.answer(query(size=7)), seen)


def test_growth_without_a_proof_is_a_fork() -> None:
    log = ledger()
    log.shown = 3
    seen = verify(log.answer(query())).seen
    log.shown = None

    with pytest.raises(ForkError):
        verify(log.answer(query()), seen)


def test_the_log_of_another_agreement_is_not_this_one() -> None:
    other = with_log(replace(plain(), agreement_id="another"), *BOTH)

    with pytest.raises(OriginError):
        verify(replace(ledger(), agreement=other).answer(query()))


def test_a_note_by_another_key_is_nobodys() -> None:
    agreed = agreement()
    stranger = replace(agreed, relay=replace(agreed.relay, log_keys=agreed.relay.identity_keys))

    with pytest.raises(NoteUnsignedError):
        log_checks.verify([stranger], NOR, None, ledger().answer(query()))


def test_a_later_version_that_is_known_may_name_other_witnesses() -> None:
    amended = with_log(plain(), "NOR-2", "DEU-1")
    log = replace(ledger(), agreement=amended, witnesses=("NOR-2", "DEU-1"))

    with pytest.raises(QuorumError):
        verify(log.answer(query()))
    answered = log_checks.verify([agreement(), amended], NOR, None, log.answer(query()))

    assert answered.seen.witnesses.keys() == {"NOR-2", "DEU-1"}


# --- entries ----------------------------------------------------------------------------


def changed(answer: LogAnswer, number: int, **changes: object) -> LogAnswer:
    entries = list(answer.entries)
    entries[number] = entries[number].model_copy(update=changes)
    return answer.model_copy(update={"entries": entries})


@pytest.mark.parametrize("number", range(5))
def test_an_entry_that_is_not_in_the_tree_is_refused(number: int) -> None:
    log = ledger()
    answer = log.answer(query())
    forged = log.copy()
    forged.item(CHANNEL, 4, 1, digest_of("forged"))
    data = forged.rows[-1][0].encode()

    for wrong in (
        changed(answer, number, data=data),
        changed(answer, number, index=answer.entries[number].index ^ 1),
        changed(answer, number, index=7),
        changed(answer, number, proof=answer.entries[number].proof[1:]),
    ):
        with pytest.raises(ProofError):
            verify(wrong)


def test_an_opening_of_something_else_is_refused() -> None:
    answer = ledger().answer(query())

    with pytest.raises(OpeningError):
        verify(changed(answer, 1, disclosure=answer.entries[2].disclosure))


# --- a channel --------------------------------------------------------------------------


@pytest.mark.parametrize(("hidden", "error"), [(1, ChannelGapError), (3, ChannelGapError)])
def test_an_entry_that_is_kept_back_is_a_gap(hidden: int, error: type[LiaisonError]) -> None:
    log = ledger()
    log.hidden.add(hidden)

    with pytest.raises(error):
        follow(log.answer(query()))


def reordered(log: Ledger) -> None:
    log.rows[5], log.rows[6] = log.rows[6], log.rows[5]


def repeated(log: Ledger) -> None:
    log.item(CHANNEL, 4, 1, digest_of("four"))


def second_commit(log: Ledger) -> None:
    log.commit(CHANNEL, 5, 0, digest_of("another commit"))


def early(log: Ledger) -> None:
    log.item(CHANNEL, 5, 2, digest_of("of the epoch after"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (reordered, ChannelGapError),
        (repeated, ChannelGapError),
        (second_commit, ChannelForkError),
        (early, ChannelForkError),
    ],
)
def test_a_channel_that_is_no_history_is_noticed(
    change: Callable[[Ledger], None], error: type[LiaisonError]
) -> None:
    log = ledger()
    change(log)

    with pytest.raises(error):
        follow(log.answer(query()))


def test_entries_that_are_told_in_another_order_than_they_stand_are_noticed() -> None:
    log = ledger()
    reordered(log)
    answer = log.answer(query())
    entries = list(answer.entries)
    entries[-1], entries[-2] = entries[-2], entries[-1]

    with pytest.raises(ChannelForkError, match="before the one"):
        follow(answer.model_copy(update={"entries": entries}))


def test_an_item_is_the_one_that_was_delivered() -> None:
    _, places = follow(ledger().answer(query()))

    for place, text in zip(places, ("one", "commit", "three", "four"), strict=True):
        log_comparing.compare(place, digest_of(text))
        with pytest.raises(ChannelForkError):
            log_comparing.compare(place, digest_of("something else"))


def test_a_commit_that_is_not_shown_is_held_against_the_relay() -> None:
    log = ledger()
    log.closed.add(3)

    with pytest.raises(ChannelForkError):
        follow(log.answer(query()))


def test_a_message_whose_openings_were_erased_still_has_its_place() -> None:
    log = ledger()
    log.closed.add(5)

    _, places = follow(log.answer(query()))

    assert [(place.seq, place.digest is None) for place in places] == [
        (1, False),
        (2, False),
        (3, True),
        (4, False),
    ]


def test_who_comes_later_begins_with_the_commit_that_brought_it_in() -> None:
    joined = Following.begin(origin(), CHANNEL, 2, 1)

    known, places = follow(ledger().answer(query(after=joined.after)), joined)

    assert [place.seq for place in places] == [2, 3, 4]
    assert (known.view.next_seq, known.view.epoch, known.confirmed) == (5, 1, -1)


@pytest.mark.parametrize("after", [2, 3])
def test_who_comes_later_is_not_shown_less_than_its_stay(after: int) -> None:
    joined = Following.begin(origin(), CHANNEL, 2, 1)

    with pytest.raises(ChannelGapError):
        follow(ledger().answer(query(after=after)), joined)


# --- how fresh a checkpoint is ----------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "fresh"),
    [
        ({"NOR-1": NOW, "NOR-2": NOW - 60, "NOR-3": NOW - 9000, "DEU-1": NOW + 5}, NOW - 60),
        ({"NOR-1": NOW, "NOR-2": NOW - 60}, NOW - 60),
        ({"NOR-1": NOW, "NOR-2": 2**63 - 1, "NOR-3": NOW - 9000}, NOW - 9000),
        ({"NOR-1": NOW, "DEU-1": NOW}, 0),
        ({}, 0),
    ],
)
def test_a_checkpoint_is_as_fresh_as_most_of_the_own_witnesses_say(
    times: dict[str, int], fresh: int
) -> None:
    text = with_log(plain(), "NOR-1", "NOR-2", "NOR-3", "DEU-1")
    seen = replace(verify(ledger().answer(query())).seen, witnesses=times)

    assert log_checks.cosigned_at(text, NOR, seen, NOW) == fresh


def test_whose_party_has_no_witness_takes_anybodys_word_for_how_fresh_it_is() -> None:
    text = with_log(plain(), "DEU-1")
    seen = replace(verify(ledger().answer(query())).seen, witnesses={"DEU-1": NOW - 60})

    assert log_checks.cosigned_at(text, NOR, seen, NOW) == NOW - 60
    assert not log_checks.is_old(text, NOW - 60, NOW)
    assert log_checks.is_old(text, NOW - text.log.grace - 60, NOW)
    assert not log_checks.is_old(text, 0, NOW)


def test_entries_of_other_channels_change_nothing() -> None:
    log = ledger()
    channels = [FollowedChannel(channel=str(one), after=0) for one in (OTHER, CHANNEL)]

    known, places = follow(log.answer(LogQuery(channels=channels)))

    assert len(places) == 4
    assert known.view.channel == log.rows[1][0].channel
    assert log.rows[1][0].type is EntryType.ACCEPTED


# --- where a channel goes on in a successor log -----------------------------------------


def taken_up(seq: int, start: int) -> None:
    """Follow a channel from one place of the second log on, whose items up to `start` had come."""
    log = Ledger(replace(agreement(), witnesses=()), NOW)
    log.item(CHANNEL, seq, 3, digest_of("goes on"))
    view = ChannelView(pseudonym(origin(), CHANNEL), 0)
    answered = log_checks.verify([log.agreement], NOR, None, log.answer(query()))

    log_places.follow(Following(view, start=start, generation=2), answered.entries)


@pytest.mark.parametrize(
    ("seq", "start"), [(ROOM + 1, 7), (ROOM + 1, ROOM + 5), (ROOM + 5, ROOM + 5), (2, 2), (1, 0)]
)
def test_a_successor_may_go_on_where_it_begins_or_with_what_had_come(seq: int, start: int) -> None:
    taken_up(seq, start)


@pytest.mark.parametrize(
    ("seq", "start"), [(ROOM + 2, 7), (ROOM + 7, ROOM + 5), (9, 7), (2 * ROOM + 1, 7)]
)
def test_a_successor_that_leaves_out_items_that_have_not_come_is_noticed(
    seq: int, start: int
) -> None:
    with pytest.raises(ChannelGapError):
        taken_up(seq, start)
