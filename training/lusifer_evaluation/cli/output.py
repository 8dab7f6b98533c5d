"""Print tables, JSON and progress."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from lusifer.common.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.progress import TaskID

__all__ = ["echo", "echo_json", "format_table", "show_progress"]


def echo(text: object, *, err: bool = False) -> None:
    """Print text for people, with what would act on their terminal escaped."""
    typer.echo(printable(str(text), lines=True), err=err)


def echo_json(found: object) -> None:
    """Print JSON; missing values are null, because NaN is not valid JSON."""
    typer.echo(json.dumps(found, allow_nan=False))


def format_table(
    title: str, rows: Mapping[str, Mapping[str, float | None]], *, digits: int = 1
) -> str:
    """Format rows of numbers as a Markdown table.

    Args:
        title: Head of the first column.
        rows: Numbers by row name and column name; None is shown as a dash.
        digits: Decimal places.
    """
    columns = list(next(iter(rows.values())))
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    lines += [
        f"| {name} | " + " | ".join(_digits(row[column], digits) for column in columns) + " |"
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _digits(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


@contextmanager
def show_progress(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress bars on standard error, if it is a terminal.

    Args:
        name: Name of the model.

    Yields:
        A function of a task's name, the number of finished texts and the number of all texts.
    """
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(f"{name}: {task}", total=total)
            bars.update(tasks[task], completed=done, total=total)

        yield report
