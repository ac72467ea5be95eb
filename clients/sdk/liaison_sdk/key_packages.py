"""Keeps the relay stocked with this device's key packages.

For each suite that an agreement of the own party uses (and the default one) the
relay holds some single-use packages and one of last resort. The private halves
are stored before the public ones are published.
"""

from __future__ import annotations

from typing import Final

from liaison.crypto import suites
from liaison.mls.credentials import Credential
from liaison.mls.extensions import LAST_RESORT
from liaison.mls.key_packages import KeyPackageBundle, new_key_package
from liaison.mls.leaf import Capabilities, Lifetime
from liaison.trust import CHANNEL_BINDING_EXTENSION
from liaison_sdk.environment import Environment
from liaison_sdk.store import Transaction
from liaison_sdk.store import key_packages as table

CAPABILITIES: Final = Capabilities.default((CHANNEL_BINDING_EXTENSION, LAST_RESORT))
_DAY: Final = 86_400
_LIFETIME: Final = 60 * _DAY
_SKEW: Final = 3600
_RENEW_LAST_RESORT: Final = 20 * _DAY
"""A last-resort package is replaced when it has less than this to live."""
_GRACE: Final = 2 * _DAY
"""A Welcome may be on its way to a package that has just expired."""


def lifetime(now: int) -> Lifetime:
    """Return the lifetime of a leaf made now."""
    return Lifetime(now - _SKEW, now + _LIFETIME)


async def replenish(env: Environment) -> int:
    """Publish what the relay lacks; return how many packages.

    Raises:
        RemoteError: the relay refused.
        ConnectionLostError: it can't be reached.
    """
    await env.write(lambda tx: table.delete_expired(tx, env.now - _GRACE))
    wanted = await env.read(lambda tx: _suites(env, tx))
    counts = {count.suite: count for count in await env.api.key_package_counts()}
    published = 0
    for suite in wanted:
        count = counts.get(suite)
        missing = env.options.key_packages - (count.available if count else 0)
        if missing <= env.options.key_packages // 2 and count and count.last_resort:
            continue
        resort = not (count and count.last_resort) or await env.read(
            lambda tx, s=suite: _last_resort_is_old(env, tx, s)  # type: ignore[misc]  # a default argument binds the loop's value
        )
        bundles = await env.write(
            lambda tx, s=suite, n=missing, r=resort: _make(env, tx, s, n, last_resort=r)  # type: ignore[misc]  # as above
        )
        await env.api.upload_key_packages(
            suite,
            [bundle.key_package for bundle in bundles if not bundle.last_resort],
            next((bundle.key_package for bundle in bundles if bundle.last_resort), None),
        )
        published += len(bundles)
    return published


def _suites(env: Environment, tx: Transaction) -> list[int]:
    agreed = [agreement.cipher_suite for agreement in env.trust.agreements(tx)]
    unique = dict.fromkeys([*agreed, suites.DEFAULT])
    return [code for code in unique if suites.suite(code).signature in env.account.schemes]


def _last_resort_is_old(env: Environment, tx: Transaction, suite: int) -> bool:
    expiry = table.last_resort_expiry(tx, suite)
    return expiry is None or expiry - env.now < _RENEW_LAST_RESORT


def _make(
    env: Environment, tx: Transaction, suite: int, count: int, *, last_resort: bool
) -> list[KeyPackageBundle]:
    kinds = [False] * max(count, 0) + [True] * last_resort
    bundles = [_one(env, suite, last_resort=kind) for kind in kinds]
    for bundle in bundles:
        table.save(tx, suite, bundle, env.now + _LIFETIME)
    return bundles


def _one(env: Environment, suite: int, *, last_resort: bool) -> KeyPackageBundle:
    scheme = suites.suite(suite).signature
    return new_key_package(
        suite,
        env.account.signer(scheme),
        Credential.x509(env.account.chain(scheme)),
        lifetime(env.now),
        rng=env.options.rng,
        capabilities=CAPABILITIES,
        last_resort=last_resort,
    )
