"""Telling a database that fails from a statement that it refuses.

Both drivers raise the same family of exceptions for a full disk and for a number
that is too large. The code tells them apart: SQLite's name of its error, or the
five characters of PostgreSQL's SQLSTATE, of which the first two are the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from liaison.storage.errors import DatabaseError, OvertakenError, SchemaError

_REFUSED: Final = ("22", "23")  # data exception, integrity constraint violation
_NO_TABLE: Final = "42P01"
_OVERTAKEN: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock


def code_of(error: BaseException) -> str:
    """Return the database's own code for an error, empty where it gave none."""
    cause = getattr(error, "orig", None)
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    return str(code or "")


def is_failure(error: Exception) -> bool:
    """Return whether the database failed: nothing in the transaction can be relied on.

    False where it refused one statement for what is in it, or had no part in the error.
    """
    if isinstance(error, IntegrityError | DataError) or code_of(error).startswith(_REFUSED):
        return False
    return isinstance(error, DBAPIError | OSError | OvertakenError)


@contextmanager
def told() -> Iterator[None]:
    """Turn what a failing database raises inside the block into errors that a person can read.

    Raises:
        SchemaError: there is no table of ours in it.
        DatabaseError: it can't be reached, or it failed.
    """
    try:
        yield
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        if code_of(error) == _NO_TABLE or _is_missing_table(error):
            raise SchemaError("the database has no schema", hint="liaison-relay migrate") from error
        if isinstance(error, PoolTimeoutError) or is_failure(error):
            raise DatabaseError(
                f"the database does not answer ({code_of(error) or type(error).__name__})",
                unchanged="nothing was changed",
                hint="is it running, and is database_url right?",
            ) from error
        raise


def _is_missing_table(error: BaseException) -> bool:
    # SQLite has one code for all that is wrong with a statement; ours are wrong for one reason.
    return code_of(error) == "SQLITE_ERROR" and "no such table" in str(getattr(error, "orig", ""))


def is_overtaken(error: Exception) -> bool:
    """Return whether the transaction is to be tried again: another one has come before it."""
    return isinstance(error, OvertakenError) or code_of(error) in _OVERTAKEN
