"""Draw batches of pairs and texts from the datasets of a recipe.

A batch is a function of seed and step, so that a resumed run sees the same batches.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer_training.data.cleaning import load_clean_pairs

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer_training.data.pairs import Pair
    from lusifer_training.recipe import DatasetRecipe, Recipe

__all__ = ["PairBatch", "PairSampler", "TextSampler"]

DOCUMENT_SHARE = 0.7
"""Probability that stage 1 reads the document of a pair, where the pair has a query too."""


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs of one dataset, which are harder in-batch negatives than pairs of several datasets.

    Attributes:
        dataset: Name of the dataset in the recipe.
        recipe: Prompts and negatives of the dataset.
        pairs: The pairs.
    """

    dataset: str
    recipe: DatasetRecipe
    pairs: list[Pair]

    def describe(self) -> str:
        """Return the dataset, the size and the first query, for messages."""
        return (
            f"a batch of {len(self.pairs)} pairs of {self.dataset}, "
            f"the first {self.pairs[0].query[:60]!r}"
        )


class PairSampler:
    """Draw batches of pairs, each from one dataset, and from one cluster where pairs have clusters.

    Datasets are drawn by weight.

    Attributes:
        pairs: Pairs by dataset, those of stage 1 included.
        report: Numbers of dropped and kept pairs by dataset.
    """

    def __init__(self, recipe: Recipe, data_folder: Path) -> None:
        self.recipe = recipe
        self.pairs, self.report = load_clean_pairs(recipe.datasets, data_folder, seed=recipe.seed)
        for pool in self.pairs.values():
            # A stable sort: pairs of a cluster stay shuffled among themselves.
            pool.sort(key=lambda pair: -1 if pair.cluster is None else pair.cluster)

    def names(self, stage: str) -> list[str]:
        """Return the names of the datasets of ``align`` or ``finetune``."""
        return [name for name in self.pairs if stage in self.recipe.datasets[name].stages]

    def batch(self, step: int, size: int) -> PairBatch:
        """Draw the batch of one step of stage 2."""
        rng = random.Random(f"{self.recipe.seed}/pairs/{step}")
        names = self.names("finetune")
        name = rng.choices(names, [self.recipe.datasets[each].weight for each in names])[0]
        pool, size = self.pairs[name], min(size, len(self.pairs[name]))
        if pool[0].cluster is None:
            return PairBatch(name, self.recipe.datasets[name], rng.sample(pool, size))
        # Pairs of one cluster are neighbours; a small cluster is filled up from the next one.
        start = rng.randrange(len(pool) - size + 1)
        return PairBatch(name, self.recipe.datasets[name], pool[start : start + size])


class TextSampler:
    """Draw plain English texts, and pairs to complete, from the datasets of stage 1."""

    def __init__(self, pairs: PairSampler) -> None:
        self._pairs = pairs

    def batch(self, step: int, size: int) -> list[str]:
        """Draw the texts of one step from all datasets."""
        rng = random.Random(f"{self._pairs.recipe.seed}/texts/{step}")
        texts = []
        for pair in self._draw(rng, size):
            is_query = pair.query and rng.random() >= DOCUMENT_SHARE
            texts.append(pair.query if is_query else pair.document)
        return texts

    def pairs(self, step: int, size: int) -> list[Pair]:
        """Draw the pairs of one step from all datasets."""
        return self._draw(random.Random(f"{self._pairs.recipe.seed}/texts/{step}"), size)

    def _draw(self, rng: random.Random, size: int) -> list[Pair]:
        names = self._pairs.names("align")
        weights = [self._pairs.recipe.datasets[each].weight for each in names]
        return [rng.choice(self._pairs.pairs[name]) for name in rng.choices(names, weights, k=size)]
