"""The data directory: where things lie, who may read them, and who holds the lock.

Everything secret is in files of mode 0600 in directories of mode 0700, written
whole and fsynced before it takes its name. One process at a time holds the
lock; whoever writes the database without it would be a second writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from liaison.relay.errors import LockedError, NotInitialisedError
from liaison.values import dataclass

SETTINGS_FILE: Final = "liaison-relay.toml"
ENV_DATA: Final = "LIAISON_RELAY_DATA"
"""Names the data directory where `--data` is left out; not a setting, for the file lies in it."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """The paths in a relay's data directory."""

    path: Path

    @classmethod
    def find(cls, given: Path | None) -> DataDir:
        """Return the directory that was named by option or by `LIAISON_RELAY_DATA`.

        Raises:
            NotInitialisedError: neither was given.
        """
        named = given or (Path(os.environ[ENV_DATA]) if os.environ.get(ENV_DATA) else None)
        if named is None:
            raise NotInitialisedError(
                "no data directory was named", hint=f"give --data DIR or set {ENV_DATA}"
            )
        return cls(named.resolve())

    @property
    def identity(self) -> Path:
        """The public identity document."""
        return self.path / "relay.json"

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.path / SETTINGS_FILE

    @property
    def keys(self) -> Path:
        """The directory of the relay's private keys."""
        return self.path / "keys"

    @property
    def tls(self) -> Path:
        """The directory of what `--dev-tls` makes."""
        return self.path / "tls"

    @property
    def authority(self) -> Path:
        """The certificate that clients give as `--ca` with `--dev-tls`."""
        return self.path / "ca.pem"

    @property
    def socket(self) -> Path:
        """The admin socket of the running relay."""
        return self.path / "admin.sock"

    @property
    def logs(self) -> Path:
        """The directory of the transparency logs' files."""
        return self.path / "log"

    @property
    def lock(self) -> Path:
        """The file that the one writing process locks."""
        return self.path / "relay.lock"

    def database_url(self, chosen: str) -> str:
        """Return the database's URL: as the settings have it, else the file in this directory."""
        return chosen or f"sqlite+aiosqlite:///{self.path / 'relay.db'}"

    def require(self) -> None:
        """Check that `init` was run here.

        Raises:
            NotInitialisedError: it was not.
        """
        if not self.identity.is_file():
            raise NotInitialisedError(
                f"there is no relay in {self.path}",
                hint=f"liaison-relay init --data {self.path}",
            )


def make_private_directory(path: Path) -> None:
    """Make a directory, and its parents, that only its owner can enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600, whole or not at all."""
    _write(path, data, 0o600)


def write_public(path: Path, data: bytes) -> None:
    """Write a file of mode 0644, whole or not at all."""
    _write(path, data, 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def exclusive(data: DataDir) -> Iterator[None]:
    """Hold the relay's lock; it ends with the process, however that ends.

    Raises:
        LockedError: another process holds it.
    """
    descriptor = os.open(data.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"another process is using {data.path}", hint="stop it, or wait until it ends"
            ) from None
        yield
    finally:
        os.close(descriptor)
