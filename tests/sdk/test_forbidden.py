"""A relay that checks nothing, and members who say what they must not: honest clients show none of it.

The messages are genuine in every other way: encrypted by members of the group, in its current
epoch, with keys of their own. They are handed to an honest client as a relay would deliver them.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from liaison.crypto.secret import random_bytes
from liaison.envelope import content as contents
from liaison.envelope.content import Content
from liaison.envelope.header import Header, HeaderLabel, Kind
from liaison.labels import Label
from liaison.labels.builtin import TLP
from liaison.mls import peek
from liaison.mls.group import Group, encrypt
from liaison.model import ChannelId, EndpointId, Epoch, MessageId, Precedence, Seq
from liaison.policy import labelling, signing, templates
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.agreement_rules import ClearanceRule, LabelRules
from liaison.policy.channel_rules import ReleaseRule, SendRule
from liaison.policy.who import Pattern
from liaison.wire.frames import Deliver, ItemKind
from liaison_sdk import Client, MessageState
from liaison_sdk.inbound import Inbound
from liaison_sdk.joining import Joiner
from liaison_sdk.store import channels
from tests.sdk.support import AGREEMENT, POLICY, Stage, endpoint, until
from tests.support.world import FAST_SUITE, HOUR, YEAR

READER = "deu/lno-j3#d1"
ATTACHE = "nor/defatt-berlin#d1"
DESK = "nor/duty-desk#d1"
MESSAGES = 10_000
_DAY = 86_400
_NATIONS = tuple(Pattern.parse(code) for code in ("NOR", "DEU"))
_SENDERS = tuple(Pattern.parse(text) for text in ("nor/defatt-*", "deu/lno-*"))


def strict(stage: Stage) -> Agreement:
    """An agreement in which the attaché may send little, and the duty desk nothing."""
    made = templates.new(
        AgreementKind.BILATERAL,
        agreement_id=AGREEMENT,
        parties=[stage.world.party(code).party for code in ("NOR", "DEU")],
        relay=stage.relay.identity,
        valid_from=stage.world.now - HOUR,
        valid_until=stage.world.now + YEAR,
        cipher_suite=FAST_SUITE,
    )
    plain = (Kind.TEXT, Kind.NOTICE)
    policy = replace(
        made.channels[0],
        send=(SendRule(_SENDERS, plain, Precedence.ROUTINE, Precedence.IMMEDIATE, _SENDERS, ()),),
        acknowledge=_SENDERS,
        max_message_bytes=4096,
        max_expiry=_DAY,
        release=ReleaseRule((Kind.NOTICE,), Precedence.ROUTINE, (), _SENDERS, 2),
    )
    return replace(
        made,
        labels=LabelRules(TLP.policy_id, "TLP:AMBER", "TLP:GREEN"),
        clearances=(
            ClearanceRule(_NATIONS, "TLP:GREEN"),
            ClearanceRule((Pattern.parse("NOR"),), "TLP:RED"),
        ),
        channels=(policy,),
    )


@pytest.fixture
async def stage(relay: Any, tmp_path: Any) -> Stage:
    from tests.support.world import World  # noqa: PLC0415 - beside the fixture it replaces

    found = Stage(relay, World(), tmp_path / "devices")
    for code in ("NOR", "DEU"):
        await relay.admit_party(found.world.party(code).document)
    text = strict(found)
    envelope = signing.sign(text, found.world.party("NOR").authority_key)
    await relay.admit_agreement(
        signing.add_signature(envelope, found.world.party("DEU").authority_key)
    )
    return found


class Mallory:
    """A member's device whose program asks nobody: it encrypts whatever it likes.

    Args:
        client: whose group and keys it uses; the client itself does nothing meanwhile.
        group: of the channel.
    """

    def __init__(self, client: Client, channel: ChannelId, group: Group) -> None:
        self._client = client
        self._channel = channel
        self._group = group

    @property
    def epoch(self) -> Epoch:
        """The group's."""
        return Epoch(self._group.epoch)

    def says(self, header: Header, text: str) -> bytes:
        """Return the message as it goes over the wire."""
        label = Label(header.label.policy, header.label.classification, header.label.categories)
        salt = random_bytes(contents.SALT_BYTES)
        extensions: dict[int | str, Any] = {contents.LABEL: labelling.encode_label(label)}
        content = Content(salt=salt, body=contents.text(text), extensions=extensions)
        header = replace(header, label=labelling.header_label(label, salt))
        self._group, message = encrypt(
            self._group,
            content.encode(),
            signer=self._client._env.account.signer(self._group.suite.signature),
            rng=random_bytes,
            authenticated_data=header.encode(),
        )
        return message


