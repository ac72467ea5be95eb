"""A message that several persons have to sign leaves when they have, and as they signed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.envelope.content import Content
from liaison.envelope.header import Kind
from liaison.envelope.release import Part
from liaison.model import Precedence
from liaison.policy import signing
from liaison.policy.agreement import Agreement
from liaison.policy.channel_rules import ReleaseRule
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.keys import VerifyKey
from liaison.policy.who import Pattern
from liaison.relay.services.releases import SentReleases
from liaison.trust import sign_draft
from liaison_sdk import Channel, Client, Message, MessageState, drafts, releasing
from liaison_sdk.drafts import DraftPart
from liaison_sdk.errors import (
    AlreadySentError,
    MessageRefusedError,
    NotADraftError,
    NotReleasedError,
)
from liaison_sdk.store import Transaction, messages
from tests.sdk.support import POLICY, Stage, endpoint, next_message, until
from tests.support.relay import running
from tests.support.world import World

RELEASED = "nor-deu-released"
DRAFTER = "nor/defatt-berlin#d1"
REVIEWER = "nor/desk#d1"
RELEASER = "nor/chief#d1"
OFFICER = "deu/lno-j3#d1"


def with_release(text: Agreement) -> Agreement:
    """Notices leave only when desk and chief have signed; Norway has a channel of its own."""
    (policy,) = text.channels
    own = (Pattern.parse("NOR"),)
    rule = ReleaseRule(
        kinds=(Kind.NOTICE,),
        lowest=Precedence.DEFERRED,
        review=(Pattern.parse("nor/desk"),),
        release=(Pattern.parse("nor/chief"), Pattern.parse("deu/lno-j3")),
        persons=3,
    )
    national = replace(policy, name="national", create=own, add=own, remove=own, read=own)
    sends = tuple(replace(one, who=own, to=own, copy=own) for one in policy.send)
    national = replace(national, send=sends, acknowledge=own)
    return replace(text, channels=(replace(policy, release=rule), national))


@dataclass
class Scene:
    """Four people in two channels."""

    drafter: Client
    reviewer: Client
    releaser: Client
    officer: Client
    target: Channel
    national: Channel


@asynccontextmanager
async def _scene(stage: Stage) -> AsyncIterator[Scene]:
    signed = stage.world.agreement("NOR", "DEU", relay=stage.relay.identity, agreement_id=RELEASED)
    text = with_release(signing.verify(signed))
    keys = [stage.world.party(code).authority_key for code in ("NOR", "DEU")]
    envelope = signing.add_signature(signing.sign(text, keys[0]), keys[1])
    await stage.relay.admit_agreement(envelope)
    for name in (DRAFTER, REVIEWER, RELEASER, OFFICER):
        await stage.enrol(name)
    async with (
        stage.client(DRAFTER) as drafter,
        stage.client(REVIEWER) as reviewer,
        stage.client(RELEASER) as releaser,
        stage.client(OFFICER) as officer,
    ):
        wanted = [endpoint("deu/lno-j3"), endpoint("nor/chief")]
        target = await drafter.create_channel(RELEASED, POLICY, "with Germany", wanted)
        inside = [endpoint("nor/desk"), endpoint("nor/chief")]
        national = await drafter.create_channel(RELEASED, "national", "among us", inside)
        yield Scene(drafter, reviewer, releaser, officer, target, national)


async def _next_draft(client: Client) -> Message:
    message = await next_message(client)
    assert message.draft is not None
    return message


def _signed(message: Message) -> set[tuple[Part, str]]:
    assert message.draft is not None
    return {(one.part, str(one.endpoint)) for one in message.draft.signatures}


async def test_a_notice_leaves_unchanged_once_drafter_reviewer_and_releaser_have_signed(
    stage: Stage,
) -> None:
    async with _scene(stage) as scene:
        await scene.target.draft(
            scene.national,
            "The exercise begins at dawn.",
            kind=Kind.NOTICE,
            subject="EXERCISE",
            precedence=Precedence.PRIORITY,
            to=[endpoint("deu/lno-j3")],
        )
        first = await _next_draft(scene.reviewer)
        draft = first.draft
        assert draft is not None
        assert first.text == ""
        assert (draft.text, draft.subject, draft.channel_name) == (
            "The exercise begins at dawn.",
            "EXERCISE",
            "",
        )
        assert draft.missing == (
            "a reviewer other than the drafter",
            "a releaser other than the drafter",
        )
        await first.review()
        await _next_draft(scene.releaser)
        second = await _next_draft(scene.releaser)
        assert _signed(second) == {
            (Part.DRAFT, "nor/defatt-berlin"),
            (Part.REVIEW, "nor/desk"),
        }
        with pytest.raises(NotReleasedError, match="a releaser other than the drafter"):
            await second.send_released()
        await second.release()
        sent = await (await _last_draft(scene.releaser)).send_released()

        message = await next_message(scene.officer)
        assert message.id == sent.message_id == draft.id
        assert message.text == "The exercise begins at dawn."
        assert message.kind is Kind.NOTICE
        assert (message.dtg, message.to) == (draft.dtg, draft.to)
        assert message.state is MessageState.RECEIVED
        with pytest.raises(AlreadySentError):
            await (await _last_draft(scene.releaser)).send_released()


async def _released(scene: Scene, text: str = "The exercise begins at dawn.") -> None:
    """Have a notice drafted, reviewed and released, and everybody know it."""
    await scene.target.draft(scene.national, text, kind=Kind.NOTICE)
    await (await _next_draft(scene.reviewer)).review()
    await _next_draft(scene.releaser)
    await (await _next_draft(scene.releaser)).release()
    for client in (scene.drafter, scene.reviewer):
        await until(client, lambda c=client: _is_ready(c))  # type: ignore[misc]  # a default argument binds the loop's value


async def _is_ready(client: Client) -> bool:
    found = [m.draft for m in await client.history() if m.draft is not None]
    return bool(found) and found[-1].is_released


async def test_a_draft_that_was_sent_no_longer_says_that_it_can_be(stage: Stage) -> None:
    async with _scene(stage) as scene:
        await _released(scene)
        before = (await _last_draft(scene.releaser)).draft
        assert before is not None
        assert (before.can_be_sent, before.sent) == (True, False)
        await (await _last_draft(scene.releaser)).send_released()
        await next_message(scene.officer)

        async def told() -> bool:
            draft = (await _last_draft(scene.drafter)).draft
            return draft is not None and draft.sent

        # The drafter is in the target channel too, and sees it there.
        await until(scene.drafter, told)
        for client in (scene.releaser, scene.drafter):
            after = (await _last_draft(client)).draft
            assert after is not None
            assert (after.is_released, after.can_be_sent) == (True, False)
            with pytest.raises(AlreadySentError):
                await (await _last_draft(client)).send_released()


async def test_two_devices_that_send_a_release_at_once_send_it_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _scene(stage) as scene:
        await _released(scene)
        # Neither has heard of the other's sending.
        monkeypatch.setattr(drafts, "sendings", lambda *_: [])
        sent = await (await _last_draft(scene.releaser)).send_released()
        with pytest.raises(MessageRefusedError) as caught:
            await (await _last_draft(scene.drafter)).send_released()

        assert caught.value.remote_code == "release.used"
        message = await next_message(scene.officer)
        assert message.id == sent.message_id
        await scene.officer.sync(10)
        assert [m.text for m in await scene.officer.history()] == [message.text]


async def test_a_release_that_a_relay_takes_twice_is_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The relay looks for nothing, and the second sender neither.
    monkeypatch.setattr(SentReleases, "take", lambda *_: None)
    async with running(tmp_path / "lax") as lax:
        stage = Stage(lax, World(), tmp_path)
        await stage.open()
        async with _scene(stage) as scene:
            await _released(scene)
            with monkeypatch.context() as hidden:
                hidden.setattr(releasing, "_check_not_sent", lambda *_: None)
                await (await _last_draft(scene.releaser)).send_released()
                await (await _last_draft(scene.drafter)).send_released()

            first, second = [await next_message(scene.officer) for _ in range(2)]
            assert first.text == "The exercise begins at dawn."
            assert first.sender == scene.releaser.device
            assert (second.state, second.text) == (MessageState.WITHHELD, "")
            assert second.reason_code == "release.used"


async def _last_draft(client: Client) -> Message:
    return [m for m in await client.history() if m.draft is not None][-1]


async def test_without_release_a_notice_is_refused_and_a_text_is_not(stage: Stage) -> None:
    async with _scene(stage) as scene:
        with pytest.raises(PolicyRefusedError) as caught:
            await scene.target.send("to all", kind=Kind.NOTICE)
        assert caught.value.rule == "channels.liaison.release"

        await scene.target.send("good morning")
        assert (await next_message(scene.officer)).text == "good morning"


async def test_nobody_signs_who_is_not_asked_to_or_has_drafted(stage: Stage) -> None:
    async with _scene(stage) as scene:
        await scene.target.draft(scene.national, "At dawn.", kind=Kind.NOTICE)
        mine = await _last_draft(scene.drafter)
        at_desk = await _next_draft(scene.reviewer)

        with pytest.raises(PolicyRefusedError, match="may not release"):
            await at_desk.release()
        with pytest.raises(PolicyRefusedError, match="may not review"):
            await mine.review()
        plain = await scene.national.send("no draft at all")
        with pytest.raises(NotADraftError):
            await (await scene.drafter.message(str(plain.message_id))).review()


async def test_signatures_under_copies_that_went_different_ways_are_united(stage: Stage) -> None:
    async with _scene(stage) as scene:
        await scene.target.draft(scene.national, "At dawn.", kind=Kind.NOTICE)
        at_desk, at_chief = await asyncio.gather(
            _next_draft(scene.reviewer), _next_draft(scene.releaser)
        )
        await asyncio.gather(at_desk.review(), at_chief.release())

        async def whole() -> bool:
            view = (await _last_draft(scene.releaser)).draft
            return view is not None and view.is_released

        await until(scene.releaser, whole)
        # Any copy will do, the first one too.
        first = next(m for m in await scene.releaser.history() if m.draft is not None)
        await first.send_released()

        assert (await next_message(scene.officer)).text == "At dawn."


async def test_what_was_changed_after_it_was_signed_is_neither_shown_as_signed_nor_sent(
    stage: Stage,
) -> None:
    async with _scene(stage) as scene:
        await scene.target.draft(scene.national, "At dawn.", kind=Kind.NOTICE)
        await (await _next_draft(scene.reviewer)).review()
        await _next_draft(scene.releaser)
        second = await _next_draft(scene.releaser)
        await second.release()
        number = (await _last_draft(scene.releaser)).number
        env = scene.releaser._env

        def forge(draft: DraftPart) -> DraftPart:
            urgent = replace(draft.header, action=Precedence.FLASH)
            return replace(draft, header=urgent)

        await env.write(lambda tx: _replace(tx, number, forge))
        forged = next(m for m in await scene.releaser.history() if m.number == number)

        assert forged.draft is not None
        assert forged.draft.problem.startswith("a signature under the draft does not hold")
        assert not forged.draft.is_released
        with pytest.raises(NotReleasedError):
            await forged.send_released()


async def test_a_release_that_somebody_signed_with_a_certificate_that_is_in_no_log_is_withheld(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def registered(*_: object) -> None:
        """Let it through: readers don't rely on the relay's word."""

    monkeypatch.setattr("liaison.relay.services.messages.check_registered", registered)
    # Whoever has the root's key: no registrar would have known.
    stolen = SigningKey.generate(SignatureScheme.ED25519)
    forged = stage.certify("nor/desk#d2", (VerifyKey(stolen.scheme, stolen.public_bytes),))
    async with _scene(stage) as scene:
        await scene.target.draft(scene.national, "At dawn.", kind=Kind.NOTICE)
        await (await _next_draft(scene.releaser)).release()
        ready = await _last_draft(scene.releaser)
        env = scene.releaser._env

        def forge(draft: DraftPart) -> DraftPart:
            chain = forged.chains[stolen.scheme]
            signed = sign_draft(draft.header, draft.channel, Part.REVIEW, stolen, chain)
            return replace(draft, header=signed)

        await env.write(lambda tx: _replace(tx, ready.number, forge))
        await (await _last_draft(scene.releaser)).send_released()

        message = await next_message(scene.officer)
        assert (message.state, message.reason_code) == (
            MessageState.WITHHELD,
            "log.credential_unlogged",
        )
        assert message.text == ""


def _replace(tx: Transaction, number: int, change: Callable[[DraftPart], DraftPart]) -> None:
    record = messages.load(tx, number)
    assert record is not None
    found = drafts.of(record)
    assert found is not None
    part = change(found).as_part()
    content = replace(Content.decode(record.content), body=part).encode()
    messages.save_outcome(tx, replace(record, content=content))


async def test_a_file_of_a_draft_can_be_looked_at_by_who_is_in_its_channel(
    stage: Stage, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.txt"
    await asyncio.to_thread(plan.write_bytes, b"at dawn")
    async with _scene(stage) as scene:
        await scene.target.draft(scene.national, "See plan.", kind=Kind.NOTICE, attach=[plan])
        at_chief = await _next_draft(scene.releaser)
        saved = await at_chief.save(0, tmp_path / "copy.txt")

        assert await asyncio.to_thread(saved.read_bytes) == b"at dawn"


async def test_a_simulation_says_who_would_get_it_and_stores_nothing(stage: Stage) -> None:
    async with _scene(stage) as scene:
        wanted = [endpoint("deu/lno-j3"), endpoint("nor/desk")]
        found = await scene.target.simulate("hello", to=wanted)
        refused = await scene.target.simulate("hello", kind=Kind.NOTICE)

        assert found.decision.allow
        assert [str(one.endpoint) for one in found.missing] == ["nor/desk"]
        assert {str(one.endpoint) for one in found.outcomes if not one.addressed} == {
            "nor/chief",
            "nor/defatt-berlin",
        }
        assert refused.decision.rule == "channels.liaison.release"
        assert await scene.drafter.history() == []
