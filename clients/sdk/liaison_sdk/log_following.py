"""Follows the agreements' logs in the background: what the relay did is what it says it did.

After something that has to show in a log (an accepted message, a commit, a new member) the relay is
asked, a moment later and then ever more slowly until it shows. What the answer proves is kept:
messages become logged, epochs confirmed, certificates known. What it contradicts is an alarm, kept
with the evidence. No message waits for any of this; only whose certificates are in no log is kept
out (`log_credentials`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison.wire.problems import RemoteError
from liaison_sdk import log_credentials, refreshing
from liaison_sdk.environment import DEFAULT_OPTIONS, Environment
from liaison_sdk.errors import ConnectionLostError, RelayBrokenError
from liaison_sdk.store import Transaction, channels

if TYPE_CHECKING:
    from liaison.policy.agreement import Agreement
    from liaison.wire.log import LogAnswer
    from liaison_sdk.log_asking import Outcome, Plan, Wanted

_IDLE: Final = 300.0
"""Seconds between looks while nothing is missing: commits that nobody delivered show then."""
_MOST_ANSWERS: Final = 256
"""To one look; the rest is for the next."""
_ASKS: Final = 4
"""For a certificate before a whole log's silence counts: the next checkpoint takes a moment."""
_UNAUTHORIZED: Final = 401
_JUMP: Final = 5
"""Seconds by which the clock and the loop's can come to differ between two looks, if nobody sets it."""
_GAP_PAUSES: Final = 80
"""So many pauses after it was noticed, a gap is no new stay's any more; see `log_gaps`.

Longer than a connection can be dead unnoticed: an invitation does not come until then, and a process
takes itself for one that has all.
"""


@dataclass(slots=True)
class _Tried:
    """What was wanted the last time, and when it is to be asked for again."""

    wanted: Wanted
    pause: float
    at: float


