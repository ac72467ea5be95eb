"""What an export adds on request: the report, and the events as Parquet; both take packages of their own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from liaison.audit.bundle import BundleWriter
from liaison.audit.manifest import Facts
from liaison.errors import UnavailableError


class MissingPackageError(UnavailableError):
    """A package that this needs is not installed."""

    code = "export.package_missing"


def report(facts: Facts, writer: BundleWriter) -> bytes:
    """Return the report of what was exported.

    Raises:
        MissingPackageError: the extra `report` is not installed.
    """
    try:
        from liaison.audit import report as page  # noqa: PLC0415 - drawing takes a package that not every relay has

        return page.make(facts, writer.events(), writer.checkpoints).encode()
    except ModuleNotFoundError as error:
        raise _missing("report") from error


@contextlib.contextmanager
def parquet(writer: BundleWriter) -> Iterator[BinaryIO]:
    """Give the events of what was exported as Parquet.

    Raises:
        MissingPackageError: the extra `parquet` is not installed.
    """
    with tempfile.TemporaryFile() as file:
        try:
            from liaison.audit import parquet as columns  # noqa: PLC0415 - as above

            columns.write(writer.events(), file)
        except ModuleNotFoundError as error:
            raise _missing("parquet") from error
        yield file


def _missing(extra: str) -> MissingPackageError:
    return MissingPackageError(
        f"the package for --{extra} is not installed",
        hint=f"pip install 'liaison-messaging[{extra}]', or leave --{extra} out",
        unchanged="nothing was written",
    )
