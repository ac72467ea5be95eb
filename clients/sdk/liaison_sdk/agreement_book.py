"""The agreements of the device's party: fetched where the relay is reached, else as known last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from liaison.policy.agreement import Agreement
from liaison_sdk import agreements, refreshing
from liaison_sdk.agreements import AgreementStanding, HistoryEntry
from liaison_sdk.environment import Environment
from liaison_sdk.store import Transaction
from liaison_sdk.trust_store import AgreementMissingError


class AgreementBook:
    """Finds agreements, and says where they stand.

    Args:
        environment: what it belongs to.
        is_connected: whether the relay is reached now.
    """

    def __init__(self, environment: Environment, is_connected: Callable[[], bool]) -> None:
        self._env: Final = environment
        self._is_connected: Final = is_connected

    async def all(self) -> list[Agreement]:
        """See `Client.agreements`."""
        env = self._env
        if self._is_connected():
            return await env.trust.refresh_agreements(env.api, env.store)
        return await env.read(env.trust.agreements)

    async def find(self, agreement_id: str) -> Agreement:
        """See `Client.agreement`."""
        env = self._env
        if self._is_connected():
            return await env.trust.fetch_agreement(env.api, env.store, agreement_id)
        return await env.read(lambda tx: env.trust.agreement(tx, agreement_id))

    async def in_force(self, agreement_id: str) -> Agreement:
        """Return the version of an agreement that counts now.

        Raises:
            AgreementMissingError, RemoteError: see `Client.agreement`.
        """
        env = self._env
        await self._look_up(agreement_id)
        return await env.read(lambda tx: env.trust.current(tx, agreement_id, env.now))

    async def standing(self, agreement_id: str) -> AgreementStanding:
        """See `Client.standing`."""
        env = self._env
        await self._look_up(agreement_id)

        def look(tx: Transaction) -> AgreementStanding:
            agreement = env.trust.current(tx, agreement_id, env.now)
            newest = env.trust.agreement(tx, agreement_id)
            standing = env.trust.standing(tx, agreement_id)
            return agreements.standing_of(agreement, newest, standing, env.now)

        return await env.read(look)

    async def history(self, agreement_id: str) -> list[HistoryEntry]:
        """See `Client.agreement_history`."""
        env = self._env
        await self._look_up(agreement_id)

        def look(tx: Transaction) -> list[HistoryEntry]:
            versions = env.trust.versions(tx, agreement_id)
            if not versions:
                raise AgreementMissingError(f"the agreement {agreement_id} is not here")
            standing = env.trust.standing(tx, agreement_id)
            return agreements.history_of(versions, standing, env.trust.admitted(tx, agreement_id))

        return await env.read(look)

    async def _look_up(self, agreement_id: str) -> None:
        if self._is_connected():
            await self.find(agreement_id)
            await refreshing.statements(self._env, agreement_id)
