"""Ciphertexts of attachments, streamed both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from liaison.relay.appkeys import LIMITS, SERVICES, SETTINGS
from liaison.relay.requests import (
    answer,
    blob_id,
    body_chunks,
    channel_id,
    device,
    digest,
    range_begin,
)
from liaison.wire import v1

routes = web.RouteTableDef()

PATH = "/v1/channels/{channel}/blobs/{blob}"


@routes.put(PATH)
async def put(request: web.Request) -> web.Response:
    """Store the body under an id; whole only when its digest is the one announced."""
    owner, channel, blob = device(request), channel_id(request), blob_id(request)
    announced = digest(request)
    most, size = request.app[SETTINGS].max_blob, request.content_length
    with request.app[LIMITS].attachment(owner.id, most if size is None else size) as transfer:
        chunks = transfer.counted(body_chunks(request, most))
        stored = await request.app[SERVICES].blobs.put(
            owner, channel, blob, announced, chunks, size
        )
    return answer(stored, 201)


@routes.get(PATH, allow_head=False)
async def get(request: web.Request) -> web.StreamResponse:
    """Stream a ciphertext to a member of its channel, or the rest of it that `Range` asks for."""
    reader, begin = device(request), range_begin(request)
    found = await request.app[SERVICES].blobs.get(
        reader, channel_id(request), blob_id(request), begin or 0
    )
    response = web.StreamResponse(headers={"Liaison-Digest": v1.b64encode(found.digest)})
    if begin is not None:
        response.set_status(206)
        response.headers["Content-Range"] = f"bytes {begin}-{found.size - 1}/{found.size}"
    response.content_type = "application/octet-stream"
    response.content_length = size = found.size - (begin or 0)
    with request.app[LIMITS].attachment(reader.id, size) as transfer:
        await response.prepare(request)
        return await _stream(request, response, transfer.counted(found.chunks))


async def _stream(
    request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    try:
        async for chunk in chunks:
            await response.write(chunk)
    except BaseException:
        # The status is out already; a body cut short is how the reader learns.
        if request.transport is not None:
            request.transport.close()
        raise
    await response.write_eof()
    return response
