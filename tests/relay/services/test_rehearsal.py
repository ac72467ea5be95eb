"""What is gone through before the first message, on SQLite; PostgreSQL's is in `test_heads.py`."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.many_rows import ForEach
from liaison.storage.quick import Quick
from liaison.storage.rehearsal import rehearse
from liaison.storage.remembered import mark
from liaison.storage.sqlite_words import Text
from liaison.wire.stream import Delivered
from tests.relay.services.harness import Actor, drain


@pytest.fixture(autouse=True)
def _only_sqlite(migrated: str) -> None:
    if not migrated.startswith("sqlite"):
        pytest.skip("there it is what the database has planned: test_heads.py")


def _put_into_words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is put into words from now on, as in a process in which nothing was yet."""
    for one in gc.get_objects():
        if isinstance(one, Quick):
            monkeypatch.setattr(one, "_texts", {})
        elif isinstance(one, ForEach):
            monkeypatch.setattr(one, "_each", None)
    found: list[str] = []
    of = Text.of.__func__  # type: ignore[attr-defined]  # a class method's function

    def told(
        cls: type[Text], statement: Executable, tx: AsyncConnection, values: Mapping[str, Any]
    ) -> Text:
        text: Text = of(cls, statement, tx, values)
        found.append(text.words)
        return text

    monkeypatch.setattr(Text, "of", classmethod(told))
    return found


async def test_the_first_message_and_its_acknowledgement_find_their_statements_in_words(
    nor: Actor, deu: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its invitation is none of what every message takes.
    await deu.read_all()
    put_into_words = _put_into_words(monkeypatch)
    await rehearse(nor.relay.database)
    gone_through = put_into_words.copy()
    put_into_words.clear()

    await nor.relay.services.messages.accept(nor.caller, nor.message())
    reader = await deu.feed()
    items = await drain(reader)
    told = [Delivered(item.channel, item.seq, item.kind) for item in items]
    await deu.relay.services.delivery.acknowledge(deu.caller, told)

    assert gone_through
    assert put_into_words == []


async def test_nothing_is_changed_by_it(nor: Actor) -> None:
    async with nor.relay.database.write() as tx:
        before = await mark(tx)

    await rehearse(nor.relay.database)

    async with nor.relay.database.write() as tx:
        assert await mark(tx) == before
