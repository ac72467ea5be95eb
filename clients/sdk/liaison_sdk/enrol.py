"""Enrolment: a code from the registrar becomes an account.

The device makes its keys, leaves a request that only the code's holder can have
made, and waits for a reply that only the registrar can have made. What is under
way lies sealed in the store before anything is sent, so a second call goes on
with the same keys and the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from liaison.crypto import secret
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.envelope import cbor
from liaison.errors import UnavailableError
from liaison.policy import enrolment
from liaison.policy.enrolment import Code, SealedRequest
from liaison.policy.keys import VerifyKey
from liaison.values import dataclass
from liaison.wire.problems import RemoteError
from liaison_sdk import account as accounts
from liaison_sdk import key_packages
from liaison_sdk.account import Account
from liaison_sdk.environment import Environment, Options
from liaison_sdk.errors import (
    AlreadyEnrolledError,
    CertificateFileError,
    EnrolmentWaitingError,
    NotEnrolledError,
)
from liaison_sdk.groups import GroupCache
from liaison_sdk.http import RelayAPI
from liaison_sdk.keystore import DEFAULT_PARAMETERS, Argon2Parameters, Keystore
from liaison_sdk.store import SQLiteStore, Store, Transaction, meta
from liaison_sdk.trust_store import TrustStore

if TYPE_CHECKING:
    from liaison_sdk.transport import Transport

RECORD: Final = "enrolment"
_PENDING: Final = "enrolment.pending"
_POLL_FIRST: Final = 0.3
_POLL_MOST: Final = 5.0


@dataclass(frozen=True, slots=True)
class Pending:
    """An enrolment under way. Secret as a whole: it holds the code and the keys."""

    url: str
    ca_pem: str | None
    code: Code = field(repr=False)
    keys: tuple[SigningKey, ...] = field(repr=False)
    request: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @property
    def sealed(self) -> SealedRequest:
        """The request as it was made."""
        publics = tuple(VerifyKey.of(key) for key in self.keys)
        return SealedRequest(self.request, self.digest, publics)

    def encode(self) -> bytes:
        """Return the record's plaintext. Secret."""
        keys: list[Any] = [[key.scheme.value, key.private_bytes()] for key in self.keys]
        return cbor.encode([self.url, self.ca_pem, str(self.code), keys, self.request, self.digest])

    @classmethod
    def decode(cls, data: bytes) -> Pending:
        """Read what `encode` wrote."""
        item: Any = cbor.decode(data)
        url, ca_pem, code, keys, request, digest = item
        return cls(
            url=url,
            ca_pem=ca_pem,
            code=Code.parse(code),
            keys=tuple(SigningKey.from_bytes(SignatureScheme(name), raw) for name, raw in keys),
            request=request,
            digest=digest,
        )


def _over_aiohttp(url: str, ca_pem: str | None) -> Transport:
    # Loaded when it is needed, as in `Client`.
    from liaison_sdk.transport import AiohttpTransport  # noqa: PLC0415 - as said

    return AiohttpTransport(url, ca_pem=ca_pem)


def _check_address(url: str) -> None:
    from liaison_sdk.transport import parse_address  # noqa: PLC0415 - as above

    parse_address(url)


@dataclass(frozen=True, slots=True)
class EnrolmentOptions:
    """What a test puts in the place of time, chance and the network.

    Args:
        clock: Unix seconds.
        sleep: waits so many seconds.
        rng: random bytes.
        connect: reaches a relay by URL and CA.
        key_packages: how many to publish at the end.
    """

    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: Callable[[int], bytes] = secret.random_bytes
    connect: Callable[[str, str | None], Transport] = _over_aiohttp
    key_packages: int = 20


DEFAULT_OPTIONS: Final = EnrolmentOptions()


async def enrol(  # noqa: PLR0913 - everything after the path is by keyword
    home: Path,
    url: str | None = None,
    code: str | None = None,
    *,
    passphrase: str | None,
    ca_file: Path | None = None,
    schemes: Sequence[SignatureScheme] = (SignatureScheme.ED25519,),
    wait: float | None = None,
    parameters: Argon2Parameters = DEFAULT_PARAMETERS,
    options: EnrolmentOptions = DEFAULT_OPTIONS,
) -> Account:
    """Enrol this device, or go on with an enrolment that was begun.

    Args:
        home: the device's folder; made where needed.
        url: the relay; may be left out to go on. With the same code it replaces an earlier one,
            which may have been mistyped.
        code: from the registrar; may be left out to go on.
        passphrase: of the keystore; None for the system's keyring.
        ca_file: TLS CA certificates of the relay, kept in the account. Replaces an earlier one.
        schemes: signature schemes to ask certificates for.
        wait: seconds to wait for the registrar; None for as long as it takes, 0 for one look.
        parameters: cost of the passphrase, for a new keystore.
        options: for tests.

    Raises:
        WrongPassphraseError: the folder's keystore has another one; nothing was changed.
        AlreadyEnrolledError: the folder has an account, which the error names.
        EnrolmentWaitingError: no reply yet; call again without URL and code to go on.
        EnrolmentCodeError: the code has a typing error.
        RelayAddressError: the URL is not a relay's; nothing was made.
        CertificateFileError: the CA file is not PEM; nothing was made.
        EnrolmentError: the reply is not from who gave out the code.
        RemoteError: the relay refused, for instance because the code is not known to it.
    """
    ca_pem = None if ca_file is None else await asyncio.to_thread(_read_ca, ca_file)
    if url is not None:
        _check_address(url)
    keystore = await asyncio.to_thread(_keystore, home, passphrase, parameters)
    store = await SQLiteStore.open(home, keystore)
    try:
        pending = await store.write(
            lambda tx: _begin(tx, url, ca_pem, code, schemes=schemes, rng=options.rng)
        )
        async with contextlib.AsyncExitStack() as stack:
            transport = options.connect(pending.url, pending.ca_pem)
            api = await stack.enter_async_context(RelayAPI(transport))
            await api.request_enrolment(pending.code.lookup_text, pending.request)
            sealed = await _await_reply(api, pending, wait, options)
        account = _open(pending, sealed, int(options.clock()))
        await store.write(lambda tx: _finish(tx, account))
        # The device is enrolled now; whatever is left is done again when it connects.
        with contextlib.suppress(UnavailableError, RemoteError):
            await _publish_key_packages(account, store, options)
        return account
    finally:
        await store.close()


