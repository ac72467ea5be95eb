"""A member's state as bytes, in two parts, and back.

Members only; both parts are secret. The epoch part is large and changes with
each commit and each waiting proposal. The ratchet part is small and changes
with each message. Both name group and epoch, so that parts of two states are
not put together by mistake.

Formats are versioned; a reader of this version reads all that it names in
`_EPOCH_VERSION` and `_RATCHETS_VERSION`, and refuses others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Final, TypeVar

from liaison import codec
from liaison.codec import Reader
from liaison.mls.errors import SnapshotError
from liaison.mls.key_schedule import EpochSecrets
from liaison.mls.leaf import LeafNode
from liaison.mls.proposals import ReInit
from liaison.mls.protection import MessageKeys
from liaison.mls.public_group import PublicGroup
from liaison.mls.secret_tree import Limits, MessageKey, Ratchet, Ratchets, SecretTree
from liaison.mls.state import Group

_EPOCH_VERSION: Final = 2
_RATCHETS_VERSION: Final = 1
_SAME_LEAF: Final = 0xFFFF_FFFF

_K = TypeVar("_K")


def snapshot_epoch(group: Group) -> bytes:
    """Encode all but the message keys. The result is secret."""
    secrets = [getattr(group.secrets, item.name) for item in fields(EpochSecrets)]
    current = dict(group.public.tree.leaves())
    table: dict[LeafNode, int] = {}
    past = [_encode_past(keys, current, table) for keys in group.past]
    return b"".join(
        [
            codec.uint8(_EPOCH_VERSION),
            codec.opaque(group.group_id),
            codec.uint64(group.epoch),
            codec.opaque(group.public.snapshot()),
            codec.uint32(group.own_leaf),
            _encode_map(codec.uint32, group.private),
            codec.vector_of(codec.opaque, secrets),
            codec.vector(table),
            codec.vector_of(codec.opaque, past),
            _encode_map(codec.uint64, group.resumption),
            _encode_map(codec.opaque, group.own_updates),
            codec.uint32(group.limits.past_epochs),
            codec.uint32(group.limits.forward),
            codec.uint32(group.limits.skipped),
            codec.uint64(group.limits.past_seconds),
            b"\x00" if group.reinit is None else b"\x01" + group.reinit.encode_body(),
        ]
    )


def snapshot_ratchets(group: Group) -> bytes:
    """Encode the unused message keys of all epochs that are kept. The result is secret."""
    trees = [(keys.epoch, keys.tree) for keys in (group.keys, *group.past)]
    return (
        codec.uint8(_RATCHETS_VERSION)
        + codec.opaque(group.group_id)
        + codec.uint64(group.epoch)
        + codec.vector_of(_encode_tree, trees)
    )


def restore(epoch: bytes, ratchets: bytes) -> Group:
    """Put the two parts of a state together again.

    A past epoch that only the epoch part still has was forgotten later and is dropped.

    Raises:
        SnapshotError: they are of unknown versions, or not of one group and epoch.
        MalformedMessageError: one of them is damaged.
    """
    group_id, number, trees = codec.decode(_read_ratchets, ratchets)
    group = codec.decode(_read_epoch, epoch)
    if (group.group_id, group.epoch) != (group_id, number) or number not in trees:
        raise SnapshotError("the two parts are not of one state")
    return replace(
        group,
        keys=replace(group.keys, tree=trees[number]),
        past=tuple(
            replace(keys, tree=trees[keys.epoch]) for keys in group.past if keys.epoch in trees
        ),
    )


def _read_epoch(reader: Reader) -> Group:
    _check_version(reader, _EPOCH_VERSION)
    reader.opaque()
    reader.uint64()
    public = PublicGroup.restore(reader.opaque())
    own_leaf = reader.uint32()
    private = _read_map(Reader.uint32, reader)
    values = reader.vector(Reader.opaque)
    if len(values) != len(fields(EpochSecrets)):
        raise SnapshotError("the stored state has another number of secrets")
    secrets = EpochSecrets(*values)
    members = dict(public.tree.leaves())
    table = reader.vector(LeafNode.read)
    past = tuple(_read_past(data, public, members, table) for data in reader.vector(Reader.opaque))
    return Group(
        public=public,
        own_leaf=own_leaf,
        private=private,
        secrets=secrets,
        keys=MessageKeys(
            suite=public.suite,
            group_id=public.group_id,
            epoch=public.epoch,
            context=public.context.encode(),
            members=members,
            sender_data_secret=secrets.sender_data,
            tree=SecretTree(public.tree.size, {}),
        ),
        past=past,
        resumption=_read_map(Reader.uint64, reader),
        own_updates=_read_map(Reader.opaque, reader),
        limits=Limits(reader.uint32(), reader.uint32(), reader.uint32(), reader.uint64()),
        reinit=reader.optional(ReInit.read),
    )


def _check_version(reader: Reader, known: int) -> None:
    version = reader.uint8()
    if version != known:
        raise SnapshotError(f"the stored state has the unknown version {version}")


# --- past epochs --------------------------------------------------------------------------------


def _encode_past(
    keys: MessageKeys, current: Mapping[int, LeafNode], table: dict[LeafNode, int]
) -> bytes:
    """Encode a past epoch; leaves that still stand in the tree are only pointed at."""
    members = b"".join(
        codec.uint32(leaf)
        + codec.uint32(
            _SAME_LEAF if current.get(leaf) is node else table.setdefault(node, len(table))
        )
        for leaf, node in keys.members.items()
    )
    return (
        codec.uint64(keys.epoch)
        + codec.uint64(keys.ended)
        + codec.opaque(keys.context)
        + codec.opaque(keys.sender_data_secret)
        + codec.opaque(members)
    )


def _read_past(
    data: bytes,
    public: PublicGroup,
    current: Mapping[int, LeafNode],
    table: tuple[LeafNode, ...],
) -> MessageKeys:
    reader = Reader(data)
    epoch, ended = reader.uint64(), reader.uint64()
    context, sender_data = reader.opaque(), reader.opaque()
    places = reader.vector(lambda inner: (inner.uint32(), inner.uint32()))
    reader.end()
    others = dict(enumerate(table))
    members = {
        leaf: current.get(leaf) if place == _SAME_LEAF else others.get(place)
        for leaf, place in places
    }
    known = {leaf: node for leaf, node in members.items() if node is not None}
    if len(known) != len(places):
        raise SnapshotError("the stored state names a member that is not in it")
    return MessageKeys(
        suite=public.suite,
        group_id=public.group_id,
        epoch=epoch,
        context=context,
        members=known,
        sender_data_secret=sender_data,
        tree=SecretTree(1, {}),
        ended=ended,
    )


# --- message keys -------------------------------------------------------------------------------


def _encode_tree(item: tuple[int, SecretTree]) -> bytes:
    epoch, tree = item
    return (
        codec.uint64(epoch)
        + codec.uint32(tree.size)
        + _encode_map(codec.uint32, tree.nodes)
        + codec.vector_of(_encode_ratchets, tree.ratchets.items())
    )


def _encode_ratchets(item: tuple[int, Ratchets]) -> bytes:
    leaf, pair = item
    return codec.uint32(leaf) + b"".join(_encode_ratchet(ratchet) for ratchet in pair)


def _encode_ratchet(ratchet: Ratchet) -> bytes:
    return (
        codec.opaque(ratchet.secret)
        + codec.uint32(ratchet.generation)
        + codec.vector_of(_encode_skipped, ratchet.skipped.items())
    )


def _encode_skipped(item: tuple[int, MessageKey]) -> bytes:
    generation, (key, nonce) = item
    return codec.uint32(generation) + codec.opaque(key) + codec.opaque(nonce)


def _read_ratchets(reader: Reader) -> tuple[bytes, int, dict[int, SecretTree]]:
    _check_version(reader, _RATCHETS_VERSION)
    return reader.opaque(), reader.uint64(), dict(reader.vector(_read_tree))


def _read_tree(reader: Reader) -> tuple[int, SecretTree]:
    epoch, size = reader.uint64(), reader.uint32()
    nodes = _read_map(Reader.uint32, reader)
    return epoch, SecretTree(size, nodes, dict(reader.vector(_read_pair)))


def _read_pair(reader: Reader) -> tuple[int, Ratchets]:
    return reader.uint32(), (_read_ratchet(reader), _read_ratchet(reader))


def _read_ratchet(reader: Reader) -> Ratchet:
    return Ratchet(reader.opaque(), reader.uint32(), dict(reader.vector(_read_skipped)))


def _read_skipped(reader: Reader) -> tuple[int, MessageKey]:
    return reader.uint32(), (reader.opaque(), reader.opaque())


# --- maps ---------------------------------------------------------------------------------------


def _encode_map(encode_key: Callable[[_K], bytes], items: Mapping[_K, bytes]) -> bytes:
    return codec.vector_of(
        lambda item: encode_key(item[0]) + codec.opaque(item[1]), tuple(items.items())
    )


def _read_map(read_key: Callable[[Reader], _K], reader: Reader) -> dict[_K, bytes]:
    return dict(reader.vector(lambda inner: (read_key(inner), inner.opaque())))
