"""Speed of bundles, and ten thousand changes to one: `make bench`, or `python -m bench.bundle`.

First a relay's log of messages is exported as `liaison-relay audit export` does it, with the reading of
the database (SQLite), all opened and with events. Then two bundles are written and checked: one of a log of which nothing is opened, without events, and
a smaller one of which everything is opened, with events. `verify.py` runs as a program of its own,
and its CPU time and its peak of memory are the operating system's figures. There the entries' random
parts are drawn outside of what is measured: a relay has them in its database.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from bench.mls import RESULTS, Figure
from liaison.audit.bundle import BundleWriter, Shown, verifier
from liaison.audit.verify import verify
from liaison.model import ChannelId, Epoch, PartyCode, Seq
from liaison.policy.agreement import Agreement
from liaison.relay import exporting
from liaison.relay.exporting import Wanted
from liaison.relay.publishing import Publisher
from liaison.relay.recording import Draft
from liaison.relay.services.entries.channel import policy_of
from liaison.relay.services.log_grace import LogPolicies
from liaison.relay.work import Operation, Work
from liaison.storage import logs, migrate
from liaison.storage.engine import Database
from liaison.tlog import entries, merkle
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.entries import PolicyRef
from liaison.tlog.fields import EntryType
from liaison.tlog.merkle import CompactRange
from liaison.tlog.note import Note
from tests.core.audit.mutations import KINDS
from tests.core.audit.support import MESSAGE, ORIGIN, AuditedLog
from tests.core.audit.test_mutations import check, made_targets
from tests.core.tlog.support import NOW
from tests.relay.services.harness import Relay

COUNT: Final = 1_000_000
OPENED: Final = 100_000
CHANGES: Final = 10_000
CHANNELS: Final = 1_000
BATCH: Final = 4096

# A child's peak that its parent is told can be the parent's own, from before the program began.
TOLD: Final = """
import atexit, runpy, sys
def tell():
    sys.stderr.write(open("/proc/self/status").read())
atexit.register(tell)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

Rows = Iterator[tuple[bytes, Shown]]


def closed(count: int) -> Rows:
    """Give entries of messages in many channels; what they commit to is drawn at random."""
    policy = base64.b64encode(bytes(range(32))).decode()
    names = [os.urandom(16).hex() for _ in range(CHANNELS)]
    for n in range(count):
        fields = base64.b64encode(os.urandom(32)).decode()
        seq, channel = divmod(n, CHANNELS)
        yield (
            (
                f'{{"channel":"{names[channel]}","epoch":3,"fields":"{fields}","policy":'
                f'{{"digest":"{policy}","version":2}},"seq":{seq + 1},"size":1024,'
                f'"time":{1000 * NOW + n},"type":"accepted","v":2}}'
            ).encode(),
            None,
        )


def opened(count: int) -> Rows:
    """Give entries of messages with all that they say."""
    policy, rng = PolicyRef(2, bytes(32)), os.urandom
    names = [os.urandom(16) for _ in range(CHANNELS)]
    for n in range(count):
        seq, channel = divmod(n, CHANNELS)
        place = {"channel": names[channel], "seq": Seq(seq + 1), "epoch": Epoch(3)}
        entry, sealed = entries.seal(
            EntryType.ACCEPTED, 1000 * NOW + n, MESSAGE, rng, **place, policy=policy, size=1024
        )
        yield entry.encode(), sealed.encode()


def write(path: Path, count: int, rows: Rows, *, derived: bool) -> float:
    """Write a bundle; return the CPU time that this took, without the making of the entries."""
    log = AuditedLog()
    tree, batches = CompactRange(), []
    kept = list(rows)
    for at in range(0, count, BATCH):
        batch = kept[at : at + BATCH]
        batches.append(batch)
        tree = tree.extend(merkle.hash_leaves(entry for entry, _ in batch))
    note = Note(Checkpoint(ORIGIN, count, tree.root).text).signed_by(log.key, log.signer)
    for key, signer in log.witnesses.values():
        note = note.signed_by(key, signer, NOW)
    log.data = [b""] * count
    facts = replace(log.facts(), end=count)
    start = time.process_time()
    with path.open("wb") as out:
        writer = BundleWriter(
            facts,
            out.write,
            policy=log.policy,
            notes=[note.encode()],
            before=CompactRange(),
            spool=tempfile.TemporaryFile,
            derived=derived,
        )
        for batch in batches:
            writer.add(batch)
        writer.finish(log.key, log.signer)
    return time.process_time() - start


def alone(path: Path, program: Path) -> tuple[float, float]:
    """Check a bundle with `verify.py`; return seconds of CPU time and MiB of memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-I", "-c", TOLD, str(program), str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    return used, int(peak[1]) / 1024 if peak else 0


def bundles(count: int, some: int, rounds: int) -> Iterator[Figure]:
    """Measure both bundles."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "verify.py"
        program.write_bytes(verifier())
        for name, number, rows, derived, goal in (
            ("nothing opened", count, closed(count), False, (60, 5)),
            ("all opened, with events", some, opened(some), True, (None, None)),
        ):
            path = Path(folder) / "bundle.zip"
            yield Figure(
                f"export of {number:,} entries, {name}",
                write(path, number, rows, derived=derived),
                "s",
                goal[0],
                least=False,
            )
            yield Figure("  its size", path.stat().st_size / number, "bytes for an entry")
            times = [alone(path, program) for _ in range(rounds)]
            yield Figure(
                "  checked by verify.py", min(t for t, _ in times), "s", goal[1], least=False
            )
            yield Figure("  and its memory", max(m for _, m in times), "MiB", 300, least=False)
            with path.open("rb") as file:
                start = time.process_time()
                verify(file)
                yield Figure("  checked by liaison-auditor", time.process_time() - start, "s")


