"""A relay with two devices in a channel, made once and copied for each scenario of faults.

Clients know the relay by the camp's port. A scenario may put something between them and the relay
there, such as `tests.support.trouble.Wire`, and let the relay listen elsewhere.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sdk.support import AGREEMENT, POLICY, Stage, endpoint
from tests.support.relay import running
from tests.support.world import World

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
    """

    folder: Path
    port: int
    world: World

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
        return Camp(folder, self.port, self.world)

    @contextlib.asynccontextmanager
    async def stage(self, *, port: int | None = None, **options: Any) -> AsyncIterator[Stage]:
        """Run the relay in this process, at another port where told, and give the devices."""
        async with running(self.relay, port=port or self.port, **options) as relay:
            stage = Stage(relay, self.world, self.folder / "devices")
            stage.homes.update({name: self.home(name) for name in (ATTACHE, OFFICER)})
            yield stage


def quiet_port() -> int:
    """Return a port that was free a moment ago and that no connection gets by chance."""
    while True:
        port = random.choice(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def pitch(folder: Path, **options: Any) -> Camp:
    """Make a camp in an empty folder: an agreement, two devices, a channel of both.

    Args:
        folder: which.
        options: settings of the relay.
    """
    camp = Camp(folder, quiet_port(), World())
    async with running(camp.relay, port=camp.port, **options) as relay:
        stage = Stage(relay, camp.world, folder / "devices")
        await stage.open()
        for name in (ATTACHE, OFFICER):
            await stage.enrol(name)
        async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
            await nor.create_channel(AGREEMENT, POLICY, CHANNEL, [endpoint("deu/lno-j3")])
            await deu.sync(30)
            await nor.sync(30)
    return camp
