"""A relay that checks nothing, and members who say what they must not: honest clients show none of it.

The messages are genuine in every other way: encrypted by members of the group, in its current
epoch, with keys of their own. A relay whose policy check is off takes them, stores them and
delivers them, all over its sockets.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
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
from liaison.wire.frames import Accepted, Deliver, ItemKind, Send
from liaison_sdk import Client, MessageState
from liaison_sdk.account import Account
from liaison_sdk.inbound import Inbound
from liaison_sdk.joining import Joiner
from liaison_sdk.log_following import LogFollower
from liaison_sdk.store import channels
from tests.sdk.support import AGREEMENT, POLICY, Stage, endpoint, until
from tests.support.relay import RunningRelay, allow_everything, running
from tests.support.world import FAST_SUITE, HOUR, YEAR, World

READER = "deu/lno-j3#d1"
ATTACHE = "nor/defatt-berlin#d1"
DESK = "nor/duty-desk#d1"
FOREIGNER = "deu/duty-desk#d1"
MESSAGES = 10_000
_ALLOWED_EVERY = 100
_AT_ONCE = 500
_MANY = 1_000_000.0
_DAY = 86_400
_NATIONS = tuple(Pattern.parse(code) for code in ("NOR", "DEU"))
_ADDRESSEES = tuple(Pattern.parse(text) for text in ("nor/defatt-*", "deu/lno-*"))
_SENDERS = (Pattern.parse("role:attaches"),)


def strict(stage: Stage) -> Agreement:
    """An agreement in which the attaché may send little; the duty desk and Germany nothing."""
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
        send=(
            SendRule(_SENDERS, plain, Precedence.ROUTINE, Precedence.IMMEDIATE, _ADDRESSEES, ()),
        ),
        acknowledge=_ADDRESSEES,
        max_message_bytes=4096,
        max_expiry=_DAY,
        release=ReleaseRule((Kind.NOTICE,), Precedence.ROUTINE, (), _SENDERS, 2),
    )
    return replace(
        made,
        roles={"attaches": (Pattern.parse("nor/defatt-*"),)},
        labels=LabelRules(TLP.policy_id, "TLP:AMBER", "TLP:GREEN"),
        clearances=(
            ClearanceRule(_NATIONS, "TLP:GREEN"),
            ClearanceRule((Pattern.parse("NOR"),), "TLP:RED"),
        ),
        channels=(policy,),
    )


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RunningRelay]:
    """A relay whose policy check is off, and that takes as much as it can."""
    whose = ("device", "endpoint", "party")
    rates: Any = {f"{a}_{b}": _MANY for a in ("rate", "burst") for b in whose}
    async with running(tmp_path / "lax", judge=allow_everything, **rates) as found:
        yield found


@pytest.fixture
async def stage(relay: RunningRelay, tmp_path: Path) -> Stage:
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
    """A member's device whose program asks nobody: it encrypts and sends whatever it likes.

    Args:
        account: whose keys it uses.
        channel: that it sends in.
        group: of the channel.
    """

    def __init__(self, account: Account, channel: ChannelId, group: Group) -> None:
        self._account = account
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
            signer=self._account.signer(self._group.suite.signature),
            rng=random_bytes,
            authenticated_data=header.encode(),
        )
        return message

    async def send(
        self,
        relay: RunningRelay,
        said: list[tuple[MessageId, bytes]],
        read: Callable[[int], Awaitable[object]],
    ) -> None:
        """Send messages as the program of a device does; the relay accepts every one.

        Args:
            relay: to which.
            said: the messages.
            read: waits until the reader has so many. Far behind, with the urgent ones first,
                it would have to keep the keys of more messages than it does.
        """
        login = self._account.login
        async with relay.client(login.principal, login.signer) as client:
            await client.login()
            stream = await client.stream()
            await stream.hello(deliver=False)
            for first in range(0, len(said), _AT_ONCE):
                some = said[first : first + _AT_ONCE]
                for number, (message_id, payload) in enumerate(some, first):
                    await stream.send(Send(number, self._channel, message_id, 1, payload))
                answers = [await stream.receive() for _ in some]
                assert [answer for answer in answers if not isinstance(answer, Accepted)] == []
                await read(first + len(some))
            await stream.socket.close()


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
    """An honest reader, and members who ask nobody."""

    reader: Client
    channel: ChannelId
    liars: list[Mallory]


@pytest.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    for name in (ATTACHE, DESK, FOREIGNER, READER):
        await stage.enrol(name)
    async with stage.client(READER) as reader:
        async with (
            stage.client(ATTACHE) as attache,
            stage.client(DESK) as desk,
            stage.client(FOREIGNER) as foreigner,
        ):
            wanted = [endpoint(f"{name}-desk") for name in ("nor/duty", "deu/duty")]
            wanted.append(endpoint("deu/lno-j3"))
            opened = await attache.create_channel(AGREEMENT, POLICY, "duty", wanted)
            for client in (desk, foreigner, reader):
                await until(client, partial(_has, client, opened.id))
            # From here on their own programs are closed.
            everyone = (attache, desk, foreigner)
            liars = [await _mallory(client, opened.id) for client in everyone]
        yield Scene(reader, opened.id, liars)


async def test_of_ten_thousand_forbidden_messages_that_a_relay_lets_pass_a_client_shows_none(
    stage: Stage, scene: Scene
) -> None:
    reader, most, sent = scene.reader, 2 * MESSAGES, 0
    said, allowed = _sayings(stage.world.now, scene.liars, random.Random(2026))

    for liar, theirs in zip(scene.liars, said, strict=True):
        before = sent

        async def read(number: int, before: int = before) -> None:
            await until(reader, _holds(reader, before + number), 60)

        await liar.send(stage.relay, theirs, read)
        sent += len(theirs)

    history = await reader.history(limit=most)
    assert [m.text for m in history if m.text] == allowed
    withheld = [m for m in history if not m.text]
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
    inbound = Inbound(env, Joiner(env), LogFollower(env))

    await inbound.take(flipped)
    await inbound.take([_deliver(scene.channel, liar, length * 8, genuine, now)])

    history = await scene.reader.history(limit=length * 16)
    assert [m.text for m in history if m.text] == ["genuine"]
    failed = [m for m in history if m.state is MessageState.FAILED]
    assert all(m.reason_code for m in failed)


async def test_a_message_of_a_past_epoch_is_judged_by_whoever_could_read_it_then(
    stage: Stage,
) -> None:
    for name in (ATTACHE, DESK, READER):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as attache, stage.client(DESK) as desk:
        async with stage.client(READER) as reader:
            wanted = [endpoint("nor/duty-desk"), endpoint("deu/lno-j3")]
            opened = await attache.create_channel(AGREEMENT, POLICY, "duty", wanted)
            for client in (desk, reader):
                await until(client, partial(_has, client, opened.id))
        liar, now = await _mallory(attache, opened.id), stage.world.now
        amber = replace(plain_header(now), label=HeaderLabel(TLP.policy_id, "TLP:AMBER"), to=())
        early = liar.says(replace(amber, to=(endpoint("nor/defatt-berlin"),)), "not for Germany")
        await opened.remove(endpoint("deu/lno-j3"))
        await desk.sync(10)

        # Norway is cleared for it and alone by now; Germany could decrypt it then.
        env = desk._env
        inbound = Inbound(env, Joiner(env), LogFollower(env))
        await inbound.take([_deliver(opened.id, liar, 1, early, now)])

        (message,) = await desk.history()
        assert (message.state, message.text) == (MessageState.WITHHELD, "")
        assert message.reason_code == "clearances"
        assert "deu/lno-j3 is not cleared" in message.reason


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


def _holds(client: Client, messages: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        row = await client._env.read(lambda tx: tx.one("SELECT count(*) FROM messages"))
        assert row is not None
        return bool(row[0] == messages)

    return look


async def _mallory(client: Client, channel: ChannelId) -> Mallory:
    env = client._env

    def load(tx: Any) -> Group:
        record = channels.load(tx, channel)
        assert record is not None
        return env.groups.load(tx, record)

    return Mallory(env.account, channel, await env.read(load))


def _sayings(
    now: int, liars: list[Mallory], chance: random.Random
) -> tuple[list[list[tuple[MessageId, bytes]]], list[str]]:
    """Return what each member says, and the texts of the few that are allowed."""
    said: list[list[tuple[MessageId, bytes]]] = [[] for _ in liars]
    allowed: list[str] = []

    def say(who: int, header: Header, text: str) -> None:
        said[who].append((header.message_id, liars[who].says(header, text)))

    names = sorted(SPOILS)
    attache, *others = range(len(liars))
    for number in range(MESSAGES):
        if number % _ALLOWED_EVERY == 0:
            allowed.append(f"allowed {number}")
            say(attache, plain_header(now), allowed[-1])
        kind = number % (len(names) + len(others))
        if kind >= len(names):
            # One has another role than senders have, the other is of another party.
            say(others[kind - len(names)], plain_header(now), f"forbidden {number}")
            continue
        header, text = SPOILS[names[kind]](plain_header(now), chance)
        say(attache, header, f"{text} {number}")
    return said, allowed
