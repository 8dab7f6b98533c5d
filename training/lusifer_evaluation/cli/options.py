"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import platformdirs
import typer

__all__ = [
    "DEFAULT_DATA",
    "CacheOption",
    "CheckpointArgument",
    "DataOption",
    "JsonOption",
    "ModelArgument",
    "SizeOption",
    "cache_folder",
]

DataOption = Annotated[
    Path, typer.Option("--data", envvar="LUSIFER_DATA", help="Folder with eval/.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder of computed vectors and results; the user's cache by default."),
]
SizeOption = Annotated[
    str,
    typer.Option(
        help="Size of each set: smoke, quick, standard, full or all. Smaller pools are easier."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.")]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model of lusifer eval table.")
]
CheckpointArgument = Annotated[
    Path | None, typer.Argument(help="Checkpoint folder; by default that of the package.")
]
DEFAULT_DATA = Path("../shared/data")


def cache_folder(chosen: Path | None) -> Path:
    """Return the folder of computed vectors and results."""
    return chosen or platformdirs.user_cache_path("lusifer") / "eval"
