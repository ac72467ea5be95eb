from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.errors import LiaisonError, LimitError
from liaison.model import DeviceId
from liaison.relay import errors, limits, requests, services
from liaison.relay.appkeys import SETTINGS
from liaison.relay.errors import (
    AttachmentRateError,
    BodyError,
    CrowdedError,
    RateExceededError,
    TooManyBodiesError,
)
from liaison.relay.limits import Bodies, Buckets, Held, Limits
from liaison.relay.services import errors as services_errors
from liaison.relay.settings import Settings
from liaison.wire import problems
from liaison.wire.problems import Problem

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating" / "limits.md"
NOR = DeviceId.parse("nor/defatt-berlin#d1")
NOR2 = DeviceId.parse("nor/duty-desk#d1")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_more_than_burst_and_rate_allow_ever_pass(pauses: list[float]) -> None:
    clock = Clock()
    buckets: Buckets[str] = Buckets(rate=2, burst=5, clock=clock, what="device")
    passed = 0

    for pause in pauses:
        clock.now += pause
        try:
            buckets.take("k")
        except RateExceededError:
            continue
        passed += 1

    assert passed <= 5 + 2 * clock.now + 1e-6


def test_after_the_time_that_the_refusal_names_the_same_request_passes() -> None:
    clock = Clock()
    buckets: Buckets[str] = Buckets(rate=0.25, burst=1, clock=clock, what="device")
    buckets.take("k")

    with pytest.raises(RateExceededError) as caught:
        buckets.take("k")
    clock.now += caught.value.retry_after

    assert Problem.of(caught.value).retry_after == 4
    assert Problem.of(caught.value).status == 429
    buckets.take("k")


def test_a_refused_request_takes_nothing_from_others() -> None:
    buckets: Buckets[str] = Buckets(rate=1, burst=1, clock=Clock(), what="device")
    buckets.take("a")

    with pytest.raises(RateExceededError):
        buckets.take("a")

    buckets.take("b")


def test_who_was_proved_much_is_proved_nothing_for_a_while() -> None:
    clock = Clock()
    found = Limits(Settings(), clock)
    (rate, burst), (_, party) = limits.PROOFS_DEVICE, limits.PROOFS_PARTY
    found.proofs(NOR)
    found.proved(NOR, int(burst))

    with pytest.raises(RateExceededError, match="device"):
        found.proofs(NOR)
    found.proofs(NOR2)
    found.principal(NOR)
    clock.now += 2 / rate
    found.proofs(NOR)

    found.proved(NOR2, int(party))
    with pytest.raises(RateExceededError):
        found.proofs(NOR2)


def test_attachments_that_are_begun_at_once_count_as_much_as_in_turn() -> None:
    clock = Clock()
    found = Limits(Settings(burst_attachments=100, rate_attachments=10), clock)

    with found.attachment(NOR, 60) as first:
        first.moved = 20
        with pytest.raises(AttachmentRateError) as caught, found.attachment(NOR, 60):
            pass
    assert caught.value.retry_after == 2
    with found.attachment(NOR, 80) as second:
        second.moved = 80
    clock.now += 10
    with found.attachment(NOR, 1000):
        pass


def test_devices_of_one_party_share_what_it_moves_of_attachments() -> None:
    found = Limits(Settings(burst_party_attachments=100, rate_party_attachments=10), Clock())
    with found.attachment(NOR, 90) as transfer:
        transfer.moved = 90

    for device in (NOR, NOR2):
        with pytest.raises(AttachmentRateError), found.attachment(device, 20):
            pass
    with found.attachment(NOR2, 10):
        pass


def test_handshakes_have_a_rate_of_their_own() -> None:
    clock = Clock()
    found = Limits(Settings(burst_handshakes=2, rate_handshakes=1), clock)
    for _ in range(2):
        found.handshake(NOR)

    with pytest.raises(RateExceededError, match="handshakes"):
        found.handshake(NOR)
    found.principal(NOR)
    found.handshake(NOR2)
    clock.now += 1
    found.handshake(NOR)


def test_a_party_brings_so_many_revocation_lists() -> None:
    found = Limits(Settings(), Clock())
    for _ in range(int(limits.REVOCATIONS[1])):
        found.revocation(NOR.party)

    with pytest.raises(RateExceededError, match="revocation"):
        found.revocation(NOR.party)
    found.revocation(DeviceId.parse("deu/lno-j3#d1").party)


async def test_an_upload_that_trickles_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    class Trickle:
        async def readany(self) -> bytes:
            clock.now += 20
            return b"x"

    monkeypatch.setattr(requests, "_now", clock)
    request = SimpleNamespace(
        content_length=None, headers={}, content=Trickle(), app={SETTINGS: Settings()}
    )
    chunks = requests.body_chunks(cast("Any", request), 1000)
    assert await anext(chunks) == b"x"
    with pytest.raises(BodyError, match="too slowly"):
        await anext(chunks)


def test_devices_of_one_party_share_its_rate() -> None:
    found = Limits(Settings(burst_device=10, burst_party=3, rate_party=1), Clock())
    for device in (NOR, NOR2, NOR):
        found.principal(device)

    with pytest.raises(RateExceededError, match="party"):
        found.principal(NOR2)


