"""Pooling by hand."""

from __future__ import annotations

import torch

from lusifer_training.model.pooling import first_token_pool, last_token_pool, mean_pool


def test_pooling_by_hand() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    right, left = torch.tensor([[1, 1, 0]]), torch.tensor([[0, 0, 1]])
    assert mean_pool(states, right).tolist() == [[2.0, 3.0]]
    assert last_token_pool(states, right).tolist() == [[3.0, 4.0]]
    assert last_token_pool(states, left).tolist() == [[100.0, 100.0]]
    assert first_token_pool(states, right).tolist() == [[1.0, 2.0]]
    assert first_token_pool(states, torch.tensor([[0, 1, 1]])).tolist() == [[3.0, 4.0]]
    assert mean_pool(states, torch.zeros(1, 3)).tolist() == [[0.0, 0.0]]
