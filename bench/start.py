"""How long the programs take to start: `make bench`, or `python -m bench.start`.

The demo's first scenes make a relay and its people; then each command runs in turns with
`python -c pass`. Times are CPU time, user and system, of the command's process; of several rounds
the quickest counts. What it is in terms of bare Python's is the figure to compare between machines.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from bench.mls import RESULTS, Figure
from demo import scenes
from demo.play import ATTACHE, CHANNEL, Play
from demo.stage import LIAISON, RELAY
from demo.transcript import Transcript

PYTHON: Final = (sys.executable, "-c", "pass")
COMMANDS: Final = (
    ("liaison --help", ("--help",), 15),
    ("liaison read, without the relay", ("read", "--no-sync"), 45),
    ("liaison read", ("read",), 65),
    ("liaison send", ("send", CHANNEL, "A message to measure."), 65),
)
"""What is typed, and how many times bare Python's CPU time it may take."""
RELAY_GOAL: Final = 75
_PATIENCE: Final = 60
_PAUSE: Final = 0.005


def cpu(command: tuple[str, ...], env: Mapping[str, str]) -> float:
    """Run a command; return the seconds of CPU time that it took."""
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return used.ru_utime + used.ru_stime


def relay_start(play: Play) -> tuple[float, float]:
    """Start the relay; return the seconds, on the clock and of CPU, until it is ready for work."""
    began = time.monotonic()
    with play.relay.log.open("a") as log:
        command = [RELAY, "serve", "--dev-tls", "--data", str(play.relay.data)]
        command += ["--listen", f"127.0.0.1:{play.relay.port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        while not is_ready(play):
            assert process.poll() is None, f"the relay ended; see {play.relay.log}"
            assert time.monotonic() - began < _PATIENCE, "the relay does not get ready"
            time.sleep(_PAUSE)
        return time.monotonic() - began, used_by(process.pid)
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def is_ready(play: Play) -> bool:
    """Ask the relay whether it is ready."""
    with contextlib.suppress(OSError):
        trust = ssl.create_default_context(cafile=str(play.relay.ca))
        connection = http.client.HTTPSConnection("127.0.0.1", play.relay.port, context=trust)
        with contextlib.closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
    return False


def used_by(pid: int) -> float:
    """Return the seconds of CPU time that a running process has taken."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(after_name[11]), int(after_name[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def ratios(measure: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Measure in turns with bare Python; return the least time, and the median ratio of the two."""
    pairs = [(measure(), cpu(PYTHON, os.environ)) for _ in range(rounds)]
    ordered = sorted(mine / bare for mine, bare in pairs)
    return min(mine for mine, _ in pairs), ordered[len(ordered) // 2]


def figures(name: str, times: tuple[float, float], goal: float) -> Iterator[Figure]:
    """Tell a time, and what it is in terms of bare Python's."""
    yield Figure(f"{name}, CPU time", 1000 * times[0], "ms")
    yield Figure("  in terms of bare Python's", times[1], "x", goal, least=False)


def commands(play: Play, rounds: int) -> Iterator[Figure]:
    """Measure what an officer types."""
    env = play.people[ATTACHE].environment
    for name, words, goal in COMMANDS:
        command = (LIAISON, *words)
        cpu(command, env)
        yield from figures(name, ratios(partial(cpu, command, env), rounds), goal)


def relay(play: Play, rounds: int) -> Iterator[Figure]:
    """Measure what an operator waits for."""
    walls = []

    def measure() -> float:
        wall, used = relay_start(play)
        walls.append(wall)
        return used

    measure()
    yield from figures("liaison-relay serve, until ready", ratios(measure, rounds), RELAY_GOAL)
    yield Figure("  on the clock", 1000 * min(walls), "ms")


def main(arguments: list[str]) -> int:
    """Measure, print, keep the figures in bench/results; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.start", description="Measure how programs start.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per figure (5)")
    rounds = parser.parse_args(arguments).rounds
    found = []
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            transcript = Transcript(Path(folder) / "transcript.txt")
            play = Play(Path(folder), transcript)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                for scene in (scenes.curtain_up, scenes.parties, scenes.agreement):
                    scene(play)
                scenes.first_words(play)
            for figure in commands(play, rounds):
                found.append(figure)
                print(figure, flush=True)
            play.relay.stop()
            for figure in relay(play, rounds):
                found.append(figure)
                print(figure, flush=True)
        finally:
            play.end()
            transcript.close()
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in found]
    (RESULTS / "start.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
