"""What would become of a message, shown and asked about before it goes out."""

from __future__ import annotations

import contextlib
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from liaison.errors import RefusedError, UnavailableError
from liaison_cli import messages
from liaison_cli.asking import agree
from liaison_cli.context import Context
from liaison_cli.terminal import is_terminal

if TYPE_CHECKING:
    from liaison.model import EndpointId
    from liaison.policy.simulate import Outcome, Simulation
    from liaison_sdk import Channel, Client


_NEAR: Final = 0.8
"""Alikeness from which one name may have been meant by another."""
_UNCHANGED: Final = {"send": "nothing was sent", "draft": "nothing was drafted"}
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class NotReachedError(RefusedError):
    """Somebody who is addressed would not get it, or not now."""

    code = "cli.not_reached"


def table(cli: Context, found: Simulation) -> None:
    """Print each endpoint's fate."""
    rows = [_row(outcome) for outcome in found.outcomes]
    columns = ("endpoint", "addressed", "fate", "manned", "reason")
    cli.out.table(rows, columns, "nobody else is in the channel")


def check(channel: Channel, found: Simulation, own: EndpointId) -> None:
    """Check that a message may be sent, and would reach all who are addressed.

    Raises:
        PolicyRefusedError: it may not; the hint has the way around where there is one.
        NotReachedError: somebody would not get it.
    """
    check_allowed(channel, found, own)
    if found.missing:
        raise _not_reached(channel, found, found.missing)


def check_allowed(channel: Channel, found: Simulation, own: EndpointId) -> None:
    """Check that a message may be sent.

    Raises:
        PolicyRefusedError: it may not; the hint has the way around where there is one.
    """
    from liaison.policy.errors import PolicyRefusedError

    if not found.decision.allow:
        allowed = _command("agreement", "show", channel.agreement_id)
        hint = _meant(found) or _way_around(channel, found, own) or f"what is allowed: {allowed}"
        raise PolicyRefusedError(found.decision.reason, rule=found.decision.rule, hint=hint)


async def simulated(
    client: Client, channel: Channel, body: str, options: dict[str, Any]
) -> Simulation:
    """Return what would become of a message, by what the relay knows where it can be asked."""
    simulation = await channel.simulate(body, **options)
    if once_released(simulation).decision.allow or not client.connected:
        return simulation
    # A party may have resumed, or everybody agreed to more, since this device last heard of it.
    with contextlib.suppress(UnavailableError):
        await client.standing(channel.agreement_id)
    return await channel.simulate(body, **options)


def once_released(found: Simulation) -> Simulation:
    """Return what would become of a message once all have signed it, whenever that is."""
    from liaison.policy.requests import allow
    from liaison.policy.simulate import Fate, Simulation

    decision, outcomes = found.decision, [replace(one, manned=None) for one in found.outcomes]
    if _lacks_signatures(found):
        reason = "it may be sent once it is released"
        decision = allow(decision.rule, reason)
        outcomes = [
            replace(one, fate=Fate.GETS, reason=reason) if one.fate is Fate.REFUSED else one
            for one in outcomes
        ]
    return Simulation(decision, tuple(outcomes))


async def ask(
    cli: Context, channel: Channel, found: Simulation, *, yes: bool, verb: str = "send"
) -> None:
    """Ask whether to send what somebody addressed would not get, or not now.

    Args:
        cli: for what is said.
        channel: where it is to go.
        found: what would become of it.
        yes: the person has agreed already.
        verb: what is to be done with it.

    Raises:
        NotReachedError: there is nobody to ask.
        DeclinedError: the answer is no.
    """
    empty = [one for one in found.outcomes if one.addressed and one.manned is False]
    if not (found.missing or empty):
        return
    if not (yes or is_terminal()):
        raise _not_reached(channel, found, found.missing or tuple(empty), verb)
    for outcome in found.missing:
        cli.out.note(f"{outcome.endpoint} would not get it: {outcome.reason}")
    for outcome in empty:
        cli.out.note(f"the desk of {outcome.endpoint} is not manned now")
    if meant := _meant(found):
        cli.out.hint(meant)
    await agree(f"{verb} it all the same?", yes=yes, unchanged=_UNCHANGED[verb])


def _row(outcome: Outcome) -> dict[str, Any]:
    addressed = {"to": "to", "copy": "info"}.get(outcome.addressed)
    return {
        "endpoint": str(outcome.endpoint),
        "addressed": addressed,
        "fate": outcome.fate.value,
        "manned": outcome.manned,
        "reason": outcome.reason,
    }


def _not_reached(
    channel: Channel, found: Simulation, outcomes: tuple[Outcome, ...], verb: str = "send"
) -> NotReachedError:
    from liaison.policy.simulate import Fate

    names = ", ".join(str(one.endpoint) for one in outcomes)
    outside = [one.endpoint for one in outcomes if one.fate is Fate.OUTSIDE]
    meant = _meant(found)
    hint = f"{meant}{' or ' if meant else ''}{verb} it all the same with --yes"
    if outside:
        hint += f", or first: {_command('channels', 'add', _name(channel), *map(str, outside))}"
    reason = f"would not get it: {outcomes[0].reason}"
    if all(one.fate is Fate.GETS for one in outcomes):
        reason = "would get it at a desk that is not manned now"
    return NotReachedError(f"{names} {reason}", hint=hint, unchanged=_UNCHANGED[verb])


def _meant(found: Simulation) -> str:
    """Return which names of the channel were meant by those that are not in it; empty if none."""
    from difflib import get_close_matches

    from liaison.policy.simulate import Fate

    def is_lost(outcome: Outcome) -> bool:
        return bool(outcome.addressed) and outcome.fate is Fate.OUTSIDE

    # Who is addressed as well was not meant by another name.
    inside = [str(one.endpoint) for one in found.outcomes if not one.addressed]
    near = [
        f"{match} instead of {one.endpoint}"
        for one in found.outcomes
        if is_lost(one)
        for match in get_close_matches(str(one.endpoint), inside, 1, _NEAR)
    ]
    return f"did you mean {', '.join(near)}?" if near else ""


def _lacks_signatures(found: Simulation) -> bool:
    return not found.decision.allow and found.decision.rule.endswith(".release")


def _way_around(channel: Channel, found: Simulation, own: EndpointId) -> str:
    """Return what can be done instead, such as opening a channel of those who are cleared."""
    from liaison.policy.simulate import Fate

    if _lacks_signatures(found):
        return "others of the nation sign it: liaison draft CHANNEL TEXT --via THEIR-CHANNEL"
    if not found.blocking or own in found.blocking:
        return ""
    staying = [
        str(one.endpoint)
        for one in found.outcomes
        if one.fate in {Fate.GETS, Fate.REFUSED} and one.endpoint != own
    ]
    if not staying:
        return "nobody else in the channel is cleared for it"
    words = ["channels", "create", f"{_name(channel)}-cleared"]
    words += ["--agreement", channel.agreement_id, "--policy", channel.policy]
    for name in staying:
        words += ["--add", name]
    return f"a channel of those who are cleared: {_command(*words)}"


def _name(channel: Channel) -> str:
    """Return what names a channel in a command that somebody may copy."""
    # A member gave it the name, which may be an option, or anything.
    plain = channel.name if _PLAIN.fullmatch(channel.name) else ""
    return plain or str(channel.id)[: messages.ID_DIGITS]


def _command(*words: str) -> str:
    return shlex.join(("liaison", *words))
