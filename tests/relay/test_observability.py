"""The relay's numbers, as Prometheus reads them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from liaison.model import Precedence
from liaison.relay import adminsocket, exposition, log, monitor, settings
from liaison.relay.app import Relay
from liaison.relay.errors import SettingsError
from liaison.relay.files import DataDir
from liaison.storage import logs
from liaison.storage.errors import DatabaseError
from tests.relay.test_exchange import (  # noqa: F401 - fixtures among them
    Scene,
    accepted,
    add_officer,
    receive,
    relay,
    scene,
    until_caught_up,
    world,
)
from tests.support.relay import RunningRelay, free_port, running

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating" / "observability.md"
NAMES = {family.name for family in exposition.FAMILIES}


class Numbers:
    """What one scrape gave."""

    def __init__(self, text: bytes) -> None:
        self.families = list(text_string_to_metric_families(text.decode()))

    def __call__(self, name: str, **labels: str) -> float | None:
        found = [s.value for s in self.samples() if s.name == name and s.labels == labels]
        return found[0] if found else None

    def samples(self) -> list[Sample]:
        return [sample for family in self.families for sample in family.samples]

    @property
    def own(self) -> set[str]:
        kinds = {f.name: f.type for f in self.families if f.name.startswith("liaison_")}
        return {f"{name}_total" if kind == "counter" else name for name, kind in kinds.items()}


async def numbers(of: Relay) -> Numbers:
    return Numbers(await (await monitor.load(of))())


def test_the_operating_guide_has_the_table_of_metrics() -> None:
    assert exposition.table() in PAGE.read_text(), "write exposition.table() into the page"


async def test_what_is_exchanged_shows_in_the_numbers(scene: Scene) -> None:  # noqa: F811
    await add_officer(scene)
    sender = await scene.attache.stream(deliver=False)
    reader = await scene.officer.stream()
    joined = await until_caught_up(reader)
    await sender.send(scene.attache.mls.message(b"first", Precedence.FLASH))
    await accepted(sender)
    await receive(reader, 1)

    found = await numbers(scene.relay.app)

    assert found("liaison_ready") == 1
    assert found("liaison_streams") == 2
    assert found("liaison_streams_delivering") == 1
    assert found("liaison_stream_frames_received_total", kind="send") == 1
    assert found("liaison_stream_frames_sent_total", kind="accepted") == 1
    assert found("liaison_stream_frames_sent_total", kind="deliver") == len(joined) + 1
    assert found("liaison_operation_wait_seconds_count", precedence="FLASH") == 1
    assert found("liaison_delivery_age_seconds_count", precedence="FLASH") == 1
    route = "/v1/channels/{channel}/commits"
    assert found("liaison_http_requests_total", method="POST", route=route, status="201") == 1
    assert found("liaison_http_request_duration_seconds_count", method="POST", route=route) == 1
    assert (found("liaison_undelivered_items") or 0) >= 1


async def test_every_metric_of_the_list_is_given_and_no_other(relay: RunningRelay) -> None:  # noqa: F811
    found = await numbers(relay.app)

    assert found.own == NAMES
    assert {"process_open_fds", "process_resident_memory_bytes"} <= {
        family.name for family in found.families
    }


async def test_no_label_says_who_uses_the_relay(scene: Scene) -> None:  # noqa: F811
    await add_officer(scene)
    secret = {"nor", "deu", "defatt", "lno-j3", scene.attache.mls.channel.value.hex()}

    found = await numbers(scene.relay.app)

    for family in exposition.FAMILIES:
        values = {
            (sample.name, label): value.lower()
            for sample in found.samples()
            if sample.name.startswith(family.name)
            for label, value in sample.labels.items()
        }
        assert all(name not in value for value in values.values() for name in secret), values
        assert {label for _, label in values} <= {*family.labels, "le"}


async def test_refusals_are_counted_by_their_code(relay: RunningRelay) -> None:  # noqa: F811
    async with relay.client() as nobody:
        answer = await nobody.get("/v1/channels")

    found = await numbers(relay.app)

    assert found("liaison_problems_total", code=answer.code) == 1
    assert (
        found("liaison_http_requests_total", method="GET", route="/v1/channels", status="401") == 1
    )


async def test_a_database_that_does_not_answer_leaves_the_rest_to_be_read(
    relay: RunningRelay,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseError("the database does not answer")

    monkeypatch.setattr(logs, "listing", away)
    monkeypatch.setattr("liaison.relay.app.Database.check", away)

    found = await numbers(relay.app)

    assert (found("liaison_database_up"), found("liaison_ready")) == (0, 0)
    assert found("liaison_logs", state="ok") is None
    assert found("liaison_streams") == 0


async def test_however_many_read_the_database_is_asked_once(
    relay: RunningRelay,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    async def listing(tx: object) -> list[object]:
        asked.append(tx)
        return []

    monkeypatch.setattr(logs, "listing", listing)
    text = await monitor.load(relay.app)

    await asyncio.gather(*(text() for _ in range(5)))

    assert len(asked) == 1


async def test_prometheus_reads_on_the_loopback_address_that_is_set_and_nowhere_else(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with (
        running(tmp_path / "relay", metrics_listen=f"127.0.0.1:{port}") as found,
        aiohttp.ClientSession() as session,
        found.client() as public,
    ):
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            body = await answer.read()
        async with session.get(f"http://127.0.0.1:{port}/v1/relay") as other:
            nothing = other.status
        outside = await public.get("/metrics")

    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert Numbers(body).own == NAMES
    assert (nothing, outside.status) == (404, 404)


async def test_the_operator_reads_the_numbers_through_the_socket(relay: RunningRelay) -> None:  # noqa: F811
    text = await asyncio.to_thread(adminsocket.ask, DataDir(relay.data), {"do": "metrics"})

    assert text is not None
    assert Numbers(text.encode()).own == NAMES


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "192.0.2.1:9464", "[2001:db8::1]:1", "9464"])
def test_an_address_that_others_could_reach_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError, match="metrics_listen"):
        settings.load(tmp_path, metrics_listen=address)


def test_what_goes_wrong_is_counted_by_the_name_of_its_line() -> None:
    before = log.counts["write_failed", "error"]

    told = log.counted(None, "error", {"event": "write_failed", "code": "SQLITE_FULL"})
    log.counted(None, "info", {"event": "listening"})

    assert told == {"event": "write_failed", "code": "SQLITE_FULL"}
    assert log.counts["write_failed", "error"] == before + 1
    assert ("listening", "info") not in log.counts
