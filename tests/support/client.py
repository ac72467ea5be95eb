"""A bare client of the relay: the handshake, JSON requests and frames, nothing else.

It does what it is told, right or wrong, so that a test can send what no honest
client would.
"""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector, WSMsgType

from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import Signer
from liaison.policy.relay_identity import RelayIdentity
from liaison.wire import frames, v1
from liaison.wire.handshake import Principal, Transcript, key_fingerprint

PATIENCE = 10


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.json["type"]).removeprefix("urn:liaison:")


class RawStream:
    """The client's end of a WebSocket."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, *out: frames.ClientFrame) -> None:
        """Send frames."""
        for frame in out:
            await self.socket.send_bytes(frames.encode(frame))

    async def receive(self) -> frames.RelayFrame:
        """Return the next frame; fails when the relay closes instead."""
        message = await self.socket.receive(timeout=PATIENCE)
        assert message.type is WSMsgType.BINARY, (message.type, self.socket.close_code)
        return frames.decode_relay(message.data)

    async def close_code(self) -> int | None:
        """Return the code that the relay closes with, whatever frames come before it."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.socket.receive()).type is WSMsgType.BINARY:
                pass
        # The socket's own code is 1006 where the answer to the relay's close came too late.
        return message.data if message.type is WSMsgType.CLOSE else self.socket.close_code

    async def hello(
        self, *, deliver: bool = True, limit: int = 256, state_version: int = 0
    ) -> frames.Ready:
        """Greet the relay and return its answer."""
        await self.send(frames.Hello(deliver, limit, state_version))
        ready = await self.receive()
        assert isinstance(ready, frames.Ready)
        return ready


class RawClient:
    """One principal's connection to a relay.

    Args:
        url: the relay's.
        ca: the certificate authority of its TLS.
        relay: its identity.
        principal: who logs in.
        signer: with which key.
    """

    def __init__(
        self,
        url: str,
        ca: Path,
        relay: RelayIdentity,
        principal: Principal | None = None,
        signer: Signer | None = None,
    ) -> None:
        self.relay = relay
        self.principal = principal
        self.signer = signer
        self.token = ""
        self.url = url
        self._tls = ssl.create_default_context(cafile=str(ca)) if url[:6] == "https:" else True
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = ClientSession(self.url, connector=TCPConnector(ssl=self._tls))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.session.close()

    @property
    def session(self) -> ClientSession:
        """aiohttp's session."""
        assert self._session is not None
        return self._session

    async def request(
        self,
        method: str,
        path: str,
        body: v1.Body | bytes | Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request, with the token if there is one."""
        sent = dict(headers or {})
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        data = body.model_dump_json().encode() if isinstance(body, v1.Body) else body
        if isinstance(data, bytes) and len(data) > 1 << 20:
            # aiohttp warns of larger bytes: they are sent without a pause.
            data = io.BytesIO(data)
        async with self.session.request(method, path, data=data, headers=sent) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def get(self, path: str) -> Answer:
        """Send a GET."""
        return await self.request("GET", path)

    async def post(self, path: str, body: v1.Body | bytes | None = None) -> Answer:
        """Send a POST."""
        return await self.request("POST", path, body)

    async def challenge(self, **changes: Any) -> tuple[Answer, Transcript]:
        """Ask for a challenge; `changes` replace members of the request."""
        assert self.principal is not None
        assert self.signer is not None
        members = {
            "principal": self.principal.uri,
            "key": key_fingerprint(self.signer.public_bytes),
            "client_nonce": random_bytes(32),
            "origin": self.relay.url,
            **changes,
        }
        answer = await self.post("/v1/session/challenges", v1.ChallengeRequest(**members))
        nonce = b""
        if answer.status == 201:
            nonce = v1.Challenge.model_validate_json(answer.body).relay_nonce
        transcript = Transcript(
            members["principal"],
            members["key"],
            members["client_nonce"],
            nonce,
            self.relay.identity_keys[0].public,
            members["origin"],
        )
        return answer, transcript

    async def login(self) -> Answer:
        """Open a session, checking the relay's signature, and keep its token."""
        assert self.signer is not None
        answer, transcript = await self.challenge()
        if answer.status != 201:
            return answer
        challenge = v1.Challenge.model_validate_json(answer.body)
        self.relay.identity_keys[0].verify(challenge.signature, transcript.for_relay())
        proof = v1.SessionRequest(
            challenge=challenge.challenge, signature=self.signer.sign(transcript.for_client())
        )
        opened = await self.post("/v1/session", proof)
        if opened.status == 201:
            self.token = v1.Session.model_validate_json(opened.body).token
        return opened

    async def stream(self) -> RawStream:
        """Open the WebSocket; the test closes it, or the client at its end."""
        socket = await self.session.ws_connect(
            "/v1/stream",
            protocols=(frames.SUBPROTOCOL,),
            headers={"Authorization": f"Bearer {self.token}"},
            max_msg_size=4 * frames.MAX_FRAME,
        )
        return RawStream(socket)
