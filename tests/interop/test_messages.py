"""Application messages and exported secrets between engines."""

from __future__ import annotations

import pytest

from liaison.mls.errors import KeyUsedError, MLSError
from liaison.mls.group import ApplicationReceived
from tests.interop.engines import EXPORTING, PROPOSING, REST_OF_TS_MLS, TS_MLS
from tests.interop.member import Member, deliver, found
from tests.interop.ours import Ours
from tests.interop.table import Table


def _pair(table: Table) -> tuple[Ours, Member]:
    ours, theirs = table.ours(), table.theirs(tree_in_welcome=True)
    found(b"pair", ours, theirs)
    return ours, theirs


def test_messages_out_of_order_are_read_both_ways(table: Table) -> None:
    ours, theirs = _pair(table)

    for sender, reader in ((ours, theirs), (theirs, ours)):
        sent = [(text, sender.encrypt(text)) for text in (b"one", b"two", b"three", b"four")]
        for text, message in [sent[2], sent[0], sent[3], sent[1]]:
            assert reader.receive(message) == text


def test_messages_of_every_size_are_read_both_ways(table: Table) -> None:
    ours, theirs = _pair(table)

    for size in (0, 1, 63, 64, 255, 256, 1_000, 16_383, 16_384, 70_000):
        text = b"\x7f" * size
        assert theirs.receive(ours.encrypt(text)) == text
        assert ours.receive(theirs.encrypt(text)) == text


def test_we_know_who_of_them_spoke(table: Table) -> None:
    ours, theirs = _pair(table)

    done = ours.process(theirs.encrypt(b"hello"))

    assert isinstance(done, ApplicationReceived)
    assert done.sender.leaf_node.credential.identity == theirs.name
    assert done.sender_leaf == 1


def test_a_replay_of_their_message_is_refused_and_changes_nothing(table: Table) -> None:
    ours, theirs = _pair(table)
    message = theirs.encrypt(b"once")
    assert ours.receive(message) == b"once"
    before = ours.group

    with pytest.raises(KeyUsedError):
        ours.receive(message)

    assert ours.group is before
    assert ours.receive(theirs.encrypt(b"twice")) == b"twice"


def test_a_message_of_theirs_that_was_changed_is_refused_and_the_true_one_read(
    table: Table,
) -> None:
    ours, theirs = _pair(table)
    message = theirs.encrypt(b"true")
    spoilt = message[:-1] + bytes([message[-1] ^ 1])

    with pytest.raises(MLSError):
        ours.receive(spoilt)

    assert ours.receive(message) == b"true"


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_messages_of_the_epoch_before_are_read_both_ways(table: Table) -> None:
    ours, theirs = _pair(table)
    late = ours.encrypt(b"late ours"), theirs.encrypt(b"late theirs")

    deliver(ours.commit().commit, theirs)
    deliver(theirs.commit().commit, ours)

    assert theirs.receive(late[0]) == b"late ours"
    assert ours.receive(late[1]) == b"late theirs"


@pytest.mark.parametrize("table", [*EXPORTING, *REST_OF_TS_MLS], ids=str, indirect=True)
def test_exported_secrets_are_equal_for_equal_questions_only(table: Table) -> None:
    ours, theirs = _pair(table)

    questions = [
        (label, context, length)
        for label in ("one", "another", "")
        for context in (b"", b"context", b"c" * 300)
        for length in (1, 32, 64, 200)
    ]
    answers = {question: ours.export(*question) for question in questions}

    assert {question: theirs.export(*question) for question in questions} == answers
    assert len({secret[:32] for secret in answers.values() if len(secret) >= 32}) == 27


@pytest.mark.parametrize("table", EXPORTING, ids=str, indirect=True)
def test_every_epoch_exports_another_secret(table: Table) -> None:
    ours, theirs = _pair(table)
    seen = [ours.export("label", b"", 32)]

    for committer, reader in ((ours, theirs), (theirs, ours)):
        deliver(committer.commit().commit, reader)
        assert ours.export("label", b"", 32) == theirs.export("label", b"", 32)
        seen.append(ours.export("label", b"", 32))

    assert len(set(seen)) == 3


@pytest.mark.parametrize("table", TS_MLS, ids=str, indirect=True)
def test_epoch_authenticators_are_equal_in_every_epoch(table: Table) -> None:
    ours, theirs = table.ours(), table.ts()
    found(b"pair", ours, theirs)
    seen = set()

    for committer, reader in ((ours, theirs), (theirs, ours), (ours, theirs)):
        assert ours.authenticator == theirs.authenticator
        assert ours.group.epoch == theirs.state()["epoch"]
        seen.add(ours.authenticator)
        deliver(committer.commit().commit, reader)

    assert len(seen) == 3


@pytest.mark.parametrize("table", TS_MLS, ids=str, indirect=True)
def test_authenticated_data_arrives_both_ways(table: Table) -> None:
    ours, theirs = table.ours(), table.ts()
    found(b"pair", ours, theirs)

    done = ours.process(theirs.encrypt(b"text", authenticated_data=b"header of theirs"))
    told = theirs.read(ours.encrypt(b"text", authenticated_data=b"header of ours"))

    assert isinstance(done, ApplicationReceived)
    assert done.authenticated_data == b"header of theirs"
    assert told == (b"text", b"header of ours")
