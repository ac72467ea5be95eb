"""Feed the decoders: `python -m tests.fuzz.run [INPUTS] [SEED]`, a million inputs if not said.

Prints a line per decoder. An exception that is none of the typed ones, or an
input that takes longer than `SLOW` seconds, ends with exit status 1 and the input in hex.
"""

# ruff: noqa: T201 - a program: it prints, takes time, and draws its own numbers

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fuzz.decoders import ERRORS, Decoder, decoders
from tests.fuzz.mutator import Mutator

MILLION = 1_000_000
SLOW = 2.0
"""Seconds of CPU time; the slowest decoder needs some thousandths."""


@dataclass
class Report:
    """What came of one decoder's inputs."""

    decoder: str
    inputs: int = 0
    taken: int = 0
    findings: list[str] = field(default_factory=list)


def fuzz(decoder: Decoder, inputs: int, seed: int) -> Report:
    """Run one decoder; seeds first, of which it has to take one."""
    report = Report(decoder.name)
    for data in decoder.seeds:
        _try(decoder, data, report)
    if not report.taken:
        report.findings.append("takes none of its seeds")
    mutator = Mutator(decoder.seeds, random.Random(f"{seed} {decoder.name}"))
    for _ in range(inputs - report.inputs):
        _try(decoder, mutator.next(), report)
    return report


def _try(decoder: Decoder, data: bytes, report: Report) -> None:
    report.inputs += 1
    begin = time.process_time()
    try:
        decoder.run(data)
        report.taken += 1
    except ERRORS:
        pass
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        report.findings.append(
            f"{type(error).__name__} {error} at {last.filename}:{last.lineno} for {data.hex()}"
        )
    took = time.process_time() - begin
    if took > SLOW:
        report.findings.append(f"{took:.1f} s for {data.hex()}")


def run(inputs: int, seed: int) -> Iterator[Report]:
    """Share the inputs out among all decoders, by weight."""
    total = sum(decoder.weight for decoder in decoders())
    for decoder in decoders():
        yield fuzz(decoder, -(-inputs * decoder.weight // total), seed)


def main(arguments: list[str]) -> int:
    """Run, print, and give the exit status."""
    inputs = int(arguments[0]) if arguments else MILLION
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    done = findings = 0
    for report in run(inputs, seed):
        done, findings = done + report.inputs, findings + len(report.findings)
        print(f"{report.decoder}: {report.inputs} inputs, {report.taken} taken", flush=True)
        for finding in report.findings[:5]:
            print(f"  {finding}", file=sys.stderr)
    print(f"fuzz: {done} inputs, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
