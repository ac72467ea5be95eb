"""The relay's HTTP API: a method per route.

Nothing that comes back is trusted here beyond its form: whoever asked for a
signed thing checks its signatures. Requests go in a session (`session`), which
is opened anew when the relay says that it has ended.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from liaison.crypto import secret
from liaison.model import BlobId, ChannelId, Epoch, MessageId, PartyCode
from liaison.policy.relay_identity import RelayIdentity
from liaison.wire import v1
from liaison.wire.problems import RemoteError
from liaison_sdk import exchange
from liaison_sdk.errors import RelayBrokenError
from liaison_sdk.session import Login, Sessions

if TYPE_CHECKING:
    from liaison.wire.log import LogAnswer, LogQuery
    from liaison_sdk.transport import Answer, Socket, Transport

__all__ = ["DIGEST_HEADER", "Login", "RelayAPI"]

DIGEST_HEADER: Final = "Liaison-Digest"
_MOST_PAGES: Final = 20_000
"""Of a list; as many as channels under one agreement, if each came alone."""
_B = TypeVar("_B", bound=BaseModel)
_P = TypeVar("_P", bound=v1.Page)


class RelayAPI:
    """One relay's API, as one principal or as nobody.

    Args:
        transport: closed with this object.
        relay: the pinned identity; None where no session is opened (enrolment).
        login: who opens sessions; None as above.
        clock: Unix time in seconds, to know when a token ends.
        rng: source of nonces.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        relay: RelayIdentity | None = None,
        login: Login | None = None,
        clock: Callable[[], float] = time.time,
        rng: Callable[[int], bytes] = secret.random_bytes,
    ) -> None:
        self._transport = transport
        self._sessions = Sessions(transport, relay, login, clock, rng)

    @classmethod
    def to(
        cls,
        url: str,
        *,
        ca_file: Path | None = None,
        ca_pem: str | None = None,
        relay: RelayIdentity | None = None,
        login: Login | None = None,
    ) -> Self:
        """Reach a relay over TLS."""
        # Loads aiohttp, which whoever brings a transport or works offline does without.
        from liaison_sdk.transport import AiohttpTransport  # noqa: PLC0415 - as said

        transport = AiohttpTransport(url, ca_file=ca_file, ca_pem=ca_pem)
        return cls(transport, relay=relay, login=login)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the token runs out by itself."""
        await self._transport.close()

    # --- session ------------------------------------------------------------------------

    async def session(self) -> v1.Session:
        """Return a session that lasts a while yet, opening one where needed.

        Raises:
            RelayUntrustedError: the relay did not prove the pinned identity.
            RemoteError: the relay refused.
            ConnectionLostError: it can't be reached.
        """
        return await self._sessions.current()

    async def token(self) -> str:
        """Return a bearer token; see `session`."""
        return (await self.session()).token

    def forget_session(self) -> None:
        """Open a new session at the next call."""
        self._sessions.forget()

    async def logout(self) -> None:
        """End the session at the relay."""
        if self._sessions.is_open:
            await self._call("DELETE", "/v1/session")
            self._sessions.forget()

    # --- without a session --------------------------------------------------------------

    async def relay_info(self) -> v1.RelayInfo:
        """Ask the relay who it says it is; never an anchor."""
        return await exchange.call(self._transport, v1.RelayInfo, "GET", "/v1/relay")

    async def request_enrolment(self, lookup: str, sealed: bytes) -> None:
        """Leave the sealed certificate request; the same bytes again are fine."""
        body = v1.EnrolmentRequest(sealed=sealed)
        await exchange.send(self._transport, "POST", f"/v1/enrolments/{lookup}/request", body)

    async def enrolment_reply(self, lookup: str) -> bytes:
        """Fetch the sealed reply.

        Raises:
            RemoteError: `enrolment.pending` while the registrar has not answered.
        """
        path = f"/v1/enrolments/{lookup}/reply"
        return (await exchange.call(self._transport, v1.SealedReply, "GET", path)).sealed

    # --- registrar ----------------------------------------------------------------------

    async def invite(self, lookup: str, device: str, expires_ms: int) -> None:
        """Announce that a request under this lookup id is expected."""
        body = v1.Invitation(lookup=lookup, device=device, expires_ms=expires_ms)
        await self._send("POST", "/v1/enrolments", body)

    async def enrolments(self) -> list[v1.Enrolment]:
        """List the own party's invitations."""
        pages = [page async for page in self._pages(v1.Enrolments, "/v1/enrolments")]
        return [one for page in pages for one in page.enrolments]

    async def reply_enrolment(
        self, lookup: str, chains: Sequence[Sequence[bytes]], sealed: bytes
    ) -> None:
        """Answer a request: the chains for the relay, and the sealed reply."""
        body = v1.EnrolmentReply(certificates=[list(c) for c in chains], sealed=sealed)
        await self._send("POST", f"/v1/enrolments/{lookup}/reply", body)

    async def withdraw_enrolment(self, lookup: str) -> None:
        """Take an invitation back."""
        await self._call("DELETE", f"/v1/enrolments/{lookup}")

    async def publish_revocations(self, envelope: bytes) -> None:
        """Publish the next signed revocation list."""
        await self._send("POST", "/v1/revocations", v1.Document(envelope=envelope))

    # --- documents and directory --------------------------------------------------------

    async def revocations(self, party: PartyCode) -> bytes:
        """Fetch a party's signed revocation list; the caller verifies it."""
        document = await self._get(v1.Document, f"/v1/parties/{quote(str(party))}/revocations")
        return document.envelope

    async def agreements(self) -> list[v1.AgreementSummary]:
        """List the agreements of the own party."""
        pages = [page async for page in self._pages(v1.Agreements, "/v1/agreements")]
        return [one for page in pages for one in page.agreements]

    async def agreement(self, agreement: str, version: int | None = None) -> v1.Document:
        """Fetch a signed agreement, the latest version by default; the caller verifies it."""
        query = "" if version is None else f"?version={version}"
        path = f"/v1/agreements/{quote(agreement, safe='')}{query}"
        return await self._get(v1.Document, path)

    async def propose_agreement(self, envelope: bytes) -> v1.ProposalStatus:
        """Bring a version of an agreement that the own authority has signed, or sign it further."""
        body = v1.Document(envelope=envelope)
        return await self._post(v1.ProposalStatus, "/v1/agreements", body)

    async def proposals(self) -> list[v1.ProposalStatus]:
        """List the versions that wait for signatures, or for the operator."""
        return (await self._get(v1.Proposals, "/v1/proposals")).proposals

    async def proposal(self, digest: bytes) -> bytes:
        """Fetch a version that waits, by its digest, 32 bytes; the caller verifies it."""
        return (await self._get(v1.Document, f"/v1/proposals/{digest.hex()}")).envelope

    async def retract_proposal(self, digest: bytes) -> None:
        """Take back a version that the own party has brought, by its digest, 32 bytes."""
        await self._call("DELETE", f"/v1/proposals/{digest.hex()}")

    async def retract_exclusion(self, agreement: str, digest: bytes) -> None:
        """Take back an exclusion that the own party has begun, by its payload's SHA-256."""
        path = f"/v1/agreements/{quote(agreement, safe='')}/exclusions/{digest.hex()}"
        await self._call("DELETE", path)

    async def statements(self, agreement: str) -> list[bytes]:
        """Fetch what the parties have said of their participation, and the exclusions in force.

        The caller verifies each, and tells them apart by what they are.
        """
        return await self._documents(agreement, "statements")

    async def declare(self, agreement: str, envelope: bytes) -> None:
        """Bring a statement of the own party's participation."""
        body = v1.Document(envelope=envelope)
        await self._send("POST", f"/v1/agreements/{quote(agreement, safe='')}/statements", body)

    async def waiting_exclusions(self, agreement: str) -> list[bytes]:
        """Fetch the exclusions that too few have signed; the caller verifies them."""
        return await self._documents(agreement, "exclusions")

    async def exclude(self, agreement: str, envelope: bytes) -> v1.ExclusionStatus:
        """Bring an exclusion that the own authority has signed."""
        body = v1.Document(envelope=envelope)
        path = f"/v1/agreements/{quote(agreement, safe='')}/exclusions"
        return await self._post(v1.ExclusionStatus, path, body)

    async def _documents(self, agreement: str, kind: str) -> list[bytes]:
        found = await self._get(v1.Documents, f"/v1/agreements/{quote(agreement, safe='')}/{kind}")
        return [document.envelope for document in found.documents]

    async def directory(self, agreement: str | None = None) -> list[v1.RegisteredDevice]:
        """List the devices of an agreement's parties, or of a registrar's own."""
        query = {} if agreement is None else {"agreement": agreement}
        pages = [page async for page in self._pages(v1.Directory, "/v1/devices", **query)]
        return [one for page in pages for one in page.devices]

    # --- key packages -------------------------------------------------------------------

    async def upload_key_packages(
        self, suite: int, packages: Sequence[bytes], last_resort: bytes | None = None
    ) -> list[v1.KeyPackageCount]:
        """Publish key packages."""
        body = v1.KeyPackages(suite=suite, key_packages=list(packages), last_resort=last_resort)
        return (await self._post(v1.KeyPackageCounts, "/v1/key-packages", body)).counts

    async def key_package_counts(self) -> list[v1.KeyPackageCount]:
        """Ask how many are left."""
        return (await self._get(v1.KeyPackageCounts, "/v1/key-packages")).counts

    async def claim(self, agreement: str, endpoint: str, suite: int) -> v1.Claimed:
        """Take one key package of each device of an endpoint; single-use ones are then gone."""
        body = v1.Claim(agreement=agreement, endpoint=endpoint, suite=suite)
        return await self._post(v1.Claimed, "/v1/key-packages/claims", body)

    # --- channels -----------------------------------------------------------------------

    async def create_channel(
        self, channel: ChannelId, group_info: bytes, tree: bytes
    ) -> v1.Sequenced:
        """Register a new group with its creator as the only member."""
        body = v1.NewChannel(channel=str(channel), group_info=group_info, tree=tree)
        return await self._post(v1.Sequenced, "/v1/channels", body)

    async def channels(self) -> list[v1.Channel]:
        """List the channels that the relay has this device in."""
        pages = [page async for page in self._pages(v1.Channels, "/v1/channels")]
        return [one for page in pages for one in page.channels]

    async def channel(self, channel: ChannelId) -> v1.Channel:
        """Ask what the relay knows of a channel."""
        return await self._get(v1.Channel, f"/v1/channels/{channel}")

    async def commit(self, channel: ChannelId, body: v1.Commit) -> v1.Sequenced:
        """Upload a commit; the same bytes again give the same answer.

        Raises:
            RemoteError: `channel.epoch_conflict` where another commit was first.
        """
        return await self._post(v1.Sequenced, f"/v1/channels/{channel}/commits", body)

    async def propose(self, channel: ChannelId, body: v1.Proposal) -> v1.Sequenced:
        """Upload a proposal."""
        return await self._post(v1.Sequenced, f"/v1/channels/{channel}/proposals", body)

    async def group(self, channel: ChannelId) -> v1.GroupState:
        """Fetch what an external commit needs."""
        return await self._get(v1.GroupState, f"/v1/channels/{channel}/group")

    async def tree(self, channel: ChannelId, epoch: Epoch | int) -> v1.GroupState:
        """Fetch the ratchet tree that a Welcome needs."""
        return await self._get(v1.GroupState, f"/v1/channels/{channel}/trees/{epoch}")

    async def outcome(self, channel: ChannelId, message: MessageId) -> v1.Outcome | None:
        """Ask what became of an own message; None where the relay never accepted it."""
        try:
            return await self._get(v1.Outcome, f"/v1/channels/{channel}/outcomes/{message}")
        except RemoteError as e:
            if e.remote_code == "message.unknown":
                return None
            raise

    # --- blobs and the stream -----------------------------------------------------------

    async def put_blob(
        self,
        channel: ChannelId,
        blob: BlobId,
        digest: bytes,
        size: int,
        chunks: AsyncIterable[bytes],
    ) -> v1.Blob:
        """Upload an attachment's ciphertext piece by piece.

        Args:
            channel: whose members may read it.
            blob: random id.
            digest: SHA-256 of all pieces together.
            size: their length together.
            chunks: the pieces; read once.
        """
        headers = {
            DIGEST_HEADER: v1.b64encode(digest),
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
        }
        # An upload can't be repeated from here, so an old token must not spoil it half-way.
        answer = await self._request("PUT", f"/v1/channels/{channel}/blobs/{blob}", headers, chunks)
        return exchange.parse(v1.Blob, await exchange.checked(answer))

    async def get_blob(
        self, channel: ChannelId, blob: BlobId, begin: int = 0
    ) -> AsyncIterator[bytes]:
        """Download an attachment's ciphertext piece by piece, from a byte on."""
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        answer = await self._request("GET", f"/v1/channels/{channel}/blobs/{blob}", headers, None)
        try:
            if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                raise exchange.problem(answer.status, await answer.read())
            # A relay that knows no ranges answers with all of it.
            skip = begin if answer.status == HTTPStatus.OK else 0
            async for piece in answer.chunks():
                if rest := piece[skip:]:
                    yield rest
                skip = max(0, skip - len(piece))
        finally:
            answer.close()

    async def stream(self) -> Socket:
        """Open the WebSocket.

        Raises:
            ConnectionLostError: it did not open.
        """
        return await self._transport.connect(
            "/v1/stream", headers={"Authorization": f"Bearer {await self.token()}"}
        )

    async def log(self, agreement: str, query: LogQuery) -> LogAnswer:
        """Ask an agreement's log; nothing in the answer is verified."""
        # Most commands never ask.
        from liaison.wire.log import LogAnswer  # noqa: PLC0415 - as said

        return await self._post(LogAnswer, f"/v1/agreements/{quote(agreement, safe='')}/log", query)

    async def log_tile(self, agreement: str, path: str) -> bytes:
        """Fetch a tile or an entry bundle of an agreement's log."""
        return await self._call("GET", f"/log/{quote(agreement, safe='')}/{path}")

    # --- plumbing -----------------------------------------------------------------------

    async def _get(self, kind: type[_B], path: str) -> _B:
        return exchange.parse(kind, await self._call("GET", path))

    async def _pages(self, kind: type[_P], path: str, **query: str) -> AsyncIterator[_P]:
        """Get a list, page by page; a relay without pages answers all of it at once.

        Raises:
            RelayBrokenError: the list does not end.
        """
        for _ in range(_MOST_PAGES):
            page = await self._get(kind, f"{path}?{urlencode(query)}" if query else path)
            yield page
            if page.next is None:
                return
            query["after"] = page.next
        raise RelayBrokenError(f"the relay's list has more than {_MOST_PAGES} pages")

    async def _post(self, kind: type[_B], path: str, body: v1.Body) -> _B:
        return exchange.parse(kind, await self._call("POST", path, body))

    async def _send(self, method: str, path: str, body: v1.Body) -> None:
        await self._call(method, path, body)

    async def _call(self, method: str, path: str, body: v1.Body | None = None) -> bytes:
        headers, data = exchange.encoded(body)
        try:
            return await exchange.checked(await self._request(method, path, headers, data))
        except RemoteError as e:
            if e.problem.status != HTTPStatus.UNAUTHORIZED:
                raise
        # The token may have ended early, for instance by a restart of the relay.
        self.forget_session()
        return await exchange.checked(await self._request(method, path, headers, data))

    async def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
    ) -> Answer:
        bearer = {"Authorization": f"Bearer {await self.token()}"}
        return await self._transport.request(method, path, headers={**headers, **bearer}, body=body)
