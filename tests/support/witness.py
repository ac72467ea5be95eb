"""Witnesses in this process, each on a loopback port of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from liaison.errors import LiaisonError
from liaison.model import PartyCode
from liaison.policy.agreement_rules import Witness as AgreementWitness
from liaison.policy.keys import VerifyKey
from liaison.tlog.vkey import VerifierKey
from liaison_auditor.witness import keys
from liaison_auditor.witness.keys import Algorithm, WitnessKey
from liaison_auditor.witness.running import listening
from liaison_auditor.witness.server import Witness
from liaison_auditor.witness.settings import Settings
from liaison_auditor.witness.state import State


@dataclass
class RunningWitness:
    """A witness: `url` is what a relay's setting names (without `add-checkpoint`).

    Args:
        name: in the agreement.
        key: that cosigns.
        logs: origin -> keys of the logs that it follows; more may be added while it runs.
        state: where it keeps what it has cosigned; the same file is the same witness after a pause.
        url: where it listens; empty while it does not.
        port: kept over pauses, so that the relay's setting stays true.
        refused: what it has refused to known logs.
    """

    name: str
    key: WitnessKey
    logs: dict[str, tuple[VerifierKey, ...]]
    state: Path
    url: str = ""
    port: int = 0
    refused: list[tuple[str, LiaisonError]] = field(default_factory=list)

    def in_agreement(self, party: str) -> AgreementWitness:
        """Return it as an agreement names it."""
        return AgreementWitness(PartyCode.parse(party), self.name, VerifyKey.of(self.key.signer))

    def follow(self, *log_keys: VerifierKey) -> None:
        """Let it follow the logs of these keys, whose names are their origins."""
        for key in log_keys:
            self.logs[key.name] = (*self.logs.get(key.name, ()), key)


def new(
    name: str,
    log_keys: Iterable[VerifierKey] = (),
    *,
    folder: Path,
    algorithm: Algorithm = Algorithm.ED25519,
) -> RunningWitness:
    """Make a witness that does not run yet and keeps its state in `folder`, as `<name>.sqlite`."""
    key, _ = keys.generate(name, algorithm)
    made = RunningWitness(name, key, {}, folder / f"{name}.sqlite")
    made.follow(*log_keys)
    return made


@contextlib.asynccontextmanager
async def running(
    witness: RunningWitness, clock: Callable[[], float] = time
) -> AsyncIterator[RunningWitness]:
    """Run it until the block ends; the same one may be run again, on the same port."""
    server = Witness(
        [witness.key],
        witness.logs,
        State(witness.state),
        clock,
        lambda origin, error: witness.refused.append((origin, error)),
    )
    async with listening(server, Settings(port=witness.port)) as url:
        witness.url = url
        witness.port = int(url.rsplit(":", 1)[1])
        try:
            yield witness
        finally:
            witness.url = ""
