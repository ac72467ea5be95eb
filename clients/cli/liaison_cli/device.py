"""`liaison enrol | whoami | devices`: this device, and those of the partners."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison_cli import clients, documents, startup
from liaison_cli.context import Context, KeyringOption, command
from liaison_cli.errors import UsageProblemError
from liaison_cli.party_devices import Scheme, signature_scheme
from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison_sdk.account import Account


async def enrol(
    cli: Context,
    url: Annotated[
        str | None, typer.Argument(help="The relay, https://host:port. Not needed to go on.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="The code from your registrar.")] = None,
    code_file: Annotated[
        Path | None, typer.Option(help="File with the code; - is stdin. Safer than --code.")
    ] = None,
    scheme: Annotated[
        list[Scheme] | None,
        typer.Option(help="Signature schemes to get certificates for; repeatable."),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the registrar has answered.")] = True,
    seconds: Annotated[
        float | None,
        typer.Option("--timeout", help="Seconds to wait at most. [default: no limit]", min=0),
    ] = None,
    keyring: KeyringOption = False,
) -> None:
    """Make this device's keys and have its registrar certify them.

    The private keys are made here and never leave. What waits for the registrar
    survives a restart: `liaison enrol` alone goes on where it stopped, and says so
    where it is done.
    """
    startup.load_network()
    from liaison_sdk.enrol import EnrolmentOptions
    from liaison_sdk.enrol import enrol as enrol_device
    from liaison_sdk.errors import AlreadyEnrolledError, EnrolmentWaitingError
    from liaison_sdk.keystore import Keystore

    given = _code(url, code, code_file)
    begun = Keystore.exists(cli.home)
    by_keyring = not Keystore.needs_passphrase(cli.home) if begun else keyring
    phrase = None if by_keyring else cli.passphrase(new=not begun)
    schemes = [signature_scheme(s) for s in scheme or (Scheme.ED25519,)]
    try:
        account = await enrol_device(
            cli.home,
            url,
            given,
            passphrase=phrase,
            ca_file=cli.ca,
            schemes=schemes,
            wait=seconds if wait else 0,
            options=EnrolmentOptions(sleep=_Patience(cli).sleep),
        )
    except AlreadyEnrolledError as e:
        if url is not None:
            raise
        account = e.account
    except EnrolmentWaitingError:
        if wait:
            raise
        waiting = {"device": None, "endpoint": None, "party": None, "relay": url}
        text = "the request is with the registrar; run liaison enrol again after approval"
        cli.out.record(waiting | {"state": "waiting"}, text)
        return
    cli.out.record(_account(account) | {"state": "enrolled"}, f"this device is {account.device}")
    cli.out.hint(
        "it is enrolled; next: liaison channels list. Members of a channel add"
        f" {account.device.endpoint} to it, or open one: liaison channels create"
    )


class _Patience:
    """Waits for the registrar, and says so where there is something to wait for."""

    def __init__(self, cli: Context) -> None:
        self._cli = cli
        self._told = False

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds."""
        import asyncio

        if not self._told:
            self._told = True
            self._cli.out.note(
                "the registrar has to approve; if this is interrupted, liaison enrol alone goes on"
            )
        await asyncio.sleep(seconds)


async def whoami(cli: Context) -> None:
    """Say who this device is."""
    async with clients.open_client(cli, offline=True) as client:
        account = client.account
    certificates = [
        {
            "scheme": c.scheme.value,
            "fingerprint": c.fingerprint,
            "serial": c.serial,
            "not_after": c.not_after,
        }
        for c in account.certificates
    ]
    lines = [
        f"device   {account.device}",
        f"party    {account.party.code} ({clean_line(account.party.name)})",
        f"relay    {account.relay.origin}",
    ]
    lines += [f"key      {c.scheme.value} {c.fingerprint}" for c in account.certificates]
    cli.out.record(_account(account) | {"certificates": certificates}, "\n".join(lines))


async def devices(
    cli: Context,
    agreement: Annotated[
        str | None, typer.Option(help="Only those of this agreement's parties.")
    ] = None,
) -> None:
    """List the devices of one's partners.

    Those are all parties that share an agreement with one's own, and one's own.
    """
    rows = []
    async with clients.open_client(cli, receive=False) as client:
        await clients.reach(client)
        if agreement is None:
            ids = [a.agreement_id for a in await client.agreements()]
        else:
            ids = [agreement]
        for agreement_id in ids:
            rows += [
                {
                    "device": str(entry.device),
                    "endpoint": str(entry.device.endpoint),
                    "party": str(entry.device.party),
                    "agreement": agreement_id,
                    "revoked": entry.revoked,
                }
                for entry in await client.devices(agreement_id)
            ]
    cli.out.table(rows, ("device", "agreement", "revoked"), "there are no devices yet")


def register(app: typer.Typer) -> None:
    """Add the commands to `liaison`."""
    for verb in (enrol, whoami, devices):
        command(app)(verb)


def _code(url: str | None, code: str | None, file: Path | None) -> str | None:
    """Return the code, checked for typing errors before anything is made."""
    from liaison.policy.enrolment import Code

    if code is not None and file is not None:
        raise UsageProblemError("give the code with --code or with --code-file, not both")
    given = documents.read_text(file).strip() if file is not None else code
    if (url is None) != (given is None):
        raise UsageProblemError("give both the relay and the code, or neither to go on")
    if given is not None:
        Code.parse(given)
    return given


def _account(account: Account) -> dict[str, Any]:
    return {
        "device": str(account.device),
        "endpoint": str(account.device.endpoint),
        "party": str(account.party.code),
        "relay": account.relay.origin,
    }
