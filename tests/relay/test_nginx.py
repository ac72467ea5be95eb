"""The relay behind a real nginx, with the configuration that is in deploy/nginx."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from liaison.crypto import trial_tls
from liaison.relay.app import Clocks
from liaison.wire import frames, v1
from tests.relay.services.harness import NOW, fresh_id
from tests.relay.test_backup import channel_of_two
from tests.relay.test_exchange import Scene, accepted, receive, until_caught_up
from tests.support.relay import RunningRelay, free_port, make, running
from tests.support.world import World

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "liaison-relay.conf"
CLOCKS = Clocks(now_ms=lambda: NOW * 1000)
SECONDS = 30

# Debian has it outside a user's path.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/relay.conf;
}}
"""


def configure(folder: Path, outside: int, inside: int) -> Path:
    """Put the example, with this test's ports and files, into a folder; the authority's file."""
    folder.mkdir()
    issued = trial_tls.issue(("127.0.0.1",), int(time.time()))
    for name, data in (("ca", issued.authority), ("c", issued.certificate), ("k", issued.key)):
        (folder / f"{name}.pem").write_bytes(data)
    text = EXAMPLE.read_text()
    for theirs, ours in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{outside} ssl;"),
        ("listen [::]:443 ssl;", ""),
        ("server_name relay.example;", "server_name 127.0.0.1;"),
        ("/etc/ssl/relay.example.pem", f"{folder}/c.pem"),
        ("/etc/ssl/private/relay.example.key", f"{folder}/k.pem"),
        ("server 127.0.0.1:8080;", f"server 127.0.0.1:{inside};"),
    ):
        assert text.count(theirs) == 1, theirs
        text = text.replace(theirs, ours)
    (folder / "relay.conf").write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    return folder / "ca.pem"


@asynccontextmanager
async def nginx(folder: Path, port: int) -> AsyncIterator[None]:
    assert NGINX is not None
    process = await asyncio.create_subprocess_exec(
        NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder), stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                assert process.returncode is None, "nginx has ended"
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                break
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@asynccontextmanager
async def proxied(tmp_path: Path, **overrides: Any) -> AsyncIterator[RunningRelay]:
    """A relay whose clients reach it through nginx."""
    outside, inside, folder = free_port(), free_port(), tmp_path / "nginx"
    ca = await asyncio.to_thread(configure, folder, outside, inside)
    # Its origin is nginx's address.
    await asyncio.to_thread(make, tmp_path / "relay", outside)
    chosen: dict[str, Any] = {"tls": "proxy", "trusted_proxies": ("127.0.0.1",), **overrides}
    async with (
        running(tmp_path / "relay", port=inside, clocks=CLOCKS, **chosen) as relay,
        nginx(folder, outside),
    ):
        assert relay.url == f"http://127.0.0.1:{inside}"
        yield replace(relay, url=f"https://127.0.0.1:{outside}", ca=ca)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Two devices behind nginx, the same for all tests: each begins with streams of its own."""
    folder = tmp_path_factory.mktemp("proxied")
    async with proxied(folder) as relay, channel_of_two(relay, World(now=NOW)) as found:
        yield found


async def test_messages_and_attachments_go_through(scene: Scene) -> None:
    sender, reader = await scene.attache.stream(deliver=False), await scene.officer.stream()
    message = scene.attache.mls.message(b"through a proxy")
    await sender.send(message)
    answer = await accepted(sender)
    *_, delivered = await receive(reader, 2)
    data = os.urandom(3 << 20)
    path = f"{scene.attache.path}/blobs/{fresh_id().hex()}"
    digest = v1.b64encode(hashlib.sha256(data).digest())
    put = await scene.attache.client.request("PUT", path, data, {"Liaison-Digest": digest})
    got = await scene.officer.client.get(path)

    assert (delivered.seq, delivered.payload) == (answer.seq, message.payload)
    assert (put.status, got.status) == (201, 200)
    assert got.body == data


async def test_a_stream_that_the_relay_closes_tells_the_client_why(
    scene: Scene,
) -> None:
    older = await scene.officer.stream()
    await until_caught_up(older)
    closing = asyncio.create_task(older.close_code())

    await scene.officer.stream()

    assert await closing == frames.Close.SUPERSEDED


async def test_what_is_too_large_is_refused_by_the_relay_in_its_own_words(scene: Scene) -> None:
    answer = await scene.attache.client.post(
        f"{scene.attache.path}/commits", b" " * ((24 << 20) + 1)
    )

    assert (answer.status, answer.code) == (413, "oversize")


async def ask(relay: RunningRelay, source: str, forged: str) -> int:
    """Ask without a session, from an address of this host, claiming another."""
    connector = aiohttp.TCPConnector(ssl=False, local_addr=(source, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"{relay.url}/v1/channels", headers={"X-Forwarded-For": forged}) as answer,
    ):
        await answer.read()
        return answer.status


async def test_rates_are_those_of_the_address_that_nginx_saw_and_not_of_one_that_is_claimed(
    tmp_path: Path,
) -> None:
    async with proxied(tmp_path, rate_address=0.0001, burst_address=3) as relay:
        greedy = [await ask(relay, "127.0.0.2", f"192.0.2.{number}") for number in range(5)]
        other = await ask(relay, "127.0.0.3", "127.0.0.2")

    assert greedy == [401, 401, 401, 429, 429]
    assert other == 401


async def test_another_name_than_the_relays_is_refused(scene: Scene) -> None:
    answer = await scene.attache.client.request(
        "GET", "/v1/channels", headers={"Host": "elsewhere.example"}
    )

    assert answer.status in (400, 404, 421)
    assert answer.json["type"].startswith("urn:liaison:")
