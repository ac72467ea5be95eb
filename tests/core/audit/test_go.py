"""Go's own transparency log recomputes an exported tree, and agrees with every tile and root."""

from __future__ import annotations

import io
import os
import shutil
import subprocess  # reason: Go is a program
import zipfile
from pathlib import Path

import pytest

from tests.core.audit.support import AuditedLog

SOURCE = Path(__file__).resolve().parents[2] / "interop" / "go" / "checklog.go"
LIBRARIES = Path("/usr/share/gocode")
"""Where Debian's golang-golang-x-mod-dev puts what is imported."""
GO = shutil.which("go")

pytestmark = pytest.mark.skipif(
    GO is None or not (LIBRARIES / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="needs Go and its transparency log: apt-get install golang-go golang-golang-x-mod-dev",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("go")
    made = folder / "checklog"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(LIBRARIES),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    subprocess.run(  # reason: our own source
        [str(GO), "build", "-o", str(made), str(SOURCE)], check=True, env=environment
    )
    return made


def unpacked(data: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        opened.extractall(folder)  # reason: we have made it
    return folder


def run(program: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # reason: our own program
        [program, folder], capture_output=True, check=False, text=True
    )


@pytest.mark.parametrize(
    ("count", "tiles", "sizes"),
    [(1, 1, ()), (256, 2, (255,)), (700, 4, (1, 256, 300)), (66_000, 261, (65_536,))],
)
def test_go_recomputes_every_tile_and_root(
    program: Path, tmp_path: Path, count: int, tiles: int, sizes: tuple[int, ...]
) -> None:
    log = AuditedLog()
    # To Go an entry is any bytes.
    log.data = [b"entry %d" % n for n in range(count)]
    out = io.BytesIO()
    writer = log.writer(out, log.facts(), sizes, derived=False)
    writer.add((data, None) for data in log.data)
    writer.finish(log.key, log.signer)

    done = run(program, unpacked(out.getvalue(), tmp_path))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{count} entries, {tiles} tiles, {len(sizes) + 1} roots\n"


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/0/001", "tile/1/000.p/2"])
def test_go_notices_a_changed_tile(program: Path, tmp_path: Path, name: str) -> None:
    log = AuditedLog()
    log.grow(600)
    folder = unpacked(log.bundle(), tmp_path)
    file = folder / name
    data = bytearray(file.read_bytes())
    data[50] ^= 1
    file.write_bytes(data)

    assert run(program, folder).returncode == 1
