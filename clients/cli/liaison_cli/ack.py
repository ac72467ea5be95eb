"""`liaison ack`: answering a message with a receipt."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from liaison_cli import clients, messages
from liaison_cli.context import Context, command

MessageArgument = Annotated[
    str, typer.Argument(help="Four digits of the message's id, which `read` shows in brackets.")
]
_SECONDS: Final = 30.0


class Reply(StrEnum):
    """What a receipt can say."""

    ROGER = "roger"
    WILL_COMPLY = "will-comply"
    CANNOT_COMPLY = "cannot-comply"
    HAVE_COMPLIED = "have-complied"


async def ack(
    cli: Context,
    message: MessageArgument,
    answer: Annotated[Reply, typer.Argument(help="What to answer.")] = Reply.ROGER,
    note: Annotated[str, typer.Option(help="A sentence that goes with it.")] = "",
) -> None:
    """Acknowledge a message. Every member of its channel sees the receipt.

    The answer is stored here before it goes out, so one that the relay does not
    take now goes out with the next command that reaches it.
    """
    async with clients.open_client(cli) as client:
        found = await clients.newest(cli, client, lambda: client.message(message))
        queued = await found.acknowledge(answer.value, note, wait=False)
        sent = await clients.answered(client, queued, _SECONDS)
    record = {"message": str(found.id), "answer": answer.value, "state": str(sent.state)}
    number = str(found.id)[: messages.ID_DIGITS]
    cli.out.record(record, f"[{number}] {answer.value} {sent.state}")


def register(app: typer.Typer) -> None:
    """Add the command to `liaison`."""
    command(app)(ack)
