"""`liaison agreement log`: whose signatures make a checkpoint of an agreement's log count."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from liaison_cli import agreement_files
from liaison_cli.context import Context, command
from liaison_cli.errors import NotFoundError


async def log(
    cli: Context,
    agreement: Annotated[str, typer.Argument(help="A file, or an agreement's id.")],
    keys: Annotated[
        bool, typer.Option("--vkey", help="Only the log's verifier keys, one a line.")
    ] = False,
) -> None:
    """Print the trust policy of an agreement's log, for auditors and witnesses.

    It has the form of C2SP tlog-policy: the log's keys, the parties' witnesses, and
    which of them make a quorum. With --json the same in fields.
    """
    from liaison.trust import log as trusted

    if agreement_files.is_file(agreement):
        found = agreement_files.draft(Path(agreement)).agreement
    else:
        found = (await agreement_files.standing(cli, agreement, None)).agreement
    if not trusted.has_log(found):
        raise NotFoundError(f"the relay of {found.agreement_id} names no key for a log")
    policy = trusted.policy(found)
    vkeys = [str(each.key) for each in policy.logs]
    if cli.out.as_json:
        record = {
            "agreement": found.agreement_id,
            "origin": trusted.origin(found),
            "keys": vkeys,
            "policy": policy.encode().decode(),
        }
        cli.out.record(record, "")
        return
    sys.stdout.write("".join(f"{each}\n" for each in vkeys) if keys else policy.encode().decode())


def register(app: typer.Typer) -> None:
    """Add the verb to `liaison agreement`."""
    command(app)(log)
