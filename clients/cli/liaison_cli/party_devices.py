"""`liaison party invite | requests | approve | withdraw | revoke | renew-list | devices`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from liaison import words
from liaison.errors import LiaisonError
from liaison.model import DeviceId, EndpointId
from liaison_cli import offices
from liaison_cli.context import Context, command
from liaison_cli.errors import NotFoundError, UsageProblemError

if TYPE_CHECKING:
    from liaison_sdk.registrar.desk import Enrolment, RelayDesk, Revoked
    from liaison_sdk.registrar.state import Invitation

PartyOption = Annotated[
    str | None, typer.Option("--party", help="Which party, where several are here.")
]
DaysOption = Annotated[
    int, typer.Option("--list-days", help="How long the list may be relied upon.", min=1, max=366)
]
_POLL_SECONDS: Final = 0.5
_HOUR: Final = 3600


class Scheme(StrEnum):
    """Signature schemes by the names that people use."""

    ED25519 = "ed25519"
    ED448 = "ed448"
    P256 = "p256"
    P384 = "p384"
    P521 = "p521"
    MLDSA44 = "mldsa44"
    MLDSA65 = "mldsa65"
    MLDSA87 = "mldsa87"


class Why(StrEnum):
    """Reasons of a revocation."""

    KEY_COMPROMISE = "key_compromise"
    CEASED = "ceased"
    SUPERSEDED = "superseded"
    UNSPECIFIED = "unspecified"


async def invite(
    cli: Context,
    endpoint: Annotated[str, typer.Argument(help="The post, such as nor/defatt-berlin.")],
    device: Annotated[str, typer.Option(help="Which of its devices, such as d1.")],
    scheme: Annotated[
        list[Scheme] | None,
        typer.Option(help="What the device may ask for; repeatable. [default: what it needs]"),
    ] = None,
    ttl: Annotated[int, typer.Option(help="Hours that the code is good for.", min=1, max=720)] = 72,
    party: PartyOption = None,
) -> None:
    """Print a code by which one device can enrol.

    Give it to the officer in person or by another safe way: whoever has it can
    be this device. It is shown once, and the relay never learns it.
    """
    invited = DeviceId(EndpointId.parse(endpoint), "x")
    invited = DeviceId.parse(f"{invited.endpoint}#{device}")
    async with await offices.open_desk(cli, party) as desk:
        made = await desk.invite(
            invited, ttl=ttl * _HOUR, schemes=[signature_scheme(s) for s in scheme or ()]
        )
    record = {
        "device": str(made.device),
        "lookup": made.lookup,
        "code": made.code,
        "expires": made.expires,
    }
    cli.out.record(record, made.code)
    cli.out.note(f"the code is for {made.device}, once, within {words.count(ttl, 'hour')}")


async def requests(cli: Context, party: PartyOption = None) -> None:
    """List invitations and the requests that came for them."""
    async with await offices.open_desk(cli, party) as desk:
        listed = await desk.enrolments()
    rows = [_enrolment(e) for e in listed]
    columns = ("lookup", "device", "state", "problem")
    cli.out.table(rows, columns, "there are no invitations")


async def approve(
    cli: Context,
    target: Annotated[
        list[str] | None, typer.Argument(help="Lookup ids, devices or endpoints.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every request that is sound.")] = False,
    days: Annotated[
        int, typer.Option(help="How long the certificates are good.", min=1, max=3650)
    ] = 365,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the requests to arrive.", min=0)
    ] = 0,
    party: PartyOption = None,
) -> None:
    """Issue certificates to the devices that asked for them."""
    targets = list(target or ())
    if bool(targets) == all_:
        raise UsageProblemError("name requests to approve, or say --all")
    async with await offices.open_desk(cli, party) as desk:
        found = await _await_requests(desk, targets, wait)
        problem: LiaisonError | None = None
        for enrolment in found:
            if enrolment.problem is not None:
                problem = problem or enrolment.problem
                cli.out.note(f"the request for {enrolment.device} is not sound; left alone")
                continue
            answered = await desk.approve(enrolment, lifetime_days=days)
            cli.out.record(_approved(answered), f"{answered.device} is certified")
    if problem is not None:
        raise problem


async def withdraw(
    cli: Context,
    target: Annotated[str, typer.Argument(help="A lookup id or a device.")],
    party: PartyOption = None,
) -> None:
    """Take an invitation back.

    Its code is worthless from then on.
    """
    async with await offices.open_desk(cli, party) as desk:
        listed = [e for e in await desk.enrolments() if e.state in {"invited", "requested"}]
        found = [e for e in listed if _is_meant(e, target)]
        if not found:
            raise NotFoundError(f"there is no open invitation for {target}")
        for enrolment in found:
            await desk.withdraw(enrolment.lookup)
            record = {"lookup": enrolment.lookup, "device": str(enrolment.device)}
            cli.out.record(record, f"the invitation of {enrolment.device} is withdrawn")


async def revoke(
    cli: Context,
    target: Annotated[str, typer.Argument(help="A device, or an endpoint with all its devices.")],
    reason: Annotated[
        Why, typer.Option(help="A lost or stolen device is key_compromise. Stands in the list.")
    ],
    list_days: DaysOption = 30,
    party: PartyOption = None,
) -> None:
    """Put a device out: revoke its certificate and publish the list.

    The relay ends the device's sessions within a second, and every channel
    removes it. If the relay can't be reached the list is kept, and `liaison
    party renew-list` publishes it.
    """
    from liaison.policy.revocation import Reason

    meant = DeviceId.parse(target) if "#" in target else EndpointId.parse(target)
    async with await offices.open_desk(cli, party) as desk:
        published = await desk.revoke(meant, Reason(reason.value), lifetime_days=list_days)
    devices = sorted({str(c.device) for c in published.certificates})
    text = f"revoked {', '.join(devices)} (list {published.number})"
    cli.out.record(_revoked(cli, party, published), text)


async def renew_list(cli: Context, list_days: DaysOption = 30, party: PartyOption = None) -> None:
    """Publish the revocation list again.

    It gets a new date, before the old one is out of date.
    """
    async with await offices.open_desk(cli, party) as desk:
        published = await desk.renew(lifetime_days=list_days)
    text = f"revocation list {published.number} is good until {_date(published.next_update)}"
    cli.out.record(_revoked(cli, party, published), text)


def devices(cli: Context, party: PartyOption = None) -> None:
    """List the devices that were certified here."""
    office = offices.open_office(cli, party)
    rows = []
    for record in office.devices():
        certificates = [
            {
                "scheme": c.scheme.value,
                "serial": c.serial,
                "not_after": c.not_after,
                "revoked": c.serial in record.revoked,
            }
            for c in record.certificates
        ]
        rows.append(
            {
                "device": str(record.device),
                "revoked": record.is_revoked,
                "until": _date(max(c.not_after for c in record.certificates)),
                "certificates": certificates,
            }
        )
    cli.out.table(rows, ("device", "revoked", "until"), "no device was certified yet")


def register(app: typer.Typer) -> None:
    """Add the commands to `liaison party`."""
    for verb in (invite, requests, approve, withdraw, revoke, devices):
        command(app)(verb)
    command(app, "renew-list")(renew_list)


def signature_scheme(scheme: Scheme) -> Any:
    """Return the scheme of a name that people use."""
    from liaison.crypto.signing import SignatureScheme

    return SignatureScheme[scheme.name]


async def _await_requests(
    desk: RelayDesk, targets: Sequence[str], seconds: float
) -> list[Enrolment]:
    import asyncio

    deadline = time.monotonic() + seconds
    while True:
        requested = [e for e in await desk.enrolments() if e.state == "requested"]
        if targets:
            missing = [t for t in targets if not any(_is_meant(e, t) for e in requested)]
            found = [e for e in requested if any(_is_meant(e, t) for t in targets)]
        else:
            missing, found = ([] if requested else ["any device"]), requested
        if not missing:
            return found
        if time.monotonic() >= deadline:
            raise NotFoundError(
                f"there is no request of {', '.join(missing)}",
                hint="see liaison party requests; --wait SECONDS waits for the device",
                unchanged="nothing was approved",
            )
        await asyncio.sleep(_POLL_SECONDS)


def _is_meant(enrolment: Enrolment, target: str) -> bool:
    names = {str(enrolment.device), enrolment.device.uri, str(enrolment.device.endpoint)}
    return target in names or (len(target) >= 4 and enrolment.lookup.startswith(target))


def _enrolment(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "lookup": enrolment.lookup,
        "device": str(enrolment.device),
        "state": enrolment.state,
        "expires": enrolment.expires,
        "keys": [{"scheme": k.scheme.value, "fingerprint": k.key_id} for k in enrolment.keys],
        "problem": enrolment.problem.message if enrolment.problem else None,
    }


def _approved(invitation: Invitation) -> dict[str, Any]:
    return {
        "device": str(invitation.device),
        "lookup": invitation.lookup,
        "certificates": [_leaf(chain) for chain in _chains(invitation)],
    }


def _chains(invitation: Invitation) -> Iterable[Sequence[bytes]]:
    return invitation.answered.chains if invitation.answered else ()


def _leaf(chain: Sequence[bytes]) -> dict[str, Any]:
    from liaison.crypto import x509_path

    leaf = x509_path.peek_device(chain[0])
    return {"scheme": leaf.scheme.value, "serial": leaf.serial, "not_after": leaf.not_after}


def _revoked(cli: Context, party: str | None, published: Revoked) -> dict[str, Any]:
    return {
        "party": str(offices.choose(cli, party)),
        "number": published.number,
        "next_update": published.next_update,
        "revoked": [{"device": str(c.device), "serial": c.serial} for c in published.certificates],
    }


def _date(at: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
