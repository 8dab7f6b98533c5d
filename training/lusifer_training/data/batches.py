"""Tokens and batches. A batch is a function of seed and step, so that a resumed run sees the same
ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from lusifer_training.data.cleaning import load_clean_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Tokenizer
    from torch import Tensor

    from lusifer_training.data.readers import Pair
    from lusifer_training.recipe import DatasetRecipe, Recipe

__all__ = [
    "PairBatch",
    "PairSampler",
    "TextSampler",
    "of_number",
    "pad",
    "token_budget_batches",
    "tokenize",
    "within_budget",
]


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs of one dataset: in-batch negatives of one kind are harder than a mix's."""

    dataset: str
    recipe: DatasetRecipe
    pairs: list[Pair]

    def describe(self) -> str:
        """For messages: where the batch came from and how it begins."""
        return f"a batch of {len(self.pairs)} pairs of {self.dataset}, the first {self.pairs[0].query[:60]!r}"


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], maximum_tokens: int) -> list[list[int]]:
    """Token ids of each text; a cut text keeps its closing special token."""
    encoded = (encoding.ids for encoding in tokenizer.encode_batch(list(texts)))
    return [
        ids if len(ids) <= maximum_tokens else [*ids[: maximum_tokens - 1], ids[-1]]
        for ids in encoded
    ]


def pad(
    rows: Sequence[Sequence[int]], pad_token_id: int, *, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Ids of unequal length to ``input_ids (B, T)`` and ``attention_mask (B, T)``, padded on the right."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[pad_token_id] * (width - len(row))] for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return ids.to(device), mask.to(device)


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


def of_number(groups: Sequence[list[int]], number: int) -> list[list[int]]:
    """The same groups, the largest halved until there are so many."""
    groups = list(groups)
    while len(groups) < number:
        at = max(range(len(groups)), key=lambda index: len(groups[index]))
        middle = len(groups[at]) // 2
        groups[at : at + 1] = [groups[at][:middle], groups[at][middle:]]
    return groups


def within_budget(lengths: Sequence[int], budget_tokens: int | None) -> int:
    """How many of the first examples stay within a budget of tokens; two at least, None: all."""
    if budget_tokens is None:
        return len(lengths)
    return max(min(2, len(lengths)), sum(total <= budget_tokens for total in accumulate(lengths)))


class PairSampler:
    """Draws batches of pairs, each from one dataset, chosen by weight, and from one cluster where it has any.

    Attributes:
        pairs: Of every dataset, those of stage 1 included.
        report: What was dropped of each, and what is left.
    """

    def __init__(self, recipe: Recipe, data_folder: Path) -> None:
        self.recipe = recipe
        self.pairs, self.report = load_clean_pairs(recipe.datasets, data_folder, seed=recipe.seed)
        for pool in self.pairs.values():
            # Stable: pairs of a cluster stay shuffled among themselves.
            pool.sort(key=lambda pair: -1 if pair.cluster is None else pair.cluster)

    def names(self, stage: str) -> list[str]:
        """Datasets of ``align`` or ``finetune``."""
        return [name for name in self.pairs if stage in self.recipe.datasets[name].stages]

    def batch(self, step: int, size: int) -> PairBatch:
        """The batch of one step of stage 2."""
        rng = random.Random(f"{self.recipe.seed}/pairs/{step}")
        names = self.names("finetune")
        name = rng.choices(names, [self.recipe.datasets[each].weight for each in names])[0]
        pool, size = self.pairs[name], min(size, len(self.pairs[name]))
        if pool[0].cluster is None:
            return PairBatch(name, self.recipe.datasets[name], rng.sample(pool, size))
        # Pairs of one cluster stand together; a small one is filled up from the next.
        start = rng.randrange(len(pool) - size + 1)
        return PairBatch(name, self.recipe.datasets[name], pool[start : start + size])


class TextSampler:
    """Draws plain English texts, and pairs to complete, from the datasets of stage 1."""

    def __init__(self, pairs: PairSampler) -> None:
        self._pairs = pairs

    def batch(self, step: int, size: int) -> list[str]:
        """The texts of one step, of every dataset."""
        rng = random.Random(f"{self._pairs.recipe.seed}/texts/{step}")
        texts = []
        for pair in self._draw(rng, size):
            texts.append(pair.query if pair.query and rng.random() >= 0.7 else pair.document)
        return texts

    def pairs(self, step: int, size: int) -> list[Pair]:
        """The pairs of one step, of every dataset."""
        return self._draw(random.Random(f"{self._pairs.recipe.seed}/texts/{step}"), size)

    def _draw(self, rng: random.Random, size: int) -> list[Pair]:
        names = self._pairs.names("align")
        weights = [self._pairs.recipe.datasets[each].weight for each in names]
        return [rng.choice(self._pairs.pairs[name]) for name in rng.choices(names, weights, k=size)]
