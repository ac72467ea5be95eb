"""Where an agreement stands in its life, and how it came there, as people read it.

Values made of verified documents; a device has them from its store, a registrar
straight from the relay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from liaison.model import PartyCode
from liaison.policy import lifecycle
from liaison.policy.agreement import Agreement
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Participation, Phase
from liaison.policy.participation import Statement
from liaison.policy.standing import Standing
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class PartyStanding:
    """How one party takes part.

    Args:
        party: whose standing it is.
        state: how it takes part now.
        since: since when; None where it has never said anything.
        reason: in its words, or in the others' where they have excluded it.
        number: of its newest statement; None where it has made none.
        fresh_until: when it has to say again that it takes part.
        is_overdue: whether it takes part and has not said so for too long.
    """

    party: PartyCode
    state: Participation
    since: datetime | None
    reason: str
    number: int | None
    fresh_until: datetime
    is_overdue: bool


@dataclass(frozen=True, slots=True)
class AgreementStanding:
    """Where an agreement stands.

    Args:
        agreement: the version in force; the first one where none has begun.
        newest: the newest version; it may begin later.
        phase: where it is in its life.
        parties: in the agreement's order.
    """

    agreement: Agreement
    newest: Agreement
    phase: Phase
    parties: tuple[PartyStanding, ...]

    @property
    def overdue(self) -> tuple[PartyCode, ...]:
        """The parties of whom a withdrawal may be kept from us, or who are late."""
        return tuple(one.party for one in self.parties if one.is_overdue)


class HistoryKind(StrEnum):
    """What an entry of an agreement's history is."""

    VERSION = "version"
    STATEMENT = "statement"
    EXCLUSION = "exclusion"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step in an agreement's life.

    Args:
        at: from when it holds. A version: from when it is valid, or when the relay had all
            signatures and admitted it, by its word, where that was later.
        kind: which of the fields below there are.
        text: a sentence for people.
        party: who has said it, or is excluded.
        version: of a version.
        number: of a statement.
        state: how the party takes part since.
        reason: in the words of whoever signed it.
        until: how long a version or a statement holds.
        signers: of a version: whose authorities have signed it; verified. Signatures bear
            no date of their own.
        valid_from: of a version, as it says itself.
    """

    at: datetime
    kind: HistoryKind
    text: str
    party: PartyCode | None = None
    version: int | None = None
    number: int | None = None
    state: Participation | None = None
    reason: str = ""
    until: datetime | None = None
    signers: tuple[PartyCode, ...] = ()
    valid_from: datetime | None = None


def standing_of(
    agreement: Agreement, newest: Agreement, standing: Standing, now: int
) -> AgreementStanding:
    """Return where an agreement stands.

    Args:
        agreement: the version in force.
        newest: the newest version.
        standing: what is known of the parties.
        now: Unix seconds.
    """
    overdue = standing.overdue(agreement, now)
    return AgreementStanding(
        agreement,
        newest,
        standing.phase(agreement, now),
        tuple(_party(agreement, standing, code, code in overdue, now) for code in agreement.codes),
    )


def history_of(
    versions: Iterable[Agreement], standing: Standing, admitted: Mapping[int, int]
) -> list[HistoryEntry]:
    """Return what has happened to an agreement, oldest first.

    Args:
        versions: that are known, all of them signed by every party in them.
        standing: what is known of the parties.
        admitted: when the relay says that it admitted versions, Unix seconds.
    """
    said = (statement for theirs in standing.statements.values() for statement in theirs)
    entries = [
        *_versions(versions, admitted),
        *(_statement(one, _before(standing, one)) for one in said),
        *(_exclusion(one) for one in standing.exclusions.values()),
    ]
    # Within one second versions come first: what is said is said under them.
    kinds = list(HistoryKind)
    return sorted(
        entries,
        key=lambda e: (e.at, kinds.index(e.kind), e.version or 0, str(e.party), e.number or 0),
    )


def _party(
    agreement: Agreement,
    standing: Standing,
    code: PartyCode,
    overdue: bool,  # noqa: FBT001 - worked out for all at once
    now: int,
) -> PartyStanding:
    newest, excluded = standing.newest(code), standing.exclusions.get(code)
    word: tuple[int | None, str] = (None, "")
    if excluded is not None:
        word = (excluded.issued_at, excluded.reason)
    elif newest is not None:
        word = (newest.since, newest.reason)
    return PartyStanding(
        party=code,
        state=standing.participation(code, now),
        since=None if word[0] is None else _time(word[0]),
        reason=word[1],
        number=None if newest is None else newest.number,
        fresh_until=_time(standing.fresh_until(agreement, code)),
        is_overdue=overdue,
    )


def _before(standing: Standing, statement: Statement) -> Statement | None:
    earlier: Sequence[Statement] = standing.statements.get(statement.party, ())
    found = [one for one in earlier if one.number < statement.number]
    return found[-1] if found else None


def _versions(versions: Iterable[Agreement], admitted: Mapping[int, int]) -> list[HistoryEntry]:
    entries, before = [], 0
    for one in sorted(versions, key=lambda text: text.version):
        # An amendment may say an old date again; it came into force after what it replaced.
        before = max(before, one.valid_from, admitted.get(one.version, 0))
        entries.append(_version(one, before))
    return entries


def _version(agreement: Agreement, at: int) -> HistoryEntry:
    return HistoryEntry(
        at=_time(at),
        kind=HistoryKind.VERSION,
        text=f"version {agreement.version} begins: {agreement.title}",
        version=agreement.version,
        until=_time(agreement.valid_until),
        signers=tuple(sorted(agreement.codes)),
        valid_from=_time(agreement.valid_from),
    )


def _statement(statement: Statement, before: Statement | None) -> HistoryEntry:
    state = Participation.ACTIVE if before is None else before.state
    words = lifecycle.in_words(statement.state)
    if state is statement.state:
        text = f"{statement.party} affirms that it {words}"
        # A renewal says the same again; when it was said is the news.
        at = statement.issued_at
    elif statement.state is Participation.ACTIVE:
        text, at = f"{statement.party} takes part again", statement.since
    else:
        text, at = f"{statement.party} {words}", statement.since
    return HistoryEntry(
        at=_time(at),
        kind=HistoryKind.STATEMENT,
        text=text,
        party=statement.party,
        number=statement.number,
        state=statement.state,
        reason=statement.reason,
        until=_time(statement.next_update),
    )


def _exclusion(exclusion: Exclusion) -> HistoryEntry:
    return HistoryEntry(
        at=_time(exclusion.issued_at),
        kind=HistoryKind.EXCLUSION,
        text=f"{exclusion.party} {lifecycle.in_words(Participation.EXCLUDED)}",
        party=exclusion.party,
        state=Participation.EXCLUDED,
        reason=exclusion.reason,
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
