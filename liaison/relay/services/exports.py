"""Exports: that a part of a log was handed to somebody, told to the parties it concerns."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Self

from liaison.model import PartyCode
from liaison.relay.services.book import Book
from liaison.relay.services.entries import administration as entries
from liaison.relay.services.errors import ForeignPartyError, UnknownAgreementError
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage.engine import Database
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Export:
    """What was exported.

    Args:
        agreement: whose log.
        party: for whom; what that party may see is open in it.
        first: index of the first entry, and `last` that of the last one.
        filters: what limits it, such as `from 2026-11-01T00:00:00Z`.
        count: entries of which something is open.
        digest: of the bundle's manifest, 32 bytes.
    """

    agreement: str
    party: PartyCode
    first: int
    last: int
    filters: tuple[str, ...]
    count: int
    digest: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it goes over the admin socket."""
        return {**asdict(self), "party": str(self.party), "digest": self.digest.hex()}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Read `to_json`'s form.

        Raises:
            ValueError, KeyError, TypeError, IdentifierError: not one.
        """
        digest = bytes.fromhex(body["digest"])
        party, filters = PartyCode.parse(body["party"]), tuple(map(str, body["filters"]))
        first, last, count = (int(body[name]) for name in ("first", "last", "count"))
        return cls(str(body["agreement"]), party, first, last, filters, count, digest)


@dataclass(frozen=True)
class Exports:
    """Tells of exports."""

    database: Database
    writer: Writer
    book: Book

    async def tell(self, export: Export) -> None:
        """Tell of an export before the bundle is let out of hand.

        Raises:
            UnknownAgreementError: the relay has no such agreement.
            ForeignPartyError: the party was never in it.
            LogRefusedError: the log takes nothing: the bundle must not be handed out.
        """
        async with self.database.read() as tx:
            life = await self.book.life(tx, export.agreement)
        if life.newest is None:
            raise UnknownAgreementError(f"the relay has no agreement {export.agreement[:80]!r}")
        if life.naming(export.party) is None:
            raise ForeignPartyError(f"{export.party} was never in {export.agreement}")
        await self.writer.submit(_Tell(export))


@dataclass
class _Tell(Operation[None]):
    export: Export

    async def apply(self, work: Work) -> None:
        one, party = self.export, str(self.export.party)
        work.record(
            entries.exported(
                one.agreement,
                party,
                first=one.first,
                last=one.last,
                filters=one.filters,
                count=one.count,
                digest=one.digest,
            ),
            *entries.done("export", one.agreement, one.digest, party),
        )
