"""What a registrar watches in the logs: everything about its party's keys, and who has done it.

A stolen root key makes certificates that everyone believes; it can't keep them out of the logs,
because members believe only what is there. So the registrar reads every entry of its agreements'
logs, recomputes their roots, and compares each entry about its party's keys with its own books. The
relay can't leave one out: the root would be another one, and an entry that it does not open is
told.

Whoever reads everything also sees what members can't: that a channel stands in the log twice, once
for each of those who are shown but one of the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Final

from liaison.errors import LiaisonError
from liaison.model import PartyCode
from liaison.policy.agreement import Agreement
from liaison.tlog import merkle
from liaison.tlog.entries import Entry
from liaison.tlog.errors import ForkError, QuorumError
from liaison.tlog.merkle import CompactRange
from liaison.tlog.tiles import Tile
from liaison.trust import log as trusted
from liaison.values import dataclass
from liaison.wire.log import LogQuery
from liaison.wire.problems import RemoteError
from liaison_sdk import log_checks, log_walking
from liaison_sdk.errors import ConnectionLostError
from liaison_sdk.http import RelayAPI
from liaison_sdk.log_channels import ChannelRuns
from liaison_sdk.log_checks import Proven, Seen
from liaison_sdk.registrar import comparing, watching_successors
from liaison_sdk.registrar.acts import AgreementActs
from liaison_sdk.registrar.comparing import KeyEvent
from liaison_sdk.registrar.office import RegistrarOffice
from liaison_sdk.registrar.state import OfficeState, WatchAlarm, WatchedLog

_NOT_FOUND: Final = 404
_MOST_ALARMS: Final = 1000


@dataclass(frozen=True, slots=True)
class Watched:
    """What watching one log came to.

    Args:
        agreement_id: whose log.
        size: entries that were read and compared, from the first.
        events: what is new about the party's keys and acts, in the log's order.
        problem: why the log could not be read on; empty where it was.
        alarms: all that nobody has accepted yet, the new ones too.
    """

    agreement_id: str
    size: int
    events: tuple[KeyEvent, ...] = ()
    problem: str = ""
    alarms: tuple[WatchAlarm, ...] = field(default=())


async def watch(
    office: RegistrarOffice, api: RelayAPI, acts: AgreementActs, *, now: int
) -> list[Watched]:
    """Read on in all logs of the party; see `RelayDesk.watch`."""
    listed = {summary.id for summary in await api.agreements()}
    books = await asyncio.to_thread(lambda: office.state)
    # A log that the relay does not list is watched all the same, where the office knows of it.
    signed = {name for name, since in books.agreements if since <= now}
    found = []
    for name in sorted(listed | signed | {log.agreement for log in books.watched}):
        try:
            agreement = await _in_force(acts, name, now)
        except ConnectionLostError:
            raise
        except LiaisonError as e:
            found.append(await _unserved(office, api, books.watch(name), e, now))
            continue
        if trusted.has_log(agreement):
            found.append(await _Watch(office, api, acts, agreement, now).run())
    return found


async def _in_force(acts: AgreementActs, agreement_id: str, now: int) -> Agreement:
    """Return the version whose log is to be read: the newest, but for a successor yet to begin."""
    agreement = await acts.agreement(agreement_id)
    while agreement.log.generation > 1 and agreement.valid_from > now:
        agreement = await acts.agreement(agreement_id, agreement.version - 1)
    return agreement


async def _unserved(
    office: RegistrarOffice, api: RelayAPI, known: WatchedLog, error: LiaisonError, now: int
) -> Watched:
    """Tell of an agreement that the relay does not serve.

    One that waits for others' signatures is no news. Of one that was never served it is told once:
    it may have been given up.
    """
    name = known.agreement
    is_new = not known.note and not known.alarms
    state = await asyncio.to_thread(lambda: office.state)
    if is_new and isinstance(error, RemoteError) and error.problem.status == _NOT_FOUND:
        if name in {one.id for one in await api.proposals()}:
            return Watched(name, 0)
        if any(log.agreement == name for log in state.watched):
            return Watched(name, 0)
        text = "this office has signed the agreement, and the relay does not have it"
        log = replace(known, alarms=(WatchAlarm(-1, text, now),))
        await asyncio.to_thread(office.store.change, lambda state: state.with_watched(log))
        return Watched(name, 0, alarms=log.alarms)
    return Watched(name, known.size, problem=error.message, alarms=known.alarms)


def accept(office: RegistrarOffice) -> int:
    """Take all alarms as looked into; return how many there were."""
    count = 0

    def step(state: OfficeState) -> OfficeState:
        nonlocal count
        count = sum(len(log.alarms) for log in state.watched)
        logs = tuple(replace(log, alarms=()) for log in state.watched)
        return replace(state, watched=logs)

    office.store.change(step)
    return count


@dataclass(frozen=True, slots=True)
class _Read:
    """What the relay has shown of a log beyond what was read before."""

    seen: Seen
    entries: Sequence[bytes]
    shown: Mapping[int, Proven]


class _Watch:
    """One look at one log."""

    def __init__(
        self,
        office: RegistrarOffice,
        api: RelayAPI,
        acts: AgreementActs,
        agreement: Agreement,
        now: int,
    ) -> None:
        self._office = office
        self._api = api
        self._acts = acts
        self._agreement = agreement
        self._now = now

    async def run(self) -> Watched:
        """Read on, compare, and remember."""
        name = self._agreement.agreement_id
        state = await asyncio.to_thread(lambda: self._office.state)
        known = watching_successors.current(self._agreement, state.watch(name), self._now)
        try:
            read = await self._read(known)
            after = await asyncio.to_thread(_extended, known, read)
        except (QuorumError, ConnectionLostError, RemoteError) as e:
            if isinstance(e, ConnectionLostError):
                raise
            return Watched(name, known.size, problem=e.message, alarms=known.alarms)
        except LiaisonError as e:
            new = _once(known, e.message, self._now)
            kept = await self._keep(replace(known, alarms=(*known.alarms, *new)[:_MOST_ALARMS]))
            return Watched(name, known.size, problem=e.message, alarms=kept.alarms)
        # The books may have grown while the relay was asked: what is in the log now was booked
        # first.
        state = await asyncio.to_thread(lambda: self._office.state)
        entries, unread = _decoded(known.size, read.entries, self._now)
        channels, twice = _followed(known, entries, self._now, self._agreement.log.generation)
        begun = watching_successors.check_first(self._agreement, known, read.shown, self._now)
        events, about, said = comparing.compare(
            state, self._office.party.code, known, entries, read.shown, self._now
        )
        lacking, listed = comparing.compare_lists(state, known, events, self._now)
        lacking += _old(self._agreement, self._office.party.code, known, read.seen, self._now)
        if lacking and await self._has_left():
            # To who has left the relay shows the log that there was until then.
            lacking = []
        alarms = (*known.alarms, *begun, *lacking, *unread, *twice, *about)[:_MOST_ALARMS]
        kept = await self._keep(
            replace(after, alarms=alarms, channels=channels, said=said, listed=listed)
        )
        return Watched(name, kept.size, tuple(events), alarms=kept.alarms)

    async def _has_left(self) -> bool:
        standing = await self._acts.known(self._agreement.agreement_id, [self._agreement])
        return self._office.party.code in standing.left(self._agreement, self._now)

    async def _keep(self, log: WatchedLog) -> WatchedLog:
        await asyncio.to_thread(self._office.store.change, lambda state: state.with_watched(log))
        return log

    async def _read(self, known: WatchedLog) -> _Read:
        name, party = self._agreement.agreement_id, self._office.party.code
        seen = log_checks.read_seen(known.note) if known.note else None
        shown: dict[int, Proven] = {}
        first = known.size
        while True:
            size = 0 if seen is None else seen.checkpoint.size
            generation = self._agreement.log.generation
            query = LogQuery(size=size, generation=generation, keys_after=first)
            answer = await self._api.log(name, query)
            answered = await asyncio.to_thread(
                log_checks.verify, [self._agreement], party, seen, answer
            )
            seen = answered.seen
            shown |= {one.index: one for one in answered.entries}
            reached = max((one.index + 1 for one in answered.entries), default=0)
            if not answer.more or reached <= first:
                break
            first = reached
        entries = await log_walking.entries(known.size, seen.checkpoint.size, self._fetch)
        return _Read(seen, entries, shown)

    async def _fetch(self, tile: Tile) -> bytes:
        generation = self._agreement.log.generation
        path = tile.path if generation == 1 else f"{generation}/{tile.path}"
        return await self._api.log_tile(self._agreement.agreement_id, path)


def _extended(known: WatchedLog, read: _Read) -> WatchedLog:
    """Check that the entries are all that the log has.

    Raises:
        ForkError: they are not.
    """
    before = CompactRange(known.size, known.hashes)
    after = before.extend(merkle.hash_leaves(read.entries))
    checkpoint = read.seen.checkpoint
    if after.size != checkpoint.size or after.root != checkpoint.root:
        raise ForkError(
            f"the entries that the relay gives are not those of its log of {checkpoint.size}"
        )
    return replace(known, size=after.size, hashes=tuple(after.hashes), note=read.seen.note)


def _once(known: WatchedLog, text: str, now: int) -> list[WatchAlarm]:
    """Tell what is wrong with a whole log; once is enough of what is wrong each time."""
    told = any(one.index == -1 and one.text == text for one in known.alarms)
    return [] if told else [WatchAlarm(-1, text, now)]


def _old(
    agreement: Agreement, party: PartyCode, known: WatchedLog, seen: Seen, now: int
) -> list[WatchAlarm]:
    """Tell of a checkpoint that is old: the relay may show others more, and this office no more."""
    cosigned = log_checks.cosigned_at(agreement, party, seen, now)
    if not log_checks.is_old(agreement, cosigned, now):
        return []
    return _once(known, log_checks.old_text(cosigned), now)


def _decoded(
    first: int, data: Sequence[bytes], now: int
) -> tuple[list[tuple[int, Entry]], list[WatchAlarm]]:
    entries, alarms = [], []
    for index, each in enumerate(data, first):
        try:
            entries.append((index, Entry.decode(each)))
        except LiaisonError as e:
            # Signed all the same: it must not keep the registrar from what comes after it.
            alarms.append(WatchAlarm(index, e.message, now))
    return entries, alarms


def _followed(
    known: WatchedLog, entries: Sequence[tuple[int, Entry]], now: int, generation: int
) -> tuple[tuple[tuple[bytes, int, int], ...], list[WatchAlarm]]:
    """Follow every channel: whoever is shown a part of the log can't see that a place stands twice."""
    runs, alarms = ChannelRuns(known.channels, generation=generation, goes_on=True), []
    for index, entry in entries:
        error = runs.take(entry)
        if error is not None and entry.channel is not None:
            text = f"channel {entry.channel.hex()[:8]}: {error.message}"
            alarms.append(WatchAlarm(index, text, now))
    return runs.followed, alarms
