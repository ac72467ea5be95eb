"""Bundles of a log that follows another one: what its first entry has to say, found by both verifiers."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from liaison.audit import manifest, verify_alone
from liaison.audit.compare import compare
from liaison.audit.errors import BundleForkError, BundleInvalidError, ManifestError
from liaison.audit.manifest import Manifest, Predecessor
from liaison.audit.verify import verify
from liaison.tlog import merkle
from liaison.tlog.channels import ROOM
from liaison.tlog.entries import PolicyRef
from liaison.tlog.fields import EntryType
from tests.core.audit.support import ORIGIN, POLICY, AuditedLog

HEAD = Predecessor(ORIGIN, 700, bytes(range(32)))


def successor(head: Predecessor = HEAD) -> AuditedLog:
    """The second log of the agreement, yet to begin."""
    return AuditedLog(origin=f"{ORIGIN}/2", predecessor=head)


def begin(log: AuditedLog, policy: PolicyRef = POLICY, **changed: Any) -> None:
    """Begin a successor as a relay does, or with something else."""
    assert log.predecessor is not None
    log.add(EntryType.CHECKPOINT, {**log.predecessor.values, **changed}, policy=policy)


def test_a_successor_from_its_first_entry_is_right_for_both_verifiers() -> None:
    log = successor()
    begin(log)
    # Channels go on where the old log left them.
    log.channels = dict.fromkeys(range(4), (ROOM + 1, 3))
    log.grow(300)
    bundle = log.bundle([100])

    report = verify(io.BytesIO(bundle))
    alone = verify_alone.verify(io.BytesIO(bundle))

    assert report.manifest.facts.predecessor == HEAD
    assert [each.size for each, *_ in alone.checkpoints] == [100, 301]
    # The fifth was opened under the new one.
    assert [seq for _, seq in report.begun] == [ROOM + 1] * 4


def refused(bundle: bytes, what: str, index: int = 0) -> None:
    """Both verifiers refuse it, for its first entry or another."""
    with pytest.raises(BundleInvalidError, match=what) as ours:
        verify(io.BytesIO(bundle))
    with pytest.raises(verify_alone.InvalidError, match=what) as alone:
        verify_alone.verify(io.BytesIO(bundle))
    assert ours.value.index == alone.value.index == index


def test_a_successor_that_does_not_begin_with_the_old_head_is_found() -> None:
    log = successor()
    log.item(1)

    refused(log.bundle(), "does not tell of the log before")


def test_a_successor_under_a_version_that_nobody_agreed_on_is_found() -> None:
    log = successor()
    begin(log, PolicyRef(2, bytes(32)))

    refused(log.bundle(), "does not tell of the log before")


@pytest.mark.parametrize("changed", [{"size": 699}, {"origin": ORIGIN + "0"}, {"root": None}])
def test_a_successor_that_begins_with_another_head_is_found(changed: dict[str, Any]) -> None:
    log = successor()
    begin(log, **changed)

    refused(log.bundle(), "another head")


def test_the_first_log_still_begins_all_its_channels() -> None:
    log = AuditedLog()
    log.channels[1] = (5, 0)
    log.item(1)

    refused(log.bundle(), "goes on with item 5, not 1")


@pytest.mark.parametrize(
    ("begins", "wanted"), [(ROOM + 4, ROOM + 1), (2 * ROOM + 1, ROOM + 1), (5, 1), (ROOM, 1)]
)
def test_a_successor_that_leaves_out_how_a_channel_goes_on_in_it_is_found(
    begins: int, wanted: int
) -> None:
    log = successor()
    begin(log)
    log.channels[1] = (begins, 3)
    log.item(1)

    refused(log.bundle(), f"goes on with item {begins}, not {wanted}", index=1)


@pytest.mark.parametrize(
    ("origin", "head"),
    [
        (f"{ORIGIN}/2", None),
        (ORIGIN, HEAD),
        (f"{ORIGIN}/3", HEAD),
        (f"{ORIGIN}/2", replace(HEAD, origin=f"{ORIGIN}/1")),
    ],
)
def test_a_manifest_tells_of_the_log_before_where_there_is_one(
    origin: str, head: Predecessor | None
) -> None:
    facts = AuditedLog()
    facts.item(1)

    with pytest.raises(ManifestError, match="follows the one before it"):
        replace(facts.facts(), origin=origin, predecessor=head)


def test_both_verifiers_read_the_same_manifests() -> None:
    log = successor()
    begin(log)
    data = Manifest(log.facts(), 0, {}).encode()

    assert Manifest.decode(data).facts.predecessor == HEAD
    assert verify_alone.parse_manifest(data).before == HEAD.values
    for bad in (b'"predecessor":null', b'"predecessor":{}', b'"predecessor":7'):
        start = data.index(b'"predecessor"')
        end = data.index(b"}", start) + 1
        changed = data[:start] + bad + data[end:]
        with pytest.raises(ManifestError):
            Manifest.decode(changed)
        with pytest.raises((ValueError, verify_alone.InvalidError)):
            verify_alone.parse_manifest(changed)


@pytest.mark.parametrize("empty", [b"{}", b'""'])
def test_neither_takes_for_a_list_of_versions_what_is_none(empty: bytes) -> None:
    log = AuditedLog()
    log.item(1)
    facts = replace(log.facts(), agreement=replace(log.facts().agreement, versions=()))
    data = Manifest(facts, 0, {}).encode()
    assert verify_alone.parse_manifest(data).versions == []
    changed = data.replace(b'"versions":[]', b'"versions":' + empty)

    with pytest.raises(ManifestError):
        Manifest.decode(changed)
    with pytest.raises(TypeError, match="versions"):
        verify_alone.parse_manifest(changed)


@pytest.mark.parametrize("agreement", ["2", "x", "01/2"])
@pytest.mark.parametrize(
    "origin", ["r/log/x", "r/log/x/2", "r/log/x/3", "r/log/x/1", "r/log/x/02", "r/root-log/2", "2"]
)
def test_both_verifiers_tell_the_log_before_alike(origin: str, agreement: str) -> None:
    known = manifest.predecessor_of(origin, agreement)

    assert verify_alone.predecessor_of(origin, agreement) == known
    follows = {"r/log/x/2": "r/log/x", "r/log/x/3": "r/log/x/2"} if agreement == "x" else {}
    assert known == follows.get(origin)


# --- the old log and the new one ------------------------------------------------------------------


def old() -> AuditedLog:
    log = AuditedLog()
    log.grow(300)
    return log


def head_of(log: AuditedLog, size: int) -> Predecessor:
    return Predecessor(ORIGIN, size, merkle.root_of(merkle.hash_leaves(log.data[:size])))


@pytest.mark.parametrize("size", [300, 200])
def test_a_bundle_of_the_old_log_has_the_head_that_the_new_one_begins_with(size: int) -> None:
    before = old()
    after = successor(head_of(before, size))
    begin(after)

    found = compare(io.BytesIO(before.bundle()), io.BytesIO(after.bundle()))
    turned = compare(io.BytesIO(after.bundle()), io.BytesIO(before.bundle()))

    assert found == turned
    assert (found.origin, found.sizes) == (ORIGIN, (size,))


def test_a_new_log_that_follows_another_history_of_the_old_one_is_found() -> None:
    before = old()
    after = successor(replace(head_of(before, 200), root=bytes(32)))
    begin(after)

    with pytest.raises(BundleForkError, match="200 entries"):
        compare(io.BytesIO(before.bundle()), io.BytesIO(after.bundle()))
