"""A witness's folder and its `witness.toml`: where it listens, and which logs it follows."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from liaison.tlog.errors import VerifierKeyError
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.values import dataclass
from liaison_auditor.errors import ConfigurationError, FileProblemError

MAX_LOGS: Final = 1000
_FIELDS: Final = {"listen", "tls", "logs"}

TEMPLATE: Final = """\
# A witness of Liaison's logs. `liaison-auditor witness serve` reads this when it starts.

# Where relays reach it. Beyond this machine it needs TLS: its own, below, or a proxy's before it.
listen = "127.0.0.1:8444"

# [tls]
# certificate = "tls.pem"
# key = "tls.key"

# The logs that it follows; `liaison-auditor witness add-log` adds one. Two tables with one origin
# are two keys of one log.
# [[logs]]
# key = "relay.example/log/...+01234567+AQ..."
"""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """A certificate chain and its key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What `witness.toml` says."""

    host: str = "127.0.0.1"
    port: int = 8444
    tls: TLSFiles | None = None
    logs: Mapping[str, tuple[VerifierKey, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Folder:
    """The paths of a witness."""

    path: Path

    @property
    def settings(self) -> Path:
        """Address and logs."""
        return self.path / "witness.toml"

    @property
    def keys(self) -> Path:
        """Private keys."""
        return self.path / "keys"

    @property
    def state(self) -> Path:
        """What was cosigned."""
        return self.path / "witness.sqlite"

    def create(self) -> None:
        """Make the folder and its settings where they are not there yet; 0700."""
        for folder in (self.path, self.keys):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.settings.exists():
            _replace(self.settings, TEMPLATE)

    def load(self) -> Settings:
        """Read `witness.toml`.

        Raises:
            FileProblemError: there is none, or it can't be read.
            ConfigurationError: it is wrong; the message names the place.
        """
        return parse(self._text(), self.path)

    def add_log(self, key: VerifierKey) -> bool:
        """Add a log to `witness.toml`; False if it is there.

        Raises:
            FileProblemError, ConfigurationError: as `load`.
        """
        text = self._text()
        if key in parse(text, self.path).logs.get(key.name, ()):
            return False
        added = f'{text.rstrip()}\n\n[[logs]]\nkey = "{key}"\n'
        parse(added, self.path)
        _replace(self.settings, added)
        return True

    def _text(self) -> str:
        try:
            return self.settings.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise FileProblemError(
                f"{self.settings} can't be read",
                hint="liaison-auditor witness keygen makes a witness's folder",
            ) from e


def parse(text: str, base: Path) -> Settings:
    """Read the settings; paths in them are relative to `base`.

    Raises:
        ConfigurationError: they are wrong; the message names the place.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigurationError(f"witness.toml is not TOML: {e}") from e
    if unknown := sorted(found.keys() - _FIELDS):
        raise ConfigurationError(f"witness.toml has no setting {unknown[0]!r}")
    host, port = address(found.get("listen", "127.0.0.1:8444"))
    return Settings(host, port, _tls(found.get("tls"), base), _logs(found.get("logs", [])))


def address(value: Any) -> tuple[str, int]:
    """Read HOST:PORT.

    Raises:
        ConfigurationError: it is none.
    """
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError("listen is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _tls(value: Any, base: Path) -> TLSFiles | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != {"certificate", "key"}:
        raise ConfigurationError("tls has a certificate and a key, and nothing else")
    if not all(isinstance(name, str) for name in value.values()):
        raise ConfigurationError("tls names two files")
    return TLSFiles(base / value["certificate"], base / value["key"])


def _logs(value: Any) -> Mapping[str, tuple[VerifierKey, ...]]:
    if not isinstance(value, list) or len(value) > MAX_LOGS:
        raise ConfigurationError(f"logs is not a list of at most {MAX_LOGS} tables")
    logs: dict[str, tuple[VerifierKey, ...]] = {}
    for number, table in enumerate(value, 1):
        key = _log_key(table, number)
        if key not in logs.get(key.name, ()):
            logs[key.name] = (*logs.get(key.name, ()), key)
    return logs


def _log_key(table: Any, number: int) -> VerifierKey:
    text = table.get("key") if isinstance(table, dict) and table.keys() == {"key"} else None
    if not isinstance(text, str):
        raise ConfigurationError(f"log {number} has a key, and nothing else")
    try:
        key = VerifierKey.parse(text)
    except VerifierKeyError as e:
        raise ConfigurationError(f"log {number}: {e.message}") from e
    if key.type is not SignatureType.ED25519:
        raise ConfigurationError(f"log {number}: the key is not of a log")
    return key


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
