"""Every channel of a log, followed by its pseudonym: what only a reader of all entries can see.

Whoever is shown some entries with proofs can't tell that the same place of a channel stands in the
log a second time, for somebody else. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from liaison.errors import LiaisonError
from liaison.tlog.channels import ChannelView, first_of
from liaison.tlog.entries import Entry

Followed: TypeAlias = tuple[bytes, int, int]
"""A channel's pseudonym, the number that comes next in it, and its epoch."""
TWICE: Final = -1
"""As the number: the channel contradicts itself, and is not followed any more."""


class ChannelRuns:
    """How far the channels of a log were followed.

    Args:
        known: from an earlier reading.
        generation: of the log, where it is read from its beginning, and so every channel has to
            begin where channels do; None where it is not.
        goes_on: whether a channel that contradicts itself is followed on from there.
    """

    def __init__(self, known: Iterable[Followed], *, generation: int | None, goes_on: bool) -> None:
        self._views = {name: ChannelView(name, seq, epoch) for name, seq, epoch in known}
        self._generation: Final = generation
        self._goes_on: Final = goes_on

    def take(self, entry: Entry) -> LiaisonError | None:
        """Follow the next entry of the log; return what is wrong with it, or None."""
        if entry.channel is None or entry.seq is None or entry.epoch is None:
            return None
        view = self._views.get(entry.channel)
        if view is None:
            known = self._generation
            begun = entry.seq if known is None else first_of(entry.seq, known)
            view = ChannelView(entry.channel, begun)
        if view.next_seq == TWICE:
            return None
        try:
            self._views[entry.channel] = view.follow(entry)
        except LiaisonError as error:
            here = ChannelView(entry.channel, entry.seq)
            again = here.follow(entry) if self._goes_on else ChannelView(entry.channel, TWICE, 0)
            self._views[entry.channel] = again
            return error
        return None

    @property
    def followed(self) -> tuple[Followed, ...]:
        """How far the channels were followed; for a later reading to go on from."""
        return tuple((v.channel, v.next_seq, v.epoch or 0) for v in self._views.values())
