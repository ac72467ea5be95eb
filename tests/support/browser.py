"""Chromium without a screen, driven over its debugging protocol: one page in one process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_WAIT = 60


def program() -> str:
    """Return the browser's path; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium here (Debian: apt-get install chromium)")
    return found


class Page:
    """A page that records whatever it loads and whatever goes wrong on it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = iter(range(1, 1_000_000))
        self.events: list[dict[str, Any]] = []

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; events that come meanwhile are kept."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while (message := await self._next()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    async def open(self, url: str) -> None:
        """Load a page and wait until it is there."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.ask(f"{domain}.enable")
        await self.ask("Page.navigate", url=url)
        while not self.named("Page.loadEventFired"):
            self.events.append(await self._next())

    async def run(self, script: str) -> Any:
        """Return what a JavaScript expression gives, as JSON."""
        expression = f"JSON.stringify({script})"
        answer = await self.ask("Runtime.evaluate", expression=expression, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return json.loads(answer["result"]["value"])

    async def look(self, *, media: str = "screen", scheme: str = "light") -> None:
        """Show the page on another medium, by day or by night."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    async def press(self, key: str) -> None:
        """Press a key and let it go."""
        code = {"Tab": 9, "End": 35}[key]
        for kind in ("keyDown", "keyUp"):
            await self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def named(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of the events of one kind."""
        return [e["params"] for e in self.events if e.get("method") == method]

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._socket.receive_json(timeout=START_WAIT)
        return message


@contextlib.asynccontextmanager
async def page() -> AsyncIterator[Page]:
    """Start a browser with an empty page, and end it with the block."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-extensions", "--disable-background-networking",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        said = process.stderr
        try:
            async with asyncio.timeout(START_WAIT):
                while not (found := re.search(rb"listening on (ws://\S+)", await said.readline())):
                    assert not said.at_eof(), "the browser did not start"
            # Whatever else it says is not to stop it.
            rest = asyncio.create_task(said.read())
            address = found[1].decode()
            async with aiohttp.ClientSession() as session, _connected(session, address) as whole:
                made = await Page(whole).ask("Target.createTarget", url="about:blank")
                host = address.partition("/devtools/")[0]
                url = f"{host}/devtools/page/{made['targetId']}"
                async with _connected(session, url) as socket:
                    yield Page(socket)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await rest


def _connected(
    session: aiohttp.ClientSession, url: str
) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return session.ws_connect(url, max_msg_size=64 << 20)