@dataclass
class Many(Operation[None]):
    """Records entries."""

    drafts: Sequence[Draft]

    async def apply(self, work: Work) -> None:
        """Record them."""
        work.record(*self.drafts)


def drafts(agreement: Agreement, count: int) -> Iterator[Draft]:
    """Give what a relay records of messages in many channels."""
    policy, audience = policy_of(agreement), ("DEU", "NOR")
    channels = [ChannelId(os.urandom(16)) for _ in range(CHANNELS)]
    said = {**MESSAGE, "label": "NATO RESTRICTED", "to": ("deu/lno-j3", "deu/duty")}
    for n in range(count):
        seq, at = divmod(n, CHANNELS)
        yield Draft(
            agreement.agreement_id,
            EntryType.ACCEPTED,
            said | {"message": os.urandom(16).hex()},
            channel=channels[at],
            channel_key=at + 1,
            seq=seq + 1,
            epoch=3,
            policy=policy,
            size=1024,
            audience=audience,
        )


async def recorded(folder: Path, count: int) -> tuple[Relay, str, Wanted]:
    """Make a relay's database and files with a log of so many messages."""
    url = f"sqlite:///{folder / 'relay.db'}"
    await asyncio.to_thread(migrate.upgrade, url)
    relay = Relay(Database.open(url))
    await relay.writer.start()
    agreement = await relay.admit("NOR", "DEU")
    waiting = drafts(agreement, count)
    while some := list(itertools.islice(waiting, BATCH)):
        await relay.writer.submit(Many(some))
    policies = LogPolicies(relay.database, relay.clock)
    kept = asyncio.Event()
    publisher = Publisher(
        database=relay.database,
        writer=relay.writer,
        recorder=relay.recorder,
        root=folder / "log",
        signer=relay.key,
        policies=policies.find,
        urls={},
        clock=relay.clock,
        step=lambda name: kept.set() if name == "kept" else None,
    )
    await publisher.open()
    await publisher.publish()
    # Of a log without witnesses what is published counts as cosigned, once that is stored.
    while True:
        kept.clear()
        async with relay.database.read() as tx:
            row = await logs.find(tx, agreement.agreement_id)
        if row is not None and row.cosigned_size == row.size:
            break
        await kept.wait()
    await publisher.close()
    await relay.writer.stop()
    await relay.database.close()
    return relay, url, Wanted(agreement.agreement_id, PartyCode.parse("NOR"))


def exported(count: int) -> Iterator[Figure]:
    """Measure what `liaison-relay audit export` does, but for telling the relay of it."""
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        folder = Path(name)
        relay, url, wanted = asyncio.run(recorded(folder, count))
        start = time.process_time()
        with (folder / "bundle.zip").open("wb") as out:
            made, _ = exporting.run(url, folder / "log", relay.key, wanted, out)
        used = time.process_time() - start
        assert made.disclosed >= count
        # A goal for a million: what an export does is the same for each entry.
        goal = 60 * count / COUNT
        yield Figure(f"export of {count:,} entries from a database", used, "s", goal, least=False)
        yield Figure("  for an entry", 1e6 * used / made.entries, "us")


def changes(count: int) -> Iterator[Figure]:
    """Change bundles at random; each change has to be found by both verifiers."""
    targets = made_targets()
    rng = random.Random(count)
    names = list(KINDS)
    for n in range(count):
        # An error here names what was not found.
        check(KINDS[names[n % len(names)]](rng.choice(targets), rng))
        if n % 1000 == 999:
            print(f"{n + 1:,} changes found", file=sys.stderr, flush=True)
    yield Figure("random changes found by both verifiers, with the right entry", count, "", count)


def main(arguments: list[str]) -> int:
    """Measure, print, keep the figures in bench/results; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.bundle", description="Measure bundles.")
    parser.add_argument("--count", type=int, default=COUNT, help="entries of the closed bundle")
    parser.add_argument("--opened", type=int, default=OPENED, help="entries of the opened bundle")
    parser.add_argument("--exported", type=int, default=OPENED, help="entries of the database")
    parser.add_argument("--changes", type=int, default=CHANGES, help="random changes")
    parser.add_argument("--rounds", type=int, default=2, help="rounds per figure (2)")
    given = parser.parse_args(arguments)
    figures = []
    parts = [exported(given.exported)] if given.exported else []
    parts += [bundles(given.count, given.opened, given.rounds)] if given.count else []
    parts += [changes(given.changes)] if given.changes else []
    for part in parts:
        for figure in part:
            figures.append(figure)
            print(figure, flush=True)
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in figures]
    (RESULTS / "bundle.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
