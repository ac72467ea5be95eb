"""Telling a database that fails from a statement that it refuses.

Both drivers raise the same family of exceptions for a full disk and for a number
that is too large. The code tells them apart: SQLite's name of its error, or the
five characters of PostgreSQL's SQLSTATE, of which the first two are the class.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

_REFUSED: Final = ("22", "23")  # data exception, integrity constraint violation
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
    return isinstance(error, DBAPIError | OSError)


def is_overtaken(error: Exception) -> bool:
    """Return whether PostgreSQL undid the transaction in favour of another: try it again."""
    return code_of(error) in _OVERTAKEN
