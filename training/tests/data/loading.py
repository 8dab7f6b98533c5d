"""Load the pairs of a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer_training.data.pairs import Pair, load_pairs
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer_training.recipe import DatasetRecipe


def everything(dataset: DatasetRecipe, path: Path) -> list[Pair]:
    """Pairs of both parts, those that training sees and those that are held out."""
    pairs = []
    for held_out in (False, True):
        try:
            pairs += load_pairs(dataset, path, seed=0, held_out=held_out)
        except DataError:
            continue
    return pairs
