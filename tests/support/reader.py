"""A reader as a process of its own: says what it is shown, one JSON object per line.

Run by the fault rounds, never imported by them. Started again it goes on with what was not shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from liaison_sdk import Client


async def main(passphrase: str) -> None:
    """Show whatever comes, until the process is ended."""
    home, ca_file = Path(os.environ["LIAISON_HOME"]), Path(os.environ["LIAISON_CA"])
    async with Client.open(home, passphrase=passphrase, ca_file=ca_file) as client:
        async for message in client.messages():
            sys.stdout.write(json.dumps({"id": str(message.id), "text": message.text}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(os.environ["LIAISON_PASSPHRASE_FILE"]).read_text().strip()))
