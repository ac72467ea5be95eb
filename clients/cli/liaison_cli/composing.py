"""What a message is made of on the command line: the options that `send` and `draft` share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from liaison.model import EndpointId, Precedence
from liaison.values import dataclass
from liaison_cli import offices
from liaison_cli.errors import FileProblemError, UsageProblemError

if TYPE_CHECKING:
    from liaison.labels import Label
    from liaison_sdk import Channel, Client

MAX_STDIN_BYTES: Final = 4 * 1024 * 1024


class Genre(StrEnum):
    """What a message is for."""

    TEXT = "text"
    NOTICE = "notice"
    FORM = "form"
    FILE = "file"


TextArgument = Annotated[str | None, typer.Argument(help="The text; - or a pipe: read from stdin.")]
AttachOption = Annotated[list[Path] | None, typer.Option(help="A file; repeatable.")]
PrecedenceOption = Annotated[
    str,
    typer.Option(
        "--precedence",
        "-p",
        help="How fast it goes: DEFERRED, ROUTINE, PRIORITY, IMMEDIATE, FLASH or OVERRIDE.",
    ),
]
InfoPrecedenceOption = Annotated[
    str | None, typer.Option(help="For those in --info. [default: as --precedence]")
]
ToOption = Annotated[list[str] | None, typer.Option(help="An endpoint that is to act; repeatable.")]
InfoOption = Annotated[
    list[str] | None, typer.Option(help="An endpoint that is to know; repeatable.")
]
ReplyOption = Annotated[
    str | None, typer.Option(help="Four digits of the id of the message that this answers.")
]
SubjectOption = Annotated[str, typer.Option("--subject", "-s", help="One line.")]
LabelOption = Annotated[
    str | None,
    typer.Option(help="A level of the agreement's label policy. [default: the agreement's]"),
]
CategoryOption = Annotated[
    list[str] | None, typer.Option(help="A category of the label, TAG=VALUE; repeatable.")
]
KindOption = Annotated[Genre, typer.Option(help="What it is for.")]
LanguageOption = Annotated[str, typer.Option(help="Of the text, such as en.")]
ExpiresOption = Annotated[
    str | None, typer.Option(help="Nobody shows it later, such as 30m, 12h or 7d from now.")
]


@dataclass(frozen=True, slots=True)
class Given:
    """What was given on the command line.

    Raises:
        FileProblemError: a file is not there.
        UsageProblemError: there is nothing to send.
        LiaisonError: a name or a precedence is none.
    """

    text: str | None
    attach: list[Path] | None
    precedence: str
    info_precedence: str | None
    to: list[str] | None
    info: list[str] | None
    reply_to: str | None
    subject: str
    label: str | None
    category: list[str] | None
    kind: Genre
    language: str
    expires: str | None

    def body(self) -> str:
        """Return the text; it is read from stdin only once."""
        return _body(self.text, has_files=bool(self.attach))

    def options(self) -> dict[str, Any]:
        """Return the keywords of `Channel.send` that need no channel to be known."""
        from liaison.envelope.header import Kind
        from liaison.policy.fields import parse_duration

        files = list(self.attach or ())
        _check_files(files)
        _categories(self.category)
        expires = None
        if self.expires is not None:
            expires = datetime.fromtimestamp(offices.now() + parse_duration(self.expires), UTC)
        info = self.info_precedence
        return {
            "precedence": Precedence.parse(self.precedence),
            "info": Precedence.parse(info) if info else None,
            "to": [EndpointId.parse(name) for name in self.to or ()],
            "copy": [EndpointId.parse(name) for name in self.info or ()],
            "attach": files,
            "subject": self.subject,
            "kind": Kind.parse(self.kind.value),
            "language": self.language,
            "expires": expires,
        }

    async def found(self, client: Client, channel: Channel) -> dict[str, Any]:
        """Return the other keywords: the message that it answers, and the label."""
        reply = await client.message(self.reply_to) if self.reply_to else None
        return {"reply_to": reply, "label": await self._label(client, channel)}

    async def _label(self, client: Client, channel: Channel) -> Label | None:
        if self.label is None and not self.category:
            return None
        from liaison.labels import Label

        rules = (await client.agreement(channel.agreement_id)).labels
        return Label.of(rules.policy, self.label or rules.default, _categories(self.category))


def _categories(given: Sequence[str] | None) -> list[tuple[str, str]]:
    pairs = []
    for text in given or ():
        tag, sign, value = text.partition("=")
        if not (tag and sign and value):
            raise UsageProblemError(f"{text!r} is not a category such as 'Releasable To=NOR'")
        pairs.append((tag, value))
    return pairs


def _check_files(files: list[Path]) -> None:
    for file in files:
        if not file.is_file():
            raise FileProblemError(f"{file} is not a file", unchanged="nothing was sent")


def _body(text: str | None, *, has_files: bool) -> str:
    if text is not None and text != "-":
        return text
    if text is None and (has_files or sys.stdin.isatty()):
        if has_files:
            return ""
        raise UsageProblemError(
            "there is nothing to send", hint="give a text, a file, or - for stdin"
        )
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise UsageProblemError("the text is too long", hint="send it as a file with --attach")
    try:
        body = data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as e:
        raise UsageProblemError("stdin is not text", hint="send it as a file with --attach") from e
    if not body and not has_files:
        raise UsageProblemError(
            "there is nothing to send: stdin is empty",
            hint="the channel comes first, then the text",
        )
    return body
