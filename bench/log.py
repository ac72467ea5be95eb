"""Speed of the relay's log: `make bench`, or `python -m bench.log`.

Messages that a member has really encrypted are accepted by the relay's services on SQLite, as they are
in a relay that serves; there are no sockets. First as many as can be, by turns without a log, with
one, and with one that is published to two witnesses while it grows: the ratios are the figures that
mean the same on every machine. Then 2,000 a second, and for each message the time from when it was handed
in until a quorum has cosigned its entry. Witnesses, database and relay share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import uvloop

from bench.mls import RESULTS, Figure
from liaison.crypto.signing import SigningKey
from liaison.model import MessageId
from liaison.relay import interpreter
from liaison.relay.publishing import Publisher
from liaison.relay.recording import origin_of
from liaison.relay.services import accepting
from liaison.relay.writer import MAX_WAITING, Writer
from liaison.storage import logs, migrate
from liaison.storage.engine import Database
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.note import Note
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.wire import frames
from tests.relay.services.harness import Actor, Relay
from tests.support import witness
from tests.support.logrig import Policies, new_signer, policy_of

MESSAGES: Final = 2_048
"""Accepted in one round."""
WINDOW: Final = 1_024
"""That wait for their acknowledgement at once."""
RATE: Final = 2_000
"""Messages a second that are handed in while latency is measured."""
TICK: Final = 0.005
TEXT: Final = b"x" * 900
"""With framing, header and tag it makes a ciphertext of about a kibibyte."""
_numbers = itertools.count(1 << 64)


@dataclass
class Timed(Publisher):
    """Notes when which size was cosigned."""

    cosigned: list[tuple[float, int]] = field(default_factory=list)

    async def _keep_cosigned(self, held: object, checkpoint: Checkpoint, note: Note) -> None:
        await super()._keep_cosigned(held, checkpoint, note)  # type: ignore[arg-type]
        self.cosigned.append((time.perf_counter(), checkpoint.size))


@dataclass
class Stage:
    """A relay and those who send."""

    relay: Relay
    senders: Sequence[tuple[Actor, frames.Send, int]]
    agreement: str

    def make(self, count: int) -> Iterator[tuple[Actor, frames.Send]]:
        """Give so many messages, of all senders in turn."""
        for (actor, template, at), _ in zip(
            itertools.cycle(self.senders), range(count), strict=False
        ):
            name = next(_numbers).to_bytes(16)
            payload = template.payload[:at] + name + template.payload[at + 16 :]
            yield actor, replace(template, message_id=MessageId(name), payload=payload)


async def stage(folder: Path, *, recorded: bool) -> Stage:
    """Make a relay with four devices in one channel, on a database of its own."""
    await asyncio.to_thread(folder.mkdir)
    url = f"sqlite:///{folder / 'relay.db'}"
    await asyncio.to_thread(migrate.upgrade, url)
    relay = Relay(Database.open(url))
    if not recorded:
        relay.writer = Writer(relay.database)
    relay.services = relay.build()
    await relay.writer.start()
    agreement = await relay.admit("NOR", "DEU")
    names = ["nor/a#1", "nor/b#1", "deu/a#1", "deu/b#1"]
    first, *others = [await relay.enrol(name) for name in names]
    await first.open(agreement, *others)
    senders = []
    for actor in (first, *others):
        send = actor.message(TEXT)
        senders.append((actor, send, send.payload.index(send.message_id.value)))
    return Stage(relay, senders, agreement.agreement_id)


@asynccontextmanager
async def publishing(found: Stage, folder: Path, signer: SigningKey) -> AsyncIterator[Timed]:
    """Publish the relay's log to two witnesses until the block ends."""
    origin = origin_of("relay.example", found.agreement)
    key = VerifierKey.of(origin, SignatureType.ED25519, signer)
    both = [witness.new(f"w{n}.example", [key], folder=folder) for n in (1, 2)]
    async with AsyncExitStack() as stack:
        for each in both:
            await stack.enter_async_context(witness.running(each))
        policy = policy_of([(each.name, each.key.public) for each in both], 2)
        publisher = Timed(
            database=found.relay.database,
            writer=found.relay.writer,
            recorder=found.relay.recorder,
            root=folder / "log",
            signer=signer,
            policies=Policies(policy).find,
            urls={each.name: each.url for each in both},
            clock=found.relay.clock,
        )
        await publisher.open()
        running = asyncio.create_task(publisher.run())
        try:
            yield publisher
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await publisher.close()
            found.relay.recorder.listeners.clear()


async def accept_all(found: Stage, count: int) -> tuple[float, float]:
    """Have messages accepted as fast as can be; return how many a second, and the CPU µs of each."""
    waiting = list(found.make(count))
    source = iter(waiting)

    async def send() -> None:
        for actor, one in source:
            await found.relay.services.messages.accept(actor.caller, one)

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(send() for _ in range(WINDOW)))
    used = time.process_time() - used
    return count / (time.perf_counter() - began), 1e6 * used / count


