"""Fetching what an agreement's parties have agreed, said and revoked since."""

from __future__ import annotations

import asyncio
from typing import Final

from liaison.errors import LiaisonError, UnavailableError
from liaison.policy.errors import PolicyRefusedError
from liaison.wire.problems import RemoteError
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.standings import Refreshed

_MOMENT: Final = 5.0
CHANGING: Final = ("party.", "agreement.suspended", "member.excluded")
"""Rules whose answer hangs on what the parties have said of their participation."""
_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_SERVER: Final = 500


async def refresh(env: Environment, agreement_id: str) -> bool:
    """Fetch the newest version, statements and revocations of one agreement.

    What is served and not believed is told as a problem; it keeps nothing else away.

    Returns:
        Whether anything is known now that was not known before.

    Raises:
        ConnectionLostError: the relay can't be reached.
        RemoteError: it can't answer now.
    """
    news = await _agreement(env, agreement_id)
    # Statements of a new party need the version that names it.
    news |= await people(env, agreement_id)
    if news:
        env.changes.notify()
    return news


async def people(env: Environment, agreement_id: str) -> bool:
    """Fetch statements and revocations of an agreement; return whether any is news.

    Raises:
        ConnectionLostError: the relay can't be reached.
        RemoteError: it can't answer now.
    """
    news = await statements(env, agreement_id)
    try:
        agreement = await env.read(lambda tx: env.trust.agreement(tx, agreement_id))
        news |= await env.trust.revocations.refresh(env.api, env.store, agreement)
    except LiaisonError as e:
        told(env, e)
    return news


async def after_news(env: Environment, agreement_id: str, error: PolicyRefusedError) -> bool:
    """Tell whether something is news since the agreement's refusal, so that it may be asked again.

    Who takes part changes at any time, and the last that this device has heard may be
    over. Where the relay can't be reached at once, what is known counts.
    """
    if not error.rule.startswith(CHANGING):
        return False
    try:
        async with asyncio.timeout(_MOMENT):
            return await people(env, agreement_id)
    except (LiaisonError, TimeoutError):
        return False


async def statements(env: Environment, agreement_id: str) -> bool:
    """Fetch what the parties say of their participation; return whether it is news.

    Raises:
        ConnectionLostError: the relay can't be reached.
        RemoteError: it can't answer now.
    """
    found = Refreshed()
    try:
        found = await env.trust.refresh_statements(env.api, env.store, agreement_id)
    except LiaisonError as e:
        told(env, e)
    for problem in found.problems:
        env.publish(Event(EventKind.PROBLEM, text=problem))
    return found.news


async def _agreement(env: Environment, agreement_id: str) -> bool:
    before = await env.read(lambda tx: len(env.trust.versions(tx, agreement_id)))
    try:
        await env.trust.fetch_agreement(env.api, env.store, agreement_id)
    except LiaisonError as e:
        told(env, e)
    return before != await env.read(lambda tx: len(env.trust.versions(tx, agreement_id)))


def told(env: Environment, error: LiaisonError) -> None:
    """Tell the listeners of an error that ends nothing; raise one that may pass.

    Raises:
        ConnectionLostError: the relay can't be reached.
        RemoteError: it can't answer now.
    """
    if isinstance(error, UnavailableError) or (isinstance(error, RemoteError) and may_pass(error)):
        raise error
    env.publish(Event(EventKind.PROBLEM, text=error.message))


def may_pass(error: RemoteError) -> bool:
    """Whether the relay may answer otherwise the next time."""
    status = error.problem.status
    return status >= _SERVER or status in (_UNAUTHORIZED, _TOO_MANY)
