"""Train the connector for a few steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lusifer_training.checkpoint import trained_parameters

if TYPE_CHECKING:
    from collections.abc import Callable


def losses_of_training(
    objective: Any, loss_of: Callable[[int], torch.Tensor], *, steps: int
) -> list[float]:
    """Loss of every step, where only the connector trains."""
    parameters = [
        value
        for name, value in trained_parameters(objective.model).items()
        if name.startswith("connector.")
    ]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    losses = []
    for step in range(steps):
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
