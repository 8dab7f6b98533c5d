"""Tokens and batches. A batch is a function of seed and step, so that a resumed run sees the same ones."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lusifer_training.data.readers import Pair, load_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Tokenizer
    from torch import Tensor

    from lusifer_training.recipe import DatasetRecipe, Recipe

__all__ = ["PairBatch", "PairSampler", "TextSampler", "pad", "token_budget_batches", "tokenize"]


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs of one dataset: in-batch negatives of one kind are harder than a mix's."""

    dataset: str
    recipe: DatasetRecipe
    pairs: list[Pair]


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], maximum_tokens: int) -> list[list[int]]:
    """Token ids of each text; a cut text keeps its closing special token."""
    encoded = (encoding.ids for encoding in tokenizer.encode_batch(list(texts)))
    return [ids if len(ids) <= maximum_tokens else [*ids[: maximum_tokens - 1], ids[-1]] for ids in encoded]


def pad(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Ids of unequal length to ``input_ids (B, T)`` and ``attention_mask (B, T)``, padded on the right."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[pad_token_id] * (width - len(row))] for row in rows])
    return ids, (torch.arange(width) < lengths[:, None]).long()


def token_budget_batches(lengths: Sequence[int], budget_tokens: int) -> list[list[int]]:
    """Indices grouped by length so that rows times longest row stays within a budget, padding included."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted by length, so the newest row is the longest of its group.
        if groups and (len(groups[-1]) + 1) * lengths[index] <= budget_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


class PairSampler:
    """Draws batches of pairs, each from one dataset, chosen by weight."""

    def __init__(self, recipe: Recipe, data_folder: Path) -> None:
        self.recipe = recipe
        self.pairs = {
            name: load_pairs(dataset, data_folder / dataset.file, seed=recipe.seed)
            for name, dataset in recipe.datasets.items()
        }

    def batch(self, step: int, size: int) -> PairBatch:
        """The batch of one step."""
        rng = random.Random(f"{self.recipe.seed}/pairs/{step}")
        names = list(self.pairs)
        name = rng.choices(names, [self.recipe.datasets[each].weight for each in names])[0]
        pool = self.pairs[name]
        return PairBatch(name, self.recipe.datasets[name], rng.sample(pool, min(size, len(pool))))


class TextSampler:
    """Draws plain English texts from both sides of all pairs."""

    def __init__(self, pairs: PairSampler) -> None:
        self._pairs = pairs

    def batch(self, step: int, size: int) -> list[str]:
        """The texts of one step, of every dataset."""
        rng = random.Random(f"{self._pairs.recipe.seed}/texts/{step}")
        names = list(self._pairs.pairs)
        weights = [self._pairs.recipe.datasets[each].weight for each in names]
        texts = []
        for name in rng.choices(names, weights, k=size):
            pair = rng.choice(self._pairs.pairs[name])
            texts.append(pair.document if rng.random() < 0.7 else pair.query)
        return texts
