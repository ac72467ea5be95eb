"""Channels: their groups, commits and proposals. Messages come by the stream."""

from __future__ import annotations

from aiohttp import web

from liaison.model import Epoch
from liaison.relay.appkeys import LIMITS, SERVICES
from liaison.relay.requests import Size, answer, channel_id, device, message_id, number, page, read
from liaison.wire import v1

routes = web.RouteTableDef()


@routes.post("/v1/channels")
async def create(request: web.Request) -> web.Response:
    """Open a channel with a group whose only member is the caller."""
    creator = device(request)
    request.app[LIMITS].handshake(creator.id)
    body = await read(request, v1.NewChannel, Size.LARGE)
    return answer(await request.app[SERVICES].channels.create(creator, body), 201)


@routes.get("/v1/channels")
async def listing(request: web.Request) -> web.Response:
    """List the channels that the calling device is a member of."""
    caller, wanted = device(request), page(request)
    return answer(await request.app[SERVICES].channels.listing(caller, wanted))


@routes.get("/v1/channels/{channel}")
async def get(request: web.Request) -> web.Response:
    """Answer one channel as the relay knows it."""
    return answer(await request.app[SERVICES].channels.get(device(request), channel_id(request)))


@routes.post("/v1/channels/{channel}/commits")
async def commit(request: web.Request) -> web.Response:
    """Sequence a commit with its Welcomes and GroupInfo, all of it or nothing."""
    committer, channel = device(request), channel_id(request)
    request.app[LIMITS].handshake(committer.id)
    body = await read(request, v1.Commit, Size.LARGE)
    return answer(await request.app[SERVICES].channels.commit(committer, channel, body), 201)


@routes.post("/v1/channels/{channel}/proposals")
async def propose(request: web.Request) -> web.Response:
    """Sequence a member's proposal."""
    proposer, channel = device(request), channel_id(request)
    request.app[LIMITS].handshake(proposer.id)
    body = await read(request, v1.Proposal)
    return answer(await request.app[SERVICES].channels.propose(proposer, channel, body), 201)


@routes.get("/v1/channels/{channel}/group")
async def group(request: web.Request) -> web.Response:
    """Answer GroupInfo and tree, for a device that joins by external commit."""
    found = await request.app[SERVICES].channels.group_state(device(request), channel_id(request))
    return answer(found)


@routes.get("/v1/channels/{channel}/trees/{epoch}")
async def tree(request: web.Request) -> web.Response:
    """Answer the tree of an epoch, for a device that holds a Welcome to it."""
    epoch = number(request.match_info["epoch"], "the epoch")
    found = await request.app[SERVICES].channels.tree(
        device(request), channel_id(request), Epoch(epoch)
    )
    return answer(found)


@routes.get("/v1/channels/{channel}/outcomes/{message}")
async def outcome(request: web.Request) -> web.Response:
    """Say what became of a message that the calling device sent."""
    found = await request.app[SERVICES].messages.outcome(
        device(request), channel_id(request), message_id(request)
    )
    return answer(found)
