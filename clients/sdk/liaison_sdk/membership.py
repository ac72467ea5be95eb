"""Adding, removing and leaving: what each asks of the relay and puts into a commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from liaison.errors import LiaisonError
from liaison.mls.group import Group, propose_self_remove
from liaison.mls.key_package import KeyPackage
from liaison.mls.proposals import Add, Remove
from liaison.model import ChannelId, DeviceId, EndpointId
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import AddEndpoint, RemoveEndpoint
from liaison.wire import v1
from liaison.wire.problems import RemoteError
from liaison_sdk import directory, duties, judgement, merging, refreshing
from liaison_sdk.committing import Committer
from liaison_sdk.environment import Environment
from liaison_sdk.errors import EndpointNoDevicesError
from liaison_sdk.plans import Order
from liaison_sdk.store import Transaction, channels, meta
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.trust_store import device_of

_NO_DEVICES: Final = ("device.unknown", "key_package.none_left")


async def require_addable(
    env: Environment, agreement: Agreement, policy: str, endpoints: Sequence[EndpointId]
) -> None:
    """Check, before a channel is opened for them, that these endpoints can be added to it.

    Raises:
        PolicyRefusedError: the agreement does not allow it.
        EndpointNoDevicesError: an endpoint has no device.
    """
    actor = env.account.device.endpoint
    for count, endpoint in enumerate(endpoints, start=1):
        request = AddEndpoint(actor, policy, endpoint, (actor, *endpoints[:count]))
        await env.read(lambda tx, r=request: judgement.decide(env, tx, r, agreement).require())  # type: ignore[misc]  # a default argument binds the loop's value
    listed = await directory.devices(env, agreement)
    present = {entry.device.endpoint for entry in listed if not entry.revoked}
    for endpoint in endpoints:
        if endpoint not in present:
            raise _no_devices(endpoint)


async def add(
    env: Environment, committer: Committer, channel: ChannelId, endpoints: Sequence[EndpointId]
) -> list[DeviceId]:
    """Add every device of these endpoints that is not a member; return them.

    Raises:
        PolicyRefusedError: the agreement does not allow it; no key package was taken.
        EndpointNoDevicesError: an endpoint has no device that can be added.
    """
    # Somebody may take part again of whom this device has heard that it does not.
    known = await env.read(lambda tx: channels.load_open(tx, channel))
    await refreshing.people(env, known.agreement_id)
    record, agreement, members = await env.read(lambda tx: _look(env, tx, channel))
    actor = env.account.device.endpoint
    for endpoint in endpoints:
        there = (*(device.endpoint for device in members.values()), endpoint)
        request = AddEndpoint(actor, record.policy, endpoint, there)
        await env.read(lambda tx, r=request: judgement.decide(env, tx, r, agreement).require())  # type: ignore[misc]  # a default argument binds the loop's value
    packages: dict[DeviceId, KeyPackage] = {}
    for endpoint in endpoints:
        present = {device for device in members.values() if device.endpoint == endpoint}
        found = await _claim(env, agreement, endpoint)
        new = {device: package for device, package in found.items() if device not in present}
        if not new and not present:
            raise _no_devices(endpoint)
        packages |= new
    added: list[DeviceId] = []

    def plan(
        tx: Transaction, current: ChannelRecord, agreement: Agreement, group: Group
    ) -> Order | None:
        del tx, agreement
        here = set(judgement.devices(group).values())
        missing = {d: p for d, p in packages.items() if d not in here}
        added[:] = sorted(missing)
        if not missing:
            return None
        return Order([Add(package) for package in missing.values()], name=current.name)

    await committer.run(channel, plan)
    return added


def _no_devices(endpoint: EndpointId) -> EndpointNoDevicesError:
    return EndpointNoDevicesError(
        f"{endpoint} has no device that can be added",
        hint="its devices have to enrol, and to be online once, before they can be added",
    )


async def remove(
    env: Environment,
    committer: Committer,
    channel: ChannelId,
    who: Sequence[EndpointId | DeviceId],
) -> list[DeviceId]:
    """Remove devices, or all devices of endpoints; return them.

    Raises:
        PolicyRefusedError: the agreement does not allow it.
    """
    removed: list[DeviceId] = []

    def plan(
        tx: Transaction, record: ChannelRecord, agreement: Agreement, group: Group
    ) -> Order | None:
        leaves = [leaf for leaf in judgement.leaves_of(group, who) if leaf != group.own_leaf]
        excluded = duties.due(env, tx, record, group).leaves
        for leaf in leaves:
            target = judgement.device_at(group, leaf).endpoint
            actor = env.account.device.endpoint
            request = RemoveEndpoint(actor, record.policy, target, leaf in excluded)
            judgement.decide(env, tx, request, agreement).require()
        removed[:] = [judgement.device_at(group, leaf) for leaf in leaves]
        return Order([Remove(leaf) for leaf in leaves]) if leaves else None

    await committer.run(channel, plan)
    return removed


async def leave(env: Environment, channel: ChannelId) -> None:
    """Propose the own removal; another member commits it.

    Raises:
        ConnectionLostError: the relay can't be reached; call again to propose anew.
    """
    body = await env.write(lambda tx: _propose_leaving(env, tx, channel))
    if body is not None:
        await env.api.propose(channel, body)


def _propose_leaving(env: Environment, tx: Transaction, channel: ChannelId) -> v1.Proposal | None:
    record = channels.load(tx, channel)
    if record is None or record.state is not ChannelState.LEAVING:
        record = channels.load_open(tx, channel)
    group = env.groups.load(tx, record)
    record = replace(record, state=ChannelState.LEAVING)
    if len(group.members()) == 1:
        # Nobody is there who could commit it.
        merging.leave(env, tx, record)
        return None
    signer = env.account.signer(group.suite.signature)
    after, proposal = propose_self_remove(group, signer=signer)
    version = meta.next_state_version(tx)
    env.groups.save_epoch(tx, record, after)
    return v1.Proposal(proposal=proposal, state_version=version)


async def _claim(
    env: Environment, agreement: Agreement, endpoint: EndpointId
) -> dict[DeviceId, KeyPackage]:
    try:
        claimed = await env.api.claim(agreement.agreement_id, str(endpoint), agreement.cipher_suite)
    except RemoteError as e:
        if e.remote_code not in _NO_DEVICES:
            raise
        return {}
    validator = await env.read(lambda tx: env.trust.strict_validator(tx, agreement))
    found: dict[DeviceId, KeyPackage] = {}
    for entry in claimed.key_packages:
        try:
            package = KeyPackage.parse(entry.key_package)
            leaf = package.leaf_node
            validator.validate(leaf.credential, leaf.signature_key, env.now)
            device = device_of(leaf.credential)
        except LiaisonError:
            # Revoked, expired or not what the relay says: as if the device had none.
            continue
        if device.endpoint == endpoint:
            found[device] = package
    return found


def _look(
    env: Environment, tx: Transaction, channel: ChannelId
) -> tuple[ChannelRecord, Agreement, dict[int, DeviceId]]:
    record = channels.load_open(tx, channel)
    # What is done now is done under the version in force: a commit brings it in first.
    agreement = duties.version_in_force(env, tx, record)
    return record, agreement, judgement.devices(env.groups.load(tx, record))
