"""Revocation lists, agreements, key packages."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from liaison.crypto.signing import SigningKey
from liaison.errors import LiaisonError
from liaison.fanout import topics
from liaison.mls.key_package import KeyPackage
from liaison.mls.proposals import GroupContextExtensions
from liaison.policy import revocation, signing
from liaison.policy.agreement import Agreement
from liaison.policy.errors import RevocationOrderError, SignatureMissingError
from liaison.policy.keys import VerifyKey
from liaison.relay.services import Limits
from liaison.relay.services.errors import (
    AgreementRefusedError,
    AgreementVersionError,
    ForeignPartyError,
    KeyPackageError,
    NoRevocationListError,
    TooManyKeyPackagesError,
    UnknownAgreementError,
    UnknownDeviceError,
    UnknownPartyError,
)
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding
from liaison.wire import v1
from tests.relay.services.harness import Actor, Relay, news, party
from tests.support.world import ED25519, FAST_SUITE

# --- revocation ---------------------------------------------------------------------------


async def test_a_list_is_in_force_at_once_and_everyone_concerned_is_woken(
    relay: Relay, nor: Actor
) -> None:
    subscription = relay.bus.subscribe(topics.REVOCATIONS)
    before = await relay.services.registry.revocation_mark()
    deu = await relay.enrol("deu/lno-j3#d1")
    office = await relay.registrar("DEU")
    envelope = relay.world.revoke("DEU", deu.device)
    await relay.services.revocation.accept(office, envelope)

    assert (await relay.services.revocation.current(nor.caller, party("DEU"))).envelope == envelope
    assert subscription.taken() == {(topics.REVOCATIONS, "")}
    assert await relay.services.registry.revocation_mark() > before
    await relay.services.revocation.accept(office, envelope)
    assert subscription.taken() == set()


async def test_a_list_by_anyone_but_the_registrar_or_an_older_one_is_refused(
    relay: Relay, nor: Actor
) -> None:
    accept = relay.services.revocation.accept
    office, foreign = await relay.registrar("NOR"), await relay.registrar("DEU")
    first = relay.world.revoke("NOR")
    second = relay.world.revoke("NOR", nor.device)
    await accept(office, second)

    with pytest.raises(RevocationOrderError):
        await accept(office, first)
    with pytest.raises(SignatureMissingError):
        await accept(foreign, second)
    forged = revocation.sign(revocation.read(second), SigningKey.generate(ED25519))
    with pytest.raises(SignatureMissingError):
        await accept(office, forged)


async def test_lists_are_for_parties_that_have_an_agreement(relay: Relay, nor: Actor) -> None:
    await relay.services.registry.add_party(relay.world.party("FRA").document)
    current = relay.services.revocation.current

    with pytest.raises(NoRevocationListError):
        await current(nor.caller, party("DEU"))
    with pytest.raises(UnknownPartyError):
        await current(nor.caller, party("FRA"))
    # Nobody learns from the refusal who else uses this relay.
    with pytest.raises(UnknownPartyError) as caught:
        await current(nor.caller, party("USA"))
    assert caught.value.message == "NOR has no agreement with USA"


# --- agreements ---------------------------------------------------------------------------


def signed(relay: Relay, agreement: Agreement, *codes: str) -> bytes:
    keys = [relay.world.party(code).authority_key for code in codes]
    envelope = signing.sign(agreement, keys[0])
    for key in keys[1:]:
        envelope = signing.add_signature(envelope, key)
    return envelope


async def test_an_agreement_is_served_to_its_parties_only(relay: Relay, nor: Actor) -> None:
    service = relay.services.agreements
    (agreement,) = await service.all()
    await relay.services.registry.add_party(relay.world.party("FRA").document)
    fra = await relay.registrar("FRA")
    (summary,) = (await service.listing(nor.caller)).agreements
    document = await service.get(nor.caller, agreement.agreement_id, 1)

    assert (summary.version, summary.digest) == (1, agreement.digest())
    assert signing.verify(document.envelope) == agreement
    assert (await service.listing(fra)).agreements == []
    for version in (None, 2, 1 << 63):
        with pytest.raises(UnknownAgreementError):
            await service.get(fra if version is None else nor.caller, "nor-deu-2026", version)


async def test_an_agreement_that_not_all_have_signed_is_refused(relay: Relay, nor: Actor) -> None:
    (agreement,) = await relay.services.agreements.all()

    with pytest.raises(SignatureMissingError) as caught:
        await relay.services.agreements.admit(signed(relay, agreement, "NOR"))

    assert caught.value.message.endswith("is not signed by DEU")
    assert caught.value.unchanged == "it was not admitted"
    assert "agreement sign" in caught.value.hint


async def test_an_agreement_for_another_relay_is_refused(relay: Relay, nor: Actor) -> None:
    (agreement,) = await relay.services.agreements.all()
    stranger = (VerifyKey.of(SigningKey.generate(ED25519)),)
    elsewhere = replace(relay.identity, origin="other.example")
    other_keys = (
        replace(relay.identity, identity_keys=stranger),
        replace(relay.identity, sender_keys=stranger),
        replace(relay.identity, log_keys=stranger),
    )

    for identity in (elsewhere, *other_keys):
        changed = replace(agreement, agreement_id="other", relay=identity)
        with pytest.raises(AgreementRefusedError):
            await relay.services.agreements.admit(signed(relay, changed, "NOR", "DEU"))


async def test_an_agreement_of_a_party_that_was_not_admitted_is_refused(relay: Relay) -> None:
    await relay.services.registry.add_party(relay.world.party("NOR").document)
    envelope = relay.world.agreement("NOR", "DEU", relay=relay.identity)

    with pytest.raises(UnknownPartyError):
        await relay.services.agreements.admit(envelope)


async def test_versions_follow_each_other(relay: Relay, nor: Actor) -> None:
    service = relay.services.agreements
    (first,) = await service.all()
    second = replace(first, version=2, previous=first.digest(), title="Amended")
    fork = replace(first, version=2, previous=first.digest(), title="Another")
    skipping = replace(second, version=3, previous=first.digest())
    await service.admit(signed(relay, second, "NOR", "DEU"))
    await service.admit(signed(relay, second, "NOR", "DEU"))

    for refused in (fork, skipping):
        with pytest.raises(AgreementVersionError):
            await service.admit(signed(relay, refused, "NOR", "DEU"))
    (summary,) = (await service.listing(nor.caller)).agreements
    assert summary.version == 2
    old = await service.get(nor.caller, first.agreement_id, 1)
    assert signing.verify(old.envelope) == first


async def test_a_channel_moves_to_the_amended_agreement(relay: Relay, nor: Actor) -> None:
    (first,) = await relay.services.agreements.all()
    await nor.open(first)
    second = replace(first, version=2, previous=first.digest(), title="Amended")
    await relay.services.agreements.admit(signed(relay, second, "NOR", "DEU"))
    binding = ChannelBinding.of(nor.channel, second, "liaison").extension()
    kept = [e for e in nor.state.context.extensions if e.type != CHANNEL_BINDING_EXTENSION]

    late = nor.message(b"under version 1")
    await nor.commit(nor.stage(GroupContextExtensions((*kept, binding))))
    nor.agreement = second

    channel = await relay.services.channels.get(nor.caller, nor.channel)
    assert channel.agreement_version == 2
    with pytest.raises(LiaisonError) as caught:
        await relay.services.messages.accept(nor.caller, late)
    assert caught.value.code == "channel.epoch_stale"
    await nor.send(b"under version 2")


# --- key packages -------------------------------------------------------------------------


def upload(actor: Actor, count: int, *, last: bool = False) -> v1.KeyPackages:
    return v1.KeyPackages(
        suite=FAST_SUITE,
        key_packages=[actor.key_package().key_package for _ in range(count)],
        last_resort=actor.key_package(last_resort=True).key_package if last else None,
    )


CLAIM = v1.Claim(agreement="nor-deu-2026", endpoint="nor/defatt-berlin", suite=FAST_SUITE)


async def test_a_key_package_is_given_out_once_and_the_last_resort_again_and_again(
    relay: Relay, nor: Actor
) -> None:
    service = relay.services.key_packages
    deu = await relay.enrol("deu/lno-j3#d1")
    counts = await service.upload(nor.caller, upload(nor, 2, last=True))
    claims = [await service.claim(deu.caller, CLAIM) for _ in range(4)]

    refs = [KeyPackage.parse(c.key_packages[0].key_package) for c in claims]
    assert counts.counts == [v1.KeyPackageCount(suite=FAST_SUITE, available=2, last_resort=True)]
    assert [r.last_resort for r in refs] == [False, False, True, True]
    assert refs[0] != refs[1]
    assert refs[2] == refs[3]


async def test_claims_at_once_never_get_the_same_package(relay: Relay, nor: Actor) -> None:
    service = relay.services.key_packages
    deu = await relay.enrol("deu/lno-j3#d1")
    await service.upload(nor.caller, upload(nor, 5))

    claims = await asyncio.gather(*(service.claim(deu.caller, CLAIM) for _ in range(7)))

    given = [c.key_packages[0].key_package for c in claims if c.key_packages]
    assert len(given) == len(set(given)) == 5
    assert [c.without for c in claims if not c.key_packages] == [["nor/defatt-berlin#d1"]] * 2


async def test_each_device_of_the_endpoint_gives_one(relay: Relay, nor: Actor) -> None:
    service = relay.services.key_packages
    second = await relay.enrol("nor/defatt-berlin#d2")
    deu = await relay.enrol("deu/lno-j3#d1")
    await service.upload(nor.caller, upload(nor, 1))
    await service.upload(second.caller, upload(second, 1))

    claimed = await service.claim(deu.caller, CLAIM)

    assert [c.device for c in claimed.key_packages] == [str(nor.id), str(second.id)]


async def test_a_device_that_runs_low_is_told(relay: Relay, nor: Actor) -> None:
    service = relay.services.key_packages
    deu = await relay.enrol("deu/lno-j3#d1")
    await service.upload(nor.caller, upload(nor, 2))
    feed = await nor.feed()

    await service.claim(deu.caller, CLAIM)

    assert await news(feed) == {"key-packages.low"}
    feed.close()


async def test_a_revoked_devices_packages_are_not_given_out(relay: Relay, nor: Actor) -> None:
    service = relay.services.key_packages
    second = await relay.enrol("nor/defatt-berlin#d2")
    deu = await relay.enrol("deu/lno-j3#d1")
    await service.upload(nor.caller, upload(nor, 1))
    await service.upload(second.caller, upload(second, 1))
    await relay.revoke(nor.device)

    claimed = await service.claim(deu.caller, CLAIM)

    assert [c.device for c in claimed.key_packages] == [str(second.id)]
    assert claimed.without == []


async def test_invalid_packages_are_refused_and_none_is_stored(relay: Relay, nor: Actor) -> None:
    service = relay.services.key_packages
    other = await relay.enrol("nor/defatt-berlin#d2")
    good = nor.key_package().key_package
    foreign = other.key_package().key_package
    last = nor.key_package(last_resort=True).key_package

    for bad in (foreign, good[:-1], last):
        body = v1.KeyPackages(suite=FAST_SUITE, key_packages=[good, bad])
        with pytest.raises(KeyPackageError):
            await service.upload(nor.caller, body)
    with pytest.raises(KeyPackageError):
        await service.upload(
            nor.caller, v1.KeyPackages(suite=FAST_SUITE, key_packages=[], last_resort=good)
        )
    with pytest.raises(KeyPackageError):
        await service.upload(nor.caller, v1.KeyPackages(suite=2, key_packages=[good]))
    assert (await service.counts(nor.caller)).counts == []


async def test_a_device_keeps_a_bounded_number_of_packages(relay: Relay, nor: Actor) -> None:
    service = relay.build(Limits(key_packages=2)).key_packages
    body = upload(nor, 2)
    await service.upload(nor.caller, body)
    await service.upload(nor.caller, body)

    with pytest.raises(TooManyKeyPackagesError):
        await service.upload(nor.caller, upload(nor, 1))
    assert (await service.counts(nor.caller)).counts[0].available == 2


async def test_packages_are_claimed_under_a_shared_agreement_only(relay: Relay, nor: Actor) -> None:
    claim = relay.services.key_packages.claim

    with pytest.raises(UnknownAgreementError):
        await claim(nor.caller, CLAIM.model_copy(update={"agreement": "other"}))
    with pytest.raises(ForeignPartyError):
        await claim(nor.caller, CLAIM.model_copy(update={"endpoint": "fra/desk"}))
    with pytest.raises(UnknownDeviceError):
        await claim(nor.caller, CLAIM.model_copy(update={"endpoint": "deu/nobody"}))


async def test_packages_past_their_time_are_neither_counted_nor_given(
    relay: Relay, nor: Actor
) -> None:
    service = relay.services.key_packages
    deu = await relay.enrol("deu/lno-j3#d1")
    await service.upload(nor.caller, upload(nor, 1, last=True))
    relay.clock.ms += 81 * 86_400_000

    claimed = await service.claim(deu.caller, CLAIM)
    expired = await relay.services.retention.expire()

    assert (claimed.key_packages, claimed.without) == ([], [str(nor.id)])
    assert (await service.counts(nor.caller)).counts == []
    assert expired.key_packages == 2
