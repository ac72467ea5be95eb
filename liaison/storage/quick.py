"""Statements of the path that every message takes, past SQLAlchemy's execution where that costs most.

SQLite answers the writer's statements in some ten microseconds; running them through SQLAlchemy costs
five times as much, and a group of messages has a dozen of them. On PostgreSQL each of them is a round trip
besides. So such a statement is compiled once, and then handed to the driver as it is:

- on SQLite once for each length of its lists; on PostgreSQL a list is one parameter, an array.
- what writes for many rows runs for each of them on SQLite; on PostgreSQL it is one statement that joins
  the rows as arrays. On both it waits to go out together with others.
- several questions (`together`) are so many statements on SQLite, and one on PostgreSQL.

Whoever asks does not see a difference: what is written is there for whatever is asked next.

For statements whose values and results the driver takes and gives as they are: integers, texts, bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Executable,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    any_,
    bindparam,
    func,
    insert,
    select,
    tuple_,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement, operators, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Update, UpdateBase
from sqlalchemy.sql.elements import BinaryExpression, BindParameter
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

from liaison.storage import sqlite_direct
from liaison.storage.padding import any_of, batches, values_of
from liaison.storage.sqlite_direct import DirectConnection, Enough
from liaison.storage.writes import Write, renumbered

if TYPE_CHECKING:
    from liaison.storage import postgres_direct

_Values = Mapping[str, Any]
_NONE: Final[_Values] = {}
_R = TypeVar("_R")
_Rows = Sequence[Any]


def direct(tx: AsyncConnection) -> DirectConnection | None:
    """Return the connection to SQLite, or None where it is to another database."""
    return None if tx.dialect.name != "sqlite" else cast("DirectConnection", _pooled(tx))


def postgres(tx: AsyncConnection) -> postgres_direct.DirectConnection | None:
    """Return the connection to PostgreSQL, or None where it is to another database."""
    if tx.dialect.name != "postgresql":
        return None
    return cast("postgres_direct.DirectConnection", _pooled(tx))


def _pooled(tx: AsyncConnection) -> object:
    # Of an engine that `Database` has opened: there are no others where these statements run.
    return cast("Connection", tx.sync_connection).connection.dbapi_connection


async def mark(tx: AsyncConnection) -> Hashable:
    """Return what stays the same as long as nothing but `PASSING` columns and other tables were written.

    Past SQLAlchemy such things alone are written, and what it writes is counted. On SQLite the mark tells of
    others too. On PostgreSQL it does not, and what is relied on has to be compared (`compares`); it is None
    where something was written in this transaction, or where others were found to write the same.
    """
    database = direct(tx)
    return _other(tx).mark if database is None else await database.mark()


def compares(tx: AsyncConnection) -> bool:
    """Whether what is remembered has to be compared by the statement that writes: on PostgreSQL."""
    return direct(tx) is None


def written(tx: AsyncConnection) -> None:
    """Count something past SQLAlchemy that may change what is remembered."""
    database = direct(tx) or postgres(tx)
    if database is not None:
        database.written += 1


def rely(tx: AsyncConnection, *, doubting: bool = False) -> None:
    """Say that what is written is judged by what is remembered, as `DirectConnection.rely` does."""
    database = direct(tx)
    if database is None:
        _other(tx).rely(doubting=doubting)
    else:
        database.rely()


def version(tx: AsyncConnection) -> int:
    """Return, after a commit, which version the rows have that it wrote by what waited; 0 on SQLite."""
    database = postgres(tx)
    return 0 if database is None else database.version


PASSING: Final[Mapping[str, frozenset[str]]] = {
    "channels": frozenset({"head"}),
    "members": frozenset({"cursor", "logged"}),
    "devices": frozenset({"state_version"}),
    "certificates": frozenset(),
    "agreements": frozenset(),
    "agreement_changes": frozenset(),
}
"""Tables of which something is remembered, and the columns of them that are not."""


def _check_passing(statement: Executable) -> None:
    """Check that `mark` may leave a statement past SQLAlchemy out, on both databases."""
    name = getattr(getattr(statement, "table", None), "name", "")
    if not isinstance(statement, UpdateBase) or name not in PASSING:
        return
    values: Mapping[Any, Any] = getattr(statement, "_values", None) or {}
    changed = {getattr(column, "name", column) for column in values}
    if not isinstance(statement, Update) or not changed or not changed <= PASSING[name]:
        raise LookupError(f"what is written to {name} has to be counted")


class Savepoint:
    """A part of a transaction that can be undone by itself; `begin` makes one."""

    def __init__(self, tx: AsyncConnection) -> None:
        self._sqlite = direct(tx)
        self._postgres = postgres(tx)

    @classmethod
    async def begin(cls, tx: AsyncConnection) -> Savepoint:
        """Begin one; there is one at a time."""
        made = cls(tx)
        await made._run("SAVEPOINT part")
        return made

    async def commit(self) -> None:
        """Keep what was written since it began."""
        await self._run("RELEASE part")

    async def rollback(self) -> None:
        """Undo what was written since it began."""
        if self._postgres is not None:
            self._postgres.forget()
        if self._sqlite is not None:
            self._sqlite.forget()
        await self._run("ROLLBACK TO part")
        await self._run("RELEASE part")

    async def _run(self, words: str) -> None:
        if self._sqlite is not None:
            await self._sqlite.run(words, ())
        elif self._postgres is not None:
            await self._postgres.part(words)


class Quick:
    """One statement.

    Args:
        statement: its lists are parameters that expand.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._texts: dict[tuple[int, ...], _Text] = {}
        self._lists: tuple[str, ...] | None = None
        self._words: Words | None = None

    async def rows(self, tx: AsyncConnection, values: _Values = _NONE) -> _Rows:
        """Return all rows: they are sequences, without names."""
        database = direct(tx)
        if database is not None:
            text = self.text(tx, values)
            return await database.ask(text.words, text.fill(values))
        words = self.words(tx)
        return await _other(tx).ask(
            words.words, words.fill(values), words.tables, locks=words.locks
        )

    async def first_rows(
        self, database: DirectConnection, tx: AsyncConnection, values: _Values, enough: Enough
    ) -> _Rows:
        """Return the rows before the first that is one too many; of SQLite, which reads no further."""
        text = self.text(tx, values)
        return await database.ask(text.words, text.fill(values), enough)

    async def change(self, tx: AsyncConnection, values: _Values) -> int:
        """Run it once; return how many rows it has changed."""
        database = direct(tx)
        if database is not None:
            text = self.text(tx, values)
            return await database.run(text.words, text.fill(values))
        words = self.words(tx)
        return await _other(tx).run(words.words, words.fill(values), words.tables)

    def words(self, tx: AsyncConnection) -> Words:
        """Return the statement for PostgreSQL, whatever the lengths of its lists."""
        if self._words is None:
            self._words = Words.of(_with_arrays(self._statement), tx)
        return self._words

    def text(self, tx: AsyncConnection, values: _Values) -> _Text:
        """Return the statement for SQLite, and for lists of these lengths."""
        if self._lists is None:
            self._lists = tuple(name for name, value in values.items() if type(value) is list)
        lengths = tuple([len(values[name]) for name in self._lists])
        found = self._texts.get(lengths)
        if found is None:
            found = self._texts[lengths] = _compiled(self._statement, tx, values)
        return found


