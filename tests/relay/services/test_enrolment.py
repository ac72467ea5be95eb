from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from liaison.errors import LiaisonError, MalformedError, UnknownError
from liaison.model import DeviceId, PartyCode
from liaison.policy import party as party_module
from liaison.relay.errors import WrongPrincipalError
from liaison.relay.services.callers import OfficeCaller
from liaison.relay.services.errors import (
    AlreadyRequestedError,
    CertificateRefusedError,
    DeviceRevokedError,
    EnrolmentExistsError,
    EnrolmentExpiredError,
    EnrolmentPendingError,
    EnrolmentStateError,
    ForeignPartyError,
    UnauthenticatedError,
    UnknownDeviceError,
    UnknownEnrolmentError,
    UnknownKeyError,
    UnknownPartyError,
)
from liaison.relay.work import Operation
from liaison.storage import devices, parties
from liaison.wire import v1
from liaison.wire.handshake import Office, Principal, key_fingerprint
from tests.relay.services.harness import Relay, fresh_id, party

DEVICE = "nor/defatt-berlin#d1"


@pytest.fixture
async def office(relay: Relay) -> OfficeCaller:
    await relay.admit("NOR", "DEU")
    return await relay.registrar("NOR")


async def invite(relay: Relay, office: OfficeCaller, device: str = DEVICE) -> bytes:
    lookup = fresh_id()
    invitation = v1.Invitation(
        lookup=lookup.hex(), device=device, expires_ms=relay.clock.ms + 60_000
    )
    await relay.services.enrolment.invite(office, invitation)
    return lookup


def reply(relay: Relay, device: str = DEVICE) -> v1.EnrolmentReply:
    chains = [list(chain) for chain in relay.world.device(device).chains.values()]
    return v1.EnrolmentReply(certificates=chains, sealed=b"sealed reply")


async def state(relay: Relay, office: OfficeCaller) -> str:
    (enrolment,) = (await relay.services.enrolment.listing(office)).enrolments
    return enrolment.state


async def test_an_enrolment_from_invitation_to_session(relay: Relay, office: OfficeCaller) -> None:
    enrolment, seen = relay.services.enrolment, []
    lookup = await invite(relay, office)
    seen.append(await state(relay, office))
    with pytest.raises(EnrolmentPendingError):
        await enrolment.fetch_reply(lookup)
    await enrolment.request(lookup, b"sealed request")
    seen.append(await state(relay, office))
    (waiting,) = (await enrolment.listing(office)).enrolments
    device = relay.world.device(DEVICE)
    body = v1.EnrolmentReply(
        certificates=[list(c) for c in device.chains.values()], sealed=b"sealed reply"
    )
    await enrolment.reply(office, lookup, body)
    seen.append(await state(relay, office))

    assert seen == ["invited", "requested", "approved"]
    assert waiting.sealed_request == b"sealed request"
    assert (await enrolment.fetch_reply(lookup)).sealed == b"sealed reply"
    actor = await relay.session(device)
    assert str(actor.caller.id) == DEVICE
    await enrolment.reply(office, lookup, body)


async def test_of_two_requests_under_one_code_the_first_counts(
    relay: Relay, office: OfficeCaller
) -> None:
    request = relay.services.enrolment.request
    lookup = await invite(relay, office)

    await request(lookup, b"first")
    await request(lookup, b"first")
    with pytest.raises(AlreadyRequestedError):
        await request(lookup, b"second")

    (waiting,) = (await relay.services.enrolment.listing(office)).enrolments
    assert waiting.sealed_request == b"first"


async def test_two_requests_at_once_are_one_and_a_refusal(
    relay: Relay, office: OfficeCaller
) -> None:
    lookup = await invite(relay, office)

    answers = await asyncio.gather(
        *(relay.services.enrolment.request(lookup, data) for data in (b"one", b"two")),
        return_exceptions=True,
    )

    assert [type(a).__name__ for a in answers] == ["NoneType", "AlreadyRequestedError"]


async def test_an_unknown_code_is_refused(relay: Relay, office: OfficeCaller) -> None:
    enrolment = relay.services.enrolment

    for attempt in (enrolment.request(fresh_id(), b"x"), enrolment.fetch_reply(fresh_id())):
        with pytest.raises(UnknownEnrolmentError):
            await attempt


async def test_an_invitation_ends_when_it_says(relay: Relay, office: OfficeCaller) -> None:
    lookup = await invite(relay, office)
    relay.clock.ms += 60_000

    with pytest.raises(EnrolmentExpiredError):
        await relay.services.enrolment.request(lookup, b"late")
    assert await state(relay, office) == "expired"


