"""Members' reports of commits that they could not follow, see `liaison.trust.rejection`.

The relay can't tell whether a member could follow a commit, but it knows which there were: a report is
about one that ended the epoch that it names, by the device that it names, while the reporting device was
in the group. Whoever comes back begins a new stay, so each stay makes one report at most, about a
commit of its own time; to report without end is to commit without end.
"""

from __future__ import annotations

from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import RejectionUnfoundedError
from liaison.relay.services.sequence import IDENT
from liaison.storage import channels, devices, items, members
from liaison.storage.engine import Database
from liaison.trust.rejection import Rejection


async def check(
    database: Database, channel: channels.ChannelRow, caller: DeviceCaller, report: Rejection
) -> None:
    """Check that what a member reports has been, and in its time.

    Raises:
        RejectionUnfoundedError: the channel had no such commit, or the member had come since.
    """
    async with database.read() as tx:
        stay = await members.find(tx, channel.key, caller.key)
        committer = await devices.key_of(tx, str(report.committer))
        found = await items.find(tx, (channel.id, committer or 0, report.digest[:IDENT]))
    if (
        stay is None
        or found is None
        or (found.digest, found.epoch) != (report.digest, report.epoch)
        or report.epoch < stay.joined_epoch
    ):
        raise RejectionUnfoundedError(
            "the report is about a commit that this member was not given",
            hint="come back without a report",
            unchanged="the channel is as it was",
        )
