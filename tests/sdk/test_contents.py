"""What only clients can judge: the languages of texts, and files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from liaison.policy import signing
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.simulate import Fate
from liaison_sdk import Channel, Client, MessageState, attachments, composing
from tests.sdk.support import POLICY, Stage, endpoint, next_message

SPOKEN = "nor-deu-spoken"
ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"


@asynccontextmanager
async def speaking(stage: Stage, *languages: str) -> AsyncIterator[tuple[Channel, Client]]:
    """A channel of the attaché's in these languages, with few kinds of files, and a reader."""
    signed = stage.world.agreement("NOR", "DEU", relay=stage.relay.identity, agreement_id=SPOKEN)
    text = signing.verify(signed)
    (policy,) = text.channels
    files = replace(policy.attachments, media_types=("application/pdf", "image/*"))
    changed = replace(policy, languages=languages, attachments=files)
    text = replace(text, channels=(changed,))
    keys = [stage.world.party(code).authority_key for code in ("NOR", "DEU")]
    await stage.relay.admit_agreement(signing.add_signature(signing.sign(text, keys[0]), keys[1]))
    for name in (ATTACHE, OFFICER):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        yield await nor.create_channel(SPOKEN, POLICY, "duty", [endpoint("deu/lno-j3")]), deu


async def test_a_sender_says_in_which_of_several_languages_it_writes(stage: Stage) -> None:
    async with speaking(stage, "en", "nb") as (channel, reader):
        for language in ("", "de"):
            with pytest.raises(PolicyRefusedError) as caught:
                await channel.send("Brua er sperret.", language=language)
            assert caught.value.rule == "channels.liaison.languages"
            simulated = await channel.simulate("Brua er sperret.", language=language)
            assert simulated.decision.rule == "channels.liaison.languages"
            assert {one.fate for one in simulated.outcomes} == {Fate.REFUSED}
        await channel.send("Brua er sperret.", language="nb-NO")
        message = await next_message(reader)

        assert (message.text, message.language) == ("Brua er sperret.", "nb-NO")
        await message.acknowledge("roger")


async def test_where_there_is_one_language_nobody_has_to_say_so(stage: Stage) -> None:
    async with speaking(stage, "en") as (channel, reader):
        await channel.send("The bridge is closed.")
        message = await next_message(reader)

        assert (message.text, message.language) == ("The bridge is closed.", "en")


async def test_what_comes_in_another_language_is_withheld(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with speaking(stage, "en") as (channel, reader):
        monkeypatch.setattr(composing, "judge", lambda *_: _Allow())
        await channel.send("Halt an der Brücke.", language="de")
        message = await next_message(reader)

        assert message.state is MessageState.WITHHELD
        assert message.reason_code == "channels.liaison.languages"
        assert message.text == ""


async def test_a_message_with_a_file_that_may_not_be_attached_is_withheld(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>")
    async with speaking(stage) as (channel, reader):
        with pytest.raises(PolicyRefusedError) as caught:
            await channel.send("See the page.", attach=[page])
        simulated = await channel.simulate("See the page.", attach=[page])
        monkeypatch.setattr(composing, "judge", lambda *_: _Allow())
        monkeypatch.setattr(attachments, "check_rules", _nothing)
        await channel.send("See the page.", attach=[page])
        message = await next_message(reader)

        rule = "channels.liaison.attachments.media_types"
        assert caught.value.rule == simulated.decision.rule == message.reason_code == rule
        assert message.state is MessageState.WITHHELD
        assert (message.text, message.attachments) == ("", ())


async def _nothing(*_: object) -> None:
    """Check nothing."""


class _Allow:
    allow = True

    def require(self) -> None:
        """Let it pass."""
