"""Recording what must not fail because one log is damaged."""

from __future__ import annotations

from collections.abc import Iterable

from liaison.relay.errors import LogRefusedError
from liaison.relay.recording import Draft
from liaison.relay.work import Work


def tell(work: Work, drafts: Iterable[Draft]) -> None:
    """Record drafts in the logs that take entries.

    A damaged log refuses what is about its partnership, and the relay says at once that it is not
    ready. But a revocation, which concerns all partnerships of a party, is not to wait for that.
    """
    for draft in drafts:
        try:
            work.record(draft)
        except LogRefusedError:
            # The relay's readiness tells it, with what to do; nothing was lost but this entry.
            continue