async def pending_enrolment(home: Path, passphrase: str | None) -> Pending | None:
    """Return the enrolment under way in a folder, or None.

    Raises:
        KeystoreMissingError: nothing was ever begun there.
        WrongPassphraseError: the passphrase is wrong.
    """
    keystore = await asyncio.to_thread(Keystore.open, home, passphrase)
    store = await SQLiteStore.open(home, keystore)
    try:
        data = await store.read(lambda tx: meta.load_record(tx, RECORD))
    finally:
        await store.close()
    return None if data is None else Pending.decode(data)


def _read_ca(file: Path) -> str:
    # Comments between the certificates may be in any language; TLS takes ASCII only.
    pem = file.read_bytes().decode("ascii", "ignore")
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise CertificateFileError(
            f"{file} holds no certificates", hint="it has to be PEM, such as the relay's ca.pem"
        )
    return pem


def _keystore(home: Path, passphrase: str | None, parameters: Argon2Parameters) -> Keystore:
    if Keystore.exists(home):
        return Keystore.open(home, passphrase)
    return Keystore.create(home, passphrase, parameters=parameters)


def _begin(
    tx: Transaction,
    url: str | None,
    ca_pem: str | None,
    code_text: str | None,
    *,
    schemes: Sequence[SignatureScheme],
    rng: Callable[[int], bytes],
) -> Pending:
    if meta.load_record(tx, accounts.RECORD) is not None:
        raise AlreadyEnrolledError(accounts.load(tx))
    data = meta.load_record(tx, RECORD)
    earlier = None if data is None else Pending.decode(data)
    code = None if code_text is None else Code.parse(code_text)
    if earlier is not None and code in (None, earlier.code):
        pending = replace(earlier, url=url or earlier.url, ca_pem=ca_pem or earlier.ca_pem)
        meta.save_record(tx, RECORD, pending.encode())
        return pending
    if code is None or url is None:
        raise NotEnrolledError("no enrolment is under way here", hint="give the URL and the code")
    keys = tuple(SigningKey.generate(scheme) for scheme in schemes)
    request = enrolment.seal_request(code, keys, rng)
    pending = Pending(url, ca_pem, code, keys, request.data, request.digest)
    meta.save_record(tx, RECORD, pending.encode())
    return pending


async def _await_reply(
    api: RelayAPI, pending: Pending, wait: float | None, options: EnrolmentOptions
) -> bytes:
    end = None if wait is None else options.clock() + wait
    pause = _POLL_FIRST
    while True:
        try:
            return await api.enrolment_reply(pending.code.lookup_text)
        except RemoteError as e:
            if e.remote_code != _PENDING:
                raise
        if end is not None and options.clock() + pause > end:
            raise EnrolmentWaitingError(
                hint="the registrar approves it with `liaison party approve`; then enrol again"
            )
        await options.sleep(pause)
        pause = min(pause * 1.5, _POLL_MOST)


def _open(pending: Pending, sealed: bytes, now: int) -> Account:
    reply = enrolment.open_reply(pending.code, pending.sealed, sealed, now)
    by_public = {key.public_bytes: key for key in pending.keys}
    certified = [accounts.certified(chain) for chain in reply.chains]
    return Account(
        device=reply.device,
        url=reply.relay.url,
        ca_pem=pending.ca_pem,
        party=reply.party,
        relay=reply.relay,
        chains={c.scheme: chain for c, chain in zip(certified, reply.chains, strict=True)},
        keys={c.scheme: by_public[c.public_key] for c in certified},
    )


def _finish(tx: Transaction, account: Account) -> None:
    accounts.save(tx, account)
    meta.delete_record(tx, RECORD)


async def _publish_key_packages(account: Account, store: Store, options: EnrolmentOptions) -> None:
    """Let others add the device at once; it does the same whenever it connects."""
    async with _session(account, options) as api:
        env = Environment(
            account=account,
            store=store,
            api=api,
            options=Options(
                clock=options.clock, rng=options.rng, key_packages=options.key_packages
            ),
            groups=GroupCache(),
            trust=TrustStore(account),
        )
        await env.trust.refresh_agreements(api, store)
        await key_packages.replenish(env)


@contextlib.asynccontextmanager
async def _session(account: Account, options: EnrolmentOptions) -> AsyncIterator[RelayAPI]:
    transport = options.connect(account.url, account.ca_pem)
    async with RelayAPI(
        transport,
        relay=account.relay,
        login=account.login,
        clock=options.clock,
        rng=options.rng,
    ) as api:
        yield api