class ForEach:
    """One statement that is run for each of many rows of values.

    Args:
        make: makes it, given what stands for a value of the row by its name.
        columns: by the names of the values, columns whose types they have.
    """

    def __init__(
        self, make: Callable[[Callable[[str], Any]], Executable], **columns: Column[Any]
    ) -> None:
        self._make = make
        self._columns = columns
        self._single = Quick(make(bindparam))
        # For SQLite: its words, and where each of their values comes from in a row.
        self._each: tuple[str, list[tuple[int, Any]]] | None = None
        self._words: Words | None = None

    async def change(
        self, tx: AsyncConnection, rows: Sequence[Sequence[Any]], *, all_of_them: bool = False
    ) -> None:
        """Run it for each row; its values are in the order of the names.

        Args:
            tx: the transaction.
            rows: each for another row of the table, in the order in which these are to be locked.
            all_of_them: whether each has to change one row of the table.

        Raises:
            OvertakenError: one did not, and should; said when it is written.
        """
        if not rows and not _rehearses(tx):
            return
        expected = len(rows) if all_of_them else None
        database = direct(tx)
        if database is None:
            await _other(tx).later(self._arrays(tx).write(rows, expected))
            return
        if self._each is None:
            text = self._single.text(tx, dict(zip(self._columns, rows[0], strict=True)))
            self._each = text.words, text.order(tuple(self._columns))
        words, order = self._each
        values = [[value if at < 0 else row[at] for at, value in order] for row in rows]
        database.later([sqlite_direct.Write(words, values, expected, len(values))])

    def _arrays(self, tx: AsyncConnection) -> Words:
        if self._words is None:
            source = _unnested(self._columns)
            statement = self._make(lambda name: source.c[name])
            _check_passing(statement)
            self._words = Words.of(statement, tx)
        return self._words


