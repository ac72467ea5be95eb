"""The integrator's guide does what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import liaison_sdk
from tests.sdk.support import PASSPHRASE, Stage, next_message

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "integrator.md"


def _names() -> dict[str, Any]:
    """Run every Python block of the guide; return what they define."""
    names: dict[str, Any] = {"__name__": "guide"}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(compile(block, str(GUIDE), "exec"), names)  # noqa: S102 - our own guide
    return names


async def test_the_examples_of_the_guide_hold_a_conversation(stage: Stage) -> None:
    guide = await asyncio.to_thread(_names)
    await stage.enrol("nor/defatt-berlin#d1")
    await stage.enrol("deu/lno-j3#d1")
    home = stage.homes["nor/defatt-berlin#d1"]
    async with stage.client("deu/lno-j3#d1") as deu:
        await guide["open_channel"](home, PASSPHRASE)
        conversing = asyncio.create_task(guide["converse"](home, PASSPHRASE))
        message = await next_message(deu)
        await (await deu.channel("duty")).send("Understood.")

        assert message.text == "Convoy at the border."
        assert await asyncio.wait_for(conversing, 10) == "Understood."


def test_every_public_name_is_there() -> None:
    for name in liaison_sdk.__all__:
        assert getattr(liaison_sdk, name) is not None
