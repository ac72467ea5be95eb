"""Asking a person before something is done that can't be undone."""

from __future__ import annotations

from liaison.errors import RefusedError
from liaison_cli.terminal import confirm, is_terminal


class DeclinedError(RefusedError):
    """The person at the terminal said no."""

    code = "cli.declined"


class UnconfirmedError(RefusedError):
    """There was nobody to ask."""

    code = "cli.unconfirmed"


async def agree(question: str, *, yes: bool, unchanged: str) -> None:
    """Ask, unless the answer was given on the command line.

    Args:
        question: such as `sign it?`.
        yes: it was.
        unchanged: what is as before where the answer is not yes.

    Raises:
        DeclinedError: the answer is no.
        UnconfirmedError: there is no terminal.
    """
    if yes:
        return
    if not is_terminal():
        raise UnconfirmedError(
            f"there is nobody to ask: {question}",
            hint="answer with --yes, once you know what it does",
            unchanged=unchanged,
        )
    if not await confirm(question):
        raise DeclinedError("the answer was no", unchanged=unchanged)
