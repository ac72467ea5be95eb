"""Relays to test against: one in this process, and one in a process of its own.

Both are whole: they listen on a loopback port with TLS by a trial authority and
keep their data in a folder of the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import Signer
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import Decision, Request
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.standing import Standing
from liaison.relay import files, identity, log, serve, settings
from liaison.relay.app import Clocks, Relay
from liaison.relay.files import DataDir
from liaison.relay.recording import Step, nothing
from liaison.relay.services.judging import JUDGE, Judge
from liaison.wire.handshake import Principal
from tests.support.client import RawClient

START_WAIT = 30


def allow_everything(
    request: Request, agreement: Agreement, now: int, *, standing: Standing
) -> Decision:
    """Judge nothing: a relay whose policy check is off."""
    del request, agreement, now, standing
    return Decision(allow=True, rule="none", reason="the check is off")


def free_port() -> int:
    """Return a port of the loopback address that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@functools.cache
def _new_database() -> bytes:
    """Return an empty migrated database.

    A process of its own makes it, once: migrating reads files inside an event
    loop, which is nobody's loss there and an error under blockbuster.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = RelayProcess(Path(folder) / "relay")
        process.init()
        return (process.data / "relay.db").read_bytes()


def make(path: Path, port: int) -> DataDir:
    """Do what `liaison-relay init` does; blocks."""
    data = DataDir(path)
    files.make_private_directory(data.path)
    files.write_private(data.path / "relay.db", _new_database())
    identity.create(data, f"https://127.0.0.1:{port}", random_bytes)
    return data


@dataclass(frozen=True)
class RunningRelay:
    """A relay in this process."""

    url: str
    data: Path
    ca: Path
    identity: RelayIdentity
    app: Relay

    @property
    def origin(self) -> str:
        """What stands in the handshake's transcript."""
        return self.identity.url

    async def admit_party(self, document: bytes) -> None:
        """Do what `liaison-relay party add` does."""
        await self.app.services.registry.add_party(document)

    async def admit_agreement(self, envelope: bytes) -> None:
        """Do what `liaison-relay agreement add` does."""
        await self.app.services.agreements.admit(envelope)

    def client(self, principal: Principal | None = None, signer: Signer | None = None) -> RawClient:
        """Return a bare client of this relay, not yet logged in."""
        return RawClient(self.url, self.ca, self.identity, principal, signer)


@contextlib.asynccontextmanager
async def running(
    path: Path,
    *,
    port: int | None = None,
    clocks: Clocks | None = None,
    judge: Judge = JUDGE,
    step: Step = nothing,
    **overrides: Any,
) -> AsyncIterator[RunningRelay]:
    """Run a relay in this process; made first where the folder holds none.

    `allow_everything` as the judge makes a relay that forbids nothing; `step` is told what the log does.
    """
    port = free_port() if port is None else port
    data = DataDir(path)
    if not await asyncio.to_thread(data.identity.exists):
        data = await asyncio.to_thread(make, path, port)
    chosen = {"listen": f"127.0.0.1:{port}", "tls": "dev", **overrides}
    loaded = await asyncio.to_thread(settings.load, data.path, **chosen)
    with quiet(), contextlib.ExitStack() as stack:
        ready = await asyncio.to_thread(stack.enter_context, serve.prepared(data, loaded))
        try:
            async with serve.serving(ready, clocks, judge, step) as relay:
                yield RunningRelay(
                    ready.address, data.path, data.authority, ready.keys.public, relay
                )
        finally:
            await asyncio.to_thread(stack.close)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the relay in this process log errors only, and give the logging back at the end."""
    root = logging.getLogger()
    handlers, level, before = list(root.handlers), root.level, structlog.get_config()
    log.configure("error")
    try:
        yield
    finally:
        structlog.configure(**before)
        root.handlers, root.level = handlers, level


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RunningRelay]:
    """A relay in this process, on a loopback port with TLS."""
    async with running(tmp_path / "relay") as found:
        yield found


class RelayProcess:
    """A relay in a process of its own, through the public commands. Blocks: call it from threads.

    Args:
        data: its data directory.
        port: its port; a free one where left out.
        program: how it is run.
    """

    def __init__(
        self, data: Path, port: int | None = None, program: Sequence[str] | None = None
    ) -> None:
        self.data = data
        self.port = port or free_port()
        self._program = program or _PROGRAM
        self.log = data.parent / f"{data.name}.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        """The certificate authority of its TLS."""
        return self.data / "ca.pem"

    @property
    def identity_file(self) -> Path:
        """Its public identity document."""
        return self.data / "relay.json"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one `liaison-relay` command on its data directory."""
        command = [*self._program, *map(str, arguments), "--data", str(self.data)]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=60)

    def init(self) -> None:
        """Make the relay."""
        self.run("init", "--origin", self.url)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    def start(self, *options: str, expect: str | None = None) -> None:
        """Start it and wait until it says that it listens, by default where it should."""
        command = [*self._program, "serve", "--data", str(self.data), "--dev-tls"]
        command += ["--listen", f"127.0.0.1:{self.port}", *options]
        with self.log.open("a") as log_file:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log_file, text=True, env=dict(os.environ)
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        expected = expect or re.escape(f"listening on {self.url}\n")
        assert re.fullmatch(expected, line), self.log.read_text()

    def kill(self) -> None:
        """Kill it with -9."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ask it to stop, wait, and return its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(START_WAIT)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return status


_PROGRAM = (sys.executable, "-m", "liaison.relay")
