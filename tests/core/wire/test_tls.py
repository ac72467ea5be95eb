"""TLS contexts inside and after the block in which they read no certificates."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from liaison.crypto import trial_tls
from liaison.wire import tls


@pytest.fixture
def trusting_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the system trust one authority."""
    file = tmp_path / "ca.pem"
    file.write_bytes(trial_tls.issue(("localhost",), 1_800_000_000).authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


def _trusted() -> int:
    return ssl.create_default_context().cert_store_stats()["x509_ca"]


@pytest.mark.usefixtures("trusting_system")
def test_contexts_made_inside_the_block_trust_nobody() -> None:
    with tls.no_default_certificates():
        inside = _trusted()

    assert inside == 0


@pytest.mark.usefixtures("trusting_system")
def test_contexts_made_after_the_block_trust_whom_the_system_trusts() -> None:
    with pytest.raises(RuntimeError), tls.no_default_certificates():
        raise RuntimeError

    assert _trusted() == 1
