"""The relay's TLS: version 1.3, its own files or a trial authority's, taken up anew when they change.

Behind a proxy there is none here: the proxy ends TLS and the relay listens on a
loopback address only, which `settings` sees to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from liaison.crypto import trial_tls
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import files
from liaison.relay.errors import SettingsError
from liaison.relay.files import DataDir
from liaison.relay.settings import Settings, TLSMode
from liaison.values import dataclass

_RENEW_BEFORE: Final = 7 * 86_400
"""Seconds of validity that a trial certificate must have left at start."""


@dataclass
class Served:
    """The certificate that the relay serves.

    Args:
        certificate: PEM file with the chain, leaf first.
        key: PEM file with its private key.
    """

    certificate: Path
    key: Path
    context: ssl.SSLContext = field(init=False, repr=False)
    ends: int = field(init=False)
    """When the certificate ends, Unix seconds."""
    _taken: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Take up what the files have.

        Raises:
            SettingsError: a file is missing, or the two do not belong together.
        """
        found = self._read()
        self.context = _context()
        self.ends = self._load(self.context, found)
        self._taken = _digest(found)

    def refresh(self) -> bool:
        """Take up what the files have, where that is something new; blocks.

        Handshakes from now on use it; connections that are open go on. Where it can't be
        used, what was served before is served on.

        Returns:
            Whether there was something new.

        Raises:
            SettingsError: a file is missing, or the two do not belong together yet.
        """
        found = self._read()
        if _digest(found) == self._taken:
            return False
        # Tried first on a context that nobody uses: half of a pair would spoil the other.
        self._load(_context(), found)
        self.ends = self._load(self.context, found)
        self._taken = _digest(found)
        return True

    def _read(self) -> tuple[bytes, bytes]:
        try:
            return self.certificate.read_bytes(), self.key.read_bytes()
        except OSError as e:
            raise self._unusable(e) from None

    def _load(self, context: ssl.SSLContext, pair: tuple[bytes, bytes]) -> int:
        try:
            with _in_memory(pair[0]) as certificate, _in_memory(pair[1]) as key:
                context.load_cert_chain(certificate, key, password=_no_password)
            return trial_tls.names_and_end(pair[0])[1]
        except (OSError, ValueError) as e:
            # ssl.SSLError is an OSError.
            raise self._unusable(e) from None

    def _unusable(self, why: Exception) -> SettingsError:
        return SettingsError(f"the TLS certificate {self.certificate} can't be used: {why}")


def _context() -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.set_alpn_protocols(["http/1.1"])
    return tls


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """Give a name by which OpenSSL reads just these bytes: a file may change between two looks."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _digest(pair: tuple[bytes, bytes]) -> str:
    # The key itself is in OpenSSL's memory, and that is enough.
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in pair)).hexdigest()


def _no_password() -> str:
    # Nobody is there to be asked.
    raise ValueError("the key is encrypted")


def served(data: DataDir, settings: Settings, now: int) -> Served | None:
    """Return the certificate to serve; None where a proxy ends TLS.

    With `tls = dev` the trial authority is made when it is missing, near its
    end, or does not name the address that the relay listens on and its origin.

    Raises:
        SettingsError: no certificate is set, or it can't be loaded.
    """
    match settings.tls:
        case TLSMode.PROXY:
            return None
        case TLSMode.DEV:
            return Served(*_trial(data, settings, now))
        case TLSMode.FILES:
            if settings.tls_certificate is None or settings.tls_key is None:
                raise SettingsError(
                    "no TLS certificate is set",
                    hint="set tls_certificate and tls_key, or for a trial give --dev-tls",
                )
            return Served(settings.tls_certificate, settings.tls_key)


def witness_context(settings: Settings) -> ssl.SSLContext | None:
    """Return whom to trust as a witness's host; None for the system's authorities.

    Raises:
        SettingsError: the file of authorities can't be used.
    """
    return _authorities(settings.witness_ca)


def bus_context(settings: Settings) -> ssl.SSLContext | None:
    """Return whom to trust as a NATS server; None for the system's authorities.

    Raises:
        SettingsError: the file of authorities can't be used.
    """
    return _authorities(settings.nats_ca)


def _authorities(file: Path | None) -> ssl.SSLContext | None:
    if file is None:
        return None
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as e:
        raise SettingsError(f"the authorities in {file} can't be used: {e}") from None


def _trial(data: DataDir, settings: Settings, now: int) -> tuple[Path, Path]:
    certificate, key = data.tls / "server.pem", data.tls / "server.key"
    hosts = _names(data, settings)
    if not (data.authority.exists() and key.exists() and _serves(certificate, hosts, now)):
        made = trial_tls.issue(hosts, now)
        files.make_private_directory(data.tls)
        files.write_private(key, made.key)
        files.write_private(certificate, made.certificate)
        files.write_public(data.authority, made.authority)
    return certificate, key


def _names(data: DataDir, settings: Settings) -> tuple[str, ...]:
    """Return where a trial's clients may find the relay: on this host, or at its origin."""
    names = [settings.host, "127.0.0.1", "::1", "localhost"]
    if data.identity.exists():
        url = RelayIdentity.parse(data.identity.read_bytes()).url
        names.append(urlsplit(url).hostname or url)
    return tuple(dict.fromkeys(names))


def _serves(certificate: Path, hosts: tuple[str, ...], now: int) -> bool:
    if not certificate.exists():
        return False
    names, end = trial_tls.names_and_end(certificate.read_bytes())
    return set(hosts) <= names and now + _RENEW_BEFORE < end
