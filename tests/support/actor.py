"""A partner system as a process of its own: sends numbered messages through the SDK.

Run by the journeys and the fault rounds, never imported by them. It says on
stdout, one JSON object per line, what the relay acknowledged; killed and started
again it goes on with the next number, as a program on duty would.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("channel")
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--count", type=int, required=True, help="the last number to send")
    parser.add_argument("--update-every", type=int, default=0)
    parser.add_argument("--skew", type=float, default=0.0, help="seconds this clock is ahead")
    return parser.parse_args()


def _say(message_id: object, text: str) -> None:
    sys.stdout.write(json.dumps({"id": str(message_id), "text": text}) + "\n")
    sys.stdout.flush()


async def main(options: argparse.Namespace, passphrase: str) -> None:
    """Send what is still to send; stop when all numbers are acknowledged."""
    if options.skew:
        right = time.time
        time.time = lambda: right() + options.skew
    # After the clock was turned: the SDK takes it when it is imported.
    from liaison_sdk import Client, MessageState  # noqa: PLC0415
    from liaison_sdk.errors import ConnectionLostError  # noqa: PLC0415

    home, ca_file = Path(os.environ["LIAISON_HOME"]), Path(os.environ["LIAISON_CA"])
    async with Client.open(home, passphrase=passphrase, ca_file=ca_file) as client:
        channel = await client.channel(options.channel)
        known = await client.history(channel.id)
        written = [m for m in known if m.outgoing and m.text.startswith(options.prefix)]
        waiting = [m.id for m in written if m.state is not MessageState.ACCEPTED]
        for message in written:
            if message.state is MessageState.ACCEPTED:
                # The run that sent it may have been ended before it said so.
                _say(message.id, message.text)
        for number in range(len(written) + 1, options.count + 1):
            text = f"{options.prefix} {number}"
            sent = await channel.send(text)
            _say(sent.message_id, text)
            if options.update_every and number % options.update_every == 0:
                # Cut off in the middle it stays staged, and goes out by itself.
                with contextlib.suppress(ConnectionLostError):
                    await channel.update()
        await client.sync()
        # Not the whole history once more: that is most of what a start takes after many runs.
        for message in [await client.message(str(one)) for one in waiting]:
            if message.state is MessageState.ACCEPTED:
                _say(message.id, message.text)


if __name__ == "__main__":
    secret = Path(os.environ["LIAISON_PASSPHRASE_FILE"]).read_text().strip()
    asyncio.run(main(_arguments(), secret))