async def rates(folder: Path, rounds: int, count: int) -> Iterator[Figure]:
    """Measure the message rate without a log, with one, and with one that is published."""
    with_draft = accepting._draft  # noqa: SLF001 - what a message tells the log costs time too
    bare = await stage(folder / "bare", recorded=False)
    logged = await stage(folder / "logged", recorded=True)
    shown = await stage(folder / "shown", recorded=True)
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "logged": [], "shown": []}
    gc.collect()
    interpreter.settle()
    async with publishing(shown, folder / "shown", new_signer()) as publisher:
        for _ in range(rounds + 1):
            accepting._draft = lambda *_: None  # type: ignore[assignment] # noqa: SLF001
            found["bare"].append(await accept_all(bare, count))
            accepting._draft = with_draft  # noqa: SLF001
            found["logged"].append(await accept_all(logged, count))
            found["shown"].append(await accept_all(shown, count))
            await until_cosigned(shown, publisher)
    for each in (bare, logged, shown):
        await each.relay.writer.stop()
        await each.relay.database.close()
    # The first round warms up. The quickest counts: what else the machine does only slows one down.
    without, logged_, shown_ = (values[1:] for values in found.values())
    cost, cpu = _costs(without, logged_)
    cost_all, cpu_all = _costs(without, shown_)
    return iter(
        [
            Figure("messages accepted without a log", _rate(without), "/s"),
            Figure("messages accepted and recorded", _rate(logged_), "/s"),
            Figure("  what recording costs", cost, "%", 25, least=False),
            Figure("  in CPU time of a message", cpu, "us"),
            Figure("the same, published and cosigned", _rate(shown_), "/s"),
            Figure("  what all of the log costs", cost_all, "%"),
            Figure("  in CPU time, two witnesses' too", cpu_all, "us"),
        ]
    )


def _rate(rounds: Sequence[tuple[float, float]]) -> float:
    return max(rate for rate, _ in rounds)


def _costs(
    without: Sequence[tuple[float, float]], with_log: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Return the part of the rate that is lost, in percent, and the CPU time that comes on top."""
    lost = 100 * (1 - _rate(with_log) / _rate(without))
    return lost, min(cpu for _, cpu in with_log) - min(cpu for _, cpu in without)


async def until_cosigned(found: Stage, publisher: Timed) -> None:
    """Wait until all that was recorded is cosigned."""
    held = publisher.held(found.agreement)
    while held is None or not publisher.cosigned or publisher.cosigned[-1][1] < await size(found):
        await asyncio.sleep(TICK)
        held = publisher.held(found.agreement)


async def size(found: Stage) -> int:
    """Return how many entries the agreement's log has."""
    async with found.relay.database.read() as tx:
        row = await logs.find(tx, found.agreement)
    assert row is not None
    return row.size


async def latency(folder: Path, seconds: float) -> Iterator[Figure]:
    """Measure how long it takes until a message's entry is cosigned, at a steady rate."""
    found = await stage(folder / "steady", recorded=True)
    gc.collect()
    interpreter.settle()
    async with publishing(found, folder / "steady", new_signer()) as publisher:
        await accept_all(found, RATE)
        await until_cosigned(found, publisher)
        before = await size(found)
        publisher.cosigned.clear()
        handed, durable = await steadily(found, int(RATE * seconds))
        await until_cosigned(found, publisher)
        after = await size(found)
    await found.relay.writer.stop()
    await found.relay.database.close()
    assert after - before == len(handed)
    # Entries stand in the order in which messages were handed in: all are equally urgent.
    events = iter(publisher.cosigned)
    at, upto = next(events)
    waits = []
    for number, began in enumerate(handed, before + 1):
        while upto < number:
            at, upto = next(events)
        waits.append(1000 * (at - began))
    accepted = sorted(1000 * (b - a) for a, b in zip(handed, durable, strict=True))
    waits.sort()
    steady = f"at {RATE:,} messages/s"
    return iter(
        [
            Figure(f"handed in to acknowledged, median {steady}", _at(accepted, 50), "ms"),
            Figure("  99 of 100", _at(accepted, 99), "ms"),
            Figure(f"handed in to cosigned, median {steady}", _at(waits, 50), "ms"),
            Figure("  99 of 100", _at(waits, 99), "ms", 300, least=False),
            Figure("  checkpoints a second", len(publisher.cosigned) / seconds, "/s"),
        ]
    )


async def steadily(found: Stage, count: int) -> tuple[list[float], list[float]]:
    """Hand in messages at the steady rate; return when each was, and when it was acknowledged."""
    source = found.make(count)
    handed: list[float] = []
    durable = [0.0] * count
    tasks = []
    room = asyncio.Semaphore(MAX_WAITING // 2)

    async def send(number: int, actor: Actor, one: frames.Send) -> None:
        # A machine that can't keep up would turn messages away; here they wait, and their time goes on.
        async with room:
            await found.relay.services.messages.accept(actor.caller, one)
        durable[number] = time.perf_counter()

    began = time.perf_counter()
    while len(handed) < count:
        due = min(count, int((time.perf_counter() - began) * RATE) + 1)
        while len(handed) < due:
            actor, one = next(source)
            tasks.append(asyncio.create_task(send(len(handed), actor, one)))
            handed.append(time.perf_counter())
        await asyncio.sleep(TICK)
    await asyncio.gather(*tasks)
    return handed, durable


def _at(values: Sequence[float], percent: int) -> float:
    return values[min(len(values) - 1, len(values) * percent // 100)]


async def measure(rounds: int, count: int, seconds: float) -> list[Figure]:
    """Measure everything."""
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        return [*await rates(Path(name), rounds, count), *await latency(Path(name), seconds)]


def main(arguments: list[str]) -> int:
    """Measure, print, keep the figures in bench/results; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.log", description="Measure the relay's log.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the rates (15)")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="in a round")
    parser.add_argument("--seconds", type=float, default=10, help="of the steady rate (10)")
    given = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(given.rounds, given.messages, given.seconds))
    for figure in figures:
        print(figure)
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in figures]
    (RESULTS / "log.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
