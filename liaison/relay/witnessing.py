"""The relay's side of witnessing: one round of cosignatures after another, for one log.

A round asks all witnesses of the log's policy about one checkpoint, at the same time. It is over
when a quorum has cosigned and the others have had a moment; a witness that does not answer, or
answers nonsense, is asked again later and later, and nobody waits for it where a quorum does not
need it. The next round is about the newest checkpoint there is then.

A witness that has cosigned more than the log holds tells of an old backup. It is believed when it
is first asked after a start, before anything was signed: `Cosigning.confirmed` is set when a quorum
has said that what was signed last is the last that it saw. Later it can't be true, because the log
has only grown since, so it is reported and not believed. Nobody can check a witness's word: those
that are not needed for a quorum can't have a log refused, or any party could stop all of it.

Source: C2SP tlog-witness.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ssl import SSLContext
from typing import Final, NamedTuple

import aiohttp

from liaison.errors import LiaisonError, UnavailableError
from liaison.relay import log
from liaison.tlog import witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError, ShrunkError
from liaison.tlog.note import MAX_NOTE_BYTES, Note
from liaison.tlog.policy import Policy
from liaison.tlog.vkey import VerifierKey
from liaison.tlog.witness import SIZE_TYPE, AddCheckpoint

MOMENT: Final = 0.25
"""Seconds that a round waits for the others once a quorum has cosigned."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0
"""Seconds until a witness that failed is asked again, at first and at most."""
FRESH: Final = 1800.0
"""Seconds until what is still the newest checkpoint is cosigned anew: a reader sees by the time of the
cosignatures that it is not kept from what came later."""
PATIENCE: Final = 5.0
"""Seconds for one request to a witness."""
RESTORE: Final = (
    "restore the newest backup of the database; where that is lost, the parties' authorities have to"
    " sign a new agreement, with a log of its own"
)
_POLICY_AGE: Final = 1.0
"""Seconds for which a policy is used without looking whether a new version has another."""
_ATTEMPTS: Final = 3
"""Requests in one exchange: sizes may change under way."""


class Answer(NamedTuple):
    """What a witness answered.

    Args:
        status: of HTTP.
        media_type: of the body, without parameters.
        body: at most as long as an answer may be.
    """

    status: int
    media_type: str
    body: bytes


Post = Callable[[str, bytes], Awaitable[Answer]]
"""Sends a body to an address.

Raises:
    UnavailableError: nobody answered, not in time, or too much.
"""
Prove = Callable[[int, int], Awaitable[tuple[bytes, ...]]]
"""Gives the proof that the log's first many entries are the beginning of its first more."""


class WitnessUnreachableError(UnavailableError):
    """The witness did not answer."""

    code = "log.witness_unreachable"


class WitnessRefusalError(UnavailableError):
    """The witness did not cosign."""

    code = "log.witness_refused"


class Requests:
    """Sends requests to witnesses over HTTP; make and close it within the event loop.

    Args:
        context: whom to trust as a witness's host; None for the system's authorities.
    """

    def __init__(self, context: SSLContext | None = None) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context if context is not None else True),
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, url: str, body: bytes) -> Answer:
        """Send a body; see `Post`."""
        try:
            async with self._session.post(url, data=body, allow_redirects=False) as answer:
                return Answer(answer.status, answer.content_type, await _read(answer.content))
        except (aiohttp.ClientError, OSError) as error:
            # TimeoutError is an OSError.
            raise WitnessUnreachableError(f"no answer from {url}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


async def _read(stream: aiohttp.StreamReader) -> bytes:
    body = b""
    async for chunk in stream.iter_any():
        body += chunk
        if len(body) > MAX_NOTE_BYTES:
            raise WitnessRefusalError(f"the witness's answer is over {MAX_NOTE_BYTES} bytes")
    return body


@dataclass
class Asked:
    """What is known of one witness of one log.

    Args:
        size: it has cosigned last, as far as is known here.
        answered: whether it has confirmed, since the start, that the log holds what it saw.
        accuses: whether it has said that the log does not hold it.
        failures: in a row.
        due: when it may be asked again, in the loop's time.
        problem: code of what went wrong last; empty where nothing did.
        task: while it is being asked.
    """

    size: int = 0
    answered: bool = False
    accuses: bool = False
    failures: int = 0
    due: float = 0.0
    problem: str = ""
    task: asyncio.Task[None] | None = None

    def fail(self, code: str, now: float) -> None:
        """Note a failure; the pause doubles with each."""
        self.problem = code
        self.due = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures, 16))
        self.failures += 1