def plain_header(now: int) -> Header:
    return Header(
        message_id=MessageId(random_bytes(16)),
        kind=Kind.TEXT,
        action=Precedence.PRIORITY,
        info=Precedence.ROUTINE,
        dtg=now,
        label=HeaderLabel(TLP.policy_id, "TLP:GREEN"),
        agreement_id=AGREEMENT,
        agreement_version=1,
        to=(endpoint("deu/lno-j3"),),
    )


Spoil = Callable[[Header, random.Random], tuple[Header, str]]
_OUTSIDERS = tuple(map(EndpointId.parse, ("swe/desk", "fra/defatt-berlin", "nor/duty-desk")))


def _spoiled(**changes: Callable[[Header, random.Random], Any]) -> Spoil:
    def spoil(header: Header, chance: random.Random) -> tuple[Header, str]:
        made = {name: make(header, chance) for name, make in changes.items()}
        return replace(header, **made), "forbidden"

    return spoil


def _label(*choices: tuple[str, str]) -> Callable[[Header, random.Random], HeaderLabel]:
    return lambda _, chance: HeaderLabel(*chance.choice(choices))


SPOILS: dict[str, Spoil] = {
    "kind": _spoiled(kind=lambda _, c: c.choice([Kind.FORM, Kind.FILE])),
    "not released": _spoiled(kind=lambda *_: Kind.NOTICE),
    "precedence": _spoiled(
        action=lambda _, c: c.choice([Precedence.FLASH, Precedence.OVERRIDE]),
    ),
    "low precedence": _spoiled(info=lambda *_: Precedence.DEFERRED),
    "label too high": _spoiled(label=_label((TLP.policy_id, "TLP:RED"))),
    "reader not cleared": _spoiled(label=_label((TLP.policy_id, "TLP:AMBER"))),
    "label unknown": _spoiled(label=_label((TLP.policy_id, "SECRET"), ("other", "TLP:GREEN"))),
    "future": _spoiled(dtg=lambda h, c: h.dtg + c.randint(3600, YEAR)),
    "past": _spoiled(dtg=lambda h, c: h.dtg - c.randint(2 * _DAY, YEAR)),
    "expiry": _spoiled(expires=lambda h, c: h.dtg + c.randint(_DAY + 1, YEAR)),
    "version": _spoiled(agreement_version=lambda _, c: c.randint(2, 1000)),
    "agreement": _spoiled(agreement_id=lambda _, c: f"other-{c.randint(0, 9)}"),
    "action addressee": _spoiled(to=lambda _, c: (c.choice(_OUTSIDERS),)),
    "info addressee": _spoiled(to=lambda *_: (), copy=lambda *_: (endpoint("deu/lno-j3"),)),
    "addressing everyone": _spoiled(to=lambda *_: ()),
    "size": lambda header, chance: (header, "forbidden " * chance.randint(500, 800)),
}


RULES = {
    "agreement.version",
    "times.dtg_ahead",
    "times.dtg_behind",
    "labels.policy",
    "labels.ceiling",
    "clearances",
    *(
        f"channels.liaison.{name}"
        for name in (
            "max_expiry",
            "max_message_bytes",
            "read",
            "release",
            "send",
            "send.kinds",
            "send.precedence",
            "send.addressees",
        )
    ),
}


@dataclass(frozen=True)
class Scene:
    """An honest reader, and two members who ask nobody."""

    reader: Client
    channel: ChannelId
    liars: list[Mallory]


