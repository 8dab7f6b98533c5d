"""Prints the diagnostics of ``lusifer doctor``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from lusifer.cli.common import EXIT_ERROR, show, write_json
from lusifer.common.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["show_diagnostics"]

_MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "error": "ERROR  "}


def show_diagnostics(diagnostics: Iterable[Diagnostic], *, as_json: bool) -> None:
    """Print each diagnostic as it comes.

    Raises:
        Exit: A diagnostic is an error: the command ends with exit code 1.
    """
    failed = False
    for each in diagnostics:
        failed = failed or each.severity == "error"
        if as_json:
            write_json(each.as_dict())
            continue
        show(printable(f"{_MARKS[each.severity]}  {each.subject}: {each.message}") + "\n")
        if each.fix:
            show(printable(f"         → {each.fix}") + "\n")
        sys.stdout.flush()
    if failed:
        raise typer.Exit(EXIT_ERROR)