@dataclass
class Cosigning:
    """Gathers cosignatures for one log.

    Args:
        origin: of the log.
        policy: gives the policy of the version in force; None where it can't be told now.
        urls: where witnesses are, by name: the operator's setting.
        post: sends requests.
        prove: makes proofs of published sizes.
        size: gives how many entries the database holds now.
        keep: stores a checkpoint with a quorum; called again when more witnesses have cosigned.
        refuse: told with the evidence (request, answer) that the log is not what a witness saw.
        clock: Unix milliseconds.
        known: size that the witnesses have probably cosigned last.
    """

    origin: str
    policy: Callable[[], Awaitable[Policy | None]]
    urls: Mapping[str, str]
    post: Post
    prove: Prove
    size: Callable[[], Awaitable[int]]
    keep: Callable[[Checkpoint, Note], Awaitable[object]]
    refuse: Callable[[LiaisonError, bytes, bytes], Awaitable[object]]
    clock: Callable[[], int]
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
        keeping = asyncio.create_task(self._keep_all(), name=f"cosigned {self.origin}")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FRESH):
                        await self._news.wait()
                self._news.clear()
                if not await self._tried(self._ask_once, "asking"):
                    self._news.set()
        finally:
            keeping.cancel()
            for asked in self.witnesses.values():
                if asked.task is not None:
                    asked.task.cancel()

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
                "cosigning_failed", origin=self.origin, worker=name, **log.failure(error)
            )
            await asyncio.sleep(FIRST_PAUSE)
            return False
        return True

    async def _round(self, note: Note) -> None:
        gathered = _Round(note, Checkpoint.parse(note.text))
        loop = asyncio.get_running_loop()
        until: float | None = None
        stored = -1
        while not gathered.is_outdated:
            self._answered.clear()
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

    def _ask(self, policy: Policy, gathered: _Round, now: float) -> None:
        for name, listed in policy.witnesses.items():
            url = self.urls.get(name)
            asked = self.witnesses.setdefault(name, Asked(self.known))
            if url is None:
                asked.problem = "log.witness_unset"
            elif asked.task is None and asked.due <= now and listed.key not in gathered.asked:
                gathered.asked.add(listed.key)
                exchange = _Exchange(self, name, listed.key, url, asked, gathered)
                asked.task = asyncio.create_task(exchange.run(), name=f"witness {name}")

    def _confirm(self, policy: Policy) -> None:
        if self.confirmed.is_set():
            return
        answered = {name for name, asked in self.witnesses.items() if asked.answered}
        reachable = policy.witnesses.keys() & self.urls.keys()
        # Where the operator has set no witness at all there is nobody to ask.
        if policy.is_quorum(answered) or not reachable:
            self.confirmed.set()

    async def believes_accusers(self) -> bool:
        """Whether nothing was confirmed yet, and can't be without those that accuse the log."""
        if self.confirmed.is_set():
            return False
        policy = await self.policy()
        if policy is None:
            return True
        accusers = {name for name, asked in self.witnesses.items() if asked.accuses}
        return not policy.is_quorum(policy.witnesses.keys() - accusers)

    def _is_waiting(self) -> bool:
        """Whether a witness that has not failed lately has still to answer."""
        return any(a.task is not None and not a.failures for a in self.witnesses.values())

    async def _pause(self, until: float | None, now: float) -> None:
        """Wait for an answer, or until something may be done without one."""
        dues = [a.due for a in self.witnesses.values() if a.task is None and a.due > now]
        deadline = min(dues, default=now + LONGEST_PAUSE)
        if until is not None:
            deadline = min(deadline, until)
        try:
            async with asyncio.timeout_at(deadline):
                await self._answered.wait()
        except TimeoutError:
            return

    def told(self) -> None:
        """A witness has answered, or failed to."""
        self._answered.set()


