"""Every bench, one after the other: `make bench`, or `python -m bench.all`.

They run at sizes that take some ten minutes in all on two idle cores; `--full` has each run as it
does by itself, and the database as large as it is meant to get, which takes an hour. A bench that
misses a goal, fails or takes too long does not hinder the next one. At the end all figures stand in
`bench/results/latest.json`, with the machine that they were found on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bench.mls import RESULTS

SHORT: Final = {
    "mls": "--rounds 5",
    "tlog": "--rounds 3",
    "log": "--rounds 4",
    "logshare": "--rounds 2",
    "bundle": "--count 300000 --opened 30000 --exported 30000 --changes 200 --rounds 1",
    "relay": "--rounds 2 --seconds 3",
    "urgent": "--rounds 3 --count 150",
    "idle": "",
    "stall": "",
    "scale": "--messages 6000 --rounds 2",
    "start": "--rounds 3",
}
"""What each is told, so that all of them together take so long."""
FULL: Final = {"scale": "--stored 10000000"}
PATIENCE: Final = 300
PATIENCE_FULL: Final = 3_600
"""Seconds after which a bench is ended."""
TOO_LONG: Final = 124
"""The exit code of one that was; `timeout` has the same."""
LIBRARIES: Final = ("aiohttp", "cryptography", "SQLAlchemy", "uvloop")


def machine() -> dict[str, Any]:
    """Tell where it runs, and with what."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "processor": names[0] if names else platform.processor(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def found(name: str) -> list[dict[str, Any]]:
    """Return what a bench has kept."""
    kept = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return list(kept["figures"] if isinstance(kept, dict) else kept)


def run(name: str, words: Sequence[str], patience: float) -> int:
    """Run one bench; return its exit code."""
    (RESULTS / f"{name}.json").unlink(missing_ok=True)
    # A group of its own: a relay that a bench has started ends with it.
    bench = subprocess.Popen(
        [sys.executable, "-m", f"bench.{name}", *words], start_new_session=True
    )
    try:
        return bench.wait(patience)
    except subprocess.TimeoutExpired:
        print(f"bench.{name} takes more than {patience:g} s", flush=True)
        return TOO_LONG
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(bench.pid, signal.SIGKILL)
        bench.wait()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="bench.all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"some of them: {', '.join(SHORT)}"
    )
    parser.add_argument("--full", action="store_true", help="at full size")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in SHORT]
    if unknown:
        parser.error(f"there is no bench called {unknown[0]}; there are {', '.join(SHORT)}")
    return asked


def main(arguments: Sequence[str]) -> int:
    """Run the benches, or some by name; return 1 when one has missed a goal or failed."""
    asked = parse(arguments)
    began, where = int(time.time()), machine()
    sizes, patience = (FULL, PATIENCE_FULL) if asked.full else (SHORT, PATIENCE)
    codes, took = {}, {}
    for name in asked.names or SHORT:
        begun = time.monotonic()
        words = sizes.get(name, "").split()
        print(f"--- bench.{name} {' '.join(words)}".rstrip(), flush=True)
        codes[name] = run(name, words, patience)
        took[name] = round(time.monotonic() - begun, 1)
    figures = {name: found(name) for name in codes if (RESULTS / f"{name}.json").exists()}
    latest = {
        "began": began,
        "machine": where,
        "full": asked.full,
        "exit_codes": codes,
        "seconds": took,
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    path.write_text(json.dumps(latest, indent=1) + "\n", encoding="utf-8")
    missed = [name for name, code in codes.items() if code]
    print(
        f"--- {path}; {sum(took.values()):.0f} s; "
        + (f"goals missed in: {', '.join(missed)}" if missed else "all goals reached")
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
