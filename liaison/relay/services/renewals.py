"""Removals of devices that have not renewed their keys for longer than a policy bears."""

from __future__ import annotations

from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.effects import Removed
from liaison.policy import membership, statement
from liaison.policy.agreement import Agreement
from liaison.policy.errors import RemovalReasonError
from liaison.policy.statement import ReasonKind
from liaison.relay.services.states import ChannelState


def are_asked_for(commit: bytes) -> bool:
    """Return whether a commit says that it removes devices because they were unseen.

    Then it is judged by a state that tells when their keys came in.
    """
    try:
        return _says_unseen(peek.parse_header(commit).authenticated_data)
    except LiaisonError:
        # Refused for that in its turn.
        return False


def _says_unseen(authenticated_data: bytes) -> bool:
    try:
        return statement.read_removal(authenticated_data).kind is ReasonKind.UNSEEN
    except RemovalReasonError:
        return False


def is_unseen(state: ChannelState, agreement: Agreement, gone: Removed, now: int) -> bool:
    """Return whether a removal is for that reason, and the relay has seen it so."""
    renewed = state.renewed.get(gone.leaf)
    if renewed is None or not _says_unseen(gone.authenticated_data):
        return False
    return membership.is_unseen(agreement.channel(state.row.policy), renewed // 1000, now)