@dataclass
class _Round:
    """What has come in about one checkpoint."""

    asked_note: Note
    checkpoint: Checkpoint
    asked: set[VerifierKey] = field(default_factory=set)
    signed: dict[VerifierKey, Note] = field(default_factory=dict)
    proofs: dict[int, asyncio.Future[tuple[bytes, ...]]] = field(default_factory=dict)
    is_outdated: bool = False
    """Whether a witness has cosigned a newer one already, for another node."""

    def names(self, policy: Policy) -> set[str]:
        """Return the witnesses of a policy that have cosigned."""
        return {name for name, listed in policy.witnesses.items() if listed.key in self.signed}

    def note(self, policy: Policy) -> Note:
        """Return the checkpoint with their cosignatures."""
        merged = self.asked_note
        for listed in policy.witnesses.values():
            if listed.key in self.signed:
                mine = self.signed[listed.key].signatures
                merged = merged.with_signature(*(s for s in mine if s.is_by(listed.key)))
        return merged


@dataclass
class _Exchange:
    """One witness is asked about one checkpoint."""

    cosigning: Cosigning
    name: str
    key: VerifierKey
    url: str
    asked: Asked
    gathered: _Round

    async def run(self) -> None:
        """Ask; what came of it is noted, nothing is raised."""
        loop = asyncio.get_running_loop()
        try:
            self.gathered.signed[self.key] = await self._cosigned()
            self.asked.failures, self.asked.problem, self.asked.answered = 0, "", True
            self.asked.accuses = False
        except LiaisonError as error:
            self._failed(error.code, loop.time())
        except Exception as error:  # noqa: BLE001 - logged; the others' answers count without it
            self._failed("error", loop.time())
            log.logger().error("witness_failed", witness=self.name, **log.failure(error))
        finally:
            self.asked.task = None
            self.cosigning.told()

    def _failed(self, code: str, now: float) -> None:
        if code != self.asked.problem:
            log.logger().warning(
                "witness_failed", witness=self.name, origin=self.cosigning.origin, code=code
            )
        self.asked.fail(code, now)
        # It may be asked about the same checkpoint again.
        self.gathered.asked.discard(self.key)

    async def _cosigned(self) -> Note:
        new = self.gathered.checkpoint
        self.asked.size = min(self.asked.size, new.size)
        for _ in range(_ATTEMPTS):
            old = self.asked.size
            proof = () if old in (0, new.size) else await self._proof(old, new.size)
            request = AddCheckpoint(old, proof, self.gathered.asked_note).encode()
            answer = await self.cosigning.post(f"{self.url}/add-checkpoint", request)
            if answer.status == HTTPStatus.OK:
                note = witness.accept(self.gathered.asked_note, answer.body, [self.key])
                self.asked.size = new.size
                return note
            if answer.status != HTTPStatus.CONFLICT or answer.media_type != SIZE_TYPE:
                await self._refused(answer, request)
                raise WitnessRefusalError(f"the witness answered {answer.status}")
            seen = witness.decode_size(answer.body)
            if seen > new.size:
                await self._ahead(seen, request, answer)
            self.asked.size = seen
        raise WitnessRefusalError("the witness tells another size each time")

    async def _proof(self, old: int, new: int) -> tuple[bytes, ...]:
        # Most witnesses have cosigned the same size last.
        known = self.gathered.proofs.get(old)
        if known is None:
            known = self.gathered.proofs[old] = asyncio.ensure_future(
                self.cosigning.prove(old, new)
            )
        try:
            return await asyncio.shield(known)
        except Exception:
            self.gathered.proofs.pop(old, None)
            raise

    async def _ahead(self, seen: int, request: bytes, answer: Answer) -> None:
        held = await self.cosigning.size()
        if seen <= held:
            # Another node has published more by now, of the same database.
            self.asked.answered = self.gathered.is_outdated = True
            raise WitnessRefusalError("the witness has cosigned a newer checkpoint")
        error = ShrunkError(
            f"the log has {held} entries and the witness {self.name} has cosigned {seen}",
            hint=RESTORE,
        )
        await self._accuse(error, request, answer)

    async def _refused(self, answer: Answer, request: bytes) -> None:
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            error = ForkError(
                f"the witness {self.name} has cosigned another history than the log holds",
                hint=f"compare the log with the witness's record; if that is right, {RESTORE}",
            )
            await self._accuse(error, request, answer)

    async def _accuse(self, error: LiaisonError, request: bytes, answer: Answer) -> None:
        if not self.asked.answered:
            self.asked.accuses = True
            if await self.cosigning.believes_accusers():
                await self.cosigning.refuse(error, request, answer.body)
        # Else the witness has lost or mixed up its own record: the log has only grown since.
        raise error
