"""Statements compiled for SQLite: their words, and where the value of each question mark comes from.

A list is as many question marks as it has members, so a statement is compiled for the lengths of its lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from liaison.storage.remembered import check_passing


class _Place(NamedTuple):
    """Where the value of one of a statement's question marks comes from.

    Args:
        name: of the parameter; None for what is part of the statement, such as a lane's number.
        at: the member of a list; -1 for what is none.
        value: of what is part of the statement.
    """

    name: str | None
    at: int = -1
    value: Any = None


class Text(NamedTuple):
    """A statement in SQLite's words, for lists of certain lengths."""

    words: str
    places: tuple[_Place, ...]

    @classmethod
    def of(cls, statement: Executable, tx: AsyncConnection, values: Mapping[str, Any]) -> Text:
        """Compile a statement.

        Args:
            statement: its lists are parameters that expand.
            tx: of SQLite.
            values: of all of its parameters; only the lengths of lists matter.

        Raises:
            LookupError: it writes what has to be counted (`remembered.check_passing`).
        """
        check_passing(statement)
        compiled = cast("ClauseElement", statement).compile(dialect=tx.dialect)
        parameters = cast("SQLCompiler", compiled)
        state = parameters.construct_expanded_state(dict(values))
        places = {
            member: _Place(name, at)
            for name, expanded in state.parameter_expansion.items()
            for at, member in enumerate(expanded)
        }
        for name in state.positiontup or ():
            if name in values:
                places[name] = _Place(name)
            elif name not in places:
                places[name] = _Place(None, value=parameters.params[name])
        return cls(state.statement, tuple(places[name] for name in state.positiontup or ()))

    def fill(self, values: Mapping[str, Any]) -> list[Any]:
        """Put the values in order."""
        return [
            value if name is None else values[name] if at < 0 else values[name][at]
            for name, at, value in self.places
        ]

    def order(self, names: Sequence[str]) -> list[tuple[int, Any]]:
        """Return where the values come from in a row of values, none of which is a list.

        Args:
            names: of a row's values.

        Returns:
            Indices in the row; -1 for what is part of the statement, with its value.
        """
        return [
            (-1 if name is None else names.index(name), value) for name, _, value in self.places
        ]