def test_devices_of_one_endpoint_share_its_rate() -> None:
    found = Limits(Settings(burst_device=10, burst_endpoint=2, rate_endpoint=1), Clock())
    second = DeviceId.parse("nor/defatt-berlin#d2")
    found.principal(NOR)
    found.principal(second)

    with pytest.raises(RateExceededError, match="endpoint"):
        found.principal(NOR)
    found.principal(NOR2)


def test_what_is_large_counts_as_many_requests() -> None:
    clock = Clock()
    found = Limits(Settings(burst_device=10, rate_device=1), clock)
    found.weigh(NOR, limits.WEIGHT - 1)
    found.weigh(NOR, 12 * limits.WEIGHT)

    with pytest.raises(RateExceededError) as caught:
        found.principal(NOR)
    assert caught.value.retry_after == 3
    found.principal(NOR2)
    clock.now += 3
    found.principal(NOR)


def test_one_party_cannot_take_all_of_an_endpoints_key_packages() -> None:
    clock = Clock()
    found = Limits(Settings(burst_claims=2, rate_claims=1), clock)
    party, other = NOR.party, DeviceId.parse("deu/lno-j3#d1").party
    for _ in range(2):
        found.claim(party, NOR2.endpoint)

    with pytest.raises(RateExceededError):
        found.claim(party, NOR2.endpoint)
    found.claim(other, NOR2.endpoint)
    found.claim(party, NOR.endpoint)
    clock.now += 1
    found.claim(party, NOR2.endpoint)


def test_bodies_have_a_bound_together_and_each_its_own() -> None:
    bodies = Bodies(most=10, most_each=6)
    first, second, third = Held(bodies, "a"), Held(bodies, "b"), Held(bodies, "a")
    first.grow(5)
    second.grow(4)

    with pytest.raises(TooManyBodiesError):
        third.grow(2)
    with pytest.raises(CrowdedError) as caught:
        second.grow(2)
    assert Problem.of(caught.value).retry_after == 1
    first.end()
    first.end()
    third.grow(6)
    third.end()
    second.end()
    assert bodies.total == 0


def test_memory_stays_bounded_under_very_many_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 10)
    buckets: Buckets[int] = Buckets(rate=1, burst=1, clock=Clock(), what="address")

    for key in range(100):
        buckets.take(key)

    assert len(buckets._buckets) == 10


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, network: str) -> None:
    assert limits.network_of(address) == network


def test_every_refusal_by_a_limit_says_what_to_do_next() -> None:
    limiting = re.compile(r"(?:raise|return|error =) (\w+)\(")
    without = []
    for path in sorted(Path(limits.__file__).parent.rglob("*.py")):
        source = path.read_text()
        without += [
            f"{path.name}: {found[1]}"
            for found in limiting.finditer(source)
            if found[1] in LIMITING and "hint=" not in call(source, found.end())
        ]

    assert without == []
    buckets: Buckets[str] = Buckets(1.0, 0.5, Clock(), "device")
    with pytest.raises(RateExceededError) as caught:
        buckets.take("k")
    assert "wait 1 s" in caught.value.hint


LIMITING = {
    name
    for module in (errors, services_errors, problems)
    for name, each in vars(module).items()
    if isinstance(each, type) and issubclass(each, LimitError) and each is not RateExceededError
}


def call(source: str, begin: int) -> str:
    """What stands between the parentheses that were opened before `begin`."""
    depth, at = 1, begin
    while depth:
        depth += {"(": 1, ")": -1}.get(source[at], 0)
        at += 1
    return source[begin:at]


# --- the operating guide ----------------------------------------------------------------

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
CELLS = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line[:1] == "|"]
ROWS = [cells for cells in CELLS if cells[0] not in ("what", "---|---|---|---|---")]


def numbers(cell: str) -> list[float]:
    found = re.findall(r"([\d.]+) ?(KiB|MiB|GiB)?", cell)
    return [float(number) * UNITS.get(unit, 1) for number, unit in found]


def values(name: str) -> list[float]:
    """What a setting's default, or a constant of the program, says."""
    if name in Settings.model_fields:
        found = Settings.model_fields[name].default
    else:
        module, _, attribute = name.rpartition(".")
        if module.endswith(".Limits"):
            found = getattr(services.Limits(), attribute)
        else:
            found = getattr(importlib.import_module(f"liaison.{module}"), attribute)
    return list(found) if isinstance(found, tuple) else [found]


def test_each_limit_of_the_operating_guide_has_its_number_and_a_test() -> None:
    wrong = []
    for what, number, where, _, shown in ROWS:
        expected = [value for name in re.findall(r"`([\w.]+)`", where) for value in values(name)]
        if number != "none" and numbers(number) != expected:
            wrong.append(f"{what}: {numbers(number)} and not {expected}")
        if shown != "the same" and not re.search(r"`test_\w+`", shown):
            wrong.append(f"{what}: no test")

    assert not wrong


def test_every_setting_that_limits_stands_in_the_operating_guide() -> None:
    page = PAGE.read_text()
    limiting = {
        name
        for name in Settings.model_fields
        if name.startswith(("max_", "rate_", "burst_")) or name.endswith("_timeout")
    }

    assert len(ROWS) > 50
    assert {name for name in limiting if f"`{name}`" not in page} == set()


def test_every_code_of_the_operating_guide_exists() -> None:
    def codes(family: type[LiaisonError]) -> set[str]:
        return {family.code}.union(*(codes(each) for each in family.__subclasses__()))

    told = " ".join(cells[3] for cells in ROWS)
    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)`", told))

    assert len(named) > 12
    assert named <= codes(LiaisonError)
