"""A party's own word on whether it takes part: active, suspended or withdrawn.

A statement is about one agreement, numbered, and signed by the party's
authority. It has a maximum age, so that nobody can be shown an old one for
long; a renewal says the same again. Which state may follow which is in
`liaison.policy.lifecycle`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Self

from liaison.crypto.signing import Signer
from liaison.model import PartyCode
from liaison.policy import canonical, dsse, lifecycle
from liaison.policy.agreement import Agreement
from liaison.policy.canonical import JSON
from liaison.policy.errors import DocumentError, StatementOrderError
from liaison.policy.fields import Node, format_instant
from liaison.policy.lifecycle import Event, Participation
from liaison.values import dataclass

FORMAT: Final = "liaison.participation/1"
PAYLOAD_TYPE: Final = "application/vnd.liaison.participation.v1+json"
MAX_STATEMENT_BYTES: Final = 16 * 1024
_MAX_NUMBER: Final = 2**53 - 1
_FIELDS: Final = (
    "format",
    "agreement",
    "party",
    "number",
    "state",
    "since",
    "reason",
    "issued_at",
    "next_update",
)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a party says of itself.

    Args:
        agreement_id: which agreement; all its versions.
        party: whose word it is.
        number: grows with every statement of the party about the agreement.
        state: how it takes part.
        since: Unix seconds from which that holds; not after `issued_at`.
        reason: for people; may be empty.
        issued_at: Unix seconds.
        next_update: Unix seconds; later, someone may be hiding a newer one.
    """

    agreement_id: str
    party: PartyCode
    number: int
    state: Participation
    since: int
    reason: str
    issued_at: int
    next_update: int

    @classmethod
    def first(cls, agreement: Agreement, party: PartyCode, *, now: int) -> Self:
        """Return a party's first statement: it takes part, since the agreement began.

        Raises:
            UnknownPartyError: it is not a party.
        """
        code = agreement.party(party).code
        until = now + agreement.status.max_age
        since = min(agreement.valid_from, now)
        return cls(agreement.agreement_id, code, 1, Participation.ACTIVE, since, "", now, until)

    def after(self, event: Event, *, reason: str, now: int, max_age: int) -> Statement:
        """Return the statement that follows this one.

        Args:
            event: what the party does; `AFFIRM` renews.
            reason: for people; a renewal without one keeps the old.
            now: Unix seconds, not before this statement was issued.
            max_age: seconds, from the agreement.

        Raises:
            LifecycleError: that can't follow, such as resuming after withdrawing.
            StatementOrderError: `now` is before this statement's own time.
        """
        if now < self.issued_at:
            raise StatementOrderError("the clock is behind the statement before this one")
        state = lifecycle.after(self.state, event)
        renewed = state is self.state
        return replace(
            self,
            number=self.number + 1,
            state=state,
            since=self.since if renewed else now,
            reason=reason or (self.reason if renewed else ""),
            issued_at=now,
            next_update=now + max_age,
        )

    def check_succeeds(self, previous: Statement) -> None:
        """Check that this statement may replace one that was known before.

        Raises:
            StatementOrderError: about something else, not newer, or a state that
                can't follow.
        """
        if (self.agreement_id, self.party) != (previous.agreement_id, previous.party):
            raise StatementOrderError("the statements are not of one party about one agreement")
        if self.number <= previous.number:
            raise StatementOrderError(
                f"statement {self.number} of {self.party} is not newer than {previous.number},"
                " which is known already"
            )
        renewed = (self.state, self.since) == (previous.state, previous.since)
        # A new state begins after the last word: nobody rewrites what others have acted upon.
        if self.issued_at < previous.issued_at or not (renewed or self.since >= previous.issued_at):
            raise StatementOrderError(
                f"statement {self.number} of {self.party} is dated before {previous.number}"
            )
        # Numbers between may be missing here, so not the step but the way is checked.
        if not lifecycle.can_reach(previous.state, self.state):
            raise StatementOrderError(
                f"{self.party} has {previous.state.value}; {self.state.value} can't follow that"
            )

    def document(self) -> dict[str, JSON]:
        """Return the statement as it is signed."""
        return {
            "format": FORMAT,
            "agreement": self.agreement_id,
            "party": str(self.party),
            "number": self.number,
            "state": self.state.value,
            "since": format_instant(self.since),
            "reason": self.reason,
            "issued_at": format_instant(self.issued_at),
            "next_update": format_instant(self.next_update),
        }


def sign(statement: Statement, signer: Signer) -> bytes:
    """Return the statement signed by the party's authority, as a DSSE envelope.

    Raises:
        DocumentError: the statement could not be read back, such as too long a reason.
    """
    payload = canonical.encode(statement.document())
    _parse(payload)
    return dsse.sign(PAYLOAD_TYPE, payload, [signer]).encode()


def verify(data: bytes, agreement: Agreement) -> Statement:
    """Read a statement that the party's authority, as the agreement names it, has signed.

    Age and order are the caller's to check: `liaison.policy.standing`, `check_succeeds`.

    Args:
        data: the DSSE envelope.
        agreement: any version that the party belongs to.

    Raises:
        DocumentError: no such statement, about another agreement, or meant to
            hold for longer than the agreement allows.
        UnknownPartyError: the party does not belong to this version.
        SignatureMissingError: its authority has not signed.
    """
    envelope = dsse.Envelope.decode(data)
    statement = read(data)
    if statement.agreement_id != agreement.agreement_id:
        raise DocumentError(f"the statement is about {statement.agreement_id}")
    party = agreement.party(statement.party)
    dsse.verify(envelope, PAYLOAD_TYPE, party.authority_keys)
    if statement.next_update - statement.issued_at > agreement.status.max_age:
        raise DocumentError("the statement would hold for longer than the agreement allows")
    return statement


def read(data: bytes) -> Statement:
    """Read a statement without verifying it: for finding the agreement, or from one's own store.

    Raises:
        DocumentError: no such statement.
    """
    envelope = dsse.Envelope.decode(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise DocumentError(
            f"this is a {envelope.payload_type!r} document, not a statement of participation"
        )
    return _parse(envelope.payload)


def _parse(payload: bytes) -> Statement:
    node = Node.of(canonical.decode_canonical(payload, limit=MAX_STATEMENT_BYTES))
    fields = node.fields(_FIELDS)
    if fields["format"].value != FORMAT:
        fields["format"].fail(f"must be {FORMAT}")
    statement = Statement(
        agreement_id=fields["agreement"].text(most=100),
        party=fields["party"].parsed(PartyCode.parse),
        number=fields["number"].integer(1, _MAX_NUMBER),
        state=fields["state"].choice(Participation),
        since=fields["since"].instant(),
        reason=fields["reason"].text(least=0, most=1000),
        issued_at=fields["issued_at"].instant(),
        next_update=fields["next_update"].instant(),
    )
    if statement.state is Participation.EXCLUDED:
        fields["state"].fail("is not for the party itself to say")
    if statement.since > statement.issued_at:
        fields["since"].fail("must not be after issued_at")
    if statement.next_update <= statement.issued_at:
        fields["next_update"].fail("must be after issued_at")
    return statement
