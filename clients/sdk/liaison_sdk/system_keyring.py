"""The operating system's keyring, through the library `keyring`, an optional extra.

Imported when it is used, and only then: its backends may start other programs.
"""

from __future__ import annotations

import base64
from types import ModuleType
from typing import Final

from liaison_sdk.errors import KeystoreLockedOutError

SERVICE: Final = "liaison"
_HINT: Final = "use a passphrase instead, or install liaison-sdk[keyring] and unlock the keyring"


def save(name: str, key: bytes) -> None:
    """Keep a key under a name.

    Raises:
        KeystoreLockedOutError: there is no keyring, or it refused.
    """
    library = _library()
    try:
        library.set_password(SERVICE, name, base64.b64encode(key).decode())
    except library.errors.KeyringError as e:
        raise KeystoreLockedOutError("the system keyring did not take the key", hint=_HINT) from e


def load(name: str) -> bytes:
    """Return the key under a name.

    Raises:
        KeystoreLockedOutError: there is no keyring, it is locked, or has no such key.
    """
    library = _library()
    try:
        text = library.get_password(SERVICE, name)
    except library.errors.KeyringError as e:
        raise KeystoreLockedOutError("the system keyring did not open", hint=_HINT) from e
    if text is None:
        raise KeystoreLockedOutError("the system keyring has no key for this keystore", hint=_HINT)
    return base64.b64decode(text)


def delete(name: str) -> None:
    """Forget the key under a name.

    Raises:
        KeystoreLockedOutError: there is no keyring, or it refused.
    """
    library = _library()
    try:
        library.delete_password(SERVICE, name)
    except library.errors.KeyringError as e:
        raise KeystoreLockedOutError("the system keyring kept the old key", hint=_HINT) from e


def _library() -> ModuleType:
    try:
        import keyring  # noqa: PLC0415 - optional, and slow to import
        import keyring.errors  # noqa: PLC0415 - as above
    except ImportError as e:
        raise KeystoreLockedOutError("the library keyring is not installed", hint=_HINT) from e
    return keyring
