"""The admin socket as the commands use it: one JSON line each way.

Small on purpose: a command that a running relay does for it needs nothing of
the relay's own code. `admin` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from liaison.relay.errors import AdminError
from liaison.relay.files import DataDir
from liaison.wire.problems import Problem, RemoteError

MAX_REQUEST: Final = 4 << 20
PATIENCE: Final = 30.0
"""Seconds for one request over the socket."""

JSON = Any
Request = Mapping[str, str]


def ask(data: DataDir, request: Request) -> JSON | None:
    """Send a request to the running relay; None where none is listening.

    Raises:
        RemoteError: the relay refused.
        AdminError: it did not answer.
    """
    with socket.socket(socket.AF_UNIX) as connection, short(data.socket) as address:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        try:
            connection.sendall(line(dict(request)))
            with connection.makefile("rb") as stream:
                received = stream.readline()
        except OSError as e:
            raise AdminError(f"the relay did not answer on {data.socket}") from e
    if not received:
        raise AdminError("the relay ended before it answered", hint="ask again to see what it did")
    answer = json.loads(received)
    if "problem" in answer:
        raise RemoteError(Problem.decode(json.dumps(answer["problem"]).encode()))
    return answer["result"]


def line(members: JSON) -> bytes:
    """Return members as the one line that goes over the socket."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """Give a name of the socket that fits into the 108 bytes of a Unix address."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
