"""The mark that a restored copy of a relay carries: from when it is, so that nobody takes it for the newest."""

from __future__ import annotations

import json
from typing import Any, Final, Self

from liaison.errors import MalformedError
from liaison.relay import times
from liaison.relay.files import DataDir
from liaison.values import dataclass

MARK: Final = "restored.json"


class MarkError(MalformedError):
    """The mark of a restored relay can't be read."""

    code = "relay.restored_mark"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a restored copy knows of itself.

    Args:
        made_ms: when the backup was made, Unix milliseconds.
        restored_ms: when it was restored.
        was_stopped: whether the relay was stopped when the backup was made.
        lost_root: the relay's own log of which more was signed than is here, as its operator says;
            empty where none is lost. Nothing more is recorded in it.
    """

    made_ms: int
    restored_ms: int
    was_stopped: bool
    lost_root: str = ""

    def encode(self) -> bytes:
        """Return it as the file has it."""
        members: dict[str, str | bool] = {
            "made": times.iso(self.made_ms),
            "restored": times.iso(self.restored_ms),
            "was_stopped": self.was_stopped,
        }
        if self.lost_root:
            members["lost_root"] = self.lost_root
        return json.dumps(members).encode() + b"\n"

    @classmethod
    def read(cls, data: DataDir) -> Self | None:
        """Return the mark of a data directory; None where it was not restored.

        Raises:
            MarkError: the mark can't be read.
        """
        try:
            text = (data.path / MARK).read_text()
        except FileNotFoundError:
            return None
        try:
            members: Any = json.loads(text)
            return cls(
                times.parse(members["made"]),
                times.parse(members["restored"]),
                members["was_stopped"] is True,
                str(members.get("lost_root", "")),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise MarkError(f"{data.path / MARK} can't be read") from error


def lost_root(data: DataDir) -> str:
    """Return which of the relay's own logs is lost at its end; empty where none is.

    Raises:
        MarkError: the mark can't be read.
    """
    mark = Mark.read(data)
    return "" if mark is None else mark.lost_root
