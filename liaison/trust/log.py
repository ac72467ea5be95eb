"""An agreement's log: its name, and whose signatures make a checkpoint of it count.

Everything is read from the agreement, which all parties have signed: the relay's log keys, the
parties' witnesses and what happens while they are missing. A log whose agreement names no witness
counts by the relay's own signature: it then shows what the relay says, and not that it says the
same to everybody.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from liaison.crypto.signing import SignatureScheme
from liaison.model import PartyCode
from liaison.policy import log_rules
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import Witness
from liaison.tlog import quorum
from liaison.tlog.errors import QuorumError
from liaison.tlog.policy import Cosigned, Listed, Policy
from liaison.tlog.quorum import Group
from liaison.tlog.vkey import SignatureType, VerifierKey

QUORUM: Final = "quorum"
"""The name of the group that is the quorum; parties' groups have the parties' codes."""
_TYPES: Final = {
    SignatureScheme.ED25519: SignatureType.COSIGNATURE_ED25519,
    SignatureScheme.MLDSA44: SignatureType.COSIGNATURE_MLDSA44,
}


def origin(agreement: Agreement, generation: int | None = None) -> str:
    """Return the name of an agreement's log.

    Args:
        agreement: any version of it.
        generation: 1 for the first log, higher for its successors; the version's own for None.
    """
    counted = agreement.log.generation if generation is None else generation
    return log_rules.origin(agreement.relay.origin, agreement.agreement_id, counted)


def root_origin(relay_origin: str) -> str:
    """Return the name of a relay's root log."""
    return f"{relay_origin}/root-log"


def has_log(agreement: Agreement) -> bool:
    """Whether the relay has a log under this agreement: a key of it that signs checkpoints."""
    return bool(agreement.relay.log_signers)


def policy(agreement: Agreement, generation: int | None = None) -> Policy:
    """Return the trust policy of an agreement's log.

    Each party that has witnesses is a group, of which more than half must have cosigned, so that
    two histories need one witness twice. Of the parties, two must all be there; of more, so many
    that any two quorums share two parties, one of which is honest if no two conspire.
    """
    name = origin(agreement, generation)
    logs = tuple(
        Listed(VerifierKey(name, SignatureType.ED25519, key.public))
        for key in agreement.relay.log_signers
    )
    witnesses = {each.name: Listed(_verifier(each)) for each in agreement.witnesses}
    members: dict[str, list[str]] = defaultdict(list)
    for each in agreement.witnesses:
        members[str(each.party)].append(each.name)
    if not members:
        return Policy(logs)
    groups = {party: Group(len(names) // 2 + 1, tuple(names)) for party, names in members.items()}
    groups[QUORUM] = Group(_threshold(len(members)), tuple(members))
    return Policy(logs, witnesses, groups, QUORUM)


def own_witnesses(agreement: Agreement, party: PartyCode) -> tuple[str, ...]:
    """Return the names of a party's witnesses."""
    return tuple(each.name for each in agreement.witnesses if each.party == party)


def verify(
    agreement: Agreement,
    note: bytes,
    *,
    party: PartyCode | None = None,
    generation: int | None = None,
    not_after: int | None = None,
) -> Cosigned:
    """Check a signed checkpoint of an agreement's log.

    Args:
        agreement: whose log it is.
        note: as it was served.
        party: the reader's own; its witnesses must have cosigned, where it has any, whatever the
            quorum says. None for a reader that has no party.
        generation: see `origin`.
        not_after: POSIX seconds; a cosignature of a later time does not count.

    Raises:
        NoteError, CheckpointError: not a signed checkpoint.
        OriginError: of another log.
        NoteUnsignedError: the relay has not signed it.
        NoteSignatureError: a signature does not hold.
        QuorumError: too few witnesses, or not the reader's own.
    """
    rules = policy(agreement, generation)
    cosigned = rules.verify(note, not_after=not_after)
    own = str(party)
    if own in rules.groups and not quorum.holds(own, rules.groups, cosigned.witnesses):
        raise QuorumError(f"the checkpoint lacks the cosignatures of {own}'s witnesses")
    return cosigned


def _threshold(parties: int) -> int:
    # Two sets of k among n share at least 2k - n.
    return min(parties, (parties + 3) // 2)


def _verifier(witness: Witness) -> VerifierKey:
    return VerifierKey(witness.name, _TYPES[witness.key.scheme], witness.key.public)
