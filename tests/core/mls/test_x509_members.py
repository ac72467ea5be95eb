"""Members with X.509 credentials, in every cipher suite."""

from __future__ import annotations

import pytest

from liaison.crypto import suites
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme
from liaison.mls import group, welcome
from liaison.mls.credentials import Credential
from liaison.mls.errors import MLSError
from liaison.mls.group import ApplicationReceived, CommitStaged
from liaison.mls.key_packages import new_key_package
from liaison.mls.leaf import Lifetime
from liaison.mls.proposals import Add
from liaison.mls.public_group import PublicGroup
from liaison.trust import AgreementValidator
from tests.core.policy.documents import NOW, agreement, world
from tests.support.world import Device

LIFETIME = Lifetime(NOW - 60, NOW + 30 * 86_400)


def credential(device: Device, scheme: SignatureScheme) -> Credential:
    return Credential.x509(device.chains[scheme])


@pytest.mark.parametrize("code", suites.SUPPORTED, ids=hex)
def test_members_are_certified_in_every_suite(code: int) -> None:
    scheme = suites.suite(code).signature
    first, second = (
        world().device(name, (scheme,)) for name in ("nor/defatt-berlin#d1", "deu/lno-j3#d1")
    )
    validator = AgreementValidator(agreement())
    founder = group.create(
        code,
        b"certified",
        first.key,
        credential(first, scheme),
        lifetime=LIFETIME,
        rng=random_bytes,
        now=NOW,
        validator=validator,
    )
    info = group.group_info(founder, signer=first.key)
    relay = PublicGroup.from_group_info(info, founder.ratchet_tree(), validator=validator, now=NOW)
    bundle = new_key_package(
        code, second.key, credential(second, scheme), LIFETIME, rng=random_bytes
    )

    staged = group.stage_commit(
        founder,
        signer=first.key,
        rng=random_bytes,
        now=NOW,
        validator=validator,
        by_value=[Add(bundle.package)],
    )
    relay = relay.apply(staged.commit, validator=validator, now=NOW).group
    assert staged.welcome is not None
    joined = welcome.join(
        staged.welcome,
        [bundle],
        ratchet_tree=relay.ratchet_tree(),
        now=NOW,
        validator=validator,
    )
    _, message = group.encrypt(staged.group, b"text", signer=first.key, rng=random_bytes)
    read = group.process(joined, message, now=NOW, validator=validator)
    assert isinstance(read, ApplicationReceived)
    assert read.sender.leaf_node.credential == credential(first, scheme)
    update = group.stage_commit(
        joined, signer=second.key, rng=random_bytes, now=NOW, validator=validator
    )
    done = group.process(staged.group, update.commit, now=NOW, validator=validator)
    assert isinstance(done, CommitStaged)
    assert done.group is not None
    assert done.group.epoch_authenticator == update.group.epoch_authenticator


@pytest.mark.parametrize("code", [0x0004, 0x0005, 0xF009, 0xF00A, 0xF00B], ids=hex)
def test_a_certificate_for_another_key_makes_no_member(code: int) -> None:
    scheme = suites.suite(code).signature
    device, other = (world().device("nor/defatt-berlin#d1", (scheme,)) for _ in range(2))

    with pytest.raises(MLSError):
        group.create(
            code,
            b"certified",
            other.key,
            credential(device, scheme),
            lifetime=LIFETIME,
            rng=random_bytes,
            now=NOW,
            validator=AgreementValidator(agreement()),
        )
