"""Every bench, one after the other: `make bench`, or `python -m bench.all`.

A bench that misses a goal does not hinder the next one. At the end all figures stand in
`bench/results/latest.json`, with the machine that they were found on.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bench.mls import RESULTS

BENCHES: Final = ("mls", "tlog", "log", "bundle", "relay", "scale", "start")
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


def main(names: list[str]) -> int:
    """Run the benches, or some by name; return 1 when one has missed a goal or failed."""
    began, where = int(time.time()), machine()
    codes = {}
    for name in names or BENCHES:
        print(f"--- bench.{name}", flush=True)
        (RESULTS / f"{name}.json").unlink(missing_ok=True)
        codes[name] = subprocess.run(
            [sys.executable, "-m", f"bench.{name}"], check=False
        ).returncode
    figures = {name: found(name) for name in codes if (RESULTS / f"{name}.json").exists()}
    latest = {"began": began, "machine": where, "exit_codes": codes, "figures": figures}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    path.write_text(json.dumps(latest, indent=1) + "\n", encoding="utf-8")
    missed = [name for name, code in codes.items() if code]
    print(
        f"--- {path}; "
        + (f"goals missed in: {', '.join(missed)}" if missed else "all goals reached")
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
