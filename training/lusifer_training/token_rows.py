"""Token rows: texts to token ids, groups of like length, and padded tensors."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenizers import Tokenizer
    from torch import Tensor

__all__ = [
    "pad",
    "run_rows",
    "split_groups",
    "token_budget_groups",
    "tokenize",
    "within_budget",
]

BUDGET_TOKENS = 4096
"""Tokens run at once by default, padding included."""


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], maximum_tokens: int) -> list[list[int]]:
    """Return the token ids of each text; a cut text keeps its closing special token."""
    encoded = (encoding.ids for encoding in tokenizer.encode_batch(list(texts)))
    return [
        ids if len(ids) <= maximum_tokens else [*ids[: maximum_tokens - 1], ids[-1]]
        for ids in encoded
    ]


def pad(
    rows: Sequence[Sequence[int]], pad_token_id: int, *, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Pad rows of unequal length on the right.

    Returns:
        ``input_ids (B, T)`` and ``attention_mask (B, T)``, 1 for tokens and 0 for padding.
    """
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[pad_token_id] * (width - len(row))] for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return ids.to(device), mask.to(device)


def token_budget_groups(lengths: Sequence[int], budget_tokens: int) -> list[list[int]]:
    """Group indices by length, so that rows times longest row stays within a budget of tokens.

    The budget includes the padding. A row above the budget gets a group of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted by length, so the newest row is the longest of its group.
        if groups and (len(groups[-1]) + 1) * lengths[index] <= budget_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def split_groups(groups: Sequence[list[int]], count: int) -> list[list[int]]:
    """Halve the largest groups until there are ``count`` groups."""
    groups = list(groups)
    while len(groups) < count:
        at = max(range(len(groups)), key=lambda index: len(groups[index]))
        middle = len(groups[at]) // 2
        groups[at : at + 1] = [groups[at][:middle], groups[at][middle:]]
    return groups


def within_budget(lengths: Sequence[int], budget_tokens: int | None) -> int:
    """Count the first examples that stay within a budget of tokens.

    Returns:
        At least two, if there are two; all where the budget is None.
    """
    if budget_tokens is None:
        return len(lengths)
    return max(min(2, len(lengths)), sum(total <= budget_tokens for total in accumulate(lengths)))


def run_rows(
    forward: Callable[[Tensor, Tensor], Tensor],
    rows: Sequence[list[int]],
    pad_token_id: int,
    *,
    budget_tokens: int = BUDGET_TOKENS,
    groups: Sequence[list[int]] | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Run token rows through a model in groups of like length, so that there is little padding.

    Args:
        forward: Maps ``input_ids (B, T)`` and ``attention_mask (B, T)`` to ``(B, D)``.
        rows: N rows of token ids.
        pad_token_id: Id of the padding token.
        budget_tokens: Tokens run at once, padding included.
        groups: Indices of the rows of each group; by default groups within the budget.
        device: Device of the model.

    Returns:
        ``(N, D)``, in the order of the rows.
    """
    if groups is None:
        groups = token_budget_groups([len(row) for row in rows], budget_tokens)
    parts = [
        forward(*pad([rows[at] for at in group], pad_token_id, device=device)) for group in groups
    ]
    order = torch.tensor([index for group in groups for index in group])
    vectors = torch.cat(parts)
    return vectors[order.argsort().to(vectors.device)]
