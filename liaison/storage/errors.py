"""What can be wrong with the database itself."""

from __future__ import annotations

from liaison.errors import UnavailableError


class DatabaseError(UnavailableError):
    """The database does not answer."""


class SchemaError(UnavailableError):
    """The database's schema is not the one that this program works with."""

    code = "schema.mismatch"


class OvertakenError(Exception):
    """Another transaction has changed what this one relies on: undo it, and try it again.

    For the writer alone: nobody else is ever told.
    """
