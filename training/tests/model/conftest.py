"""Tokens that the tests of both backbones read."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Three texts of 9, 5 and 1 tokens, padded on the right."""
    ids = torch.randint(4, 320, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) < torch.tensor([[9], [5], [1]])).long()
    return torch.where(mask.bool(), ids, 1), mask