async def test_a_withdrawn_invitation_takes_no_request(relay: Relay, office: OfficeCaller) -> None:
    lookup = await invite(relay, office)
    await relay.services.enrolment.withdraw(office, lookup)
    await relay.services.enrolment.withdraw(office, lookup)

    with pytest.raises(EnrolmentExpiredError):
        await relay.services.enrolment.request(lookup, b"late")
    assert await state(relay, office) == "withdrawn"


async def test_an_approved_enrolment_is_not_withdrawn(relay: Relay, office: OfficeCaller) -> None:
    lookup = await invite(relay, office)
    await relay.services.enrolment.request(lookup, b"sealed")
    await relay.services.enrolment.reply(office, lookup, reply(relay))

    with pytest.raises(EnrolmentStateError):
        await relay.services.enrolment.withdraw(office, lookup)


async def test_there_is_no_reply_before_a_request(relay: Relay, office: OfficeCaller) -> None:
    lookup = await invite(relay, office)

    with pytest.raises(EnrolmentStateError):
        await relay.services.enrolment.reply(office, lookup, reply(relay))


@pytest.mark.parametrize("other", ["nor/defatt-berlin#d2", "deu/lno-j3#d1"])
async def test_a_certificate_for_another_device_is_refused(
    relay: Relay, office: OfficeCaller, other: str
) -> None:
    lookup = await invite(relay, office)
    await relay.services.enrolment.request(lookup, b"sealed")

    with pytest.raises(CertificateRefusedError):
        await relay.services.enrolment.reply(office, lookup, reply(relay, other))
    empty = v1.EnrolmentReply(certificates=[], sealed=b"sealed reply")
    with pytest.raises(CertificateRefusedError):
        await relay.services.enrolment.reply(office, lookup, empty)
    assert (await relay.services.registry.own_devices(office)).devices == []


async def test_a_registrar_deals_with_its_own_party_only(
    relay: Relay, office: OfficeCaller
) -> None:
    foreign = await relay.registrar("DEU")
    lookup = await invite(relay, office)
    enrolment = relay.services.enrolment

    with pytest.raises(ForeignPartyError):
        await invite(relay, office, "deu/lno-j3#d1")
    with pytest.raises(UnknownEnrolmentError):
        await enrolment.withdraw(foreign, lookup)
    with pytest.raises(UnknownEnrolmentError):
        await enrolment.reply(foreign, lookup, reply(relay))
    assert (await enrolment.listing(foreign)).enrolments == []


async def test_a_lookup_id_is_used_for_one_device(relay: Relay, office: OfficeCaller) -> None:
    lookup = await invite(relay, office)
    again = v1.Invitation(
        lookup=lookup.hex(), device="nor/desk#d1", expires_ms=relay.clock.ms + 1000
    )

    with pytest.raises(EnrolmentExistsError):
        await relay.services.enrolment.invite(office, again)


@pytest.mark.parametrize("shift_ms", [-1, 31 * 86_400_000])
async def test_an_invitation_is_for_a_bounded_time(
    relay: Relay, office: OfficeCaller, shift_ms: int
) -> None:
    body = v1.Invitation(
        lookup=fresh_id().hex(), device=DEVICE, expires_ms=relay.clock.ms + shift_ms
    )

    with pytest.raises(MalformedError):
        await relay.services.enrolment.invite(office, body)


async def test_the_authority_is_not_the_registrar(relay: Relay, office: OfficeCaller) -> None:
    nation = relay.world.party("NOR")
    fingerprint = key_fingerprint(nation.authority_key.public_bytes)
    found = await relay.services.registry.find_key(nation.authority, fingerprint)
    assert isinstance(found.caller, OfficeCaller)

    with pytest.raises(WrongPrincipalError):
        await relay.services.enrolment.listing(found.caller)


# --- who is known -------------------------------------------------------------------------


async def test_unknown_parties_devices_and_keys_each_get_their_own_error(
    relay: Relay, office: OfficeCaller
) -> None:
    find = relay.services.registry.find_key
    actor = await relay.enrol(DEVICE)
    stranger = relay.world.device("nor/desk#d9")
    other = bytes(32)

    with pytest.raises(UnknownDeviceError):
        await find(stranger.device, other)
    with pytest.raises(UnauthenticatedError):
        await find(actor.id, other)
    with pytest.raises(UnauthenticatedError):
        await find(Office(party("NOR"), "registrar"), other)
    with pytest.raises(UnknownPartyError):
        await find(Office(party("FRA"), "registrar"), other)


