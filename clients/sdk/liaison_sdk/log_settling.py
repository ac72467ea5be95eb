"""What the log says of an item, compared with the item: it is logged, or that is an alarm.

Runs inside store transactions; how far a channel was followed is the caller's (`log_keeping`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeAlias

from liaison.crypto import kdf
from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.tlog.entries import PolicyRef
from liaison.tlog.errors import ChannelForkError
from liaison.tlog.text import to_base64
from liaison.trust import log_items
from liaison_sdk import log_comparing
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.log_alarms import alarm
from liaison_sdk.log_comparing import FalseEntryError
from liaison_sdk.log_places import Place
from liaison_sdk.store import Transaction, items, messages
from liaison_sdk.store.items import Told
from liaison_sdk.store.stays import FollowRecord

_NOTHING: Final = kdf.sha256(b"")
"""The digest of an item that the relay has only told of: it has no bytes to compare."""
_DAY: Final = 86_400

Shown: TypeAlias = Callable[[Place], Mapping[str, Any]]
"""What the relay has sent about one place."""


def settle(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    known: FollowRecord,
    place: Place,
    shown: Shown,
) -> FollowRecord | None:
    """Compare a place of a channel that is followed with its item.

    Returns:
        How far the channel stands; None where the item has not come.
    """
    if place.seq == known.start and known.welcomed:
        return _settle_welcome(env, tx, agreement, known, place, shown)
    agrees = compare(env, tx, agreement, known.channel, place, shown)
    if agrees is None:
        return None
    if agrees and place.is_commit:
        return replace(known, confirmed=max(known.confirmed, place.epoch + 1))
    return known


def compare(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    channel: ChannelId,
    place: Place,
    shown: Shown,
) -> bool | None:
    """Compare a place with its item, and note that it is logged, or raise the alarm.

    Args:
        env: whose.
        tx: the transaction.
        agreement: whose log.
        channel: which channel.
        place: what the log says.
        shown: gives what the relay has sent about it.

    Returns:
        Whether they agree; None without the item.
    """
    digest = items.digest_of(tx, channel, place.seq)
    if digest is None:
        return None
    told = items.told(tx, channel, place.seq)
    try:
        if digest != _NOTHING or not _may_be_gone(place):
            log_comparing.compare(place, digest)
        if told is not None:
            policy = _policy(env, tx, agreement, told)
            log_comparing.compare_told(place, told, policy, ahead=agreement.times.ahead)
    except (ChannelForkError, FalseEntryError) as error:
        evidence = partial(contradicted, shown, place, digest, told)
        alarm(env, tx, agreement.agreement_id, channel, error, evidence)
        return False
    if digest == _NOTHING:
        _tell_gone(env, tx, agreement, channel, place)
    items.forget_told(tx, channel, place.seq)
    shows_it = place.digest is not None or _is_erased(env, agreement, place, told)
    if shows_it and not place.is_commit:
        messages.mark_logged(tx, channel, place.seq, place.index, _message(place))
    return True


def contradicted(shown: Shown, place: Place, digest: bytes | None, told: Told | None) -> bytes:
    """Write down what the log says of an item, and what the item says of itself."""
    given = {
        "digest": None if digest is None else to_base64(digest),
        "told": None if told is None else asdict(told),
    }
    return json.dumps({**shown(place), "given": given}).encode()


# --- parts ------------------------------------------------------------------------------


def _message(place: Place) -> str | None:
    """Return the id of the message that a place is about; None where the log does not show it."""
    return None if place.values is None else str(place.values.get("message"))


def _policy(
    env: Environment, tx: Transaction, agreement: Agreement, told: Told
) -> PolicyRef | None:
    """Return how an entry names the version that an item was accepted under."""
    if told.version is None:
        return None
    try:
        version = env.trust.agreement(tx, agreement.agreement_id, told.version)
    except LiaisonError:
        # A version from before this device came in.
        return None
    return PolicyRef(version.version, version.digest())


def _is_erased(env: Environment, agreement: Agreement, place: Place, told: Told | None) -> bool:
    """Tell whether what opens an entry can have been erased by now.

    That the entry says so counts only where the item itself is as old.
    """
    return told is not None and place.entry.time < _erased_before(env, agreement)


def _settle_welcome(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    known: FollowRecord,
    place: Place,
    shown: Shown,
) -> FollowRecord:
    own = str(env.account.device)
    # A Welcome has no digest to compare; who was brought in is all that there is, and has to be
    # shown.
    if place.added is None or own not in place.added:
        error = ChannelForkError(
            f"the log's commit at place {place.seq} of the channel has not brought in this device"
        )
        evidence = partial(contradicted, shown, place, None, None)
        alarm(env, tx, agreement.agreement_id, known.channel, error, evidence)
        return known
    return replace(known, confirmed=max(known.confirmed, place.epoch + 1))


def _may_be_gone(place: Place) -> bool:
    """Tell whether the relay may have erased an item: messages only, and never handshakes."""
    kind = None if place.values is None else place.values.get("kind")
    return not place.is_commit and kind != log_items.PROPOSAL


def _tell_gone(
    env: Environment, tx: Transaction, agreement: Agreement, channel: ChannelId, place: Place
) -> None:
    """Tell of a message that the relay has not any more, though its channel keeps them longer.

    Its sender may have let it expire; that is not in the log, so the relay may as well withhold it.
    """
    if place.entry.time < _erased_before(env, agreement):
        return
    at = datetime.fromtimestamp(place.entry.time // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # Also where the log shows nothing of it: else a relay would need only to keep that back too.
    sender = "somebody whom the log does not show"
    if place.values is not None:
        sender = str(place.values.get("sender") or sender)
    text = (
        f"item {place.seq} of the channel, which {sender} sent at {at}, was not delivered: the relay"
        " says that it has expired"
    )
    env.announce(tx, Event(EventKind.PROBLEM, channel, text))


def _erased_before(env: Environment, agreement: Agreement) -> int:
    days = min(agreement.retention_days, *(c.retention_days for c in agreement.channels))
    return (env.now - days * _DAY) * 1000
