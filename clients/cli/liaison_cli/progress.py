"""Progress bars on stderr, for people only: a pipe or a log gets none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison_sdk import Progress


@contextmanager
def bar(title: str) -> Iterator[Callable[[Progress], None] | None]:
    """Show a bar while the block runs; gives the callback that moves it, or None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskID,
        TextColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def moved(progress: Progress) -> None:
            if progress.name not in tasks:
                text = f"{title} {clean_line(progress.name)}"
                tasks[progress.name] = bars.add_task(text, total=progress.total)
            bars.update(tasks[progress.name], completed=progress.done)

        yield moved
