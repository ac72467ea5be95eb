"""Ciphertexts of attachments, streamed both ways."""

from __future__ import annotations

from aiohttp import web

from liaison.relay.appkeys import SERVICES, SETTINGS
from liaison.relay.requests import answer, blob_id, body_chunks, channel_id, device, digest
from liaison.wire import v1

routes = web.RouteTableDef()

PATH = "/v1/channels/{channel}/blobs/{blob}"


@routes.put(PATH)
async def put(request: web.Request) -> web.Response:
    """Store the body under an id; whole only when its digest is the one announced."""
    owner, channel, blob = device(request), channel_id(request), blob_id(request)
    announced = digest(request)
    chunks = body_chunks(request, request.app[SETTINGS].max_blob)
    stored = await request.app[SERVICES].blobs.put(
        owner, channel, blob, announced, chunks, request.content_length
    )
    return answer(stored, 201)


@routes.get(PATH, allow_head=False)
async def get(request: web.Request) -> web.StreamResponse:
    """Stream a ciphertext to a member of its channel."""
    found = await request.app[SERVICES].blobs.get(
        device(request), channel_id(request), blob_id(request)
    )
    response = web.StreamResponse(headers={"Liaison-Digest": v1.b64encode(found.digest)})
    response.content_type = "application/octet-stream"
    response.content_length = found.size
    await response.prepare(request)
    try:
        async for chunk in found.chunks:
            await response.write(chunk)
    except BaseException:
        # The status is out already; a body cut short is how the reader learns.
        if request.transport is not None:
            request.transport.close()
        raise
    await response.write_eof()
    return response
