"""Asking one witness about one checkpoint of a log, and what its answer is worth.

A witness that says that it has cosigned more than the log holds, or another history, tells of an
old backup; or it lies, or has mixed up its own record, and any party could so stop all others. Its
word refuses nothing. It is asked to show what it has cosigned: a checkpoint that the log's own key
has signed, and that the database does not hold, is proof, whoever shows it and whenever. A witness
that shows none has not cosigned, that is all: where no quorum is possible without it, the log waits
as if it were away.

Source: C2SP tlog-witness; `show-checkpoint` is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from http import HTTPStatus
from ssl import SSLContext
from typing import Final, NamedTuple, NoReturn

import aiohttp

from liaison.errors import LiaisonError, UnavailableError
from liaison.relay import log
from liaison.tlog import merkle, witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError, ShrunkError
from liaison.tlog.note import MAX_NOTE_BYTES, Note
from liaison.tlog.policy import Policy
from liaison.tlog.vkey import VerifierKey
from liaison.tlog.witness import SIZE_TYPE, AddCheckpoint
from liaison.values import dataclass

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0
"""Seconds until a witness that failed is asked again, at first and at most."""
PATIENCE: Final = 5.0
"""Seconds for one request to a witness."""
RESTORE: Final = (
    "restore the newest backup of the database; where that is lost, the parties' authorities have to"
    " sign an amendment that names a successor log (`liaison-relay log successor`)"
)
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


class WitnessUnprovenError(WitnessRefusalError):
    """The witness says that it has seen more, or other, than the log holds, and does not show it."""

    code = "log.witness_unproven"


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
        failures: in a row.
        due: when it may be asked again, in the loop's time.
        problem: code of what went wrong last; empty where nothing did.
        task: while it is being asked.
    """

    size: int = 0
    answered: bool = False
    failures: int = 0
    due: float = 0.0
    problem: str = ""
    task: asyncio.Task[None] | None = None

    def fail(self, code: str, now: float) -> None:
        """Note a failure; the pause doubles with each."""
        self.problem = code
        self.due = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures, 16))
        self.failures += 1


@dataclass(frozen=True)
class Subject:
    """The log that a witness is asked about.

    Args:
        key: of the log; its name is the origin.
        post: sends requests.
        prove: makes proofs of published sizes.
        size: gives how many entries the database holds now.
        root: gives the root of the log's first entries, so many; None where its tiles have not got
            so far.
        refuse: told with the evidence that the log is not what it has signed: the request, the
            answer, and what was shown.
    """

    key: VerifierKey
    post: Post
    prove: Prove
    size: Callable[[], Awaitable[int]]
    root: Callable[[int], Awaitable[bytes | None]]
    refuse: Callable[[LiaisonError, Mapping[str, bytes]], Awaitable[object]]


@dataclass
class Gathered:
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
class Exchange:
    """One witness is asked about one checkpoint.

    Args:
        subject: the log.
        name: of the witness.
        key: of the witness.
        url: where it is.
        asked: what is known of it.
        gathered: what has come in about the checkpoint.
        told: called when it has answered, or failed to.
    """

    subject: Subject
    name: str
    key: VerifierKey
    url: str
    asked: Asked
    gathered: Gathered
    told: Callable[[], object]

    async def run(self) -> None:
        """Ask; what came of it is noted, nothing is raised."""
        loop = asyncio.get_running_loop()
        try:
            self.gathered.signed[self.key] = await self._cosigned()
            self.asked.failures, self.asked.problem, self.asked.answered = 0, "", True
        except LiaisonError as error:
            self._failed(error.code, loop.time())
        except Exception as error:  # noqa: BLE001 - logged; the others' answers count without it
            self._failed("error", loop.time())
            log.logger().error("witness_failed", witness=self.name, **log.failure(error))
        finally:
            self.asked.task = None
            self.told()

    def _failed(self, code: str, now: float) -> None:
        if code != self.asked.problem:
            loud = code == WitnessUnprovenError.code
            tell = log.logger().error if loud else log.logger().warning
            tell("witness_failed", witness=self.name, origin=self.subject.key.name, code=code)
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
            answer = await self.subject.post(f"{self.url}/{witness.ADD}", request)
            if answer.status == HTTPStatus.OK:
                note = witness.accept(self.gathered.asked_note, answer.body, [self.key])
                self.asked.size = new.size
                return note
            if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                await self._doubted(request, answer, old)
            if answer.status != HTTPStatus.CONFLICT:
                raise WitnessRefusalError(f"the witness answered {answer.status}")
            # Of the size that it was asked from, a conflict is about the root.
            seen = witness.decode_size(answer.body) if answer.media_type == SIZE_TYPE else old
            if seen == old or seen > new.size:
                await self._doubted(request, answer, seen)
            self.asked.size = seen
        raise WitnessRefusalError("the witness tells another size each time")

    async def _proof(self, old: int, new: int) -> tuple[bytes, ...]:
        # Most witnesses have cosigned the same size last.
        known = self.gathered.proofs.get(old)
        if known is None:
            known = self.gathered.proofs[old] = asyncio.ensure_future(self.subject.prove(old, new))
        try:
            return await asyncio.shield(known)
        except Exception:
            self.gathered.proofs.pop(old, None)
            raise

    async def _doubted(self, request: bytes, answer: Answer, seen: int) -> NoReturn:
        """Settle what a witness says that it has seen: is it of this log's history, or of another?"""
        is_newer = seen > self.gathered.checkpoint.size
        if is_newer and self.asked.answered and seen <= await self.subject.size():
            self._outdated()
        note = await self._shown()
        # After the note: what another node has signed is in the database by then.
        held = await self.subject.size()
        shown = None if note is None else Checkpoint.parse(note.text)
        root = await self.subject.root(seen if shown is None else min(shown.size, held))
        if note is not None and shown is not None and (root is not None or shown.size > held):
            own = Checkpoint(self.subject.key.name, held, root or merkle.EMPTY_ROOT)
            try:
                witness.verify_not_behind(own, own.root, shown)
            except (ShrunkError, ForkError) as error:
                error.hint = RESTORE
                evidence = {"request": request, "answer": answer.body, "shown": note.encode()}
                await self.subject.refuse(error, evidence)
                raise
            # It has shown what it speaks of, and that is here.
            self.asked.answered = self.asked.answered or shown.size >= seen
        if is_newer and seen <= held:
            self._outdated()
        raise WitnessUnprovenError

    def _outdated(self) -> NoReturn:
        # Another node has published more by now, of the same database.
        self.gathered.is_outdated = True
        raise WitnessRefusalError("the witness has cosigned a newer checkpoint")

    async def _shown(self) -> Note | None:
        """Return what the witness has cosigned, if the log has signed it."""
        asked = self.gathered.asked_note.encode()
        try:
            answer = await self.subject.post(f"{self.url}/{witness.SHOW}", asked)
            if answer.status != HTTPStatus.OK:
                return None
            note = Note.decode(answer.body)
            witness.signed_by_log(note, [self.subject.key])
        except LiaisonError:
            # No proof, whatever it is instead; the witness is asked again later.
            return None
        return note
