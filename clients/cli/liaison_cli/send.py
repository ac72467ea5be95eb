"""`liaison send`: a message into a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from liaison_cli import clients, composing, messages, preview
from liaison_cli.channels import ChannelArgument
from liaison_cli.context import Context, command
from liaison_cli.progress import bar

if TYPE_CHECKING:
    from liaison_sdk import Channel, Message, Sent


async def send(
    cli: Context,
    *,
    channel: ChannelArgument,
    text: composing.TextArgument = None,
    attach: composing.AttachOption = None,
    precedence: composing.PrecedenceOption = "ROUTINE",
    info_precedence: composing.InfoPrecedenceOption = None,
    to: composing.ToOption = None,
    info: composing.InfoOption = None,
    reply_to: composing.ReplyOption = None,
    subject: composing.SubjectOption = "",
    label: composing.LabelOption = None,
    category: composing.CategoryOption = None,
    kind: composing.KindOption = composing.Genre.TEXT,
    language: composing.LanguageOption = "",
    expires: composing.ExpiresOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; say who would get it, and who not.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Send it though somebody addressed would not get it.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the relay has stored it.")] = True,
    seconds: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait for the relay at most.", min=0.1)
    ] = 60,
) -> None:
    """Send a message to everybody in a channel.

    Every member of the channel can read it; `--to` and `--info` say who is to
    act. Asks first where somebody addressed would not get it, or their desk is
    not manned. It is stored here before it goes out, so an interrupted send goes
    on with the next command. With `--dry-run` the exit code is 0 where it would
    reach everybody addressed, and 1 otherwise.
    """
    given = composing.Given(
        text, attach, precedence, info_precedence, to, info, reply_to, subject, label, category,
        kind, language, expires,
    )  # fmt: skip
    options = given.options()
    body = given.body()
    from liaison.policy.simulate import Fate

    async with clients.open_client(cli) as client:
        found = await clients.newest(cli, client, lambda: client.channel(channel))
        options |= await given.found(client, found)
        simulation = await preview.simulated(client, found, body, options)
        own = client.device.endpoint
        if dry_run:
            preview.table(cli, simulation)
            preview.check(found, simulation, own)
            return
        preview.check_allowed(found, simulation, own)
        await preview.ask(cli, found, simulation, yes=yes)
        with bar("sending") as progress:
            sending = found.send(body, **options, wait=wait, progress=progress)
            sent = await clients.accepted(client, sending, seconds)
        message = await client.message(f"{sent.message_id}@{client.device}")
        inside = {member.device.endpoint for member in await found.members()}
    _say(cli, found, sent, message)
    for outcome in simulation.outcomes:
        # Whoever has to go is removed while it is being sent.
        if outcome.addressed and outcome.fate is Fate.GETS and outcome.endpoint not in inside:
            cli.out.note(f"{outcome.endpoint} has left the channel meanwhile, and does not get it")


def register(app: typer.Typer) -> None:
    """Add the command to `liaison`."""
    command(app)(send)


def _say(cli: Context, channel: Channel, sent: Sent, message: Message) -> None:
    record = {
        "id": str(sent.message_id),
        "channel": str(channel.id),
        "channel_name": channel.name,
        "dtg": message.dtg_text,
        "precedence": message.action.name,
        "state": str(sent.state),
        "seq": sent.seq,
    }
    number = str(sent.message_id)[: messages.ID_DIGITS]
    cli.out.record(record, f"{message.dtg_text}  {message.action.name}  [{number}] {sent.state}")
