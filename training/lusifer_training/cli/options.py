"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DEFAULT_DATA", "DataOption", "RunOption"]

DataOption = Annotated[
    Path,
    typer.Option(
        "--data", envvar="LUSIFER_DATA", help="Folder with train/ and eval/ and debian.jsonl."
    ),
]
DEFAULT_DATA = Path("../shared/data")
RunOption = Annotated[
    Path, typer.Option(help="Run folder; the same command resumes a run that was killed.")
]
