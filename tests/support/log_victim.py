"""A process that records and publishes until it is killed at a step: `python -m tests.support.log_victim`.

It prints what it signs, a line of hex each, before anybody else can see it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.tlog.policy import Policy
from tests.support.logrig import Policies, opened


class Telling(SigningKey):
    """A key that tells what it signs."""

    def sign(self, data: bytes) -> bytes:
        """Print it, then sign."""
        sys.stdout.write(data.hex() + "\n")
        sys.stdout.flush()
        return super().sign(data)


async def main(
    url: str, folder: str, key: str, policy: str, urls: str, step: str, nth: str
) -> None:
    """Record and publish for ever; the `nth` time that `step` is reached is the end."""
    seen: Counter[str] = Counter()

    def reached(name: str) -> None:
        seen[name] += 1
        if name == step and seen[name] == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)

    signer = Telling(SignatureScheme.ED25519, bytes.fromhex(key))
    policies = Policies(Policy.parse(policy.encode()))
    async with opened(
        url, Path(folder), signer, policies=policies, urls=json.loads(urls), step=reached
    ) as rig:
        running = asyncio.create_task(rig.publisher.run())
        count = 0
        while not running.done():
            count += 1
            await rig.act(count * 7 % 50 + 1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
