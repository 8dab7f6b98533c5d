"""Pool the states of a text's tokens into one vector."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["first_token_pool", "last_token_pool", "mean_pool"]


def first_token_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Take the state of the first real token ``(B, H)``, such as CLS, with padding on any side."""
    first = attention_mask.argmax(dim=1)
    return states[torch.arange(states.shape[0], device=states.device), first]


def mean_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Average the states ``(B, T, H)`` of real tokens, given a mask ``(B, T)``, to ``(B, H)``."""
    weights = attention_mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def last_token_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Take the state of the last real token ``(B, H)``, with padding on either side."""
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = (positions * attention_mask).argmax(dim=1)
    return states[torch.arange(states.shape[0], device=states.device), last]
