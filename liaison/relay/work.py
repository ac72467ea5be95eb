"""What is to be written, and what it may use meanwhile: the contract between the writer and those who change something.

A service says its change as an `Operation`. The writer (`relay.writer`) applies it together with what
else waits, in one transaction, and hands it its `Work`: what it tells the log and what has to happen after the
commit is left there, and counts only where the operation is not undone. Where many of a kind come at once, a
`Batch` applies them in few statements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import LiaisonError
from liaison.model import Precedence
from liaison.values import dataclass

if TYPE_CHECKING:
    from liaison.relay.recording import Draft, Recorder

_R = TypeVar("_R")
_O_contra = TypeVar("_O_contra", contravariant=True)
_R_co = TypeVar("_R_co", covariant=True)


class Operation(Generic[_R]):
    """One change of the database; subclasses say how.

    It may be applied more than once, each time on what the database then has.

    Attributes:
        precedence: what is higher is written first.
        size: bytes that it keeps in memory while it waits.
        is_own: whether it is the relay's own, of which there are few: it is never turned away.
        is_urgent: whether it is a message of FLASH or above: nothing of less shares its transaction.
        goes_first: whether it is applied before the others of its group. It asks something; and what others
            write can only go to the database at the end, with the commit, as long as nothing is asked.
    """

    is_urgent: bool = False
    goes_first: bool = False
    precedence: int = Precedence.OVERRIDE
    size: int = 0
    is_own: bool = False

    async def apply(self, work: Work) -> _R:
        """Make the change.

        Raises:
            LiaisonError: refused; what was written is undone, its caller gets the error.
        """
        raise NotImplementedError

    def batch(self) -> Batch[Any, _R] | None:
        """Return who applies many of these at once, if anyone does: always the same object."""
        return None


class Batch(Protocol[_O_contra, _R_co]):
    """Applies neighbouring operations of one kind in few statements."""

    async def apply_all(
        self, work: Work, operations: Sequence[_O_contra]
    ) -> Sequence[_R_co | LiaisonError]:
        """Return a result or a refusal for each, in order.

        A refused operation has written nothing. Raising undoes them all; the
        writer then tries them one by one, so that one bad one harms only itself.
        """
        ...


@dataclass(slots=True)
class Work:
    """What an operation may use: the transaction, the log, and a place for what follows."""

    tx: AsyncConnection
    recorder: Recorder | None = None
    drafts: list[Draft] = field(default_factory=list)
    callbacks: list[Callable[[], object]] = field(default_factory=list)
    successors: dict[str | None, int] = field(default_factory=dict)

    def succeed(self, log_: str | None, generation: int) -> None:
        """Begin the log that follows one: what is recorded from here on goes into that.

        Args:
            log_: id of the agreement; None for the relay's root log.
            generation: of the new one; again changes nothing.
        """
        self.successors[log_] = generation

    def takes(self, log_: str | None) -> bool:
        """Whether a log takes entries: none that is damaged does."""
        return self.recorder is None or log_ not in self.recorder.refused

    def record(self, *drafts: Draft) -> None:
        """Have the log tell of what this operation does, in the same transaction.

        The entries get their places in the order of the calls. They are dropped where the
        operation is undone.

        Raises:
            LogRefusedError: the log is damaged and takes nothing more.
        """
        if self.recorder is None:
            return
        for log_ in {draft.log for draft in drafts} - self.successors.keys():
            self.recorder.check(log_)
        self.drafts += drafts

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call it once the transaction is durable; never when the operation was undone.

        It must not block. It updates a cache or wakes a reader, who finds the news later
        where this fails.
        """
        self.callbacks.append(callback)
