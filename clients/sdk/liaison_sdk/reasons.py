"""The reasons for removals, as a commit gives them to members who have not heard of them."""

from __future__ import annotations

from collections.abc import Iterable

from liaison.mls.group import Group
from liaison.model import PartyCode
from liaison.policy import statement
from liaison.policy.agreement import Agreement
from liaison.policy.lifecycle import Participation
from liaison_sdk import judgement
from liaison_sdk.environment import Environment
from liaison_sdk.store import Transaction, documents


def first_of(
    env: Environment, tx: Transaction, agreement: Agreement, group: Group, leaves: Iterable[int]
) -> bytes:
    """Return a reason for removals, for members who have not heard of it yet.

    A commit has room for one document; who misses another one fetches it.
    """
    standing = env.trust.standing(tx, agreement.agreement_id)
    for leaf in leaves:
        party = judgement.device_at(group, leaf).party
        data = _document(env, tx, agreement, party, standing.participation(party, env.now))
        if data is not None:
            return data
    return b""


def _document(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    party: PartyCode,
    state: Participation,
) -> bytes | None:
    name, known = agreement.agreement_id, env.trust.standings
    if state is Participation.EXCLUDED:
        signed = known.exclusion(tx, name, party)
        return None if signed is None else statement.encode_exclusion(signed)
    if state is not Participation.ACTIVE:
        signed = known.newest_statement(tx, name, party)
        return None if signed is None else statement.encode_participation(signed)
    signed = documents.load(tx, documents.REVOCATIONS, str(party))
    return None if signed is None else statement.encode_removal(signed)
