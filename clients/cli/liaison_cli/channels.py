"""`liaison channels ...`: the channels of this device and who is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison import words
from liaison.errors import RefusedError, UnavailableError
from liaison.model import DeviceId, EndpointId
from liaison_cli import clients
from liaison_cli.context import Context, command
from liaison_cli.errors import AmbiguousError
from liaison_cli.messages import ID_DIGITS
from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison_sdk import Channel, Client, Sent

app = typer.Typer(
    help="Channels: list, create, change members.", no_args_is_help=True, rich_markup_mode=None
)


class UnsentError(RefusedError):
    """Something that waited on this device was refused."""

    code = "cli.unsent"


ChannelArgument = Annotated[str, typer.Argument(help="A channel's name, or digits of its id.")]


def register(root: typer.Typer) -> None:
    """Add the group to `liaison`."""
    root.add_typer(app, name="channels")


@command(app, "list")
async def list_(
    cli: Context,
    offline: Annotated[bool, typer.Option("--no-sync", help="Do not ask the relay.")] = False,
) -> None:
    """List the channels that this device is or was in."""
    async with clients.open_client(cli, offline=offline) as client:
        if not offline:
            await clients.sync(cli, client)
        rows = [await _summary(client, channel) for channel in await client.channels()]
    columns = ("name", "channel", "agreement", "policy", "members", "unread", "state", "confirmed")
    cli.out.table(rows, columns, "there is no channel yet")


@command(app)
async def create(
    cli: Context,
    name: Annotated[str, typer.Argument(help="What members call it; the relay never sees it.")],
    agreement: Annotated[
        str | None, typer.Option(help="The agreement's id, where there are several.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="The agreement's channel policy, where it has several.")
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            help="An endpoint to add at once; the own one: its other devices. Repeatable."
        ),
    ] = None,
) -> None:
    """Open a channel under an agreement."""
    members = [EndpointId.parse(endpoint) for endpoint in add or ()]
    async with clients.open_client(cli) as client:
        await clients.reach(client)
        if agreement is None:
            known = await client.agreements()
            chosen = clients.only(known, "agreement", lambda a: a.agreement_id)
        else:
            chosen = await client.agreement(agreement)
        if policy is None:
            rules = clients.only(chosen.channels, "channel policy", lambda p: p.name).name
        else:
            rules = chosen.channel(policy).name
        if any(c.name == name and c.state == "active" for c in await client.channels()):
            raise AmbiguousError(
                f"there is an open channel {name} already",
                hint="choose another name, or leave that one",
                unchanged="nothing was opened",
            )
        others = [endpoint for endpoint in members if endpoint != client.device.endpoint]
        channel = await client.create_channel(chosen.agreement_id, rules, name, others)
        if len(others) < len(members):
            # The own post: its other devices.
            await channel.add(client.device.endpoint)
        record = _channel(await client.channel(channel.id))
    cli.out.record(record, f"channel {name} is open ({record['channel'][:8]})")


@command(app)
async def members(cli: Context, channel: ChannelArgument) -> None:
    """List the devices in a channel."""
    async with clients.open_client(cli) as client:
        await clients.sync(cli, client)
        found = await client.channel(channel)
        rows = [
            {
                "leaf": member.leaf,
                "device": str(member.device),
                "endpoint": str(member.device.endpoint),
                "party": str(member.device.party),
                "own": member.own,
            }
            for member in await found.members()
        ]
    cli.out.table(rows, ("device", "party", "own"), "the channel has no members")


@command(app)
async def add(
    cli: Context,
    channel: ChannelArgument,
    endpoint: Annotated[list[str], typer.Argument(help="Endpoints, such as deu/lno-j3.")],
) -> None:
    """Add all devices of endpoints. They can't read what was sent before."""
    wanted = [EndpointId.parse(name) for name in endpoint]
    async with clients.open_client(cli) as client:
        found = await _synced_channel(cli, client, channel)
        for each in wanted:
            added = [str(device) for device in await found.add(each)]
            now = await client.channel(found.id)
            record = _changed(now) | {"endpoint": str(each), "added": added}
            cli.out.record(record, f"{', '.join(added) or each} added to {clean_line(now.name)}")


