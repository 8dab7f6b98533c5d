"""The progress bar of indexing, for ``lusifer index`` and ``lusifer demo``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.cli.common import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lusifer.ingest.indexer import IndexReport

__all__ = ["index_progress"]


@contextmanager
def index_progress(
    fraction: Callable[[IndexReport], float | None],
) -> Iterator[Callable[[IndexReport], None]]:
    """Draw a bar on a terminal; yield the function that updates it after each window.

    Args:
        fraction: Returns the share of the work that is done, from 0 to 1, or None if unknown.
    """
    terminal = console(stderr=True)
    if not terminal.is_terminal:
        yield lambda report: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("Indexing"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=terminal,
    ) as progress:
        task = progress.add_task("index", total=None, counts="")

        def on_progress(report: IndexReport) -> None:
            done = fraction(report)
            rate = report.read / max(report.seconds, 1e-9)
            progress.update(
                task,
                total=None if done is None else 1.0,
                completed=done or 0.0,
                counts=f"{report.read:,} documents, {rate:.0f}/s",
            )

        yield on_progress
