"""`liaison draft | review | release`: messages that several persons sign before they go out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from liaison_cli import clients, composing, messages, preview
from liaison_cli.ack import MessageArgument
from liaison_cli.channels import ChannelArgument
from liaison_cli.context import Context, command
from liaison_cli.progress import bar
from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison_sdk import Client, Message, Sent

_SECONDS: Final = 60.0


async def draft(
    cli: Context,
    *,
    channel: ChannelArgument,
    text: composing.TextArgument = None,
    via: Annotated[str, typer.Option(help="The channel of the own nation in which it is signed.")],
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
    yes: Annotated[
        bool, typer.Option("--yes", help="Draft it though somebody addressed would not get it.")
    ] = False,
) -> None:
    """Draft a message for a channel, for others of one's nation to sign.

    The draft goes into the national channel, signed by this device, as it will be
    sent; nothing of it goes into CHANNEL but its files, which wait there. Asks
    first where somebody addressed would not get it: what is signed is not changed
    any more. See `liaison review` and `liaison release`.
    """
    given = composing.Given(
        text, attach, precedence, info_precedence, to, info, reply_to, subject, label, category,
        kind, language, expires,
    )  # fmt: skip
    options = given.options()
    body = given.body()
    async with clients.open_client(cli) as client:
        target = await clients.newest(cli, client, lambda: client.channel(channel))
        place = await client.channel(via)
        options |= await given.found(client, target)
        simulation = await preview.simulated(client, target, body, options)
        expected = preview.once_released(simulation)
        preview.check_allowed(target, expected, client.device.endpoint)
        await preview.ask(cli, target, expected, yes=yes, verb="draft")
        with bar("sending") as progress:
            drafting = target.draft(place, body, **options, progress=progress)
            sent = await clients.accepted(client, drafting, _SECONDS)
        _say(cli, "drafted", await _own(client, sent))


async def review(cli: Context, message: MessageArgument) -> None:
    """Sign a draft as its reviewer.

    What is signed is all of it: text, files, addressees, label, the channel that
    it is for. `liaison read` shows it, with who has signed and who has not.
    """
    async with clients.open_client(cli) as client:
        found = await clients.newest(cli, client, lambda: client.message(message))
        sent = await clients.accepted(client, found.review(), _SECONDS)
        _say(cli, "reviewed", await _own(client, sent))


async def release(
    cli: Context,
    message: MessageArgument,
    send: Annotated[
        bool, typer.Option(help="Send it once all have signed, where this device can.")
    ] = True,
) -> None:
    """Sign a draft as its releaser, and send it when all have signed.

    A draft that all have signed needs no further signature: this sends it, from
    any device of the nation that may send in its channel.
    """
    async with clients.open_client(cli) as client:
        found = await clients.newest(cli, client, lambda: client.message(message))
        if found.draft is None or not found.draft.is_released:
            sent = await clients.accepted(client, found.release(), _SECONDS)
            found = await _own(client, sent)
            _say(cli, "released", found)
        drafted = found.draft
        if not send or drafted is None or not drafted.is_released:
            return
        number = str(found.id)[: messages.ID_DIGITS]
        if not drafted.channel_name:
            cli.out.hint(
                f"this device is not in its channel: liaison release {number} on one that is"
            )
            return
        sent = await clients.accepted(client, found.send_released(), _SECONDS)
        record = _record("sent", found) | {"state": str(sent.state), "seq": sent.seq}
        number = str(sent.message_id)[: messages.ID_DIGITS]
        cli.out.record(record, f"[{number}] {sent.state} in {clean_line(drafted.channel_name)}")


def register(app: typer.Typer) -> None:
    """Add the commands to `liaison`."""
    for verb in (draft, review, release):
        command(app)(verb)


async def _own(client: Client, sent: Sent) -> Message:
    return await client.message(f"{sent.message_id}@{client.device}")


def _record(done: str, message: Message) -> dict[str, Any]:
    drafted = message.draft
    return {
        "message": str(message.id),
        "channel": str(message.channel_id),
        "channel_name": message.channel_name,
        "done": done,
        "draft": None if drafted is None else messages.draft_record(drafted),
        "state": str(message.state),
        "seq": message.seq,
    }


def _say(cli: Context, done: str, message: Message) -> None:
    number = str(message.id)[: messages.ID_DIGITS]
    cli.out.record(
        _record(done, message), f"[{number}] {done} in {clean_line(message.channel_name)}"
    )
    if message.draft is not None and message.draft.missing:
        cli.out.note(f"not signed yet: {', '.join(message.draft.missing)}")