async def test_a_revoked_device_gets_no_session(relay: Relay, office: OfficeCaller) -> None:
    actor = await relay.enrol(DEVICE)
    await relay.revoke(actor.device)

    with pytest.raises(DeviceRevokedError):
        await relay.session(actor.device)
    (reason,) = (await relay.services.registry.invalid([actor.caller])).values()
    assert isinstance(reason, DeviceRevokedError)
    with pytest.raises(DeviceRevokedError):
        await actor.feed()
    (listed,) = (await relay.services.registry.own_devices(office)).devices
    assert (listed.device, listed.revoked, listed.chains) == (DEVICE, True, [])


async def test_a_certificate_that_is_revoked_while_it_is_registered_is_refused(
    relay: Relay, office: OfficeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, submit = await invite(relay, office), relay.writer.submit
    await relay.services.enrolment.request(lookup, b"sealed request")
    device = relay.world.device(DEVICE)
    chains = [list(chain) for chain in device.chains.values()]
    body = v1.EnrolmentReply(certificates=chains, sealed=b"sealed reply")

    async def overtaken(operation: Operation[Any]) -> Any:
        monkeypatch.undo()
        await relay.revoke(device)
        return await submit(operation)

    monkeypatch.setattr(relay.writer, "submit", overtaken)
    with pytest.raises(CertificateRefusedError):
        await relay.services.enrolment.reply(office, lookup, body)

    assert (await relay.services.registry.own_devices(office)).devices == []


async def test_a_device_is_enrolled_anew_after_a_revocation(
    relay: Relay, office: OfficeCaller
) -> None:
    old = await relay.enrol(DEVICE)
    await relay.revoke(old.device)
    new = await relay.enrol(DEVICE)

    assert await relay.services.registry.invalid([new.caller]) == {}
    assert new.caller.key == old.caller.key
    assert new.caller.certificate != old.caller.certificate


async def test_parties_to_one_agreement_see_each_others_devices(
    relay: Relay, office: OfficeCaller
) -> None:
    nor, deu = await relay.enrol(DEVICE), await relay.enrol("deu/lno-j3#d1")
    directory = await relay.services.registry.devices(nor.caller, "nor-deu-2026")

    assert [d.device for d in directory.devices] == ["deu/lno-j3#d1", DEVICE]
    assert directory.devices[0].chains == [list(c) for c in deu.device.chains.values()]
    with pytest.raises(LiaisonError):
        await relay.services.registry.devices(nor.caller, "another")


async def test_a_party_file_is_replaced_only_in_step_with_its_agreements(relay: Relay) -> None:
    registry = relay.services.registry
    await registry.add_party(relay.world.party("NOR").document)
    other = party_module.Party.parse(relay.world.party("NOR").document)
    renamed = party_module.Party(
        other.code, "Another name", other.roots, other.authority_keys, other.registrar_keys
    )
    await registry.add_party(renamed.encode())
    assert (await registry.party(other.code)).name == "Another name"

    await relay.admit("NOR", "DEU")

    with pytest.raises(LiaisonError) as caught:
        await registry.add_party(renamed.encode())
    assert caught.value.code == "party.in_use"
    assert [p.code for p in await registry.parties()] == [party("DEU"), party("NOR")]


async def test_who_is_registered_is_looked_up_like_who_is_not(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    await relay.admit("NOR", "DEU")
    known = (await relay.enrol("nor/defatt-berlin#d1")).id
    registrar = relay.world.party("NOR").registrar
    asked: list[str] = []
    for module in (devices, parties):
        for name, found in inspect.getmembers(module, inspect.iscoroutinefunction):

            def counting(
                *values: object,
                name: str = name,
                found: Callable[..., object] = found,
                **more: object,
            ) -> object:
                asked.append(name)
                return found(*values, **more)

            monkeypatch.setattr(module, name, counting)

    async def lookups(principal: Principal) -> list[str]:
        asked.clear()
        with pytest.raises((UnknownError, UnknownKeyError)):
            await relay.services.registry.find_key(principal, bytes(32))
        return sorted(asked)

    stranger = DeviceId.parse("nor/nobody#d1")
    foreign = Office(PartyCode.parse("FRA"), registrar.name)
    assert await lookups(known) == await lookups(stranger) != []
    assert await lookups(registrar) == await lookups(foreign) != []
