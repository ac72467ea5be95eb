"""Devices and channels on a real relay, made in a moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from liaison.crypto import x509_issue
from liaison.crypto.secret import random_bytes
from liaison.model import DeviceId, EndpointId, PartyCode
from liaison.policy import enrolment, signing
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import Witness
from liaison.policy.enrolment import Code, EnrolmentReply
from liaison.policy.keys import VerifyKey
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk import Client, Message, Options
from liaison_sdk.account import Account
from liaison_sdk.enrol import EnrolmentOptions, enrol
from liaison_sdk.http import Login, RelayAPI
from liaison_sdk.keystore import Argon2Parameters
from liaison_sdk.store import alarms as alarm_table
from liaison_sdk.transport import AiohttpTransport
from tests.support.ledger import Ledger
from tests.support.relay import RunningRelay
from tests.support.world import HOUR, YEAR, Device, World

PASSPHRASE = "correct horse battery staple"
CHEAP = Argon2Parameters(memory_kib=64, iterations=1, lanes=1)
AGREEMENT = "nor-deu-2026"
POLICY = "liaison"
QUICK = Options(
    poll_interval=0.02,
    backoff_first=0.02,
    backoff_most=0.2,
    commit_jitter=0.02,
    request_timeout=10,
    key_packages=4,
    log_pause=0.05,
    log_poll=0.2,
)
CALM = replace(QUICK, log_pause=3600)
"""Writes nothing by itself but what it was given or asked to do."""


@dataclass
class Stage:
    """A relay with an agreement between NOR and DEU, and devices on it."""

    relay: RunningRelay
    world: World
    folder: Path
    homes: dict[str, Path] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)

    async def open(self, *witnesses: Witness) -> Agreement:
        """Admit the parties, and an agreement with these witnesses."""
        for code in ("NOR", "DEU"):
            await self.relay.admit_party(self.world.party(code).document)
        signed = self.world.agreement("NOR", "DEU", relay=self.relay.identity)
        agreement = replace(signing.verify(signed), witnesses=witnesses)
        if witnesses:
            signed = signing.sign(agreement, self.world.party("NOR").authority_key)
            signed = signing.add_signature(signed, self.world.party("DEU").authority_key)
        await self.relay.admit_agreement(signed)
        return agreement

    def registrar(self, code: str) -> RelayAPI:
        """Return the API as a party's registrar."""
        nation = self.world.party(code)
        transport = AiohttpTransport(self.relay.url, ca_file=self.relay.ca)
        login = Login(nation.registrar, nation.registrar_key)
        return RelayAPI(transport, relay=self.relay.identity, login=login)

    async def enrol(self, name: str) -> Account:
        """Enrol a device, with the registrar approving at once."""
        home = self.folder / name.replace("/", "-").replace("#", "-")
        self.homes[name] = home
        code = Code.generate(random_bytes)
        async with self.registrar(_party(name)) as registrar:
            end = (self.world.now + 3600) * 1000
            await registrar.invite(code.lookup_text, name, end)

            async def while_it_waits(_: float) -> None:
                # The device pauses when its request is at the relay and the reply is not.
                await self.approve(registrar, code, name)

            return await enrol(
                home,
                self.relay.url,
                str(code),
                passphrase=PASSPHRASE,
                ca_file=self.relay.ca,
                parameters=CHEAP,
                options=EnrolmentOptions(key_packages=4, sleep=while_it_waits),
            )

    async def approve(self, registrar: RelayAPI, code: Code, name: str) -> None:
        """Do what the registrar does when a request is there."""
        listed = {e.lookup: e for e in await registrar.enrolments()}
        sealed = listed[code.lookup_text].sealed_request
        assert sealed is not None
        request = enrolment.open_request(code, sealed)
        device = self.certify(name, request.keys)
        party = self.world.party(_party(name)).party
        reply = EnrolmentReply(
            device.device, tuple(device.chains.values()), party, self.relay.identity
        )
        answer = enrolment.seal_reply(code, request.digest, reply, random_bytes)
        await registrar.reply_enrolment(code.lookup_text, list(device.chains.values()), answer)

    def certify(self, name: str, keys: tuple[VerifyKey, ...]) -> Device:
        """Issue a device's certificates."""
        nation, now = self.world.party(_party(name)), self.world.now
        chains = {
            key.scheme: (
                x509_issue.issue_device(
                    nation.root_key,
                    nation.party.roots[0].der,
                    DeviceId.parse(name),
                    key.scheme,
                    key.public,
                    not_before=now - HOUR,
                    not_after=now + YEAR // 2,
                    rng=random_bytes,
                ),
            )
            for key in keys
        }
        device = Device(DeviceId.parse(name), {}, chains)
        self.devices[name] = device
        return device

    async def revoke(self, name: str) -> None:
        """Do what `liaison party revoke` does."""
        async with self.registrar(_party(name)) as registrar:
            await registrar.publish_revocations(self.world.revoke(_party(name), self.devices[name]))

    @contextlib.asynccontextmanager
    async def client(
        self,
        name: str,
        options: Options = QUICK,
        *,
        offline: bool = False,
        receive: bool = True,
        alarms: bool = False,
    ) -> AsyncIterator[Client]:
        """Open the client of an enrolled device.

        Args:
            name: the device's.
            options, offline, receive: as `Client.open` takes them.
            alarms: whether the log may give cause for alarm; an honest relay's never does.
        """
        async with Client.open(
            self.homes[name],
            passphrase=PASSPHRASE,
            options=options,
            offline=offline,
            receive=receive,
        ) as client:
            yield client
            raised = await client._env.read(alarm_table.load_all)
            assert alarms or raised == [], [alarm.text for alarm in raised]


def _party(name: str) -> str:
    return PartyCode.parse(name.partition("/")[0].upper()).code


def endpoint(name: str) -> EndpointId:
    """Return an endpoint's id."""
    return EndpointId.parse(name)


async def next_message(client: Client, timeout: float = 10) -> Message:  # noqa: ASYNC109
    """Return the next message that was not shown yet."""
    return await asyncio.wait_for(anext(client.messages()), timeout)


async def until(client: Client, done: Callable[[], Awaitable[bool]], limit: float = 10) -> bool:
    """Wait until the store of a client looks a certain way."""
    async with asyncio.timeout(limit):
        while True:
            change = client._env.changes.next()
            if await done():
                return True
            await change.wait()


def tiles_of(ledger: Ledger) -> Callable[[str, str], Awaitable[bytes]]:
    """Serve the tiles of a log as the relay does."""

    async def tile(agreement: str, path: str) -> bytes:
        del agreement
        try:
            return ledger.tile(path)
        except KeyError:
            raise RemoteError(Problem(code="log.tile_unknown", status=404, detail=path)) from None

    return tile
