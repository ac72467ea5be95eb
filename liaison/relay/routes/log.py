"""The logs: questions with proofs for clients, checkpoints and tiles for other tools.

Paths of files are C2SP tlog-tiles', below `/log/<agreement>` (a later log of the same agreement:
`/log/<agreement>/<n>`) and `/root-log`.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from liaison.relay.appkeys import LIMITS, SERVICES, SESSION
from liaison.relay.requests import Size, answer, caller, document_digest, number, read
from liaison.wire.log import LogQuery

routes = web.RouteTableDef()

_TILES: Final = "tile/{tile:.+}"


@routes.post("/v1/agreements/{id}/log")
async def query(request: web.Request) -> web.Response:
    """Answer what the caller follows in an agreement's log, with proofs."""
    asking, id_ = caller(request), request.match_info["id"]
    body = await read(request, LogQuery, Size.SMALL)
    limits, principal = request.app[LIMITS], request[SESSION].principal
    limits.proofs(principal)
    found = await request.app[SERVICES].log_reading.query(asking, id_, body)
    limits.proved(principal, len(found.entries))
    return answer(found)


@routes.get("/v1/agreements/{id}/erasures/{digest}")
async def erasure(request: web.Request) -> web.Response:
    """Answer the signed report of an erasure that the log tells of."""
    asking, digest = caller(request), document_digest(request)
    id_ = request.match_info["id"]
    note = await request.app[SERVICES].log_reading.erasure(asking, id_, digest)
    return web.Response(body=note, content_type="text/plain", charset="utf-8")


@routes.get("/log/{id}/checkpoint")
@routes.get("/log/{id}/{generation}/checkpoint")
@routes.get("/root-log/checkpoint")
@routes.get("/root-log/{generation}/checkpoint")
async def checkpoint(request: web.Request) -> web.Response:
    """Answer the newest checkpoint, a signed note."""
    note = await request.app[SERVICES].log_reading.checkpoint(caller(request), *_log(request))
    return web.Response(body=note, content_type="text/plain", charset="utf-8")


@routes.get("/log/{id}/" + _TILES)
@routes.get("/log/{id}/{generation}/" + _TILES)
@routes.get("/root-log/" + _TILES)
@routes.get("/root-log/{generation:[0-9]+}/" + _TILES)
async def tile(request: web.Request) -> web.Response:
    """Answer a tile or an entry bundle."""
    id_, generation = _log(request)
    path = f"tile/{request.match_info['tile']}"
    data = await request.app[SERVICES].log_reading.tile(caller(request), id_, path, generation)
    return web.Response(body=data, content_type="application/octet-stream")


def _log(request: web.Request) -> tuple[str | None, int]:
    found = request.match_info
    return found.get("id"), number(found.get("generation", "1"), "the generation")