@command(app)
async def remove(
    cli: Context,
    channel: ChannelArgument,
    member: Annotated[list[str], typer.Argument(help="Endpoints or single devices.")],
) -> None:
    """Remove devices. They can't read what is sent from then on."""
    wanted = [DeviceId.parse(name) if "#" in name else EndpointId.parse(name) for name in member]
    async with clients.open_client(cli) as client:
        found = await _synced_channel(cli, client, channel)
        for each in wanted:
            removed = [str(device) for device in await found.remove(each)]
            now = await client.channel(found.id)
            record = _changed(now) | {"removed": removed}
            cli.out.record(
                record, f"{', '.join(removed) or each} removed from {clean_line(now.name)}"
            )


@command(app)
async def leave(cli: Context, channel: ChannelArgument) -> None:
    """Leave a channel, with this device alone."""
    async with clients.open_client(cli) as client:
        found = await _synced_channel(cli, client, channel)
        await found.leave()
    record = {"channel": str(found.id), "name": found.name, "state": "leaving"}
    cli.out.record(record, f"leaving {clean_line(found.name)}: another member completes it")


@command(app)
async def sync(
    cli: Context,
    seconds: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait at most.", min=0)
    ] = 60,
) -> None:
    """Fetch everything that waits at the relay and send everything queued.

    Exits 1 where the relay, or the agreement, does not let something of it through.
    """
    async with clients.open_client(cli) as client:
        before = len(await client.history())
        waiting = await client.queued()
        await clients.reach(client)
        try:
            await client.sync(seconds)
        except UnavailableError as e:
            raise clients.UnreachableError(
                f"not everything was fetched within {words.count(round(seconds), 'second')}",
                hint="run it again: it goes on where it stopped",
            ) from e
        received = len(await client.history()) - before
        still = {one.number for one in await client.queued()}
        ruled = [one for one in waiting if one.number not in still]
        refused = [told for one in ruled if (told := await _refusal(client, one))]
    sent = len(ruled) - len(refused)
    record = {"received": received, "sent": sent, "refused": len(refused)}
    more = f", {len(refused)} refused" if refused else ""
    cli.out.record(record, f"{received} received, {sent} sent{more}")
    for told in refused:
        cli.out.note(told)
    if refused:
        raise UnsentError("not everything could be sent", hint="liaison read shows it, and why")


async def _refusal(client: Client, queued: Sent) -> str:
    """Return why something that was queued was refused; empty where it was not."""
    try:
        await client.ruling(queued)
    except RefusedError as e:
        what = f"[{str(queued.message_id)[:ID_DIGITS]}]"
        if queued.answer is not None:
            what = f"{queued.answer} to {what}"
        return f"{what} was refused: {e.message}"
    return ""


async def _synced_channel(cli: Context, client: Client, name: str) -> Channel:
    # A change of members is made on the newest epoch, so everything before it is fetched first.
    await clients.reach(client)
    await clients.sync(cli, client)
    return await client.channel(name)


async def _summary(client: Client, channel: Channel) -> dict[str, Any]:
    return _channel(channel) | {
        "members": len(await channel.members()) if channel.state.is_open else None,
        "unread": len(await client.unread(channel.id)),
        "state": str(channel.state),
        "reason": channel.reason or None,
    }


def _channel(channel: Channel) -> dict[str, Any]:
    return {
        "channel": str(channel.id),
        "name": channel.name,
        "agreement": channel.agreement_id,
        "policy": channel.policy,
        "epoch": channel.epoch,
        "confirmed": channel.confirmed,
    }


def _changed(channel: Channel) -> dict[str, Any]:
    return {"channel": str(channel.id), "name": channel.name, "epoch": channel.epoch}