class LogFollower:
    """Asks the logs of all agreements.

    Args:
        environment: what it belongs to.
    """

    def __init__(self, environment: Environment) -> None:
        self._env: Final = environment
        self.had_all: Callable[[], float] = lambda: -math.inf
        """When this process last had all that waited at the relay; see `Connection.had_all`."""
        self._locks: dict[str, asyncio.Lock] = {}
        self._tried: dict[str, _Tried] = {}
        self._noticed: dict[ChannelId, float] = {}
        """When this process saw first that the log leaves something out, on the loop's clock."""
        self._ahead: float | None = None
        self._set_at = -math.inf

    async def run(self) -> None:
        """Follow for ever.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        options = self._env.options
        # Most commands are over before anything has to be asked.
        await options.sleep(options.log_pause)
        while True:
            change = self._env.changes.next()
            await self._look()
            now = self._env.loop.time()
            due = min((tried.at for tried in self._tried.values()), default=now + _IDLE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(max(due, now)):
                    await change.wait()
            # What comes together is asked for together.
            await options.sleep(options.log_pause)

    async def follow(
        self, agreement_id: str, asked: Mapping[bytes, str] | None = None, *, final: bool = False
    ) -> None:
        """Ask an agreement's log for all that it has to show.

        Args:
            agreement_id: whose log.
            asked: certificates to ask for, with their devices' names.
            final: see `log_credentials.note`.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        async with self._locks.setdefault(agreement_id, asyncio.Lock()):
            await self._follow(agreement_id, dict(asked or {}), final=final)

    async def follow_all(self) -> None:
        """Ask the logs of all agreements, whether something is missing or not.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        await self._look(whole=True)

    async def read_all(self) -> None:
        """Read all logs entry by entry, from the beginning to the end.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        from liaison_sdk import log_asking, log_walking  # noqa: PLC0415 - as in `_look`

        env, most = self._env, max(self._env.options.log_walk, DEFAULT_OPTIONS.log_walk)
        for agreement in await env.read(lambda tx: log_asking.agreements(env, tx)):
            name = agreement.agreement_id
            await env.write(lambda tx, n=name: log_walking.restart(tx, n))  # type: ignore[misc]  # a default argument binds the loop's value
            while await self._walk(name, most, whole=True):
                pass

    async def require_group(self, channel: ChannelId) -> None:
        """Ask for the certificates of a channel's members.

        Raises:
            CredentialUnloggedError: one is not in the log.
            ConnectionLostError: the relay can't be reached.
        """
        env = self._env

        def check(tx: Transaction) -> tuple[Agreement, dict[bytes, str]] | None:
            record = channels.load(tx, channel)
            if record is None or not record.state.is_open:
                return None
            agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
            return agreement, log_credentials.check_group(env, tx, record, agreement)

        await self._require(check)

    async def require(self, agreement: Agreement, wanted: Mapping[bytes, str]) -> None:
        """Ask for certificates; what the log says of them is in the store then.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """

        def check(tx: Transaction) -> tuple[Agreement, dict[bytes, str]]:
            return agreement, log_credentials.check(self._env, tx, agreement, wanted)

        with contextlib.suppress(log_credentials.CredentialUnloggedError):
            await self._require(check)

    async def _require(
        self, check: Callable[[Transaction], tuple[Agreement, dict[bytes, str]] | None]
    ) -> None:
        for attempt in range(_ASKS):
            found = await self._env.read(check)
            if found is None or not found[1]:
                return
            agreement, unknown = found
            final = attempt == _ASKS - 1
            await self.follow(agreement.agreement_id, unknown, final=final)
            if not final and (again := await self._env.read(check)) is not None and again[1]:
                await self._env.options.sleep(self._env.options.log_pause * 2**attempt)
        await self._env.read(check)

    # --- one look -----------------------------------------------------------------------

    async def _look(self, *, whole: bool = False) -> None:
        """Ask whatever has something to show, where its time has come.

        Args:
            whole: ask all, due or not; and see `log_walking.walk`.
        """
        # Loaded when something is asked: that takes longer than most commands do.
        from liaison_sdk import log_asking  # noqa: PLC0415 - as said

        env = self._env
        for agreement in await env.read(lambda tx: log_asking.agreements(env, tx)):
            name = agreement.agreement_id
            before = await env.read(lambda tx, a=agreement: log_asking.wanted(env, tx, a))  # type: ignore[misc]  # a default argument binds the loop's value
            # Whoever asks for all gets an answer of now, and not the one that the background just
            # had.
            if whole or self._is_due(name, before):
                await self.follow(name, dict(before.unknown))
                await self._after(agreement)
                await self._walk(name, env.options.log_walk, whole=whole)
                after = await env.read(lambda tx, a=agreement: log_asking.wanted(env, tx, a))  # type: ignore[misc]  # a default argument binds the loop's value
                self._note(name, before, after)

    def _is_due(self, name: str, wanted: Wanted) -> bool:
        tried = self._tried.get(name)
        return tried is None or tried.wanted != wanted or tried.at <= self._env.loop.time()

    def _note(self, name: str, before: Wanted, after: Wanted) -> None:
        options, tried = self._env.options, self._tried.get(name)
        if not after:
            pause = _IDLE
        elif tried is None or after != before or tried.pause > options.log_poll:
            pause = options.log_pause
        else:
            pause = min(tried.pause * 2, options.log_poll)
        self._tried[name] = _Tried(after, pause, self._env.loop.time() + pause)

    async def _after(self, agreement: Agreement) -> None:
        from liaison_sdk import log_gaps, log_keeping  # noqa: PLC0415 - as in `_look`

        env = self._env
        had_all = self.had_all()
        # What waits since before the clock was set may have come into the log a moment ago.
        is_due = had_all >= self._clock_set_at() + _GAP_PAUSES * env.options.log_pause
        ago = env.loop.time() - had_all if is_due else math.inf

        def report(tx: Transaction) -> bool:
            settled = log_keeping.compare_pending(env, tx, agreement)
            late = log_keeping.report_late(env, tx, agreement)
            withheld = ago < math.inf and log_keeping.report_withheld(env, tx, agreement, ago)
            log_gaps.forget_left(tx, agreement.agreement_id)
            return settled or late or withheld

        # Mostly there is nothing, which nobody needs to be woken for.
        if await env.store.write(report):
            env.changes.notify()

    async def _walk(self, name: str, most: int, *, whole: bool) -> bool:
        from liaison_sdk import log_walking  # noqa: PLC0415 - as in `_look`

        async with self._locks.setdefault(name, asyncio.Lock()):
            return await log_walking.walk(self._env, name, most, whole=whole)

    async def _follow(self, name: str, asked: dict[bytes, str], *, final: bool) -> None:
        from liaison.wire.log import MAX_CHANNELS  # noqa: PLC0415 - as in `_look`
        from liaison_sdk import log_asking  # noqa: PLC0415 - as in `_look`

        def look(tx: Transaction) -> tuple[list[ChannelId], list[ChannelId]]:
            followed = log_asking.followed_channels(tx, name)
            past = log_asking.past(tx, followed)
            return [one.channel for one in followed], [one.channel for one in past]

        places, earlier = await self._env.read(look)
        while True:
            some, places = places[:MAX_CHANNELS], places[MAX_CHANNELS:]
            asked = await self._ask(name, some, asked, final=final)
            if not places and not asked:
                break
        for channel in earlier:
            await self._ask_past(name, channel)

    async def _ask(
        self, name: str, some: list[ChannelId], asked: dict[bytes, str], *, final: bool
    ) -> dict[bytes, str]:
        """Ask until all is shown; return the certificates that there was no room for."""
        from liaison_sdk import log_asking  # noqa: PLC0415 - as in `_look`

        env = self._env
        for _ in range(_MOST_ANSWERS):
            found = await self._question(
                name,
                lambda tx, s=some, q=asked: log_asking.plan(env, tx, name, s, q),  # type: ignore[misc]  # default arguments bind the loop's values
                final=final,
            )
            if found is None:
                return {}
            plan, _, answer = found
            asked = {d: n for d, n in asked.items() if d not in plan.asked}
            if not (answer.more or asked):
                return {}
            if not answer.more:
                some = []
        return asked

    async def _ask_past(self, name: str, channel: ChannelId) -> None:
        """Ask for what came in earlier stays of a channel and was not compared by their end."""
        from liaison_sdk import log_asking  # noqa: PLC0415 - as in `_look`

        env, after = self._env, 0
        for _ in range(_MOST_ANSWERS):
            found = await self._question(
                name,
                lambda tx, a=after: log_asking.plan_past(env, tx, channel, after=a),  # type: ignore[misc]  # a default argument binds the loop's value
                final=False,
            )
            if found is None or not found[1].past:
                return
            after = found[1].past[-1].seq

    async def _question(
        self, name: str, planned: Callable[[Transaction], Plan | None], *, final: bool
    ) -> tuple[Plan, Outcome, LogAnswer] | None:
        """Put a question, and keep what its answer shows; None where nothing is proven, or asked."""
        from liaison_sdk import log_asking, log_successors  # noqa: PLC0415 - as in `_look`

        env, party, refreshed = self._env, self._env.account.device.party, False
        for _ in range(_MOST_ANSWERS):
            # Which log it is may change with a version that comes in on the way.
            if await env.read(lambda tx: log_successors.is_due(env, tx, name)):
                await env.write(lambda tx: log_successors.adopt(env, tx, name))
            plan = await env.read(planned)
            if plan is None:
                return None
            try:
                answer = await env.api.log(name, plan.query)
            except (RemoteError, RelayBrokenError) as e:
                if isinstance(e, RemoteError) and e.problem.status == _UNAUTHORIZED:
                    raise ConnectionLostError(e.message) from e
                nothing = log_asking.Outcome(problem=e.message)
                await self._keep(plan, nothing, None, final=final)
                return None
            outcome = await asyncio.to_thread(log_asking.judge, plan, party, answer)
            if outcome.answered is None and not refreshed:
                # Its keys may have changed with a version that is not here yet.
                refreshed = True
                if await self._refreshed(name):
                    continue
            if outcome.answered is None and await env.read(
                lambda tx: log_successors.is_due(env, tx, name)
            ):
                # The version came in by another way: the question was put to a log that has ended.
                continue
            await self._keep(plan, outcome, answer, final=final)
            return None if outcome.answered is None else (plan, outcome, answer)
        return None

    async def _keep(
        self, plan: Plan, outcome: Outcome, answer: LogAnswer | None, *, final: bool
    ) -> None:
        from liaison_sdk import log_keeping  # noqa: PLC0415 - as in `_look`
        from liaison_sdk.log_gaps import Patience  # noqa: PLC0415 - as in `_look`

        env, wait = self._env, _GAP_PAUSES * self._env.options.log_pause
        # Before the transaction: all that had been taken by now is seen in it.
        patience = Patience(
            wait, self.had_all(), env.loop.time(), self._clock_set_at(), self._noticed
        )
        await env.write(
            lambda tx: log_keeping.keep(
                env, tx, plan, outcome, answer, final=final, patience=patience
            )
        )

    def _clock_set_at(self) -> float:
        """Return when the clock was set, or the machine slept, last, on the loop's clock.

        Minus infinity where it never was, as far as was noticed here: called at each look.
        """
        at = self._env.loop.time()
        ahead = self._env.now - at
        if self._ahead is not None and abs(ahead - self._ahead) > _JUMP:
            self._set_at = at
        self._ahead = ahead
        return self._set_at

    async def _refreshed(self, name: str) -> bool:
        try:
            return await refreshing.refresh(self._env, name)
        except ConnectionLostError:
            raise
        except LiaisonError:
            # Nothing newer is to be had now; what is known counts.
            return False