@pytest.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    for name in (ATTACHE, DESK, READER):
        await stage.enrol(name)
    async with (
        stage.client(ATTACHE) as attache,
        stage.client(DESK) as desk,
        stage.client(READER) as reader,
    ):
        wanted = [endpoint("nor/duty-desk"), endpoint("deu/lno-j3")]
        opened = await attache.create_channel(AGREEMENT, POLICY, "duty", wanted)
        for client in (desk, reader):
            await until(client, partial(_has, client, opened.id))
        liars = [await _mallory(client, opened.id) for client in (attache, desk)]
        yield Scene(reader, opened.id, liars)


async def test_of_ten_thousand_forbidden_messages_an_honest_client_shows_none(
    stage: Stage, scene: Scene
) -> None:
    reader = scene.reader
    chance = random.Random(2026)
    delivered, allowed = _stream(stage.world.now, scene.liars, scene.channel, chance)

    env = reader._env
    await Inbound(env, Joiner(env)).take(delivered)

    shown = [m.text for m in await reader.history(limit=2 * MESSAGES) if m.text]
    assert shown == allowed
    withheld = [m for m in await reader.history(limit=2 * MESSAGES) if not m.text]
    assert len(withheld) == MESSAGES
    assert all(m.state is MessageState.WITHHELD and m.reason for m in withheld)
    assert {m.reason_code for m in withheld} == RULES


async def test_a_message_with_any_bit_of_its_header_flipped_is_refused(
    stage: Stage, scene: Scene
) -> None:
    liar, now = scene.liars[0], stage.world.now
    genuine = liar.says(plain_header(now), "genuine")
    start, length = _header_place(genuine)
    flipped = [
        _deliver(scene.channel, liar, number, _with_bit_flipped(genuine, start * 8 + number), now)
        for number in range(length * 8)
    ]
    env = scene.reader._env
    inbound = Inbound(env, Joiner(env))

    await inbound.take(flipped)
    await inbound.take([_deliver(scene.channel, liar, length * 8, genuine, now)])

    history = await scene.reader.history(limit=length * 16)
    assert [m.text for m in history if m.text] == ["genuine"]
    failed = [m for m in history if m.state is MessageState.FAILED]
    assert all(m.reason_code for m in failed)


def _header_place(message: bytes) -> tuple[int, int]:
    """Return where the authenticated data begins in a message, and how many bytes it has."""
    data = peek.parse_header(message).authenticated_data
    return message.index(data), len(data)


def _with_bit_flipped(message: bytes, bit: int) -> bytes:
    spoiled = bytearray(message)
    spoiled[bit // 8] ^= 1 << bit % 8
    return bytes(spoiled)


def _deliver(channel: ChannelId, sender: Mallory, number: int, message: bytes, now: int) -> Deliver:
    return Deliver(
        number=number,
        kind=ItemKind.MESSAGE,
        precedence=Precedence.ROUTINE,
        channel=channel,
        seq=Seq(1000 + number),
        epoch=sender.epoch,
        time_ms=now * 1000,
        payload=message,
    )


async def _has(client: Client, channel: ChannelId) -> bool:
    return await client._env.read(lambda tx: channels.load(tx, channel)) is not None


async def _mallory(client: Client, channel: ChannelId) -> Mallory:
    env = client._env

    def load(tx: Any) -> Group:
        record = channels.load(tx, channel)
        assert record is not None
        return env.groups.load(tx, record)

    return Mallory(client, channel, await env.read(load))


def _stream(
    now: int, liars: list[Mallory], channel: ChannelId, chance: random.Random
) -> tuple[list[Deliver], list[str]]:
    """Return forbidden messages with a few among them that are allowed, and the texts of these."""
    attache, desk = liars
    delivered: list[Deliver] = []
    allowed: list[str] = []

    def deliver(message: bytes) -> None:
        delivered.append(_deliver(channel, attache, len(delivered) + 1, message, now))

    names = sorted(SPOILS)
    for number in range(MESSAGES):
        if number % 1000 == 0:
            allowed.append(f"allowed {number}")
            deliver(attache.says(plain_header(now), f"allowed {number}"))
        if number % (len(names) + 1) == len(names):
            # The duty desk may send nothing at all.
            deliver(desk.says(plain_header(now), f"forbidden {number}"))
            continue
        header, text = SPOILS[names[number % (len(names) + 1)]](plain_header(now), chance)
        deliver(attache.says(header, f"{text} {number}"))
    return delivered, allowed
