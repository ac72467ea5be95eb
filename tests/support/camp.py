"""A relay with two devices, mostly in a channel, made once and copied for each test that begins so.

Clients know the relay by the camp's port. A scenario may put something between them and the relay
there, such as `tests.support.trouble.Wire`, and let the relay listen elsewhere.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sdk.support import AGREEMENT, POLICY, Stage, endpoint
from tests.support.relay import running
from tests.support.world import Device, World

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"
CHANNEL = "duty"
_PORTS = range(20_000, 32_000)
"""None that the system gives to connections: the port is used again after a while without use."""


@dataclass(frozen=True)
class Camp:
    """Where everything lies.

    Args:
        folder: the relay's data, and the devices' homes.
        port: at which clients look for the relay.
        world: whose devices these are.
        devices: their certificates, by name.
    """

    folder: Path
    port: int
    world: World
    devices: dict[str, Device] = field(default_factory=dict)

    @property
    def relay(self) -> Path:
        """The relay's data directory."""
        return self.folder / "relay"

    def home(self, name: str) -> Path:
        """The home of a device."""
        return self.folder / "devices" / name.replace("/", "-").replace("#", "-")

    def copy(self, folder: Path) -> Camp:
        """Return the same camp at another place."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*.sock"))
        return Camp(folder, self.port, self.world.copy(), dict(self.devices))

    @contextlib.asynccontextmanager
    async def stage(self, *, port: int | None = None, **options: Any) -> AsyncIterator[Stage]:
        """Run the relay in this process, at another port where told, and give the devices."""
        async with running(self.relay, port=port or self.port, **options) as relay:
            homes = {name: self.home(name) for name in self.devices}
            yield Stage(relay, self.world, self.folder / "devices", homes, self.devices)


def quiet_port() -> int:
    """Return a port that was free a moment ago and that no connection gets by chance."""
    while True:
        port = random.choice(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def pitch(folder: Path, *, channel: bool = True, joined: bool = True, **options: Any) -> Camp:
    """Make a camp in an empty folder: an agreement, two devices, a channel of both.

    Args:
        folder: which.
        channel: whether there is one.
        joined: whether the second device has taken its welcome already.
        options: settings of the relay.
    """

    async def play(stage: Stage) -> None:
        await stage.open()
        for name in (ATTACHE, OFFICER):
            await stage.enrol(name)
        if channel:
            async with stage.client(ATTACHE) as nor:
                await nor.create_channel(AGREEMENT, POLICY, CHANNEL, [endpoint("deu/lno-j3")])
        if channel and joined:
            async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
                await deu.sync(30)
                await nor.sync(30)

    return await played(folder, play, **options)


async def played(folder: Path, play: Callable[[Stage], Awaitable[None]], **options: Any) -> Camp:
    """Make a camp of what is done at a new relay.

    Args:
        folder: an empty one.
        play: does it.
        options: settings of the relay.
    """
    camp = Camp(folder, quiet_port(), World())
    async with running(camp.relay, port=camp.port, **options) as relay:
        stage = Stage(relay, camp.world, folder / "devices")
        await play(stage)
    camp.devices.update(stage.devices)
    return camp
