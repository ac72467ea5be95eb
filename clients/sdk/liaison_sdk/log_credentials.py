"""Whose certificates are in the agreement's log: nobody is told or believed anything before.

A certificate that the registrar never issued can be made by whoever holds its key, but not used in
secret: its entry in the log is what the registrar watches for. So a client encrypts to members, and
shows what they say, once their certificates are proven to be there. While the log lacks its
witnesses, or can't be had, the agreement's grace applies; a log that is whole and does not have the
certificate is final at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from liaison.crypto import kdf
from liaison.envelope.header import Header
from liaison.errors import VerificationError
from liaison.mls.credentials import Credential
from liaison.model import DeviceId
from liaison.policy.agreement import Agreement
from liaison.policy.fields import format_duration
from liaison_sdk.environment import Environment
from liaison_sdk.store import Transaction, credentials, generations, messages
from liaison_sdk.store.channels import ChannelRecord
from liaison_sdk.store.credentials import CredentialRecord, CredentialState
from liaison_sdk.trust_store import device_of

_MOST_EPOCHS: Final = 4096


class CredentialUnloggedError(VerificationError):
    """A member's certificate is not in the agreement's log.

    Nothing was encrypted for it, and nothing of it is shown. Ask its registrar whether it has
    issued the certificate; if not, remove the device from the channel.
    """

    code = "log.credential_unlogged"


def digest_of(credential: Credential) -> bytes:
    """Return what names a credential in the log: SHA-256 of the leaf certificate's DER."""
    return kdf.sha256(credential.chain[0])


def of_group(env: Environment, tx: Transaction, record: ChannelRecord) -> dict[bytes, str]:
    """Return the credentials of all members of a channel, with their devices' names.

    Raises:
        ChannelClosedError: this device is not a member.
    """
    found = (member.leaf_node.credential for member in env.groups.load(tx, record).members())
    return {digest_of(each): str(device_of(each)) for each in found}


def check_group(
    env: Environment, tx: Transaction, record: ChannelRecord, agreement: Agreement
) -> dict[bytes, str]:
    """Check the members of a channel; return those whom the log has to be asked about first.

    Raises:
        CredentialUnloggedError: the certificate of one is not in the log.
        ChannelClosedError: this device is not a member.
    """
    if not agreement.relay.log_signers:
        return {}
    log = _log(tx, agreement)
    place = (record.channel, log[1], env.groups.load(tx, record).keys.context)
    if place in env.logged.epochs:
        return {}
    members = of_group(env, tx, record)
    unknown = check(env, tx, agreement, members)
    if not unknown and all((*log, digest) in env.logged.credentials for digest in members):
        if len(env.logged.epochs) >= _MOST_EPOCHS:
            env.logged.epochs.clear()
        env.logged.epochs.add(place)
    return unknown


def of_message(sender: Credential, header: Header) -> dict[bytes, str]:
    """Return the credentials that a message stands on, with their devices' names.

    Who has signed its release counts like its sender: both are believed by their certificates alone.

    Args:
        sender: of the leaf.
        header: of the message; the signatures of its release hold.
    """
    signed = () if header.release is None else header.release.signatures
    found = (sender, *(Credential.x509(one.chain) for one in signed))
    return {digest_of(each): str(device_of(each)) for each in found}


def check_message(
    env: Environment, tx: Transaction, agreement: Agreement, sender: Credential, header: Header
) -> dict[bytes, str]:
    """Check whoever answers for a message; return those whom the log has to be asked about first.

    Raises:
        CredentialUnloggedError: the certificate of one is not in the log.
    """
    if not agreement.relay.log_signers:
        return {}
    log = _log(tx, agreement)
    if header.release is None and (*log, digest_of(sender)) in env.logged.credentials:
        return {}
    wanted = of_message(sender, header)
    known = credentials.load(tx, agreement.agreement_id, wanted)
    # Before one is found wanting: what is withheld for it waits for all of them.
    if unasked := {digest: name for digest, name in wanted.items() if digest not in known}:
        return unasked
    return check(env, tx, agreement, wanted)


