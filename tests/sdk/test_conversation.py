"""Two nations talk through a real relay."""

from __future__ import annotations

import asyncio
from pathlib import Path

from liaison.relay.services.fullness import _Counted
from liaison_sdk import Answer, MessageState, Precedence, Progress
from tests.sdk.support import AGREEMENT, POLICY, Stage, endpoint, until

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"


async def test_a_message_reaches_the_other_nation_and_its_answer_comes_back(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    await stage.enrol(OFFICER)
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        sent = await channel.send("Convoy at the border.", precedence=Precedence.FLASH)
        message = await asyncio.wait_for(anext(deu.messages()), 10)
        await message.acknowledge("will-comply", "on it")

        async def answered() -> bool:
            return bool((await nor.message(str(sent.message_id))).receipts)

        await until(nor, answered)
        mine = await nor.message(str(sent.message_id))

        assert sent.state is MessageState.ACCEPTED
        assert message.text == "Convoy at the border."
        assert message.channel_name == "duty"
        assert str(message.sender) == ATTACHE
        assert message.precedence is Precedence.FLASH
        assert mine.receipts[0].answer is Answer.WILL_COMPLY
        assert str(mine.receipts[0].sender) == OFFICER


async def test_an_attachment_of_5_mib_arrives_whole(stage: Stage, tmp_path: Path) -> None:
    await stage.enrol(ATTACHE)
    await stage.enrol(OFFICER)
    content = bytes(range(256)) * (5 << 12)
    await asyncio.to_thread((tmp_path / "map.bin").write_bytes, content)
    progress: list[Progress] = []
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        await channel.send("See map.", attach=[tmp_path / "map.bin"], progress=progress.append)
        message = await asyncio.wait_for(anext(deu.messages()), 10)
        saved = await message.save(0, await asyncio.to_thread(_folder, tmp_path / "in"))

        assert await asyncio.to_thread(saved.read_bytes) == content
        assert saved.name == "map.bin"
        assert progress[-1].done == len(content)


async def test_a_full_channel_keeps_no_other_waiting_and_gets_its_messages_when_it_has_room(
    stage: Stage,
) -> None:
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        full = await nor.create_channel(AGREEMENT, POLICY, "full", [])
        free = await nor.create_channel(AGREEMENT, POLICY, "free", [])
        fullness = stage.relay.app.services.fullness
        fullness._counted[1] = _Counted(10**9, 0, 0, stage.relay.app.clocks.now_ms())

        waiting = [await full.send(str(number), wait=False) for number in range(40)]
        through = await free.send("It goes on.")
        del fullness._counted[1]

        async def all_through() -> bool:
            states = [(await nor.message(str(one.message_id))).state for one in waiting]
            return set(states) == {MessageState.ACCEPTED}

        assert through.state is MessageState.ACCEPTED
        await until(nor, all_through, 30)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
