"""The relay's own keys and its public identity document.

`init` makes them once. The identity key signs the session handshake, the sender
keys sign the relay's Remove proposals (one for each signature scheme of the
cipher suites), the log key signs the logs' checkpoints, and the session secret
seals challenges and tokens. They are in
files of mode 0600: the relay starts unattended, so no passphrase could protect
them better than the file system does. None of them opens a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Final

from liaison.crypto.errors import KeyFormatError
from liaison.crypto.signing import SignatureScheme, Signer, SigningKey
from liaison.policy.keys import VerifyKey
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import files
from liaison.relay.errors import AlreadyInitialisedError, KeyFileError
from liaison.relay.files import DataDir
from liaison.values import dataclass

IDENTITY_SCHEME: Final = SignatureScheme.ED25519
LOG_SCHEME: Final = SignatureScheme.ED25519
"""The one with which a log signs (C2SP signed-note)."""
# One for every suite that an agreement may name.
SENDER_SCHEMES: Final = tuple(SignatureScheme)
SECRET_SIZE: Final = 32

_IDENTITY: Final = "identity"
_SENDER: Final = "sender"
_LOG: Final = "log"
_SECRET: Final = "session.key"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class RelayKeys:
    """Everything private of a relay, in memory while it runs."""

    public: RelayIdentity
    identity: Signer = field(repr=False)
    senders: Mapping[SignatureScheme, Signer] = field(repr=False)
    log: Signer = field(repr=False)
    session_secret: bytes = field(repr=False)


def create(data: DataDir, url: str, rng: Callable[[int], bytes]) -> RelayIdentity:
    """Make the keys and the identity document of a new relay.

    The document is written last: while it is absent there is no relay here, so
    an `init` that was cut short is simply repeated.

    Args:
        data: an existing directory.
        url: the relay's origin as clients reach it, `https://relay.example:8443`.
        rng: gives random bytes.

    Raises:
        AlreadyInitialisedError: there is a relay here; nothing was changed.
    """
    check_unused(data)
    files.make_private_directory(data.keys)
    identity = SigningKey.generate(IDENTITY_SCHEME)
    log = SigningKey.generate(LOG_SCHEME)
    senders = [SigningKey.generate(scheme) for scheme in SENDER_SCHEMES]
    files.write_private(_path(data, _IDENTITY, identity.scheme), identity.private_bytes())
    files.write_private(_path(data, _LOG, log.scheme), log.private_bytes())
    for key in senders:
        files.write_private(_path(data, _SENDER, key.scheme), key.private_bytes())
    files.write_private(data.keys / _SECRET, rng(SECRET_SIZE))
    public = RelayIdentity(
        origin=url.removeprefix("https://"),
        url=url,
        identity_keys=(VerifyKey.of(identity),),
        sender_keys=tuple(VerifyKey.of(key) for key in senders),
        log_keys=(VerifyKey.of(log),),
    )
    files.write_public(data.identity, public.encode())
    return public


def check_unused(data: DataDir) -> None:
    """Check that there is no relay in the directory.

    Raises:
        AlreadyInitialisedError: there is one.
    """
    if data.identity.exists():
        raise AlreadyInitialisedError(
            f"there is a relay in {data.path} already", unchanged="its keys are as they were"
        )


def load(data: DataDir) -> RelayKeys:
    """Read the keys, and check that they are those of the identity document.

    Raises:
        NotInitialisedError: there is no relay here.
        KeyFileError: a key is missing, readable by others, or another one.
    """
    data.require()
    public = RelayIdentity.parse(data.identity.read_bytes())
    identity = _read(data, _IDENTITY, IDENTITY_SCHEME)
    if VerifyKey.of(identity) not in public.identity_keys:
        raise KeyFileError(f"the identity key is not the one that {data.identity} names")
    senders: dict[SignatureScheme, Signer] = {}
    for named in public.sender_keys:
        key = _read(data, _SENDER, named.scheme)
        if VerifyKey.of(key) != named:
            raise KeyFileError(
                f"the sender key {named.scheme} is not the one that {data.identity} names"
            )
        senders[named.scheme] = key
    log = _read(data, _LOG, LOG_SCHEME)
    if VerifyKey.of(log) not in public.log_keys:
        raise KeyFileError(f"the log key is not one that {data.identity} names")
    secret = read_private(data.keys / _SECRET)
    if len(secret) != SECRET_SIZE:
        raise KeyFileError(f"{data.keys / _SECRET} has not {SECRET_SIZE} bytes")
    return RelayKeys(public, identity, senders, log, secret)


def read_private(path: Path) -> bytes:
    """Read a key file that nobody but its owner can read.

    Raises:
        KeyFileError: it is missing, or its mode lets others in.
    """
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except OSError as e:
        raise KeyFileError(f"{path} can't be read: {e.strerror}") from None
    if mode & 0o077:
        raise KeyFileError(f"{path} has mode {mode:04o}", hint=f"chmod 0600 {path}")
    return data


def _path(data: DataDir, use: str, scheme: SignatureScheme) -> Path:
    return data.keys / f"{use}.{scheme.value}.key"


def _read(data: DataDir, use: str, scheme: SignatureScheme) -> SigningKey:
    path = _path(data, use, scheme)
    try:
        return SigningKey.from_bytes(scheme, read_private(path))
    except KeyFormatError:
        raise KeyFileError(f"{path} holds no {scheme} key") from None
