"""Lists come in pages from a relay that has them, and at once from one that has none."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from liaison.wire import v1
from liaison_sdk import http
from liaison_sdk.errors import RelayBrokenError
from liaison_sdk.http import RelayAPI


class Answering(RelayAPI):
    """Answers each path with a page; whatever else is asked fails."""

    def __init__(self, **answers: v1.Page) -> None:
        super().__init__(Mock())
        self.answers = answers

    async def _call(self, method: str, path: str, body: v1.Body | None = None) -> bytes:
        del body
        assert method == "GET"
        return self.answers[path.partition("?")[2] or "first"].model_dump_json().encode()


def channel(number: int) -> v1.Channel:
    return v1.Channel(
        channel=f"{number:032x}", agreement="a", agreement_version=1, policy="p", epoch=0, head=0,
        members=[],
    )  # fmt: skip


async def test_a_list_is_asked_for_until_it_ends() -> None:
    rest = {
        "after=x%231": v1.Channels(channels=[], next="y"),
        "after=y": v1.Channels(channels=[channel(2)]),
    }
    api = Answering(first=v1.Channels(channels=[channel(1)], next="x#1"), **rest)

    assert await api.channels() == [channel(1), channel(2)]


async def test_a_relay_without_pages_answers_all_of_it() -> None:
    whole = v1.Directory(devices=[v1.RegisteredDevice(device="nor/a#d1", chains=[])])
    query = {"agreement=nor-deu-2026": whole}

    assert await Answering(**query).directory("nor-deu-2026") == whole.devices


async def test_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MOST_PAGES", 3)
    endless = v1.Agreements(agreements=[], next="a")

    with pytest.raises(RelayBrokenError, match="more than 3 pages"):
        await Answering(**{"first": endless, "after=a": endless}).agreements()


def test_who_knows_of_no_pages_never_takes_a_part_for_the_whole() -> None:
    class Channels(v1.Body):
        channels: list[v1.Channel]

    whole = v1.Channels(channels=[channel(1)]).model_dump_json()
    part = v1.Channels(channels=[channel(1)], next="x").model_dump_json()

    assert Channels.model_validate_json(whole).channels == [channel(1)]
    with pytest.raises(ValueError, match="next"):
        Channels.model_validate_json(part)
