"""The relay's side of witnessing: one round of cosignatures after another, for one log.

A round asks all witnesses of the log's policy about one checkpoint, at the same time. It is over
when a quorum has cosigned and the others have had a moment; a witness that does not answer, or
answers nonsense, is asked again later and later, and nobody waits for it where a quorum does not
need it. The next round is about the newest checkpoint there is then. How one witness is asked, and
when it is believed that it has seen more, is in `liaison.relay.asking`.

After a start nothing is signed before `Cosigning.confirmed` is set: a quorum has said that what was
signed last is the last that it saw.

Source: C2SP tlog-witness.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import Final

from liaison.relay import asking, log
from liaison.relay.asking import Asked, Exchange, Gathered, Subject
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.note import Note
from liaison.tlog.policy import Policy
from liaison.values import dataclass

MOMENT: Final = 0.25
"""Seconds that a round waits for the others once a quorum has cosigned."""
FRESH: Final = 1800.0
"""Seconds until what is still the newest checkpoint is cosigned anew: a reader sees by the time of the
cosignatures that it is not kept from what came later."""
_POLICY_AGE: Final = 1.0
"""Seconds for which a policy is used without looking whether a new version has another."""


@dataclass
class Cosigning:
    """Gathers cosignatures for one log.

    Args:
        subject: the log.
        policy: gives the policy of the version in force; None where it can't be told now.
        urls: where witnesses are, by name: the operator's setting.
        keep: stores a checkpoint with a quorum; called again when more witnesses have cosigned.
        known: size that the witnesses have probably cosigned last.
    """

    subject: Subject
    policy: Callable[[], Awaitable[Policy | None]]
    urls: Mapping[str, str]
    keep: Callable[[Checkpoint, Note], Awaitable[object]]
    known: int = 0
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    witnesses: dict[str, Asked] = field(default_factory=dict)
    _newest: Note | None = None
    _cosigned: tuple[Checkpoint, Note] | None = None
    _quorum: asyncio.Event = field(default_factory=asyncio.Event)
    _policy: tuple[float, Policy | None] = (-_POLICY_AGE, None)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, note: Note) -> None:
        """Find out whom to ask before anything is signed.

        Args:
            note: what was signed last.
        """
        policy = await self.policy()
        if policy is not None:
            self._confirm(policy)
        self.offer(note)

    def offer(self, note: Note) -> None:
        """Have a checkpoint cosigned, unless a newer one comes first.

        Args:
            note: signed by the log; its tiles and itself are on the disk.
        """
        self._newest = note
        self._news.set()

    async def run(self) -> None:
        """Gather cosignatures until cancelled."""
        keeping = asyncio.create_task(self._keep_all(), name=f"cosigned {self.subject.key.name}")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FRESH):
                        await self._news.wait()
                self._news.clear()
                if not await self._tried(self._ask_once, "asking"):
                    self._news.set()
        finally:
            open_ = [a.task for a in self.witnesses.values() if a.task is not None]
            for task in (keeping, *open_):
                task.cancel()
            # They may be reading the database, which is closed after this.
            await asyncio.gather(keeping, *open_, return_exceptions=True)

    async def _keep_all(self) -> None:
        """Store what a quorum has cosigned, the newest, while the next round goes on."""
        while True:
            await self._quorum.wait()
            self._quorum.clear()
            if not await self._tried(self._keep_once, "keeping"):
                self._quorum.set()

    async def _ask_once(self) -> None:
        if self._newest is not None:
            await self._round(self._newest)

    async def _keep_once(self) -> None:
        if self._cosigned is not None:
            await self.keep(*self._cosigned)

    async def _tried(self, step: Callable[[], Awaitable[object]], name: str) -> bool:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - logged, and tried again
            log.logger().error(
                "cosigning_failed", origin=self.subject.key.name, worker=name, **log.failure(error)
            )
            await asyncio.sleep(asking.FIRST_PAUSE)
            return False
        return True

    async def _round(self, note: Note) -> None:
        gathered = Gathered(note, Checkpoint.parse(note.text))
        loop = asyncio.get_running_loop()
        until: float | None = None
        stored = -1
        while not (gathered.is_outdated and self.confirmed.is_set()):
            self._answered.clear()
            if self._newest is not note and self._is_idle(gathered):
                # Whoever comes back is asked about the newest.
                return
            policy = await self._policy_now(loop.time())
            if policy is not None:
                self._ask(policy, gathered, loop.time())
                self._confirm(policy)
                names = gathered.names(policy)
                if policy.is_quorum(names) and len(names) > stored:
                    stored = len(names)
                    self._cosigned = gathered.checkpoint, gathered.note(policy)
                    self._quorum.set()
                    until = until or loop.time() + MOMENT
            if until is not None and (not self._is_waiting() or loop.time() >= until):
                return
            await self._pause(until, loop.time())

    async def _policy_now(self, now: float) -> Policy | None:
        read, policy = self._policy
        if policy is None or now - read >= _POLICY_AGE:
            policy = await self.policy()
            self._policy = now, policy
        return policy

    def _ask(self, policy: Policy, gathered: Gathered, now: float) -> None:
        for name, listed in policy.witnesses.items():
            url = self.urls.get(name)
            asked = self.witnesses.setdefault(name, Asked(self.known))
            if url is None:
                asked.problem = "log.witness_unset"
            elif asked.task is None and asked.due <= now and listed.key not in gathered.asked:
                gathered.asked.add(listed.key)
                exchange = Exchange(
                    self.subject, name, listed.key, url, asked, gathered, self._answered.set
                )
                asked.task = asyncio.create_task(exchange.run(), name=f"witness {name}")

    def _confirm(self, policy: Policy) -> None:
        if self.confirmed.is_set():
            return
        answered = {name for name, asked in self.witnesses.items() if asked.answered}
        reachable = policy.witnesses.keys() & self.urls.keys()
        # Where the operator has set no witness at all there is nobody to ask.
        if policy.is_quorum(answered) or not reachable:
            self.confirmed.set()

    def _is_waiting(self) -> bool:
        """Whether a witness that has not failed lately has still to answer."""
        return any(a.task is not None and not a.failures for a in self.witnesses.values())

    def _is_idle(self, gathered: Gathered) -> bool:
        """Whether nobody has cosigned, and nobody is being asked."""
        return not gathered.signed and all(a.task is None for a in self.witnesses.values())

    async def _pause(self, until: float | None, now: float) -> None:
        """Wait for an answer, or until something may be done without one."""
        dues = [a.due for a in self.witnesses.values() if a.task is None and a.due > now]
        deadline = min(dues, default=now + asking.LONGEST_PAUSE)
        if until is not None:
            deadline = min(deadline, until)
        try:
            async with asyncio.timeout_at(deadline):
                await self._answered.wait()
        except TimeoutError:
            return
