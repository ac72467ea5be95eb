"""`add-checkpoint` over HTTP: read, judge and store, and only then cosign.

`show-checkpoint` beside it answers a log that was refused with what was cosigned: proof, where an
answer of another size is a word. Whoever reaches the port may ask; only what a known log has signed
is cosigned. What a request costs is bounded: its size, its time, how many come in at once and how
many wait to be judged.

Source: C2SP tlog-witness, "add-checkpoint".
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from aiohttp import web

from liaison.errors import LiaisonError
from liaison.tlog import witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import (
    CheckpointError,
    NoteError,
    OriginError,
    WitnessBehindError,
    WitnessRequestError,
)
from liaison.tlog.note import Note
from liaison.tlog.vkey import VerifierKey
from liaison.tlog.witness import MAX_REQUEST_BYTES, SIZE_TYPE, STATUS, AddCheckpoint
from liaison_auditor.errors import WitnessStateError
from liaison_auditor.witness.keys import WitnessKey
from liaison_auditor.witness.state import State

PATH: Final = f"/{witness.ADD}"
SHOW_PATH: Final = f"/{witness.SHOW}"
MAX_WAITING: Final = 64
"""Requests that wait to be judged; more are told to come back."""
MAX_READING: Final = 512
"""Requests whose bodies are still coming."""
MAX_READING_OF_ONE: Final = 64
"""Of them from one address: whoever sends slowly keeps out those next to it at most."""
MAX_TEXT: Final = 4096
"""Characters of a checkpoint: what is cosigned is kept, and extensions are the sender's."""
BODY_SECONDS: Final = 10
"""For a request's body to come in."""
KEEPALIVE_SECONDS: Final = 75

Report = Callable[[str, LiaisonError], None]
"""Told the origin and the refusal of each request of a known log that is refused."""


class Witness:
    """A witness at work on an open state.

    Args:
        keys: that cosign.
        logs: origin -> the log's keys.
        state: what was cosigned; owned by this from now on.
        clock: POSIX seconds.
        report: told of each request about a known log that is refused, and of a failing disk.
    """

    def __init__(
        self,
        keys: Sequence[WitnessKey],
        logs: Mapping[str, Sequence[VerifierKey]],
        state: State,
        clock: Callable[[], float] = time.time,
        report: Report = lambda _origin, _error: None,
    ) -> None:
        self._keys = [key.pair for key in keys]
        self._logs = logs
        self._state = state
        self._clock = clock
        self._report = report
        # One thread: the state has one user, and the event loop never waits for the disk.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="witness")
        self._waiting = 0
        self._reading: Counter[str] = Counter()

    def application(self) -> web.Application:
        """Return the HTTP application; it ends the witness when it is cleaned up."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post(PATH, partial(self._answer, self.cosign))
        app.router.add_post(SHOW_PATH, partial(self._answer, self.show))
        app.on_cleanup.append(self._close)
        return app

    def cosign(self, body: bytes) -> bytes:
        """Answer one request; blocks until the answer may leave.

        Raises:
            LiaisonError: refused; `liaison.tlog.witness.STATUS` has the status.
        """
        request = AddCheckpoint.decode(body)
        if len(request.note.text) > MAX_TEXT:
            raise WitnessRequestError(f"a checkpoint with more than {MAX_TEXT} characters")
        origin = request.checkpoint.origin
        try:
            at = self._state.advance(request, self._logs.get(origin, ()), int(self._clock()))
        except LiaisonError as error:
            if origin in self._logs:
                self._report(origin, error)
            raise
        # The order is the witness's whole worth: what it has signed, it remembers.
        return witness.cosign(request, self._keys, at)

    def show(self, body: bytes) -> bytes:
        """Answer with what was cosigned; blocks.

        Raises:
            LiaisonError: refused, as in `cosign`.
        """
        try:
            note = Note.decode(body)
            origin = Checkpoint.parse(note.text).origin
        except (NoteError, CheckpointError) as error:
            raise WitnessRequestError(f"not a checkpoint: {error}") from error
        shown = self._state.show(note, self._logs.get(origin, ()))
        if shown is None:
            raise OriginError("nothing of this log was cosigned yet")
        return shown

    async def _answer(self, work: Callable[[bytes], bytes], request: web.Request) -> web.Response:
        try:
            body = await self._read(request)
        except TimeoutError:
            return _refused(408, "the request did not come in time", {"Connection": "close"})
        except ConnectionError:
            # Whoever asked has gone: nobody reads this, and it is nothing to report.
            return _refused(400, "the request was cut short", {"Connection": "close"})
        if body is None or self._waiting >= MAX_WAITING:
            return _refused(503, "too many requests at once", {"Retry-After": "1"})
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._worker, work, body)
        except WitnessBehindError as error:
            return web.Response(
                status=409, body=witness.encode_size(error.size), content_type=SIZE_TYPE
            )
        except LiaisonError as error:
            return _refused(_status(error), error.message)
        finally:
            self._waiting -= 1
        return web.Response(body=answer, content_type="text/plain", charset="utf-8")

    async def _read(self, request: web.Request) -> bytes | None:
        """Return a request's body; None where too many are being read."""
        address = request.remote or ""
        reading = self._reading
        if reading[address] >= MAX_READING_OF_ONE or reading.total() >= MAX_READING:
            return None
        reading[address] += 1
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await request.read()
        finally:
            reading[address] -= 1
            if not reading[address]:
                del reading[address]

    async def _close(self, _app: web.Application) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._worker, self._state.close)
        self._worker.shutdown(wait=False)


def _status(error: LiaisonError) -> int:
    found = (STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return next(found, 500 if isinstance(error, WitnessStateError) else 400)


def _refused(status: int, words: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{words}\n", headers=headers)
