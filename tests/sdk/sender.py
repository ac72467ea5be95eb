"""A process that sends some messages from a device's store, beside others that do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from liaison_sdk import Client, Options


async def main(home: str, passphrase: str, channel: str, name: str, count: str) -> None:
    options = Options(poll_interval=0.02, backoff_first=0.05)
    async with Client.open(Path(home), passphrase=passphrase, options=options) as client:
        found = await client.channel(channel)
        for number in range(int(count)):
            await asyncio.wait_for(found.send(f"{name} {number}"), 40)


asyncio.run(main(*sys.argv[1:]))