class Still:
    """Something that has to be so of many rows when what waits is written; on PostgreSQL.

    Args:
        make: makes the question that finds a row where it is so, given what stands for a value of each row.
        columns: by the names of the values, columns whose types they have.
    """

    def __init__(
        self, make: Callable[[Callable[[str], Any]], Executable], **columns: Column[Any]
    ) -> None:
        self._make = make
        self._columns = columns
        self._words: Words | None = None

    async def check(self, tx: AsyncConnection, rows: Sequence[Sequence[Any]]) -> None:
        """Have it compared, before anything is written.

        Args:
            tx: nothing was written in it.
            rows: values, each row once, in the order of the names.

        Raises:
            OvertakenError: it is not so of one of them; said when it is written.
        """
        if not rows and not _rehearses(tx):
            return
        if self._words is None:
            source = _unnested(self._columns)
            self._words = Words.of(self._make(lambda name: source.c[name]), tx)
        # Of no table: what is written by the same statement is no concern of what it reads.
        write = self._words.write(rows, len(rows))._replace(tables=frozenset())
        await _other(tx).later(write)


class ByKeys:
    """One question for the rows that have one of many keys of several columns.

    Args:
        columns: of the key.
        make: makes it, given the condition that a row has one of the keys.
    """

    def __init__(
        self,
        columns: tuple[Column[Any], ...],
        make: Callable[[ColumnElement[bool]], Executable],
    ) -> None:
        self._columns = columns
        self._make = make
        self._by_count: dict[int, Quick] = {}
        source = _unnested({column.name: column for column in columns})
        self._at_once = Quick(make(tuple_(*columns).in_(select(*source.c))))

    async def rows(self, tx: AsyncConnection, keys: Iterable[Sequence[Any]]) -> _Rows:
        """Return all rows; no key may be there twice."""
        parts = self.parts(tx, keys)
        return [row for quick, values in parts for row in await quick.rows(tx, values)]

    def parts(self, tx: AsyncConnection, keys: Iterable[Sequence[Any]]) -> list[Part]:
        """Return the statements that ask for these keys: one, where the database takes arrays."""
        if direct(tx) is None:
            arrays = list(zip(*keys, strict=True)) or [()] * len(self._columns)
            return [(self._at_once, {str(at): array for at, array in enumerate(arrays)})]
        return [(self._some(len(some)), values_of(some)) for some in batches(keys)]

    def _some(self, count: int) -> Quick:
        found = self._by_count.get(count)
        if found is None:
            found = self._by_count[count] = Quick(self._make(any_of(self._columns, count)))
        return found


# --- several questions at once ----------------------------------------------------------

Part = tuple[Quick, _Values]
"""A statement and its values."""


class Question(NamedTuple, Generic[_R]):
    """Something to be asked together with others.

    Args:
        parts: what is asked; on PostgreSQL there is one.
        read: makes the answer of the rows.
    """

    parts: Sequence[Part]
    read: Callable[[Iterable[Any]], _R]


async def together(tx: AsyncConnection, *questions: Question[Any]) -> list[Any]:
    """Ask several questions, none of which locks anything; return an answer for each.

    On PostgreSQL they are one statement, so all answers are of one moment.
    """
    if direct(tx) is not None:
        return [
            one.read([row for quick, values in one.parts for row in await quick.rows(tx, values)])
            for one in questions
        ]
    asked = [(one.parts[0][0].words(tx), one.parts[0][1]) for one in questions]
    words = _one_question(tuple(words for words, _ in asked))
    values = [value for some, named in asked for value in some.fill(named)]
    (answer,) = await _other(tx).ask(words.words, values, words.tables)
    return [one.read(rows) for one, rows in zip(questions, answer, strict=True)]


@lru_cache(maxsize=64)
def _one_question(asked: tuple[Words, ...]) -> Words:
    parts, before = [], 0
    for one in asked:
        parts.append(f"ARRAY(SELECT q FROM ({renumbered(one.words, before)}) AS q)")  # noqa: S608 - statements of ours
        before += len(one.names)
    tables = frozenset(chain.from_iterable(one.tables for one in asked))
    return Words(f"SELECT {', '.join(parts)}", (), (), tables)


async def ask(tx: AsyncConnection, question: Question[_R]) -> _R:
    """Ask one question."""
    found: _R
    (found,) = await together(tx, question)
    return found