def check(
    env: Environment, tx: Transaction, agreement: Agreement, wanted: Mapping[bytes, str]
) -> dict[bytes, str]:
    """Check certificates; return those that the log was never asked about.

    Raises:
        CredentialUnloggedError: one is not in the log.
    """
    log = _log(tx, agreement)
    unknown = {
        digest: device
        for digest, device in wanted.items()
        if (*log, digest) not in env.logged.credentials
    }
    known = credentials.load(tx, agreement.agreement_id, unknown)
    for digest, record in known.items():
        del unknown[digest]
        if record.state is CredentialState.LOGGED:
            env.logged.credentials.add((*log, digest))
            continue
        _check_open(record, agreement, env.now)
    return unknown


def note(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    asked: Mapping[bytes, str],
    found: Iterable[bytes],
    *,
    sizes: tuple[int, int],
    final: bool,
) -> list[str]:
    """Keep what the log has said about certificates; return whose are in it now.

    Args:
        env: where to.
        tx: the transaction.
        agreement: whose log.
        asked: the certificates, with their devices' names.
        found: those that are proven to be in it.
        sizes: of the checkpoint that would have proven them, 0 where there was none, and of
            the log as the relay tells it.
        final: whether an answer of a log that is whole counts. One that was issued a moment ago
            may be in the next checkpoint.
    """
    name, proven = agreement.agreement_id, set(found)
    known = credentials.load(tx, name, asked)
    arrived = []
    for digest, device in asked.items():
        before = known.get(digest) or CredentialRecord(
            digest, CredentialState.UNPROVEN, env.now, sizes[1], device
        )
        if digest in proven:
            state = CredentialState.LOGGED
            arrived.append(device)
        elif before.state is CredentialState.MISSING:
            # A log that is found wanting does not get its grace afterwards.
            continue
        elif sizes[0] and sizes[0] >= (before.size or sizes[1]):
            if digest not in known and not final:
                continue
            # Where the log said nothing before, this is its first word, as for a new one.
            heard = bool(before.size) or final
            state = CredentialState.MISSING if heard else CredentialState.UNPROVEN
        else:
            state = CredentialState.UNPROVEN
        # A size that was not known then is the one that is known now.
        size = before.size or sizes[1]
        record = CredentialRecord(digest, state, before.since, size, device)
        credentials.save(tx, name, record)
    return arrived


def release(tx: Transaction, record: ChannelRecord) -> int:
    """Show what was withheld only because certificates were not in the log that are there now.

    By the certificates and not by the names on them: a forged one has somebody else's.
    """
    shown = 0
    for number in messages.withheld(tx, record.channel):
        held = messages.load(tx, number)
        if held is None or held.reason_code != CredentialUnloggedError.code:
            continue
        known = credentials.load(tx, record.agreement_id, held.credentials)
        states = [known[one].state for one in held.credentials if one in known]
        if states and states == [CredentialState.LOGGED] * len(held.credentials):
            messages.receive(tx, held)
            shown += 1
    return shown


def _log(tx: Transaction, agreement: Agreement) -> tuple[str, int]:
    """Return which log the store follows now: the agreement, and the log's generation."""
    return agreement.agreement_id, generations.load(tx, agreement.agreement_id).current


def _check_open(record: CredentialRecord, agreement: Agreement, now: int) -> None:
    if record.state is CredentialState.MISSING:
        raise CredentialUnloggedError(
            f"the certificate of {record.name} is not in the log of {agreement.agreement_id}",
            hint=f"ask the registrar of {DeviceId.parse(record.name).party} whether it issued it;"
            " if not, remove the device from the channel",
        )
    if now - record.since > agreement.log.grace:
        raise CredentialUnloggedError(
            f"for {format_duration(agreement.log.grace)} the log of {agreement.agreement_id} has not"
            f" shown the certificate of {record.name}",
            hint="ask the relay's operator why the log lacks its witnesses",
        )
