"""What a member checks of its channel: dense numbers, one commit for each epoch, the same one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.model import ChannelId, Epoch, Seq
from liaison.tlog import channels, entries
from liaison.tlog.channels import ChannelView
from liaison.tlog.disclosure import Sealed
from liaison.tlog.entries import Entry, PolicyRef
from liaison.tlog.errors import ChannelForkError, ChannelGapError, OpeningError
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64
from tests.core.tlog.support import ORIGIN

CHANNEL, OTHER = (entries.pseudonym(ORIGIN, ChannelId(bytes([n]) * 16)) for n in (1, 2))
DIGEST = bytes(range(32))


def item(
    seq: int, epoch: int, type_: EntryType = EntryType.ACCEPTED, channel: bytes = CHANNEL
) -> tuple[Entry, Sealed]:
    return entries.seal(
        type_,
        1,
        {"digest": to_base64(DIGEST)},
        bytes,
        channel=channel,
        seq=Seq(seq),
        epoch=Epoch(epoch),
        policy=PolicyRef(1, bytes(32)),
        size=256,
    )


def history(kinds: list[EntryType], first: int = 1, epoch: int = 0) -> list[Entry]:
    made = []
    for seq, kind in enumerate(kinds, first):
        made.append(item(seq, epoch, kind)[0])
        epoch += kind is EntryType.COMMIT
    return made


kinds = st.lists(
    st.sampled_from([EntryType.ACCEPTED, EntryType.RECEIPT, EntryType.COMMIT]), max_size=20
)


@given(kinds=kinds, first=st.integers(1, 100), epoch=st.integers(0, 100))
def test_every_honest_history_is_followed_among_other_channels_entries(
    kinds: list[EntryType], first: int, epoch: int
) -> None:
    view = ChannelView(CHANNEL, first, epoch)

    for entry in history(kinds, first, epoch):
        foreign, _ = item(first, 99, EntryType.COMMIT, OTHER)
        delivered, _ = entries.seal(EntryType.DELIVERED, 1, {}, bytes, channel=CHANNEL)
        view = view.follow(foreign).follow(entry).follow(delivered)

    commits = kinds.count(EntryType.COMMIT)
    assert view == ChannelView(CHANNEL, first + len(kinds), epoch + commits)


@given(kinds=kinds.filter(lambda k: len(k) > 1), data=st.data())
def test_every_omission_repetition_and_exchange_is_noticed(
    kinds: list[EntryType], data: st.DataObject
) -> None:
    made = history(kinds)
    at = data.draw(st.integers(0, len(made) - 2))
    shown = data.draw(
        st.sampled_from(
            [
                [*made[:at], *made[at + 1 :]],
                [*made[: at + 1], *made[at:]],
                [*made[:at], made[at + 1], made[at], *made[at + 2 :]],
            ]
        )
    )

    with pytest.raises(ChannelGapError):
        follow(shown)


def follow(shown: list[Entry]) -> ChannelView:
    view = ChannelView(CHANNEL)
    for entry in shown:
        view = view.follow(entry)
    return view


def test_two_commits_for_one_epoch_are_a_fork() -> None:
    two = [item(1, 0, EntryType.COMMIT)[0], item(2, 0, EntryType.COMMIT)[0]]

    with pytest.raises(ChannelForkError):
        follow(two)


def test_an_epoch_that_no_commit_has_begun_is_a_fork() -> None:
    for type_ in (EntryType.ACCEPTED, EntryType.COMMIT):
        with pytest.raises(ChannelForkError):
            follow([item(1, 0)[0], item(2, 1, type_)[0]])


def test_a_message_of_an_earlier_epoch_is_none() -> None:
    shown = [item(1, 0, EntryType.COMMIT)[0], item(2, 0)[0], item(3, 1)[0]]

    assert follow(shown) == ChannelView(CHANNEL, 4, 1)
    assert all(a.seq < b.seq for a, b in pairwise(shown) if a.seq and b.seq)


def test_the_commit_that_was_applied_is_the_one_in_the_log() -> None:
    entry, sealed = item(4, 9, EntryType.COMMIT)
    message, in_message = item(4, 9)

    for shown in (sealed, sealed.disclose(entry.type), sealed.disclose(entry.type, ["digest"])):
        channels.verify_commit(entry, shown, 9, DIGEST)
        with pytest.raises(ChannelForkError):
            channels.verify_commit(entry, shown, 9, bytes(32))
        with pytest.raises(ChannelForkError):
            channels.verify_commit(entry, shown, 8, DIGEST)
    with pytest.raises(OpeningError):
        channels.verify_commit(entry, Sealed(bytes(32), {"digest": "other"}), 9, bytes(32))
    with pytest.raises(ChannelForkError):
        channels.verify_commit(entry, sealed.disclose(entry.type, ["party"]), 9, DIGEST)
    with pytest.raises(ChannelForkError):
        channels.verify_commit(message, in_message, 9, DIGEST)
