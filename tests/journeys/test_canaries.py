"""What people say is nowhere in what the relay keeps: files, log, memory."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import BinaryIO

import pytest

from demo.play import OFFICER
from tests.support.theatre import Theatre, read_all, start_actor

# One relay for all journeys, so all of them on one worker.
pytestmark = pytest.mark.xdist_group("journeys")

_PIECE = 1 << 20
STEM = f"canary-{secrets.token_hex(12)}"
"""What every canary begins with: where this is not, none of them is."""


def memory_of(pid: int) -> bytes:
    """Every private mapping of a process that can be written, as far as it can be read."""
    found = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb") as mem:
        for line in maps:
            span, rights, _, _, _, *name = line.split(maxsplit=5)
            if not rights.startswith("rw") or (name and name[0].startswith("[v")):
                continue
            start, end = (int(x, 16) for x in span.split("-"))
            found += [_read(mem, at, min(at + _PIECE, end)) for at in range(start, end, _PIECE)]
    return b"".join(found)


def _read(mem: BinaryIO, start: int, end: int) -> bytes:
    try:
        mem.seek(start)
        return mem.read(end - start)
    except OSError:
        # Freed since it was listed, or mapped beyond the end of its file: nothing is there.
        return b""


def forms(canary: str) -> list[bytes]:
    """A canary as it might stand somewhere: UTF-8, UTF-16, hex."""
    return [canary.encode(), canary.encode("utf-16-le"), canary.encode().hex().encode()]


def places(data: bytes) -> list[bytes]:
    """What stands in data where canaries are; one look for each form finds all of them."""
    return [data[at : at + 2 * len(form)] for form in forms(STEM) if (at := data.find(form)) >= 0]


@pytest.fixture(scope="module")
def canaries(theatre: Theatre, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Fifty strings in texts, a channel's name, a subject, a note, a file's name and its bytes."""
    words = [f"{STEM}-{what}" for what in ("name", "subject", "note", "file", "inside")]
    prefix = f"{STEM}-text"
    name, subject, note, file_name, inside = words
    channel = theatre.open_channel(name, OFFICER)
    actor = start_actor(theatre.attache, channel, "--prefix", prefix, "--count", "45")
    _, err = actor.communicate(timeout=120)
    assert actor.returncode == 0, err
    attachment = tmp_path_factory.mktemp("canary") / f"{file_name}.txt"
    attachment.write_text(inside * 100)
    sent = theatre.attache.ask_one(
        "send", channel, "see attachment", "--subject", subject, "--attach", str(attachment)
    )
    assert len(read_all(theatre.officer, channel)) == 46
    theatre.officer.run("ack", sent["id"], "will-comply", "--note", note)
    return [*words, *(f"{prefix} {n}" for n in range(1, 46))]


def test_no_file_and_no_log_of_the_relay_holds_a_canary(
    theatre: Theatre, canaries: list[str]
) -> None:
    relay = theatre.play.relay
    files = [f for f in relay.data.rglob("*") if f.is_file()] + [relay.log]
    contents = [(f.name, f.read_bytes()) for f in files]

    found = [(name, place) for name, data in contents for place in places(data)]

    assert len(canaries) == 50
    assert all(canary.startswith(STEM) for canary in canaries)
    assert sum(len(data) for _, data in contents) > 50_000
    assert found == []


def test_the_relays_memory_holds_no_canary(theatre: Theatre, canaries: list[str]) -> None:
    pid = theatre.play.relay.pid
    if os.geteuid() != 0:
        pytest.skip("only root may read the memory of a process that forbids dumps")
    memory = memory_of(pid)

    found = places(memory)

    # The search itself works: what the relay must know is there.
    assert OFFICER.encode() in memory
    assert all(canary.startswith(STEM) for canary in canaries)
    assert found == []
