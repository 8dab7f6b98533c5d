"""The connector: one encoder state becomes one input of the LLM.

::

    encoder state (H_e) ─ LayerNorm ─ Linear ─ ReLU ─ Linear ─ norm matching ─▶ LLM input (H_l)

The paper's connector (arXiv 2501.00874, section 3.1) is the two linear layers with a ReLU. The
LLM's own token embeddings are small vectors of nearly equal length. An input that is ten or a
hundred times longer saturates the first layers. So the output is scaled to the length of the LLM's
token embeddings, times a learned gain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Connector"]


class Connector(nn.Module):
    """Apply two linear layers with norm matching.

    Args:
        encoder_size: H_e.
        hidden_size: Width between the two layers.
        llm_size: H_l.
        embedding_rms: Root mean square of the LLM's token table, the scale that its first layer
            expects.
    """

    def __init__(
        self, encoder_size: int, hidden_size: int, llm_size: int, *, embedding_rms: float
    ) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(encoder_size)
        self.up = nn.Linear(encoder_size, hidden_size)
        self.down = nn.Linear(hidden_size, llm_size)
        self.gain = nn.Parameter(torch.full((1,), embedding_rms))

    def forward(self, states: Tensor) -> Tensor:
        """Map encoder states ``(B, T, H_e)`` to LLM inputs ``(B, T, H_l)`` of equal RMS."""
        hidden: Tensor = self.down(self.up(self.input_norm(states)).relu())
        rms = hidden.pow(2).mean(dim=-1, keepdim=True).add(1e-6).sqrt()
        return hidden / rms * self.gain
