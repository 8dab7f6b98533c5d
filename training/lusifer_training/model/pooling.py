"""Token states to one vector."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["last_token_pool", "mean_pool"]


def mean_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean over real tokens: ``(B, T, H)`` and ``(B, T)`` to ``(B, H)``."""
    weights = attention_mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def last_token_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The last real token, wherever the padding is: ``(B, T, H)`` and ``(B, T)`` to ``(B, H)``."""
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = (positions * attention_mask).argmax(dim=1)
    return states[torch.arange(states.shape[0], device=states.device), last]