# --- inserting --------------------------------------------------------------------------


Rows = Sequence[tuple[Any, ...]]
"""Values in the order of a table's columns."""


async def insert_rows(tx: AsyncConnection, *tables: tuple[Table, Rows]) -> None:
    """Insert rows past the statement compiler: there is one for each message.

    Args:
        tx: the transaction.
        tables: with their rows, in order.
    """
    database = direct(tx)
    if database is None:
        for table, rows in tables:
            if rows or _rehearses(tx):
                await _other(tx).later(_insert(table, tx).write(rows, None))
        return
    database.later([each for table, rows in tables for each in _inserts(table, rows)])


def _inserts(table: Table, rows: Rows) -> Iterator[sqlite_direct.Write]:
    """Give statements with many rows each, of few lengths."""
    at = 0
    for count in _LENGTHS:
        while len(rows) - at >= count:
            values = tuple(chain.from_iterable(rows[at : at + count]))
            yield sqlite_direct.Write(_many(table, count), (values,), None, count)
            at += count


_LENGTHS: Final = (64, 8, 1)
_INSERTS: Final[dict[str, Words]] = {}


def _insert(table: Table, tx: AsyncConnection) -> Words:
    found = _INSERTS.get(table.name)
    if found is None:
        source = _unnested({column.name: column for column in table.columns})
        names = [column.name for column in table.columns]
        statement = insert(table).from_select(names, select(*source.c), include_defaults=False)
        _check_passing(statement)
        found = _INSERTS[table.name] = Words.of(statement, tx)
    return found


@lru_cache(maxsize=16)
def _many(table: Table, count: int) -> str:
    """Return SQLite's statement that inserts so many rows."""
    _check_passing(insert(table))
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    row = f"({', '.join('?' for _ in table.columns)})"
    return f'INSERT INTO "{table.name}" ({names}) VALUES {", ".join([row] * count)}'  # noqa: S608 - names of ours


# --- in SQLite's words ------------------------------------------------------------------


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


class _Text(NamedTuple):
    """A statement in SQLite's words."""

    words: str
    places: tuple[_Place, ...]

    def fill(self, values: _Values) -> list[Any]:
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


def _compiled(statement: Executable, tx: AsyncConnection, values: _Values) -> _Text:
    _check_passing(statement)
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
    return _Text(state.statement, tuple(places[name] for name in state.positiontup or ()))


# --- in PostgreSQL's words --------------------------------------------------------------

_KINDS: Final[tuple[tuple[type[TypeEngine[Any]], TypeEngine[Any]], ...]] = (
    (SmallInteger, SmallInteger()),
    (BigInteger, BigInteger()),
    (Integer, Integer()),
    (LargeBinary, LargeBinary()),
    (Boolean, Boolean()),
)


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
        """Compile a statement; a list is one parameter."""
        element = cast("ClauseElement", statement)
        compiled = cast("SQLCompiler", element.compile(dialect=tx.dialect))
        names = tuple(compiled.positiontup or ())
        constants = tuple((n, v) for n, v in compiled.params.items() if v is not None)
        parts = list(visitors.iterate(element))
        found = {one.name for one in parts if isinstance(one, Table)}
        locks = any(getattr(one, "_for_update_arg", None) is not None for one in parts)
        numbers = frozenset(name for name in names if isinstance(compiled.binds[name].type, _Many))
        return cls(str(compiled), names, constants, frozenset(found), locks, numbers)

    def fill(self, values: _Values) -> list[Any]:
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


def _rehearses(tx: AsyncConnection) -> bool:
    database = postgres(tx)
    return database is not None and database.rehearses


def _other(tx: AsyncConnection) -> postgres_direct.DirectConnection:
    found = postgres(tx)
    if found is None:
        raise LookupError(f"no statement of ours is written for {tx.dialect.name}")
    return found


def _array(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the parameter that is an array of a column's values."""
    # Texts of any length: one that is too long is to be refused, not cut by a cast.
    kind = next((to for kind, to in _KINDS if isinstance(column.type, kind)), Text())
    if isinstance(kind, Integer):
        return cast_to(bindparam(name, type_=_Many()), ARRAY(kind))
    return bindparam(name, type_=ARRAY(kind))


def _unnested(columns: Mapping[str, Column[Any]]) -> TableValuedAlias:
    """Return rows that come as arrays; the parameters are called 0, 1, ..."""
    arrays = [_array(str(at), one) for at, one in enumerate(columns.values())]
    return func.unnest(*arrays).table_valued(*columns).render_derived(name="given")


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
