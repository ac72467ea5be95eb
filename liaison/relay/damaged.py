"""Damaged logs: refused from then on, and what shows the damage is kept beside their files.

A log is damaged when the database, or a witness, says other than what the relay has signed. What is
kept is named by its content, so the same is kept once however often it is found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import field

from liaison.errors import LiaisonError
from liaison.relay import held as held_log
from liaison.relay import log
from liaison.relay.held import Held
from liaison.relay.recording import Recorder, Step
from liaison.values import dataclass

_GUIDE = "see docs/operating/log.md"


@dataclass(frozen=True)
class Refuser:
    """Refuses logs.

    Args:
        recorder: is told which are damaged, and takes nothing more for them.
        working: runs what blocks.
        step: told of each step by its name; tests end the process there.
    """

    recorder: Recorder
    working: Executor
    step: Step
    _keeping: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def refuse(self, held: Held, error: LiaisonError, evidence: Mapping[str, bytes]) -> None:
        """Have a log take nothing more, and keep what shows why.

        Args:
            held: the log.
            error: what is wrong with it, for whoever asks of it from now on.
            evidence: by name; what was signed is kept in any case.
        """
        error.hint = f"{error.hint}; {_GUIDE}" if error.hint else _GUIDE
        self.recorder.refuse(held.agreement, error, held.generation)
        kept = {"signed": held.note.encode(), **evidence}
        names = [f"{error.code}-{name}-{held_log.short(data)}" for name, data in kept.items()]
        log.logger().error("log_refused", origin=held.origin, code=error.code)
        # Two witnesses may say the same at the same time.
        async with self._keeping:
            for name, data in zip(names, kept.values(), strict=True):
                await self._keep(held, name, data)
        self.step("refused")
        for task in held.tasks:
            task.cancel()

    async def _keep(self, held: Held, name: str, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self.working, held.store.keep_evidence, name, data)
        except OSError as error:
            # A full disk must not keep the log from being refused, nor others from being published.
            log.logger().error("evidence_lost", origin=held.origin, **log.failure(error))
