"""Whose certificates count as logged: at once, within the grace, or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from liaison.model import ChannelId, DeviceId, MessageId, Precedence
from liaison.policy.agreement import Agreement
from liaison_sdk import log_credentials
from liaison_sdk.environment import Logged
from liaison_sdk.log_credentials import CredentialUnloggedError
from liaison_sdk.store import SQLiteStore, messages
from liaison_sdk.store.messages import MessageRecord, MessageState
from tests.core.policy.documents import NOW
from tests.core.policy.documents import agreement as plain
from tests.sdk.test_store import keystore, store  # noqa: F401 - fixtures
from tests.support.ledger import digest_of, with_log

CHANNEL = ChannelId(bytes(16))
DIGEST, NAME = digest_of("certificate"), "deu/lno-j3#d1"
ASKED = {DIGEST: NAME}


class Known:
    """What one client knows of one certificate."""

    def __init__(self, kept: SQLiteStore, agreement: Agreement) -> None:
        self._store, self._agreement = kept, agreement
        self.env: Any = SimpleNamespace(now=NOW, logged=Logged())

    async def hears(
        self, checkpoint: int, newest: int, *, has: bool = False, final: bool = False
    ) -> None:
        """Take an answer: so many entries proven, of so many."""
        found = [DIGEST] if has else []
        await self._store.write(
            lambda tx: log_credentials.note(
                self.env, tx, self._agreement, ASKED, found, sizes=(checkpoint, newest), final=final
            )
        )

    async def verdict(self) -> str:
        """Return `ask`, `good` or `refused`."""
        try:
            unknown = await self._store.read(
                lambda tx: log_credentials.check(self.env, tx, self._agreement, ASKED)
            )
        except CredentialUnloggedError:
            return "refused"
        return "ask" if unknown else "good"

    async def shows(self, *lacks: str) -> bool:
        """Withhold a message that stands on certificates; is it shown once the log has the one?"""
        held = MessageRecord(
            channel=CHANNEL,
            sender=DeviceId.parse(NAME),
            message_id=MessageId(bytes(16)),
            outgoing=False,
            state=MessageState.WITHHELD,
            precedence=Precedence.ROUTINE,
            header=b"",
            content=b"",
            reason_code=CredentialUnloggedError.code,
            credentials=tuple(digest_of(one) for one in lacks),
        )
        number = await self._store.write(lambda tx: messages.insert(tx, held))
        await self.hears(10, 10, has=True)
        record: Any = SimpleNamespace(channel=CHANNEL, agreement_id=self._agreement.agreement_id)
        await self._store.write(lambda tx: log_credentials.release(tx, record))
        found = await self._store.read(lambda tx: messages.load(tx, number or 0))
        return found is not None and found.state is MessageState.RECEIVED


@pytest.fixture
def known(store: SQLiteStore) -> Known:  # noqa: F811 - the fixture's name
    return Known(store, with_log(plain(), "NOR-1", "DEU-1"))


async def test_a_certificate_that_is_in_the_log_is_good_for_ever(known: Known) -> None:
    assert await known.verdict() == "ask"

    await known.hears(10, 10, has=True)
    known.env.now += 10**9

    assert await known.verdict() == "good"


async def test_one_that_a_whole_log_does_not_have_is_asked_for_again_and_then_refused(
    known: Known,
) -> None:
    await known.hears(10, 10)
    assert await known.verdict() == "ask"

    await known.hears(11, 11, final=True)

    assert await known.verdict() == "refused"


async def test_one_that_comes_later_is_good_then(known: Known) -> None:
    await known.hears(10, 10, final=True)

    await known.hears(12, 12, has=True)

    assert await known.verdict() == "good"


@pytest.mark.parametrize("sizes", [(0, 0), (0, 10), (5, 10)])
async def test_while_the_log_can_not_say_the_grace_counts_from_the_first_question(
    known: Known, sizes: tuple[int, int]
) -> None:
    await known.hears(*sizes)
    assert await known.verdict() == "good"
    known.env.now += plain().log.grace
    await known.hears(*sizes)
    assert await known.verdict() == "good"

    known.env.now += 1

    assert await known.verdict() == "refused"


async def test_what_the_log_held_at_the_first_question_is_enough_to_refuse(known: Known) -> None:
    await known.hears(5, 10)
    await known.hears(9, 20)
    assert await known.verdict() == "good"

    await known.hears(10, 20)

    assert await known.verdict() == "refused"


async def test_the_first_word_of_a_log_that_could_not_be_had_refuses_nobody(known: Known) -> None:
    await known.hears(0, 0)
    await known.hears(10, 10)
    assert await known.verdict() == "good"

    await known.hears(11, 11)

    assert await known.verdict() == "refused"


async def test_a_log_that_was_found_wanting_gets_no_grace_by_losing_its_witnesses(
    known: Known,
) -> None:
    await known.hears(10, 10, final=True)

    await known.hears(10, 30)

    assert await known.verdict() == "refused"


async def test_what_was_withheld_for_a_certificate_is_shown_once_that_one_is_in_the_log(
    known: Known,
) -> None:
    assert await known.shows("certificate")


@pytest.mark.parametrize("lacks", [("forged",), ("certificate", "forged"), ()])
async def test_it_is_not_shown_because_another_certificate_of_the_same_name_is_there(
    known: Known, lacks: tuple[str, ...]
) -> None:
    assert not await known.shows(*lacks)


async def test_where_the_relay_has_no_log_nobody_is_asked_for(store: SQLiteStore) -> None:  # noqa: F811 - the fixture's name
    known = Known(store, plain())
    credential: Any = SimpleNamespace(chain=[b"der"])
    header: Any = SimpleNamespace(release=None)

    found = await store.read(
        lambda tx: log_credentials.check_message(known.env, tx, plain(), credential, header)
    )

    assert found == {}
