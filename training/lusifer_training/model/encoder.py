"""The multilingual encoder: it turns tokens of any language into one state for each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from lusifer_training.model.pooling import first_token_pool, mean_pool

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Encoder", "additive_mask"]


def additive_mask(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bidirectional mask ``(B, 1, 1, T)`` that is added to attention scores.

    Args:
        attention_mask: ``(B, T)``, 1 for tokens and 0 for padding.
        dtype: Type of the attention scores.
    """
    blocked = torch.finfo(dtype).min
    return torch.where(attention_mask[:, None, None, :].bool(), 0.0, blocked).to(dtype)


class Encoder(nn.Module):
    """Encode with BERT or XLM-R, optionally with a learned mix of its layers (arXiv 2508.09091).

    Args:
        backbone: The Hugging Face module, without pooler.
        layer_mix: Whether to learn one softmax weight per layer, the embeddings included. The
            weights start at the last layer.
        pooling: Pooling of the encoder's own vector.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        *,
        layer_mix: bool,
        pooling: Literal["mean", "cls"] = "mean",
    ) -> None:
        super().__init__()
        self._pool = first_token_pool if pooling == "cls" else mean_pool
        self.backbone = backbone
        # XLM-R counts positions from padding_idx + 1, BERT from 0.
        is_xlm_roberta = backbone.config.model_type == "xlm-roberta"
        self.first_position = backbone.config.pad_token_id + 1 if is_xlm_roberta else 0
        self.hidden_size: int = backbone.config.hidden_size
        layers = backbone.config.num_hidden_layers + 1
        self.mix_logits = nn.Parameter(torch.zeros(layers)) if layer_mix else None
        if self.mix_logits is not None:
            with torch.no_grad():
                # e^5: the last layer starts with more than nine tenths of the weight of 13 layers.
                self.mix_logits[-1] = 5.0

    def unit_vector(self, last: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the encoder's own unit vectors ``(B, H)`` of its last states ``(B, T, H)``."""
        return normalize(self._pool(last, attention_mask), dim=-1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode tokens.

        Args:
            input_ids: ``(B, T)`` int64.
            attention_mask: ``(B, T)``, 1 for tokens and 0 for padding on either side.

        Returns:
            States for the connector ``(B, T, H)`` and the last layer's states ``(B, T, H)``. They
            are one tensor without a layer mix.
        """
        # Positions come from the mask, so that they don't depend on side and amount of padding.
        position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0) + self.first_position
        output = self.backbone(
            input_ids=input_ids,
            attention_mask=additive_mask(attention_mask, self.backbone.dtype),
            position_ids=position_ids,
            output_hidden_states=self.mix_logits is not None,
        )
        last = output.last_hidden_state
        if self.mix_logits is None:
            return last, last
        weights = self.mix_logits.softmax(dim=0)
        mixed = sum(
            weight * state for weight, state in zip(weights, output.hidden_states, strict=True)
        )
        return mixed, last
