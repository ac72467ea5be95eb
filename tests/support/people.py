"""Registrars and devices of a running relay, logged in, in a moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from liaison.crypto.secret import random_bytes
from liaison.wire import v1
from tests.support.client import RawClient
from tests.support.relay import RunningRelay
from tests.support.world import Device, World


class People:
    """Logged-in clients of a relay, made on demand and closed at the end."""

    def __init__(self, relay: RunningRelay, world: World, stack: AsyncExitStack) -> None:
        self.relay = relay
        self.world = world
        self._stack = stack
        self._admitted: set[str] = set()
        self._offices: dict[str, RawClient] = {}
        """Those that enrol; who asks for a registrar gets another one, with a session of its own."""

    async def nobody(self) -> RawClient:
        """A client without a session."""
        return await self._stack.enter_async_context(self.relay.client())

    async def registrar(self, code: str) -> RawClient:
        """The registrar of an admitted party."""
        nation = self.world.party(code)
        if code not in self._admitted:
            await self.relay.admit_party(nation.document)
            self._admitted.add(code)
        client = self.relay.client(nation.registrar, nation.registrar_key)
        await self._stack.enter_async_context(client)
        assert (await client.login()).status == 201
        return client

    async def enrol(self, name: str) -> Device:
        """Enrol a device, as its registrar would."""
        device = self.world.device(name)
        code = device.device.party.code
        office = self._offices.get(code) or await self.registrar(code)
        self._offices[code] = office
        lookup = random_bytes(16).hex()
        invitation = v1.Invitation(
            lookup=lookup, device=device.device.uri, expires_ms=(self.world.now + 3600) * 1000
        )
        request = v1.EnrolmentRequest(sealed=b"request")
        reply = v1.EnrolmentReply(
            certificates=[list(chain) for chain in device.chains.values()], sealed=b"reply"
        )
        for path, body, status in (
            ("", invitation, 201),
            (f"/{lookup}/request", request, 202),
            (f"/{lookup}/reply", reply, 201),
        ):
            answer = await office.post(f"/v1/enrolments{path}", body)
            assert answer.status == status, answer.body
        return device

    async def device(self, who: str | Device) -> RawClient:
        """A client of an enrolled device; enrolled first when only its name is given."""
        device = await self.enrol(who) if isinstance(who, str) else who
        client = self.relay.client(device.device, device.key)
        await self._stack.enter_async_context(client)
        answer = await client.login()
        assert answer.status == 201, answer.body
        return client

    async def agreement(self, *codes: str) -> str:
        """Admit an agreement between parties and return its id."""
        for code in codes:
            await self.registrar(code)
        await self.relay.admit_agreement(
            self.world.agreement(*codes, relay=self.relay.identity, agreement_id="nor-deu-2026")
        )
        return "nor-deu-2026"


@asynccontextmanager
async def people_of(relay: RunningRelay, world: World) -> AsyncIterator[People]:
    """Give people of a relay, and close their connections at the end."""
    async with AsyncExitStack() as stack:
        yield People(relay, world, stack)
