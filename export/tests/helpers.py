"""Small helpers that several test modules of export share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def names(folder: Path) -> list[str]:
    """List the names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def change_config(checkpoint: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change a checkpoint's ``config.json``."""
    values = json.loads((checkpoint / "config.json").read_text())
    edit(values)
    (checkpoint / "config.json").write_text(json.dumps(values))


def batch(rows: int, width: int, *, left: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Make ids and mask (rows, width) of mixed lengths; the first row is full."""
    rng = np.random.default_rng(rows * width)
    lengths = np.concatenate([[width], rng.integers(1, width + 1, rows - 1)])
    mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
    mask = mask[:, ::-1].copy() if left else mask
    return np.where(mask == 1, rng.integers(4, 320, (rows, width)), 1), mask


def run_command(*arguments: object) -> Any:
    """Run ``lusifer export`` in this process."""
    from typer.testing import CliRunner

    from lusifer_export.cli import export_app

    return CliRunner().invoke(export_app, [str(each) for each in arguments])
