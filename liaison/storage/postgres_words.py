"""Statements compiled for PostgreSQL: their words, with numbered parameters, and what is known of them.

A list is one parameter, an array, whatever its length. Many rows are as many arrays as they have columns,
which the statement joins as a table called `given`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Executable,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    any_,
    bindparam,
    func,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement, operators, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BinaryExpression, BindParameter
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

from liaison.storage.postgres_writes import Write
from liaison.storage.remembered import check_passing

_KINDS: Final[tuple[tuple[type[TypeEngine[Any]], TypeEngine[Any]], ...]] = (
    (SmallInteger, SmallInteger()),
    (BigInteger, BigInteger()),
    (Integer, Integer()),
    (LargeBinary, LargeBinary()),
    (Boolean, Boolean()),
)

ForRow = Callable[[Callable[[str], Any]], Executable]
"""Makes a statement, given what stands for a value of the row by its name."""


class Words(NamedTuple):
    """A statement in PostgreSQL's words.

    Args:
        words: with numbered parameters.
        names: of the parameters, in the order of their numbers.
        constants: what is part of the statement, such as a lane's number, by name.
        tables: names of those that it touches.
        locks: whether it locks rows that it reads.
        numbers: which parameters are many numbers, as a text.
    """

    words: str
    names: tuple[str, ...]
    constants: tuple[tuple[str, Any], ...]
    tables: frozenset[str]
    locks: bool = False
    numbers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, statement: Executable, tx: AsyncConnection) -> Words:
        """Compile a statement; a list that expands is one parameter."""
        return cls._of(_with_arrays(statement), tx)

    @classmethod
    def for_rows(
        cls, make: ForRow, columns: Mapping[str, Column[Any]], tx: AsyncConnection
    ) -> Words:
        """Compile a statement for many rows at once, of which `write` makes something that waits.

        Args:
            make: makes it.
            columns: by the names of a row's values, columns whose types they have.
            tx: of PostgreSQL.

        Raises:
            LookupError: it writes what has to be counted (`remembered.check_passing`).
        """
        given = unnested(columns)
        statement = make(lambda name: given.c[name])
        check_passing(statement)
        return cls._of(statement, tx)

    @classmethod
    def _of(cls, statement: Executable, tx: AsyncConnection) -> Words:
        element = cast("ClauseElement", statement)
        compiled = cast("SQLCompiler", element.compile(dialect=tx.dialect))
        names = tuple(compiled.positiontup or ())
        constants = tuple((n, v) for n, v in compiled.params.items() if v is not None)
        parts = list(visitors.iterate(element))
        found = {one.name for one in parts if isinstance(one, Table)}
        locks = any(getattr(one, "_for_update_arg", None) is not None for one in parts)
        numbers = frozenset(name for name in names if isinstance(compiled.binds[name].type, _Many))
        return cls(str(compiled), names, constants, frozenset(found), locks, numbers)

    def fill(self, values: Mapping[str, Any]) -> list[Any]:
        """Put the values in order."""
        if self.constants:
            values = {**dict(self.constants), **values}
        return [
            _as_text(values[name]) if name in self.numbers else values[name] for name in self.names
        ]

    def write(self, rows: Sequence[Sequence[Any]], expected: int | None) -> Write:
        """Return it as something that waits to be written.

        Args:
            rows: whose columns are its parameters.
            expected: how many rows it has to change; None for as many as there are.
        """
        columns = zip(*rows, strict=True) if rows else repeat((), len(self.names))
        arrays = {str(at): array for at, array in enumerate(columns)}
        return Write(self.words, self.fill(arrays), self.tables, expected)


def unnested(columns: Mapping[str, Column[Any]]) -> TableValuedAlias:
    """Return rows that come as arrays; the parameters are called 0, 1, ..."""
    arrays = [_array(str(at), one) for at, one in enumerate(columns.values())]
    return func.unnest(*arrays).table_valued(*columns).render_derived(name="given")


# --- arrays -----------------------------------------------------------------------------


class _Many(Text):
    """Numbers, or None, as the text of an array: the driver looks at each member of an array for long."""


@lru_cache(maxsize=1024)
def _places(count: int) -> str:
    return f"{{{','.join(['%d'] * count)}}}"


def _as_text(numbers: Sequence[int | None]) -> str:
    try:
        return _places(len(numbers)) % tuple(numbers)
    except TypeError:
        return f"{{{','.join('NULL' if one is None else f'{one:d}' for one in numbers)}}}"


def _array(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the parameter that is an array of a column's values."""
    # Texts of any length: one that is too long is to be refused, not cut by a cast.
    kind = next((to for kind, to in _KINDS if isinstance(column.type, kind)), Text())
    if isinstance(kind, Integer):
        return cast_to(bindparam(name, type_=_Many()), ARRAY(kind))
    return bindparam(name, type_=ARRAY(kind))


def _with_arrays(statement: Executable) -> Executable:
    """Return the statement with each list that expands as one array."""

    def replace(element: Any, **_: Any) -> Any:
        if isinstance(element, BinaryExpression) and element.operator is operators.in_op:
            named = element.right
            if isinstance(named, BindParameter) and named.expanding:
                column = element.left
                return column == any_(_array(named.key, column))
        return None

    changed = visitors.replacement_traverse(cast("Any", statement), {}, replace)
    return cast("Executable", changed)
