"""The relay's TLS: version 1.3, its own files or a trial authority's.

Behind a proxy there is none here: the proxy ends TLS and the relay listens on a
loopback address only, which `settings` sees to.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from liaison.crypto import trial_tls
from liaison.relay import files
from liaison.relay.errors import SettingsError
from liaison.relay.files import DataDir
from liaison.relay.settings import Settings, TLSMode

_RENEW_BEFORE: Final = 7 * 86_400
"""Seconds of validity that a trial certificate must have left at start."""


def server_context(data: DataDir, settings: Settings, now: int) -> ssl.SSLContext | None:
    """Return the TLS context to listen with; None where a proxy ends TLS.

    With `tls = dev` the trial authority is made when it is missing, near its
    end, or does not name the address that the relay listens on.

    Raises:
        SettingsError: no certificate is set, or it can't be loaded.
    """
    match settings.tls:
        case TLSMode.PROXY:
            return None
        case TLSMode.DEV:
            return context(*_trial(data, settings, now))
        case TLSMode.FILES:
            if settings.tls_certificate is None or settings.tls_key is None:
                raise SettingsError(
                    "no TLS certificate is set",
                    hint="set tls_certificate and tls_key, or for a trial give --dev-tls",
                )
            return context(settings.tls_certificate, settings.tls_key)


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server's context of TLS 1.3 for a certificate chain and its key.

    Raises:
        SettingsError: a file is missing, or the two do not belong together.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.set_alpn_protocols(["http/1.1"])
    try:
        tls.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as e:
        raise SettingsError(f"the TLS certificate {certificate} can't be used: {e}") from None
    return tls


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
    hosts = tuple(dict.fromkeys((settings.host, "127.0.0.1", "::1", "localhost")))
    if not (data.authority.exists() and key.exists() and _serves(certificate, hosts, now)):
        made = trial_tls.issue(hosts, now)
        files.make_private_directory(data.tls)
        files.write_private(key, made.key)
        files.write_private(certificate, made.certificate)
        files.write_public(data.authority, made.authority)
    return certificate, key


def _serves(certificate: Path, hosts: tuple[str, ...], now: int) -> bool:
    if not certificate.exists():
        return False
    names, end = trial_tls.names_and_end(certificate.read_bytes())
    return set(hosts) <= names and now + _RENEW_BEFORE < end
