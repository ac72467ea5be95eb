"""The party file and the relay's identity document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.policy.errors import DocumentError
from liaison.policy.keys import VerifyKey
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity, RelayKeyError
from tests.core.policy.documents import relay, relay_keys, world


def changed(data: bytes, **changes: Any) -> str:
    return json.dumps({**json.loads(data), **changes})


def test_a_party_file_comes_back_as_it_was() -> None:
    party = world().party("NOR").party

    assert Party.parse(party.encode()) == party


def test_the_relays_document_comes_back_as_it_was() -> None:
    assert RelayIdentity.parse(relay().encode()) == relay()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": "nor"}, "code is wrong"),
        ({"code": "DEU"}, r"roots\[0\] is the root of NOR, not of DEU"),
        ({"roots": []}, "roots must have 1 to 8"),
        ({"roots": ["QQ=="]}, r"roots\[0\] is not a root certificate"),
        ({"roots": ["Q"]}, r"roots\[0\] is wrong: not base64"),
        ({"authority_keys": []}, "authority_keys must have"),
        ({"format": "liaison.party/2"}, "format must be liaison.party/1"),
        ({"name": ""}, "name must have"),
        ({"name": "Nor\x1b[2Jway"}, "control characters"),
        ({"nickname": "N"}, "nickname is not a field"),
        ({"registrar_keys": [{"scheme": "rsa", "public": "QQ=="}]}, "scheme must be one of"),
        ({"registrar_keys": [{"scheme": "ed25519", "public": "QQ=="}]}, "is not a public key"),
    ],
)
def test_a_wrong_party_file_is_refused_with_the_field(changes: dict[str, Any], words: str) -> None:
    data = changed(world().party("NOR").document, **changes)

    with pytest.raises(DocumentError, match=words):
        Party.parse(data)


def test_one_key_has_one_office() -> None:
    document = json.loads(world().party("NOR").document)
    data = changed(world().party("NOR").document, registrar_keys=document["authority_keys"])

    with pytest.raises(DocumentError, match="authority key too"):
        Party.parse(data)


def test_a_key_stands_once_in_a_list() -> None:
    key = VerifyKey.of(SigningKey.generate(SignatureScheme.ED25519)).document()
    data = changed(world().party("NOR").document, registrar_keys=[key, key])

    with pytest.raises(DocumentError, match="one key twice"):
        Party.parse(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://relay.example"}, "url is not https"),
        ({"url": "https://relay.example/path"}, "url is not https"),
        ({"url": "https://["}, "url is not https"),
        ({"url": "https://relay.example:x"}, "url is not https"),
        ({"url": "https://user@relay.example"}, "url is not https"),
        ({"origin": "Relay"}, "origin is not"),
        ({"sender_keys": []}, "sender_keys must have"),
        ({"identity_keys": []}, "identity_keys must have"),
    ],
)
def test_a_wrong_relay_document_is_refused_with_the_field(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DocumentError, match=words):
        RelayIdentity.parse(changed(relay().encode(), **changes))


def test_the_relay_has_one_sender_key_per_scheme() -> None:
    two = [VerifyKey.of(SigningKey.generate(SignatureScheme.ED25519)).document() for _ in range(2)]

    with pytest.raises(DocumentError, match="two keys of one signature scheme"):
        RelayIdentity.parse(changed(relay().encode(), sender_keys=two))


def test_the_sender_key_of_a_scheme_is_found() -> None:
    key = relay_keys()[SignatureScheme.P384]

    assert relay().sender_key(SignatureScheme.P384) == VerifyKey.of(key)


def test_a_scheme_without_sender_key_is_named() -> None:
    with pytest.raises(RelayKeyError, match="mldsa87"):
        relay().sender_key(SignatureScheme.MLDSA87)


def test_key_ids_differ_by_scheme_and_by_key() -> None:
    public = bytes(range(32))
    keys = {
        VerifyKey(SignatureScheme.ED25519, public).key_id,
        VerifyKey(SignatureScheme.P256, public).key_id,
        VerifyKey(SignatureScheme.ED25519, public[::-1]).key_id,
    }

    assert len(keys) == 3
