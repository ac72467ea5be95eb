"""Puts the services together; each gets what it needs and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from liaison.crypto.signing import SignatureScheme, Signer
from liaison.fanout import Bus
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay.services import log_successors
from liaison.relay.services.accepting import Appends
from liaison.relay.services.agreements import Agreements
from liaison.relay.services.blobs import Blobs
from liaison.relay.services.book import Book
from liaison.relay.services.calendar import Calendar
from liaison.relay.services.channels import Channels
from liaison.relay.services.deliveries import Deliveries
from liaison.relay.services.delivery import Delivery
from liaison.relay.services.enrolment import Enrolment
from liaison.relay.services.errors import UnknownLogError
from liaison.relay.services.exports import Exports
from liaison.relay.services.facts import FactFinder
from liaison.relay.services.fullness import Fullness
from liaison.relay.services.handshakes import Tools
from liaison.relay.services.holds import Holds
from liaison.relay.services.judging import JUDGE, Judge
from liaison.relay.services.key_packages import KeyPackages
from liaison.relay.services.limits import Limits
from liaison.relay.services.log_reading import LogReading, Tiles
from liaison.relay.services.messages import Messages
from liaison.relay.services.participation import Participations
from liaison.relay.services.proposals import Proposals
from liaison.relay.services.refusals import Refusals
from liaison.relay.services.registry import Registry
from liaison.relay.services.removals import Removals
from liaison.relay.services.reports import Reports
from liaison.relay.services.retention import Retention
from liaison.relay.services.revocation import Revocation
from liaison.relay.services.root_log import RootLog
from liaison.relay.services.sequence import Sequencer
from liaison.relay.services.states import States
from liaison.relay.services.tail import Tail
from liaison.relay.writer import Writer
from liaison.storage.engine import Database
from liaison.values import dataclass


@dataclass(frozen=True)
class Services:
    """All services of one relay."""

    registry: Registry
    enrolment: Enrolment
    revocation: Revocation
    agreements: Agreements
    proposals: Proposals
    participation: Participations
    calendar: Calendar
    key_packages: KeyPackages
    channels: Channels
    messages: Messages
    delivery: Delivery
    blobs: Blobs
    fullness: Fullness
    retention: Retention
    removals: Removals
    refusals: Refusals
    deliveries: Deliveries
    log_reading: LogReading
    root_log: RootLog
    holds: Holds
    exports: Exports

    @classmethod
    def build(  # noqa: PLR0913 - everything that services need comes through here
        cls,
        *,
        database: Database,
        writer: Writer,
        bus: Bus,
        clock: Callable[[], int],
        identity: RelayIdentity,
        senders: Mapping[SignatureScheme, Signer],
        limits: Limits | None = None,
        judge: Judge = JUDGE,
        files: Callable[[str], Tiles] | None = None,
        log_signer: Signer | None = None,
        successors: log_successors.Check = log_successors.no_check,
    ) -> Services:
        """Make the services of a relay.

        Args:
            clock: Unix milliseconds.
            identity: the relay's public identity; agreements must name it.
            senders: the private halves of `identity.sender_keys`.
            judge: tests put another one here; what serves has the agreement's.
            files: gives the files of a log by its origin; tests that read none leave it out.
            log_signer: the relay's log key; tests that look at no signed report leave it out.
            successors: see `log_successors.Check`; tests that publish nothing leave it out.
        """
        limits = limits or Limits()
        book, tail = Book(), Tail(limits.tail_bytes)
        sequencer, states = Sequencer(bus, tail), States(database, book)
        fullness = Fullness(database, limits, clock)
        tools = Tools(sequencer, states)
        reports = Reports(identity.origin, log_signer or senders[SignatureScheme.ED25519])
        refusals = Refusals(writer, book, clock)
        removals = Removals(database, writer, book, states, tools, senders, clock)
        return cls(
            registry=Registry(database, writer, book, clock),
            enrolment=Enrolment(database, writer, book, clock, limits),
            revocation=Revocation(database, writer, book, bus, removals, clock),
            agreements=Agreements(
                database, writer, book, bus, removals, clock, identity, successors
            ),
            proposals=Proposals(
                database, writer, book, bus, removals, clock, identity, limits, successors
            ),
            participation=Participations(database, writer, book, bus, removals, clock, limits),
            calendar=Calendar(database, writer, book, bus, removals, clock),
            key_packages=KeyPackages(database, writer, book, bus, clock, limits),
            channels=Channels(
                database,
                writer,
                book,
                states,
                tools,
                removals,
                identity,
                clock,
                limits,
                judge,
                refusals,
            ),
            messages=Messages(
                database,
                writer,
                book,
                clock,
                Appends(sequencer, FactFinder(book, clock), judge, fullness),
                refusals,
            ),
            delivery=Delivery(database, writer, bus, tail, clock),
            blobs=Blobs(database, writer, book, clock, limits, refusals),
            fullness=fullness,
            retention=Retention(database, writer, book, tail, fullness, clock, limits, reports),
            removals=removals,
            refusals=refusals,
            deliveries=Deliveries(database, writer, book),
            log_reading=LogReading(database, book, clock, files or _no_files),
            root_log=RootLog(writer, clock),
            holds=Holds(database, writer, book, clock),
            exports=Exports(database, writer, book),
        )

    async def resume(self) -> int | None:
        """Take up what was under way when this node or another stopped, or what failed.

        Returns:
            The next Unix second at which something will be due, if that is known.
        """
        following = await self.calendar.keep()
        await self.removals.resume()
        return following


def _no_files(origin: str) -> Tiles:
    raise UnknownLogError(f"nothing of {origin} was published")
